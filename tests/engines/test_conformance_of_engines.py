# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The conformance suite on engines: each in a pytest of its own.

Some engines need surroundings, such as `mpirun`. The threads, sockets and processes of all of them would disturb tests
that count such things.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.cluster import call, until

LIMIT = 900
"""How long one run of the suite may take [s]."""

PACKAGES = {
    "parsl": "parsl",
    "parsl-threads": "parsl",
    "parsl-pool": "parsl",
    "dask": "distributed",
    "executorlib": "executorlib",
    "mpi": "mpi4py",
    "parsl-slurm-1": "parsl",
    "parsl-slurm-2": "parsl",
    "executorlib-slurm": "pysqa",
}
"""The engines, as in `conformance/backends.py`, and what has to be installed for each."""

PYTEST = [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", "tests/conformance"]
MPI = ["mpirun", "-n", "3", "--oversubscribe", sys.executable, "-m", "mpi4py.futures", *PYTEST[1:]]
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

pytestmark = [pytest.mark.engines, pytest.mark.timeout(LIMIT + 20)]


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Give an engine that is installed."""
    name: str = request.param
    if importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    return name


def run_conformance(engine: str, command: list[str] = PYTEST) -> int:
    """Run the suite on an engine, and return how many tests have passed: all that were run."""
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **AS_ROOT, "PARMAN_TEST_ENGINE": engine},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
    passed = re.search(r"^(\d+) passed", ended.stdout, re.MULTILINE)
    assert passed is not None, ended.stdout[-5000:]
    return int(passed[1])


@pytest.mark.parametrize("engine", ["parsl", "parsl-threads", "parsl-pool", "dask", "executorlib"], indirect=True)
def test_the_conformance_suite(engine: str) -> None:
    """The whole suite holds on workers of this machine."""
    assert run_conformance(engine) > 150


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun (Debian's openmpi-bin)")
@pytest.mark.parametrize("engine", ["mpi"], indirect=True)
def test_the_conformance_suite_on_ranks(engine: str) -> None:
    """The whole suite holds on mpi4py's pool: the driver is one rank of three, the others run the calls."""
    assert run_conformance(engine, MPI) > 150


DEATH = """
import os, signal, sys
from contextlib import ExitStack
sys.path.insert(0, {demo!r})
from openers import ENGINES
from parman import WorkerDied, resolve, task, workflow

@task
def die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)

@task
def double(x: int) -> int:
    return 2 * x

if __name__ == "__main__":
    with ExitStack() as stack:
        with workflow(ENGINES[{engine!r}](stack).runner):
            assert resolve(double(4)) == 8
            dead = die()
            dependent = double(dead)
            error = dead.exception({limit})
            assert isinstance(error, WorkerDied), repr(error)
            assert "die(), called at " in str(error), error
            assert dependent.exception({limit}) is error
        if {engine!r} == "dask":  # It can't be closed while it starts a worker in place of the dead one.
            from distributed import default_client
            default_client().wait_for_workers(2, timeout={limit})
    print("SAID", error)
"""


@pytest.mark.parametrize("engine", ["parsl", "dask", "executorlib"], indirect=True)
def test_a_worker_that_is_killed(engine: str, tmp_path: Path) -> None:
    """The call that ran there, or had been run there too often, fails with `WorkerDied`, and what needed it with it."""
    script = tmp_path / "script.py"
    script.write_text(DEATH.format(demo=str(ROOT / "demos" / "engines"), engine=engine, limit=LIMIT))
    ended = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "SAID" in ended.stdout


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("engine", ["parsl-slurm-1", "parsl-slurm-2", "executorlib-slurm"], indirect=True)
def test_the_core_of_the_conformance_suite_in_a_queue(engine: str) -> None:
    """The core of the suite holds on workers in a real Slurm, and none is left there."""
    before = queue()
    assert run_conformance(engine, [*PYTEST, "-m", "core"]) > 40
    until(lambda: queue() <= before, lambda: call("squeue"))  # Slurm takes a moment to see that a job is done


def queue() -> set[str]:
    """Return the jobs that are not done."""
    return set(call("squeue", "-h", "-o", "%A").split())
