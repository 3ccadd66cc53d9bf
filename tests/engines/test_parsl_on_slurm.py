# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Workflows through Parsl on a real Slurm: blocks of workers that come, are cancelled, and are replaced."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT
from helpers.cluster import LIMIT, call, until
from helpers.cluster_parsl import LOST, configuration

from parman import JobSettings, ParslRunner, WorkerDied, job_template, resolve, task, workflow

pytest.importorskip("parsl", reason="Parsl is not installed")


pytestmark = [
    pytest.mark.engines,
    pytest.mark.slurm,
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("cluster"),
    pytest.mark.filterwarnings("default"),  # Parsl leaves sockets and processes to the collector
]


@task
def node_of(number: int, gate: Path) -> tuple[int, str, str]:
    """Say where this runs, when the gate is open."""
    while not gate.exists():
        time.sleep(0.05)  # in another process, which no gate of this one reaches
    return number, os.environ.get("SLURMD_NODENAME", ""), str(Path.cwd())


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gate(here: Path) -> Path:
    """Give a gate that is closed."""
    return here / "gate"


def slurm_jobs(runner: ParslRunner) -> list[str]:
    """Return the numbers of the Slurm jobs of a runner."""
    kernel: Any = runner.executor
    return [str(job) for executor in kernel.dfk.executors.values() for job in getattr(executor, "job_ids_to_block", ())]


@pytest.mark.parametrize("nodes", [1, 2])
def test_calls_run_on_the_nodes(here: Path, gate: Path, nodes: int) -> None:
    """Calls run on the nodes of the block, in the driver's directory; the block's job is gone when it is left."""
    gate.touch()
    runner = ParslRunner(configuration(here / "runinfo", nodes))
    with workflow(runner):
        calls = [node_of(i, gate) for i in range(20)]
        found = resolve(total([number for number, _, _ in calls]))
        places = resolve(calls)
        jobs = slurm_jobs(runner)
    assert found == sum(range(20))
    assert {directory for _, _, directory in places} == {str(here)}
    assert all(node for _, node, _ in places)
    assert len(jobs) == 1
    until(lambda: jobs[0] not in call("squeue", "-h", "-o", "%A").split(), lambda: call("squeue"))


def test_a_cancelled_block_is_an_error_and_no_hang(here: Path, gate: Path) -> None:
    """When the only block is cancelled, what ran and what waited fails within the heartbeat's time, and says why."""
    runner = ParslRunner(configuration(here / "runinfo"))
    with runner, workflow(runner):
        calls = [node_of(i, gate) for i in range(6)]
        until(lambda: slurm_jobs(runner) and running(slurm_jobs(runner)[0]), lambda: call("squeue"))
        until(lambda: has_workers(runner), lambda: call("squeue"))
        start = time.monotonic()
        call("scancel", slurm_jobs(runner)[0])
        errors = resolve(calls, LIMIT, return_exceptions=True)
        took = time.monotonic() - start
        failures = [error for place in errors for error in place]
        assert all(isinstance(error, WorkerDied) for error in failures)
        assert any("ManagerLost" in str(error) for error in failures)
        assert any("no workers are left in Parsl's executor 'slurm'" in str(error) for error in failures)
        assert took < 3 * LOST


def running(job: str) -> bool:
    """Tell whether a job of Slurm's runs."""
    return call("squeue", "-h", "-j", job, "-o", "%T", check=False).strip() == "RUNNING"


def has_workers(runner: ParslRunner) -> bool:
    """Tell whether workers have come, and were given calls."""
    kernel: Any = runner.executor
    (executor,) = (one for one in kernel.dfk.executors.values() if one.label == "slurm")
    return any(manager["tasks"] for manager in executor.connected_managers())


def test_a_second_block_takes_over(here: Path, gate: Path) -> None:
    """Where the configuration asks for it, a new block runs what the cancelled one has not begun."""
    runner = ParslRunner(configuration(here / "runinfo", blocks=1, strategy="simple"))
    with runner, workflow(runner):
        calls = [node_of(i, gate) for i in range(6)]
        until(lambda: slurm_jobs(runner) and running(slurm_jobs(runner)[0]), lambda: call("squeue"))
        until(lambda: has_workers(runner), lambda: call("squeue"))
        call("scancel", slurm_jobs(runner)[0])
        gate.touch()
        ended = resolve([number for number, _, _ in calls], LIMIT, return_exceptions=True)
        lost = [error for error in ended if isinstance(error, WorkerDied)]
        assert len(lost) <= 2
        assert [number for number in ended if isinstance(number, int)] == list(range(len(lost), 6))
        assert len(slurm_jobs(runner)) == 2


def test_jobs_run_on_the_nodes(here: Path) -> None:
    """Template jobs run where the tasks run: their scripts are started by the workers on the nodes."""
    template = here / "templates" / "where"
    template.mkdir(parents=True)
    (template / "jobinfo.py").write_text("def mock(*, number: int) -> str:\n    return ''\n")
    (template / "run").write_text('#!/bin/sh\nprintf \'"%s"\' "$SLURMD_NODENAME" > result.json\n')
    (template / "run").chmod(0o755)
    where = job_template(template)
    with workflow(ParslRunner(configuration(here / "runinfo")), jobs=JobSettings()):
        found = resolve([where(f"where/{i}", number=i) for i in range(4)])
    assert all(found)
    assert len(list(Path("results/where").glob("*/result.json"))) == 4


def test_the_main_demo_on_a_cluster(here: Path) -> None:
    """The main demo computes the same table on the cluster as on this machine."""
    pytest.importorskip("ase", reason="the demo needs ASE")
    script = """
import sys
from pathlib import Path
sys.path[:0] = [{demo!r}, {tests!r}]
import eos
from helpers.cluster_parsl import configuration
from parman import ParslRunner
eos.main(ParslRunner(configuration(Path("runinfo"))) if sys.argv[1] == "slurm" else "serial", Path(sys.argv[1]))
"""
    (here / "script.py").write_text(script.format(demo=str(ROOT / "demos" / "eos"), tests=str(ROOT / "tests")))
    for runner in ("slurm", "serial"):
        ended = subprocess.run(
            [sys.executable, "script.py", runner], capture_output=True, text=True, timeout=LIMIT, check=False
        )
        assert ended.returncode == 0, ended.stderr
    assert (here / "slurm" / "eos.csv").read_bytes() == (here / "serial" / "eos.csv").read_bytes()
