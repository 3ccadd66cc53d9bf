# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks: whether a value fits an annotation.

`checker_for` turns an annotation into a tree of checkers, once. A checker answers two questions: does *every* instance
of exactly this class fit (`accepts_class`, which remembers its answers), and what is wrong with this value
(`find_mismatch`).

Every item of lists, tuples, sets, dicts and deques is checked, to any depth. One loop in C collects the classes of the
items, which takes about 20 ns an item, a third of what it takes to pickle a list of floats and read it back (its
snapshot). Only the items of classes that are not accepted as such are looked at one by one, at about a microsecond
each; lists of lists or tuples of numbers are checked in C as well. Other collections are asked for their class only,
and no iterator is used up.

What is not understood fits, and so does a value on which a checker stumbles. `typeguard`, which would understand more
forms, refuses correct values of some of them (`tuple[int, *tuple[str, ...]]`, `Self` out of its class). Futures and
placeholders fit everywhere: `compat` compares what they promise.
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

from ..snapshots.share import unshared
from ..trees.nodes import Index, Key, Path, Placeholder, Step, class_name, format_path, is_array, short_repr
from ..trees.walk import ItemTypes
from .evaluate import (
    ALIAS,
    container_arguments,
    field_annotations,
    is_any,
    is_protocol,
    tuple_items,
    union_members,
    unwrap,
)

__all__ = [
    "Checker",
    "ClassChecker",
    "ItemsChecker",
    "LazyChecker",
    "MappingChecker",
    "Memo",
    "Mismatch",
    "PredicateChecker",
    "TupleChecker",
    "TypedDictChecker",
    "UnionChecker",
    "checker_for",
    "fits_class",
    "is_redefinition",
    "protocol_members",
]

_MANY = 100
"""From so many items on, these are looked at together before they are looked at one by one."""

# ruff: noqa: D102 (the base class documents the methods)


class Mismatch(NamedTuple):
    """A value, or something in it, that does not fit its annotation."""

    path: Path
    value: object
    annotation: Any

    def prefixed(self, step: Step) -> Mismatch:
        """Return the same mismatch, with the path from the container around it."""
        return self._replace(path=(step, *self.path))

    def text(self, name: str) -> str:
        """Return what is wrong where, such as `x[3] is 'a' (str)`."""
        shown = "None" if self.value is None else f"{short_repr(self.value)} ({class_name(type(self.value))})"
        return f"{format_path(name, self.path)} is {shown}"


class Memo(ItemTypes):
    """What is remembered while one value is checked: the classes of items, and what is being looked at."""

    __slots__ = ("busy",)

    def __init__(self) -> None:
        super().__init__()
        self.busy: set[tuple[int, int]] = set()


class Checker:
    """Accepts everything; the base of those that don't."""

    def __init__(self, annotation: Any = Any) -> None:
        self.annotation = annotation
        self.known: dict[type, bool] = {}

    def accepts_class(self, cls: type) -> bool:
        """Tell whether every instance of exactly this class fits."""
        found = self.known.get(cls)
        if found is None:
            found = self.known[cls] = issubclass(cls, Future | Placeholder) or self.check_class(cls)
        return found

    def check_class(self, cls: type) -> bool:
        """Find out what `accepts_class` remembers."""
        return True

    def accepts(self, value: Any) -> bool:
        """Tell whether a value fits, whatever is in it; its class is not accepted as such."""
        return True

    def check_items(self, value: Any, memo: Memo) -> Mismatch | None:
        """Return the first mismatch in a value that is accepted."""
        return None

    def find_mismatch(self, value: object, memo: Memo | None = None) -> Mismatch | None:
        """Return the first thing that does not fit, None if all does or if nobody can tell."""
        try:
            if self.accepts_class(type(value)):
                return None
            return self.check_value(unshared(value), memo or Memo())
        except Exception:  # from code of the user: metaclasses, properties, comparisons
            return None

    def check_value(self, value: Any, memo: Memo) -> Mismatch | None:
        """Return the first mismatch in a value whose class is not accepted as such."""
        return self.check_items(value, memo) if self.accepts(value) else Mismatch((), value, self.annotation)

    def doubtful_classes(self, container: object, values: Collection[object], memo: Memo) -> set[type]:
        """Return the classes among the values of a container whose instances have to be looked at one by one."""
        doubtful = {cls for cls in memo.of(container, values) if not self.accepts_class(cls)}
        return set() if doubtful and self.accepts_all(values, doubtful) else doubtful

    def accepts_all(self, values: Collection[Any], classes: set[type]) -> bool:
        """Tell in one loop in C that all values of these classes fit; False where that takes a closer look."""
        return False


class ClassChecker(Checker):
    """Instances of a class, by inheritance, registration or a metaclass of its own."""

    def __init__(self, annotation: Any, cls: type) -> None:
        super().__init__(annotation)
        self.cls = cls

    def check_class(self, cls: type) -> bool:
        return fits_class(cls, self.cls)

    def accepts(self, value: Any) -> bool:
        return fits_class(type(value), self.cls) or isinstance(value, self.cls)


class UnionChecker(Checker):
    """What fits one of several types."""

    def __init__(self, annotation: Any, members: list[Checker]) -> None:
        super().__init__(annotation)
        self.members = members

    def check_class(self, cls: type) -> bool:
        return any(member.accepts_class(cls) for member in self.members)

    def check_value(self, value: Any, memo: Memo) -> Mismatch | None:
        """Return None if a member accepts the value, else what the member that got furthest says."""
        deepest = Mismatch((), value, self.annotation)
        for member in self.members:
            found = member.find_mismatch(value, memo)
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

    def check_class(self, cls: type) -> bool:
        if not super().check_class(cls):
            return False
        if issubclass(cls, str | bytes | bytearray | range):
            return self.item.accepts_class(str if issubclass(cls, str) else int)
        return type(self.item) is Checker or not issubclass(cls, self.STORED)

    def accepts(self, value: Any) -> bool:
        return super().accepts(value) and not (isinstance(value, str | bytes | bytearray | range) and len(value) > 0)

    def accepts_all(self, values: Collection[Any], classes: set[type]) -> bool:
        if not (classes <= {list, tuple} and len(values) > _MANY and all(issubclass(cls, self.cls) for cls in classes)):
            return False
        containers = (value for value in values if type(value) in classes)
        return all(map(self.item.accepts_class, set(map(type, chain.from_iterable(containers)))))

    def check_items(self, value: Any, memo: Memo) -> Mismatch | None:
        if not isinstance(value, self.STORED):
            return None
        doubtful = self.item.doubtful_classes(value, value, memo)
        for position, item in enumerate(value) if doubtful else ():
            if type(item) in doubtful:
                found = self.item.find_mismatch(item, memo)
                if found is not None:
                    keyed = isinstance(value, set | frozenset | dict)
                    return found.prefixed(Key(item) if keyed else Index(position))
        return None


class MappingChecker(ClassChecker):
    """Dicts, whose keys and values are looked at, and other mappings, which are not."""

    def __init__(self, annotation: Any, cls: type, key: Checker, value: Checker) -> None:
        super().__init__(annotation, cls)
        self.key = key
        self.value = value

    def check_class(self, cls: type) -> bool:
        return super().check_class(cls) and not issubclass(cls, dict)

    def check_items(self, value: Any, memo: Memo) -> Mismatch | None:
        if not isinstance(value, dict):
            return None
        for key in value if self.key.doubtful_classes(value.keys(), value.keys(), Memo()) else ():
            found = self.key.find_mismatch(key, memo)
            if found is not None:
                return found.prefixed(Key(key))
        doubtful = self.value.doubtful_classes(value, value.values(), memo)
        for key, item in value.items() if doubtful else ():
            found = self.value.find_mismatch(item, memo) if type(item) in doubtful else None
            if found is not None:
                return found.prefixed(Key(key))
        return None


class _ValueChecker(Checker):
    """The base of checkers for which the class of a value never says enough."""

    def check_class(self, cls: type) -> bool:
        return False


class TupleChecker(_ValueChecker):
    """A tuple with a type for each place."""

    def __init__(self, annotation: Any, items: list[Checker]) -> None:
        super().__init__(annotation)
        self.items = items

    def accepts(self, value: Any) -> bool:
        return isinstance(value, tuple) and len(value) == len(self.items)

    def accepts_all(self, values: Collection[Any], classes: set[type]) -> bool:
        if classes != {tuple} or len(values) <= _MANY:
            return False
        rows = (value for value in values if type(value) is tuple)
        return all(
            len(row) == len(self.items) and all(map(Checker.accepts_class, self.items, row))
            for row in set(map(tuple, map(partial(map, type), rows)))
        )

    def check_items(self, value: Any, memo: Memo) -> Mismatch | None:
        for position, (checker, item) in enumerate(zip(self.items, value, strict=True)):
            found = checker.find_mismatch(item, memo)
            if found is not None:
                return found.prefixed(Index(position))
        return None


class TypedDictChecker(_ValueChecker):
    """A dict with the required keys; other keys are no mistake, since a subtype may have them."""

    def __init__(self, annotation: Any, required: frozenset[str], items: dict[str, Checker]) -> None:
        super().__init__(annotation)
        self.required = required
        self.items = items

    def accepts(self, value: Any) -> bool:
        return isinstance(value, Mapping) and self.required.issubset(value.keys())

    def check_items(self, value: Any, memo: Memo) -> Mismatch | None:
        for key, checker in self.items.items():
            found = checker.find_mismatch(value[key], memo) if key in value else None
            if found is not None:
                return found.prefixed(Key(key))
        return None


class PredicateChecker(_ValueChecker):
    """Values that a function accepts, whatever their class."""

    def __init__(self, annotation: Any, predicate: Callable[[Any], bool]) -> None:
        super().__init__(annotation)
        self.predicate = predicate

    def accepts(self, value: Any) -> bool:
        return self.predicate(value)


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

    def check_class(self, cls: type) -> bool:
        return self.checker().accepts_class(cls)

    def check_value(self, value: Any, memo: Memo) -> Mismatch | None:
        place = (id(self), id(value))
        if place in memo.busy:
            return None
        memo.busy.add(place)
        try:
            return self.checker().find_mismatch(value, memo)
        finally:
            memo.busy.discard(place)


def checker_for(annotation: Any) -> Checker:
    """Return the checker of an annotation; of one that can't be understood, a checker that accepts everything."""
    try:
        return _cached_checker(annotation)
    except TypeError:  # it has no hash
        return _checker(annotation)


def _checker(annotation: Any) -> Checker:
    try:
        return _understand(annotation)
    except Exception:
        return Checker()


_cached_checker: Callable[[Any], Checker] = lru_cache(maxsize=1024, typed=True)(_checker)


def _understand(annotation: Any) -> Checker:
    if ALIAS is not None and ALIAS in (type(annotation), type(get_origin(annotation))):
        return LazyChecker(annotation, partial(checker_for, unwrap(annotation)))
    annotation = unwrap(annotation)
    members = union_members(annotation)
    if len(members) > 1:
        checkers = [checker_for(member) for member in members]
        anything = any(type(checker) is Checker for checker in checkers)
        return Checker() if anything else UnionChecker(annotation, checkers)
    if is_any(annotation):
        return Checker()
    origin = get_origin(annotation) or annotation
    if origin is Literal:
        return PredicateChecker(annotation, partial(_is_one_of, get_args(annotation)))
    return _understand_class(annotation, origin) if isinstance(origin, type) else Checker()


def _understand_class(annotation: Any, cls: Any) -> Checker:
    if typing.is_typeddict(cls):
        return LazyChecker(annotation, partial(_typed_dict, annotation, cls))
    if cls is type:
        return _class_object(annotation)
    if cls is abc.Callable:
        return PredicateChecker(annotation, callable)
    if cls.__module__ == "typing" and cls.__name__ in ("IO", "TextIO", "BinaryIO"):
        return Checker()
    if is_protocol(cls):
        return PredicateChecker(annotation, partial(_has_members, protocol_members(cls)))
    if issubclass(cls, tuple):
        return _tuple(annotation, cls)
    if is_array(cls) and len(get_args(annotation)) == 2:
        return _array(annotation, cls)
    arguments = container_arguments(annotation)
    if issubclass(cls, Mapping) and len(arguments) == 2:
        return MappingChecker(annotation, cls, checker_for(arguments[0]), checker_for(arguments[1]))
    if issubclass(cls, abc.Iterable) and len(arguments) == 1:
        return ItemsChecker(annotation, cls, checker_for(arguments[0]))
    return ClassChecker(annotation, cls)


def _tuple(annotation: Any, cls: type) -> Checker:
    found = tuple_items(annotation) if cls is tuple else None
    if found is None:
        return ClassChecker(annotation, cls)
    items, repeated = found
    if repeated:
        return ItemsChecker(annotation, tuple, checker_for(items[0]))
    return TupleChecker(annotation, [checker_for(item) for item in items])


def _typed_dict(annotation: Any, cls: Any) -> Checker:
    fields = field_annotations(annotation) or {}
    optional = {name for name, field in fields.items() if get_origin(field) is typing.NotRequired}
    items = {name: checker_for(field) for name, field in fields.items()}
    return TypedDictChecker(annotation, frozenset(cls.__required_keys__) - optional, items)


def _is_one_of(options: tuple[Any, ...], value: Any) -> bool:
    return any(checker_for(type(option)).find_mismatch(value) is None and bool(value == option) for option in options)


def _class_object(annotation: Any) -> Checker:
    """`type[X]`: a class, and one of X's."""
    wanted = [member for argument in get_args(annotation) for member in union_members(argument)]
    bounds = tuple(get_origin(member) or member for member in wanted)
    if not bounds or not all(isinstance(bound, type) for bound in bounds) or object in bounds:
        return ClassChecker(annotation, type)
    return PredicateChecker(annotation, partial(_is_subclass, bounds))


def _is_subclass(bounds: tuple[type, ...], value: Any) -> bool:
    cls = get_origin(value) or value
    if not isinstance(cls, type):
        return False
    return issubclass(cls, bounds) or any(is_protocol(bound) or is_redefinition(cls, bound) for bound in bounds)


def _array(annotation: Any, cls: type) -> Checker:
    """`numpy.typing.NDArray[X]`: an array whose scalars are of type X."""
    scalars = [unwrap(scalar) for scalar in get_args(unwrap(get_args(annotation)[1]))]
    bounds = tuple(member for scalar in scalars for member in union_members(scalar))
    generic = sys.modules["numpy"].generic
    if not bounds or not all(isinstance(bound, type) and issubclass(bound, generic) for bound in bounds):
        return ClassChecker(annotation, cls)
    return PredicateChecker(annotation, partial(_is_array_of, cls, bounds))


def _is_array_of(cls: type, scalars: tuple[type, ...], value: Any) -> bool:
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


_NUMBERS: dict[type, tuple[type, ...]] = {
    bool: (),
    int: (numbers.Integral,),
    float: (numbers.Integral, numbers.Real),
    complex: (numbers.Integral, numbers.Real, numbers.Complex),
}
_DUCKS: dict[type, tuple[str, ...]] = {
    abc.Sequence: ("__len__", "__getitem__", "__iter__"),
    abc.Mapping: ("__len__", "__getitem__", "__iter__", "keys"),
}


def fits_class(cls: type, wanted: type) -> bool:
    """Tell whether instances of one class are accepted where another is wanted.

    Beside subclasses these are: what PEP 484 says of `float`, `complex` and `bytes`; what is registered in `numbers`,
    as numpy's scalars are; `numpy.bool` for `bool`; for `Sequence` and `Mapping` whatever has their main methods, as
    arrays and series do; a class of the same name from the same module, which was defined once more.
    """
    if issubclass(cls, wanted):
        return True
    if wanted is bytes:
        return issubclass(cls, bytearray | memoryview)
    if wanted in _NUMBERS:
        is_numpy_bool = cls.__module__ == "numpy" and cls.__name__ in ("bool", "bool_")
        return is_numpy_bool or issubclass(cls, _NUMBERS[wanted])
    return _is_duck(cls, wanted) or is_redefinition(cls, wanted)


def _is_duck(cls: type, wanted: type) -> bool:
    """Tell whether a class that is no `Sequence` (`Mapping`) by inheritance has what makes one."""
    names = _DUCKS.get(wanted)
    if names is None or (wanted is abc.Sequence and issubclass(cls, abc.Mapping | abc.Set)):
        return False
    return all(getattr(cls, name, None) is not None for name in names)


def is_redefinition(cls: type, wanted: type) -> bool:
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
