# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Trees: nested lists, deques, tuples, dicts, named tuples, dataclass and attrs instances. Everything else is a leaf.

Nothing here recurses, so that the depth of a tree is limited by memory alone, and each container is visited once,
so that shared and self-referential ones are no trouble.

A changed tree is made in three steps: look at every leaf; mark the containers above changed ones; rebuild the marked
ones. What can be filled after it was made (lists, dicts, records, even frozen ones, since their `__init__` is not
called) is made empty first, then the tuples, whose items have to be there already, and then all is filled. A cycle
that runs through a tuple thus keeps its form, as long as anything in it can be filled late.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from itertools import chain
from typing import Any, cast

from .nodes import (
    ATOMS,
    Index,
    Kind,
    Path,
    StandIn,
    TupleKind,
    kind_of,
)

__all__ = ["ItemTypes", "all_futures", "futures_in", "futures_in_row", "map_futures", "map_leaves", "walk"]


class _Link:
    """A path, read from its end: a leaf's path is written out only when somebody wants it."""

    __slots__ = ("above", "key", "kind")

    def __init__(self, above: _Link | None, kind: Kind, key: object) -> None:
        self.above = above
        self.kind = kind
        self.key = key


def _path(link: _Link | None) -> Path:
    steps = []
    while link is not None:
        steps.append(link.kind.step(link.key))
        link = link.above
    return tuple(reversed(steps))


_PLAIN = frozenset({list, tuple})


class ItemTypes:
    """The classes of what is in large containers, found once for several readers of the same tree."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[int, set[type]] = {}

    def of(self, container: Any, values: Collection[object]) -> set[type]:
        """Return the classes of the values of a container, which must live as long as this object is used."""
        found = self.known.get(id(container))
        if found is None:
            found = set(map(type, values))
            if len(values) > 100:
                self.known[id(container)] = found
        return found


def _leaves(tree: object, types: ItemTypes | None) -> Iterator[tuple[_Link | None, object]]:
    """Yield the leaves from left to right; given `types`, without those that are in containers of nothing but atoms."""
    kind = kind_of(type(tree))
    if kind is None:
        yield None, tree
        return
    seen = {id(tree): tree}
    stack: list[tuple[_Link | None, Kind, Iterator[tuple[Any, object]]]] = []
    if types is None or not _only_atoms(tree, kind, types):
        stack.append((None, kind, iter(kind.items(tree))))
    while stack:
        above, outer, rest = stack[-1]
        for key, child in rest:
            kind = kind_of(type(child))
            if kind is None:
                yield _Link(above, outer, key), child
            elif id(child) not in seen and (types is None or not _only_atoms(child, kind, types)):
                seen[id(child)] = child
                stack.append((_Link(above, outer, key), kind, iter(kind.items(child))))
                break
        else:
            stack.pop()


def _only_atoms(node: object, kind: Kind, types: ItemTypes) -> bool:
    """Tell whether a container holds nothing but atoms, or lists and tuples of nothing but atoms."""
    values = kind.values(node)
    inside = types.of(node, values)
    if ATOMS.issuperset(inside):
        return True
    if len(values) < 100 or not _PLAIN.issuperset(inside):
        return False
    return ATOMS.issuperset(map(type, chain.from_iterable(cast("Collection[list[object]]", values))))


def walk(tree: object) -> Iterator[tuple[Path, object]]:
    """Yield each leaf and the path to it, from left to right.

    A container that occurs in several places, or in itself, is visited once, at the first of them.
    """
    for link, leaf in _leaves(tree, None):
        yield _path(link), leaf


def futures_in(tree: object, types: ItemTypes | None = None) -> list[tuple[Path, Future[Any]]]:
    """Return the futures among the leaves, and those that stand-ins among the leaves wait for, with their paths.

    Containers that hold nothing but numbers, strings and the like are passed over at the speed of C.

    Parameters
    ----------
    tree
        Anything.
    types
        What another reader of this tree found out already.
    """
    if type(tree) in ATOMS:
        return []
    row = futures_in_row(tree)
    if row is not None:
        return [((Index(position),), future) for position, future in row]
    found: list[tuple[Path, Future[Any]]] = []
    for link, leaf in _leaves(tree, types or ItemTypes()):
        if isinstance(leaf, Future):
            found.append((_path(link), leaf))
        elif isinstance(leaf, StandIn):
            above = _path(link)
            found.extend((above + path, future) for path, future in leaf.__parman_futures__())
    return found


def futures_in_row(tree: object) -> list[tuple[int, Future[Any]]] | None:
    """Return the futures in a list or tuple and their positions; None if it is no such thing, or holds containers.

    Most trees with very many futures are of this kind.
    """
    if type(tree) not in _PLAIN:
        return None
    items = cast("Collection[object]", tree)
    kinds = set(map(type, items))
    futures = {kind for kind in kinds if issubclass(kind, Future)}
    if not ATOMS.issuperset(kinds - futures):
        return None
    return [(i, item) for i, item in enumerate(items) if type(item) in futures]  # type: ignore[misc]


def all_futures(tree: object) -> list[Future[Any]]:
    """Return what `futures_in` does, without the paths."""
    row = futures_in_row(tree)
    return [future for _, future in (futures_in(tree) if row is None else row)]


class _Entry:
    """A container during a mapping: what is in it, and what becomes of it."""

    __slots__ = ("above", "below", "changed", "inside", "kind", "new", "node")

    def __init__(self, node: object, kind: Kind, inside: list[object]) -> None:
        self.node = node
        self.kind = kind
        self.inside = inside
        self.above: list[_Entry] = []
        self.below: list[tuple[int, _Entry]] = []
        self.changed = False
        self.new: Any = None

    def filling(self) -> list[object]:
        """Put the rebuilt containers in their places, and return all that is to be in this one."""
        for position, below in self.below:
            if below.changed:
                self.inside[position] = below.new
        return self.inside


class _Mapping:
    """One run of `map_leaves`: the entries by the identity of their node, in the order of the walk."""

    def __init__(self, function: Callable[[Any], object], passed_over: frozenset[type]) -> None:
        self.function = function
        self.passed_over = passed_over
        self.entries: dict[int, _Entry] = {}

    def run(self, tree: object) -> object:
        kind = kind_of(type(tree))
        if kind is None:
            return self.function(tree)
        top = self.enter(tree, kind)
        self.look(top)
        self.mark()
        self.rebuild()
        return top.new if top.changed else tree

    def enter(self, node: object, kind: Kind) -> _Entry:
        skip = bool(self.passed_over) and self.passed_over.issuperset(map(type, kind.values(node)))
        entry = self.entries[id(node)] = _Entry(node, kind, [] if skip else list(kind.values(node)))
        return entry

    def look(self, top: _Entry) -> None:
        """Replace the leaves inside of the entries, and note which container is in which."""
        stack = [(top, iter(range(len(top.inside))))]
        while stack:
            entry, rest = stack[-1]
            for position in rest:
                below = self.look_at(entry, position)
                if below is not None:
                    stack.append((below, iter(range(len(below.inside)))))
                    break
            else:
                stack.pop()

    def look_at(self, entry: _Entry, position: int) -> _Entry | None:
        """Replace a leaf, or return the entry of a container that was not seen before."""
        child = entry.inside[position]
        kind = kind_of(type(child))
        if kind is None:
            entry.inside[position] = new = self.function(child)
            entry.changed |= new is not child
            return None
        known = self.entries.get(id(child))
        below = known or self.enter(child, kind)
        below.above.append(entry)
        entry.below.append((position, below))
        return below if known is None else None

    def mark(self) -> None:
        """Mark all containers above the changed ones."""
        changed = [entry for entry in self.entries.values() if entry.changed]
        while changed:
            above = [entry for entry in changed.pop().above if not entry.changed]
            for entry in above:
                entry.changed = True
            changed.extend(above)

    def rebuild(self) -> None:
        """Make the changed containers anew: those that can be filled late, the tuples, then fill."""
        changed = [entry for entry in self.entries.values() if entry.changed]
        late = [entry for entry in changed if not isinstance(entry.kind, TupleKind)]
        for entry in late:
            entry.new = entry.kind.blank(entry.node)
        for entry in changed:
            if entry.new is None:
                self.rebuild_tuple(entry)
        for entry in late:
            entry.kind.fill(entry.new, entry.node, entry.filling())

    @staticmethod
    def rebuild_tuple(entry: _Entry) -> None:
        """Make a tuple after the tuples directly in it."""
        stack = [entry]
        begun: set[int] = set()
        while stack:
            entry = stack[-1]
            missing = [below for _, below in entry.below if below.changed and below.new is None]
            if missing and id(entry) in begun:
                raise TypeError(f"a {type(entry.node).__name__} that holds itself directly can't be rebuilt")
            begun.add(id(entry))
            stack.extend(missing)
            if not missing:
                stack.pop()
            if not missing and entry.new is None:
                entry.new = entry.kind.filled(entry.node, entry.filling())


def map_leaves(function: Callable[[Any], object], tree: Any) -> Any:
    """Return the tree with each leaf replaced by what the function makes of it.

    Containers in which no leaf changed (by identity) are not copied but used again, so that a function that changes
    nothing gives back the very tree. Containers that occur several times, or in themselves, do so in the result.
    Rebuilt containers keep their class and their attributes; no `__init__`, `__post_init__`, converter or validator
    is called.

    Parameters
    ----------
    function
        Called once for each place of a leaf, from left to right.
    tree
        Anything; a leaf gives what the function makes of it.

    Raises
    ------
    TypeError
        If a tuple is directly in itself, which only C code can bring about.
    """
    return _Mapping(function, frozenset()).run(tree)


def map_futures(function: Callable[[Future[Any]], object], tree: Any) -> Any:
    """Return the tree with each future replaced, as by `map_leaves`, but in no time where there are none."""
    return _Mapping(lambda leaf: function(leaf) if isinstance(leaf, Future) else leaf, ATOMS).run(tree)
