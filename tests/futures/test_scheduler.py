# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `Scheduler` and `ScheduledFuture` promise."""

from __future__ import annotations

import asyncio
import gc
import graphlib
import itertools
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed, wait
from typing import Any

import pytest
from helpers import TIMEOUT
from helpers.futures import cancelled, cancelled_and_notified, failed, succeeded
from helpers.scripts import run_script
from helpers.waiting import death, died, event_loop_threads, handled, hasty_switches, in_thread, interrupt_at
from hypothesis import given, settings
from hypothesis import strategies as st

from parman.futures.loop import EventLoop
from parman.futures.scheduler import ScheduledFuture, Scheduler
from parman.futures.wait_graph import Gate, WaitGraph

MANY = 100_000


class Value:
    """An argument or result that can be watched."""


class Desk:
    """A submit function whose calls are finished by hand.

    Attributes
    ----------
    calls
        The arguments of each call.
    futures
        The future that was returned for each call.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.futures: list[Future[Any]] = []
        self.called = threading.Semaphore(0)

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Note the call."""
        future: Future[Any] = Future()
        self.calls.append((args, kwargs))
        self.futures.append(future)
        self.called.release()
        return future

    def wait(self) -> Future[Any]:
        """Return the future of the next call."""
        assert self.called.acquire(timeout=TIMEOUT)
        return self.futures[-1]


def at_once(*args: Any) -> Future[Any]:
    """Submit to nobody: the future is finished, with the last argument as result."""
    return succeeded(args[-1] if args else None)


def post_of(future: ScheduledFuture[Any]) -> Callable[[Callable[[], object]], None]:
    """Return the way to the event_loop of an unfinished future."""
    assert future._event_loop is not None
    return future._event_loop.post


# --- results ---


def test_submits_with_the_arguments() -> None:
    """The submit function gets the arguments as they are, and the future becomes what its future becomes."""
    desk, argument = Desk(), Value()
    future = Scheduler(desk.submit).submit([argument, 2], {"key": 3})
    assert desk.calls == [((argument, 2), {"key": 3})]
    assert not future.done()
    desk.futures[0].set_result(7)
    assert future.result(TIMEOUT) == 7


def test_submits_when_the_dependencies_are_done() -> None:
    """The submit function is called after the last dependency, not before, and once."""
    desk, first, second = Desk(), Future[int](), Future[int]()
    future = Scheduler(desk.submit).submit(dependencies=iter([first, second, first]))
    second.set_result(1)
    assert handled(post_of(future))
    assert desk.calls == []
    first.set_result(1)
    desk.wait().set_result("end")
    assert future.result(TIMEOUT) == "end"
    assert len(desk.calls) == 1


def test_arguments_are_taken_at_the_call() -> None:
    """A list or dict of arguments may be changed after `submit`."""
    desk, first = Desk(), Future[int]()
    args, kwargs = [1], {"key": 2}
    Scheduler(desk.submit).submit(args, kwargs, [first])
    args.append(5)
    kwargs["other"] = 6
    first.set_result(1)
    desk.wait()
    assert desk.calls == [((1,), {"key": 2})]


def test_on_an_executor() -> None:
    """A graph of calls runs on an executor, in the order of its dependencies."""
    seen: list[int] = []
    with ThreadPoolExecutor(4) as executor, Scheduler(executor.submit) as scheduler:
        last: list[Future[Any]] = []
        for number in range(50):
            last = [scheduler.submit([seen.append, number], dependencies=last)]
    assert seen == list(range(50))


def test_mixes_with_wait_graphs() -> None:
    """Scheduled futures and wait futures may depend on each other."""
    scheduler, graph, first = Scheduler(at_once), WaitGraph(), Future[int]()
    middle = scheduler.submit([3], dependencies=[graph.submit([first])])
    last = graph.submit([middle, middle], lambda one, two: one + two)
    first.set_result(0)
    assert last.result(TIMEOUT) == 6


def test_done_futures_need_no_thread() -> None:
    """A call that can be submitted and is done at once starts no thread."""
    before = event_loop_threads()
    scheduler = Scheduler(at_once)
    assert scheduler.submit([1], dependencies=[succeeded()]).result(0) == 1
    assert set(event_loop_threads()) <= set(before)


# --- mistakes of the caller ---


def test_wrong_arguments() -> None:
    """What can't work is refused at the call."""
    with pytest.raises(TypeError, match="user_submit must be a function that returns a future, not int"):
        Scheduler(3)  # type: ignore[arg-type]
    scheduler = Scheduler(at_once)
    with pytest.raises(TypeError, match=r"dependencies\[0\] is of type str"):
        scheduler.submit([], {}, "ab")  # type: ignore[arg-type]
    scheduler.shutdown()


# --- failure ---


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([succeeded, lambda: failed(ValueError("a")), lambda: failed(ValueError("b"))], "a"),
        ([cancelled, lambda: failed(ValueError("a"))], "a"),
        ([cancelled_and_notified, succeeded], None),
        ([succeeded, cancelled], None),
    ],
)
def test_failed_dependency(ends: list[Callable[[], Future[Any]]], expected: str | None, late: bool) -> None:
    """A call whose dependencies failed or were cancelled is never submitted, and ends like them."""
    desk, gate = Desk(), Future[int]()
    dependencies = [make() for make in ends] + ([gate] if late else [])
    future = Scheduler(desk.submit).submit(dependencies=dependencies)
    gate.set_result(1)
    assert wait([future], TIMEOUT).done
    if expected is None:
        assert future.cancelled()
    else:
        assert str(future.exception()) == expected
    assert desk.calls == []


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", [ValueError, SystemExit, GeneratorExit, CancelledError])
def test_submit_function_raises(kind: type[BaseException], late: bool) -> None:
    """Whatever the submit function raises is the exception of that future, and the scheduler goes on."""

    def user_submit(how: str) -> Future[Any]:
        if how == "raise":
            raise kind("submit")
        return succeeded(how)

    gate = Future[int]() if late else succeeded()
    with Scheduler(user_submit) as scheduler:
        bad, good = (scheduler.submit([how], dependencies=[gate]) for how in ("raise", "go"))
        if late:
            gate.set_result(1)
    exception = bad.exception(0)
    assert type(exception) is kind
    assert exception.__traceback__ is not None
    assert exception.__traceback__.tb_frame.f_code.co_name == "user_submit"
    assert good.result(0) == "go"


@pytest.mark.parametrize("late", [False, True])
def test_submit_function_returns_no_future(late: bool) -> None:
    """A submit function that returns something else fails the future, by name of the type."""
    gate = Future[int]() if late else succeeded()
    future = Scheduler(lambda: 3).submit(dependencies=[gate])  # type: ignore[arg-type,return-value]
    if late:
        gate.set_result(1)
    with pytest.raises(TypeError, match=r"user_submit must return a concurrent\.futures\.Future, but returned int"):
        future.result(TIMEOUT)


@pytest.mark.parametrize("finish", [False, True])
def test_the_call_fails(finish: bool) -> None:
    """The exception of the submitted call is that of the future, and of what depends on it."""
    desk = Desk()
    scheduler = Scheduler(desk.submit)
    future = scheduler.submit()
    dependent = scheduler.submit(dependencies=[future])
    exception = ValueError()
    desk.futures[0].set_exception(exception)
    assert future.exception(TIMEOUT) is exception
    assert dependent.exception(TIMEOUT) is exception


# --- cancellation ---


def test_cancel_before_the_submission() -> None:
    """A call that waits is cancelled at once, is never submitted, and everybody sees it."""
    desk, first = Desk(), Future[int]()
    scheduler = Scheduler(desk.submit)
    future = scheduler.submit(dependencies=[first])
    dependent = scheduler.submit(dependencies=[future])
    assert future.cancel()
    assert future.cancelled()
    assert future.cancel()
    assert wait([future, dependent], TIMEOUT).not_done == set()
    assert set(as_completed([future, dependent], TIMEOUT)) == {future, dependent}
    assert dependent.cancelled()
    first.set_result(1)
    scheduler.shutdown()
    assert desk.calls == []


def test_cancel_after_the_submission() -> None:
    """A call that is submitted and not started is cancelled where it was submitted."""
    desk = Desk()
    future = Scheduler(desk.submit).submit()
    assert future.cancel()
    assert future.cancelled()
    assert desk.futures[0].cancelled()
    assert wait([future], TIMEOUT).done


def test_cancel_of_a_running_call() -> None:
    """A call that has started can't be cancelled: nothing changes."""
    desk = Desk()
    future = Scheduler(desk.submit).submit()
    assert not future.running()
    desk.futures[0].set_running_or_notify_cancel()
    assert not any(future.cancel() for _ in range(5))
    assert handled(post_of(future))
    assert len(desk.futures[0]._done_callbacks) == 1  # type: ignore[attr-defined]
    assert future.running()
    assert "running" in repr(future)
    desk.futures[0].set_result(1)
    assert future.result(TIMEOUT) == 1
    assert not future.running()
    assert not future.cancel()


def test_cancel_while_it_is_submitted() -> None:
    """During the submission it is too late to cancel, and too early to ask."""
    inside, leave = threading.Event(), threading.Event()
    desk = Desk()

    def user_submit() -> Future[Any]:
        inside.set()
        assert leave.wait(TIMEOUT)
        return desk.submit()

    gate: Future[int] = Future()
    future = Scheduler(user_submit).submit(dependencies=[gate])
    gate.set_result(1)
    assert inside.wait(TIMEOUT)
    assert not future.cancel()
    leave.set()
    desk.wait().set_result(3)
    assert future.result(TIMEOUT) == 3


def test_call_is_cancelled_by_its_executor() -> None:
    """A future whose call is cancelled elsewhere is cancelled."""
    desk = Desk()
    future = Scheduler(desk.submit).submit()
    desk.futures[0].cancel()
    assert wait([future], TIMEOUT).done
    assert future.cancelled()


def test_running_call_is_cancelled_by_its_executor() -> None:
    """An engine may cancel a call that has started; its future follows."""

    class Stoppable(Future[Any]):
        def cancel(self) -> bool:
            with self._condition:
                self._state = "PENDING"
            return super().cancel()

    inner = Stoppable()
    future = Scheduler(lambda: inner).submit()
    inner.set_running_or_notify_cancel()
    assert future.running()
    assert future.cancel()
    assert future.cancelled()
    assert wait([future], TIMEOUT).done


def test_engine_without_cancel() -> None:
    """Where the engine can't cancel, `cancel()` is False."""

    class Stubborn(Future[Any]):
        def cancel(self) -> bool:
            raise NotImplementedError

    inner = Stubborn()
    future = Scheduler(lambda: inner).submit()
    assert not future.cancel()
    inner.set_result(2)
    assert future.result(TIMEOUT) == 2


def test_asyncio() -> None:
    """`asyncio.wrap_future` sees the end of a call, and can cancel it."""
    desk = Desk()
    scheduler = Scheduler(desk.submit)

    async def ask() -> object:
        wrapped, stopped = (asyncio.wrap_future(scheduler.submit()) for _ in range(2))
        stopped.cancel()
        desk.futures[0].set_result(1)
        await asyncio.wait([stopped])
        return await asyncio.wait_for(wrapped, TIMEOUT)

    assert asyncio.run(ask()) == 1
    assert desk.futures[1].cancelled()


# --- leaving ---


def test_leaving_waits() -> None:
    """Leaving a scheduler waits for all calls, also those whose futures nobody holds."""
    desk, gate, left = Desk(), Future[int](), threading.Event()

    def use() -> None:
        with Scheduler(desk.submit) as scheduler:
            scheduler.submit(dependencies=[gate])
            gc.collect()
        left.set()

    thread = in_thread(use)
    gate.set_result(1)
    inner = desk.wait()
    assert not left.is_set()
    inner.set_result(1)
    assert left.wait(TIMEOUT)
    thread.join(TIMEOUT)


def test_leaving_waits_for_callbacks() -> None:
    """When a scheduler is left, the callbacks of its futures have run, also of cancelled ones."""
    seen: list[str] = []
    gate: Future[int] = Future()
    with Scheduler(at_once) as scheduler:
        for name in ("run", "cancel"):
            future = scheduler.submit(dependencies=[gate])
            future.add_done_callback(lambda _, name=name: seen.append(name))
        future.cancel()
        gate.set_result(1)
    assert sorted(seen) == ["cancel", "run"]


def test_leaving_raises_nothing() -> None:
    """Failed and cancelled calls do not raise when a scheduler is left."""
    gate: Future[int] = Future()
    with Scheduler(at_once) as scheduler:
        bad = scheduler.submit(dependencies=[gate])
        gone = scheduler.submit(dependencies=[cancelled()])
        gate.set_exception(ValueError())
    assert isinstance(bad.exception(0), ValueError)
    assert gone.cancelled()


def test_leaving_by_an_exception() -> None:
    """An exception of the body cancels what is not submitted, and what is submitted is waited for."""
    desk, submitted, waiting = Desk(), [], []
    gate, left = Future[int](), threading.Event()

    def use() -> None:
        with pytest.raises(LookupError), Scheduler(desk.submit) as scheduler:  # noqa: PT012
            submitted.append(scheduler.submit())
            waiting.append(scheduler.submit(dependencies=[gate]))
            waiting.append(scheduler.submit(dependencies=submitted))
            raise LookupError
        left.set()

    thread = in_thread(use)
    inner = desk.wait()
    for future in list(as_completed_soon(waiting, 2)):
        assert future.cancelled()
    assert not left.is_set()
    inner.set_result(4)
    assert left.wait(TIMEOUT)
    assert submitted[0].result(0) == 4
    assert len(desk.calls) == 1
    thread.join(TIMEOUT)


def as_completed_soon(futures: list[Any], number: int) -> list[Future[Any]]:
    """Return the futures of a list that grows to this length, when they are done."""
    end = time.monotonic() + TIMEOUT
    while len(futures) < number and time.monotonic() < end:
        threading.Event().wait(0.001)
    return list(as_completed(futures, TIMEOUT))


def test_submit_after_shutdown() -> None:
    """A scheduler that was shut down refuses calls, and says so; it may be shut down again."""
    scheduler = Scheduler(at_once)
    scheduler.shutdown()
    scheduler.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(RuntimeError, match="was shut down"):
        scheduler.submit()


def test_shutdown_without_waiting() -> None:
    """`shutdown(wait=False)` returns at once, and the calls go on."""
    desk, gate = Desk(), Future[int]()
    scheduler = Scheduler(desk.submit)
    future = scheduler.submit(dependencies=[gate])
    scheduler.shutdown(wait=False)
    gate.set_result(1)
    desk.wait().set_result(2)
    assert future.result(TIMEOUT) == 2
    scheduler.shutdown()


def test_shutdown_cancels_what_waits_for_ever() -> None:
    """`cancel_futures` cancels what waits for a future that never comes."""
    scheduler = Scheduler(at_once)
    future = scheduler.submit(dependencies=[Future()])
    scheduler.shutdown(cancel_futures=True)
    assert future.cancelled()


@pytest.mark.parametrize("first", [False, True])
def test_shutdown_on_its_own_thread(first: bool) -> None:
    """A callback can't wait for the end of the scheduler that runs it: an error, not a deadlock."""
    gate: Future[int] = Future()
    scheduler = Scheduler(at_once)
    errors: list[BaseException] = []

    def callback(_future: object) -> None:
        try:
            scheduler.shutdown()
        except RuntimeError as exc:
            errors.append(exc)

    scheduler.submit(dependencies=[gate]).add_done_callback(callback)
    if first:
        scheduler.shutdown(wait=False)
    gate.set_result(1)
    scheduler.shutdown()
    assert "can't wait for its end" in str(errors[0])


# --- Ctrl-C ---


def test_interrupt_in_submit_function() -> None:
    """A Ctrl-C in a submit function that runs in `submit` reaches the caller; nothing is left pending."""

    def user_submit() -> Future[Any]:
        raise KeyboardInterrupt

    scheduler = Scheduler(user_submit)
    with pytest.raises(KeyboardInterrupt):
        scheduler.submit()
    scheduler.shutdown()


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Keep the collector from running finalizers of other tests' futures, in which an interrupt can only be lost."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("late", [False, True])
def test_interrupt_anywhere_in_submit(late: bool) -> None:
    """Wherever Ctrl-C meets `submit`, leaving the scheduler does not wait for a future that never ends."""
    for count in itertools.count(1):
        scheduler = Scheduler(at_once)
        first = Future[int]() if late else succeeded()
        reached = interrupt_at(count, lambda: scheduler.submit([1], dependencies=[first]))  # noqa: B023
        if late:
            first.set_result(1)
        assert leaves(scheduler)
        if not reached:
            break
    assert count > 20


def leaves(scheduler: Scheduler[Any]) -> bool:
    """Whether a scheduler can be left in time."""
    thread = in_thread(scheduler.shutdown)
    thread.join(TIMEOUT)
    return not thread.is_alive()


@pytest.mark.parametrize("submitted", [False, True])
def test_interrupt_anywhere_in_cancel(submitted: bool) -> None:
    """Wherever Ctrl-C meets `cancel()`, the future ends, in one way for all who look."""
    for count in itertools.count(1):
        desk, gate = Desk(), Future[int]()
        scheduler = Scheduler(desk.submit)
        future = scheduler.submit(dependencies=[] if submitted else [gate])
        dependent = WaitGraph().submit([future])
        reached = interrupt_at(count, future.cancel)
        was_cancelled = future.cancelled()
        if not was_cancelled:
            gate.set_result(1)
            inner = desk.wait()
            if inner.set_running_or_notify_cancel():
                inner.set_result(1)
        assert wait([future, dependent], TIMEOUT).not_done == set()
        assert future.cancelled() == dependent.cancelled()
        assert future.cancelled() or not was_cancelled
        assert leaves(scheduler)
        if not reached:
            break
    assert count > 3


def test_interrupt_while_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C while a scheduler is left cancels what is not submitted, and ends the waiting."""
    scheduler = Scheduler(at_once)
    future = scheduler.submit(dependencies=[Future()])

    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(scheduler._unfinished), "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scheduler.shutdown()
    assert future.cancelled()


# --- depth, width, memory ---


@pytest.mark.slow
@pytest.mark.parametrize("how", ["succeeds", "fails", "cancelled"])
def test_long_chain(how: str) -> None:
    """A chain of 100,000 calls that finish in place ends, without recursion."""
    first: Future[int] = Future()
    with Scheduler(at_once) as scheduler:
        last: Future[Any] = first
        for number in range(MANY):
            last = scheduler.submit([number], dependencies=[last])
        if how == "succeeds":
            first.set_result(0)
        elif how == "fails":
            first.set_exception(ValueError())
        else:
            first.cancel()
    assert last.done()
    assert last.cancelled() == (how == "cancelled")
    if how != "cancelled":
        assert (last.exception() is None) == (how == "succeeds")


@pytest.mark.slow
def test_wide_fan_that_is_given_up() -> None:
    """100,000 waiting calls are cancelled when the body of the block fails."""
    first: Future[int] = Future()
    with pytest.raises(LookupError), Scheduler(at_once) as scheduler:  # noqa: PT012
        futures = [scheduler.submit(dependencies=[first]) for _ in range(MANY)]
        raise LookupError
    assert all(future.cancelled() for future in futures)


def test_arguments_and_futures_are_freed() -> None:
    """A done call keeps its result, and neither its arguments nor the future of the executor."""
    desk, argument, gate = Desk(), Value(), Future[int]()
    future = Scheduler(desk.submit).submit([argument], dependencies=[gate])
    gate.set_result(1)
    desk.wait().set_result(2)
    assert future.result(TIMEOUT) == 2
    events = [death(argument), death(desk.futures[0]), death(gate)]
    del argument, gate
    desk.calls.clear()
    desk.futures.clear()
    assert [died(event) for event in events] == [True] * 3


def test_results_that_nobody_holds_are_freed() -> None:
    """A scheduler keeps no results, while a user of the last future keeps only that one."""
    with Scheduler(lambda _: succeeded(Value())) as scheduler:
        alive: weakref.WeakSet[Any] = weakref.WeakSet()
        last: list[ScheduledFuture[Any]] = []
        for _ in range(50):
            last = [scheduler.submit([last], dependencies=last)]
            alive.add(last[0].result(TIMEOUT))
            assert len(alive) <= 2


@pytest.mark.parametrize("used", ["left", "forgotten"])
def test_the_thread_ends(used: str) -> None:
    """The thread of a scheduler ends when it was left, or when it is garbage."""
    gate: Future[int] = Future()
    scheduler: Scheduler[Any] | None = Scheduler(at_once)
    assert scheduler is not None
    future = scheduler.submit(dependencies=[gate])
    event_loop = future._event_loop
    assert isinstance(event_loop, EventLoop)
    thread = event_loop._events.thread
    assert thread is not None
    gate.set_result(1)
    if used == "left":
        scheduler.shutdown()
        kept = scheduler
        assert kept is not None
    assert future.result(TIMEOUT) is None
    del scheduler, event_loop
    gc.collect()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_interpreter_exits_with_a_forgotten_scheduler() -> None:
    """A scheduler with waiting and submitted calls that is never left does not keep an interpreter alive."""
    script = (
        "from concurrent.futures import Future\n"
        "from parman.futures.scheduler import Scheduler\n"
        "scheduler = Scheduler(lambda: Future())\n"
        "submitted = scheduler.submit()\n"
        "waiting = scheduler.submit(dependencies=[Future()])\n"
        "scheduler.__enter__()\n"
        "print('end', flush=True)\n"
    )
    result = run_script(script, "-W", "error")
    assert (result.returncode, result.stdout, result.stderr) == (0, "end\n", "")


# --- random graphs ---

Plan = tuple[list[tuple[list[int], str]], int]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw calls with their dependencies and ends."""
    ends = st.sampled_from(["ok", "ok", "ok", "inline", "fails", "submit raises", "no future", "cancelled"])
    calls: list[tuple[list[int], str]] = []
    for number in range(draw(st.integers(1, 14))):
        before = st.lists(st.integers(0, number - 1), max_size=4) if number else st.just([])
        calls.append((draw(before), draw(ends)))
    return calls, draw(st.integers(1, 4))


def model(plan: Plan) -> list[object]:
    """Say how every call of a plan ends."""
    calls, _ = plan
    ends: dict[int, object] = {}
    graph = {number: call[0] for number, call in enumerate(calls)}
    for number in graphlib.TopologicalSorter(graph).static_order():
        dependencies, how = calls[number]
        failures = [ends[other] for other in dependencies if ends[other] not in ("ok", "cancelled")]
        if how == "cancelled":
            ends[number] = "cancelled"
        elif failures:
            ends[number] = failures[0]
        elif any(ends[other] == "cancelled" for other in dependencies):
            ends[number] = "cancelled"
        else:
            own = {"fails": ("ValueError", number), "submit raises": ("LookupError", number), "no future": "TypeError"}
            ends[number] = own.get(how, "ok")
    return [ends[number] for number in range(len(calls))]


def end_of(future: Future[Any]) -> object:
    """Return how a done future ended, as the model says it."""
    if future.cancelled():
        return "cancelled"
    exception = future.exception(0)
    if exception is None:
        return "ok"
    name = type(exception).__name__
    return name if name == "TypeError" else (name, exception.args[0])


def raise_(exception: BaseException) -> None:
    """Raise, as a function."""
    raise exception


@settings(max_examples=150, deadline=None)
@given(plan=plans())
def test_random_graphs(plan: Plan) -> None:
    """Every call of a random graph on an executor ends as the model says, and starts after its dependencies."""
    calls, workers = plan
    futures: list[ScheduledFuture[Any]] = []
    gate: Future[Any] = Future()
    early: list[int] = []

    def body(number: int, how: str) -> None:
        early.extend(other for other in calls[number][0] if not futures[other].done())
        if how == "fails":
            raise ValueError(number)

    def user_submit(number: int, how: str) -> Future[Any]:
        if how == "submit raises":
            raise LookupError(number)
        if how == "no future":
            return how  # type: ignore[return-value]
        return succeeded() if how == "inline" else executor.submit(body, number, how)

    with ThreadPoolExecutor(workers) as executor, Scheduler(user_submit) as scheduler:
        for number, (needs, how) in enumerate(calls):
            futures.append(scheduler.submit([number, how], {}, [*(futures[other] for other in needs), gate]))
        for future, (_, how) in zip(futures, calls, strict=True):
            assert how != "cancelled" or future.cancel()
        gate.set_result(None)
    assert early == []
    assert [end_of(future) for future in futures] == model(plan)


def test_racing_cancels() -> None:
    """However running and cancelling race, each call has one outcome: cancelled, or run once."""
    with hasty_switches():
        for seed in range(40):
            race(seed)


def race(seed: int) -> None:
    """Cancel calls from two threads while they run on an executor, and check that each has one outcome."""
    rng = random.Random(seed)
    ran: list[int] = []
    agreed: list[int] = []
    gate: Future[int] = Future()
    with ThreadPoolExecutor(2) as executor, Scheduler(executor.submit) as scheduler:
        futures: list[ScheduledFuture[None]] = []
        for number in range(40):
            needs = [gate, *rng.choices(futures, k=2)] if futures and rng.random() < 0.5 else [gate]
            futures.append(scheduler.submit([ran.append, number], {}, needs))
        victims = rng.sample(range(40), 10)

        def cancel() -> None:
            agreed.extend([number for number in victims if futures[number].cancel()])

        threads = [in_thread(cancel) for _ in range(2)]
        gate.set_result(1)
        for thread in threads:
            thread.join(TIMEOUT)
    assert wait(futures, TIMEOUT).not_done == set()
    assert len(ran) == len(set(ran))
    assert {number for number, future in enumerate(futures) if not future.cancelled()} == set(ran)
    assert set(agreed).isdisjoint(ran)


def test_shutdown_in_the_midst_of_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is cancelled by `shutdown` before it began to wait is never submitted, and its end is seen."""
    desk = Desk()
    scheduler = Scheduler(desk.submit)
    watch = Gate.watch

    def late_watch(self: Gate, dependencies: list[Future[Any]]) -> None:
        scheduler.shutdown(wait=False, cancel_futures=True)
        watch(self, dependencies)

    monkeypatch.setattr(Gate, "watch", late_watch)
    future = scheduler.submit()
    assert wait([future], TIMEOUT).done
    assert future.cancelled()
    assert desk.calls == []


def test_shutdown_races_with_submit() -> None:
    """A call that is submitted while another thread shuts down is refused, or ends."""
    with hasty_switches():
        for _ in range(50):
            scheduler = Scheduler(at_once)
            barrier = threading.Barrier(2)
            made: list[ScheduledFuture[Any]] = []

            def submit(scheduler: Scheduler[Any] = scheduler, barrier: Any = barrier, made: Any = made) -> None:
                barrier.wait(TIMEOUT)
                try:
                    for _ in range(100):
                        made.append(scheduler.submit(dependencies=[Future()]))
                        made.append(scheduler.submit())
                except RuntimeError:
                    pass

            thread = in_thread(submit)
            barrier.wait(TIMEOUT)
            scheduler.shutdown(cancel_futures=True)
            thread.join(TIMEOUT)
            assert wait(made, TIMEOUT).not_done == set()
