# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Handles: what has a call in hands between the event loop and a worker, and can say whether it has begun.

An executor of others has one call: an `ExecutorHandle` asks its future. Our own processes get several in one message,
a *batch*:

    add ──▶ send: a claim for each ──▶ worker: takes a claim, runs, answers, one call after another
     │           │                          │
     │           └─ reclaim: the claims that are left are the driver's, and with them the last calls
     └─ reclaim before send: all of them

Who reclaims: `cancel()`, in any thread; the worker's thread, when a call takes longer than expected; another worker's,
which would be idle; and the worker's thread when the worker has died, for what nobody has begun goes to another one.

So that calls don't go to and fro for ever, a worker's thread reclaims only what is behind a call that has begun, or,
from a worker that begins nothing for long, all but the next call. So each batch brings at least one call to its end,
unless the user cancels it or the worker dies. And a call that came back goes with fewer others the next time, in the
end alone (see `remote.batcher`), so that it is sent few times.

Invariants of a batch, under its lock

* Claims are put in once, before the calls are sent. Those of one batch are gone before the next one of the same worker
  is sent: all were taken, by the worker or by the driver.
* Calls are begun in their order. So those that were reclaimed are the last ones, as many as there were claims.
* A call is added in the event loop: first it has its `handle`, then it is looked whether the call was cancelled
  before. So a `cancel()` that comes later finds the batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ..futures.future import CallFuture
from ..pool.claims import ClaimPipe
from .calls import Call

__all__ = ["BatchHandle", "ExecutorHandle", "ask_to_cancel"]

_WORTH = 3e-4
"""For how long a worker has to be busy yet for it to be worth while to give some of that to another one [s]."""


class ExecutorHandle:
    """A call with an executor.

    Attributes
    ----------
    inner
        The executor's future. None while the call is being submitted; and where the executor has no more calls than
        workers, so that the call was claimed and nobody needs to ask.
    sent
        What is kept to send the call again.
    """

    __slots__ = ("inner", "sent")

    def __init__(self) -> None:
        self.inner: Future[Any] | None = None
        self.sent: Any = None

    def cancel(self, call: Call, future: CallFuture) -> bool:
        inner = self.inner
        if inner is None:
            return False
        # A look without its lock at each of the other leaves, one of which may be here for its own sake.
        if any(leaf is not future and leaf.is_open() for leaf in call.leaves):
            return not (inner.running() or inner.done())
        return ask_to_cancel(inner)

    def drop(self) -> None:
        if self.inner is not None:
            ask_to_cancel(self.inner)  # two leaves that were cancelled at the same time have left it to each other

    def is_running(self, call: Call) -> bool:
        return self.inner is not None and self.inner.running()


def ask_to_cancel(inner: Future[Any]) -> bool:
    """Cancel a future of an executor, if it lets itself."""
    try:
        return inner.cancel()
    except Exception:  # futures of some engines can't
        return False


class BatchHandle:
    """Calls that go to a worker together.

    Parameters
    ----------
    claims
        The pipe of the worker.
    when_reclaimed
        Called, in any thread, when a call was cancelled and others may have come back with it.

    Attributes
    ----------
    calls
        In the order in which they are run.
    ended
        How many of them have been answered.
    expected
        How long they are expected to take, all together [s].
    was_sent
        Whether it was sent.
    """

    def __init__(self, claims: ClaimPipe, when_reclaimed: Callable[[BatchHandle], object] = lambda _: None) -> None:
        self.calls: list[Call] = []
        self._places: dict[Call, int] = {}
        self._when_reclaimed = when_reclaimed
        self.ended = 0
        self.expected = 0.0
        self._last_ready = 0
        self._claims = claims
        self.was_sent = False
        self._lock = threading.RLock()
        self._state = "open"
        self._back = 0

    def add(self, call: Call, *, is_ready: bool = True) -> bool:
        """Take a call along, unless it was cancelled.

        Parameters
        ----------
        call
            The call.
        is_ready
            Whether it could as well go elsewhere; else it waits for another one of the batch.
        """
        place = self._places[call] = len(self.calls)
        call.handle = self
        if not call.is_wanted():
            call.handle = None  # its place stays known: another thread may be about to ask for it
            return False
        if is_ready:
            self._last_ready = place
        self.calls.append(call)
        return True

    def place_of(self, call: Call) -> int:
        """Return which of the calls this is."""
        return self._places[call]

    def send(self) -> bool:
        """Let the calls go to the worker; false if they were taken back before."""
        with self._lock:
            if self._state != "open":
                return False
            self._state = "sent"
            self.was_sent = True
            self._claims.put(len(self.calls))
            return True

    def reclaim(self, keep: int = 0) -> int:
        """Take back what has not begun, and return how many of the calls, the last ones, are the driver's again.

        Parameters
        ----------
        keep
            How many calls that have not begun are left to a worker that has the batch.
        """
        with self._lock:
            if self._state == "open":
                self._state = "closed"
                self._back = len(self.calls)
            elif self._state == "sent":
                self._back += self._claims.reclaim(keep)
            return self._back

    def at_work(self) -> Call | None:
        """Take back what has not begun, and return the call that the worker is at, as far as is known."""
        with self._lock:
            begun = len(self.calls) - self.reclaim()
            return self.calls[begun - 1] if self._state == "sent" and self.ended < begun else None

    def close(self, begun: int = 0) -> None:
        """Note that the worker is done with it.

        Parameters
        ----------
        begun
            How many calls it has begun without an answer; the others that were not answered are the driver's again.
        """
        with self._lock:
            self._back = len(self.calls) - self.ended - begun
            self._state = "closed"

    def cancel(self, call: Call, future: CallFuture) -> bool:
        is_back = self._places[call] >= len(self.calls) - self.reclaim()
        self._when_reclaimed(self)
        return is_back

    def drop(self) -> None:
        pass

    def is_running(self, call: Call) -> bool:
        with self._lock:
            return self._state == "sent" and self._places[call] < self._begun()

    def may_be_stolen_from(self) -> bool:
        """Tell whether calls have not begun that another worker could well run meanwhile."""
        if not self._last_ready:
            return False
        with self._lock:
            if self._state != "sent":
                return False
            begun = self._begun()
            waiting = len(self.calls) - self._back - begun
            # Not before it has begun: two workers that are slow to start would take everything from each other.
            return 0 < begun <= self._last_ready and self.expected * waiting > _WORTH * len(self.calls)

    @property
    def is_stealable(self) -> bool:
        """Whether there are calls that could as well go elsewhere, besides the first."""
        return self._last_ready > 0

    def _begun(self) -> int:
        """Return how many calls the worker has begun, at least; under the lock."""
        return len(self.calls) - self._back - self._claims.left()

    @property
    def is_at_work(self) -> bool:
        """Whether the worker has begun a call that it has not answered."""
        with self._lock:
            return self._state == "sent" and self.ended < self._begun()

    @property
    def reclaimed(self) -> list[Call]:
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
