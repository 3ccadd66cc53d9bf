# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls that wait for something outside, such as the script of a job: they run beside the workers.

They run on threads of the driver, so that a workflow with a hundred jobs in a queue still computes with all its
workers. Each has a stop that asks it to end: a thread can't be killed, but what it waits for can.

Calls that are ready to run, and how many of them may do so at a time.

The part that all runners with futures share: from a closure to its outcome.

    caller's thread                  dispatcher's thread (the only one that changes the state of a call)
    ---------------                  ------------------------------------------------------------------
    run(closure)
      Call, promises
      journal.added ──post──> enter ──> waiting for dependencies ──> ready: values collected
      returns the tree                                                  │  a failure or cancellation: finished
                                                                        v
    cancel() of a promise                                    ready queue (two: with results first)
      sets the promise's state                                          │  a free slot, and a leaf not cancelled
           └─────────post──> leaf_cancelled                             v
                                                             launched ──> executor ──> any thread
    executor's future is done ──post──> outcome ──> promises settled, journal.finished, next from the ready queue

Invariants

* A call leaves each of these places by exactly one of: outcome, failure, cancellation; each ends in `_finish`, which
  tells the journal. Nothing else removes a call.
* An executor sees at most `slots` calls of ours that it has not finished, or a few more that are over in a moment. So
  our queue decides the order, and "submitted" means "started" wherever the number of workers is known. Calls that only
  wait have queues of their own.
* A leaf that was cancelled before `launch` claims it stays cancelled; one that was claimed can't be cancelled. The
  claim and `cancel()` both happen under the promise's condition.
* No event waits for anything. User code on this thread: `__reduce__` and the like while a value is frozen, and the
  done-callbacks of the user's futures.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import partial
from typing import Any

from ..closures import Closure
from ..errors import WorkerDied
from ..futures.loop import Dispatcher
from ..futures.placeholders import stand_in
from ..futures.wait_graph import wait_for
from ..pool.threads import ThreadPool, available_cpus
from ..snapshots.failures import annotate, duplicate, strip
from ..tasks import Definition
from .calls import Call
from .execute import Outcome
from .handles import ExecutorHandle
from .registry import Journal
from .runner import Runner

__all__ = ["Aside", "FuturesRunner", "ReadyQueue", "check_future"]

_MANY = 100_000
"""More threads than there will ever be: how many calls run at a time is for the queues to say."""


class Aside:
    """Runs calls that wait, on threads beside the workers.

    Under the lock: a call that begins is among the running ones, and is asked to end if its pool was stopped. So who
    stops them misses none: those that wait for a thread are given up by the pool, the others are asked.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pool: ThreadPool | None = None
        self._running: set[Call] = set()

    def submit(self, function: Callable[[Call], Any], call: Call) -> Future[Any]:
        """Run a call on a thread."""
        with self._lock:
            pool = self._pool = self._pool or ThreadPool(_MANY)
        return pool.submit(self._run, pool, function, call)

    def _run(self, pool: ThreadPool, function: Callable[[Call], Any], call: Call) -> Any:
        with self._lock:
            self._running.add(call)
            is_stopped = pool is not self._pool
        if is_stopped and call.stop is not None:
            call.stop.ask()
        try:
            return function(call)
        finally:
            with self._lock:
                self._running.discard(call)

    def stop(self) -> None:
        """Ask all calls to end, and give them up; in any thread."""
        with self._lock:
            running, pool, self._pool = list(self._running), self._pool, None
        for call in running:
            if call.stop is not None:
                call.stop.ask()
        if pool is not None:
            pool.abandon()

    def wait(self, timeout: float) -> None:
        """Wait until what was asked to end has ended, at most so long [s]."""
        deadline = time.monotonic() + timeout
        while self._running and time.monotonic() < deadline:
            time.sleep(0.01)

    def shutdown(self) -> None:
        """Let the threads end; no call is running."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()


_QUICK = 0.02
"""Until when a call counts as quick, from its submission to its answer [s]."""
_PROVEN = 16
"""How many calls of a task in a row have to have been quick until the next is expected to be."""
_NEVER_MIND = 0.0, True


class ReadyQueue:
    """Calls that are ready to run; in the role of the dispatcher only, but for `take`.

    Calls that use results go before those that start from nothing, so that results don't pile up; among equals, first
    come, first served.

    A call that was taken out can't be cancelled any more. So there is a slot for each worker, which may have to wait
    for its next call. For quick calls, of which nobody would notice that they can't be cancelled a moment too early,
    there may be more slots. Such a slot is for a call whose task has been quick many times in a row, beside others of
    that kind that have not run for long, and whose results no call waits for: the order of those matters.

    Parameters
    ----------
    slots
        How many calls may run at a time; infinity where the number of workers is not known.
    ahead
        How many more, if all are quick.

    Attributes
    ----------
    bounded
        Whether the number of slots is known, so that a call that is taken out is one that starts.
    """

    def __init__(self, slots: float, ahead: float = 0) -> None:
        self.slots = slots
        self._ahead = ahead
        self.bounded = slots != math.inf
        self._with_results: deque[Call] = deque()
        self._from_nothing: deque[Call] = deque()
        # When each was started, and whether it was expected to be quick; in this order.
        self._running: dict[Call, tuple[float, bool]] = {}
        self._slow = 0
        self._quick_in_a_row: weakref.WeakKeyDictionary[Definition, int] = weakref.WeakKeyDictionary()

    def __len__(self) -> int:
        """Return the number of calls."""
        return len(self._with_results) + len(self._from_nothing)

    def push(self, call: Call) -> None:
        """Add a call whose dependencies are done."""
        (self._with_results if call.closure.dependencies else self._from_nothing).append(call)

    def pop(self) -> Call | None:
        """Take the next call out, if there is one and a slot for it."""
        waiting = self._with_results or self._from_nothing
        return waiting.popleft() if waiting and self._has_slot(waiting[0]) else None

    def first(self) -> Call | None:
        """Return the next call, if there is one."""
        waiting = self._with_results or self._from_nothing
        return waiting[0] if waiting else None

    def push_first(self, call: Call) -> None:
        """Put a call back in front of its equals."""
        (self._with_results if call.closure.dependencies else self._from_nothing).appendleft(call)

    def take(self) -> Call | None:
        """Take the next call out, whatever slots there are; in any thread."""
        for waiting in (self._with_results, self._from_nothing):
            if waiting:
                try:
                    return waiting.popleft()
                except IndexError:  # another thread was faster
                    continue
        return None

    def _has_slot(self, call: Call) -> bool:
        if len(self._running) < self.slots:
            return True
        if len(self._running) >= self.slots + self._ahead or self._slow or not self._is_quick(call):
            return False
        oldest, _ = next(iter(self._running.values()))
        return time.perf_counter() - oldest < _QUICK and not any(leaf.awaited for leaf in call.leaves)

    def _is_quick(self, call: Call) -> bool:
        return self._quick_in_a_row.get(call.closure.definition, 0) >= _PROVEN

    def start(self, call: Call) -> None:
        """Note that a call has a slot, or has it still."""
        if not self._ahead:
            self._running[call] = _NEVER_MIND
        elif call not in self._running:
            is_quick = self._is_quick(call)
            self._running[call] = time.perf_counter(), is_quick
            self._slow += not is_quick

    def end(self, call: Call) -> None:
        """Note that a call has no slot (any more)."""
        start, was_quick = self._running.pop(call, _NEVER_MIND)
        if start:
            self._slow -= not was_quick
            is_quick = time.perf_counter() - start < _QUICK
            definition = call.closure.definition
            self._quick_in_a_row[definition] = self._quick_in_a_row.get(definition, 0) + 1 if is_quick else 0


class FuturesRunner(Runner):
    """What runners with futures have in common; a subclass submits calls to an executor.

    Parameters
    ----------
    slots
        How many calls may be in the executor at a time; infinity where the number of its workers is not known.
    schedule
        False: a call waits in place until the futures among its arguments are done, and is then submitted.
    """

    def __init__(self, slots: float, schedule: bool = True) -> None:
        self.dispatcher = Dispatcher()
        self._schedule = schedule
        self._queue = self.make_queue(slots)
        # Calls that were made, for `admit`, which is posted once for all that come until it begins: it takes the flag
        # back first, so that who finds it set can rely on being seen.
        self._arrivals: deque[Call] = deque()
        self._is_summoned = False
        self._queues_aside: dict[tuple[Hashable, int | None], ReadyQueue] = {}
        self._journal = Journal()

    @property
    def workers(self) -> int:
        slots = self._queue.slots
        return available_cpus() if slots == math.inf else int(slots)

    @property
    def own_journal(self) -> Journal:
        return self._journal

    def run(self, closure: Closure, journal: Journal) -> Any:
        self.dispatcher.start()
        if not self._schedule:
            wait_for(closure.dependencies)
        call = Call(self, closure, journal)
        try:
            structure = closure.structure
            if structure.single:
                tree = call.make_leaf(structure.form.declared)  # type: ignore[attr-defined]
            else:
                tree = structure.build(call.make_leaf, stand_in)
            if closure.dependencies:
                call.capture()
            journal.added(call)
            if journal.closed_to_calls:
                call.cancel()
            self._arrivals.append(call)
            if not self._is_summoned:
                self._is_summoned = True
                self.dispatcher.post(self.admit)
        except BaseException:  # Ctrl-C at any point leaves no call, or a cancelled one
            self.dispatcher.post(self.admit)  # it may have struck between the flag and the post
            call.cancel()
            self.dispatcher.post(call.drop)
            raise
        return tree

    # --- in the role of the dispatcher ---

    def admit(self) -> None:
        """Let the calls that were made begin to wait for their dependencies."""
        self._is_summoned = False
        while self._arrivals:
            call = self._arrivals.popleft()
            try:
                call.enter()
            except BaseException as exception:  # no thread can be started any more, say: the others go on
                call.fail(exception, None)

    def enqueue(self, call: Call) -> None:
        """Take a call whose dependencies are done: those that use results go first, so that results don't pile up."""
        queue = self._queue_of(call)
        queue.push(call)
        self._pump(queue)

    def _queue_of(self, call: Call) -> ReadyQueue:
        definition = call.closure.definition
        if not definition.waits:
            return self._queue
        key = (definition.crowd, definition.at_once)
        if key not in self._queues_aside:
            self._queues_aside[key] = ReadyQueue(self.slots_aside(definition.at_once))
        return self._queues_aside[key]

    def slots_aside(self, at_once: int | None) -> float:
        """Say how many calls that only wait may run at a time, given what their task says."""
        return at_once or self._queue.slots

    def _pump(self, queue: ReadyQueue) -> None:
        while (call := queue.pop()) is not None:
            if call.claim() if queue.bounded else call.mark_launching():
                self.launch(call, partial(self.submit, call))

    def launch(self, call: Call, submit: Callable[[], Future[Any]]) -> None:
        """Submit a call and follow its future."""
        queue = self._queue_of(call)
        queue.start(call)
        handle = call.handle
        if not isinstance(handle, ExecutorHandle):
            handle = call.handle = ExecutorHandle()
        try:
            inner = check_future(submit())
            if not queue.bounded:
                handle.inner = inner
            # In a box, which is emptied: some futures live on in a cycle, with their callbacks.
            inner.add_done_callback(partial(self._post_outcome, [call]))
        except BaseException as exception:  # the executor is broken or shut down, or can't take this call
            self.dispatcher.post(partial(self._free_slot, call))  # first: the slot comes back whatever happens
            call.fail(self.explain(call, exception, in_flight=False), None)

    def _post_outcome(self, box: list[Call], inner: Future[Any]) -> None:
        self.dispatcher.post(partial(self._receive, box.pop(), inner))

    def _receive(self, call: Call, inner: Future[Any]) -> None:
        is_over = True
        try:
            if inner.cancelled():
                call.drop()
            elif (exception := inner.exception()) is not None:
                call.fail(self.explain(call, exception), None)
            else:
                is_over = self.conclude(call, inner.result())
        except BaseException as exception:  # an outcome that can't be read must not leave the call behind
            call.fail(exception, None)
        finally:
            del inner
            if is_over:
                # Posted, so that the calls that waited for this one, whose events are posted by now, are queued first.
                self.dispatcher.post(partial(self._free_slot, call))

    def _free_slot(self, call: Call) -> None:
        """Let another call have the slot of this one, which may have lost it already."""
        queue = self._queue_of(call)
        queue.end(call)
        self._pump(queue)

    def conclude(self, call: Call, answer: Any) -> bool:
        """End a call with the answer of its executor; false if it was sent again instead."""
        outcome: Outcome = answer
        if outcome.failure is None and not any(leaf.awaited for leaf in call.leaves):
            self._free_slot(call)  # at once: no call can come of this one that would have to go before others
        call.conclude(outcome)
        return True

    def _interrupt(self, calls: list[Call]) -> None:
        self.stop_running()  # again, lest a call is left that was launched since
        for call in calls:
            call.cancel()
            if any(leaf.is_open() for leaf in call.leaves):
                call.give_up()

    def make_queue(self, slots: float) -> ReadyQueue:
        """Make the queue of calls for the executor's workers."""
        return ReadyQueue(slots)

    # --- in any thread ---

    def cancel_pending(self, journal: Journal) -> None:
        for call in journal.pending():
            call.cancel()

    def interrupt(self, journal: Journal) -> None:
        calls: list[Any] = journal.pending()
        self.dispatcher.post(partial(self._interrupt, calls))
        self.stop_running()

    def rest(self) -> None:
        self.dispatcher.stop()

    # --- for subclasses ---

    @abstractmethod
    def submit(self, call: Call) -> Future[Any]:
        """Give the call to the executor; the result of the future is what `conclude` understands."""

    def explain(self, call: Call, exception: BaseException, *, in_flight: bool = True) -> BaseException:
        """Say what an exception of the executor, rather than of the task, means for the call."""
        failure = duplicate(exception)
        strip(failure)
        annotate(failure, f"In the call of {call}.")
        return failure

    def died(self, call: Call, text: str, cause: BaseException | None = None) -> WorkerDied:
        """Make the failure of a call that was with a worker that died, or that no worker is left for."""
        failure = WorkerDied(text)
        if cause is not None:
            failure.__cause__ = cause.with_traceback(None)
        annotate(failure, f"In the task {call.describe()}, called at {call.closure.site}.")
        return failure

    def stop_running(self) -> None:
        """End what is running, as far as that is ours to end."""


def check_future(inner: Any) -> Future[Any]:
    """Return what `submit` of an executor has returned, if that looks like a future.

    Raises
    ------
    TypeError
        If it does not.
    """
    if not callable(getattr(inner, "add_done_callback", None)):
        raise TypeError(f"submit() of an executor has to return a future, not a {type(inner).__name__}")
    future: Future[Any] = inner
    return future
