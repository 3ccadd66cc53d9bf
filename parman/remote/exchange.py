# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Feeding: drains whose calls are run by a worker process, bundle by bundle.

    drain, on the thread of a lane                        in the role of the dispatcher
    ------------------------------                        -----------------------------
    ask for a bundle ─────────────────────────────────▶   choose calls, board them
    send it          ◀─────────────────────────────────
    outcomes, as they come ───────────────────────────▶   settle promises, wake what waited for them
    one takes long: take back the others ─────────────▶   ready again
    the worker died: take back the rest ──────────────▶   the call that it ran fails, the others are ready again

The invariants of `drains` and `flights` hold.
"""

from __future__ import annotations

import math
import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engine.calls import Call
from ..engine.execute import Outcome
from ..engine.handles import BatchHandle
from ..engine.pull import SLICE, Drain, WorkerLoops
from ..errors import ArgumentError, WorkerDied
from ..pool.channel import Kind, Message, Parcel, pack
from ..snapshots.failures import PackedException
from ..snapshots.memory import File, keep_spares, rest
from ..snapshots.stored import Frozen
from .batching import Bundler, Cargo, message_of

if TYPE_CHECKING:
    from ..pool.processes import ProcessLane

__all__ = ["Feeder"]

_OVERDUE = 2e-3
"""After which time without an outcome other calls do not wait for the one that runs [s]."""
_PATIENCE = 0.2
"""After which time other calls do not wait for one that the worker does not even begin [s]."""

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

    def feed(self, runner: WorkerLoops, drain: Drain, lane: ProcessLane) -> None:
        """Be a drain, on the thread of a lane."""
        runner.begins(drain)
        try:
            self._feed(runner, drain, lane)
        finally:
            runner.looks_no_more(drain)

    def _feed(self, runner: WorkerLoops, drain: Drain, lane: ProcessLane) -> None:
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
            trip.make()
            del trip

    def _leave(self, runner: WorkerLoops, drain: Drain) -> None:
        """End a drain whose pool was stopped; what is ready goes elsewhere, if anywhere."""
        call, drain.call = drain.call, None
        runner.end_drain(drain)
        if call is not None:
            call.give_up()

    def _ask(
        self, runner: WorkerLoops, drain: Drain, lane: ProcessLane, trouble: WorkerDied | None
    ) -> tuple[BatchHandle, Cargo] | None:
        """Have calls boarded for a worker; none if the drain is over."""
        box: SimpleQueue[tuple[BatchHandle, Cargo] | None] = SimpleQueue()

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

    def _board(
        self, runner: WorkerLoops, drain: Drain, call: Call, lane: ProcessLane
    ) -> tuple[BatchHandle, Cargo] | None:
        drain.flight = flight = BatchHandle(lane.process.tokens, runner.post_recovery)
        try:
            cargo = self._bundler.fill(flight, call, lane.process.known)
        except BaseException as exception:  # a mistake of ours must leave no call behind
            call.fail(exception, None)
            flight.land()
            runner.recover(flight)
            return None
        if not flight.calls:
            return None  # it may have been given up since it was claimed
        runner.carries(drain, flight)
        if cargo.spares and not self._keeps_spares:
            self._keeps_spares = True
            keep_spares(self)
        return flight, cargo

    def before_settling(self, runner: WorkerLoops, drain: Drain, calls: list[Call]) -> None:
        """Let go of spare files if nothing is known to follow these calls, before anybody can know that they ended."""
        if self._keeps_spares and runner.is_the_rest(drain, calls):
            self.rest()


class _Trip:
    """One bundle, from being sent until the worker is done with it."""

    def __init__(
        self, feeder: Feeder, runner: WorkerLoops, drain: Drain, lane: ProcessLane, flight: BatchHandle, cargo: Cargo
    ) -> None:
        self._feeder = feeder
        self._bundler = feeder._bundler
        self._runner = runner
        self._drain = drain
        self._lane = lane
        self._process = lane.process
        self._flight = flight
        self._cargo = cargo
        self._how = ""
        self._lent: list[File] = []

    def make(self) -> None:
        """See it through."""
        try:
            message = self._message(self._lacking())
        except BaseException as error:
            self._give_back(error)
            return
        try:
            if self._flight.launch():
                # Spares are given away for good.
                self._lent = [file for file in message.files if file.size]
                self._process.channel.send(message)
                del message
                while not self._receive():
                    pass
            else:
                self._arrive([], True)
        except EOFError:
            self._crash()

    # --- what is sent ---

    def _lacking(self) -> set[str]:
        return self._cargo.tokens() - self._process.known

    def _message(self, lacking: set[str]) -> Message:
        message = message_of(self._cargo, lacking)
        self._process.known.update(lacking)
        return message

    def _supply(self, wanted: list[str]) -> None:
        """Send what the worker asked for."""
        assets = self._cargo.assets()
        self._process.channel.send(pack(Kind.ASSETS, {token: assets[token] for token in wanted}))
        self._process.known.update(wanted)

    def _give_back(self, error: BaseException) -> None:
        """Deal with a message that can't be written, or not be read: nothing of it has begun."""
        self._flight.take_back()
        self._flight.land()
        self._runner.looks(self._drain)
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
        self._keep_going()
        arrivals: list[_Arrival] = []
        try:
            is_over = self._collect(arrivals)
        except BaseException:
            self._arrive(arrivals, False)
            raise
        self._arrive(arrivals, is_over)
        return is_over

    def _keep_going(self) -> None:
        """Wait for what comes next, but let other calls go elsewhere that would have to wait for long."""
        flight, channel = self._flight, self._process.channel
        pause, end = _OVERDUE, time.perf_counter() + _PATIENCE
        while flight.may_be_stuck and not channel.has_something(pause):
            pause *= 2
            if flight.is_at_work:
                flight.take_back()
            elif time.perf_counter() > end:
                flight.take_back(keep=1)  # it has nothing yet that would be done: with nothing left it would never
            else:
                continue
            self._runner.dispatcher.handle(partial(self._runner.recover, flight))

    def _collect(self, arrivals: list[_Arrival]) -> bool:
        """Add what has come to the arrivals, waiting for the first; true if the worker is done."""
        flight, channel = self._flight, self._process.channel
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
                self._supply(parcel.load())
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
            self._runner.looks(self._drain)
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

    def _crash(self) -> None:
        """Deal with the death of the worker."""
        flight = self._flight
        calls = flight.calls[: len(flight.calls) - flight.take_back()][flight.ended :]
        flight.land(len(calls))  # nobody may take these back, not even before they fail
        self._how = self._lane.bury()
        self._runner.dispatcher.handle(partial(self._settle_crash, calls))

    def _settle_crash(self, calls: list[Call]) -> None:
        for call in calls:
            if self._lane.was_killed:  # what this is part of, Ctrl-C say, may not have come to the calls yet
                call.give_up()
            else:
                call.fail(self._runner.explain(call, WorkerDied(self._how)), None)
        if not calls and not self._flight.ended and not self._lane.was_killed:
            self._blame(self._flight.back)
        self._runner.recover(self._flight)

    def _blame(self, calls: list[Call]) -> None:
        """Note which call a worker did not live to begin; one that is to blame for two deaths is given up."""
        if len(self._flight.calls) > 1:
            return  # nobody knows which one it was: those that come back go alone soon
        for call in calls:
            call.deaths += 1
            if call.deaths > 1:
                how = f"{self._how} while the call was sent to it, as did another one; the call was not run"
                call.fail(self._runner.explain(call, WorkerDied(how), in_flight=False), None)


def _content_of(parcel: Parcel) -> Any:
    try:
        return parcel.load()
    except BaseException as error:  # no room for the descriptors of the message, or for itself
        return 0.0, None, PackedException(error, str(error)), (), False
