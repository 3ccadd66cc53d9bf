# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Feeding: drains whose calls are run by a worker process, bundle by bundle.

    drain, on the thread of a lane                        in the role of the dispatcher
    ------------------------------                        -----------------------------
    ask for a bundle ─────────────────────────────────▶   choose calls, board them
    send it          ◀─────────────────────────────────
    outcomes, as they come ───────────────────────────▶   settle promises, wake what waited for them
    nothing for a while: take back the rest ──────────▶   ready again
    the worker died: take back the rest ──────────────▶   the call that it ran fails, the others are ready again

The invariants of `drains` and `flights` hold.
"""

from __future__ import annotations

import math
import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ArgumentError, WorkerDied
from ..failures import PackedException
from ..frozen import Frozen
from ..memfiles import File, keep_spares, rest
from ..work import Outcome
from .bundles import Bundler, Cargo, message_of
from .calls import Call
from .channel import Kind, Message, Parcel
from .drains import SLICE, Drain, DrainRunner
from .flights import Flight

if TYPE_CHECKING:
    from .processes import ProcessLane

__all__ = ["Feeder"]

_OVERDUE = 2e-3
"""After which time without an outcome other calls do not wait for the one that runs [s]."""


_NOTHING = Cargo([], [])


class _Arrival(NamedTuple):
    """How a call ended in a worker; without a content, which `bundled` writes, it was skipped: one before it failed."""

    call: Call
    content: tuple[float, list[Any] | None, PackedException | None, tuple[Any, ...], bool] | None


class Feeder:
    """What the drains of one runner have in common.

    Parameters
    ----------
    runner
        The runner.
    bundler
        Chooses the calls.
    """

    def __init__(self, bundler: Bundler) -> None:
        self._bundler = bundler
        self._keeps_spares = False

    def rest(self) -> None:
        """Have no files kept for the next calls, of which none may come."""
        self._keeps_spares = False
        rest(self)

    def feed(self, runner: DrainRunner, drain: Drain, lane: ProcessLane) -> None:
        """Be a drain, on the thread of a lane, whose worker is ready."""
        deaths = 0
        end = time.perf_counter() + SLICE
        while True:
            if time.perf_counter() > end and lane.is_wanted:
                runner.dispatcher.handle(partial(runner.end_drain, drain))
                return
            trouble = lane.prepare()
            if lane.was_killed:
                runner.dispatcher.handle(partial(self._leave, runner, drain))
                return
            boarded = self._ask(runner, drain, lane, trouble)
            if boarded is None:
                return
            trip = _Trip(self, runner, drain, lane, *boarded)
            del boarded  # with the arguments
            deaths = 0 if trip.make() else deaths + 1
            if deaths > 1:
                runner.dispatcher.handle(partial(trip.give_first_up, runner))
                deaths = 0

    def _leave(self, runner: DrainRunner, drain: Drain) -> None:
        """End a drain whose pool was stopped; what is ready goes elsewhere, if anywhere."""
        call, drain.call = drain.call, None
        runner.end_drain(drain)
        if call is not None:
            call.give_up()

    def _ask(
        self, runner: DrainRunner, drain: Drain, lane: ProcessLane, trouble: WorkerDied | None
    ) -> tuple[Flight, Cargo] | None:
        """Have calls boarded for a worker; none if the drain is over."""
        box: SimpleQueue[tuple[Flight, Cargo] | None] = SimpleQueue()

        def board() -> None:
            found = None
            try:
                while found is None and (call := runner.next_call(drain)) is not None:
                    if trouble is not None:
                        call.fail(runner.explain(call, trouble, in_flight=False), None)
                    else:
                        found = self._board(runner, drain, call, lane)
            finally:
                box.put(found)

        runner.dispatcher.handle(board)
        return box.get()

    def _board(self, runner: DrainRunner, drain: Drain, call: Call, lane: ProcessLane) -> tuple[Flight, Cargo] | None:
        drain.flight = flight = Flight(lane.process.tokens)
        try:
            cargo = self._bundler.fill(flight, call, lane.process.known)
        except BaseException as exception:  # a mistake of ours must leave no call behind
            call.fail(exception, None)
            flight.land()
            runner.recover(flight)
            return None
        if not flight.calls:
            return None  # it may have been given up since it was claimed
        if cargo.spares and not self._keeps_spares:
            self._keeps_spares = True
            keep_spares(self)
        return flight, cargo

    def before_settling(self, runner: DrainRunner, drain: Drain, calls: list[Call]) -> None:
        """Let go of spare files if nothing is known to follow these calls, before anybody can know that they ended."""
        if self._keeps_spares and runner.is_the_rest(drain, calls):
            self.rest()


class _Trip:
    """One bundle, from being sent until the worker is done with it."""

    def __init__(
        self, feeder: Feeder, runner: DrainRunner, drain: Drain, lane: ProcessLane, flight: Flight, cargo: Cargo
    ) -> None:
        self._feeder = feeder
        self._bundler = feeder._bundler
        self._runner = runner
        self._drain = drain
        self._lane = lane
        self._flight = flight
        self._cargo = cargo
        self._how = ""
        self._lent: list[File] = []

    def make(self) -> bool:
        """See it through; false if the worker died before it began anything."""
        try:
            message = self._message(self._lacking())
        except BaseException as error:
            self._give_back(error)
            return True
        try:
            if self._flight.launch():
                # Spares are given away for good.
                self._lent = [file for file in message.files if file.size]
                self._lane.process.channel.send(message)
                del message
                while not self._receive():
                    pass
            else:
                self._arrive([], True)
        except EOFError:
            return self._crash()
        return True

    # --- what is sent ---

    def _lacking(self) -> set[str]:
        return self._cargo.tokens() - self._lane.process.known

    def _message(self, lacking: set[str]) -> Message:
        message = message_of(self._cargo, lacking)
        self._lane.process.known.update(lacking)
        return message

    def _give_back(self, error: BaseException) -> None:
        """Deal with a message that can't be written, or not be read: nothing of it has begun."""
        self._flight.take_back()
        self._flight.land()
        self._drain.is_looking = True
        self._runner.dispatcher.handle(partial(self._cannot_be_sent, error))

    def _cannot_be_sent(self, error: BaseException) -> None:
        """Fail the only call, or let all of them come one by one."""
        calls = self._flight.calls
        if len(calls) > 1:
            for call in calls:
                self._bundler.note(call, math.inf, None)
            self._runner.recover(self._flight)
            return
        wrapped = ArgumentError(f"{calls[0]} can't be sent to a worker process: {type(error).__qualname__}: {error}")
        wrapped.__cause__ = error.with_traceback(None)
        calls[0].fail(wrapped, None)

    # --- what comes back ---

    def _receive(self) -> bool:
        """Take what comes next; true if the worker is done."""
        flight, channel = self._flight, self._lane.process.channel
        if flight.may_be_stuck and not channel.has_something(_OVERDUE):
            flight.take_back()
            self._runner.dispatcher.handle(partial(self._runner.recover, flight))
        arrivals: list[_Arrival] = []
        try:
            is_over = self._collect(arrivals)
        except BaseException:
            self._arrive(arrivals, False)
            raise
        self._arrive(arrivals, is_over)
        return is_over

    def _collect(self, arrivals: list[_Arrival]) -> bool:
        """Add what has come to the arrivals, waiting for the first; true if the worker is done."""
        flight, channel = self._flight, self._lane.process.channel
        while True:
            for content in channel.take_ahead(Kind.OUTCOME):
                arrivals.append(_Arrival(flight.calls[flight.ended], content))
                flight.ended += 1
            if flight.is_complete:
                return True
            if arrivals and not channel.has_ahead:
                return False
            parcel = channel.receive()
            if parcel.kind == Kind.OUTCOME:
                arrivals.append(_Arrival(flight.calls[flight.ended], _content_of(parcel)))
                flight.ended += 1
            elif parcel.kind == Kind.MISSING:
                lacking = set(parcel.load())
                self._lent = []  # lent once more, so that this worker does not count as having let go of them
                flight.relaunch()
                channel.send(self._message(lacking))
            elif parcel.kind == Kind.FAILURE:
                self._give_back(parcel.load().load())
                return True
            else:
                return True

    def _get_back(self, arrivals: list[_Arrival]) -> None:
        """Note which memory files the worker has let go of."""
        lent, self._lent = self._lent, []
        for content in [arrival.content for arrival in arrivals]:
            if content is not None and content[-1]:
                frozen = [value for value in content[1] or () if isinstance(value, Frozen)]
                made = {id(buffer): buffer for value in frozen for buffer in value.buffers}
                for file in lent:
                    file.take_back()
                for buffer in made.values():
                    buffer.take_back()

    def _arrive(self, arrivals: list[_Arrival], is_over: bool) -> None:
        if arrivals:
            self._get_back(arrivals)
        if is_over:
            self._flight.land()
            self._drain.is_looking = True
            # Arguments have to be gone when the next calls are chosen, which may be given their memory.
            self._cargo = _NOTHING
        self._runner.dispatcher.handle(partial(self._settle, arrivals, is_over))

    def _settle(self, arrivals: list[_Arrival], is_over: bool) -> None:
        if is_over:
            self._feeder.before_settling(self._runner, self._drain, [arrival.call for arrival in arrivals])
        for arrival in arrivals:
            try:
                self._settle_one(arrival)
            except BaseException as exception:  # a mistake of ours must leave no call behind
                arrival.call.fail(exception, None)
        if is_over:
            self._runner.recover(self._flight)
        self._runner.admit()

    def _settle_one(self, arrival: _Arrival) -> None:
        call, content = arrival
        if content is None:
            call.come_back()
            return
        duration, values, packed, remarks, _ = content
        self._bundler.note(call, duration, values)
        if values is not None and not remarks:
            call.succeed(values)
            return
        call.conclude(Outcome(values, None if packed is None else packed.load(), None, remarks))

    # --- what goes wrong ---

    def _crash(self) -> bool:
        """Deal with the death of the worker; false if it had begun nothing."""
        flight = self._flight
        calls = flight.calls[: len(flight.calls) - flight.take_back()][flight.ended :]
        flight.land(len(calls))  # nobody may take these back, not even before they fail
        self._how = self._lane.bury()
        self._runner.dispatcher.handle(partial(self._settle_crash, calls))
        return bool(calls) or flight.ended > 0

    def _settle_crash(self, calls: list[Call]) -> None:
        for call in calls:
            if self._lane.was_killed:  # what this is part of, Ctrl-C say, may not have come to the calls yet
                call.give_up()
            else:
                call.fail(self._runner.explain(call, WorkerDied(self._how)), None)
        self._runner.recover(self._flight)

    def give_first_up(self, runner: DrainRunner) -> None:
        """Fail the first call, which two workers in a row did not live to begin."""
        call = self._flight.calls[0]
        how = f"{self._how} while the call was sent to it, as did another one; the call was not run"
        call.fail(runner.explain(call, WorkerDied(how), in_flight=False), None)


def _content_of(parcel: Parcel) -> Any:
    try:
        return parcel.load()
    except BaseException as error:  # no room for the descriptors of the message, or for itself
        return 0.0, None, PackedException(error, str(error)), (), False
