# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a workflow costs in memory, and what it lets go of.

The costs are measured in an interpreter of its own, on the whole family of processes: the plain memory of each
process (the pages of shared memory are left out there), and once the pages of each anonymous memory file that any
of them has open, mapped or not. The pages of a map that were written are plain memory, and count once more.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest
from helpers import TIMEOUT, died, in_thread, run_script

from parman import ConcurrentRunner, Length, WorkflowFailed, cancel, resolve, share, task, workflow

MB = 1_000_000
BIG = 200 * MB
RUNNERS = ("threads:2", "processes:2")


# --- the meter ---


def family() -> list[Path]:
    """Return the folders in /proc of this process and all its descendants."""
    found, todo = [], [os.getpid()]
    while todo:
        folder = Path("/proc") / str(todo.pop())
        try:
            todo += [int(pid) for tid in (folder / "task").iterdir() for pid in (tid / "children").read_text().split()]
        except OSError:
            continue
        found.append(folder)
    return found


def plain_memory(folder: Path) -> int:
    """Return the memory of a process without shared memory, by its share in what it shares with others [bytes]."""
    lines = dict(line.split(":") for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
    return sum(int(lines[name].split()[0]) * 1024 for name in ("Pss_Anon", "Pss_File"))


def memory_files(folder: Path) -> dict[int, int]:
    """Return for each memory file that a process has open the size of its pages [bytes]."""
    found = {}
    for fd in (folder / "fd").iterdir():
        try:
            if "parman" in str(fd.readlink()):
                info = fd.stat()
                found[info.st_ino] = info.st_blocks * 512
        except OSError:
            continue
    return found


def memory() -> int:
    """Return the memory of the whole family [bytes]."""
    plain, files = 0, {}
    for folder in family():
        try:
            plain += plain_memory(folder)
            files.update(memory_files(folder))
        except OSError:
            continue  # it has ended
    return plain + sum(files.values())


class Meter:
    """Measures again and again, for the peak, beside whatever runs."""

    def __init__(self) -> None:
        self.start = self.peak = memory()
        self._stop = threading.Event()
        self._thread = in_thread(self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, memory())

    def stop(self) -> float:
        """Return how much the peak was above the start [MB]."""
        self._stop.set()
        self._thread.join()
        return (max(self.peak, memory()) - self.start) / MB


def measured(scenario: Callable[..., float], *args: object) -> Any:
    """Return what a scenario returns in an interpreter of its own."""
    here = str(Path(__file__).parent)
    call = f"test_memory.{scenario.__name__}({', '.join(map(repr, args))})"
    text = f"import json, sys; sys.path.insert(0, {here!r}); import test_memory; print(json.dumps({call}))"
    done = run_script(text)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- tasks ---


@task
def make(number: float, size: int) -> numpy.ndarray:
    return numpy.full(size // 8, number)


@task
def read(array: numpy.ndarray, number: int) -> float:
    pages = array if number % 10 == 0 else array[:: 1 << 16]  # a few calls look at all of it
    return float(pages.mean()) + number


@task
def write_a_page(array: numpy.ndarray) -> float:
    array[:10] += 7.0
    return float(array[:20].sum())


@task
def step(array: numpy.ndarray) -> numpy.ndarray:
    return array + 1


# --- what big arrays cost ---


def warm_up(runner: str) -> None:
    """Have the workers and their numpy started, so that the meter sees only what comes after."""
    with workflow(runner):
        resolve([read(make(1.0, 80), i) for i in range(8)])


@contextmanager
def warm(name: str) -> Iterator[tuple[ConcurrentRunner, Meter]]:
    """Give a runner that has run before, and a meter that starts now."""
    kind, _, number = name.partition(":")
    with getattr(ConcurrentRunner, kind)(int(number)) as runner:
        warm_up(runner)
        yield runner, Meter()


def argument_to_many(name: str) -> float:
    """Give one array to a hundred calls."""
    with warm(name) as (runner, meter):
        array = numpy.full(BIG // 8, 1.0)
        with workflow(runner):
            sums = resolve([read(array, i) for i in range(100)])
        assert sums == [1.0 + i for i in range(100)]
        return meter.stop()


def result_to_many(name: str) -> float:
    """Let a hundred calls wait for one array."""
    with warm(name) as (runner, meter), workflow(runner):
        array = make(1.0, BIG)
        assert sum(resolve([read(array, i) for i in range(100)])) == 100 + 4950
        return meter.stop()


def late_result_to_many(name: str) -> float:
    """Give an array that is there already to a hundred calls."""
    with warm(name) as (runner, meter), workflow(runner):
        array = make(1.0, BIG)
        assert resolve(read(array, 0)) == 1.0
        assert sum(resolve([read(array, i) for i in range(100)])) == 100 + 4950
        return meter.stop()


def resolved_result_to_many(name: str) -> float:
    """Give an array that the script has looked at to calls, once as its value and once as the future."""
    with warm(name) as (runner, meter), workflow(runner):
        future = make(1.0, BIG)
        array = resolve(future)
        assert sum(resolve([read(x, i) for i in range(15) for x in (array, future)])) == 30 + 210
        return meter.stop()


def writing_calls(name: str) -> float:
    """Let tasks write a little of their copies."""
    with warm(name) as (runner, meter):
        array = numpy.full(BIG // 8, 1.0)
        with workflow(runner):
            assert resolve([write_a_page(array) for _ in range(20)]) == [90.0] * 20
        return meter.stop()


def chain(name: str) -> float:
    """Run a long chain with large results of which the script holds only the last."""
    with warm(name) as (runner, meter), workflow(runner):
        array = make(0.0, 10 * MB)
        for _ in range(200):
            array = step(array)
        assert resolve(array)[0] == 200
        return meter.stop()


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    "scenario", [argument_to_many, result_to_many, late_result_to_many, resolved_result_to_many, writing_calls]
)
def test_one_array_for_many_calls(scenario, runner):
    """An array of 200 MB in a hundred calls costs less than 500 MB, whichever way the calls come to it."""
    assert BIG / MB < measured(scenario, runner) < 500


@pytest.mark.parametrize("runner", RUNNERS)
def test_chain_costs_two_results(runner, monkeypatch):
    """A chain of 200 calls costs two of its results, and a third while one is copied; not the 200."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")  # or the C library would keep some of what was freed
    assert 10 < measured(chain, runner) < 3.5 * 10
