# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `WaitGraph` and the event_loop below it promise."""

from __future__ import annotations

import asyncio
import gc
import graphlib
import itertools
import logging
import multiprocessing
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from typing import Any

import pytest
from helpers import TIMEOUT
from helpers.futures import cancelled, cancelled_and_notified, failed, running, succeeded
from helpers.scripts import run_script
from helpers.waiting import death, died, event_loop_threads, handled, hasty_switches, in_thread, interrupt_at
from hypothesis import given, settings
from hypothesis import strategies as st

from parman.futures.loop import EventLoop, SlimCondition
from parman.futures.wait_graph import Gate, Node, WaitFuture, WaitGraph

MANY = 100_000


class Value:
    """A result that can be watched."""


def state_of(future: Future[Any]) -> object:
    """Return how a future ended, in a form that can be compared."""
    if future.cancelled():
        return "cancelled"
    exception = future.exception(TIMEOUT)
    return repr(exception) if exception is not None else ("result", future.result())


# --- results ---


def test_digest_gets_results_in_order() -> None:
    """The digest gets the results in the order of the dependencies, in whatever order they come."""
    futures = [Future[int]() for _ in range(5)]
    total = WaitGraph().submit(futures, lambda *results: results)
    for position in (3, 4, 0, 2, 1):
        futures[position].set_result(position)
    assert total.result(TIMEOUT) == (0, 1, 2, 3, 4)


def test_without_digest_the_result_is_none() -> None:
    """A future without digest says that everything is done, and nothing else."""
    first: Future[int] = Future()
    done = WaitGraph().submit([first])
    first.set_result(1)
    assert done.result(TIMEOUT) is None


def test_no_dependencies() -> None:
    """A future that waits for nothing is finished at once."""
    assert WaitGraph().submit([]).done()
    assert WaitGraph().submit([], lambda: 5).result(0) == 5


def test_any_iterable_is_consumed_once() -> None:
    """The dependencies may come from a generator, and may hold a future several times."""
    future: Future[int] = Future()
    sums = WaitGraph().submit((future for _ in range(3)), lambda *results: sum(results))
    future.set_result(2)
    assert sums.result(TIMEOUT) == 6


def test_submit_never_waits() -> None:
    """A call of `submit` returns while its dependencies are pending or running."""
    graph = WaitGraph()
    future = graph.submit([Future(), running()])
    assert not future.done()
    assert not future.running()


def test_futures_are_futures() -> None:
    """What `submit` returns is a `concurrent.futures.Future`, and says its state."""
    future = WaitGraph().submit([Future()])
    assert isinstance(future, Future)
    assert "pending" in repr(future)


def test_dependencies_from_anywhere() -> None:
    """Futures of different executors and graphs mix."""
    context = multiprocessing.get_context("forkserver")
    with ThreadPoolExecutor(1) as threads, ProcessPoolExecutor(1, context) as processes:
        own = WaitGraph().submit([], lambda: 1)
        futures = [threads.submit(int, 2), processes.submit(int, 3), own, succeeded(4)]
        assert WaitGraph().submit(futures, lambda *results: results).result(TIMEOUT) == (2, 3, 1, 4)


def test_finished_dependencies_need_no_thread() -> None:
    """When everything is done already the digest runs in `submit`, and no thread is started."""
    before = event_loop_threads()
    graph = WaitGraph()
    future = graph.submit([succeeded(1), graph.submit([])], lambda *_: threading.get_ident())
    assert future.done()
    assert future.result() == threading.get_ident()
    assert set(event_loop_threads()) <= set(before)


# --- mistakes of the caller ---


@pytest.mark.parametrize(
    ("dependencies", "message"),
    [
        ([succeeded(), 3], r"dependencies\[1\] is of type int"),
        ("ab", r"dependencies\[0\] is of type str"),
        (succeeded(), r"for a single one pass \[future\]"),
        (5, "must be an iterable of futures, not int"),
    ],
)
def test_wrong_dependencies(dependencies: Any, message: str) -> None:
    """What is no future is refused at the call, by position and type."""
    with pytest.raises(TypeError, match=message):
        WaitGraph().submit(dependencies)


def test_asyncio_futures_are_refused() -> None:
    """A future of asyncio is refused, and named in full."""
    loop = asyncio.new_event_loop()
    with pytest.raises(TypeError, match=r"asyncio\.Future"):
        WaitGraph().submit([loop.create_future()])  # type: ignore[list-item]
    loop.close()


def test_wrong_digest() -> None:
    """A digest that can't be called is refused at the call."""
    with pytest.raises(TypeError, match="digest must be a function of the results, not int"):
        WaitGraph().submit([], 3)  # type: ignore[call-overload]


# --- failure ---

ENDS: dict[str, Callable[[], Future[Any]]] = {
    "result": lambda: succeeded(1),
    "failed": lambda: failed(ValueError("a")),
    "cancelled": cancelled,
    "notified": cancelled_and_notified,
}


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (["result", "result"], ("result", (1, 1))),
        (["result", "failed"], "ValueError('a')"),
        (["cancelled", "failed"], "ValueError('a')"),
        (["failed", "notified"], "ValueError('a')"),
        (["result", "cancelled"], "cancelled"),
        (["notified", "result"], "cancelled"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_outcome(ends: list[str], expected: object, late: bool) -> None:
    """A failed dependency gives its exception, else a cancelled one cancels; the same before and after the call."""
    gate: Future[Any] = Future()
    dependencies = [ENDS[end]() for end in ends]
    future = WaitGraph().submit([*dependencies, gate] if late else dependencies, lambda *results: results[:2])
    gate.set_result(None)
    assert wait([future], TIMEOUT).done == {future}
    assert state_of(future) == expected


def test_first_failure_in_order_of_dependencies() -> None:
    """Of several failures that of the first dependency counts, not the earliest."""
    first: Future[int] = Future()
    future = WaitGraph().submit([first, failed(ValueError("second"))])
    first.set_exception(ValueError("first"))
    assert str(future.exception(TIMEOUT)) == "first"


def test_failure_comes_after_all_dependencies() -> None:
    """A future finishes when all dependencies are done, also when one has failed already."""
    graph = WaitGraph()
    last: Future[int] = Future()
    future = graph.submit([failed(ValueError()), last])
    assert handled(graph._event_loop.post)
    assert not future.done()
    last.set_result(1)
    assert isinstance(future.exception(TIMEOUT), ValueError)


def test_the_exception_is_passed_on_as_it_is() -> None:
    """Dependents of a failed future have the very exception."""
    graph = WaitGraph()
    first: Future[int] = Future()
    last = graph.submit([graph.submit([first], str)], str)
    exception = ValueError()
    first.set_exception(exception)
    assert last.exception(TIMEOUT) is exception


RAISED = [ValueError, SystemExit, GeneratorExit, StopIteration, CancelledError, BaseException]


def raising(kind: type[BaseException]) -> Callable[..., Any]:
    """Make a digest that raises."""

    def digest(*_results: object) -> None:
        raise kind("digest")

    return digest


@pytest.mark.parametrize("kind", [*RAISED, KeyboardInterrupt])
def test_digest_raises(kind: type[BaseException]) -> None:
    """Whatever a digest raises is the exception of its future, and the graph goes on."""
    graph = WaitGraph()
    first: Future[int] = Future()
    future, other = graph.submit([first], raising(kind)), graph.submit([first])
    dependent = graph.submit([future, other])
    first.set_result(1)
    assert type(future.exception(TIMEOUT)) is kind
    assert dependent.exception(TIMEOUT) is future.exception()
    assert other.result(TIMEOUT) is None


@pytest.mark.parametrize("kind", RAISED)
def test_digest_raises_in_submit(kind: type[BaseException]) -> None:
    """A digest that runs in `submit` raises into its future, not into the caller."""
    assert type(WaitGraph().submit([succeeded()], raising(kind)).exception(0)) is kind


def test_digest_with_wrong_parameters() -> None:
    """A digest that does not take so many results fails its future."""
    first: Future[int] = Future()
    future = WaitGraph().submit([first, first], lambda one: one)
    first.set_result(1)
    assert isinstance(future.exception(TIMEOUT), TypeError)


@pytest.mark.parametrize("late", [False, True])
def test_traceback_begins_in_the_digest(late: bool) -> None:
    """A traceback shows the user's frames, and keeps none of ours alive."""
    first = Future[int]() if late else succeeded()
    future = WaitGraph().submit([first], raising(ValueError))
    if late:
        first.set_result(1)
    exception = future.exception(TIMEOUT)
    assert exception is not None
    assert exception.__traceback__ is not None
    assert exception.__traceback__.tb_frame.f_code.co_name == "digest"


class Rude(Future[Any]):
    """A future that misbehaves when it is asked for its exception."""

    def exception(self, timeout: float | None = None) -> BaseException | None:
        raise LookupError("rude")


@pytest.mark.parametrize("late", [False, True])
def test_dependency_that_misbehaves(late: bool) -> None:
    """A foreign future that raises when it is read fails its dependents and nothing else."""
    rude = Rude()
    if not late:
        rude.set_result(1)
    future = WaitGraph().submit([rude])
    if late:
        rude.set_result(1)
    assert isinstance(future.exception(TIMEOUT), LookupError)


# --- callbacks ---


def finishing(how: str) -> tuple[WaitFuture[None], Callable[[], object]]:
    """Return a pending future of a graph, and what makes it end in a given way."""
    first: Future[Any] = Future()
    future = WaitGraph().submit([first])
    actions: dict[str, Callable[[], object]] = {
        "succeeds": lambda: first.set_result(1),
        "fails": lambda: first.set_exception(ValueError()),
        "dependency cancelled": first.cancel,
        "cancelled": future.cancel,
    }
    return future, actions[how]


HOW = ["succeeds", "fails", "dependency cancelled", "cancelled"]


@pytest.mark.parametrize("how", HOW)
def test_callbacks(how: str) -> None:
    """Callbacks get the future, once each and in order; one that is added afterwards is called in place."""
    future, finish = finishing(how)
    calls: list[object] = []
    last = threading.Event()
    for number in range(3):
        future.add_done_callback(lambda done, number=number: calls.append((number, done is future, done.done())))
    future.add_done_callback(lambda _: last.set())
    finish()
    assert last.wait(TIMEOUT)
    assert calls == [(number, True, True) for number in range(3)]
    future.add_done_callback(lambda _: calls.append(threading.get_ident()))
    assert calls[-1] == threading.get_ident()


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("how", HOW)
def test_callback_that_raises(how: str, kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is logged; it loses neither the callbacks behind it nor the dependents."""
    future, finish = finishing(how)
    later = threading.Event()
    future.add_done_callback(raising(kind))
    dependent = WaitGraph().submit([future])
    future.add_done_callback(lambda _: later.set())
    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        finish()
        assert later.wait(TIMEOUT)
    assert wait([dependent], TIMEOUT).done
    assert "exception calling callback" in caplog.text


def test_a_callback_may_submit_and_cancel() -> None:
    """A graph can grow, and futures can be cancelled, in its own callbacks and digests."""
    graph = WaitGraph()
    first: Future[int] = Future()
    victim = graph.submit([Future()])
    grown: Future[Any] = Future()
    future = graph.submit([first], lambda _: victim.cancel())
    future.add_done_callback(lambda done: grown.set_result(graph.submit([done, victim])))
    first.set_result(1)
    assert future.result(TIMEOUT) is True
    assert wait([grown.result(TIMEOUT)], TIMEOUT).done
    assert grown.result().cancelled()


# --- cancellation ---


def test_cancel_is_seen_at_once_and_by_all() -> None:
    """A cancelled future is done when `cancel()` returns; `wait`, `as_completed` and the dependents see it."""
    graph = WaitGraph()
    future = graph.submit([Future()])
    dependent = WaitGraph().submit([future])
    assert future.cancel()
    assert future.done()
    assert future.cancelled()
    assert future.cancel()
    assert wait([future, dependent], TIMEOUT).not_done == set()
    assert set(as_completed([future, dependent], TIMEOUT)) == {future, dependent}
    assert dependent.cancelled()


def test_cancel_leaves_the_dependencies_alone() -> None:
    """Cancelling a future does not cancel what it waits for."""
    first: Future[int] = Future()
    assert WaitGraph().submit([first]).cancel()
    assert not first.done()


def test_cancel_is_too_late_after_the_end() -> None:
    """A finished future can't be cancelled."""
    future = WaitGraph().submit([])
    assert not future.cancel()
    assert future.result(0) is None


def test_cancel_is_too_late_while_the_digest_runs() -> None:
    """A future whose digest runs is running, and can't be cancelled."""
    first: Future[int] = Future()
    inside, leave = threading.Event(), threading.Event()
    future = WaitGraph().submit([first], lambda _: (inside.set(), leave.wait(TIMEOUT)))
    first.set_result(1)
    assert inside.wait(TIMEOUT)
    assert future.running()
    assert not future.cancel()
    leave.set()
    assert future.result(TIMEOUT) == (None, True)


@pytest.mark.parametrize("how", HOW)
def test_waiting_threads_are_woken(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits in `exception()` is woken by every end."""
    future, finish = finishing(how)
    asleep = threading.Event()
    sleep = SlimCondition.wait

    def noticed_wait(self: SlimCondition, timeout: float | None = None) -> bool:
        asleep.set()
        return sleep(self, timeout)

    def ask() -> None:
        try:
            future.exception()
        except CancelledError:
            pass

    monkeypatch.setattr(SlimCondition, "wait", noticed_wait)
    thread = in_thread(ask)
    assert asleep.wait(TIMEOUT)
    finish()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


@pytest.mark.parametrize("how", HOW)
def test_waits_of_the_standard_library(how: str) -> None:
    """`wait` and `as_completed`, entered before the end, see every end."""
    future, finish = finishing(how)
    other: Future[int] = Future()
    entered = as_completed([future, other], TIMEOUT)
    thread = in_thread(finish)
    assert wait([future, other], TIMEOUT, FIRST_COMPLETED).done == {future}
    assert next(entered) is future
    thread.join(TIMEOUT)


@pytest.mark.parametrize("how", HOW)
def test_asyncio(how: str) -> None:
    """`asyncio.wrap_future` sees every end."""
    future, finish = finishing(how)

    async def ask() -> object:
        wrapped = asyncio.wrap_future(future)
        finish()
        try:
            return await asyncio.wait_for(wrapped, TIMEOUT)
        except asyncio.CancelledError:
            return "cancelled"
        except ValueError:
            return "failed"

    expected = {"succeeds": None, "fails": "failed"}.get(how, "cancelled")
    assert asyncio.run(ask()) == expected


def test_asyncio_cancels() -> None:
    """Cancelling the asyncio future cancels ours."""
    future = WaitGraph().submit([Future()])

    async def cancel() -> None:
        wrapped = asyncio.wrap_future(future)
        wrapped.cancel()
        await asyncio.wait([wrapped])

    asyncio.run(cancel())
    assert future.cancelled()


def test_timeout_of_result() -> None:
    """`result(timeout)` gives up in time, and can be asked again."""
    first: Future[int] = Future()
    future = WaitGraph().submit([first], str)
    with pytest.raises(TimeoutError):
        future.result(0.001)
    first.set_result(1)
    assert future.result(TIMEOUT) == "1"


# --- Ctrl-C ---


def test_interrupt_in_submit_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C in a digest that runs in `submit` reaches the caller, and the future is cancelled."""
    made = record_futures(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        WaitGraph().submit([succeeded()], raising(KeyboardInterrupt))
    assert made[0].cancelled()


def record_futures(monkeypatch: pytest.MonkeyPatch) -> list[Future[Any]]:
    """Return a list that collects all wait futures that begin to wait from now on."""
    made: list[Future[Any]] = []
    watch = Gate.watch

    def recorded_watch(self: Gate, dependencies: list[Future[Any]]) -> None:
        if self.future is not None:
            made.append(self.future)
        watch(self, dependencies)

    monkeypatch.setattr(Gate, "watch", recorded_watch)
    return made


@pytest.mark.parametrize("late", [False, True])
def test_interrupt_anywhere_in_submit(late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever Ctrl-C meets `submit`, no future is left behind that does not end."""
    graph = WaitGraph()
    graph.submit([Future()])
    for count in itertools.count(1):
        with monkeypatch.context() as patch:
            made = record_futures(patch)
            first = Future[int]() if late else succeeded()
            reached = interrupt_at(count, lambda first=first: graph.submit([first], str))
            if not first.done():
                first.set_result(1)
        assert wait(made, TIMEOUT).not_done == set()
        if not reached:
            break
    assert count > 20


def test_interrupt_anywhere_in_cancel() -> None:
    """Wherever Ctrl-C meets `cancel()`, the future is cancelled for all or goes on as if nothing had happened."""
    graph = WaitGraph()
    for count in itertools.count(1):
        first: Future[int] = Future()
        future = graph.submit([first], str)
        dependent = graph.submit([future])
        reached = interrupt_at(count, future.cancel)
        was_cancelled = future.cancelled()
        first.set_result(1)
        assert wait([future, dependent], TIMEOUT).not_done == set()
        assert future.cancelled() == dependent.cancelled() == was_cancelled
        if not reached:
            break
    assert count > 3


# --- depth and width ---


def end_all(futures: list[Future[Any]], how: str) -> None:
    """Finish futures in a given way."""
    for future in futures:
        if how == "succeeds":
            future.set_result(0)
        elif how == "fails":
            future.set_exception(ValueError("root"))
        else:
            future.cancel()


def expected_end(how: str, result: object) -> object:
    """Return what `state_of` gives for futures that end in a given way."""
    return {"succeeds": ("result", result), "fails": "ValueError('root')"}.get(how, "cancelled")


WAYS = ["succeeds", "fails", "cancelled"]


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_long_chain(how: str) -> None:
    """A chain of 100,000 futures ends, without recursion."""
    graph = WaitGraph()
    first: Future[int] = Future()
    last: Future[int] = first
    for _ in range(MANY):
        last = graph.submit([last], lambda number: number + 1)
    end_all([first], how)
    assert wait([last], TIMEOUT).done
    assert state_of(last) == expected_end(how, MANY)


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_wide_fan(how: str) -> None:
    """100,000 futures behind one, and one behind these, end."""
    graph = WaitGraph()
    first: Future[int] = Future()
    middle = [graph.submit([first], lambda _: 1) for _ in range(MANY)]
    last = graph.submit(middle, lambda *results: sum(results))
    end_all([first], how)
    assert wait([last], TIMEOUT).done
    assert state_of(last) == expected_end(how, MANY)


@pytest.mark.slow
def test_wide_fan_in_reverse() -> None:
    """100,000 foreign dependencies may finish in any order."""
    futures = [Future[int]() for _ in range(MANY)]
    last = WaitGraph().submit(futures, lambda *results: sum(results))
    end_all(random.Random(1).sample(futures, MANY), "succeeds")
    assert last.result(TIMEOUT) == 0


def test_one_callback_a_future() -> None:
    """A future that waits for many asks one of them at a time for a callback."""
    futures = [Future[int]() for _ in range(10)]
    future = WaitGraph().submit(futures)
    assert sum(len(dependency._done_callbacks) for dependency in futures) == 1  # type: ignore[attr-defined]
    end_all(futures, "succeeds")
    assert future.result(TIMEOUT) is None


@pytest.mark.slow
def test_long_chain_that_nobody_wants() -> None:
    """A pending chain of 100,000 futures that is dropped is freed, without recursion."""
    graph = WaitGraph()
    first: Future[int] = Future()
    last: Future[Any] = first
    for _ in range(MANY):
        last = graph.submit([last])
    event = death(last)
    del first, last
    assert died(event)


# --- memory ---


@pytest.mark.parametrize("holding", ["first", "last"])
def test_results_of_a_finished_chain_are_freed(holding: str) -> None:
    """A future that somebody holds keeps neither what it waited for nor what waited for it."""
    graph = WaitGraph()
    first: Future[Any] = Future()
    middle = graph.submit([first], lambda _: Value())
    last = graph.submit([middle], lambda _: None)
    held = first if holding == "first" else last
    first.set_result(Value())
    assert wait([last], TIMEOUT).done
    assert handled(graph._event_loop.post)
    events = [death(middle), death(middle.result())]
    del first, middle, last
    assert [event.wait(TIMEOUT) for event in events] == [True, True]
    assert held.done()


def test_at_most_two_results_of_a_running_chain() -> None:
    """While a chain runs, the results behind it are freed, without the help of the garbage collector."""
    graph = WaitGraph()
    alive: weakref.WeakSet[Value] = weakref.WeakSet()
    peak = 0

    def digest(_previous: object) -> Value:
        nonlocal peak
        value = Value()
        alive.add(value)
        peak = max(peak, len(alive))
        return value

    first: Future[Any] = Future()
    last: Future[Any] = first
    for _ in range(200):
        last = graph.submit([last], digest)
    gc.disable()
    try:
        first.set_result(None)
        assert last.result(TIMEOUT)
    finally:
        gc.enable()
    assert peak == 2


def test_cancelling_frees_what_the_future_waited_for() -> None:
    """A cancelled future lets go of its digest and its dependencies, though one is pending for ever."""
    graph = WaitGraph()
    value, other, pending = Value(), Future[int](), Future[int]()
    events = [death(value), death(other)]
    future = graph.submit([pending, other], lambda *_, value=value: value)
    del value, other
    future.cancel()
    assert [died(event) for event in events] == [True, True]
    assert not pending.done()


def test_failed_futures_keep_nothing() -> None:
    """A failed future keeps neither the results that its digest was given nor other futures."""
    graph = WaitGraph()
    first: Future[Any] = Future()
    future = graph.submit([first], int)
    first.set_result(Value())
    assert isinstance(future.exception(TIMEOUT), TypeError)
    event = death(first.result())
    del first
    assert died(event)


def test_done_futures_free_their_callbacks() -> None:
    """A done future lets go of its callbacks."""
    first: Future[Any] = Future()
    future = WaitGraph().submit([first])
    value = Value()
    future.add_done_callback(lambda _, value=value: None)
    event = death(value)
    del value
    first.set_result(1)
    assert died(event)


# --- the thread ---


def test_the_thread_ends_with_its_owner() -> None:
    """When a graph and its futures are gone, its thread ends."""
    graph = WaitGraph()
    graph.submit([Future()])
    thread = graph._event_loop._events.thread
    assert thread is not None
    assert thread.daemon
    del graph
    gc.collect()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_the_thread_outlives_its_owner_while_work_is_left() -> None:
    """Futures of a graph that nobody holds are finished, and then its thread ends."""
    graph = WaitGraph()
    first: Future[int] = Future()
    future = graph.submit([first], str)
    thread = graph._event_loop._events.thread
    assert thread is not None
    del graph
    gc.collect()
    assert thread.is_alive()
    first.set_result(1)
    assert future.result(TIMEOUT) == "1"
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert not future.cancel()


def test_one_thread_serves_however_often_it_is_started() -> None:
    """Threads that start the event_loop together, or a start that Ctrl-C cut off, give one serving thread."""
    event_loop = EventLoop()
    barrier = threading.Barrier(4)
    for count in range(1, 4):
        interrupt_at(count, event_loop.start)

    def start() -> None:
        barrier.wait(TIMEOUT)
        event_loop.start()

    for thread in [in_thread(start) for _ in range(4)]:
        thread.join(TIMEOUT)
    served: set[int] = set()
    for _ in range(100):
        event_loop.post(lambda: served.add(threading.get_ident()))
    assert handled(event_loop.post)
    assert len(served) == 1


def test_an_event_that_raises_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    """The event_loop logs what an event raises, and goes on."""
    event_loop = EventLoop()
    event_loop.start()
    for kind in (ValueError, SystemExit, KeyboardInterrupt):
        event_loop.post(raising(kind))
    assert handled(event_loop.post)
    assert len([record for record in caplog.records if record.name == "parman"]) == 3


def test_is_current() -> None:
    """A event_loop knows its own thread."""
    event_loop = EventLoop()
    answers: list[bool] = []
    event_loop.start()
    event_loop.post(lambda: answers.append(event_loop.is_current()))
    assert handled(event_loop.post)
    assert answers == [True]
    assert not event_loop.is_current()


class Recorder(Node):
    """A node that writes down what it is told."""

    __slots__ = ("seen",)

    def __init__(self, event_loop: EventLoop) -> None:
        super().__init__(event_loop)
        self.seen: list[object] = []

    def collect(self, dependency: Future[Any]) -> None:
        self.seen.append(dependency.result())

    def ready(self) -> None:
        self.seen.append("ready")
        if self.seen == ["ready"]:
            raise LookupError

    def failed(self, exception: BaseException) -> None:
        self.seen.append(type(exception))


def test_node_is_ready_once() -> None:
    """A node is told of each dependency in order, and is ready once, however often it is woken."""
    node = Recorder(EventLoop())
    futures = [Future[int]() for _ in range(3)]
    node.watch(futures)
    for number in (2, 0, 1):
        futures[number].set_result(number)
        node.event_loop.post(node.advance)
    assert handled(node.event_loop.post)
    assert node.seen == [0, 1, 2, "ready"]


def test_node_that_is_unwatched() -> None:
    """A node that was told to forget its dependencies is not ready any more."""
    node = Recorder(EventLoop())
    future: Future[int] = Future()
    node.watch([future])
    node.unwatch()
    future.set_result(1)
    assert handled(node.event_loop.post)
    assert node.seen == []


def test_node_that_raises() -> None:
    """What `ready` raises goes to `failed`."""
    node = Recorder(EventLoop())
    node.watch([])
    assert node.seen == ["ready", LookupError]


def test_interpreter_exits_with_pending_futures() -> None:
    """Pending futures and a running event_loop do not keep an interpreter alive."""
    script = (
        "from concurrent.futures import Future\n"
        "from parman.futures.wait_graph import WaitGraph\n"
        "graph, first = WaitGraph(), Future()\n"
        "waiting = [graph.submit([first]) for _ in range(10)]\n"
        "waiting[0].cancel()\n"
        "print('end', flush=True)\n"
    )
    result = run_script(script, "-W", "error")
    assert (result.returncode, result.stdout, result.stderr) == (0, "end\n", "")


def test_fork() -> None:
    """A forked child can use a graph of its own, and is told that it can't use that of its parent."""
    script = (
        "import os\n"
        "from concurrent.futures import Future\n"
        "from parman.futures.wait_graph import WaitGraph\n"
        "graph, first = WaitGraph(), Future()\n"
        "future = graph.submit([first], str)\n"
        "if not (child := os.fork()):\n"
        "    other = Future()\n"
        "    mine = WaitGraph().submit([other], str)\n"
        "    other.set_result(2)\n"
        "    assert mine.result(20) == '2'\n"
        "    try:\n"
        "        graph.submit([Future()])\n"
        "    except RuntimeError as exc:\n"
        "        assert 'make a new one in the child' in str(exc)\n"
        "        os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "first.set_result(1)\n"
        "print(future.result(20))\n"
    )
    result = run_script(script, "-W", "ignore")
    assert (result.returncode, result.stdout, result.stderr) == (0, "1\n", "")


# --- random graphs ---

Plan = tuple[list[str], list[tuple[list[int], str]], list[int]]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw sources with their ends, nodes with their dependencies and digests, and the order in which sources end."""
    sources = draw(st.lists(st.sampled_from(["result", "failed", "cancelled", "notified"]), min_size=1, max_size=5))
    nodes: list[tuple[list[int], str]] = []
    for number in range(draw(st.integers(1, 12))):
        before = st.integers(0, len(sources) + number - 1)
        digest = st.sampled_from(["sum", "sum", "sum", "none", "raises", "cancelled"])
        nodes.append((draw(st.lists(before, max_size=4)), draw(digest)))
    return sources, nodes, draw(st.permutations(range(len(sources))))


def model(plan: Plan) -> list[object]:
    """Say how every future of a plan ends."""
    sources, nodes, _ = plan
    ends: dict[int, Any] = {}
    edges = {len(sources) + number: node[0] for number, node in enumerate(nodes)}
    for position in graphlib.TopologicalSorter({**{n: [] for n in range(len(sources))}, **edges}).static_order():
        if position < len(sources):
            source = sources[position]
            ends[position] = {"result": ("result", 1), "failed": f"ValueError({position})"}.get(source, "cancelled")
        else:
            dependencies, kind = nodes[position - len(sources)]
            ends[position] = node_end([ends[other] for other in dependencies], kind, position)
    return [ends[position] for position in sorted(ends)]


def node_end(dependencies: list[Any], kind: str, position: int) -> object:
    """Say how a future ends whose dependencies ended as given."""
    if kind == "cancelled":
        return "cancelled"
    failures = [end for end in dependencies if isinstance(end, str) and end != "cancelled"]
    if failures:
        return failures[0]
    if "cancelled" in dependencies:
        return "cancelled"
    if kind == "raises":
        return f"LookupError({position})"
    return ("result", None if kind == "none" else sum(end[1] or 0 for end in dependencies))


def digest_of(kind: str, position: int) -> Callable[..., Any] | None:
    """Make the digest of a node of a plan."""

    def add(*results: int | None) -> int:
        return sum(result or 0 for result in results)

    def fail(*_results: object) -> None:
        raise LookupError(position)

    return {"none": None, "raises": fail}.get(kind, add)


def finish_source(future: Future[Any], how: str, position: int) -> None:
    """Finish a source as the plan says."""
    if how == "result":
        future.set_result(1)
    elif how == "failed":
        future.set_exception(ValueError(position))
    else:
        future.cancel()
        if how == "notified":
            future.set_running_or_notify_cancel()


@settings(max_examples=200, deadline=None)
@given(plan=plans(), early=st.booleans())
def test_random_graphs(plan: Plan, early: bool) -> None:
    """Every future of a random graph over two wait graphs ends as the model says."""
    sources, nodes, order = plan
    graphs = [WaitGraph(), WaitGraph()]
    futures: list[Future[Any]] = [Future() for _ in sources]
    if early:
        finish_source(futures[order[0]], sources[order[0]], order[0])
    doomed = []
    for number, (dependencies, kind) in enumerate(nodes):
        # A node to be cancelled must not be done before that.
        never = [Future[Any]()] if kind == "cancelled" else []
        needed = [futures[other] for other in dependencies] + never
        future = graphs[number % 2].submit(needed, digest_of(kind, len(sources) + number))
        futures.append(future)
        doomed += [future] if never else []
    assert {future.cancel() for future in doomed} <= {True}
    for position in order[1:] if early else order:
        finish_source(futures[position], sources[position], position)
    assert wait(futures[len(sources) :], TIMEOUT).not_done == set()
    assert [state_of(future) for future in futures] == model(plan)


def consistent(future: Future[Any], dependencies: list[Future[Any]], agreed: bool) -> bool:
    """Whether a future ended as its dependencies and a racing `cancel()` allow."""
    if future.cancelled():
        return agreed or any(dependency.cancelled() for dependency in dependencies)
    if agreed:
        return False
    failures = [dependency for dependency in dependencies if not dependency.cancelled() and dependency.exception()]
    if failures:
        return future.exception() is failures[0].exception()
    return future.result() == sum(dependency.result() for dependency in dependencies)


def race(seed: int) -> Iterator[bool]:
    """Finish and cancel the futures of a random graph from several threads at once, and yield if each ended well."""
    rng = random.Random(seed)
    graph = WaitGraph()
    sources: list[Future[Any]] = [Future() for _ in range(8)]
    futures, needs = list(sources), []
    for _ in range(40):
        needs.append(rng.choices(futures, k=rng.randrange(1, 4)))
        futures.append(graph.submit(needs[-1], lambda *results: sum(results)))
    own = futures[len(sources) :]
    victims = rng.sample(own, 8)
    agreed: list[Future[Any]] = []
    barrier = threading.Barrier(3)

    def finish() -> None:
        barrier.wait(TIMEOUT)
        for number, source in enumerate(sources):
            finish_source(source, rng.choice(["result", "result", "result", "failed", "cancelled"]), number)

    def cancel() -> None:
        barrier.wait(TIMEOUT)
        agreed.extend([victim for victim in victims if victim.cancel()])

    for thread in [in_thread(action) for action in (finish, cancel, cancel)]:
        thread.join(TIMEOUT)
    assert wait(own, TIMEOUT).not_done == set()
    for future, dependencies in zip(own, needs, strict=True):
        yield consistent(future, dependencies, any(future is other for other in agreed))


def test_racing_cancels() -> None:
    """However finishing and cancelling race, each future has one outcome, which its dependencies allow."""
    with hasty_switches():
        for seed in range(60):
            assert all(race(seed)), seed


def test_parallel_submits() -> None:
    """Many threads may submit to one graph at once."""
    graph = WaitGraph()
    first: Future[int] = Future()
    barrier = threading.Barrier(4)
    ends: list[Future[int]] = []

    def grow() -> None:
        barrier.wait(TIMEOUT)
        last: Future[int] = first
        for _ in range(200):
            last = graph.submit([last, first], lambda one, _: one + 1)
        ends.append(last)

    with hasty_switches():
        threads = [in_thread(grow) for _ in range(4)]
        first.set_result(0)
        for thread in threads:
            thread.join(TIMEOUT)
        assert [end.result(TIMEOUT) for end in ends] == [200] * 4


def test_slim_condition_is_a_lock() -> None:
    """What stands in for the condition of a future can be subclassed from the lock of each Python."""
    condition = SlimCondition()
    with condition, condition:
        assert not condition.wait(0.001)
        condition.notify_all()
