# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Drivers of template jobs that can be killed, and job scripts that wait at a gate."""

from __future__ import annotations

import json
import logging
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from helpers import ROOT, TIMEOUT, until_gone

from parman import InPlace, JobSettings, Scratch, Staging, job_template
from parman.jobs.clean_results import main as clean_results
from parman.jobs.directory import JobDirectory, State

MARK = "PARMAN_TEST_MARK"
"""The environment variable by which the processes of a test are found, in whatever session they are."""

_HEAD = """#!/bin/sh
say() { echo "$1 ${PWD##*/results/}" >>"$LOG"; }
number=$(sed -n 's/.*"number": \\([0-9]*\\).*/\\1/p' kwargs.json)
say start
"""


def write_template(path: Path, mock: str, script: str) -> Path:
    """Make a template with a shell script that has `say` and `$number` at hand, and logs its start."""
    path.mkdir(parents=True)
    (path / "jobinfo.py").write_text(f"from pathlib import Path\n\n{mock}\n")
    (path / "run").write_text(_HEAD + script)
    (path / "run").chmod(0o755)
    return path


def logged(folder: Path, word: str = "start") -> list[str]:
    """Return the locators of the jobs whose scripts have logged the word, once for each time."""
    log = folder / "log"
    lines = log.read_text().split("\n") if log.exists() else []
    return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]


def marked(mark: str) -> list[int]:
    """Return the processes that carry the mark and are alive."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if f"{MARK}={mark}\0".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def all_gone(mark: str, timeout: float = TIMEOUT) -> bool:
    """Wait until no process carries the mark."""
    return until_gone(lambda: marked(mark), timeout)


def kill_all(mark: str) -> None:
    """Kill all processes that carry the mark, each with its group, so that none sees the end of another."""
    while left := marked(mark):
        for pid in left:
            try:
                group = os.getpgid(pid)
                os.kill(pid, signal.SIGKILL) if group == os.getpgrp() else os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                pass


class ScriptGate:
    """A gate for scripts: they write a line into one pipe, and read one from another.

    Both pipes are held open for reading and writing, so that opening them blocks nobody.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.template = folder
        for name in ("here", "open"):
            os.mkfifo(folder / name)
        self._here = os.open(folder / "here", os.O_RDWR)
        self._open = os.open(folder / "open", os.O_RDWR)
        self._unread = b""

    def arrival(self, timeout: float = TIMEOUT) -> list[str]:
        """Wait for a line, and return its words."""
        end = time.monotonic() + timeout
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._here], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"nobody came to the gate in time; before: {self._unread!r}"
            self._unread += os.read(self._here, 4096)
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode().split()

    def is_quiet(self) -> bool:
        """Tell whether nobody has come whose arrival was not asked for."""
        return not self._unread and not select.select([self._here], [], [], 0)[0]

    def open(self, count: int = 100) -> None:
        """Let so many scripts pass."""
        os.write(self._open, b"go\n" * count)

    def close(self) -> None:
        """Close both pipes, after letting everybody pass."""
        self.open()
        os.close(self._here)
        os.close(self._open)


@contextmanager
def script_gate(folder: Path) -> Iterator[ScriptGate]:
    """Make a gate, which is opened at the end."""
    gate = ScriptGate(folder)
    try:
        yield gate
    finally:
        gate.close()


# --- a job that is held up ---

HOLD = """
echo begun
echo complaint >&2
echo $$ $PPID >"$GATE/here"
read -r _ <"$GATE/open"
echo "$number" >result.json
say end
"""
"""A script that stops at the gate, where it leaves its own number and that of the shell that watches it."""


@contextmanager
def held_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptGate]:
    """Make a template whose script stops at a gate; what it starts carries the name of the folder as its mark."""
    monkeypatch.chdir(folder)
    for name, value in ((MARK, str(folder)), ("LOG", str(folder / "log")), ("GATE", str(folder / "gate"))):
        monkeypatch.setenv(name, value)
    template = write_template(folder / "hold", "def mock(number: int = 7):\n    return 1", HOLD)
    with script_gate(folder / "gate") as gate:
        gate.template = template
        yield gate
    kill_all(str(folder))


class Told(logging.Handler):
    """Waits for a record of the logger `parman`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.event = threading.Event()
        self.message = ""

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.message = record.getMessage()
            self.event.set()

    def __enter__(self) -> Self:
        logging.getLogger("parman").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("parman").removeHandler(self)


def ended(pid: str) -> bool:
    """Wait until a process has ended, which need not be a child."""
    try:
        fd = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return True
    with os.fdopen(fd):
        return bool(select.select([fd], [], [], TIMEOUT)[0])


def is_free(directory: Path) -> bool:
    """Tell whether nobody holds the lock of a job."""
    lock = JobDirectory(directory).lock()
    taken = lock.try_to_take()
    lock.release()
    return taken


def staging(kind: str) -> Staging:
    """Return a staging by its name."""
    return InPlace("results") if kind == "inplace" else Scratch("results", "scratch")


def job_directory(locator: str) -> Path:
    """Return where a job is kept."""
    return InPlace("results").top / locator


def job_with(gate: ScriptGate, kind: str, **settings: Any) -> Any:
    """Return the job at the gate with settings of its own."""
    return job_template(gate.template, JobSettings(staging=staging(kind), **settings))


# --- a workflow that is killed again and again ---

_WORK = """
work() { n=0; while [ $n -lt 10000 ]; do n=$((n+1)); done; }
"""
_MAKE_MOCK = "def mock(number: int):\n    return {'file': Path('out.txt'), 'number': 1}"
_JOIN_MOCK = "def mock(files: list[Path], number: int):\n    return Path('all.txt'), 1"
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
