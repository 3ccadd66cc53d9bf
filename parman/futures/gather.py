# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `resolve` and its kin look into: trees, and the collections that scripts keep results in besides.

A set, an array of objects and a view of a dict are leaves of a tree: as arguments of a task they can't hold futures.
Whoever waits for results has them in hands, however, and gets a collection of the same kind with the values: a set, a
frozenset, an array of the same class, shape and order. A view, which is one of the dict with the futures, becomes a
list. What can only be read once, and a future where none can be replaced, are errors, since it would come back as if
it were a value.
"""

from __future__ import annotations

import collections.abc
import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import lru_cache
from typing import Any, TypeAlias

from ..errors import ArgumentError, HiddenFutureError
from ..snapshots.hidden import beside_children, format_trail, is_searchable, search_roots
from ..trees.nodes import ATOMS, NodeKind, Placeholder, Step, is_array, is_iterator, kind_of
from ..trees.walk import futures_if_flat, map_leaves

__all__ = ["Gathered", "gather", "map_gathered"]

_BUDGET = 1000
"""Objects that are looked at in the search for futures that can't be replaced."""

_Link: TypeAlias = "tuple[_Link, Step | str] | None"
_PLAIN = frozenset({list, tuple})


class Gathered:
    """What was found in a tree.

    Attributes
    ----------
    futures
        The futures to wait for, from left to right.
    views
        Whether there are views, which become lists whatever they hold.
    """

    __slots__ = ("futures", "views")

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []
        self.views = False


def gather(tree: object, user: str) -> Gathered:
    """Find the futures in a tree and in the collections in it.

    Parameters
    ----------
    tree
        Anything.
    user
        The name of the function that wants to know, for messages.

    Raises
    ------
    ArgumentError
        There is an iterator in it.
    HiddenFutureError
        There is a future where it can't be replaced by its value.
    """
    gathered = Gathered()
    if type(tree) in ATOMS:
        return gathered
    if isinstance(tree, Future):
        gathered.futures = [tree]
        return gathered
    row = futures_if_flat(tree)
    if row is not None:
        gathered.futures = [future for _, future in row]
    else:
        _Search(gathered, user).run(tree)
    return gathered


class _Search:
    """One run of `gather`."""

    def __init__(self, gathered: Gathered, user: str) -> None:
        self.found = gathered
        self.user = user
        self.seen: dict[int, object] = {}
        self.others: list[tuple[_Link, object]] = []

    def run(self, tree: object) -> None:
        todo: list[tuple[_Link, object]] = [(None, tree)]
        while todo:
            link, node = todo.pop()
            cls = type(node)
            if cls in ATOMS:
                continue
            kind = kind_of(cls)
            if kind is not None:
                todo += self.look_into(link, node, kind)
            elif isinstance(node, Future):
                self.found.futures.append(node)
            elif issubclass(cls, Placeholder):
                self.found.futures += [future for _, future in node.__parman_futures__()]  # type: ignore[attr-defined]
            else:
                todo += self.look_at(link, node)
        self.check_others()

    def look_into(self, link: _Link, node: object, kind: NodeKind) -> list[tuple[_Link, object]]:
        """Return what is in a node of a tree, from right to left, unless it was seen before."""
        if self.is_known(node):
            return []
        if type(node) not in _PLAIN:
            self.others += [((link, step), value) for step, value in beside_children(node)]
        if ATOMS.issuperset(map(type, kind.values(node))):
            return []
        return [((link, step), child) for step, child in reversed(kind.children(node))]

    def look_at(self, link: _Link, leaf: object) -> list[tuple[_Link, object]]:
        """Return what is in a collection, from right to left; note any other leaf that may hold a future."""
        if _is_used_up(type(leaf)):
            name = type(leaf).__name__
            place = f" as {format_trail('<argument>', _steps(link))}" if link else ""
            raise ArgumentError(
                f"{self.user}() is given {'an' if name[0] in 'aeiou' else 'a'} {name}{place}, which is used up by the "
                "first to read it: pass list(...) of it"
            )
        collection = _collection(type(leaf))
        if collection is None:
            if is_searchable(type(leaf)):
                self.others.append((link, leaf))
            return []
        self.found.views |= collection is _View
        if self.is_known(leaf):
            return []
        return [((link, ".<item>"), item) for item in reversed(collection.items(leaf))]

    def is_known(self, node: object) -> bool:
        if id(node) in self.seen:
            return True
        self.seen[id(node)] = node
        return False

    def check_others(self) -> None:
        """Raise an error if there is a future in anything that is no collection."""
        others = [(link, leaf) for link, leaf in self.others if is_searchable(type(leaf))]
        place = search_roots([(_steps(link), leaf) for link, leaf in others], _BUDGET) if others else None
        if place is not None:
            raise HiddenFutureError(
                f"{self.user}() is given a future at {format_trail('<argument>', place)}, where it can't be replaced "
                "by its value: pass it as it is, or in a list, tuple, dict value, set, deque or array of objects"
            )


def _steps(link: _Link) -> tuple[Step | str, ...]:
    steps: list[Step | str] = []
    while link is not None:
        link, step = link
        steps.append(step)
    return tuple(reversed(steps))


_READ_AT_WILL = (itertools.count, itertools.repeat)


def _is_own_iterator(cls: type) -> bool:
    """Tell whether this is one of Python's own iterators; others may well be values that hold no futures."""
    return is_iterator(cls) and cls.__module__ in ("builtins", "itertools") and cls not in _READ_AT_WILL


# --- collections ---


class _Collection:
    """How collections of one kind are read and made anew."""

    @staticmethod
    def items(node: Any) -> list[Any]:
        """Return what is in a collection."""
        raise NotImplementedError

    @staticmethod
    def filled(node: Any, values: list[Any]) -> Any:
        """Return a collection like this one with other items."""
        raise NotImplementedError


class _Set(_Collection):
    @staticmethod
    def items(node: Any) -> list[Any]:
        base: Any = set if isinstance(node, set) else frozenset
        return list(base.__iter__(node))

    @staticmethod
    def filled(node: Any, values: list[Any]) -> Any:
        cls: Any = type(node)
        try:
            if isinstance(node, frozenset):
                new = frozenset.__new__(cls, values)
            else:
                new = set.__new__(cls)
                set.update(new, values)
        except TypeError as error:
            raise ArgumentError(f"the values can't be in a {cls.__name__}, where their futures are: {error}") from error
        return NodeKind(cls, set).keep_attributes(node, new)


class _View(_Collection):
    @staticmethod
    def items(node: Any) -> list[Any]:
        return list(node)

    @staticmethod
    def filled(node: Any, values: list[Any]) -> Any:
        return values


class _Array(_Collection):
    @staticmethod
    def items(node: Any) -> list[Any]:
        return [item for part in _object_parts(node) for item in part.flat]

    @staticmethod
    def filled(node: Any, values: list[Any]) -> Any:
        new = node.copy("K")
        rest = iter(values)
        for part in _object_parts(new):
            part = part if part.ndim else part.reshape(1)
            for index in itertools.product(*map(range, part.shape)):
                part[index] = next(rest)
        return new


def _object_parts(array: Any) -> Iterator[Any]:
    """Yield views of the fields of an array that are objects; of the array itself, if its items are."""
    numpy: Any = sys.modules["numpy"]
    plain = numpy.ndarray.view(array, numpy.ndarray)
    if not plain.dtype.hasobject:
        return
    if plain.dtype.names is None:
        yield plain
    for name in plain.dtype.names or ():
        yield from _object_parts(plain[name])


def _find_collection(cls: type) -> type[_Collection] | None:
    if issubclass(cls, set | frozenset):
        return _Set
    if issubclass(cls, collections.abc.MappingView):
        return _View
    return _Array if is_array(cls) else None


_is_used_up: Callable[[type], bool] = lru_cache(maxsize=4096)(_is_own_iterator)
_collection: Callable[[type], type[_Collection] | None] = lru_cache(maxsize=4096)(_find_collection)


def map_gathered(function: Callable[[Any], object], tree: Any) -> Any:
    """Do as `map_leaves`, in the collections that `gather` looks into as well; views become lists."""
    arrays: dict[int, object] = {}

    def replaced(leaf: Any) -> object:
        cls = type(leaf)
        collection = None if cls in ATOMS else _collection(cls)
        if collection is None or id(leaf) in arrays:
            return function(leaf)
        arrays[id(leaf)] = leaf  # one that holds itself goes on doing so
        items = collection.items(leaf)
        values = map_leaves(replaced, items)
        del arrays[id(leaf)]
        return leaf if values is items and collection is not _View else collection.filled(leaf, values)

    return map_leaves(replaced, tree)
