# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is not waited for any more leaves nothing behind with a call that runs for long, and no thread."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from helpers import TIMEOUT
from helpers.futures import running, succeeded
from helpers.waiting import event_loop_threads, handled

from parman import Scheduler, WaitGraph, Workflow, as_future, as_resolved, resolve, task, workflow
from parman.futures.wait_graph import _FEW

OFTEN = 20


@task
def hold(gate: threading.Event) -> int:
    assert gate.wait(TIMEOUT)
    return 1


@task
def quick(x: int) -> int:
    return x


class Long:
    """Something that takes long, and what comes meanwhile."""

    def __init__(self, future: Future[Any], quick: Callable[[int], Any], post: Any = None) -> None:
        self.future = future
        self.quick = quick
        self.post = post
        self.before = event_loop_threads()

    def callbacks(self) -> int:
        """Count what hangs on it, when all that was posted is handled and all threads have ended that will."""
        for _ in range(3):
            assert self.post is None or handled(self.post)
        for thread in event_loop_threads():
            if thread not in self.before:
                thread.join(TIMEOUT)
                assert not thread.is_alive()
        return len(self.future._done_callbacks)


@pytest.fixture(params=["call", "foreign"])
def long(request: pytest.FixtureRequest) -> Iterator[Long]:
    """Give a call that runs, or a future of others."""
    if request.param == "foreign":
        future = running()
        yield Long(future, succeeded)
        future.set_result(1)
        return
    gate = threading.Event()
    with workflow("threads:2") as w:
        try:
            yield Long(hold(gate), quick, w.runner.event_loop.post)
        finally:
            gate.set()


def leave(long: Long) -> None:
    """Take the first that has come."""
    for _, value in as_resolved([long.future, long.quick(2)]):
        assert value == 2
        break


def be_late(long: Long) -> None:
    """Wait for everything, but not for long."""
    with pytest.raises(TimeoutError):
        list(as_resolved([long.future, [long.future]], timeout=0))


def never_look(long: Long) -> None:
    """Make an iterator, and drop it."""
    as_resolved({"a": long.future, "b": [long.future]})


def meet_a_failure(long: Long) -> None:
    """Leave the loop by an exception."""
    try:
        for _ in as_resolved([long.future, long.quick(3)]):
            raise ValueError
    except ValueError:
        pass


def replace(long: Long) -> None:
    """Put something else in the place of what has not come."""
    items = {"first": long.quick(1), "second": [long.future]}
    for key, _ in as_resolved(items):
        if key == "first":
            items["second"] = long.quick(2)


def remove(long: Long) -> None:
    """Take away what has not come."""
    items = {"first": long.quick(1), "second": [long.future]}
    for _ in as_resolved(items):
        items.pop("second", None)


def be_late_in_resolve(long: Long) -> None:
    """Resolve what is not there yet."""
    with pytest.raises(TimeoutError):
        resolve([long.future, long.quick(1)], timeout=0)
    assert not long.future._waiters


@pytest.mark.parametrize(
    "way",
    [leave, be_late, never_look, meet_a_failure, replace, remove, be_late_in_resolve],
    ids=lambda way: way.__name__,
)
def test_nothing_is_left(long: Long, way: Callable[[Long], None]) -> None:
    """However often a script looks what has come, nothing piles up on what has not."""
    for _ in range(OFTEN):
        way(long)
        assert long.callbacks() <= _FEW


def test_errors_that_are_kept_hold_no_wait() -> None:
    """A script may keep the errors of its waits."""
    long = Long(running(), succeeded)
    errors = []
    for _ in range(OFTEN):
        try:
            list(as_resolved([long.future], timeout=0))
        except TimeoutError as error:
            errors.append(error)
        assert long.callbacks() <= _FEW
    long.future.set_result(1)


def test_what_is_removed_and_put_back_comes_when_it_is_done() -> None:
    """A wait that was given up is not taken for an end."""
    long, other = running(), running()
    items: dict[str, Any] = {"first": succeeded(1), "second": long}
    steps = []
    for key, value in as_resolved(items):
        steps.append((key, value))
        if key == "first":
            items["second"] = other
            items["third"] = succeeded(3)
        elif key == "third":
            items["second"] = long
            items["fourth"] = succeeded(4)
        elif key == "fourth":
            long.set_result(2)
    assert steps == [("first", 1), ("third", 3), ("fourth", 4), ("second", 2)]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("kind", ["graph", "scheduler"])
def test_cancelled_futures_are_cleared_out(kind: str, backwards: bool) -> None:
    """Futures of graphs and schedulers that are cancelled are not held by what they waited for."""
    long = Long(running(), succeeded)
    graph, scheduler = WaitGraph(), Scheduler(lambda: succeeded())
    for _ in range(OFTEN):
        made = [
            graph.submit([long.future]) if kind == "graph" else scheduler.submit(dependencies=[long.future])
            for _ in range(OFTEN)
        ]
        for future in made[::-1] if backwards else made:
            assert future.cancel()
        assert handled((graph if kind == "graph" else scheduler)._event_loop.post)  # type: ignore[union-attr]
    assert len(long.future._done_callbacks) <= 4 * OFTEN
    kept = graph.submit([long.future], lambda result: result)
    long.future.set_result(5)
    assert kept.result(TIMEOUT) == 5


def test_others_callbacks_are_left_alone() -> None:
    """What the user has added is called, in its order, whatever is cleared out between."""
    long, graph, called = running(), WaitGraph(), []
    for number in range(OFTEN):
        long.add_done_callback(lambda _, number=number: called.append(number))
        for _ in range(3):
            graph.submit([long]).cancel()
        assert handled(graph._event_loop.post)
    long.set_result(None)
    assert called == list(range(OFTEN))


def test_a_tree_with_a_future_of_others_outlives_the_block() -> None:
    """`as_future` of a call and of a future of others is done when that one is, also after the runner was closed."""
    foreign = running()
    with workflow("threads:1"):
        both = as_future([quick(1), foreign])
    foreign.set_result(2)
    assert both.result(TIMEOUT) == [1, 2]


def test_trees_with_futures_of_others_come_after_the_block() -> None:
    """So does an item of `as_resolved` with both."""
    foreign = running()
    w = Workflow("threads:1")
    with w:
        items = as_resolved([[quick(1), foreign]])
    foreign.set_result(2)
    assert list(items) == [(0, [1, 2])]


@task
def row(gate: threading.Event) -> list[list[int]]:
    assert gate.wait(TIMEOUT)
    return [[1, 2], [3]]


def test_items_that_only_others_wait_for() -> None:
    """An item that the script has dropped is there for its callbacks, and for the calls that are given it."""
    gate, came = threading.Event(), threading.Event()
    values: list[Any] = []

    def note(item: Future[Any]) -> None:
        values.append(item.result())
        came.set()

    with workflow("threads:2"):
        rows = row(gate)
        rows[0][1].add_done_callback(note)
        given = quick(rows[1][0])
        gc.collect()
        for _ in range(OFTEN):  # so that empty ones are cleared out
            rows[0].done()
        gate.set()
        assert came.wait(TIMEOUT)
        assert (values, resolve(given, TIMEOUT)) == ([2], 3)
    with workflow("threads:1"), ThreadPoolExecutor(1) as executor, workflow(executor):
        assert resolve(quick(rows[0][1]), TIMEOUT) == 2


def test_an_item_that_calls_of_another_runner_wait_for() -> None:
    """So it is for the calls of another runner."""
    gate = threading.Event()
    with workflow("threads:1"):
        rows = row(gate)
        with workflow("threads:2"):
            given = quick(rows[0][0])
            gc.collect()
            gate.set()
            assert resolve(given, TIMEOUT) == 1
