# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Workflows whose jobs wait in the queue of a real Slurm."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from helpers import ROOT
from helpers.cluster import LIMIT, call, until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(120), pytest.mark.usefixtures("cluster")]

INFO = """
from pathlib import Path

can_resume = True

def mock(*, number: int) -> Path:
    return Path("square.txt")
"""
SUBMIT = """#!/bin/sh
exec parman-sbatch-wait --output=job.out job.sh
"""
JOB = """#!/bin/bash
#SBATCH --job-name=square
echo "$SLURM_JOB_ID" >> "$LOG"
number=$(sed -n 's/.*"number": \\([0-9]*\\).*/\\1/p' kwargs.json)
if [ "$number" = 7 ]; then exit 7; fi
while [ ! -e "$GATE" ]; do sleep 0.1; done
echo $((number * number)) > square.txt
echo '"square.txt"' > result.json
"""
SCRIPT = """
import os, sys
from pathlib import Path
from parman import *

square = job_template("templates/square")

@task
def add(paths: list[Path]) -> int:
    return sum(int(path.read_text()) for path in paths)

env = {"GATE": Path("gate").absolute(), "LOG": Path("log").absolute()}
settings = JobSettings(script="submit.sh", at_once=20, env=env)
with workflow("processes:1", jobs=settings):
    total = add([square(f"squares/{i}", number=i) for i in range(1, 7)])
    Path("submitting").touch()
print("total", resolve(total))
"""
NUMBERS = range(1, 7)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Make a workflow of jobs in a queue, on a cluster of few nodes."""
    template = tmp_path / "templates" / "square"
    template.mkdir(parents=True)
    for name, text in {"jobinfo.py": INFO, "submit.sh": SUBMIT, "job.sh": JOB}.items():
        (template / name).write_text(text)
        (template / name).chmod(0o755)
    (tmp_path / "script.py").write_text(SCRIPT)
    program = tmp_path / "bin" / "parman-sbatch-wait"
    program.parent.mkdir()
    code = "import sys; from parman.slurm.sbatch_wait import main; sys.exit(main())"
    program.write_text(f"#!{shutil.which('env')} -S {sys.executable}\n{code}\n")
    program.chmod(0o755)
    return tmp_path


def start(here: Path, script: str = "script.py") -> subprocess.Popen[str]:
    """Start the workflow."""
    environment = {
        **os.environ,
        "PATH": f"{here / 'bin'}:{os.environ['PATH']}",
        "HOME": str(here),
        "PYTHONPATH": str(ROOT),
        "PARMAN_SBATCH_CACHE_TIMEOUT": "0.3",
        "PARMAN_SBATCH_POLLING_INTERVAL": "0.1",
        "PARMAN_SBATCH_TIME_MARGIN": "0.1",
    }
    return subprocess.Popen(
        [sys.executable, script], cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def logs(here: Path) -> list[Path]:
    """Return the logs of jobs that were submitted."""
    return [log for log in here.glob("results/squares/*/sbatchwait.log") if "Submitted" in log.read_text()]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_workflow_is_stopped_and_restarted_with_jobs_in_the_queue(here: Path, how: signal.Signals) -> None:
    """The jobs stay in the queue, the restarted workflow goes on to wait for them, and none is submitted twice."""
    first = start(here)
    try:
        until(lambda: len(logs(here)) == len(NUMBERS), lambda: (logs(here), first.poll()))
        first.send_signal(how)
        first.communicate(timeout=LIMIT)
    finally:
        first.kill()
    queue = call("squeue", "-h", "-o", "%A").split()
    submitted = {log.read_text().split("Submitted ")[1].split()[0] for log in logs(here)}
    assert submitted <= set(queue)
    assert not list(here.glob("results/squares/*/result.json"))

    (here / "gate").touch()
    second = start(here)
    try:
        output, errors = second.communicate(timeout=LIMIT)
    finally:
        second.kill()
    assert output == f"total {sum(number**2 for number in NUMBERS)}\n", errors
    assert sorted((here / "log").read_text().split()) == sorted(submitted)


def test_a_job_that_fails_in_the_queue_fails_in_the_workflow(here: Path) -> None:
    """The exit status of the job in the queue is that of the script, and in the error."""
    (here / "fail.py").write_text(
        dedent(
            """
            from pathlib import Path
            from parman import *

            env = {"LOG": Path("log").absolute()}
            square = job_template("templates/square", JobSettings(script="submit.sh", env=env))
            try:
                square("seven", number=7)
            except JobFailed as error:
                print(error.status)
            """
        )
    )
    process = start(here, "fail.py")
    output, errors = process.communicate(timeout=LIMIT)
    assert output == "7\n", errors
    assert "FAILED" in (here / "results" / "seven" / "sbatchwait.log").read_text()
