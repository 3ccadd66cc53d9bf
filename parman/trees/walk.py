# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Walk over trees: find their leaves and futures, replace them.

Nothing here recurses, so that memory alone limits the depth of a tree. Each container is visited once, so that it may
occur several times, or in itself.

A changed tree is made in three steps: look at every leaf; mark the containers above the changed ones; rebuild what is
marked. Lists, dicts and records (frozen ones too, since their `__init__` is not called) can be filled late: they are
made empty first. Then the tuples are made, whose items have to be there already. Then the others are filled. A cycle
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
    NodeKind,
    Path,
    Placeholder,
    TupleKind,
    kind_of,
)

__all__ = ["ItemTypes", "all_futures", "futures_if_flat", "futures_in", "map_futures", "map_leaves", "walk"]

_PLAIN = frozenset({list, tuple})
_MANY = 100
"""From so many items on, a container is large: its items are looked at together."""


def walk(tree: object) -> Iterator[tuple[Path, object]]:
    """Yield each leaf and the path to it, from left to right.

    A container that occurs in several places, or in itself, is visited once, at the first of them.
    """
    for link, leaf in _leaves(tree, None):
        yield _path_of(link), leaf


def futures_in(tree: object, types: ItemTypes | None = None) -> list[tuple[Path, Future[Any]]]:
    """Return the futures among the leaves, and those that placeholders among the leaves wait for, with their paths.

    Containers that hold nothing but numbers, strings and the like are passed over at the speed of C.

    Parameters
    ----------
    tree
        Anything.
    types
        What another walk over this tree found out already.
    """
    if type(tree) in ATOMS:
        return []
    flat = futures_if_flat(tree)
    if flat is not None:
        return [((Index(position),), future) for position, future in flat]
    found: list[tuple[Path, Future[Any]]] = []
    for link, leaf in _leaves(tree, types or ItemTypes()):
        if isinstance(leaf, Future):
            found.append((_path_of(link), leaf))
        elif isinstance(leaf, Placeholder):
            above = _path_of(link)
            found.extend((above + path, future) for path, future in leaf.__parman_futures__())
    return found


def futures_if_flat(tree: object) -> list[tuple[int, Future[Any]]] | None:
    """Return the futures in a list or tuple of leaves, and their positions; None for any other tree.

    Most trees with very many futures are flat.
    """
    if type(tree) not in _PLAIN:
        return None
    items = cast("Collection[object]", tree)
    classes = set(map(type, items))
    futures = {cls for cls in classes if issubclass(cls, Future)}
    if not ATOMS.issuperset(classes - futures):
        return None
    return [(i, item) for i, item in enumerate(items) if type(item) in futures]  # type: ignore[misc]


def all_futures(tree: object) -> list[Future[Any]]:
    """Return what `futures_in` does, without the paths."""
    flat = futures_if_flat(tree)
    return [future for _, future in (futures_in(tree) if flat is None else flat)]


class ItemTypes:
    """The classes of the items of large containers, found once for several walks over the same tree."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[int, set[type]] = {}

    def of(self, container: Any, values: Collection[object]) -> set[type]:
        """Return the classes of the values of a container, which has to outlive this object."""
        found = self.known.get(id(container))
        if found is None:
            found = set(map(type, values))
            if len(values) > _MANY:
                self.known[id(container)] = found
        return found


def _leaves(tree: object, types: ItemTypes | None) -> Iterator[tuple[_Link | None, object]]:
    """Yield the leaves from left to right; given `types`, without those that are in containers of nothing but atoms."""
    kind = kind_of(type(tree))
    if kind is None:
        yield None, tree
        return
    seen = {id(tree): tree}
    stack: list[tuple[_Link | None, NodeKind, Iterator[tuple[Any, object]]]] = []
    if types is None or not _only_atoms(tree, kind, types):
        stack.append((None, kind, iter(kind.items(tree))))
    while stack:
        parent, outer, rest = stack[-1]
        for key, child in rest:
            kind = kind_of(type(child))
            if kind is None:
                yield _Link(parent, outer, key), child
            elif id(child) not in seen and (types is None or not _only_atoms(child, kind, types)):
                seen[id(child)] = child
                stack.append((_Link(parent, outer, key), kind, iter(kind.items(child))))
                break
        else:
            stack.pop()


def _only_atoms(node: object, kind: NodeKind, types: ItemTypes) -> bool:
    """Tell whether a container holds nothing but atoms, or lists and tuples of nothing but atoms."""
    values = kind.values(node)
    inside = types.of(node, values)
    if ATOMS.issuperset(inside):
        return True
    if len(values) < _MANY or not _PLAIN.issuperset(inside):
        return False
    return ATOMS.issuperset(map(type, chain.from_iterable(cast("Collection[list[object]]", values))))


class _Link:
    """A path, read from its end: it is written out only for the few leaves whose path somebody wants."""

    __slots__ = ("key", "kind", "parent")

    def __init__(self, parent: _Link | None, kind: NodeKind, key: object) -> None:
        self.parent = parent
        self.kind = kind
        self.key = key


def _path_of(link: _Link | None) -> Path:
    steps = []
    while link is not None:
        steps.append(link.kind.step(link.key))
        link = link.parent
    return tuple(reversed(steps))


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
    return _map(function, tree, frozenset())


def map_futures(function: Callable[[Future[Any]], object], tree: Any) -> Any:
    """Return the tree with each future replaced, as by `map_leaves`; containers of numbers and the like cost little."""
    return _map(lambda leaf: function(leaf) if isinstance(leaf, Future) else leaf, tree, ATOMS)


class _Entry:
    """A container during a mapping: what is in it, where it occurs, and what becomes of it."""

    __slots__ = ("changed", "children", "inside", "kind", "new", "node", "parents")

    def __init__(self, node: object, kind: NodeKind, inside: list[object]) -> None:
        self.node = node
        self.kind = kind
        self.inside = inside
        self.parents: list[_Entry] = []
        self.children: list[tuple[int, _Entry]] = []
        self.changed = False
        self.new: Any = None

    def new_values(self) -> list[object]:
        """Return what is to be in the new node, with the rebuilt containers in their places."""
        for position, child in self.children:
            if child.changed:
                self.inside[position] = child.new
        return self.inside


def _map(function: Callable[[Any], object], tree: Any, skipped: frozenset[type]) -> Any:
    """Do as `map_leaves`, but leave out containers of nothing but leaves of the skipped classes."""
    kind = kind_of(type(tree))
    if kind is None:
        return function(tree)
    entries = _map_leaves_of(tree, kind, function, skipped)
    changed = [entry for entry in entries if entry.changed]
    while changed:  # mark all containers around them
        parents = [entry for entry in changed.pop().parents if not entry.changed]
        for entry in parents:
            entry.changed = True
        changed += parents
    _rebuild([entry for entry in entries if entry.changed])
    return entries[0].new if entries[0].changed else tree


def _map_leaves_of(
    tree: object, kind: NodeKind, function: Callable[[Any], object], skipped: frozenset[type]
) -> list[_Entry]:
    """Return an entry for each container, in the order of the walk, with the mapped leaves in `inside`."""
    entries: dict[int, _Entry] = {}

    def enter(node: object, kind: NodeKind) -> _Entry:
        values = kind.values(node)
        skip = bool(skipped) and skipped.issuperset(map(type, values))
        entry = entries[id(node)] = _Entry(node, kind, [] if skip else list(values))
        return entry

    top = enter(tree, kind)
    stack = [(top, iter(range(len(top.inside))))]
    while stack:
        entry, positions = stack[-1]
        for position in positions:
            value = entry.inside[position]
            value_kind = kind_of(type(value))
            if value_kind is None:
                entry.inside[position] = new = function(value)
                entry.changed |= new is not value
                continue
            known = entries.get(id(value))
            child = known or enter(value, value_kind)
            child.parents.append(entry)
            entry.children.append((position, child))
            if known is None:
                stack.append((child, iter(range(len(child.inside)))))
                break
        else:
            stack.pop()
    return list(entries.values())


def _rebuild(changed: list[_Entry]) -> None:
    """Make the changed containers anew: empty ones that can be filled late, then the tuples; then fill the former."""
    late = [entry for entry in changed if not isinstance(entry.kind, TupleKind)]
    for entry in late:
        entry.new = entry.kind.empty_copy(entry.node)
    for entry in changed:
        if entry.new is None:
            _rebuild_tuple(entry)
    for entry in late:
        entry.kind.fill(entry.new, entry.node, entry.new_values())


def _rebuild_tuple(entry: _Entry) -> None:
    """Make a tuple after the tuples directly in it."""
    stack = [entry]
    begun: set[int] = set()
    while stack:
        entry = stack[-1]
        missing = [child for _, child in entry.children if child.changed and child.new is None]
        if missing and id(entry) in begun:
            raise TypeError(f"a {type(entry.node).__name__} that holds itself directly can't be rebuilt")
        begun.add(id(entry))
        stack.extend(missing)
        if not missing:
            stack.pop()
            if entry.new is None:
                entry.new = cast("TupleKind", entry.kind).rebuild(entry.node, entry.new_values())
