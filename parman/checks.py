# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks: whether a value fits an annotation.

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
import sys
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Literal, get_args, get_origin

from .annotations import (
    ALIAS,
    alternatives,
    container_arguments,
    field_annotations,
    is_anything,
    is_named_tuple,
    is_unpacked,
    plain,
)
from .checkers import (
    Checker,
    ClassChecker,
    ItemsChecker,
    LazyChecker,
    MappingChecker,
    Mismatch,
    PredicateChecker,
    TupleChecker,
    TypedDictChecker,
    UnionChecker,
    is_same_anew,
)

__all__ = ["checker_for", "find_mismatch", "protocol_members"]


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
