# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Done-callbacks that would wait for ever are told so, whatever they wait for, and all calls go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from helpers import TIMEOUT

from parman import (
    ConcurrentRunner,
    Scheduler,
    WaitGraph,
    WorkflowError,
    as_future,
    as_resolved,
    executor,
    resolve,
    task,
    workflow,
)


@task
def wait_for(gate: threading.Event, x: int) -> int:
    gate.wait(TIMEOUT)
    return x


@task
def add(x: int, y: int) -> int:
    return x + y


class Asked:
    """A callback, and what it met."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.met: BaseException | object = None
        self.has_run = threading.Event()

    def __call__(self, _future: object) -> None:
        try:
            self.met = self.act()
        except BaseException as error:
            self.met = error
        finally:
            self.has_run.set()

    def assert_refused(self) -> None:
        """See that it was told that it can't wait."""
        assert self.has_run.wait(TIMEOUT)
        assert isinstance(self.met, WorkflowError), self.met
        assert "can't wait for" in str(self.met)


def call_back(asked: Asked) -> None:
    """Have it called by the thread that finishes a call."""
    first: Future[int] = Future()
    add(first, 2).add_done_callback(asked)  # type: ignore[arg-type, attr-defined]
    first.set_result(1)


@pytest.fixture(params=["threads", "processes", "executor"])
def runner(request: pytest.FixtureRequest) -> Iterator[ConcurrentRunner]:
    """Give a runner, the executor of which stays open."""
    if request.param == "executor":
        with ThreadPoolExecutor(2) as pool:
            yield ConcurrentRunner(pool)
    else:
        with getattr(ConcurrentRunner, request.param)(2) as runner:
            yield runner


def enter(runner: ConcurrentRunner) -> object:
    """Enter a block, and leave it."""
    with workflow(runner):
        return add(1, 1)


def submit(runner: ConcurrentRunner) -> None:
    """Leave an executor."""
    with executor(runner) as pool:
        pool.submit(pow, 2, 2)


@pytest.mark.parametrize("act", [enter, submit, ConcurrentRunner.shutdown])
def test_a_callback_that_enters_a_block(runner: ConcurrentRunner, act: Callable[[Any], object]) -> None:
    """A block on the runner that serves the callback would wait for it: so would an executor, and a shutdown."""
    asked = Asked(lambda: act(runner))
    with workflow(runner):
        call_back(asked)
        others = [add(i, 1) for i in range(20)]
        asked.assert_refused()
        assert resolve(others, TIMEOUT) == list(range(1, 21))
    assert resolve(others) == list(range(1, 21))


def test_a_callback_that_closes_the_block(runner: ConcurrentRunner) -> None:
    """The block stays open for who made it, who closes it."""
    block = workflow(runner).open()
    asked = Asked(block.close)
    call_back(asked)
    asked.assert_refused()
    assert isinstance(add(1, 1), Future)
    block.close()
    assert add(1, 1) == 2


def test_a_callback_that_ends_a_generator() -> None:
    """A block in a generator that a callback ends is left at once; its calls go on."""
    calls: list[Any] = []
    first: Future[int] = Future()

    def scan(runner: ConcurrentRunner) -> Iterator[object]:
        with workflow(runner):
            calls.append(add(first, 2))  # type: ignore[arg-type]
            yield None

    with ConcurrentRunner.threads(1) as runner:
        generator = scan(runner)
        copy_context().run(next, generator)  # the block is left in another context
        asked = Asked(generator.close)  # type: ignore[attr-defined]
        calls[0].add_done_callback(asked)
        first.set_result(1)
        asked.assert_refused()
        assert resolve(calls, TIMEOUT) == [3]


def test_a_callback_that_asks_for_a_tree() -> None:
    """The future of a tree ends on the same thread."""
    gate = threading.Event()
    with workflow("threads:2"):
        late = wait_for(gate, 2)
        asked = Asked(lambda: as_future([late]).result())
        call_back(asked)
        asked.assert_refused()
        gate.set()
        assert resolve(late) == 2


def test_a_callback_that_loops_over_results() -> None:
    """A loop over the results of the same runner would never go on."""
    gate = threading.Event()
    with workflow("threads:2"):
        late = [wait_for(gate, 2)]
        asked = Asked(lambda: list(as_resolved(late)))
        call_back(asked)
        asked.assert_refused()
        gate.set()
        assert resolve(late) == [2]


def test_a_callback_that_makes_a_call_in_place() -> None:
    """Without a schedule, a call waits for its arguments where it is made."""
    gate = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        block = workflow(ConcurrentRunner(pool, schedule=False)).open()
        first_gate = threading.Event()
        first, late = wait_for(first_gate, 1), wait_for(gate, 2)
        asked = Asked(lambda: add(late, 1))
        first.add_done_callback(asked)  # type: ignore[attr-defined]
        first_gate.set()
        asked.assert_refused()
        gate.set()
        assert resolve(late, TIMEOUT) == 2
        block.close()


def test_a_callback_of_a_graph() -> None:
    """A callback of a `WaitGraph` or a `Scheduler` can't wait for another future of it, but may look."""
    first: Future[int] = Future()
    never: Future[int] = Future()
    graph = WaitGraph()
    late = graph.submit([never])
    asked, looked = Asked(late.result), Asked(lambda: late.exception(0))
    graph.submit([first]).add_done_callback(asked)
    graph.submit([first]).add_done_callback(looked)
    with ThreadPoolExecutor(1) as pool, Scheduler(pool.submit) as scheduler:
        scheduled = scheduler.submit([int], dependencies=[never])
        of_scheduler = Asked(scheduled.exception)
        scheduler.submit([int], dependencies=[first]).add_done_callback(of_scheduler)
        first.set_result(1)
        asked.assert_refused()
        of_scheduler.assert_refused()
        assert looked.has_run.wait(TIMEOUT)
        assert isinstance(looked.met, TimeoutError)
        never.set_result(2)


def test_a_callback_that_waits_for_another_runner() -> None:
    """What others finish may be waited for."""
    with ConcurrentRunner.threads(1) as other, workflow("threads:1"):
        asked = Asked(lambda: enter(other))
        call_back(asked)
        assert asked.has_run.wait(TIMEOUT)
        assert resolve(asked.met) == 2
