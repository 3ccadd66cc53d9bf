# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls that are ready to run, and how many of them may do so at a time."""

from __future__ import annotations

import math
from collections import deque

from .calls import Call

__all__ = ["ReadyQueue"]


class ReadyQueue:
    """Calls that are ready to run; on the dispatcher's thread only.

    Calls that use results go before those that start from nothing, so that results don't pile up; among equals, first
    come, first served.

    Parameters
    ----------
    slots
        How many calls may run at a time; infinity where the number of workers is not known.

    Attributes
    ----------
    bounded
        Whether the number of slots is known, so that a call that is taken out is one that starts.
    """

    def __init__(self, slots: float) -> None:
        self.slots = slots
        self.bounded = slots != math.inf
        self._with_results: deque[Call] = deque()
        self._from_nothing: deque[Call] = deque()
        self._running: set[Call] = set()

    def push(self, call: Call) -> None:
        """Add a call whose dependencies are done."""
        (self._with_results if call.closure.dependencies else self._from_nothing).append(call)

    def pop(self) -> Call | None:
        """Take the next call out, if there is one and a slot for it."""
        if len(self._running) >= self.slots or not (self._with_results or self._from_nothing):
            return None
        return (self._with_results or self._from_nothing).popleft()

    def start(self, call: Call) -> None:
        """Note that a call has a slot, or has it still."""
        self._running.add(call)

    def end(self, call: Call) -> None:
        """Note that a call has no slot (any more)."""
        self._running.discard(call)
