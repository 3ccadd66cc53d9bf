# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a call costs, counted rather than timed, so that a machine with other work gives the same figures.

The bounds are a little above what was counted. Who needs more for a good reason may raise one.
"""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from parman import ConcurrentRunner, as_future, resolve, task, workflow
from parman.futures.future import CallFuture
from parman.futures.loop import SlimCondition
from parman.pool.channel import Channel
from parman.pool.threads import PoolState

CALLS = 1000


@task
def step(x: int) -> int:
    return x + 1


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@contextmanager
def warm(kind: str) -> Iterator[None]:
    """Open a block in which the task is known."""
    make = ConcurrentRunner.threads if kind == "threads" else ConcurrentRunner.processes
    with make(2) as runner, workflow(runner):
        for _ in range(3):
            resolve([step(step(i)) for i in range(100)])
            resolve(total([step(i) for i in range(100)]))
        yield


def chain(n: int) -> Any:
    """Make calls each of which needs the one before."""
    last: Any = 0
    for _ in range(n):
        last = step(last)
    return last


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], Counter[str]]:
    """Count the calls of methods."""
    counts: Counter[str] = Counter()

    def count_method(cls: type, name: str) -> Counter[str]:
        original = getattr(cls, name)

        def counting(self: Any, *args: Any) -> Any:
            counts[name] += 1
            return original(self, *args)

        monkeypatch.setattr(cls, name, counting)
        return counts

    return count_method


@pytest.mark.parametrize("shape", ["wide", "chain"])
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_jobs_for_the_pool(kind: str, shape: str, count: Callable[[type, str], Counter[str]]) -> None:
    """Very many short calls are few jobs for the pool, and few messages."""
    with warm(kind):
        counts = count(PoolState, "submit")
        count(Channel, "send")
        if shape == "wide":
            resolve([step(i) for i in range(CALLS)])
        else:
            resolve(chain(CALLS))
    assert counts["submit"] <= CALLS / 20
    assert counts["send"] <= CALLS / 10


def test_messages_of_a_worker(count: Callable[[type, str], Counter[str]]) -> None:
    """A worker sends one message a call."""
    with warm("processes"):
        counts = count(Channel, "receive")
        resolve([step(i) for i in range(CALLS)])
    assert counts["receive"] <= 1.1 * CALLS


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_callbacks_and_locks(kind: str, count: Callable[[type, str], Counter[str]]) -> None:
    """Calls wait for each other without callbacks, and take few locks."""
    with warm(kind):
        counts = count(CallFuture, "add_done_callback")
        count(SlimCondition, "__enter__")
        resolve(chain(CALLS))
    assert counts["add_done_callback"] == 0
    assert counts["__enter__"] <= 6 * CALLS


@contextmanager
def counted_functions() -> Iterator[Counter[str]]:
    """Count the Python functions that this thread calls."""
    counts: Counter[str] = Counter()

    def note(frame: Any, event: str, argument: object) -> None:
        if event == "call":
            counts[frame.f_code.co_name] += 1

    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(None)


def test_functions_to_make_a_call() -> None:
    """Making a call takes some thirty functions, with or without a dependency."""
    with warm("threads"):
        gate: Future[int] = Future()
        before = step(gate)
        with counted_functions() as counts:
            for _ in range(CALLS):
                step(before)
        assert counts.total() <= 40 * CALLS
        with counted_functions() as counts:
            total([before] * CALLS)
        assert counts.total() <= 6 * CALLS
        gate.set_result(1)


def test_functions_to_run_a_call() -> None:
    """Running a call, settling it and making the next one ready takes some seventy functions."""
    counts: Counter[str] = Counter()

    def note(frame: Any, event: str, argument: object) -> None:
        if event == "call":
            counts[frame.f_code.co_name] += 1

    threading.setprofile(note)
    try:
        with warm("threads"):
            counts.clear()
            resolve(chain(CALLS))
    finally:
        threading.setprofile(None)
    assert counts.total() <= 80 * CALLS, counts.most_common(60)


def test_memory_of_a_pending_call() -> None:
    """A call that waits takes one and a half kilobytes in some twenty pieces, however many there are."""
    with warm("threads"):
        gate: Future[int] = Future()
        before = step(gate)
        resolve(step(1))
        gc.collect()
        tracemalloc.start()
        try:
            start = tracemalloc.take_snapshot()
            calls = [step(before) for _ in range(CALLS)]
            as_future(calls[0]).add_done_callback(lambda _: None)
            taken = tracemalloc.take_snapshot().compare_to(start, "filename")
        finally:
            tracemalloc.stop()
        assert sum(one.size_diff for one in taken) / CALLS <= 1500
        assert sum(one.count_diff for one in taken) / CALLS <= 25
        gate.set_result(1)
        assert resolve(calls) == [3] * CALLS
