# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`parman-sbatch-wait` on a real Slurm; see `slurm` for where that comes from."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.cluster import LIMIT, call, until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(120)]

RUN = [sys.executable, "-c", "import sys; from parman.slurm.sbatch_wait import main; sys.exit(main())"]

# --- Directories in which the program is called.


class Place:
    """A directory in which the program is called, with programs that come before the real ones on PATH."""

    def __init__(self, folder: Path, name: str = "work") -> None:
        self.folder = folder
        self.work = folder / name
        self.work.mkdir()
        (folder / "bin").mkdir(exist_ok=True)
        self.running: list[subprocess.Popen[str]] = []

    def program(self, name: str, text: str) -> None:
        """Put a program before the real one, which is `$REAL`."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/bash\nREAL={shutil.which(name)}\n{text}\n")
        path.chmod(0o755)

    def start(self, *args: str, timeout: float = 0.3) -> subprocess.Popen[str]:
        """Start the program."""
        environment = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "PARMAN_SBATCH_CACHE_TIMEOUT": str(timeout),
            "PARMAN_SBATCH_POLLING_INTERVAL": "0.1",
            "PARMAN_SBATCH_TIME_MARGIN": "0.1",
        }
        with (self.work / "output").open("a") as output:
            process = subprocess.Popen(
                [*RUN, *args],
                cwd=self.work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
            )
        self.running.append(process)
        return process

    @property
    def steps(self) -> list[str]:
        """The steps in the log, without their times."""
        log = self.work / "sbatchwait.log"
        if not log.exists():
            return []
        return [line.partition(" ")[2] for line in log.read_text().splitlines()[1:]]

    @property
    def job(self) -> str:
        """The number of the job, as soon as the log has it."""
        until(lambda: self.steps, lambda: (self.work / "output").read_text())
        return self.steps[0].split()[1]

    def until_step(self, step: str) -> None:
        """Wait until the log has a step."""
        until(lambda: step in self.steps, lambda: (step, self.steps, (self.work / "output").read_text()))

    def jobs(self) -> list[str]:
        """Return the numbers of all jobs that were submitted from here."""
        lines = call("scontrol", "-o", "show", "job").splitlines()
        return [line.split()[0] for line in lines if f" WorkDir={self.work} " in line]


def ended(process: subprocess.Popen[str]) -> int:
    """Wait for the end of the program."""
    return process.wait(LIMIT)


@pytest.fixture
def quick_cluster(cluster: None) -> None:
    """See that the cluster was set up by us: others requeue after minutes, and their nodes are not to be taken down."""
    if not re.search(r"^ClusterName\s*= parman$", call("scontrol", "show", "config"), re.MULTILINE):
        pytest.skip("only on the cluster of .ci/slurm")


@pytest.fixture
def places(cluster: None, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Make places; what is left of them is ended."""
    made: list[Place] = []

    def make(name: str = "work") -> Place:
        made.append(Place(tmp_path, name))
        return made[-1]

    yield make
    for place in made:
        for process in place.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        if place.steps:
            call("scancel", "--quiet", place.job, check=False)


@pytest.fixture
def place(places: Callable[..., Place]) -> Place:
    """Make one place."""
    return places()


# --- What is promised.

STARTED = ": >started; "
"""For scripts: say that the job has been started."""

LONG = f"{STARTED}sleep 300"


def until_started(place: Place) -> None:
    """Wait until the script of a job runs."""
    until(lambda: (place.work / "started").exists(), lambda: place.steps)
    (place.work / "started").unlink()


def test_submits_and_waits(place: Place) -> None:
    """A job is submitted and waited for, and runs once."""
    assert ended(place.start("--wrap", "echo once >>runs")) == 0
    assert (place.work / "runs").read_text() == "once\n"
    assert place.steps[-1] == "COMPLETED"
    assert place.jobs() == [f"JobId={place.job}"]


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -KILL $$", 137), ("kill -TERM $$", 143)])
def test_scripts_that_fail(place: Place, script: str, status: int) -> None:
    """The exit status is the script's; a signal counts from 128."""
    assert ended(place.start("--wrap", script)) == status
    assert place.steps[-2:] == [f"Exit {status}", "FAILED"]


def test_cancelled_while_running(place: Place) -> None:
    """A job that is cancelled while it runs is no success."""
    process = place.start("--wrap", LONG)
    until_started(place)
    call("scancel", place.job)
    assert ended(process) == 143
    assert place.steps[-1] == "CANCELLED"


def test_cancelled_in_the_queue(place: Place) -> None:
    """A job that is cancelled before it ran has no status of its own: it is 1."""
    process = place.start("--hold", "--wrap", "true")
    place.until_step("PENDING")
    call("scancel", place.job)
    assert ended(process) == 1
    assert place.steps[-1] == "CANCELLED"


def test_time_limit(place: Place) -> None:
    """A job that is ended for its time is no success."""
    process = place.start("--time=1", "--wrap", LONG)
    until_started(place)
    call("scontrol", "update", f"jobid={place.job}", "EndTime=now+1")
    assert ended(process) == 143
    assert place.steps[-1] == "TIMEOUT"


def test_deadline(place: Place) -> None:
    """A job that misses its deadline is no success."""
    assert ended(place.start("--deadline=now+3seconds", "--time=1", "--wrap", "true")) == 129
    assert place.steps[-1] == "DEADLINE"


@pytest.mark.usefixtures("quick_cluster")
def test_requeued(place: Place) -> None:
    """A job that is put back into the queue is waited for until its second run has ended."""
    process = place.start("--wrap", f'{STARTED} test -n "$SLURM_RESTART_COUNT" || sleep 300; exit 7')
    until_started(place)
    place.until_step("RUNNING")
    seen = len(place.steps)
    call("scontrol", "requeue", place.job)
    until(lambda: "PENDING" in place.steps[seen:], lambda: place.steps)
    assert ended(process) == 7
    assert place.steps[-1] == "FAILED"


@pytest.mark.usefixtures("quick_cluster")
def test_node_that_fails(place: Place) -> None:
    """A job that goes down with its node is no success."""
    process = place.start("--no-requeue", "-w", "n3", "--wrap", LONG)
    until_started(place)
    call("scontrol", "update", "nodename=n3", "state=down", "reason=test")
    try:
        assert ended(process) in (1, 143)
        assert place.steps[-1] == "NODE_FAIL"
    finally:
        call("scontrol", "update", "nodename=n3", "state=resume", check=False)  # it may have come back by itself


def test_array(place: Place) -> None:
    """An array has ended with its last task, and the worst status counts."""
    assert ended(place.start("--array=0-3", "--wrap", "exit $((SLURM_ARRAY_TASK_ID % 3))")) == 2
    assert len(place.jobs()) == 4


def test_heterogeneous(place: Place) -> None:
    """All components of a heterogeneous job belong to it."""
    assert ended(place.start("-n1", ":", "-n1", "--wrap", "exit 4")) == 4
    assert len(place.jobs()) == 2


def test_sbatch_refuses(place: Place) -> None:
    """What `sbatch` says is passed on, and nothing keeps the next call from submitting."""
    assert ended(place.start("--partition=nowhere", "--wrap", "true")) == 1
    assert "nothing was submitted" in (place.work / "output").read_text()
    assert ended(place.start("--wrap", "true")) == 0


def test_killed_while_waiting(place: Place) -> None:
    """After a SIGKILL the next program waits for the same job."""
    first = place.start("--wrap", LONG)
    until_started(place)
    place.until_step("RUNNING")
    first.kill()
    assert ended(first) == -signal.SIGKILL
    again = place.start("--wrap", LONG)
    call("scancel", place.job)
    assert ended(again) == 143
    assert len(place.jobs()) == 1


@pytest.mark.parametrize(
    ("program", "options"),
    [
        ('"$REAL" "$@"; kill -KILL $PPID', []),
        ('"$REAL" "$@" >/dev/null; kill -KILL $PPID', []),
        ('"$REAL" "$@" >/dev/null; kill -KILL $PPID', ["--comment=mine"]),
        ('setsid --wait "$REAL" "$@" >/dev/null; kill -KILL $PPID', []),
    ],
    ids=["number", "mark and session", "session", "mark"],
)
def test_killed_between_submission_and_log(place: Place, program: str, options: list[str]) -> None:
    """A job that the log does not know is found again by what it bears, and not submitted twice."""
    place.program("sbatch", program)
    assert ended(place.start(*options, "--wrap", "exit 5")) == -signal.SIGKILL
    assert place.steps == []
    assert ended(place.start(*options, "--wrap", "exit 5")) == 5
    assert len(place.jobs()) == 1


def test_comment_of_the_script_stays(place: Place) -> None:
    """The mark does not take the place of a comment in the user's script."""
    (place.work / "job.sh").write_text("#!/bin/bash\n#SBATCH --comment=mine\n")
    assert ended(place.start("job.sh")) == 0
    assert "Comment=mine" in call("scontrol", "-o", "show", "job", place.job)


def test_two_at_once(place: Place) -> None:
    """Of two programs in a directory one submits, and both end with the status of the job."""
    processes = [place.start("--wrap", "exit 6") for _ in range(2)]
    assert [ended(process) for process in processes] == [6, 6]
    assert len(place.jobs()) == 1
    assert place.steps[-2:] == ["Exit 6", "FAILED"]


def test_many_programs_ask_seldom(places: Callable[..., Place], tmp_path: Path) -> None:
    """Fifty waiting programs together call `scontrol` no more often than one may."""
    calls = tmp_path / "calls"
    timeout = 1.0
    all_places = [places(f"work{number}") for number in range(50)]
    all_places[0].program("scontrol", f'echo "$EPOCHREALTIME $*" >>{calls}; exec "$REAL" "$@"')
    processes = [place.start("--hold", "--wrap", "true", timeout=timeout) for place in all_places]
    for place in all_places:
        place.until_step("PENDING")
    before = len(calls.read_text().splitlines())
    until(lambda: len(calls.read_text().splitlines()) >= before + 4, lambda: calls.read_text())
    call("scancel", *(place.job for place in all_places))
    assert [ended(process) for process in processes] == [1] * 50
    lines = [line.split(maxsplit=1) for line in calls.read_text().splitlines()]
    assert {line[1] for line in lines} == {"-o show job"}
    times = [float(line[0]) for line in lines]
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.8 * timeout
