# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The event loop: events that are handled one after another, and the futures that it finishes.

A callback only posts an event, and posting is one call in C, so that callbacks can't raise, can't nest, and can't be
torn apart by a Ctrl-C in the main thread. Everything else is done in the *role* of the event loop, which one thread
has at a time: the event loop's own, which handles what was posted, or a worker that has an outcome in hands, and would
otherwise have to wake the first. Never the main thread, where Ctrl-C strikes.

Nobody waits for the role. Who has something to be done in it appends that to a deque, and tries to get the role; if
somebody else has it, that one will look into the deque again, after it has given the role up at the latest. To block
would be slow: threads that take a lock in turns wake each other for each event.

The thread knows the queue and nothing else. Whoever can still post (the owner, the nodes that wait, the futures that
are not done) refers to the `EventLoop`; when nobody is left, it is garbage, and posts the event that ends the thread.

What is posted is handled, also when the thread was told to end. Who posts puts the event into the queue, and then looks
whether there is a thread; a thread that ends says so, and then looks whether there is an event. So one of them sees the
other, and the thread goes on or another one is started.
"""

from __future__ import annotations

import logging
import os
import weakref
from _thread import RLock, get_ident
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import CANCELLED, LOGGER, PENDING, RUNNING
from queue import Empty, SimpleQueue
from threading import Thread, current_thread
from typing import Any, TypeVar

from ..errors import WorkflowError
from ..lifecycle import interruptible_get

__all__ = ["CALLBACKS_RUN", "CALLBACK_WAITS", "EventLoop", "LoopFuture", "SlimCondition", "exception_of", "result_of"]

T = TypeVar("T")

logger = logging.getLogger("parman")

CALLBACK_WAITS = "a callback can't wait for"
CALLBACKS_RUN = "callbacks run on the thread that finishes"
"""Words for all that would wait for ever in a callback."""


_forks: list[object] = [object()]
"""One for each fork that led to this process: whether there was another one is known without a system call."""
os.register_at_fork(after_in_child=lambda: _forks.append(object()))


class EventLoop:
    """One queue of events, one daemon thread that handles them, and the role in which that is done.

    An event is a callable without parameters. One that raises is logged, and the next one is handled.

    The thread is started by `start` or by the first event, and ends when the event loop is garbage, after the events
    that were posted by then. What still has to post must therefore refer to the event loop, and the thread never does.

    Attributes
    ----------
    post
        Has an event handled. It blocks on nothing and never fails, and the event is either posted or not when Ctrl-C
        arrives; safe in callbacks.
    call_soon
        Handles an event after what is being done now; only for who has the role.
    is_current
        Whether the caller has the role. It may be kept without keeping the event loop.
    """

    __slots__ = ("__weakref__", "_events", "call_soon", "is_current", "post")

    def __init__(self) -> None:
        self._events = _Events()
        self.post = self._events.post
        self.is_current: Callable[[], bool] = self._events.role._is_owned  # type: ignore[attr-defined]
        self.call_soon: Callable[[Callable[[], object]], None] = self._events.later.append
        weakref.finalize(self, self._events.queue.put, None).atexit = False

    def start(self) -> None:
        """Start the thread unless it runs: who needs it sees here whether that can be.

        Raises
        ------
        RuntimeError
            In a forked child, which does not have the thread of its parent; or the system gives no more threads.
        """
        events = self._events
        if events.forks is not _forks[-1]:
            raise RuntimeError(
                "this WaitGraph, Scheduler or runner was made before os.fork(), and its thread stayed in the parent "
                "process: make a new one in the child"
            )
        if events.thread is None:
            events.start()

    def stop(self) -> None:
        """Let the thread end when it has handled what was posted; the next event, or `start`, starts another one."""
        self._events.queue.put(None)

    def run_or_enqueue(self, event: Callable[[], object]) -> None:
        """Handle an event here and now, or leave it to who has the role. Not in the main thread."""
        self._events.later.append(event)
        if not self.is_current():
            self._events.handle_all()


class _Events:
    """What an event loop shares with its thread.

    Attributes
    ----------
    queue
        What was posted; a None tells the thread to end if nothing comes after it.
    later
        What is to be done in the role before it is given up. A deque rather than a call, so that nothing nests.
    thread
        The one that serves, or is about to; changed under a lock, which nobody has for long.
    forks
        The last fork when it was made; a child that was forked later does not have the thread.
    """

    __slots__ = ("_switch", "forks", "later", "queue", "role", "thread")

    def __init__(self) -> None:
        self.queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self.later: deque[Callable[[], object]] = deque()
        self.role = RLock()
        self.thread: Thread | None = None
        self._switch = RLock()
        self.forks = _forks[-1]

    def post(self, event: Callable[[], object]) -> None:
        """Have an event handled by the thread."""
        try:
            self.queue.put(event)
            if self.thread is None:
                self._revive()
        except BaseException:  # Ctrl-C: the event may be in the queue
            if self.thread is None:
                self._revive()
            raise

    def _revive(self) -> None:
        """Start the thread for an event, where that can be: else the next event that is posted tries again."""
        if self.forks is not _forks[-1]:
            return
        try:
            self.start()
        except RuntimeError:  # the system has no more threads, or the interpreter ends
            logger.debug("no thread could be started for an event", exc_info=True)

    def start(self) -> None:
        """Start the thread unless there is one."""
        with self._switch:
            if self.thread is not None:
                return
            self.thread = Thread(target=self._serve, name="parman-event-loop", daemon=True)
            try:
                self.thread.start()
            except BaseException:  # after a Ctrl-C it may run nevertheless, and finds that it is not meant
                self.thread = None
                raise

    def _serve(self) -> None:
        """Be the thread."""
        with self._switch:
            if self.thread is not current_thread():
                return
        while True:
            for event in iter(self.queue.get, None):
                self.later.append(event)
                del event  # or the last one would be kept alive while the queue is empty
                self.handle_all()
            if self._ends():
                return

    def _ends(self) -> bool:
        """Have no thread any more, unless an event has come."""
        with self._switch:
            served, self.thread = self.thread, None
            if self.queue.empty():
                return True
            self.thread = served
            return False

    def handle_all(self) -> None:
        """Handle what is to be done in the role, unless somebody else has it."""
        later, role = self.later, self.role
        # What is appended before the look at the deque that follows the release is seen by that look. Who appends later
        # finds the role free.
        while later and role.acquire(blocking=False):
            try:
                while later:
                    later.popleft()()
            except BaseException:
                _log_event()
            finally:
                role.release()


def _log_event() -> None:
    try:
        logger.exception("an event of the event loop failed; this is a mistake in Parman or in a runner")
    except BaseException:  # a handler of the user's: the events that are left matter more than the message
        pass


class SlimCondition(RLock):  # type: ignore[misc]  # final for typeshed, not for CPython
    """What a future needs of a `threading.Condition`, in 80 bytes instead of 1500.

    Since it is the lock itself, `with` is entered and left in C, where Ctrl-C can't lose the lock.
    """

    __slots__ = ("_sleepers",)  # not there before somebody sleeps: hardly anybody does
    _sleepers: list[SimpleQueue[None]] | None

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, sleep until `notify_all` [timeout in s], take the lock again."""
        bell: SimpleQueue[None] = SimpleQueue()
        self._sleepers = [*(getattr(self, "_sleepers", None) or ()), bell]
        ours = (1, get_ident())
        try:
            # Ctrl-C is noticed after calls: in here the lock is released in any case.
            ours = self._release_save()  # type: ignore[attr-defined]
            interruptible_get(bell, timeout)
        except Empty:
            return False
        finally:
            # A single call, which Ctrl-C can't cut off: who called this releases the lock next.
            self._acquire_restore(ours)  # type: ignore[attr-defined]
            if self._sleepers:
                self._sleepers = [sleeper for sleeper in self._sleepers if sleeper is not bell]
        return True

    def notify_all(self) -> None:
        """Wake all that sleep in `wait`."""
        for bell in getattr(self, "_sleepers", None) or ():
            bell.put(None)
            self._sleepers = None


class LoopFuture(Future[T]):
    """A future that an event loop finishes.

    `cancel()` sets the state at once and wakes the threads that wait in `result()`; the callbacks, `wait` and
    `as_completed` are served by the event loop, so that a Ctrl-C in the main thread can't lose them.
    """

    # In slots, which take a third of the memory of a dict.
    __slots__ = ("_condition", "_event_loop", "_exception", "_lists", "_result", "_state")

    def __init__(self, event_loop: EventLoop) -> None:
        # All that the base class would set (tests hold it against that), without the `Condition` that it would make.
        self._condition = SlimCondition()  # type: ignore[assignment]
        self._state = PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._lists: list[list[Any]] | None = None
        self._event_loop: EventLoop | None = event_loop

    # The two lists of the base class are made when they are needed, which for most futures is never.

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        return self._both_lists()[0]

    @property
    def _done_callbacks(self) -> list[Callable[[Future[T]], object]]:
        return self._both_lists()[1]

    @_done_callbacks.setter
    def _done_callbacks(self, callbacks: list[Callable[[Future[T]], object]]) -> None:
        self._both_lists()[1] = callbacks

    def _both_lists(self) -> list[list[Any]]:
        if self._lists is None:
            self._lists = [[], []]
        return self._lists

    def cancel(self) -> bool:
        """Cancel unless the future is done or can't be stopped any more; return whether it is cancelled."""
        with self._condition:
            if self._state == PENDING:
                self._cancel_now()
            return self.cancelled()

    def result(self, timeout: float | None = None) -> T:
        """Return the value, waiting for it up to `timeout` seconds."""
        if timeout is None:
            self.refuse_to_wait()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception, or None, waiting up to `timeout` seconds."""
        if timeout is None:
            self.refuse_to_wait()
        return super().exception(timeout)

    def refuse_to_wait(self) -> None:
        """Raise, rather than wait for ever, on the thread that has to finish this future, unless it is done."""
        event_loop = self._event_loop
        if event_loop is not None and event_loop.is_current() and not self.done():
            raise WorkflowError(
                f"{CALLBACK_WAITS} the end of {self!r}: {CALLBACKS_RUN} this future; give it a callback of its own"
            )

    def _value(self) -> T:
        """Return the result of the future, which succeeded, without counting as having been asked."""
        return Future.result(self)

    def _claim(self) -> bool:
        """Rule out `cancel()` from now on; return False if it came first."""
        with self._condition:
            if self._state != PENDING:
                return False
            self._state = RUNNING
            return True

    def _succeed(self, result: T) -> None:
        """Finish with a result, unless the future is done already."""
        try:
            self.set_result(result)
        except InvalidStateError:
            pass

    def _fail(self, exception: BaseException) -> None:
        """Finish with an exception, unless the future is done already."""
        try:
            self.set_exception(exception)
        except InvalidStateError:
            pass

    def _drop(self) -> None:
        """Finish as cancelled, although `cancel()` may be too late, unless the future is done already."""
        with self._condition:
            if self._state not in (PENDING, RUNNING):
                return
            self._state = CANCELLED
        self._settle()

    def _release(self) -> None:
        """Let go of what only an unfinished future needs; called after the callbacks, more than once at worst."""
        self._event_loop = None

    def _cancel_now(self) -> None:
        # Posted first: the event waits for the lock that is held here, and finds nothing to do if Ctrl-C comes between.
        assert self._event_loop is not None
        self._event_loop.post(self._settle)
        self._state = CANCELLED
        self._condition.notify_all()

    def _settle(self) -> None:
        with self._condition:
            if self._state in (PENDING, RUNNING):
                return
            if self._state == CANCELLED:
                self.set_running_or_notify_cancel()
                self._condition.notify_all()
        self._invoke_callbacks()

    def _invoke_callbacks(self) -> None:
        # Unlike the inherited one it outlives SystemExit and the like, which would leave the dependents behind
        # pending, and forgets the callbacks, through which a future would keep its finished dependents alive.
        callbacks = []
        if self._lists is not None:
            callbacks, self._done_callbacks = self._done_callbacks, []
        for callback in callbacks:
            try:
                callback(self)
            except BaseException:
                self._log_callback()
        self._release()

    def _log_callback(self) -> None:
        try:
            LOGGER.exception("exception calling callback for %r", self)
        except BaseException:  # a handler of the user's: the callbacks that are left matter more than the message
            pass


def exception_of(future: Future[Any]) -> BaseException | None:
    """Return the exception of a future that is done and not cancelled; no retrieval by the user."""
    return Future.exception(future) if isinstance(future, LoopFuture) else future.exception()


def result_of(future: Future[T]) -> T:
    """Return the result of a future that succeeded; no retrieval by the user."""
    return future._value() if isinstance(future, LoopFuture) else future.result()
