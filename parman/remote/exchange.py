# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Worker loops whose calls are run by a process of ours, batch by batch.

    loop, on the thread of a process worker               in the event loop
    ---------------------------------------               -----------------
    ask for a batch  ─────────────────────────────────▶   choose calls, add them to a batch
    send it          ◀─────────────────────────────────
    outcomes, as they come ───────────────────────────▶   settle futures, wake what waited for them
    one takes long: reclaim the others ───────────────▶   ready again
    the worker died: reclaim the rest ────────────────▶   the call that it ran fails, the others are ready again

The invariants of `engine.worker_loops` and `engine.handles` hold.
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
from ..engine.worker_loops import SLICE, WorkerLoop, WorkerLoops
from ..errors import ArgumentError, WorkerDied
from ..pool.channel import Kind, Parcel, pack
from ..snapshots.exceptions import PackedException
from ..snapshots.memory import File, keep_spares, rest
from ..snapshots.snapshot import Snapshot
from .batcher import Batcher, Outgoing, message_of

if TYPE_CHECKING:
    from ..pool.processes import ProcessWorker

__all__ = ["BatchExchange"]

_OVERDUE = 2e-3
"""After which time without an outcome other calls do not wait for the one that runs [s]."""
_NOT_BEGUN = 0.2
"""After which time other calls do not wait for one that the worker does not even begin [s]."""

_NOTHING = Outgoing([], [])


class _Arrival(NamedTuple):
    """How a call ended in a worker, as `run_batch` says; without a content it was skipped: one before it failed."""

    call: Call
    content: tuple[float, list[Any] | None, PackedException | None, tuple[Any, ...], bool] | None


class BatchExchange:
    """What the loops of one runner have in common.

    Parameters
    ----------
    batcher
        Chooses the calls.
    """

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._keeps_spares = False

    def release_spares(self) -> None:
        """Have no files, and nothing else, kept for the next calls, of which none may come."""
        self._keeps_spares = False
        self._batcher.forget_last()
        rest(self)

    def run_loop(self, runner: WorkerLoops, loop: WorkerLoop, worker: ProcessWorker) -> None:
        """Be a loop, on the thread of a worker."""
        runner.begins(loop)
        try:
            self._run_loop(runner, loop, worker)
        finally:
            runner.looks_no_more(loop)

    def _run_loop(self, runner: WorkerLoops, loop: WorkerLoop, worker: ProcessWorker) -> None:
        end = time.perf_counter() + SLICE
        while True:
            if time.perf_counter() > end and worker.is_wanted:
                runner.event_loop.run_or_enqueue(partial(runner.end_loop, loop))
                return
            trouble = worker.prepare()
            if worker.was_killed:
                runner.event_loop.run_or_enqueue(partial(self._leave, runner, loop))
                return
            boarded = self._ask(runner, loop, worker, trouble)
            if boarded is None:
                return
            exchange = _Exchange(self, runner, loop, worker, *boarded)
            del boarded  # with the arguments
            exchange.make()
            del exchange

    def _leave(self, runner: WorkerLoops, loop: WorkerLoop) -> None:
        """End a loop whose pool was stopped; what is ready goes elsewhere, if anywhere."""
        call, loop.call = loop.call, None
        runner.end_loop(loop)
        if call is not None:
            call.give_up()

    def _ask(
        self, runner: WorkerLoops, loop: WorkerLoop, worker: ProcessWorker, trouble: WorkerDied | None
    ) -> tuple[BatchHandle, Outgoing] | None:
        """Have calls boarded for a worker; none if the loop is over."""
        box: SimpleQueue[tuple[BatchHandle, Outgoing] | None] = SimpleQueue()

        def board() -> None:
            found = None
            try:
                while found is None and (call := runner.next_call(loop)) is not None:
                    if trouble is not None:
                        call.fail(runner.explain(call, trouble, in_flight=False), None)
                    else:
                        found = self._board(runner, loop, call, worker)
            finally:
                box.put(found)

        runner.event_loop.run_or_enqueue(board)
        return box.get()

    def _board(
        self, runner: WorkerLoops, loop: WorkerLoop, call: Call, worker: ProcessWorker
    ) -> tuple[BatchHandle, Outgoing] | None:
        process = worker.process
        loop.batch = batch = BatchHandle(process.claims, runner.post_recovery)
        try:
            outgoing = self._batcher.fill(batch, call, process.known)
        except BaseException as exception:  # a mistake of ours must leave no call behind
            call.fail(exception, None)
            batch.close()
            runner.recover(batch)
            return None
        if not batch.calls:
            return None  # it may have been given up since it was claimed
        runner.carries(loop, batch)
        if outgoing.spares and not self._keeps_spares:
            self._keeps_spares = True
            keep_spares(self)
        return batch, outgoing

    def before_settling(self, runner: WorkerLoops, loop: WorkerLoop, calls: list[Call]) -> None:
        """Let go of spare files if nothing is known to follow these calls, before anybody can know that they ended."""
        if self._keeps_spares and runner.is_the_rest(loop, calls):
            self.release_spares()


class _Exchange:
    """One batch, from being sent until the worker is done with it."""

    def __init__(
        self,
        batch_exchange: BatchExchange,
        runner: WorkerLoops,
        loop: WorkerLoop,
        worker: ProcessWorker,
        batch: BatchHandle,
        outgoing: Outgoing,
    ) -> None:
        self._exchange = batch_exchange
        self._batcher = batch_exchange._batcher
        self._runner = runner
        self._loop = loop
        self._worker = worker
        self._process = worker.process
        self._batch = batch
        self._outgoing = outgoing
        self._lent: list[File] = []

    def make(self) -> None:
        """See it through."""
        try:
            ended = self._process.take_ended()
            lacking = self._outgoing.tokens() - self._process.known
            message = message_of(self._outgoing, lacking, ended)
            self._process.note_sent(lacking)
        except BaseException as error:
            self._give_back(error)
            return
        try:
            if self._batch.send():
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

    def _give_back(self, error: BaseException) -> None:
        """Deal with a message that can't be written, or not be read: nothing of it has begun."""
        calls = self._batch.calls
        self._batch.reclaim()
        self._batch.close()

        def settle() -> None:
            """Fail the only call, or let all of them come one by one."""
            if len(calls) > 1:
                for call in calls:
                    self._batcher.note(call, math.inf, None)
                self._runner.recover(self._batch)
                return
            what = f"{type(error).__qualname__}: {error}"
            failure = ArgumentError(f"{calls[0]} can't be sent to a worker process: {what}")
            failure.__cause__ = error.with_traceback(None)
            calls[0].fail(failure, None)

        self._runner.looks(self._loop)
        self._runner.event_loop.run_or_enqueue(settle)

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
        batch, channel = self._batch, self._process.channel
        pause, end = _OVERDUE, time.perf_counter() + _NOT_BEGUN
        while batch.may_be_stuck and not channel.has_something(pause):
            pause *= 2
            if batch.is_at_work:
                batch.reclaim()
            elif time.perf_counter() > end:
                batch.reclaim(keep=1)  # it has nothing yet that would be done: with nothing left it would never
            else:
                continue
            self._runner.event_loop.run_or_enqueue(partial(self._runner.recover, batch))

    def _collect(self, arrivals: list[_Arrival]) -> bool:
        """Add what has come to the arrivals, waiting for the first; true if the worker is done."""
        batch, channel = self._batch, self._process.channel
        while True:
            for content in channel.take_ahead(Kind.OUTCOME):
                arrivals.append(_Arrival(batch.calls[batch.ended], content))
                batch.ended += 1
            if batch.is_complete:
                return True
            if arrivals and not channel.has_ahead:
                return False
            parcel = channel.receive()
            if parcel.kind == Kind.OUTCOME:
                arrivals.append(_Arrival(batch.calls[batch.ended], _content_of(parcel)))
                batch.ended += 1
            elif parcel.kind == Kind.MISSING:
                wanted, assets = parcel.load(), self._outgoing.assets()
                channel.send(pack(Kind.ASSETS, {token: assets[token] for token in wanted}))
                self._process.note_sent(wanted)
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
                snapshot = [value for value in content[1] or () if isinstance(value, Snapshot)]
                made = {id(buffer): buffer for value in snapshot for buffer in value.buffers}
                for file in lent:
                    file.take_back()
                for buffer in made.values():
                    buffer.take_back()

    def _arrive(self, arrivals: list[_Arrival], is_over: bool) -> None:
        if arrivals:
            self._get_back(arrivals)
        if is_over:
            self._batch.close()
            self._runner.looks(self._loop)
            # Arguments have to be gone when the next calls are chosen, which may be given their memory.
            self._outgoing = _NOTHING
        self._runner.event_loop.run_or_enqueue(partial(self._settle, arrivals, is_over))

    # --- in the event loop ---

    def _settle(self, arrivals: list[_Arrival], is_over: bool) -> None:
        if is_over:
            self._exchange.before_settling(self._runner, self._loop, [arrival.call for arrival in arrivals])
        for call, content in arrivals:
            try:
                if content is None:
                    call.come_back()
                    continue
                duration, values, packed, warnings, _ = content
                self._batcher.note(call, duration, values)
                if values is not None and not warnings:
                    call.succeed(values)
                else:
                    call.conclude(Outcome(values, None if packed is None else packed.load(), None, warnings))
            except BaseException as exception:  # a mistake of ours must leave no call behind
                call.fail(exception, None)
        if is_over:
            self._runner.recover(self._batch)
        self._runner.admit()

    # --- the death of the worker ---

    def _crash(self) -> None:
        """Bury the worker: the call that it ran, if any, fails, the others are ready again."""
        batch = self._batch
        calls = batch.calls[: len(batch.calls) - batch.reclaim()][batch.ended :]
        batch.close(len(calls))  # nobody may take these back, not even before they fail
        how = self._worker.bury()
        self._runner.event_loop.run_or_enqueue(partial(self._settle_crash, calls, how))

    def _settle_crash(self, calls: list[Call], how: str) -> None:
        batch, was_killed = self._batch, self._worker.was_killed
        for call in calls:
            if was_killed:  # what this is part of, Ctrl-C say, may not have come to the calls yet
                call.give_up()
            else:
                call.fail(self._runner.explain(call, WorkerDied(how)), None)
        # It did not live to begin any. Of several, nobody knows which one it was: those that come back go alone soon.
        if not calls and not batch.ended and not was_killed and len(batch.calls) == 1:
            for call in batch.reclaimed:
                call.deaths += 1
                if call.deaths > 1:
                    died = WorkerDied(f"{how} while the call was sent to it, as did another one; the call was not run")
                    call.fail(self._runner.explain(call, died, in_flight=False), None)
        self._runner.recover(batch)


def _content_of(parcel: Parcel) -> Any:
    try:
        return parcel.load()
    except BaseException as error:  # no room for the descriptors of the message, or for itself
        return 0.0, None, PackedException(error, str(error)), (), False
