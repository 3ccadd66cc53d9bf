# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Waiting for many futures at a time: when `resolve` wakes up, and that it always does."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
from helpers import TIMEOUT
from helpers.futures import failed
from helpers.waiting import hasty_switches, in_thread

from parman import ConcurrentRunner, Workflow, as_future, cancel, lifecycle, resolve, resolving, task, workflow
from parman.futures import loop


@task
def same(x: int) -> int:
    return x


@task
def fail(x: int) -> int:
    raise ValueError(x)


class Held:
    """A task that ends when it is let go."""

    def __init__(self) -> None:
        self.started, self.gate = threading.Event(), threading.Event()

        @task
        def hold(x: int) -> int:
            self.started.set()
            assert self.gate.wait(TIMEOUT)
            return x

        self.task = hold


@pytest.fixture
def block() -> Iterator[Workflow]:
    """Be in a block on two threads."""
    with workflow("threads:2") as w:
        yield w


@pytest.fixture
def held(block: Workflow) -> Iterator[Held]:
    """Give a task that is let go before the block is left."""
    held = Held()
    yield held
    held.gate.set()


def later(function: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Call a function in a thread; the list gets what it returns or raises."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    return in_thread(run), outcome


def test_who_waits_is_woken_once(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many futures there are: to be woken for each costs as much as a short call."""
    waits = []

    def noting(queue: Any, timeout: float | None = None) -> Any:
        waits.append(threading.current_thread())
        return lifecycle.interruptible_get(queue, timeout)

    monkeypatch.setattr(loop, "interruptible_get", noting)
    monkeypatch.setattr(resolving, "interruptible_get", noting)
    first = held.task(1)
    futures = [same(first) for _ in range(100)]
    thread, outcome = later(lambda: resolve([futures, {"more": futures}]))
    held.started.wait(TIMEOUT)
    held.gate.set()
    thread.join(TIMEOUT)
    assert outcome == [[[1] * 100, {"more": [1] * 100}]]
    assert waits.count(thread) <= 1


def test_a_failure_is_raised_at_once(held: Held) -> None:
    """Nobody waits for what comes after the first failure in the tree."""
    with pytest.raises(ValueError, match="7"):
        resolve([fail(7), held.task(1)], TIMEOUT)
    assert not held.gate.is_set()


def test_the_first_failure_of_the_tree_is_raised(held: Held) -> None:
    """A failure that comes first in time waits for those before it in the tree."""
    running = held.task(1)
    failing = fail(running)
    quick = fail(8)
    thread, outcome = later(lambda: resolve([failing, quick]))
    assert str(quick.exception(TIMEOUT)) == "8"
    held.gate.set()
    thread.join(TIMEOUT)
    assert [str(error) for error in outcome] == ["1"]


def test_a_foreign_failure_is_raised_at_once(held: Held) -> None:
    """Futures of others don't tell, but nobody waits for what comes after one that has failed either."""
    running = held.task(1)
    thread, outcome = later(lambda: resolve([same(3), failed(ValueError(7)), running, same(2)]))
    thread.join(TIMEOUT)
    assert [str(error) for error in outcome] == ["7"]
    assert not held.gate.is_set()


def test_failures_among_results(held: Held) -> None:
    """With `return_exceptions` a failure ends no waiting."""
    tree = [fail(7), held.task(1), same(2)]
    thread, outcome = later(lambda: resolve(tree, return_exceptions=True))
    tree[0].exception(TIMEOUT)  # type: ignore[attr-defined]
    assert not outcome
    held.gate.set()
    thread.join(TIMEOUT)
    ((failure, one, two),) = outcome  # type: ignore[misc]
    assert isinstance(failure, ValueError)
    assert (one, two) == (1, 2)


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_a_cancelled_call_among_results(held: Held, return_exceptions: bool) -> None:
    """Who waits is told of a cancellation."""
    first = held.task(1)
    waiting = same(first)
    thread, outcome = later(lambda: resolve([waiting, same(2)], return_exceptions=return_exceptions))
    assert cancel(waiting) or held.started.wait(TIMEOUT)
    held.gate.set()
    thread.join(TIMEOUT)
    (found,) = outcome
    assert isinstance(found[0] if isinstance(found, list) else found, CancelledError)
    assert isinstance(found, list) is return_exceptions


def test_a_timeout_leaves_nothing_behind(held: Held) -> None:
    """Futures forget who has given up waiting."""
    futures: list[Any] = [held.task(1), same(2)]
    for _ in range(3):
        with pytest.raises(TimeoutError):
            resolve(futures, 0.001)
    assert futures[0]._waiters == []


def test_who_is_late_is_told_of_few_lines(held: Held) -> None:
    """The error is short, however many calls and lines there are, and costs as little."""
    futures: list[Any] = [held.task(1)]
    assert held.started.wait(TIMEOUT)
    for line in range(8):
        namespace = {"same": same, "last": futures[-1]}
        exec(compile("\n" * line + "futures = [same(last) for _ in range(300)]", "lines.py", "exec"), namespace)
        futures.extend(namespace["futures"])
    with pytest.raises(TimeoutError) as late:
        resolve(futures, 0.001)
    lines = str(late.value).splitlines()
    after = "are not done after 0.001 s; with the calls before"
    assert lines[0] == f"2401 of 2401 results {after}, at least 1 running, 999 pending:"
    assert lines[1].endswith(": 1 running")
    assert lines[2] == "  same(), called at lines.py:1: 300 pending"
    assert len(lines) == 6
    told = r"^same\(\), called at lines.py:8, is not done after 0 s; .*(\n.*){5}\n  and calls at 4 more lines$"
    with pytest.raises(TimeoutError, match=told):
        futures[-1].result(0)
    held.gate.set()


def test_the_error_of_a_task_that_was_late_itself_passes_unchanged() -> None:
    """A TimeoutError that a task raised is the very object, however one waits; foreign futures are told, too."""
    mine = TimeoutError("mine")
    foreign: Future[int] = Future()
    foreign.set_exception(mine)
    for wait in (lambda: resolve([foreign], 1), lambda: as_future([foreign]).result(TIMEOUT)):
        with pytest.raises(TimeoutError) as found:
            wait()
        assert found.value is mine
    with pytest.raises(
        TimeoutError, match=r"^1 of 1 result is not done after 0 s; .* 1 pending:\n  a Future: 1 pending$"
    ):
        resolve(Future(), 0)


def test_a_late_resolve_leaves_no_cycle(held: Held) -> None:
    """Neither `resolve` nor its error keep futures alive until the collector comes."""
    future: Any = held.task(1)
    gc.disable()
    try:
        with pytest.raises(TimeoutError):
            resolve([future, 1], 0)
        with pytest.raises(ValueError, match="2"):
            resolve([fail(2)])
        held.gate.set()
        assert resolve([future]) == [1]
        seen = weakref.ref(future)
        del future
        assert seen() is None
    finally:
        gc.enable()


def test_waiting_for_what_ends_in_this_moment() -> None:
    """Who waits is woken, whether futures end before, while or after they are asked to tell; also when they fail."""
    with hasty_switches(), ConcurrentRunner.threads(4) as runner:
        for number in range(200):
            with workflow(runner):
                assert resolve([same(i) for i in range(number % 7 + 2)], TIMEOUT)[1] == 1
                ended = resolve([fail(1), same(2), fail(3)], TIMEOUT, return_exceptions=True)
                assert [type(one) for one in ended] == [ValueError, int, ValueError]
