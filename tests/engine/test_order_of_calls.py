# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""In which order ready calls are run: what uses results goes first, so that results don't pile up."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from helpers import TIMEOUT

from parman import ConcurrentRunner, cancel, resolve, task, workflow


class Log:
    """Notes from tasks that run on threads."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._lock = threading.Lock()

    def note(self, line: str) -> None:
        """Add a line."""
        with self._lock:
            self.lines.append(line)


@task(snapshot=False)
def begin(log: Log, name: str) -> str:
    log.note(name)
    return name


@task(snapshot=False)
def go_on(log: Log, name: str, before: Any) -> str:
    log.note(name)
    return name


@task(snapshot=False)
def wait_for(event: threading.Event) -> bool:
    return event.wait(TIMEOUT)


@pytest.fixture
def log():
    """Make a log."""
    return Log()


@pytest.fixture
def gate():
    """Make a gate, which opens in the end."""
    event = threading.Event()
    yield event
    event.set()


def executors() -> list[Any]:
    """Return runners with a single thread."""
    return [
        pytest.param(lambda: ConcurrentRunner.threads(1), id="own"),
        pytest.param(lambda: ConcurrentRunner(ThreadPoolExecutor(1)), id="stdlib"),
    ]


@pytest.mark.parametrize("make_runner", executors())
def test_first_come_first_served(make_runner: Callable[[], Any], log, gate):
    """Calls that start from nothing run in the order in which they were made."""
    with workflow(make_runner()):
        wait_for(gate)
        for i in range(50):
            begin(log, str(i))
        gate.set()
    assert log.lines == [str(i) for i in range(50)]


@pytest.mark.parametrize("make_runner", executors())
def test_results_first(make_runner: Callable[[], Any], log, gate):
    """Calls that use results run before those that start from nothing, which were made earlier."""
    with workflow(make_runner()):
        first = wait_for(gate)
        for i in range(5):
            begin(log, f"begin {i}")
        for i in range(5):
            go_on(log, f"go on {i}", first)
        gate.set()
    assert log.lines == [f"go on {i}" for i in range(5)] + [f"begin {i}" for i in range(5)]


@pytest.mark.parametrize("make_runner", executors())
def test_equals_in_the_order_in_which_they_became_ready(make_runner: Callable[[], Any], log, gate):
    """Among calls that use results, the one whose results were there first runs first."""
    with workflow(make_runner()):
        wait_for(gate)
        firsts = [begin(log, f"begin {i}") for i in range(3)]
        for i in (2, 0, 1):
            go_on(log, f"go on {i}", firsts[i])
        gate.set()
    assert log.lines == [f"{what} {i}" for i in range(3) for what in ("begin", "go on")]


@pytest.mark.parametrize("make_runner", executors())
def test_chains_run_to_their_ends(make_runner: Callable[[], Any], log, gate):
    """One chain after another, rather than all first stages and then all second ones."""
    with workflow(make_runner()):
        wait_for(gate)
        for i in range(20):
            first = begin(log, f"{i} a")
            second = go_on(log, f"{i} b", first)
            go_on(log, f"{i} c", second)
        gate.set()
    assert log.lines == [f"{i} {stage}" for i in range(20) for stage in "abc"]


def test_cancelled_calls_are_passed_over(log, gate):
    """A cancelled call in the queue costs no other its place."""
    with workflow("threads:1"):
        wait_for(gate)
        calls = [begin(log, str(i)) for i in range(10)]
        assert cancel(calls[::2])
        gate.set()
    assert log.lines == [str(i) for i in range(1, 10, 2)]


# --- 500 chains ---


@task
def load(number: int, folder: str) -> bytes:
    return _held(folder, bytes(1_100_000))


@task
def refine(content: bytes, folder: str) -> bytes:
    return _held(folder, content[::-1])


@task
def reduce_to(content: bytes, folder: str) -> int:
    _held(folder, content)
    return len(content)


def _held(driver: str, content: bytes) -> bytes:
    """Note how many memory files the driver holds, and so how many intermediate results."""
    held = 0
    for fd in Path(f"/proc/{driver}/fd").iterdir():
        try:
            held += "parman" in str(fd.readlink())
        except OSError:
            continue
    with Path(os.environ["PARMAN_TEST_PEAK"]).open("a") as peaks:
        peaks.write(f"{held}\n")
    return content


@task
def wait_for_writer(fifo: str) -> str:
    return Path(fifo).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "make_runner",
    [
        pytest.param(lambda: ConcurrentRunner.processes(2), id="own"),
        pytest.param(lambda: ConcurrentRunner(ProcessPoolExecutor(2, get_context("forkserver"))), id="stdlib"),
    ],
)
def test_peak_of_many_chains(make_runner, tmp_path, monkeypatch):
    """500 chains of three stages hold no more intermediate results than two workers need."""
    peaks, fifos = tmp_path / "peaks", [tmp_path / "first", tmp_path / "second"]
    for fifo in fifos:
        os.mkfifo(fifo)
    monkeypatch.setenv("PARMAN_TEST_PEAK", str(peaks))
    me = str(os.getpid())
    with make_runner() as runner, workflow(runner):
        gates = [wait_for_writer(str(fifo)) for fifo in fifos]
        totals = [reduce_to(refine(load(i, me), me), me) for i in range(500)]
        for fifo in fifos:
            fifo.write_text("go")
        assert sum(resolve(totals)) == 500 * 1_100_000
        resolve(gates)
    assert max(map(int, peaks.read_text().split())) <= 2 * 2
