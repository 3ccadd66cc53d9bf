# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checkers: one for each form that a type can take; `checks` chooses among them.

A checker answers two questions: does *every* instance of exactly this class fit (`sure`), and what is wrong with this
value (`find`). The items of a container are first asked for their classes in one loop in C; only those of classes that
are not sure are looked at one by one.
"""

# ruff: noqa: D102 (what the methods of the base promise is said there)

from __future__ import annotations

import collections.abc as abc
import numbers
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from .nodes import StandIn
from .paths import Index, Key, Path, Step, format_path, short_repr
from .shares import opened
from .trees import ItemTypes

__all__ = [
    "Checker",
    "ClassChecker",
    "ItemsChecker",
    "LazyChecker",
    "MappingChecker",
    "Mismatch",
    "PredicateChecker",
    "TupleChecker",
    "TypedDictChecker",
    "UnionChecker",
    "Visit",
    "fits_class",
    "is_same_anew",
]


class Mismatch(NamedTuple):
    """A value, or something in it, that does not fit its annotation."""

    path: Path
    value: object
    annotation: Any

    def inside(self, step: Step) -> Mismatch:
        """Return the same mismatch, seen from the container."""
        return self._replace(path=(step, *self.path))

    def text(self, name: str) -> str:
        """Return what is wrong where, such as `x[3] is 'a' (str)`."""
        kind = type(self.value).__qualname__.rpartition("<locals>.")[2]
        shown = "None" if self.value is None else f"{short_repr(self.value)} ({kind})"
        return f"{format_path(name, self.path)} is {shown}"


class Visit(ItemTypes):
    """One look at one value: what was found out already, and which values are being looked at."""

    __slots__ = ("busy",)

    def __init__(self) -> None:
        super().__init__()
        self.busy: set[tuple[int, int]] = set()


class Checker:
    """Accepts everything; the base of those that don't."""

    def __init__(self, annotation: Any = Any) -> None:
        self.annotation = annotation
        self.known: dict[type, bool] = {}

    def sure(self, cls: type) -> bool:
        """Tell whether every instance of exactly this class fits."""
        found = self.known.get(cls)
        if found is None:
            found = self.known[cls] = issubclass(cls, Future | StandIn) or self.fits_all(cls)
        return found

    def fits_all(self, cls: type) -> bool:
        """Tell whether every instance of exactly this class fits, for a class that was not met before."""
        return True

    def fits(self, value: Any) -> bool:
        """Tell whether a value of a class that is not sure fits, without what is in it."""
        return True

    def inside(self, value: Any, visit: Visit) -> Mismatch | None:
        """Return the first thing in a fitting value that does not fit."""
        return None

    def find(self, value: object, visit: Visit | None = None) -> Mismatch | None:
        """Return the first thing that does not fit, None if all does or if nobody can tell."""
        try:
            if self.sure(type(value)):
                return None
            return self.search(opened(value), visit or Visit())
        except Exception:
            return None

    def search(self, value: Any, visit: Visit) -> Mismatch | None:
        """Return the first thing that does not fit in a value of a class that is not sure."""
        return self.inside(value, visit) if self.fits(value) else Mismatch((), value, self.annotation)

    def unsure(self, container: object, values: Collection[object], visit: Visit) -> set[type]:
        """Return the classes among the values of a container whose instances have to be looked at one by one."""
        unsure = {cls for cls in visit.of(container, values) if not self.sure(cls)}
        return set() if unsure and self.all_fit(values, unsure) else unsure

    def all_fit(self, values: Collection[Any], classes: set[type]) -> bool:
        """Tell at one glance that all values of these classes fit; False where that needs a closer look."""
        return False


class ClassChecker(Checker):
    """Instances of a class, by inheritance, registration or a metaclass of its own."""

    def __init__(self, annotation: Any, cls: type) -> None:
        super().__init__(annotation)
        self.cls = cls

    def fits_all(self, cls: type) -> bool:
        return fits_class(cls, self.cls)

    def fits(self, value: Any) -> bool:
        return fits_class(type(value), self.cls) or isinstance(value, self.cls)


_TOWER: dict[type, tuple[str, ...]] = {
    bool: (),
    int: ("Integral",),
    float: ("Integral", "Real"),
    complex: ("Integral", "Real", "Complex"),
    bytes: (),
}


def fits_class(cls: type, wanted: type) -> bool:
    """Tell whether instances of one class are accepted where another is wanted.

    Beside subclasses these are: what PEP 484 says of `float`, `complex` and `bytes`; what is registered in `numbers`,
    as numpy's scalars are; `numpy.bool` for `bool`; for `Sequence` and `Mapping` whatever has their main methods, as
    arrays and series do; a class of the same name from the same module, which was defined once more.
    """
    if issubclass(cls, wanted):
        return True
    if wanted in _TOWER:
        names = _TOWER[wanted]
        if wanted is bytes:
            return issubclass(cls, bytearray | memoryview)
        return _is_numpy_bool(cls) or any(issubclass(cls, getattr(numbers, name)) for name in names)
    return is_duck(cls, wanted) or is_same_anew(cls, wanted)


def is_same_anew(cls: type, wanted: type) -> bool:
    """Tell whether a class is the other one (or derived from it) in another definition, under the same name.

    A notebook cell that is run again makes its classes once more, as does a module that is reloaded; the instances that
    are there already work as before, as without a block. Generic classes make one for their parameters wherever these
    are written.
    """
    place = _place(wanted)
    return any(_place(base) == place for base in cls.__mro__)


def _place(cls: type) -> tuple[str, str]:
    """Return where a class stands; `multiprocessing` imports the script under another name."""
    module = cls.__module__
    return "__main__" if module == "__mp_main__" else module, cls.__qualname__


def _is_numpy_bool(cls: type) -> bool:
    return cls.__module__ == "numpy" and cls.__name__ in ("bool", "bool_")


_DUCKS: dict[type, tuple[str, ...]] = {
    abc.Sequence: ("__len__", "__getitem__", "__iter__"),
    abc.Mapping: ("__len__", "__getitem__", "__iter__", "keys"),
}


def is_duck(cls: type, wanted: type) -> bool:
    """Tell whether a class that is no `Sequence` (`Mapping`) by inheritance has what makes one."""
    names = _DUCKS.get(wanted)
    if names is None or (wanted is abc.Sequence and issubclass(cls, abc.Mapping | abc.Set)):
        return False
    return all(getattr(cls, name, None) is not None for name in names)


class UnionChecker(Checker):
    """What fits one of several types."""

    def __init__(self, annotation: Any, members: list[Checker]) -> None:
        super().__init__(annotation)
        self.members = members

    def fits_all(self, cls: type) -> bool:
        return any(member.sure(cls) for member in self.members)

    def search(self, value: Any, visit: Visit) -> Mismatch | None:
        """Return None if a member accepts the value, else what the member that got furthest says."""
        deepest = Mismatch((), value, self.annotation)
        for member in self.members:
            found = member.find(value, visit)
            if found is None:
                return None
            if len(found.path) > len(deepest.path):
                deepest = found
        return deepest


class ItemsChecker(ClassChecker):
    """Containers whose items have all one type. Only what is stored is looked at: no iterator is used up."""

    STORED = (list, tuple, set, frozenset, deque, dict, str, bytes, bytearray, range)

    def __init__(self, annotation: Any, cls: type, item: Checker) -> None:
        super().__init__(annotation, cls)
        self.item = item

    def fits_all(self, cls: type) -> bool:
        if not super().fits_all(cls):
            return False
        if issubclass(cls, str | bytes | bytearray | range):
            return self.item.sure(str if issubclass(cls, str) else int)
        return type(self.item) is Checker or not issubclass(cls, self.STORED)

    def fits(self, value: Any) -> bool:
        return super().fits(value) and not (isinstance(value, str | bytes | bytearray | range) and len(value) > 0)

    def all_fit(self, values: Collection[Any], classes: set[type]) -> bool:
        if not (classes <= {list, tuple} and len(values) > 100 and all(issubclass(cls, self.cls) for cls in classes)):
            return False
        containers = (value for value in values if type(value) in classes)
        return all(map(self.item.sure, set(map(type, chain.from_iterable(containers)))))

    def inside(self, value: Any, visit: Visit) -> Mismatch | None:
        if not isinstance(value, self.STORED):
            return None
        unsure = self.item.unsure(value, value, visit)
        for position, item in enumerate(value) if unsure else ():
            if type(item) in unsure:
                found = self.item.find(item, visit)
                if found is not None:
                    return found.inside(Key(item) if isinstance(value, set | frozenset | dict) else Index(position))
        return None


class MappingChecker(ClassChecker):
    """Dicts, whose keys and values are looked at, and other mappings, which are not."""

    def __init__(self, annotation: Any, cls: type, key: Checker, value: Checker) -> None:
        super().__init__(annotation, cls)
        self.key = key
        self.value = value

    def fits_all(self, cls: type) -> bool:
        return super().fits_all(cls) and not issubclass(cls, dict)

    def inside(self, value: Any, visit: Visit) -> Mismatch | None:
        if not isinstance(value, dict):
            return None
        for key in value if self.key.unsure(value.keys(), value.keys(), Visit()) else ():
            found = self.key.find(key, visit)
            if found is not None:
                return found.inside(Key(key))
        unsure = self.value.unsure(value, value.values(), visit)
        for key, item in value.items() if unsure else ():
            found = self.value.find(item, visit) if type(item) in unsure else None
            if found is not None:
                return found.inside(Key(key))
        return None


class TupleChecker(Checker):
    """A tuple with a type for each place."""

    def __init__(self, annotation: Any, items: list[Checker]) -> None:
        super().__init__(annotation)
        self.items = items

    def fits_all(self, cls: type) -> bool:
        return False

    def all_fit(self, values: Collection[Any], classes: set[type]) -> bool:
        if classes != {tuple} or len(values) <= 100:
            return False
        rows = (value for value in values if type(value) is tuple)
        return all(map(self.fits_row, set(map(tuple, map(partial(map, type), rows)))))

    def fits_row(self, row: tuple[type, ...]) -> bool:
        """Tell whether all tuples of items of these classes fit."""
        return len(row) == len(self.items) and all(map(Checker.sure, self.items, row))

    def fits(self, value: Any) -> bool:
        return isinstance(value, tuple) and len(value) == len(self.items)

    def inside(self, value: Any, visit: Visit) -> Mismatch | None:
        for position, (checker, item) in enumerate(zip(self.items, value, strict=True)):
            found = checker.find(item, visit)
            if found is not None:
                return found.inside(Index(position))
        return None


class TypedDictChecker(Checker):
    """A dict with the required keys; other keys are no mistake, since a subtype may have them."""

    def __init__(self, annotation: Any, required: frozenset[str], items: dict[str, Checker]) -> None:
        super().__init__(annotation)
        self.required = required
        self.items = items

    def fits_all(self, cls: type) -> bool:
        return False

    def fits(self, value: Any) -> bool:
        return isinstance(value, Mapping) and self.required.issubset(value.keys())

    def inside(self, value: Any, visit: Visit) -> Mismatch | None:
        for key, checker in self.items.items():
            found = checker.find(value[key], visit) if key in value else None
            if found is not None:
                return found.inside(Key(key))
        return None


class PredicateChecker(Checker):
    """Values that a function accepts, whatever their class."""

    def __init__(self, annotation: Any, accepts: Callable[[Any], bool]) -> None:
        super().__init__(annotation)
        self.accepts = accepts

    def fits_all(self, cls: type) -> bool:
        return False

    def fits(self, value: Any) -> bool:
        return self.accepts(value)


class LazyChecker(Checker):
    """A type that may hold itself: its checker is made when first needed, and a value in itself is looked at once."""

    def __init__(self, annotation: Any, make: Callable[[], Checker]) -> None:
        super().__init__(annotation)
        self.make = make
        self.made: Checker | None = None

    def checker(self) -> Checker:
        """Return the checker of the type."""
        if self.made is None:
            self.made = self.make()
        return self.made

    def fits_all(self, cls: type) -> bool:
        return self.checker().sure(cls)

    def search(self, value: Any, visit: Visit) -> Mismatch | None:
        """Return what the checker of the type finds."""
        place = (id(self), id(value))
        if place in visit.busy:
            return None
        visit.busy.add(place)
        try:
            return self.checker().find(value, visit)
        finally:
            visit.busy.discard(place)
