# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls that are given to an executor one by one, each with a future of the executor's that is followed.

This is the way of all calls on executors of others, and of calls that wait for something outside, such as the script of
a job: these run on threads of the driver, so that a workflow with a hundred jobs in a queue still computes with all its
workers.

Invariants

* An executor sees at most as many calls of ours that it has not finished as the queue has slots, or a few more that are
  over in a moment. So our queue decides the order, and "submitted" means "started" wherever the number of workers is
  known. Calls that only wait have queues of their own.
* A future that was cancelled before its call was claimed stays cancelled; one that was claimed can't be cancelled. The
  claim and `cancel()` both happen under the future's condition.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from ..futures.loop import EventLoop
from ..pool.threads import ThreadPool
from .calls import Call
from .execute import Outcome
from .handles import ExecutorHandle
from .ready_queue import ReadyQueue, check_future

__all__ = ["BlockingThreads", "Submission"]

_UNLIMITED = 100_000
"""More threads than there will ever be: how many calls run at a time is for the queues to say."""


class BlockingThreads:
    """Runs calls that wait, on threads beside the workers.

    Under the lock: a call that begins is among the running ones, and is asked to end if its pool was stopped. So who
    stops them misses none: those that wait for a thread are given up by the pool, the others are asked. Who asks some
    of them misses none either, for a request holds also for a call that begins later.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pool: ThreadPool | None = None
        self._running: set[Call] = set()
        self._stopped = threading.Event()  # set whenever nothing runs that was asked to end
        self._stopped.set()

    def submit(self, call: Call) -> Future[Any]:
        """Run a call on a thread."""
        with self._lock:
            pool = self._pool = self._pool or ThreadPool(_UNLIMITED)
        return pool.submit(self._run, pool, call)

    def _run(self, pool: ThreadPool, call: Call) -> Outcome:
        with self._lock:
            self._running.add(call)
            is_stopped = pool is not self._pool
        if is_stopped and call.stop is not None:
            call.stop.ask()
        try:
            return call.perform()
        finally:
            with self._lock:
                self._running.discard(call)
                self._note_stopped()

    def stop(self) -> None:
        """Ask all calls to end, and give them up; in any thread."""
        with self._lock:
            running, pool, self._pool = list(self._running), self._pool, None
        self.ask_to_end(running)
        if pool is not None:
            pool.abandon()

    def ask_to_end(self, calls: Iterable[Call]) -> None:
        """Ask some calls to end, those of them that run here or are about to; in any thread."""
        for call in calls:
            if call.stop is not None:
                call.stop.ask()
        with self._lock:
            self._note_stopped()

    def _note_stopped(self) -> None:
        if any(call.stop is not None and call.stop.is_asked() for call in self._running):
            self._stopped.clear()
        else:
            self._stopped.set()

    def wait(self, timeout: float) -> None:
        """Wait until what was asked to end has ended, at most so long [s]."""
        self._stopped.wait(timeout)

    def shutdown(self) -> None:
        """Let the threads end; no call is running."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()


class Submitter(Protocol):
    """A runner as seen from here."""

    event_loop: EventLoop

    def queue_of(self, call: Call) -> ReadyQueue:
        """Return the queue that a call waits in."""

    def submit(self, call: Call) -> Future[Any]:
        """Give a call to its executor."""

    def outcome_of(self, call: Call, answer: Any) -> Outcome | Callable[[], Future[Any]]:
        """Read an answer; or return what submits the call again, with what its worker lacked."""

    def explain(self, call: Call, exception: BaseException, *, in_flight: bool = True) -> BaseException:
        """Say what an exception of the executor means for the call."""


class Submission:
    """The calls of one runner that are with executors; in the event loop."""

    def __init__(self, runner: Submitter) -> None:
        # Weakly, so that a runner that was forgotten is gone at once. Its calls hold it.
        self._runner: Submitter = weakref.proxy(runner)
        self._event_loop = runner.event_loop

    def push(self, call: Call) -> None:
        """Take a call whose dependencies are done."""
        queue = self._runner.queue_of(call)
        queue.push(call)
        self._pump(queue)

    def _pump(self, queue: ReadyQueue) -> None:
        while (call := queue.pop()) is not None:
            if queue.bounded:
                is_wanted = call.claim()
            else:
                call.handle = ExecutorHandle()  # first: from now on `cancel()` asks this
                is_wanted = call.is_wanted()
            if is_wanted:
                self._launch(call, partial(self._runner.submit, call))

    def _launch(self, call: Call, submit: Callable[[], Future[Any]]) -> None:
        """Submit a call and follow its future."""
        queue = self._runner.queue_of(call)
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
            self._event_loop.post(partial(self.free_slot, call))  # first: the slot comes back whatever happens
            call.fail(self._runner.explain(call, exception, in_flight=False), None)

    def _post_outcome(self, box: list[Call], inner: Future[Any]) -> None:
        self._event_loop.post(partial(self._receive, box.pop(), inner))

    def _receive(self, call: Call, inner: Future[Any]) -> None:
        is_over = True
        try:
            if inner.cancelled():
                call.drop()
            elif (exception := inner.exception()) is not None:
                call.fail(self._runner.explain(call, exception), None)
            else:
                is_over = self._conclude(call, inner.result())
        except BaseException as exception:  # an outcome that can't be read must not leave the call behind
            call.fail(exception, None)
        finally:
            del inner
            if is_over:
                # Posted, so that the calls that waited for this one, whose events are posted by now, are queued first.
                self._event_loop.post(partial(self.free_slot, call))

    def _conclude(self, call: Call, answer: Any) -> bool:
        """End a call with the answer of its executor; false if it was sent again instead."""
        found = self._runner.outcome_of(call, answer)
        if not isinstance(found, Outcome):
            if call.is_over:  # it was given up meanwhile
                return True
            self._launch(call, found)
            return False
        if found.failure is None and not any(leaf.awaited for leaf in call.leaves):
            self.free_slot(call)  # at once: no call can come of this one that would have to go before others
        call.conclude(found)
        return True

    def free_slot(self, call: Call) -> None:
        """Let another call have the slot of this one, which may have lost it already."""
        queue = self._runner.queue_of(call)
        queue.end(call)
        self._pump(queue)
