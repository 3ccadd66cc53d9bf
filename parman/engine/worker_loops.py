# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Worker loops: each worker that is ours runs one ready call after another, and settles what it has run.

    loop, on a worker's thread                            in the event loop
    --------------------------                            -----------------
    run its first call    ◀────────────────────────────   claim a ready call, start a loop for it
    its outcome ──────────────────────────────────────▶   settle its futures, wake the calls that waited for it,
    take another one from the ready queue, claim it,      start loops if more is ready than they will take
    run it ...
    none: end ────────────────────────────────────────▶   forget it, or start it again

So no call has to be submitted to the executor, and its outcome wakes nobody: the thread that has it does what follows
from it, unless another one is at that, and goes on with what has become ready.

Invariants

* There are at most as many loops as workers. One is in `_loops`, which is changed in the event loop alone, from when
  it is submitted until it has said that it is over, or its future has.
* A loop is *looking*, which is to say in `_looking`, from when it has an outcome in hands until just before it takes a
  call. So whatever became ready while it was looking is there when it takes one.
* Wherever calls become ready, `_start_loops` follows in the event loop: there is a looking loop for each ready call, or
  there are as many loops as workers, or some loops have not begun yet. It follows also when one of those begins, so
  that short calls are run by a few threads, rather than that each of a thousand threads is woken for one of them.
* A loop that was given up, since its pool was stopped, is not in `_loops`, and takes nothing more. It may be looking
  once more, on its thread, that does not know yet; so `_start_loops` follows the end of that as well.
* What happens at an event takes as long with a thousand loops as with one.
"""

from __future__ import annotations

import time
import weakref
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import Any, Protocol

from ..futures.loop import EventLoop
from .calls import Call
from .execute import Outcome
from .handles import BatchHandle
from .ready_queue import ReadyQueue, check_future
from .registry import CallState

__all__ = ["SLICE", "WorkerLoop", "WorkerLoops"]

SLICE = 0.01
"""After how long a loop goes to the end of the executor's queue, for others may use that as well [s]."""

_PAUSES = (*[0.0] * 10, *[1e-4] * 20, *[1e-3] * 50)
"""How a loop waits for another thread to settle what it has in hands [s]."""
_LOOKERS = 2
"""How many loops do so by looking."""
_LONGEST = 0.05
"""How long the others sleep at most [s]."""
_STARTING = 16
"""How many loops may have been submitted that have not begun."""
_LOOKS = 8
"""At how many busy workers is looked for what an idle one could do."""


class WorkerLoop:
    """One worker that runs one ready call after another.

    Attributes
    ----------
    call
        What it runs.
    batch
        What it has sent to a worker process.
    ran, settled
        How many calls its thread has run, and how many of them have been settled.
    bell
        Wakes its thread when so many have been settled.
    replace
        Gives the worker up that it has, where that is the runner's to do; in any thread.
    """

    __slots__ = ("batch", "bell", "call", "ran", "replace", "settled")

    def __init__(self, call: Call) -> None:
        self.call: Call | None = call
        self.batch: BatchHandle | None = None
        self.bell: tuple[int, LockType] | None = None
        self.replace: Callable[[], object] | None = None
        self.ran = 0
        self.settled = 0


class _ResultsFirst:
    """Lets the thread that has the role come to a call, after which those that wait for it go before others.

    The order of results depends on this: a thread that went on at once would take a call that starts from nothing,
    while those that use its result are not known to be ready yet; and with many threads the one that has the role would
    fall behind further and further.

    The first few threads look again and again, since a lock would make them wake each other for each call once they
    have met. Very many that do so would cost more than what they run: the others sleep on a lock. It is a matter of
    order only, so that there is a limit of time.
    """

    def __init__(self) -> None:
        # Who looks takes one out and puts it back, each in a single step.
        self._lookers = [None] * _LOOKERS

    def give_way(self, loop: WorkerLoop) -> None:
        """Wait until what a loop has run is settled, not for long."""
        try:
            self._lookers.pop()
        except IndexError:
            self._sleep(loop)
            return
        try:
            for pause in _PAUSES:
                time.sleep(pause)
                if loop.settled == loop.ran:
                    break
        finally:
            self._lookers.append(None)

    def _sleep(self, loop: WorkerLoop) -> None:
        bell = allocate_lock()
        bell.acquire()
        # Who settles counts first and then looks for the bell, which is here before it is looked at the count.
        loop.bell = loop.ran, bell
        if loop.settled != loop.ran:
            bell.acquire(timeout=_LONGEST)
        loop.bell = None

    def settled(self, loop: WorkerLoop) -> None:
        """Note that a call of a loop is settled, and wake the loop if it sleeps until then; in the role."""
        loop.settled += 1
        bell = loop.bell
        if bell is not None and bell[0] == loop.settled:  # so that it is rung once
            bell[1].release()


class LoopRunner(Protocol):
    """A runner as its worker loops see it."""

    event_loop: EventLoop

    @property
    def is_open(self) -> bool:
        """Whether the executor would take another loop, as far as can be told."""

    def admit(self) -> None:
        """Let the calls that were made begin to wait for their dependencies; in the event loop."""

    def start_loop(self, loop: WorkerLoop) -> Future[Any]:
        """Have a worker run a loop."""

    def explain(self, call: Call, exception: BaseException, *, in_flight: bool = True) -> BaseException:
        """Say what an exception of the executor means for the call."""


class WorkerLoops:
    """The worker loops of one runner.

    Parameters
    ----------
    runner
        The runner.
    queue
        Its calls that are ready.
    """

    def __init__(self, runner: LoopRunner, queue: ReadyQueue) -> None:
        self.event_loop = runner.event_loop
        # Weakly, so that a runner that was forgotten is gone at once. Its calls and the loops that run hold it.
        self._runner: LoopRunner = weakref.proxy(runner)
        self._queue = queue
        self._loops: set[WorkerLoop] = set()
        self._starting: set[WorkerLoop] = set()
        # Changed by the threads of the loops, each time in a single step.
        self._looking: set[WorkerLoop] = set()
        self._results_first = _ResultsFirst()
        # Loops whose batches carry what an idle worker could do; who was looked at last stands last.
        self._stealable: dict[WorkerLoop, BatchHandle] = {}
        # Calls that were claimed, for a loop or a worker that did not begin them.
        self._claimed: deque[Call] = deque()
        self._is_start_due = False

    # --- in the role ---

    def admit(self) -> None:
        """Let the calls that were made begin to wait for their dependencies."""
        try:
            self._runner.admit()
        except ReferenceError:  # it is gone, so that there are no calls
            pass

    def explain(self, call: Call, exception: BaseException, *, in_flight: bool = True) -> BaseException:
        """Say what an exception of the executor means for the call."""
        return self._runner.explain(call, exception, in_flight=in_flight)

    def push(self, call: Call) -> None:
        """Take a call whose dependencies are done."""
        self._queue.push(call)
        self._start_loops_later()

    def _start_loops_later(self) -> None:
        if not self._is_start_due:
            self._is_start_due = True
            self.event_loop.call_soon(self._start_loops)

    def post_recovery(self, batch: BatchHandle) -> None:
        """Have those calls of a batch taken back that have not begun and never will; in any thread."""
        self.event_loop.post(partial(self.recover, batch))

    def recover(self, batch: BatchHandle) -> None:
        """Make those calls of a batch ready again that were taken back."""
        for call in reversed(batch.reclaimed):
            if call.handle is not batch:
                continue
            call.returns += batch.was_sent
            if not call.come_back():
                continue
            if call.state is CallState.RUNNING:
                self._claimed.appendleft(call)
            else:
                self._queue.push_first(call)
        self._start_loops_later()

    def next_call(self, loop: WorkerLoop) -> Call | None:
        """Give a loop its next call; none if it is over. For loops that ask in the role."""
        self._looking.discard(loop)
        self.carries(loop, None)
        if loop not in self._loops:
            self._start_loops_later()
            return None
        call, loop.call = loop.call or self._take() or self._steal(), None
        if call is None:
            self.end_loop(loop)
        return call

    def carries(self, loop: WorkerLoop, batch: BatchHandle | None) -> None:
        """Note what a loop has on its way."""
        loop.batch = batch
        if batch is not None and batch.is_stealable:
            self._stealable[loop] = batch
        else:
            self._stealable.pop(loop, None)

    def begins(self, loop: WorkerLoop) -> None:
        """Note that a loop has a thread; on that."""
        self.event_loop.run_or_enqueue(partial(self._note_begin, loop))

    def _note_begin(self, loop: WorkerLoop) -> None:
        self._starting.discard(loop)
        self._start_loops_later()

    def looks(self, loop: WorkerLoop) -> None:
        """Note that a loop is about to take a call; on its thread."""
        self._looking.add(loop)

    def looks_no_more(self, loop: WorkerLoop) -> None:
        """Note that a loop takes nothing more, however it ended; on its thread."""
        if loop in self._looking:
            self._looking.discard(loop)
            self.event_loop.run_or_enqueue(self._start_loops_later)

    def is_the_rest(self, loop: WorkerLoop, calls: list[Call]) -> bool:
        """Tell whether nothing runs or is ready but these calls of a loop, and nothing waits for them."""
        return (
            not self._queue
            and not self._claimed
            and len(self._loops) <= len(self._looking) + (loop not in self._looking)
            and not any(leaf.dependents for call in calls for leaf in call.leaves)
        )

    def _steal(self) -> Call | None:
        """Take what waits for a busy worker, for one that is not."""
        for loop in list(islice(self._stealable, _LOOKS)):
            batch = self._stealable.pop(loop)
            if batch.may_be_stolen_from():
                batch.reclaim()
                self.recover(batch)
                return self._take()
            if not batch.is_complete:
                self._stealable[loop] = batch
        return None

    def _start_loops(self) -> None:
        """Submit loops for the calls that are ready."""
        self._is_start_due = False
        while (
            len(self._queue) + len(self._claimed) > len(self._looking)
            and len(self._loops) < self._queue.slots
            and len(self._starting) < _STARTING
        ):
            call = self._take()
            if call is not None:
                self._start(WorkerLoop(call))

    def _start(self, loop: WorkerLoop) -> None:
        self._loops.add(loop)
        self._starting.add(loop)
        try:
            future = check_future(self._runner.start_loop(loop))
            future.add_done_callback(partial(self._post_end, loop))
        except BaseException as exception:  # the executor is broken or shut down
            self.end_loop(loop, exception)

    def _post_end(self, loop: WorkerLoop, future: Future[Any]) -> None:
        if loop in self._loops:  # it has not ended by itself
            self.event_loop.post(partial(self.end_loop, loop, future))

    def end_loop(self, loop: WorkerLoop, how: Future[Any] | BaseException | None = None) -> None:
        """Take notice of the end of a loop: if not by itself, what it ran, or would have run, ends as well."""
        self._starting.discard(loop)
        self._looking.discard(loop)
        self._start_loops_later()
        loop.replace = None  # which knows the pool
        if loop not in self._loops:
            return
        self._loops.discard(loop)
        self._stealable.pop(loop, None)
        if how is None:
            return
        calls = [loop.call] if loop.call is not None else []
        if loop.batch is not None:
            loop.batch.close(len(loop.batch.calls) - loop.batch.ended)
            calls += [call for call in loop.batch.calls if call.handle is loop.batch]
        for call in calls:
            self._give_up(call, how)

    def replace_workers_of(self, calls: set[Call]) -> None:
        """Have nobody wait for a worker because it is at one of these calls, which are about to be given up.

        Threads can't be stopped: such a loop is given up with its thread. A process is killed, if its loop can do that,
        and the loop goes on with another one; what has not begun of its batch goes elsewhere.
        """
        for loop in list(self._loops):
            batch = loop.batch
            if batch is None:
                if loop.call in calls and loop.replace is not None:
                    loop.replace()
                    self._loops.discard(loop)
                    self._starting.discard(loop)
            elif not calls.isdisjoint(batch.calls[batch.ended :]):
                if batch.at_work() in calls and loop.replace is not None:
                    loop.replace()
                self.recover(batch)
        self._start_loops_later()

    def _give_up(self, call: Call, how: Future[Any] | BaseException) -> None:
        if isinstance(how, BaseException):
            call.fail(self.explain(call, how, in_flight=False), None)
        elif how.cancelled():
            call.drop()
        else:
            error = how.exception() or TypeError("the executor answered without having run the call")
            call.fail(self.explain(call, error), None)

    def _conclude_in_loop(self, loop: WorkerLoop, call: Call, outcome: Outcome) -> None:
        try:
            call.conclude(outcome)
            self.admit()  # what was made meanwhile may have to go before what is ready
        finally:
            # Later, as what this makes ready comes later.
            self.event_loop.call_soon(partial(self._results_first.settled, loop))

    def _hand_back(self, call: Call) -> None:
        """Take a call back from a loop that took it when it had been given up."""
        if not call.is_over:
            self._claimed.append(call)
            self._start_loops_later()

    # --- on a thread of the executor ---

    def run_loop(self, loop: WorkerLoop) -> None:
        """Be a loop that runs calls in this thread."""
        end = time.perf_counter() + SLICE
        handle = self.event_loop.run_or_enqueue
        self.begins(loop)
        call = loop.call
        while call is not None and loop in self._loops:
            outcome = call.perform()
            self.looks(loop)
            loop.call = None
            loop.ran += 1
            handle(partial(self._conclude_in_loop, loop, call, outcome))
            del outcome
            if loop.settled != loop.ran:
                self._results_first.give_way(loop)
            self._looking.discard(loop)
            goes_on = loop in self._loops and self._runner.is_open and time.perf_counter() < end
            loop.call = call = self._take() if goes_on else None
        if call is not None:
            handle(partial(self._hand_back, call))
        handle(partial(self.end_loop, loop))

    def _take(self) -> Call | None:
        try:
            return self._claimed.popleft()
        except IndexError:
            pass
        while (call := self._queue.take()) is not None:
            if call.claim():
                return call
        return None
