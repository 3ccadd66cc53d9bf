# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checkers: one for each form that a type can take; `checks` chooses among them.

A checker answers two questions: does *every* instance of exactly this class fit (`sure`), and what is wrong with this
value (`find`). The items of a container are first asked for their classes in one loop in C; only those of classes that
are not sure are looked at one by one.

Checks: whether a value fits an annotation.

An annotation is turned into a tree of checkers once. Every item of lists, tuples, sets, dicts and deques is checked,
to any depth. The classes of the items are collected in one loop in C, which takes about 20 ns an item, a third of
what it takes to pickle a list of floats and read it back (its snapshot). Lists of lists or tuples of numbers are
checked in C as well, at about the cost of pickling them; other items that have to be opened cost about a microsecond
each. Non-standard collections are asked for their class only, and iterators are not used up.

Whatever is not understood fits, and so does a value on which a checker stumbles: `typeguard`, which would understand
more forms, refuses correct values of some of them (`tuple[int, *tuple[str, ...]]`, `Self` out of its class).
Futures and stand-ins fit everywhere: what they promise is compared elsewhere (see `fits`).
"""

from __future__ import annotations

import collections.abc as abc
import inspect
import numbers
import sys
import typing
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Literal, NamedTuple, get_args, get_origin

from ..snapshots.share import opened
from ..trees.nodes import Index, Key, Path, StandIn, Step, format_path, short_repr
from ..trees.walk import ItemTypes
from .evaluate import (
    ALIAS,
    alternatives,
    container_arguments,
    field_annotations,
    is_anything,
    is_named_tuple,
    is_unpacked,
    plain,
)

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
    "checker_for",
    "find_mismatch",
    "fits_class",
    "is_same_anew",
    "protocol_members",
]

# ruff: noqa: D102 (what the methods of the base promise is said there)


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


def find_mismatch(value: object, annotation: Any) -> Mismatch | None:
    """Return the first thing in a value that does not fit the annotation, None if all does."""
    return checker_for(annotation).find(value)


def checker_for(annotation: Any) -> Checker:
    """Return the checker of an annotation; of one that can't be understood, a checker that accepts everything."""
    try:
        return _cached(annotation)
    except TypeError:
        return _checker(annotation)


def _checker(annotation: Any) -> Checker:
    try:
        return _make(annotation)
    except Exception:
        return Checker()


_cached: Callable[[Any], Checker] = lru_cache(maxsize=1024, typed=True)(_checker)


def _make(annotation: Any) -> Checker:
    if ALIAS is not None and ALIAS in (type(annotation), type(get_origin(annotation))):
        return LazyChecker(annotation, partial(checker_for, plain(annotation)))
    annotation = plain(annotation)
    members = alternatives(annotation)
    if len(members) > 1:
        checkers = [checker_for(member) for member in members]
        return (
            Checker() if any(type(checker) is Checker for checker in checkers) else UnionChecker(annotation, checkers)
        )
    if is_anything(annotation):
        return Checker()
    origin = get_origin(annotation) or annotation
    if origin is Literal:
        return PredicateChecker(annotation, partial(_is_one_of, get_args(annotation)))
    return _of_class(annotation, origin) if isinstance(origin, type) else Checker()


def _of_class(annotation: Any, cls: Any) -> Checker:
    if typing.is_typeddict(cls):
        return LazyChecker(annotation, partial(_typed_dict, annotation, cls))
    if cls is type:
        return _class_object(annotation)
    if cls is abc.Callable:
        return PredicateChecker(annotation, callable)
    if cls.__module__ == "typing" and cls.__name__ in ("IO", "TextIO", "BinaryIO"):
        return Checker()
    if getattr(cls, "_is_protocol", False):
        return PredicateChecker(annotation, partial(_has_members, protocol_members(cls)))
    if issubclass(cls, tuple):
        return _tuple(annotation, cls)
    return _array(annotation, cls) or _container(annotation, cls)


def _container(annotation: Any, cls: type) -> Checker:
    arguments = container_arguments(annotation)
    if issubclass(cls, Mapping) and len(arguments) == 2:
        return MappingChecker(annotation, cls, checker_for(arguments[0]), checker_for(arguments[1]))
    if issubclass(cls, abc.Iterable) and len(arguments) == 1:
        return ItemsChecker(annotation, cls, checker_for(arguments[0]))
    return ClassChecker(annotation, cls)


def _tuple(annotation: Any, cls: type) -> Checker:
    arguments = get_args(annotation)
    if is_named_tuple(cls) or cls is not tuple or (not arguments and "[" not in str(annotation)):
        return ClassChecker(annotation, cls)
    if any(is_unpacked(argument) for argument in arguments):
        return ClassChecker(annotation, cls)
    if arguments[1:] == (...,):
        return ItemsChecker(annotation, tuple, checker_for(arguments[0]))
    return TupleChecker(annotation, [checker_for(argument) for argument in arguments])


def _typed_dict(annotation: Any, cls: Any) -> Checker:
    fields = field_annotations(annotation) or {}
    optional = {name for name, field in fields.items() if get_origin(field) is typing.NotRequired}
    items = {name: checker_for(field) for name, field in fields.items()}
    return TypedDictChecker(annotation, frozenset(cls.__required_keys__) - optional, items)


def _is_one_of(options: tuple[Any, ...], value: Any) -> bool:
    return any(checker_for(type(option)).find(value) is None and bool(value == option) for option in options)


def _class_object(annotation: Any) -> Checker:
    """`type[X]`: a class, and one of X's."""
    wanted = [member for argument in get_args(annotation) for member in alternatives(argument)]
    bounds = tuple(get_origin(member) or member for member in wanted)
    if not bounds or not all(isinstance(bound, type) for bound in bounds) or object in bounds:
        return ClassChecker(annotation, type)
    return PredicateChecker(annotation, partial(_is_subclass, bounds))


def _is_subclass(bounds: tuple[type, ...], value: Any) -> bool:
    cls = get_origin(value) or value
    if not isinstance(cls, type):
        return False
    return issubclass(cls, bounds) or any(getattr(b, "_is_protocol", False) or is_same_anew(cls, b) for b in bounds)


def _array(annotation: Any, cls: type) -> Checker | None:
    """`numpy.typing.NDArray[X]`: an array whose scalars are of type X."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(cls, numpy.ndarray) or len(get_args(annotation)) != 2:
        return None
    scalars = [plain(scalar) for scalar in get_args(plain(get_args(annotation)[1]))]
    bounds = tuple(member for scalar in scalars for member in alternatives(scalar))
    if not bounds or not all(isinstance(bound, type) and issubclass(bound, numpy.generic) for bound in bounds):
        return ClassChecker(annotation, cls)
    return PredicateChecker(annotation, partial(_is_array, cls, bounds))


def _is_array(cls: type, scalars: tuple[type, ...], value: Any) -> bool:
    return isinstance(value, cls) and issubclass(value.dtype.type, scalars)  # type: ignore[attr-defined]


_T = typing.TypeVar("_T")


@typing.runtime_checkable
class _NoMembers(typing.Protocol[_T]):
    """A protocol that asks for nothing: what is in its namespace is put there by Python."""

    nothing: _T


_NO_MEMBERS = frozenset(vars(_NoMembers)) | {"__hash__", "__new__", "__slots__", "__class_getitem__", "__type_params__"}
if sys.version_info < (3, 12):
    _NO_MEMBERS |= {"__buffer__"}  # classes written in C offer a buffer without saying so (PEP 688)


def protocol_members(cls: type) -> frozenset[str]:
    """Return the names of the methods and attributes that a protocol asks for."""
    protocols = [base for base in cls.__mro__ if typing.Protocol in base.__bases__]
    names = {name for base in protocols for name in (*vars(base), *vars(base).get("__annotations__", {}))}
    return frozenset(names - _NO_MEMBERS)


def _has_members(names: frozenset[str], value: Any) -> bool:
    """Tell whether all members are there; a property is not run for that."""
    return all(inspect.getattr_static(value, name, value) is not value or hasattr(value, name) for name in names)
