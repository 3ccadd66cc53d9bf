# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Shares: big values of which one snapshot serves all calls.

In one process every task is given the very same value, whose arrays can't be written. Between processes a share
travels as a token; the runner sends the snapshot itself once to each worker, where it is loaded once.

A worker finds a share by its token for as long as somebody there holds it: what the worker remembers, and each call
that needs it, from before its arguments are loaded. So whatever is forgotten meanwhile is there for the calls that are
on their way. What nobody holds any more in the driver no call will need: `EndedShares` says which that is.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ArgumentError
from ..trees.nodes import ATOMS
from ..trees.walk import walk
from .hidden import BUDGET, inside

if TYPE_CHECKING:
    from .snapshot import Snapshot

__all__ = ["EndedShares", "InstalledShare", "Share", "any_shared", "install_share", "shared_value", "unshared"]


class Share:
    """A value that is passed to tasks without a copy.

    Parameters
    ----------
    snapshot
        The snapshot of the value, in the form in which it travels.

    Attributes
    ----------
    token
        Names the share in all processes.
    snapshot
        The snapshot.
    value
        The one copy that all tasks of this process are given; its arrays can't be written.
    """

    __parman_share__ = True
    __slots__ = ("__weakref__", "snapshot", "token", "value")

    def __init__(self, snapshot: Snapshot) -> None:
        if snapshot.futures:
            raise ArgumentError("share() is given futures: it can share values only; resolve() them first")
        self.token = uuid.uuid4().hex
        self.snapshot = snapshot
        self.value = _read_only(snapshot)
        _here[self.token] = self

    def __repr__(self) -> str:
        return f"<share of a {type(self.value).__name__}, {self.snapshot.nbytes} bytes>"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # protocols that Python and libraries look for
        raise AttributeError(
            f"what share() returned has no attribute {name!r}: it is a handle; pass it to a task, which gets "
            "the value, or resolve() it"
        )

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return shared_value, (self.token,)


class InstalledShare:
    """A share in a worker, loaded when it is first needed; found by its token for as long as somebody holds it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot: Snapshot | None = snapshot
        self._lock = threading.Lock()
        self._value: Any = None

    @property
    def value(self) -> Any:
        """The one copy that all tasks of this process are given."""
        with self._lock:
            if self._snapshot is not None:
                self._value = _read_only(self._snapshot)
                self._snapshot = None
        return self._value


_here: weakref.WeakValueDictionary[str, Share] = weakref.WeakValueDictionary()
_installed: weakref.WeakValueDictionary[str, InstalledShare] = weakref.WeakValueDictionary()


def _renew_in_child() -> None:
    """Forget who held the locks in the process that was forked."""
    for one in _installed.values():
        one._lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_in_child)


_CODE = (type, ModuleType, FunctionType)


def _read_only(snapshot: Snapshot) -> Any:
    value = snapshot.load(readonly=True)
    array: Any = getattr(sys.modules.get("numpy"), "ndarray", None)
    if array is not None:
        for obj in _all_in(value, snapshot.references):
            if isinstance(obj, array):
                obj.flags.writeable = False
    return value


def _all_in(value: object, by_reference: Sequence[object]) -> Iterator[Any]:
    """Yield the leaves of a tree and, up to a limit, the objects in them, but nothing that is passed by reference."""
    seen = {id(obj) for obj in by_reference}
    found = [leaf for _, leaf in walk(value) if type(leaf) not in ATOMS]
    budget = len(found) + BUDGET
    alive = []  # lest an object that was only made to be looked at leaves its identity to the next
    while found and budget:
        obj = found.pop()
        if id(obj) in seen or isinstance(obj, _CODE):
            continue
        seen.add(id(obj))
        alive.append(obj)
        budget -= 1
        yield obj
        found += [child for _, child in inside(obj) if type(child) not in ATOMS]


def unshared(value: Any) -> Any:
    """Return the value of a handle made by `share`, anything else as it is."""
    return value.value if type(value) is Share else value


def any_shared() -> bool:
    """Tell whether there are handles in this process, so that it is worth looking for them."""
    return bool(_here)


def install_share(token: str, snapshot: Snapshot) -> InstalledShare:
    """Make a share known in this worker, for as long as what is returned is held."""
    return _installed.setdefault(token, InstalledShare(snapshot))


def shared_value(token: str) -> Any:
    """Return the value of a share that was made in this process, or installed in it."""
    share: Share | InstalledShare | None = _here.get(token)
    if share is None:
        share = _installed.get(token)
    if share is None:
        raise LookupError(f"the share {token} did not reach this process")
    return share.value


class EndedShares:
    """Notes which shares were sent somewhere, and tells which of them nobody in this process holds any more."""

    def __init__(self) -> None:
        self._watched: dict[str, weakref.ref[Share]] = {}
        # Added to wherever the collector runs, so that no lock may be taken.
        self._ended: deque[str] = deque()

    def watch(self, tokens: Iterable[str]) -> None:
        """Note what was sent; a token that is none of a living share is passed over."""
        for token in tokens:
            share = _here.get(token)
            if share is not None and token not in self._watched:
                self._watched[token] = weakref.ref(share, partial(_append, self._ended, token))

    def take(self) -> list[str]:
        """Return the tokens of those that have ended since this was asked before."""
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
            del self._watched[ended[-1]]
        return ended


def _append(ended: deque[str], token: str, _: object) -> None:
    ended.append(token)
