# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Several engines in one script: futures of one are arguments on another, with their failures and cancels."""

from __future__ import annotations

import importlib.util
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from parman import ConcurrentRunner, ParslRunner, Runner, WorkflowFailed, cancel, resolve, task, workflow

TIMEOUT = 60
"""How long a test waits for what should come at once [s]."""


@task
def number(x: int) -> int:
    return x


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def fail(text: str) -> int:
    raise KeyError(text)


@task
def seen(x: int | Exception) -> str:
    return type(x).__name__


@task
def ramp(n: int) -> np.ndarray:
    return np.arange(float(n))


@task
def scaled(x: np.ndarray, factor: float) -> np.ndarray:
    x *= factor
    return x


@task
def total(x: np.ndarray) -> float:
    return float(x.sum())


def plain(x: int) -> int:
    return x


def broken(text: str) -> int:
    raise KeyError(text)


RUNNERS: dict[str, Callable[[], Runner]] = {
    "threads": lambda: ConcurrentRunner.threads(2),
    "processes": lambda: ConcurrentRunner.processes(2),
}
# Where Parsl is not installed, a second pool of threads mixes with the others.
if importlib.util.find_spec("parsl"):
    THIRD = "parsl"
    RUNNERS[THIRD] = lambda: ParslRunner(workers=2)
else:
    THIRD = "more threads"
    RUNNERS[THIRD] = lambda: ConcurrentRunner.threads(2)


@pytest.fixture(scope="module")
def runners() -> Iterator[dict[str, Runner]]:
    """Give one runner of each kind; they stay warm."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(make()) for name, make in RUNNERS.items()}


@pytest.fixture(scope="module")
def sources(runners: dict[str, Runner]) -> Iterator[dict[str, Callable[..., Any]]]:
    """Give for each runner, and for two bare executors, how a plain function is called on it; no block is needed."""

    def on(runner: Runner) -> Callable[..., Any]:
        def submit(function: Callable[..., Any], *args: Any) -> Any:
            with workflow(runner):
                result = {plain: number, broken: fail}[function](*args)
                wait([result], TIMEOUT)
                result.exception()  # or leaving the block would raise it
            return result

        return submit

    context = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, context) as processes:
        yield {
            **{name: on(runner) for name, runner in runners.items()},
            "bare threads": threads.submit,
            "bare processes": processes.submit,
        }


SOURCES = [*RUNNERS, "bare threads", "bare processes"]
everywhere = pytest.mark.parametrize("target", RUNNERS)
from_all = pytest.mark.parametrize("source", SOURCES)


@everywhere
@from_all
def test_futures_of_one_are_arguments_on_another(
    source: str, target: str, sources: dict[str, Callable[..., Any]], runners: dict[str, Runner]
) -> None:
    """A future serves as an argument wherever it came from, beside plain values and futures of the block itself."""
    foreign = [sources[source](plain, i) for i in range(3)]
    with workflow(runners[target]):
        found = [add(foreign[0], 5), add(foreign[1], foreign[2]), add(number(7), foreign[2])]
        assert resolve(found, timeout=TIMEOUT) == [5, 3, 9]


@everywhere
@from_all
def test_failures_of_one_fail_what_needs_them_on_another(
    source: str, target: str, sources: dict[str, Callable[..., Any]], runners: dict[str, Runner]
) -> None:
    """The exception is the same, to any depth; a task that admits exceptions is given it."""
    foreign = sources[source](broken, "why")
    with workflow(runners[target]) as w:
        after = add(number(1), add(foreign, 1))
        assert resolve(seen(foreign), timeout=TIMEOUT) == "KeyError"
        with pytest.raises(KeyError, match="why"):
            resolve(after, timeout=TIMEOUT)
    assert all(isinstance(failure.exception, KeyError) for failure in w.failed)


@everywhere
def test_a_foreign_failure_that_nobody_saw_is_told(target: str, runners: dict[str, Runner]) -> None:
    """A failure that came from outside leaves the block if nobody looked at what it failed."""
    foreign: Future[int] = Future()
    w = workflow(runners[target])
    w.open()
    try:
        add(foreign, 1)
        foreign.set_exception(KeyError("why"))
    finally:
        with pytest.raises(WorkflowFailed) as caught:
            w.close()
    assert caught.group_contains(KeyError, match="why")


@everywhere
def test_a_cancelled_future_cancels_on_another(target: str, runners: dict[str, Runner]) -> None:
    """What needs a call that a bare executor never ran is cancelled; the rest goes on."""
    go = threading.Event()
    with ThreadPoolExecutor(1) as pool, workflow(runners[target]) as w:
        first, second = pool.submit(go.wait, TIMEOUT), pool.submit(plain, 1)
        after, other = add(second, 1), number(3)
        assert second.cancel()
        go.set()
        assert not wait([after], TIMEOUT).not_done
        assert after.cancelled()
        assert resolve(other, timeout=TIMEOUT) == 3
        assert first.result(TIMEOUT)
    assert w.failed == ()


@everywhere
@pytest.mark.parametrize("outer", RUNNERS)
def test_cancel_goes_back_across_runners(outer: str, target: str, runners: dict[str, Runner]) -> None:
    """`cancel` of a call cancels those before it on another runner that nobody else needs, and no others."""
    held: Future[int] = Future()
    with workflow(runners[outer]) as w:
        alone, shared = add(held, 1), add(held, 2)
        kept = add(shared, 1)
        with workflow(runners[target]):
            last = add(alone, shared)
            assert cancel(last)
            assert not wait([alone], TIMEOUT).not_done
        assert alone.cancelled()
        with pytest.raises(CancelledError):
            resolve(last)
        held.set_running_or_notify_cancel()
        held.set_result(1)
        assert resolve(kept, timeout=TIMEOUT) == 4
    assert w.failed == ()


@everywhere
def test_cancel_leaves_bare_futures_alone(target: str, runners: dict[str, Runner]) -> None:
    """A future of the user's own executor is not cancelled with what needs it: others may wait for it."""
    held: Future[int] = Future()
    with workflow(runners[target]):
        after = add(held, 1)
        assert cancel(after)
        assert not wait([after], TIMEOUT).not_done
    assert not held.cancelled()
    held.set_result(1)
    assert held.result() == 1


def test_a_value_goes_through_all(runners: dict[str, Runner]) -> None:
    """A big array that is made on one engine, changed on the next and so on is what the serial script would have."""
    with workflow(runners["processes"]):
        made = ramp(300_000)
        with workflow(runners["threads"]):
            twice = scaled(made, 2.0)
            with workflow(runners[THIRD]):
                thrice = scaled(twice, 1.5)
                sums = [total(array) for array in (made, twice, thrice)]
    expected = np.arange(300_000.0).sum()
    assert resolve(sums) == [expected, 2 * expected, 3 * expected]
    np.testing.assert_array_equal(resolve(made), np.arange(300_000.0))


def test_blocks_in_blocks_end_apart(runners: dict[str, Runner]) -> None:
    """An inner block waits for its own calls, whichever runner is outside; the outer runner is in force after it."""
    held: Future[int] = Future()
    with workflow(runners[THIRD]) as outer:
        pending = add(held, 1)
        with workflow(runners["processes"]) as middle, workflow(runners["threads"]) as inner:
            deepest = number(1)
            assert [w.runner for w in (outer, middle, inner)] == [runners[k] for k in (THIRD, "processes", "threads")]
        assert deepest.done()  # type: ignore[attr-defined]
        assert not pending.done()  # type: ignore[attr-defined]
        after = add(deepest, 1)
        held.set_running_or_notify_cancel()
        held.set_result(1)
    assert resolve([pending, deepest, after]) == [2, 1, 2]
    assert len({id(w) for w in (outer, middle, inner)}) == 3


def test_two_threads_with_a_workflow_each_exchange_futures(runners: dict[str, Runner]) -> None:
    """Two threads, each in a block of its own on its own engine, use each other's pending calls as arguments."""
    names = ["processes", THIRD]
    meeting = threading.Barrier(2, timeout=TIMEOUT)
    offered: dict[str, Any] = {}
    held: Future[int] = Future()

    def work(name: str) -> list[int]:
        mine, other = name, names[1 - names.index(name)]
        with workflow(runners[name]):
            offered[mine] = [add(held, i) for i in range(5)]
            meeting.wait()
            found = [add(x, y) for x, y in zip(offered[mine], offered[other], strict=True)]
            if meeting.wait() == 0:
                held.set_running_or_notify_cancel()
                held.set_result(100)
            values: list[int] = resolve(found, timeout=TIMEOUT)
        return values

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(work, names)) == [[200 + 2 * i for i in range(5)]] * 2


def test_a_failed_block_leaves_the_others_alone(runners: dict[str, Runner]) -> None:
    """An exception of an inner block's body cancels its own pending calls only."""
    held: Future[int] = Future()
    with workflow(runners["threads"]):
        outer = add(held, 1)
        made: list[Any] = []

        def body() -> None:
            with workflow(runners["processes"]):
                made.append(add(outer, 1))
                raise RuntimeError("body")

        with pytest.raises(RuntimeError, match="body"):
            body()
        assert made[0].cancelled()
        assert not outer.done()  # type: ignore[attr-defined]
        held.set_running_or_notify_cancel()
        held.set_result(1)
        assert resolve(outer, timeout=TIMEOUT) == 2
