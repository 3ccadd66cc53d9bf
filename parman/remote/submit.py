# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The driver's side of calls that run in other processes: what is packed, and how an answer is read."""

from __future__ import annotations

import itertools
import pickle
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs

from ..annotations.spec import Structure
from ..closures import Asset, new_asset
from ..engine.calls import Call
from ..engine.handles import ExecutorHandle
from ..engine.registry import Journal
from ..engine.runner import Where
from ..snapshots.cache import Ledger
from ..snapshots.code import dumps
from ..snapshots.failures import PackedException, traceback_text
from ..snapshots.stored import Frozen
from ..snapshots.take import pickled
from .batch import BlockState, Missing, Payload, Reply, read_reply, run_beside_buffers, run_bytes

__all__ = ["Courier", "Needs"]

Errand = tuple[Callable[[Any], Any], Any]
"""What an executor is to call, and with what."""


_SMALL = 100_000
"""Up to which size an asset goes along freely [bytes]."""
_FIRST, _MOST = 64, 1024
"""How many calls a small one accompanies in the beginning, unless there are fewer workers, and how many at most."""
_MOST_OF_BIG = 2
"""How many calls a big one accompanies after a worker lacked it."""


class _Spread:
    """How an asset, which is the same for many calls, gets to all workers, of which only the executor knows.

    A worker that lacks it says so, and the call is sent again. The executor may well give it to another worker, and the
    next call to the first one, which would never learn. So after each such answer twice as many calls as after the one
    before bring it along, up to a limit.
    """

    __slots__ = ("_ahead", "_misses", "_most")

    def __init__(self, asset: Asset, workers: float) -> None:
        is_small = asset.frozen.nbytes <= _SMALL
        self._most = _MOST if is_small else _MOST_OF_BIG
        self._ahead = int(min(workers, _FIRST)) if is_small else 1
        self._misses = 0

    def goes_along(self) -> bool:
        """Tell whether the next call is to bring it along."""
        if self._ahead == 0:
            return False
        self._ahead -= 1
        return True

    def was_missing(self) -> None:
        """Note that a worker lacked it."""
        self._misses += 1
        self._ahead = min(2**self._misses, self._most)


class Needs(NamedTuple):
    """What a worker has to know for a call: the state of the block, the task, and shares by their tokens."""

    state: Asset | None
    task: Asset
    shares: dict[str, Frozen]

    def by_token(self) -> dict[str, Frozen]:
        """Return all of it."""
        assets = [self.task] if self.state is None else [self.state, self.task]
        return {asset.token: asset.frozen for asset in assets} | self.shares

    def is_known(self, tokens: set[str]) -> bool:
        """Tell whether all of it is among these tokens."""
        return (
            self.task.token in tokens
            and (self.state is None or self.state.token in tokens)
            and (not self.shares or all(token in tokens for token in self.shares))
        )


@attrs.define
class _Luggage:
    """What is kept of a call while it is away."""

    payload: Payload
    assets: list[Asset]
    shares: dict[str, Frozen]


class Courier:
    """Sends calls to an executor of processes, and reads what comes back.

    Parameters
    ----------
    where
        Where the workers are, which says how much of the state of the block reaches them.
    takes_buffers
        Whether the executor sends big pieces of memory without a copy.
    workers
        How many workers it has; infinity if that is not known.
    """

    def __init__(self, where: Where, takes_buffers: bool, workers: float) -> None:
        self._where = where
        self._takes_buffers = takes_buffers
        self._workers = workers
        # What follows is read and changed on the dispatcher's thread alone.
        self._spreads: weakref.WeakKeyDictionary[Asset, _Spread] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count()
        self._states: weakref.WeakKeyDictionary[Journal, Asset] = weakref.WeakKeyDictionary()

    def begin(self, journal: Journal) -> None:
        """Note the state of the process at the beginning of a block."""
        state = BlockState.current(self._where)
        self._states[journal] = new_asset(state, pickled, Ledger(), "the state of the process")

    def needs_of(self, call: Call) -> Needs:
        """Return what a worker has to know for a call."""
        closure = call.closure
        task = closure.rules.asset_of(closure.task, closure.definition, closure.site)
        shares = {
            share.token: share.frozen
            for frozen in (closure.frozen, *call.known_values)
            if isinstance(frozen, Frozen)
            for share in frozen.shares
        }
        return Needs(self._states.get(call.journal), task, shares)

    def pack(self, call: Call) -> Errand:
        """Pack the call."""
        handle = call.handle
        assert isinstance(handle, ExecutorHandle)
        handle.parcel = parcel = self._pack(call)
        return self._errand(parcel.payload)

    def supply(self, call: Call, missing: Missing) -> Errand:
        """Pack the call again, with what the worker lacks."""
        handle = call.handle
        assert isinstance(handle, ExecutorHandle)
        luggage: _Luggage = handle.parcel
        for asset in luggage.assets:
            if asset.token in missing.tokens:
                self._spread_of(asset).was_missing()
        sources = luggage.shares | {asset.token: asset.frozen for asset in luggage.assets}
        assets = {token: sources[token] for token in missing.tokens}
        # With what others lacked before: the call may come to any of them again, and would go to and fro.
        luggage.payload = luggage.payload._replace(assets={**(luggage.payload.assets or {}), **assets})
        return self._errand(luggage.payload)

    def _errand(self, payload: Payload) -> Errand:
        if self._takes_buffers and payload.has_buffers:
            return run_beside_buffers, payload
        content = dumps(payload) if isinstance(payload.structure, Structure) else pickle.dumps(payload, protocol=5)
        return run_beside_buffers if self._takes_buffers else run_bytes, content

    def read(self, answer: Any) -> tuple[Any, Missing | None]:
        """Read the answer of a worker: the outcome of the call, or what the worker lacks."""
        if isinstance(answer, bytes):
            answer = pickle.loads(answer)
        if isinstance(answer, Missing):
            return None, answer
        return read_reply(answer) if isinstance(answer, Reply) else answer, None

    def _pack(self, call: Call) -> _Luggage:
        closure = call.closure
        values = call.take_values()
        task = closure.rules.asset_of(closure.task, closure.definition, closure.site)
        state = self._states.get(call.journal)
        frozen = [closure.frozen, *(value for value in values if isinstance(value, Frozen))]
        shares = {share.token: share.frozen for one in frozen for share in one.shares}
        assets = [task] if state is None else [state, task]
        brought = {asset.token: asset.frozen for asset in assets if self._spread_of(asset).goes_along()}
        payload = Payload(
            next(self._numbers),
            task.token,
            state.token if state is not None else None,
            tuple(shares),
            closure.frozen,
            [_pack_value(value) for value in values],
            closure.structure.digest if closure.structure is closure.definition.schema.fixed else closure.structure,
            str(closure.site),
            closure.late,
            closure.check,
            brought or None,
        )
        return _Luggage(payload, assets, shares)

    def _spread_of(self, asset: Asset) -> _Spread:
        spread = self._spreads.get(asset)
        if spread is None:
            spread = self._spreads[asset] = _Spread(asset, self._workers)
        return spread


def _pack_value(value: Any) -> Any:
    if isinstance(value, BaseException):
        return PackedException(value, traceback_text(value))
    return value
