# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The driver's side of calls that run in other processes: what is packed, and how an answer is read."""

from __future__ import annotations

import itertools
import pickle
import weakref
from collections import deque
from typing import Any

import attrs

from ..assets import Asset
from ..engine.calls import Call
from ..engine.execute import Outcome
from ..engine.handles import ExecutorHandle
from ..snapshots.exceptions import PackedException, traceback_text
from ..snapshots.share import EndedShares
from .batch import Batch, MissingAssets, Reply, dump_batch, item_of, read_reply, run_bytes
from .requirements import BlockStates, Requirements

__all__ = ["RemoteSubmitter"]

_SMALL = 100_000
"""Up to which size an asset goes along freely [bytes]."""
_FIRST, _MOST = 64, 1024
"""How many calls a small one accompanies in the beginning, unless there are fewer workers, and how many at most."""
_MOST_OF_BIG = 2
"""How many calls a big one accompanies after a worker lacked it."""
_ENDED = 32
"""How many shares that have ended each call names: no one knows which worker has heard of which."""


class _Spread:
    """How an asset, which is the same for many calls, gets to all workers, of which only the executor knows.

    A worker that lacks it says so, and the call is sent again. The executor may well give it to another worker, and the
    next call to the first one, which would never learn. So after each such answer twice as many calls as after the one
    before bring it along, up to a limit.
    """

    __slots__ = ("_ahead", "_misses", "_most")

    def __init__(self, asset: Asset, workers: float) -> None:
        is_small = asset.snapshot.nbytes <= _SMALL
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


@attrs.define
class _Sent:
    """What is kept of a call while it is away."""

    batch: Batch
    requirements: Requirements


class RemoteSubmitter:
    """Sends calls to an executor of processes, and reads what comes back; in the event loop.

    Parameters
    ----------
    states
        Says what a worker has to know for a call.
    workers
        How many workers the executor has; infinity if that is not known.
    """

    function = staticmethod(run_bytes)
    """What the executor is to call with what is packed."""

    def __init__(self, states: BlockStates, workers: float) -> None:
        self._states = states
        self._workers = workers
        self._spreads: weakref.WeakKeyDictionary[Asset, _Spread] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count()
        self._shares = EndedShares()
        self._ended: deque[str] = deque(maxlen=_ENDED)

    def pack(self, call: Call) -> bytes:
        """Write the call down."""
        requirements = self._states.requirements_of(call)
        closure = call.closure
        brought = {
            asset.token: asset.snapshot for asset in requirements.assets() if self._spread_of(asset).goes_along()
        }
        item = item_of(closure, [_packed(value) for value in call.take_values()])
        batch = Batch(
            None if requirements.state is None else requirements.state.token,
            (requirements.task.token,),
            tuple(requirements.shares),
            (str(closure.site),),
            [item],
            brought or None,
            number=next(self._numbers),
            ended=self._ended_shares(),
        )
        handle = call.handle
        assert isinstance(handle, ExecutorHandle)
        handle.sent = _Sent(batch, requirements)
        return dump_batch(batch)

    def supply(self, call: Call, missing: MissingAssets) -> bytes:
        """Write the call down again, with what the worker lacks."""
        handle = call.handle
        assert isinstance(handle, ExecutorHandle)
        sent: _Sent = handle.sent
        for asset in sent.requirements.assets():
            if asset.token in missing.tokens:
                self._spread_of(asset).was_missing()
        sources = sent.requirements.by_token()
        # With what others lacked before: the call may come to any of them again, and would go to and fro.
        brought = {**(sent.batch.assets or {}), **{token: sources[token] for token in missing.tokens}}
        self._shares.watch(brought)
        sent.batch = sent.batch._replace(assets=brought, ended=self._ended_shares())
        return dump_batch(sent.batch)

    def read(self, answer: Any) -> Outcome | MissingAssets:
        """Read the answer of a worker: the outcome of the call, or what the worker lacks."""
        content = pickle.loads(answer)
        assert isinstance(content, (Reply, MissingAssets))
        return read_reply(content) if isinstance(content, Reply) else content

    def _ended_shares(self) -> tuple[str, ...]:
        """Return which shares a worker may drop: the last ones that nobody here holds any more."""
        self._ended.extend(self._shares.take())
        return tuple(self._ended)

    def _spread_of(self, asset: Asset) -> _Spread:
        spread = self._spreads.get(asset)
        if spread is None:
            spread = self._spreads[asset] = _Spread(asset, self._workers)
        return spread


def _packed(value: Any) -> Any:
    return PackedException(value, traceback_text(value)) if isinstance(value, BaseException) else value
