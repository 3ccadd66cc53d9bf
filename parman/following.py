# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`as_resolved`: the items of a list or dict in the order in which they finish, while the script goes on changing it.

Active learning adds an item for each that comes. Python's own loop over a list follows what is appended, and its loop
over a dict that changes is an error; nothing is ever left out. So here as well: after each step the end of the list
or dict is looked at, which costs nothing; whenever nothing has finished for a while, and before the loop ends,
all of it. The time between two such looks grows with what they cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MutableSequence, Sized
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

from .errors import HiddenFutureError
from .gathering import gather
from .lateness import too_late
from .paths import short_repr
from .signals import take
from .waiting import WaitGraph

__all__ = ["Entries", "Following", "entries_of"]

_GONE: Any = object()
_PATIENCE = 0.1
"""How long nothing has to finish until everything is looked at again [s]."""
_SHARE = 50
"""How much longer than such a look the time is until the next one."""

_ATTEMPTS = 100
"""How often a dict to which other threads add is read until it holds still."""


class Entries:
    """A collection by its keys, as it is at any time."""

    def get(self, key: Any) -> Any:
        """Return what is there, `_GONE` if nothing is."""
        raise NotImplementedError

    def at_end(self, known: Mapping[Any, Any]) -> list[tuple[Hashable, Any]]:
        """Return what is at the end and not known, as far as that is seen at a glance."""
        raise NotImplementedError

    def all(self) -> list[tuple[Hashable, Any]]:
        """Return all that is there now."""
        raise NotImplementedError


class _InList(Entries):
    def __init__(self, items: MutableSequence[Any]) -> None:
        self.items = items

    def get(self, key: Any) -> Any:
        try:
            return self.items[key]
        except IndexError:
            raise self.error("became shorter") from None

    def error(self, what: str) -> RuntimeError:
        kind = type(self.items).__name__
        return RuntimeError(f"the {kind} {what} while as_resolved() went on: give it a dict, whose items have names")

    def at_end(self, known: Mapping[Any, Any]) -> list[tuple[Hashable, Any]]:
        count = len(self.items)
        if count < len(known):
            raise self.error("became shorter")
        return [(position, self.items[position]) for position in range(len(known), count)]

    def all(self) -> list[tuple[Hashable, Any]]:
        return list(enumerate(list(self.items)))


class _InMapping(Entries):
    def __init__(self, items: Mapping[Any, Any]) -> None:
        self.items = items

    def get(self, key: Any) -> Any:
        return dict.get(self.items, key, _GONE) if isinstance(self.items, dict) else self.items.get(key, _GONE)

    def at_end(self, known: Mapping[Any, Any]) -> list[tuple[Hashable, Any]]:
        if not isinstance(self.items, dict):
            return [(key, tree) for key, tree in self.all() if key not in known] if len(self.items) > len(known) else []
        added: list[tuple[Hashable, Any]] = []
        try:
            for key in dict.__reversed__(self.items):  # new keys are at the end
                if key in known:
                    break
                added.append((key, dict.__getitem__(self.items, key)))
        except (RuntimeError, KeyError):  # another thread is adding
            return [(key, tree) for key, tree in self.all() if key not in known]
        return added[::-1]

    def all(self) -> list[tuple[Hashable, Any]]:
        for _ in range(_ATTEMPTS):
            try:
                return list(self.items.items())
            except RuntimeError:  # another thread has added a key meanwhile
                continue
        return list(self.items.items())


class _Fixed(Entries):
    """A collection that can't be followed: a change of its size is an error, as in a loop over it."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = items
        self.first = list(items)
        self.size = len(items) if isinstance(items, Sized) else 0

    def get(self, key: Any) -> Any:
        return self.first[key]

    def at_end(self, known: Mapping[Any, Any]) -> list[tuple[Hashable, Any]]:
        if isinstance(self.items, Sized) and len(self.items) != self.size:
            kind = type(self.items).__name__
            raise RuntimeError(f"the {kind} changed while as_resolved() went on: give it a list or dict, to add to")
        return []

    def all(self) -> list[tuple[Hashable, Any]]:
        return list(enumerate(self.first))


def entries_of(trees: Any) -> Entries:
    """Return a list or dict, or anything that can be looped over, by its keys."""
    if isinstance(trees, Mapping):
        return _InMapping(trees)
    return _InList(trees) if isinstance(trees, MutableSequence) else _Fixed(trees)


class Following:
    """One loop over the items of a collection as they finish.

    Parameters
    ----------
    entries
        The collection.
    """

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.graph = WaitGraph()
        self.finished: SimpleQueue[tuple[Hashable, Any]] = SimpleQueue()
        # What was met, by key, and that of it which has not come yet.
        self.known: dict[Hashable, Any] = {}
        self.waiting: dict[Hashable, Any] = {}
        self.patience = _PATIENCE
        self.add(entries.all())

    def add(self, entries: Iterable[tuple[Hashable, Any]]) -> None:
        """Wait for these."""
        for key, tree in entries:
            if isinstance(key, Future):
                raise HiddenFutureError(
                    "as_resolved() is given a dict whose keys are futures, and waits for its values: give it a dict "
                    "with the futures as values"
                )
            self.known[key] = tree
            self.wait_for(key, tree)

    def wait_for(self, key: Hashable, tree: Any) -> None:
        """Put a key into the queue when its tree is done."""
        self.waiting[key] = tree
        futures = gather(tree, "as_resolved").futures
        if all(future.done() for future in futures):
            self.finished.put((key, tree))
            return
        self.graph.submit(futures).add_done_callback(lambda _: self.finished.put((key, tree)))

    def run(self, timeout: float | None, value_of: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the items with their values, until all that is there has come; at most for so long [s]."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.add(self.entries.at_end(self.known))
            if not self.waiting and not self.look_again():
                return
            key = self.next_finished(deadline, timeout)
            if key is not _GONE:
                tree = self.waiting.pop(key)
                yield key, value_of(tree)
                self.check(key, tree)

    def next_finished(self, deadline: float | None, timeout: float | None) -> Any:
        """Return a key whose tree is done and still there; `_GONE` if one has to look again."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            key, tree = take(self.finished, self.patience if left is None else min(left, self.patience))
        except Empty:
            if left is not None and left <= self.patience:
                raise self.too_late(timeout) from None
            self.look_again()
            return _GONE
        if self.waiting.get(key, _GONE) is not tree:
            return _GONE  # it was replaced or removed
        return key if self.is_there(key, tree) else _GONE

    def too_late(self, timeout: float | None) -> TimeoutError:
        """Make the error that says what was waited for."""
        futures = [future for tree in self.known.values() for future in gather(tree, "as_resolved").futures]
        return too_late(futures, timeout, (len(self.waiting), len(self.known)))

    def is_there(self, key: Hashable, tree: Any) -> bool:
        """Tell whether an item is as it was; else wait for what has taken its place, or for nothing."""
        there = self.entries.get(key)
        if there is tree:
            return True
        if there is _GONE:
            del self.waiting[key]
            del self.known[key]
        else:
            self.check_moved(there)
            self.known[key] = there
            self.wait_for(key, there)
        return False

    def check_moved(self, tree: Any) -> None:
        """Raise an error if an item of a list with futures has another position than before."""
        if isinstance(self.entries, _InList) and any(tree is known for known in self.known.values()) and _waits(tree):
            raise self.entries.error("was reordered")

    def check(self, key: Hashable, tree: Any) -> None:
        """Raise an error if what has come was replaced by what has to be waited for; forget it if it was removed."""
        there = self.entries.get(key)
        if there is _GONE:
            del self.known[key]
        elif there is not tree:
            if _waits(there):
                self.check_moved(there)
                raise RuntimeError(
                    f"the item {short_repr(key)} has come in as_resolved(), and was replaced by another one that has "
                    "to be waited for: add it with a key of its own, so that it comes as well"
                )
            self.known[key] = there  # so that what was there can go

    def look_again(self) -> bool:
        """Look at everything that is there; tell whether anything has to be waited for."""
        start = time.monotonic()
        there = dict(self.entries.all())
        for key, tree in list(self.waiting.items()):
            if there.get(key, _GONE) is not tree:
                self.is_there(key, tree)
        for key, tree in there.items():
            if key not in self.known:
                self.add([(key, tree)])
            elif key not in self.waiting and tree is not self.known[key]:
                self.check(key, self.known[key])
        self.patience = max(_PATIENCE, _SHARE * (time.monotonic() - start))
        return bool(self.waiting)


def _waits(tree: Any) -> bool:
    """Tell whether there are futures in a tree."""
    return bool(gather(tree, "as_resolved").futures)
