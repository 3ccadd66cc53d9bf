# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Depth and width: chains and fan-outs of 100,000 calls end, and what a call costs does not grow with their number."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import pytest
from helpers import TIMEOUT
from helpers.processes import children

from parman import ConcurrentRunner, Length, as_future, cancel, resolve, task, workflow

MANY = 100_000
POOLS = ("threads:2", "processes:2")

pytestmark = pytest.mark.timeout(280)  # a hundred thousand calls through processes take about half a minute


@task
def start(fifo: str, fail: bool = False) -> int:
    Path(fifo).read_text()
    if fail:
        raise ValueError("as told")
    return 0


@task
def step(number: int) -> int:
    return number + 1


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def count(n: int) -> Annotated[list[int], Length("n")]:
    return list(range(n))


def chain_behind(first: Any, size: int) -> Any:
    """Make a chain of calls behind a future, and return its end."""
    for _ in range(size):
        first = step(first)
    return first


def fan_behind(first: Any, size: int) -> list[Any]:
    """Make calls that all wait for a future."""
    return [step(first) for _ in range(size)]


@pytest.fixture
def fifo(tmp_path):
    """Make a pipe with a name, whose reader waits for the writer."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_chain_succeeds(pool, fifo):
    """A chain of very many calls, made before the first has run, gives its result."""
    with workflow(pool):
        end = chain_behind(start(str(fifo)), MANY)
        fifo.write_text("go")
        assert resolve(end) == MANY


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_fan_out_succeeds(pool, fifo):
    """Very many calls behind one give their results."""
    with workflow(pool):
        ends = fan_behind(start(str(fifo)), MANY)
        fifo.write_text("go")
        assert set(resolve(ends)) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("shape", [chain_behind, fan_behind])
def test_failure_reaches_all(pool, shape, fifo):
    """A failure reaches very many calls behind it, one after another or at once, none of which runs."""
    with workflow(pool) as w:
        ends = shape(start(str(fifo), fail=True), MANY)
        fifo.write_text("go")
        results = resolve(ends, return_exceptions=True)
        assert all(isinstance(x, ValueError) for x in (results if isinstance(results, list) else [results]))
    assert len(w.failed) == 1


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("shape", [chain_behind, fan_behind])
def test_cancellation_reaches_all(pool, shape, fifo):
    """So does a cancellation."""
    with workflow(pool.replace(":2", ":1")):
        gate = start(str(fifo))
        first = step(0)
        ends = shape(first, MANY)
        assert cancel(first)
        results = resolve(ends, return_exceptions=True)
        assert all(isinstance(x, CancelledError) for x in (results if isinstance(results, list) else [results]))
        fifo.write_text("go")
        assert resolve(gate) == 0


def test_cancelling_the_end_cancels_the_chain(fifo):
    """Giving up the end of a chain gives up what nobody else needs, without recursion."""
    with workflow("threads:1") as w:
        gate = start(str(fifo))
        end = chain_behind(step(0), 20_000)
        assert cancel(end)
        fifo.write_text("go")
        assert resolve(gate) == 0
    assert w.failed == ()


def test_fan_in():
    """A call may wait for very many results."""
    with workflow("threads:2"):
        assert resolve(total([step(0)] * 3 + [as_future(1) for _ in range(10)])) == 13
        assert resolve(total([step(i) for i in range(MANY // 5)])) == sum(range(1, MANY // 5 + 1))
        leaves = [item for _ in range(10) for item in count(MANY // 10)]
        assert resolve(total(leaves)) == 10 * sum(range(MANY // 10))


@pytest.mark.parametrize("pool", ["serial", *POOLS])
def test_structure_of_many_leaves(pool):
    """A result of ten thousand leaves is taken apart, and each can be passed on."""
    with workflow(pool):
        leaves = count(10_000)
        assert len(leaves) == 10_000
        assert resolve(step(leaves[9_999])) == 10_000
        assert resolve(total(leaves)) == sum(range(10_000))
        assert resolve(leaves) == list(range(10_000))


def test_cancelling_many_leaves():
    """Ten thousand leaves of a call that some executor has are cancelled in a time that does not explode."""
    with ProcessPoolExecutor(1, get_context("forkserver")) as pool, workflow(pool):
        leaves = count(10_000)
        cancel(leaves)


@pytest.mark.slow
def test_fan_out_through_a_process_pool_executor():
    """Tens of thousands of calls behind one don't lock a pool of the standard library up."""
    with ProcessPoolExecutor(2, get_context("forkserver")) as pool, workflow(pool):
        assert set(resolve(fan_behind(step(0), 20_000))) == {2}


def timed(function: Callable[[], object]) -> float:
    """Return how long a function takes [s]; the best of three."""
    times = []
    for _ in range(3):
        gc.collect()
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [chain_behind, fan_behind])
def test_cost_of_a_call_does_not_grow(shape):
    """Eight times as many calls take about eight times as long."""

    def run(size: int) -> None:
        with workflow("threads:1"):
            resolve(shape(step(0), size))

    run(100)
    small, large = timed(lambda: run(1000)), timed(lambda: run(8000))
    assert large < 8 * small * 3


# --- what is left ---


def open_files() -> int:
    """Return how many files this process has open."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(("pool", "blocks"), [("serial", 50), ("threads:2", 50), ("processes:1", 10)])
def test_blocks_leave_nothing_behind(pool, blocks):
    """After many blocks there are no more threads, processes or open files than after the first."""

    def block() -> None:
        with workflow(pool):
            resolve([step(i) for i in range(3)])

    block()
    gc.collect()
    before = children(), open_files(), names()
    for _ in range(blocks):
        block()
    deadline = time.monotonic() + TIMEOUT
    while (children(), open_files(), names()) != before and time.monotonic() < deadline:
        for thread in threading.enumerate():
            if thread.name.startswith("parman"):
                thread.join(0.1)
    assert (children(), open_files(), names()) == before


def names() -> list[str]:
    """Return the names of the library's threads."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("parman"))


def test_warm_runner_keeps_what_it_needs():
    """Blocks on a runner that stays open don't pile up threads, processes or files."""
    with ConcurrentRunner.processes(1) as runner:
        with workflow(runner):
            resolve(step(1))
        before = children(), open_files()
        for _ in range(30):
            with workflow(runner):
                resolve(step(1))
        assert (children(), open_files()) == before
