# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Drains: jobs for an executor whose threads are in this process, each of which runs one ready call after another.

    drain, on a thread of the executor                    in the role of the dispatcher
    ----------------------------------                    -----------------------------
    run its first call    ◀────────────────────────────   claim a ready call, submit a drain for it
    its outcome ──────────────────────────────────────▶   settle its promises, wake the calls that waited for it,
    take another one from the ready queue, claim it,      submit drains if more is ready than they will take
    run it ...
    none: end ────────────────────────────────────────▶   forget it, or submit it again

So no call has to be submitted to the executor, and its outcome wakes nobody: the thread that has it does what follows
from it, unless another one is at that, and goes on with what has become ready.

Invariants

* There are at most as many drains as workers. One is in `_drains`, which is changed in the role alone, from when it is
  submitted until it has said that it is over, or its future has.
* A drain is *looking* from when it has an outcome in hands until just before it takes a call. So whatever became ready
  while it was looking is there when it takes one.
* Wherever calls become ready, `_pump_drains` follows in the role: there is a looking drain for each ready call, or
  there are as many drains as workers.
* A drain that was given up, since its pool was stopped, is not in `_drains`, and takes nothing more.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any

from ..work import Outcome
from .calls import Call
from .flights import Flight
from .futures import FuturesRunner, check_future

__all__ = ["Drain", "DrainRunner", "SLICE"]  # noqa: RUF022

SLICE = 0.01
"""After how long a drain goes to the end of the executor's queue, for others may use that as well [s]."""

_PAUSES = (*[0.0] * 10, *[1e-4] * 20, *[1e-3] * 50)
"""How a drain waits for another thread to settle what it has in hands [s]."""


class Drain:
    """One of them.

    Attributes
    ----------
    call
        What it runs.
    is_looking
        Whether it is about to take a call.
    flight
        What it has sent to a worker process.
    """

    __slots__ = ("call", "flight", "is_looking")

    def __init__(self, call: Call) -> None:
        self.call: Call | None = call
        self.flight: Flight | None = None
        self.is_looking = False


def _give_way(call: Call) -> None:
    """Let the thread that has the role come to this call, after which those that wait for it go before others.

    A lock instead would make the threads wake each other for each call once they have met. It is a matter of order
    only, so that there is a limit.
    """
    for pause in _PAUSES:
        time.sleep(pause)
        if call.is_over:
            break


class DrainRunner(FuturesRunner):
    """A runner that gives its executor drains, if that runs them on threads of this process.

    Parameters
    ----------
    slots, schedule
        As for `FuturesRunner`.
    """

    def __init__(self, slots: float, schedule: bool = True) -> None:
        super().__init__(slots, schedule)
        self._drains: set[Drain] = set()
        # Calls that were claimed, for a worker that did not begin them.
        self._claimed: deque[Call] = deque()
        self._is_pump_due = False

    # --- in the role ---

    def enqueue(self, call: Call) -> None:
        if call.closure.definition.waits or not self.has_drains:
            super().enqueue(call)
            return
        self._queue.push(call)
        self._pump_later()

    def _pump_later(self) -> None:
        if not self._is_pump_due:
            self._is_pump_due = True
            self.dispatcher.do_later(self._pump_drains)

    def recover(self, flight: Flight) -> None:
        """Make those calls of a flight ready again that were taken back."""
        for call in reversed(flight.back):
            if call.flight is not flight:
                continue
            call.returns += flight.was_sent
            if not call.come_back():
                continue
            if call.state == "running":
                self._claimed.appendleft(call)
            else:
                self._queue.push_first(call)
        self._pump_later()

    def next_call(self, drain: Drain) -> Call | None:
        """Give a drain its next call; none if it is over. For drains that ask in the role."""
        drain.is_looking = False
        drain.flight = None
        if drain not in self._drains:
            return None
        call, drain.call = drain.call or self._take() or self._take_from_others(), None
        if call is None:
            self.end_drain(drain)
        return call

    def is_the_rest(self, drain: Drain, calls: list[Call]) -> bool:
        """Tell whether nothing runs or is ready but these calls of a drain, and nothing waits for them."""
        return (
            not self._queue
            and not self._claimed
            and all(one is drain or one.is_looking for one in self._drains)
            and not any(leaf.dependents for call in calls for leaf in call.leaves)
        )

    def _take_from_others(self) -> Call | None:
        """Take what waits for a busy worker, for one that is not."""
        for drain in self._drains:
            if drain.flight is not None and drain.flight.can_spare():
                self.recover(drain.flight)
                return self._take()
        return None

    def _pump_drains(self) -> None:
        """Submit drains for the calls that are ready."""
        self._is_pump_due = False
        looking = sum([drain.is_looking for drain in self._drains])
        while len(self._queue) + len(self._claimed) > looking and len(self._drains) < self._queue.slots:
            call = self._take()
            if call is not None:
                self._start(Drain(call))

    def _start(self, drain: Drain) -> None:
        self._drains.add(drain)
        try:
            future = check_future(self.submit_drain(drain))
            future.add_done_callback(partial(self._post_end, drain))
        except BaseException as exception:  # the executor is broken or shut down
            self.end_drain(drain, exception)

    def _post_end(self, drain: Drain, future: Future[Any]) -> None:
        self.dispatcher.post(partial(self.end_drain, drain, future))

    def end_drain(self, drain: Drain, how: Future[Any] | BaseException | None = None) -> None:
        """Take notice of the end of a drain: if not by itself, what it ran, or would have run, ends as well."""
        if drain not in self._drains:
            return
        self._drains.discard(drain)
        self.dispatcher.do_later(self._pump_drains)
        if how is None:
            return
        calls = [drain.call] if drain.call is not None else []
        if drain.flight is not None:
            drain.flight.land(len(drain.flight.calls) - drain.flight.ended)
            calls += [call for call in drain.flight.calls if call.flight is drain.flight]
        for call in calls:
            self._give_up(call, how)

    def _give_up(self, call: Call, how: Future[Any] | BaseException) -> None:
        if isinstance(how, BaseException):
            call.fail(self.explain(call, how, in_flight=False), None)
        elif how.cancelled():
            call.drop()
        else:
            error = how.exception() or TypeError("the executor answered without having run the call")
            call.fail(self.explain(call, error), None)

    def _conclude_drained(self, call: Call, outcome: Outcome) -> None:
        call.conclude(outcome)
        self.admit()  # what was made meanwhile may have to go before what is ready

    # --- on a thread of the executor ---

    def run_drain(self, drain: Drain) -> None:
        """Be a drain that runs calls in this thread."""
        end = time.perf_counter() + SLICE
        handle = self.dispatcher.handle
        call = drain.call
        while call is not None and drain in self._drains:
            outcome = self.perform(call)
            drain.is_looking = True
            drain.call = None
            handle(partial(self._conclude_drained, call, outcome))
            del outcome
            if not call.is_over:
                _give_way(call)
            drain.is_looking = False
            drain.call = call = self._take() if self.is_open and time.perf_counter() < end else None
        handle(partial(self.end_drain, drain))

    def _take(self) -> Call | None:
        if self._claimed:
            return self._claimed.popleft()  # in the role: there are some on processes only
        while (call := self._queue.take()) is not None:
            if call.claim():
                return call
        return None

    # --- for subclasses ---

    @property
    @abstractmethod
    def has_drains(self) -> bool:
        """Whether the executor takes drains."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether the executor would take another drain, as far as can be told."""

    @abstractmethod
    def submit_drain(self, drain: Drain) -> Future[Any]:
        """Submit a drain to the executor."""

    @abstractmethod
    def perform(self, call: Call) -> Outcome:
        """Run a call in this thread; never raises."""
