# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which calls go to a worker in one message, and what the message says.

A message to another process, and the answer, cost a hundred times what a short call does. So short calls travel
together: those that are ready, and those that wait for nothing but calls of the same batch, whose results then need
not travel between them. How long the calls of a task take is measured: a batch holds what is expected to take some
milliseconds, and no more than this worker's share of what is ready, unless that is less than the message costs. What
is not known to be short travels alone: the first calls of a task, big arguments, big values of what a call depends on,
what the worker has to be told first.

Every batch is small on its way, so that a worker has soon read it: what is big in it goes beside it, as a memory file
(see `channel`), or it is a single call, which nobody takes back before it is read. A call that was sent and came back
goes with fewer others the next time, and then alone; one with more than a few bytes goes alone at once. So a call is
sent three times at most, and what takes more than a kilobyte twice.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable
from itertools import islice
from typing import Any

import attrs

from ..engine.calls import Call
from ..engine.handles import BatchHandle
from ..engine.ready_queue import ReadyQueue
from ..engine.registry import CallRegistry, CallState
from ..pool.channel import Kind, Message, pack
from ..snapshots.buffers import Buffer, spare
from ..snapshots.exceptions import PackedException, traceback_text
from ..snapshots.snapshot import FILED, AtomSnapshot, RowSnapshot, Snapshot
from ..tasks import TaskDefinition
from .batch import Batch, Item, Result, dump_batch, item_of
from .requirements import Requirements

__all__ = ["Batcher", "Outgoing", "message_of"]

_BUDGET = 5e-3
"""What the calls of a batch may be expected to take [s]; two go together if each takes less."""
_LEAST = 2e-4
"""What they are to take if so many are ready, even if other workers get none: about what the message costs [s]."""
_COST = 1e-5
"""What a call takes besides [s]."""
_MOST = 200
"""Calls in a batch."""
_LIGHT = FILED
"""What the arguments and values, or the results, of a call in company may take [bytes]."""
_TINY = 1 << 10
"""The same for a call that was sent before."""
_ROOM = 1 << 18
"""The same for all calls in company together."""
_FEWER = 8
"""By what the calls in a batch are divided for each time that one of them came back."""
_OFTEN = 2
"""After how many returns a call goes alone."""
_LEAF = 100
"""What the place of a result takes in a message [bytes]."""
_WIDE = 1000
"""Dependencies of a call that is looked for among those that wait: each time, all of them are looked at."""


@attrs.define
class Outgoing:
    """What a batch is made of.

    Attributes
    ----------
    calls
        The calls, each with the values of its dependencies.
    requirements
        For each call what its worker has to know.
    spares
        How many spare memory files are to go along, for results.
    """

    calls: list[tuple[Call, list[Any]]]
    requirements: list[Requirements]
    spares: int = 0

    def tokens(self) -> set[str]:
        """Return the tokens of all that the worker has to know."""
        return set(self.assets())

    def assets(self) -> dict[str, Snapshot]:
        """Return all that the worker has to know, by token."""
        distinct = {id(requirements): requirements for requirements in self.requirements}
        return {
            token: snapshot for requirements in distinct.values() for token, snapshot in requirements.by_token().items()
        }


class Batcher:
    """Chooses the calls of a batch; in the event loop.

    Parameters
    ----------
    queue
        The calls that are ready.
    requirements_of
        Says what a worker has to know for a call.
    """

    def __init__(self, queue: ReadyQueue, requirements_of: Callable[[Call], Requirements]) -> None:
        self._queue = queue
        self._requirements_of = requirements_of
        self._last_requirements: tuple[weakref.ref[CallRegistry], TaskDefinition, Requirements] | None = None
        # By the identities of tasks, which must not be kept alive, as long as they live.
        self._durations: dict[int, float] = {}
        # How many memory files the results of the last call of a task were in, if any.
        self._files: dict[int, int] = {}
        self._met: dict[int, weakref.ref[TaskDefinition]] = {}

    def note(self, call: Call, duration: float, values: list[Any] | None) -> None:
        """Learn from a call how long such calls take [s]. What was long once is expected to be so for some calls."""
        task, durations = id(call.closure.definition), self._durations
        if task not in self._met:
            self._meet(call.closure.definition)
        if values is not None and not all(map(_is_light, values)):
            duration = math.inf
            self._files[task] = sum(len(value.buffers) for value in values if isinstance(value, Snapshot))
        before = durations.get(task, duration)
        durations[task] = max(duration, min(before, 1.0) / 2)

    def _meet(self, definition: TaskDefinition) -> None:
        """See to it that what is known of a task is forgotten with it."""
        task, known = id(definition), (self._durations, self._files, self._met)

        def forget(_: object) -> None:
            for one in known:
                one.pop(task, None)

        self._met[task] = weakref.ref(definition, forget)

    def fill(self, batch: BatchHandle, first: Call, known: set[str]) -> Outgoing:
        """Board a call, and what can go with it.

        Parameters
        ----------
        batch
            What is boarded.
        first
            The call that goes in any case; it is claimed.
        known
            The tokens that the worker knows.
        """
        return _BatchBuilder(self, batch, known, self._queue).fill(first)

    def requirements_of(self, call: Call) -> Requirements:
        """Say what a worker has to know for a call; the same object for calls of one task without shares, mostly."""
        registry, closure, last = call.registry, call.closure, self._last_requirements
        definition = closure.definition
        is_known = last is not None and last[1] is definition and last[0]() is registry
        if is_known and (
            (type(closure.snapshot) is AtomSnapshot and not closure.dependencies) or not _has_shares(call)
        ):
            assert last is not None
            return last[2]
        requirements = self._requirements_of(call)
        if not requirements.shares:
            self._last_requirements = weakref.ref(registry), definition, requirements
        return requirements

    def forget_last(self) -> None:
        """Let go of the last call's task, whose block may be over; in any thread."""
        self._last_requirements = None

    def files_of(self, call: Call) -> int:
        """Return how many memory files the results of a call may need."""
        return self._files.get(id(call.closure.definition), 0)

    def expected(self, call: Call) -> float:
        """Return how long a call is expected to take [s]; infinity if it is to travel alone for that."""
        duration = self._durations.get(id(call.closure.definition), math.inf)
        return duration + _COST if duration < _BUDGET else math.inf


class _BatchBuilder:
    """The making of one batch."""

    def __init__(self, batcher: Batcher, batch: BatchHandle, known: set[str], queue: ReadyQueue) -> None:
        self._batcher = batcher
        self._batch = batch
        self._known = known
        self._queue = queue
        self._share = math.ceil((len(queue) + 1) / queue.slots) - 1  # besides the first call
        self._left = _BUDGET
        self._most = _MOST
        self._room: float = _ROOM
        self._outgoing = Outgoing([], [])
        # Calls that wait for calls of the batch: which of their dependencies are results of which call.
        self._waiting: dict[Call, dict[int, Result]] = {}
        self._dependents: list[tuple[Call, dict[int, Result]]] = []
        # What was found out to be known to the worker; mostly the same for call after call.
        self._known_requirements: Requirements | None = None

    def fill(self, first: Call) -> Outgoing:
        requirements = self._batcher.requirements_of(first)
        if not self._batch.add(first):
            return self._outgoing
        values = first.values_with({})
        assert values is not None  # it was ready
        weight = _weight_of_call(first, values)
        most = _most_with(first, weight)
        self._add(first, values, requirements, self._batcher.expected(first) if most > 1 else math.inf, weight)
        if self._left > 0 and requirements.is_known(self._known):
            self._most = most
            self._find_dependents(first)
            while len(self._batch.calls) < self._most and self._add_next(first):
                pass
        if len(self._batch.calls) == 1:
            self._outgoing.spares = self._batcher.files_of(first)
        return self._outgoing

    def _add(self, call: Call, values: list[Any], requirements: Requirements, duration: float, weight: float) -> None:
        self._outgoing.calls.append((call, values))
        self._outgoing.requirements.append(requirements)
        self._left -= duration
        self._room -= weight
        self._batch.expected += duration

    def _add_next(self, first: Call) -> bool:
        """Add a dependent, or else what is ready; false if there is nothing more that suits."""
        if self._dependents:
            call, results = self._dependents.pop()
            self._try(first, call, results)
            return True
        is_enough = self._share <= 0 and self._batch.expected >= _LEAST
        ready = None if is_enough else self._queue.first()
        if ready is None:
            return False
        self._queue.take()
        if ready.state is not CallState.PENDING:  # it was cancelled
            return True
        self._share -= 1
        if not self._try(first, ready, {}):
            self._queue.push_first(ready)  # for a batch of its own, where it is looked whether it is wanted
            return False
        return True

    def _try(self, first: Call, call: Call, results: dict[int, Result]) -> bool:
        """Board a call if it suits."""
        closure = call.closure
        if call.state is not CallState.PENDING or call.handle is not None or call.registry is not first.registry:
            return False
        duration = self._batcher.expected(call)
        if duration > (self._left if len(self._batch.calls) > 1 else _BUDGET):
            return False
        if closure.may_accept_exceptions or closure.definition.is_blocking:
            return False
        values: list[Any] = []
        if closure.dependencies:
            try:
                found = call.values_with(results)
            except BaseException:  # from user code that pickles a value: it will raise again for the call's own sake
                return False
            if found is None:
                return False
            values = found
        weight = _weight_of_call(call, values)
        if weight > self._room or not self._suits_in_number(call, weight):
            return False
        requirements = self._batcher.requirements_of(call)
        if requirements is not self._known_requirements:
            if not requirements.is_known(self._known):
                return False
            self._known_requirements = requirements
        if not self._batch.add(call, is_ready=not results):
            return False
        self._add(call, values, requirements, duration, weight)
        self._find_dependents(call)
        return True

    def _suits_in_number(self, call: Call, weight: float) -> bool:
        """Tell whether a call may go with those that are here; with few others, if it was sent before."""
        if weight < _TINY and not call.returns:
            return True
        most = _most_with(call, weight)
        if len(self._batch.calls) >= most:
            return False
        self._most = min(self._most, most)
        return True

    def _find_dependents(self, call: Call) -> None:
        """Look for calls that wait for nothing but what is in the batch by now; the first of them goes first."""
        found = []
        place = self._batch.place_of(call)
        for leaf_number, leaf in enumerate(call.leaves):
            dependents = leaf.dependents
            if not dependents:
                continue
            for dependent in islice(dependents, _MOST):
                if (
                    not isinstance(dependent, Call)
                    or dependent.waits_for > _MOST
                    or len(dependent.closure.dependencies) > _WIDE
                ):
                    continue
                results = self._waiting.setdefault(dependent, {})
                for i, dependency in enumerate(dependent.closure.dependencies):
                    if dependency is leaf:
                        results[i] = Result(place, leaf_number)
                if len(results) == dependent.waits_for:
                    found.append((dependent, results))
        if found:
            self._dependents += reversed(found)


def _has_shares(call: Call) -> bool:
    for snapshot in (call.closure.snapshot, *call.known_values):
        if isinstance(snapshot, Snapshot) and snapshot.shares:
            return True
    return False


def _most_with(call: Call, weight: float) -> int:
    """Return how many calls there may be in a batch with this one."""
    if weight >= _LIGHT or (call.returns and weight >= _TINY):
        return 1
    return _MOST // _FEWER**call.returns if call.returns < _OFTEN else 1


def _weight_of_call(call: Call, values: list[Any]) -> float:
    """Return how much of a message a call takes [bytes]; infinity if it has memory files, or if it is not known."""
    weight = _weight(call.closure.snapshot)
    if values:
        weight += sum(map(_weight, values))
    leaves = len(call.leaves)
    return weight + _LEAF * leaves if leaves > 1 else weight


def _is_light(value: Any) -> bool:
    return _weight(value) < _LIGHT


def _weight(value: Any) -> float:
    if isinstance(value, Snapshot):
        if isinstance(value, RowSnapshot):
            return value.nbytes if len(value.futures) < _MOST else math.inf
        if not isinstance(value, AtomSnapshot):
            return math.inf if value.beside else len(value.stream)
        value = value.value
        if type(value) is dict:
            return sum(map(sys.getsizeof, value.values()))
    return math.inf if isinstance(value, BaseException) else sys.getsizeof(value)


def message_of(outgoing: Outgoing, lacking: set[str], ended: tuple[str, ...] = ()) -> Message:
    """Write the message for a batch; it brings along what the worker lacks, and says which shares have ended."""
    sites: dict[str, int] = {}
    tasks: dict[str, int] = {}
    shares: dict[str, None] = {}
    assets: dict[str, Snapshot] = {}
    state: str | None = None
    items = []
    last_requirements = last_site = None
    task = site = 0
    for (call, values), requirements in zip(outgoing.calls, outgoing.requirements, strict=True):
        closure = call.closure
        if requirements is not last_requirements:
            last_requirements = requirements
            state = None if requirements.state is None else requirements.state.token
            shares.update(dict.fromkeys(requirements.shares))
            if lacking:
                assets.update(
                    (token, snapshot) for token, snapshot in requirements.by_token().items() if token in lacking
                )
            task = tasks.setdefault(requirements.task.token, len(tasks))
        if closure.site is not last_site:
            last_site = closure.site
            site = sites.setdefault(str(last_site), len(sites))
        items.append(item_of(closure, [_packed(value) for value in values] if values else values, task, site))
    spares = _take_spares(outgoing.spares) if outgoing.spares else None
    batch = Batch(state, tuple(tasks), tuple(shares), tuple(sites), items, assets or None, spares, ended=ended)
    if len(items) == 1 and (spares or _has_buffers(items[0], assets)):
        return pack(Kind.BATCH, batch)
    return Message(Kind.BATCH, dump_batch(batch), [])


def _take_spares(wanted: int) -> list[Buffer]:
    spares: list[Buffer] = []
    while len(spares) < wanted and (found := spare()) is not None:
        spares.append(found)
    return spares


def _packed(value: Any) -> Any:
    if isinstance(value, Snapshot):
        return value.for_message()
    if isinstance(value, BaseException):
        packed = PackedException(value, traceback_text(value))
        packed.put_beside()
        return packed
    return value


def _has_buffers(item: Item, assets: dict[str, Snapshot]) -> bool:
    candidates = [item.arguments, *item.values, *assets.values()]
    return any(isinstance(one, (Snapshot, PackedException)) and one.buffers for one in candidates)
