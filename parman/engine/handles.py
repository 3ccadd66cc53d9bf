# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Flights: the calls of one bundle between the driver and a worker, and how those are taken back that have not begun.

    board ──▶ launch: a token for each ──▶ sent ──▶ worker: takes a token, runs, answers, one call after another
      │               │                                  │
      │               └─ take_back: the tokens that are left are the driver's, and with them the last calls
      └─ take_back before launch: all of them

Who takes back: `cancel()`, in any thread; the lane, when a call takes longer than expected; another lane, whose worker
would be idle; and the lane when the worker has died, for what nobody has begun goes to another one.

So that calls don't go to and fro for ever, the lane takes back only what is behind a call that has begun, or, from a
worker that begins nothing for long, all but the next call. So each flight brings at least one call to its end, unless
the user cancels it or the worker dies. And a call that came back goes with fewer others the next time, in the end alone
(see `bundles`), so that it is sent few times.

Invariants, under the lock

* Tokens are put in once, before the calls are sent. Those of one flight are gone before the next one of the same worker
  is launched: all were taken, by the worker or by the driver.
* Calls are begun in their order. So those that were taken back are the last ones, as many as there were tokens.
* A call is boarded in the role of the dispatcher: first its `flight` is set, then it is looked whether the call was
  cancelled before. So a `cancel()` that comes later finds the flight.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..pool.claims import Tokens

if TYPE_CHECKING:
    from .calls import Call

__all__ = ["Flight"]

_WORTH = 3e-4
"""For how long a worker has to be busy yet for it to be worth while to give some of that to another one [s]."""


class Flight:
    """Calls that go to a worker together.

    Parameters
    ----------
    tokens
        Those of the worker.

    Attributes
    ----------
    calls
        In the order in which they are run.
    ended
        How many of them have been answered.
    expected
        How long they are expected to take, all together [s].
    was_sent
        Whether it was launched.
    """

    def __init__(self, tokens: Tokens) -> None:
        self.calls: list[Call] = []
        self.ended = 0
        self.expected = 0.0
        self._last_ready = 0
        self._tokens = tokens
        self.was_sent = False
        self._lock = threading.RLock()
        self._state = "boarding"
        self._back = 0

    def board(self, call: Call, *, is_ready: bool = True) -> bool:
        """Take a call along, unless it was cancelled.

        Parameters
        ----------
        call
            The call.
        is_ready
            Whether it could as well go elsewhere; else it waits for another one of the flight.
        """
        call.flight = self
        call.seat = len(self.calls)
        if not call.is_wanted():
            call.flight = None
            return False
        if is_ready:
            self._last_ready = call.seat
        self.calls.append(call)
        return True

    def launch(self) -> bool:
        """Let the calls go; false if they were taken back before."""
        with self._lock:
            if self._state != "boarding":
                return False
            self._state = "launched"
            self.was_sent = True
            self._tokens.put(len(self.calls))
            return True

    def take_back(self, keep: int = 0) -> int:
        """Take back what has not begun, and return how many of the calls, the last ones, are the driver's again.

        Parameters
        ----------
        keep
            How many calls that have not begun are left to a worker that has the flight.
        """
        with self._lock:
            if self._state == "boarding":
                self._state = "landed"
                self._back = len(self.calls)
            elif self._state == "launched":
                self._back += self._tokens.take_back(keep)
            return self._back

    def land(self, begun: int = 0) -> None:
        """Note that the worker is done with it.

        Parameters
        ----------
        begun
            How many calls it has begun without an answer; the others that were not answered are the driver's again.
        """
        with self._lock:
            self._back = len(self.calls) - self.ended - begun
            self._state = "landed"

    def has_taken_back(self, call: Call) -> bool:
        """Take back what has not begun, and tell whether a call is among that."""
        return call.seat >= len(self.calls) - self.take_back()

    def has_begun(self, call: Call) -> bool:
        """Tell whether a call has begun."""
        with self._lock:
            return self._state == "launched" and call.seat < len(self.calls) - self._back - self._tokens.left()

    def can_spare(self) -> bool:
        """Tell whether calls have not begun that another worker could well run meanwhile."""
        if not self._last_ready:
            return False
        with self._lock:
            if self._state != "launched":
                return False
            waiting = self._tokens.left()
            begun = len(self.calls) - self._back - waiting
            # Not before it has begun: two workers that are slow to start would take everything from each other.
            return 0 < begun <= self._last_ready and self.expected * waiting > _WORTH * len(self.calls)

    @property
    def carries_spare(self) -> bool:
        """Whether there are calls that could as well go elsewhere, besides the first."""
        return self._last_ready > 0

    @property
    def is_running(self) -> bool:
        """Whether the worker has begun a call that it has not answered."""
        with self._lock:
            return self._state == "launched" and self.ended < len(self.calls) - self._back - self._tokens.left()

    @property
    def back(self) -> list[Call]:
        """The calls that were taken back."""
        with self._lock:
            return self.calls[len(self.calls) - self._back :]

    @property
    def is_complete(self) -> bool:
        """Whether all calls have been answered."""
        return self.ended == len(self.calls)

    @property
    def may_be_stuck(self) -> bool:
        """Whether calls may wait behind the one that runs."""
        return self.ended + 1 + self._back < len(self.calls)
