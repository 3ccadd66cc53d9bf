# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a worker in another process has to know before it runs a call: the block's state, the task, shares."""

from __future__ import annotations

import weakref
from typing import NamedTuple

from ..assets import Asset, new_asset
from ..engine.calls import Call
from ..engine.registry import CallRegistry
from ..engine.runner import Where
from ..snapshots.cache import SnapshotCache
from ..snapshots.snapshot import Snapshot
from ..snapshots.take import pickled
from .batch import BlockState

__all__ = ["BlockStates", "Requirements"]


class Requirements(NamedTuple):
    """What a worker has to know for a call: the state of the block, the task, and shares by their tokens."""

    state: Asset | None
    task: Asset
    shares: dict[str, Snapshot]

    def assets(self) -> list[Asset]:
        """Return what is the same for many calls, in the order in which it is loaded."""
        return [self.task] if self.state is None else [self.state, self.task]

    def by_token(self) -> dict[str, Snapshot]:
        """Return all of it."""
        return {asset.token: asset.snapshot for asset in self.assets()} | self.shares

    def is_known(self, tokens: set[str]) -> bool:
        """Tell whether all of it is among these tokens."""
        return (
            self.task.token in tokens
            and (self.state is None or self.state.token in tokens)
            and (not self.shares or all(token in tokens for token in self.shares))
        )


class BlockStates:
    """The states of this process in which the blocks of one runner began; in the event loop but for `begin`.

    Parameters
    ----------
    where
        Where the workers are, which says how much of a state reaches them.
    """

    def __init__(self, where: Where) -> None:
        self._where = where
        self._states: weakref.WeakKeyDictionary[CallRegistry, Asset] = weakref.WeakKeyDictionary()

    def begin(self, registry: CallRegistry) -> None:
        """Note the state of the process at the beginning of a block."""
        state = BlockState.current(self._where)
        self._states[registry] = new_asset(state, pickled, SnapshotCache(), "the state of the process")

    def requirements_of(self, call: Call) -> Requirements:
        """Return what a worker has to know for a call."""
        closure = call.closure
        task = closure.options.asset_of(closure.task, closure.definition, closure.site)
        shares = {
            share.token: share.snapshot
            for snapshot in (closure.snapshot, *call.known_values)
            if isinstance(snapshot, Snapshot)
            for share in snapshot.shares
        }
        return Requirements(self._states.get(call.registry), task, shares)
