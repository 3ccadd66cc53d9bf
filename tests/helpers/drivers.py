# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A workflow of template jobs whose drivers are killed again and again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from parman.jobs.clean_results import main as clean_results
from parman.jobs.directory import JobDirectory, State

from . import ROOT, TIMEOUT
from .processes import MARK, all_gone, kill_all
from .templates import logged, write_template

__all__ = ["DRIVER", "JOBS", "Campaign"]

_WORK = """
work() { n=0; while [ $n -lt 10000 ]; do n=$((n+1)); done; }
"""

_MAKE = (
    _WORK
    + """
{ echo "first $number"; work; echo "second $number"; } >out.txt
echo "made $number"
printf '{"file": "out' >result.json; work; printf '.txt", "number": %d}' "$number" >>result.json
say end
"""
)

_JOIN = (
    _WORK
    + """
cat $(sed -n 's/^ *"\\(.*txt\\)",\\{0,1\\}$/\\1/p' kwargs.json) >part.txt
work; { echo "joined $number"; cat part.txt; } >all.txt
printf '["all.' >result.json; work; printf 'txt", %d]' "$number" >>result.json
say end
"""
)

DRIVER = """
import json, os, sys
from pathlib import Path
from parman import InPlace, JobSettings, Scratch, job_template, resolve, task, workflow

folder, runner, staging, *rerun = sys.argv[1:]
os.chdir(folder)
make, join = job_template("make"), job_template("join")

@task
def length(path: Path) -> int:
    return len(path.read_text())

chosen = InPlace("results") if staging == "inplace" else Scratch("results", "scratch")
os.write(1, b"READY\\n")
with workflow(runner, jobs=JobSettings(staging=chosen, rerun=rerun, at_once=2)):
    made = [make(f"g0/make/{i}", number=i) for i in range(4)]
    joined = [join(f"g0/{i}", files=[m["file"] for m in made[i:i + 2]], number=i) for i in range(3)]
    last = join("g1/last", files=[file for file, _ in joined], number=length(joined[0][0]))
    values = resolve([made, joined, last])
print("VALUES", json.dumps(values, default=str))
"""

JOBS = 8
"""How many jobs the workflow of DRIVER has."""

_KEPT = ("out.txt", "all.txt", "result.json", "kwargs.json", "kwargs.sha256", "template.sha256", "run.out", "run.err")


class Campaign:
    """One workflow that is run to its end, whatever happens to its drivers.

    Parameters
    ----------
    folder
        Where all of it lives.
    runner, staging
        What the driver is told.
    rerun
        Let unfinished jobs be run again; without it, the directories of such jobs are removed between.
    """

    def __init__(self, folder: Path, runner: str, staging: str, rerun: bool = False) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.results = folder / "results"
        self.arguments = [str(folder), runner, staging, *(["unfinished"] if rerun else [])]
        self.rerun = rerun
        self.mark = uuid.uuid4().hex
        self.kills = 0
        self.values: Any = None
        write_template(
            folder / "make", "def mock(number: int):\n    return {'file': Path('out.txt'), 'number': 1}", _MAKE
        )
        write_template(
            folder / "join", "def mock(files: list[Path], number: int):\n    return Path('all.txt'), 1", _JOIN
        )

    def start(self) -> subprocess.Popen[str]:
        """Start a driver, and wait until it has loaded the library."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOG": str(self.folder / "log"), MARK: self.mark}
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert driver.stdout is not None
        assert driver.stdout.readline() == "READY\n"
        return driver

    def finish(self) -> float:
        """Run a driver to its end; return how long that took, once the library was loaded [s]."""
        with self.start() as driver:
            begin = time.monotonic()
            self._take_values(driver)
        return time.monotonic() - begin

    def _take_values(self, driver: subprocess.Popen[str]) -> None:
        try:
            output, errors = driver.communicate(timeout=TIMEOUT)
        finally:
            driver.kill()
        assert driver.returncode == 0, errors
        self.values = json.loads(output.partition("VALUES ")[2])

    def run_and_kill(self, delay: float, alone: bool) -> None:
        """Run a driver, and kill it after some time [s], by itself or with all that it has started."""
        with self.start() as driver:
            try:
                driver.wait(delay)
            except subprocess.TimeoutExpired:
                driver.kill()
                self.kills += 1
                if not alone:
                    kill_all(self.mark)
                driver.communicate()
            else:
                self._take_values(driver)

    def finished(self) -> set[str]:
        """Return the jobs of which it is written down that they have finished."""
        found = set()
        for path in self.results.rglob("job.status"):
            if ".old." in str(path):
                continue
            record = JobDirectory(path.parent)
            directory = record.read_status().directory
            if State.FINISHED in (record.state(), directory and JobDirectory(directory).state()):
                found.add(str(path.parent.relative_to(self.results)))
        return found

    def clean(self) -> None:
        """Remove what did not finish."""
        if self.results.exists() and not self.rerun:
            assert clean_results([str(self.results)]) == 0

    def kept(self) -> dict[str, bytes]:
        """Return the content of all files that should be the same in each run."""
        files = [path for path in self.results.rglob("*") if path.name in _KEPT and ".old." not in str(path)]
        return {str(path.relative_to(self.results)): path.read_bytes() for path in sorted(files)}

    def be_killed(self, rng: random.Random, times: int, longest: float, alone: bool) -> None:
        """Kill drivers at random moments, and restart them until all is done."""
        for turn in range(times + 1):
            finished, before = self.finished(), len(logged(self.folder))
            if turn < times:
                self.run_and_kill(rng.uniform(0, longest), alone)
            else:
                self.finish()
            again = finished & set(logged(self.folder)[before:])
            assert not again, f"ran again though finished: {again}"
            self.clean()
        if alone:
            starts = logged(self.folder)
            assert len(starts) == len(set(starts)), f"started twice: {starts}"

    def check(self, undisturbed: Campaign) -> None:
        """See that all is as it is after an undisturbed run."""
        assert self.values == undisturbed.values
        assert self.kept() == undisturbed.kept()
        assert set(logged(self.folder)) == self.finished()
        assert len(self.finished()) == JOBS
        assert all_gone(self.mark)
