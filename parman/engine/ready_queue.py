# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls that are ready to run, in the order in which they do, and how many may run at a time."""

from __future__ import annotations

import math
import time
import weakref
from collections import deque
from concurrent.futures import Future
from typing import Any

from ..tasks import TaskDefinition
from .calls import Call

__all__ = ["ReadyQueue", "check_future"]

_QUICK = 0.02
"""Until when a call counts as quick, from its submission to its answer [s]."""
_PROVEN = 16
"""How many calls of a task in a row have to have been quick until the next is expected to be."""
_NEVER_MIND = 0.0, True


class ReadyQueue:
    """Calls that are ready to run; in the event loop only, but for `take`.

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
        self._quick_in_a_row: weakref.WeakKeyDictionary[TaskDefinition, int] = weakref.WeakKeyDictionary()

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
