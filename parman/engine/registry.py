# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What became of the calls of one block: which are still to come, which failed, what the user has been told.

A registry is written from two sides, so everything here is under its lock, which is never held while code of the user
runs, while a future changes its state, or while anything waits. The invariant: every call that was added is told
`finished` exactly once, by the event loop of its runner; the block is over when `pending` is empty.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import ClassVar, Protocol

from ..closures import Closure
from ..errors import Failure, Interrupted
from ..futures.future import CallFuture, StrictFuture
from ..lifecycle import interruptible_get
from ..snapshots.exceptions import traceback_text

__all__ = ["CallRegistry", "CallState", "RegisteredCall"]

logger = logging.getLogger("parman")

_FEW = 1000
"""Calls that ended since it was last looked which of them are alive."""
_KEEP_ARGUMENTS = 100
"""Failed calls of one task that keep their arguments for `rerun`."""


class CallState(StrEnum):
    """Where a call is; `Call._move` goes from one to another.

    A call is *pending* until somebody has claimed it. With an executor of others or in a batch that may be later than
    its begin: whether it runs there, its handle can tell (`Call.is_running`).
    """

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RegisteredCall(Protocol):
    """A call as the registry sees it."""

    closure: Closure
    failure: BaseException | None
    is_root: bool
    retrieved: bool
    state: CallState

    def cancel(self) -> None:
        """Cancel what has not started."""

    def ask_to_stop(self) -> None:
        """Ask the call to end if it has started and can do that."""

    def is_wanted(self) -> bool:
        """Tell whether it is to run, not having been cancelled."""


class CallRegistry:
    """The calls of one block.

    Parameters
    ----------
    keep
        Hold all finished calls, also those whose results nobody holds any more.
    fail_fast
        The first failure ends the block.
    """

    future_class: ClassVar[type[CallFuture]] = StrictFuture
    """What the calls return for each leaf of their results."""

    def __init__(self, keep: bool = False, fail_fast: bool = False) -> None:
        # Locks of C alone, since Ctrl-C can lose a `Condition`; the collector may run code of the user's under it.
        self._lock = threading.RLock()
        self._waiting: list[SimpleQueue[None]] = []
        self._pending: dict[int, RegisteredCall] = {}
        self._failed: list[RegisteredCall] = []
        self._held: list[RegisteredCall] = []
        # A list that is cleared up now and then: a dict with weak values costs as much as all else that is done here.
        self._ended: list[weakref.ref[RegisteredCall]] = []
        self._clear_up_at = _FEW
        self._keep = keep
        self._failures_of: Counter[str] = Counter()
        self._logged: Counter[tuple[str, str]] = Counter()
        self._told: set[tuple[str, ...]] = set()
        self.on_failure: Callable[[], None] = lambda: None
        self.fail_fast = fail_fast
        self.closed_to_calls = False

    # --- calls ---

    def added(self, call: RegisteredCall) -> None:
        """Note a call that has been made. A single assignment, so that Ctrl-C finds all of it or nothing."""
        self._pending[id(call)] = call

    def failed(self, call: RegisteredCall) -> None:
        """Note a failure, before anybody can see it in a future."""
        with self._lock:
            self._failed.append(call)
            self._failures_of[call.closure.name] += call.is_root
            keeps_arguments = call.is_root and self._failures_of[call.closure.name] <= _KEEP_ARGUMENTS
        if not keeps_arguments:
            call.closure.release()
        if call.is_root:
            self.on_failure()
            self._log_failure(call)

    def finished(self, call: RegisteredCall) -> None:
        """Note that all futures of the call are done; told once for each call, after `failed` if it failed."""
        if call.failure is None:
            call.closure.release()
        with self._lock:
            if self._pending.pop(id(call), None) is None:
                return
            if call.failure is None:
                self._note_end(call)
            if not self._pending:
                for waiter in self._waiting:
                    waiter.put(None)
                self._waiting = []

    def _note_end(self, call: RegisteredCall) -> None:
        if self._keep:
            self._held.append(call)
            return
        self._ended.append(weakref.ref(call))
        if len(self._ended) >= self._clear_up_at:
            self._ended = [ref for ref in self._ended if ref() is not None]
            self._clear_up_at = 2 * len(self._ended) + _FEW

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no call is pending or running; false if that took longer than `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            over: SimpleQueue[None] = SimpleQueue()
            with self._lock:
                if not self._pending:
                    return True
                self._waiting.append(over)
            try:
                interruptible_get(over, None if deadline is None else deadline - time.monotonic())
            except Empty:
                return False

    def pending(self) -> list[RegisteredCall]:
        """Return the calls that are not done."""
        with self._lock:
            return self._pending_now()

    def _pending_now(self) -> list[RegisteredCall]:
        return list(self._pending.copy().values())  # a copy, in one step, for calls are added without the lock

    def calls(self) -> list[RegisteredCall]:
        """Return the calls that are pending, running or failed, and those whose results somebody holds."""
        with self._lock:
            alive = [call for ref in self._ended if (call := ref()) is not None]
            found = [*self._pending_now(), *self._failed, *self._held, *alive]
        return sorted({id(call): call for call in found}.values(), key=lambda call: call.closure.number)

    def failures(self, all_of_them: bool = True) -> list[Failure]:
        """Return the root failures, in the order of the calls; without those that were retrieved if so asked."""
        with self._lock:
            failed = [c for c in self._failed if c.is_root and (all_of_them or not c.retrieved)]
        failed.sort(key=lambda call: call.closure.number)
        return [Failure(c.closure, c.failure) for c in failed if c.failure is not None]

    # --- what the user is told ---

    def _log_failure(self, call: RegisteredCall) -> None:
        exception = call.failure
        assert exception is not None
        if isinstance(exception, Interrupted):
            return  # the user knows
        key = (call.closure.name, type(exception).__qualname__)
        with self._lock:
            self._logged[key] += 1
            first = self._logged[key] == 1
        if first:
            _log(logging.ERROR, "%s failed (more of this kind would only be counted):\n%s", *_in_full(call))

    def warn_once(self, key: tuple[str, ...], text: str) -> None:
        """Log a warning, once for each key."""
        with self._lock:
            if key in self._told:
                return
            self._told.add(key)
        _log(logging.WARNING, "%s", text)

    def log_counts(self) -> None:
        """Log how many failures there were of each kind of which only the first was logged."""
        with self._lock:
            counts = [(name, kind, count) for (name, kind), count in self._logged.items() if count > 1]
        for name, kind, count in counts:
            logger.error("%s failed %d times with %s", name, count, kind)


def _log(level: int, text: str, *args: object) -> None:
    """Log from the event loop, where an exception from a handler of the user's must stop nothing."""
    try:
        logger.log(level, text, *args)
    except Exception:
        if logging.raiseExceptions:
            traceback.print_exc()


def _in_full(call: RegisteredCall) -> tuple[str, str]:
    assert call.failure is not None
    return str(call.closure), traceback_text(call.failure)
