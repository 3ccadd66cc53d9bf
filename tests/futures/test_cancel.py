# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later

"""Cancelling: a leaf, an item, a call, what depends on it, and what only it needs."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager

import pytest
from helpers import TIMEOUT
from helpers.futures import cancelled
from helpers.waiting import hasty_switches, in_thread

from parman import ConcurrentRunner, SerialRunner, cancel, resolve, task, workflow


@task
def double(x: int) -> int:
    return 2 * x


@task
def pair(x: int) -> tuple[int, int]:
    return x, x + 1


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def numbers(x: int) -> list[int]:
    return [x, x + 1]


class Anonymous(Executor):
    """A thread that does not say how many there are."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(1)

    def submit(self, fn, /, *args, **kwargs):
        return self.pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.pool.shutdown(wait, cancel_futures=cancel_futures)


@pytest.fixture(params=["own", "unknown"])
def runner(request):
    """Give a runner of one thread: of our own, or of an executor with an unknown number of workers."""
    if request.param == "own":
        with ConcurrentRunner.threads(1) as runner:
            yield runner
    else:
        executor = Anonymous()
        yield ConcurrentRunner(executor, where="inside")
        executor.shutdown()


@pytest.fixture
def held(runner):
    """Give a block whose only thread is held up by a running call, that call, and the gate."""

    @contextmanager
    def hold():
        started, gate = threading.Event(), threading.Event()

        @task
        def block() -> int:
            started.set()
            assert gate.wait(TIMEOUT)
            return 1

        with workflow(runner) as w:
            running = block()
            assert started.wait(TIMEOUT)
            try:
                yield w, running, gate
            finally:
                gate.set()

    return hold


def handled(future):
    """Wait until the event_loop has done what was posted up to now: an executor has what it is to have."""
    event = threading.Event()
    future._origin.event_loop.post(event.set)
    assert event.wait(TIMEOUT)


def test_a_running_call_cannot_be_cancelled(held):
    """`cancel()` of a call that has started is False and changes nothing."""
    with held() as (_, running, gate):
        assert not running.cancel()
        assert not cancel(running)
        handled(running)
        assert running.running()
        assert not running.done()
        gate.set()
        assert running.result(TIMEOUT) == 1
        assert not running.cancel()


def test_a_pending_call_is_cancelled_with_its_dependents(held):
    """Cancelling a pending call cancels what depends on it; all ways of waiting see that."""
    with held() as (w, _, _):
        first = double(1)
        second = double(first)
        third = add(second, second)
        assert first.cancel()
        assert first.cancelled()
        assert first.cancel()
        _, left = wait([first, second, third], TIMEOUT)
        assert not left
        assert set(as_completed([third, second], TIMEOUT)) == {second, third}
        with pytest.raises(CancelledError):
            third.result(TIMEOUT)
        with pytest.raises(CancelledError):
            resolve([third])
        assert isinstance(resolve(second, return_exceptions=True), CancelledError)
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(_awaited(third))
    assert w.failed == ()


async def _awaited(future):
    return await asyncio.wrap_future(future)


def test_a_leaf_is_cancelled_alone(held):
    """Cancelling a leaf cancels it and what depends on it; the call runs for the others."""
    with held() as (_, _, gate):
        left, right = pair(1)
        on_left, on_right = double(left), double(right)
        assert left.cancel()
        assert not right.cancelled()
        gate.set()
        assert on_right.result(TIMEOUT) == 4
        assert right.result(TIMEOUT) == 2
        with pytest.raises(CancelledError):
            on_left.result(TIMEOUT)
        assert left.cancelled()


def test_the_last_leaf_cancels_the_call(held):
    """When the last leaf is cancelled the call is, and never runs."""
    ran = []

    @task(snapshot=False)
    def note(where: list) -> tuple[int, int]:
        where.append(1)
        return 1, 2

    with held() as (w, _, gate):
        left, right = note(ran)
        assert left.cancel()
        assert right.cancel()
        handled(left)
        assert [call.state for call in w.calls if call.closure.name == "note"] in ([], ["cancelled"])
        gate.set()
    assert not ran
    del left, right


def test_an_item_is_cancelled_alone(held):
    """Cancelling an item leaves its call, and other items, as they are."""
    with held() as (_, _, gate):
        both = numbers(5)
        first, second = both[0], both[1]
        on_first = double(first)
        assert first.cancel()
        gate.set()
        assert second.result(TIMEOUT) == 6
        assert both.result(TIMEOUT) == [5, 6]
        with pytest.raises(CancelledError):
            on_first.result(TIMEOUT)


def test_items_of_a_cancelled_call(held):
    """The items of a cancelled call are cancelled."""
    with held():
        both = numbers(5)
        item = both[0]
        both.cancel()
        with pytest.raises(CancelledError):
            item.result(TIMEOUT)
        assert both[1].cancelled() or isinstance(resolve(both[1], return_exceptions=True), CancelledError)


def test_cancel_takes_causes_along_that_nobody_else_needs(held):
    """`cancel(tree)` cancels the calls before these as well, but for those that another call needs."""
    with held() as (_, _, gate):
        shared, private = double(1), double(2)
        middle = double(private)
        wanted, unwanted = double(shared), add(shared, middle)
        assert cancel([unwanted, 3, "x"])
        for future in (middle, private):
            with pytest.raises(CancelledError):
                future.result(TIMEOUT)
        assert not shared.cancelled()
        assert cancel({"more": wanted})
        with pytest.raises(CancelledError):
            shared.result(TIMEOUT)
        gate.set()


def test_cancel_of_a_future_leaves_its_causes(held):
    """`future.cancel()` cancels this call, not those before it."""
    with held() as (_, _, gate):
        cause = double(1)
        effect = double(cause)
        assert effect.cancel()
        gate.set()
        assert cause.result(TIMEOUT) == 2


def test_cancel_does_not_touch_running_causes(held):
    """A cause that runs already goes on."""
    with held() as (_, running, gate):
        effect = double(running)
        assert cancel(effect)
        gate.set()
        assert running.result(TIMEOUT) == 1


def test_causes_are_counted_right_when_a_call_cannot_be_made(held):
    """A call that could not be made counts neither for nor against those before it."""
    with held() as (_, _, gate):
        cause = double(1)
        needed, other = double(cause), double(cause)
        with pytest.raises(TypeError):
            add(cause, "text")
        assert cancel(other)
        handled(other)
        gate.set()
        assert needed.result(TIMEOUT) == 4


def test_plain_values_are_passed_over():
    """`cancel` of plain values does nothing, inside and outside of a block."""
    assert cancel([1, "x", None])
    with workflow("serial"):
        assert cancel(double(3))


def test_a_cancelled_dependency_from_elsewhere_cancels(runner):
    """A future of another executor that was cancelled, noticed or not, cancels what depends on it."""
    with workflow(runner):
        outer: Future[int] = Future()
        early, late = double(cancelled()), double(outer)
        outer.cancel()
        for future in (early, late):
            with pytest.raises(CancelledError):
                future.result(TIMEOUT)


@pytest.mark.parametrize("make", [SerialRunner, lambda: ConcurrentRunner(ThreadPoolExecutor(1), schedule=False)])
def test_runners_that_wait_in_place_see_unnoticed_cancellations(make):
    """A foreign future that was cancelled, without its executor taking notice, does not stop a runner that waits."""
    with workflow(make()):
        with pytest.raises(CancelledError):
            double(cancelled()).result(TIMEOUT)
        later: Future[int] = Future()
        result = []
        thread = in_thread(later.cancel)
        result.append(double(later))
        thread.join(TIMEOUT)
        with pytest.raises(CancelledError):
            result[0].result(TIMEOUT)


def test_a_block_is_cancelled(held):
    """`w.cancel()` cancels what has not started; calls made afterwards run."""
    with held() as (w, running, gate):
        pending = [double(i) for i in range(10)]
        chained = double(pending[0])
        w.cancel()
        for future in [*pending, chained]:
            with pytest.raises(CancelledError):
                future.result(TIMEOUT)
        later = double(7)
        gate.set()
        assert running.result(TIMEOUT) == 1
        assert later.result(TIMEOUT) == 14


def test_a_failure_wins_over_a_cancellation(held):
    """What depends on a failed and a cancelled call fails, in whatever order."""
    with held():
        outer: Future[int] = Future()
        outer.set_exception(ValueError("x"))
        dropped = double(1)
        both = add(dropped, outer)
        dropped.cancel()
        assert str(both.exception(TIMEOUT)) == "x"


def race(*functions):
    barrier = threading.Barrier(len(functions))

    def run(function):
        barrier.wait(TIMEOUT)
        function()

    threads = [in_thread(lambda f=function: run(f)) for function in functions]
    for thread in threads:
        thread.join(TIMEOUT)
    assert not any(thread.is_alive() for thread in threads)


def test_leaves_of_one_call_cancelled_at_the_same_time(held):
    """Two threads that cancel two leaves of a call, which the executor has already, don't lock each other up."""
    with held() as (_, _, gate), hasty_switches():
        for _ in range(200):
            left, right = pair(1)
            handled(left)
            race(left.cancel, right.cancel)
            for leaf in (left, right):
                with pytest.raises(CancelledError):
                    leaf.result(TIMEOUT)
        gate.set()


def test_cancel_racing_with_completion(runner):
    """A call that is cancelled while it may start ends in exactly one way, and its dependents agree."""
    with hasty_switches(), workflow(runner):
        for i in range(150):
            left, right = pair(i)
            after = double(left)
            agreed = []
            race(lambda: agreed.append(left.cancel()), right.cancel, after.cancel)  # noqa: B023
            wait([left, right, after], TIMEOUT)
            assert left.done()
            assert left.cancelled() == agreed[0]
            assert after.done()
            assert after.cancelled() or (not left.cancelled() and after.result() == 2 * i)
            if not right.cancelled():
                assert right.result(TIMEOUT) == i + 1


def test_callbacks_of_cancelled_futures_run_once(held):
    """A cancelled future calls its callbacks, each once, however often it is cancelled."""
    with held():
        future, seen, called = double(1), [], threading.Event()
        future.add_done_callback(lambda f: (seen.append(f), called.set()))
        for _ in range(3):
            future.cancel()
        assert called.wait(TIMEOUT)
        handled(future)
        assert seen == [future]


def test_cancelling_what_uses_an_item_cancels_what_gives_it(held):
    """`cancel()` also cancels the call whose item a cancelled call would have used, unless another call needs it."""
    with held():
        unneeded, needed = numbers(1), numbers(2)
        kept = double(needed[1])
        assert cancel([double(unneeded[0]), double(needed[0])])
        handled(kept)
        assert unneeded.cancelled()
        assert not needed.cancelled()
    assert kept.result(TIMEOUT) == 6


def test_who_asks_for_a_cancelled_result_is_told_which() -> None:
    """The error of a result that was cancelled names the call and its line, like every other failure."""

    @task
    def double(x: int) -> list[int]:
        return [x, x]

    with workflow("threads:1"):
        doubled = double(Future())  # type: ignore[arg-type]
        assert cancel(doubled)
        for read in (resolve, lambda future: future.result(), lambda future: future[0].result()):
            with pytest.raises(CancelledError, match=r"double\(\), called at .*test_cancel.py:\d+, was cancelled"):
                read(doubled)
