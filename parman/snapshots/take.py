# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Snapshots: a call's arguments as they were when the call was made.

A snapshot is a pickle stream, for tasks in the same process too. Writing and reading it both run in C, which makes
the two together faster than one `copy.deepcopy`, and a task on a thread sees exactly what it would see in another
process. Within a process the stream refers to functions, classes and modules instead of describing them, and what
can't be pickled is passed as it is, leaf by leaf. Numbers and strings alone need no stream at all.

The alternatives: `deepcopy` is slow, does not stop at big arrays, and would be a second set of rules beside those of
processes; copying only what is known to be mutable leaves surprises in everything else; taking them lazily, when a task
starts, would show it what was changed after the call.

Whether futures are hidden in an argument is known without a search: the pickler meets all that it copies. Only if it
met futures are the trees walked for those that are in their proper places.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from io import IOBase
from typing import Any, Protocol, TypeAlias
from weakref import getweakrefcount

from ..trees.nodes import ATOMS, children, is_leaf, is_plain_array, is_quantity
from ..trees.walk import futures_if_flat
from .attributes import attributes_of, has_attributes, lost_names
from .cache import BIG, HUGE, SnapshotCache
from .hidden import Place, Trail, inside
from .pickling import Record, Writer, write_in_process, write_pickled
from .snapshot import ArraySnapshot, AtomSnapshot, Row, RowSnapshot, Snapshot

__all__ = [
    "AsIs",
    "Forgets",
    "Known",
    "Serializer",
    "flat_snapshot",
    "in_process",
    "is_plain",
    "pickled",
    "take_owned",
    "take_snapshot",
    "what_is_lost",
]

AsIs: TypeAlias = Callable[[str, object], None]
"""Told of what is passed as it is: the place, such as `x[0].lock`, and the object."""
Forgets: TypeAlias = Callable[[type, list[str]], None]
"""Told of what is lost on the way to another process: the class, and the names of attributes of its instances."""

_ATOMS = ATOMS - {slice}
_TEXTS = (str, bytes)
_NUMBERS = _ATOMS.difference(_TEXTS)


@dataclass(frozen=True)
class Serializer:
    """How snapshots are made, depending on where they are read.

    Attributes
    ----------
    write
        Writes the stream.
    within
        Whether snapshots stay in this process.
    """

    write: Writer
    within: bool


in_process = Serializer(write_in_process, within=True)
"""For tasks in this process: functions, classes, modules and what can't be copied are passed by reference."""


pickled = Serializer(write_pickled, within=False)
"""For tasks in other processes: everything is pickled, by cloudpickle where pickle does not do."""


def take_snapshot(
    value: object,
    serializer: Serializer,
    *,
    cache: SnapshotCache | None = None,
    label: str = "",
    as_is: AsIs | None = None,
    forgets: Forgets | None = None,
    seeds: Callable[[str], None] | None = None,
) -> Snapshot:
    """Make a snapshot.

    Parameters
    ----------
    value
        Anything; mostly the arguments of a call by name.
    serializer
        Where the snapshot will be read.
    cache
        What the snapshots of a workflow have in common; without it, nothing is held in common.
    label
        What the value is, in messages; if it ends with "()", the value is a dict of the arguments of that function.
    as_is
        Told of each leaf that is passed as it is.
    forgets
        Told of what is lost.
    seeds
        Told of the place of each sequence of seeds that an earlier call was given.

    Raises
    ------
    HiddenFutureError
        A future is where it can't be found and replaced.
    ArgumentError
        An iterator, a random generator that an earlier call was given, or, for other processes, something that
        can't be pickled.
    """
    if _is_atomic(value, serializer):
        return AtomSnapshot(value.copy() if type(value) is dict else value)
    if type(value) is dict and _is_flat(value, serializer):
        return _with_futures(value.copy(), [(name, item) for name, item in value.items() if isinstance(item, Future)])
    if type(value) is dict and _is_flat(value, serializer, with_rows=True):
        return _with_rows(value)
    place = Place(value, label)
    cache = cache or SnapshotCache()
    try:
        snapshot, record = serializer.write(value, cache, ())
    except Exception as error:
        if cache.forgotten.give_up():
            return take_snapshot(value, serializer, cache=cache, label=label, as_is=as_is, forgets=forgets, seeds=seeds)
        place.check_iterators()
        if not serializer.within:
            raise _cannot_pickle(place, serializer, error) from error
        snapshot, record = _snapshot_the_rest(place, cache, as_is)
    if record.suspects and _compare(record.suspects, serializer, cache, forgets):
        return take_snapshot(value, serializer, cache=cache, label=label, as_is=as_is, forgets=forgets, seeds=seeds)
    _check(place, record)
    if record.seeds and seeds is not None:
        for path in place.seeds_again(cache):
            seeds(path)
    return snapshot


class Known(Protocol):
    """What is known of the parameters of a function."""

    def surely_fits(self, name: str, cls: type) -> bool:
        """Tell whether every instance of exactly this class fits a parameter."""

    def is_known_to_fit(self, name: str, declared: Any) -> bool:
        """Tell whether a future of this annotation fits a parameter."""


def flat_snapshot(arguments: dict[str, Any], known: Known | None) -> AtomSnapshot | None:
    """Make the snapshot of numbers, short strings and futures; None if there are others, or if one is not known to fit.

    Parameters
    ----------
    arguments
        By name; they belong to the snapshot if there is one.
    known
        What is known of the parameters; None if it does not matter whether the arguments fit.
    """
    found: list[tuple[str, Future[Any]]] = []
    for name, value in arguments.items():
        cls = type(value)
        if cls in _NUMBERS or (cls in _TEXTS and len(value) < BIG):
            if known is not None and not known.surely_fits(name, cls):
                return None
        elif issubclass(cls, Future):
            if known is not None and not known.is_known_to_fit(name, getattr(value, "declared", Any)):
                return None
            found.append((name, value))
        else:
            return None
    return _with_futures(arguments, found) if found else AtomSnapshot(arguments)


def take_owned(values: list[Any], i: int, serializer: Serializer, take: Callable[[Any], Snapshot]) -> Snapshot:
    """Make a snapshot of an item of a list that is to be dropped; of an array that is nowhere else, without a copy.

    Parameters
    ----------
    values, i
        The list and the number of the item.
    serializer
        Where the snapshot will be read.
    take
        Makes an ordinary snapshot.
    """
    if serializer.within and _count_references(values, i) <= _ALONE:
        value = values[i]
        if is_plain_array(value) and value.nbytes <= HUGE and not getweakrefcount(value):
            return ArraySnapshot(value, take, BIG)
    return take(values[i])


def _count_references(values: list[Any], i: int) -> int:
    """Count those who refer to an item besides this list."""
    value, values[i] = values[i], None
    count = sys.getrefcount(value)
    values[i] = value
    return count


_ALONE = _count_references([object()], 0)
"""What is counted if there is nobody."""


def is_plain(value: object) -> bool:
    """Tell whether a value is a number, a short string or the like: nobody can change it, so it is its own snapshot."""
    cls = type(value)
    return cls in _NUMBERS or (cls in _TEXTS and len(value) < BIG)  # type: ignore[arg-type]


def _is_atomic(value: object, serializer: Serializer) -> bool:
    if type(value) is dict:
        if not (_ATOMS.issuperset(map(type, value.values())) and _ATOMS.issuperset(map(type, value))):
            return False
        return serializer.within or not any(map(_is_big, value.values()))
    return type(value) in _ATOMS and (serializer.within or not _is_big(value))


def _is_flat(value: dict[Any, object], serializer: Serializer, with_rows: bool = False) -> bool:
    """Tell whether a dict holds nothing but atoms and futures, and, if allowed, lists and tuples of those."""
    seen = set()
    if not _ATOMS.issuperset(map(type, value)):
        return False
    for item in value.values():
        cls = type(item)
        if cls in _ATOMS:
            if not serializer.within and _is_big(item):
                return False
        elif with_rows and (cls is list or cls is tuple):
            if id(item) in seen or not _is_row(item, serializer):  # the same list twice is one list for the task
                return False
            seen.add(id(item))
        elif not issubclass(cls, Future):
            return False
    return True


def _is_row(items: Any, serializer: Serializer) -> bool:
    """Tell whether there are futures in a list or tuple, and nothing else but atoms."""
    if not futures_if_flat(items) or slice in map(type, items):  # a slice may hold anything
        return False
    return serializer.within or not any(map(_is_big, items))


class _Numbers:
    """Futures in the order in which they are met, each of them once."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []
        self._numbers: dict[int, int] = {}

    def of(self, future: Future[Any]) -> int:
        """Return the number of a future."""
        number = self._numbers.setdefault(id(future), len(self.futures))
        if number == len(self.futures):
            self.futures.append(future)
        return number


@lru_cache(maxsize=1000)
def _only_place(name: str) -> tuple[tuple[str, int]]:
    """Return the place of the only future; the same object for all calls, of which there may be very many."""
    return ((name, 0),)


def _with_futures(plain: dict[str, Any], found: list[tuple[str, Future[Any]]]) -> AtomSnapshot:
    """Make the snapshot of a dict that belongs to it, with these futures in it."""
    for name, _ in found:
        plain[name] = None
    if len(found) == 1:
        ((name, future),) = found
        return AtomSnapshot(plain, (future,), _only_place(name))
    numbers = _Numbers()
    places = tuple([(name, numbers.of(future)) for name, future in found])
    return AtomSnapshot(plain, tuple(numbers.futures), places)


def _with_rows(value: dict[str, Any]) -> RowSnapshot:
    numbers = _Numbers()
    places: list[tuple[str, int]] = []
    rows: list[Row] = []
    plain = dict.fromkeys(value)
    for name, item in value.items():
        row = futures_if_flat(item)
        if row is not None:
            template = list(item)
            for position, _ in row:
                template[position] = None
            numbered = tuple([(position, numbers.of(future)) for position, future in row])
            rows.append((name, type(item), tuple(template), numbered))
        elif isinstance(item, Future):
            places.append((name, numbers.of(item)))
        else:
            plain[name] = item
    return RowSnapshot(plain, tuple(numbers.futures), tuple(places), tuple(rows))


def _is_big(value: object) -> bool:
    return isinstance(value, str | bytes) and len(value) >= BIG


def _check(place: Place, record: Record) -> None:
    if record.futures or record.searchable:
        place.check_futures(record.futures, record.searchable, placeholders=record.placeholders, views=record.views)
    if record.iterators:
        place.check_iterators()
    if record.generators:
        place.check_generators(record.cache)


# --- what pickles forget ---


def what_is_lost(cls: type, names: list[str]) -> str:
    """Say what of the instances of a class is lost on the way to another process."""
    name = cls.__qualname__
    if names == ["__class__"]:
        pint = ", for pint by pint.set_application_registry() of the registry" if is_quantity(cls) else ""
        return (
            f"an instance of {name}, whose pickle is loaded as one of another class: make it come back as it is{pint}"
        )
    many = "attributes" if len(names) > 1 else "attribute"
    return (
        f"an instance of {name}, whose pickle forgets its {many} {', '.join(map(repr, names))}: that is lost on the "
        "way to another process; set it inside the task, or pass what is needed as an argument of its own"
    )


def _compare(suspects: list[object], serializer: Serializer, cache: SnapshotCache, forgets: Forgets | None) -> bool:
    """Compare objects with their copies; tell whether there is more to be carried for them."""
    more = False
    for obj in suspects:
        if cache.forgotten.is_known(obj):
            continue
        carried, lost = _forgotten(obj, serializer, cache)
        cache.forgotten.note(obj, carried)
        more |= bool(carried)
        if lost and forgets is not None:
            forgets(type(obj), sorted(lost))
    return more


def _forgotten(obj: object, serializer: Serializer, cache: SnapshotCache) -> tuple[dict[str, bool], set[str]]:
    """Return which attributes of an object are to be carried beside its pickle, and which are lost."""
    if not has_attributes(obj):
        return {}, set()
    try:
        snapshot, record = serializer.write(obj, cache, ())
        if record.futures or record.placeholders or record.iterators:
            return {}, set()
        copy = snapshot.load()
    except Exception:  # from code of the user's class: whoever pickles it next says so
        return {}, set()
    if type(copy) is not type(obj):
        return {}, set() if serializer.within else {"__class__"}
    carried: dict[str, bool] = {}
    own = attributes_of(obj)
    lost = lost_names(obj, copy, serializer.within)
    for name in lost & own.keys():
        by_reference = _failure(serializer.write, own[name]) is not None
        if serializer.within or not by_reference:
            carried[name] = by_reference
    return carried, set() if serializer.within else lost - carried.keys()


# --- what can't be pickled ---


def _failure(write: Writer, value: object) -> Exception | None:
    try:
        write(value, SnapshotCache(), ())
    except Exception as error:
        return error
    return None


def _failing(write: Writer, value: object) -> list[tuple[Trail, object, Exception]]:
    """Return the leaves that can't be written, or the nodes that can't although all that is in them can."""
    begun: set[int] = set()

    def look(trail: Trail, node: object) -> list[tuple[Trail, object, Exception]]:
        error = None if id(node) in begun else _failure(write, node)
        if error is None:
            return []
        begun.add(id(node))
        if is_leaf(node) or (trail and _is_too_deep(error)):
            return [(trail, node, error)]
        below = [found for step, child in children(node) for found in look((*trail, step), child)]
        return below or [(trail, node, error)]

    return look((), value)


def _is_too_deep(error: Exception) -> bool:
    return isinstance(error.__cause__ or error, RecursionError)


def _snapshot_the_rest(place: Place, cache: SnapshotCache, as_is: AsIs | None) -> tuple[Snapshot, Record]:
    """Make a snapshot in which the leaves that can't be copied are passed as they are."""
    failing = _failing(write_in_process, place.value)
    written = write_in_process(place.value, cache, {id(leaf) for _, leaf, _ in failing})
    if as_is is not None:
        for trail, leaf, _ in failing:
            as_is(place.format(trail), leaf)
    return written


_ATTEMPTS = 300
"""Objects that are pickled one by one to find the one that can't be."""


def _cannot_pickle(place: Place, serializer: Serializer, error: Exception) -> Exception:
    failing = _failing(serializer.write, place.value)
    trail, leaf, error = failing[0] if failing else ((), place.value, error)
    trail, error = _deepest(serializer.write, trail, leaf, error)
    return place.error(
        f"{place.format(trail)} can't be pickled, so it can't travel to another process: {error}; "
        "create or open it inside the task"
    )


def _deepest(write: Writer, trail: Trail, obj: object, error: Exception) -> tuple[Trail, Exception]:
    """Return the way to the innermost object that can't be pickled, and why it can't."""
    attempts = _ATTEMPTS
    seen = {id(obj): obj}
    todo = [] if _is_to_blame(obj, error) else inside(obj)
    while todo and attempts:
        step, child = todo.pop(0)
        if type(child) in ATOMS or id(child) in seen:
            continue
        seen[id(child)] = child
        attempts -= 1
        failure = _failure(write, child)
        if failure is not None:
            trail, error = (*trail, step), failure
            todo = [] if _is_to_blame(child, error) else inside(child)
    return trail, error


def _is_to_blame(obj: object, error: Exception) -> bool:
    """Tell whether it is an object itself, rather than something in it, that can't be pickled."""
    return _is_too_deep(error) or isinstance(obj, IOBase) or f"{type(obj).__name__}' " in str(error)
