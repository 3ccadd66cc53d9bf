# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Compatibility: whether a result that is declared as one type can be passed where another is wanted.

Only what can be proved is a mistake: the two types have no value in common (they don't overlap, as mypy says). Two
concrete classes have none unless one is derived from the other or is accepted for it (`checkers.fits_class`). The
number types count in both directions, since a function declared `float` may return an `int`. Containers are compared
item by item, covariantly. Abstract classes and protocols are refused only for builtin classes that don't implement
them: a class of the user might have a subclass that does.
"""

from __future__ import annotations

import abc
import collections.abc
import inspect
import typing
from typing import Any, Literal, get_args, get_origin

from ..trees.nodes import is_array
from .checkers import checker_for, fits_class, protocol_members
from .evaluate import (
    container_arguments,
    field_annotations,
    is_any,
    is_named_tuple,
    is_protocol,
    tuple_items,
    union_members,
    unwrap,
)

__all__ = ["can_fit"]

_DEEPEST = 20
_CONTAINERS = (collections.abc.Iterable, collections.abc.Container)


def can_fit(declared: Any, wanted: Any) -> bool:
    """Tell whether some value of the declared type may fit the wanted one; True where nobody can tell.

    Parameters
    ----------
    declared
        The annotation of a future: what it will hold.
    wanted
        The annotation of the place that it is passed to.
    """
    try:
        return _can_fit(declared, wanted, 0)
    except Exception:  # from metaclasses and other code of the user
        return True


def _can_fit(declared: Any, wanted: Any, depth: int) -> bool:
    if depth > _DEEPEST or declared is wanted:
        return True
    ours, theirs = union_members(declared), union_members(wanted)
    return any(_one_can_fit(one, other, depth + 1) for one in ours for other in theirs)


def _one_can_fit(declared: Any, wanted: Any, depth: int) -> bool:
    """Compare two types that are no unions."""
    if is_any(declared) or is_any(wanted):
        return True
    if get_origin(declared) is Literal:
        return any(checker_for(wanted).find_mismatch(value) is None for value in get_args(declared))
    if get_origin(wanted) is Literal:
        return any(checker_for(declared).find_mismatch(value) is None for value in get_args(wanted))
    ours, theirs = get_origin(declared) or declared, get_origin(wanted) or wanted
    if not isinstance(ours, type) or not isinstance(theirs, type):
        return True
    return _classes_can_fit(ours, theirs) and _contents_can_fit(declared, wanted, ours, theirs, depth)


def _classes_can_fit(declared: type, wanted: type) -> bool:
    ours, theirs = _run_time_class(declared), _run_time_class(wanted)
    if is_protocol(ours) or is_protocol(theirs):
        protocol, cls = (theirs, ours) if is_protocol(theirs) else (ours, theirs)
        return not _is_closed(cls) or all(hasattr(cls, name) for name in protocol_members(protocol))
    if _are_related(ours, theirs) or _decides_itself(ours) or _decides_itself(theirs):
        return True
    if _is_abstract(ours) or _is_abstract(theirs):
        return not (_is_closed(ours) or _is_closed(theirs))
    return False


def _run_time_class(cls: type) -> type:
    return dict if typing.is_typeddict(cls) else cls


def _are_related(ours: type, theirs: type) -> bool:
    return fits_class(ours, theirs) or fits_class(theirs, ours)


def _decides_itself(cls: type) -> bool:
    """Tell whether the class has its own idea of what its instances are, as array annotations of some libraries do."""
    meta = type(cls)
    check = getattr(meta, "__instancecheck__", None)
    return check not in (type.__instancecheck__, abc.ABCMeta.__instancecheck__) and meta.__module__ != "enum"


def _is_abstract(cls: type) -> bool:
    return inspect.isabstract(cls) or cls.__module__ in ("collections.abc", "numbers", "os", "contextlib", "io")


def _is_closed(cls: type) -> bool:
    """Tell whether this is a builtin class or a numpy scalar or array, which nobody expects to be more than it is."""
    return cls.__module__ in ("builtins", "numpy", "pathlib", "datetime", "collections", "decimal", "fractions")


def _contents_can_fit(declared: Any, wanted: Any, ours: Any, theirs: Any, depth: int) -> bool:
    """Compare what is in two containers whose classes can fit."""
    if not _are_related(_run_time_class(ours), _run_time_class(theirs)):
        return True
    if issubclass(ours, tuple) or issubclass(theirs, tuple):
        return _tuples_can_fit(declared, wanted, depth)
    if issubclass(ours, type) and issubclass(theirs, type):
        return _all_can_fit(get_args(declared), get_args(wanted), depth)
    if is_array(ours) and is_array(theirs):
        return _arrays_can_fit(declared, wanted, depth)
    if typing.is_typeddict(ours) or typing.is_typeddict(theirs):
        return _typed_dicts_can_fit(declared, wanted, depth)
    if ours is collections.abc.Callable or theirs is collections.abc.Callable:
        return True
    if not (issubclass(ours, _CONTAINERS) and issubclass(theirs, _CONTAINERS)):
        return True
    our_items, their_items = _items(declared), _items(wanted)
    common = min(len(our_items), len(their_items))
    return _all_can_fit(our_items[:common], their_items[:common], depth)


def _all_can_fit(ours: tuple[Any, ...], theirs: tuple[Any, ...], depth: int) -> bool:
    """Compare types side by side; True if they don't correspond."""
    if len(ours) != len(theirs):
        return True
    return all(_can_fit(one, other, depth) for one, other in zip(ours, theirs, strict=True))


def _items(annotation: Any) -> tuple[Any, ...]:
    """Return the type of what iteration gives, and for mappings that of the values after it; nothing if not known."""
    cls = get_origin(annotation) or annotation
    if issubclass(cls, str):
        return (str,)
    if issubclass(cls, bytes | bytearray | range):
        return (int,)
    found = container_arguments(annotation)
    return found if len(found) == (2 if issubclass(cls, collections.abc.Mapping) else 1) else ()


def _tuples_can_fit(declared: Any, wanted: Any, depth: int) -> bool:
    ours, theirs = _places(declared), _places(wanted)
    if ours is None or theirs is None:
        return True
    (our_items, we_repeat), (their_items, they_repeat) = ours, theirs
    if not we_repeat and not they_repeat and len(our_items) != len(their_items):
        return False
    if we_repeat:
        our_items = our_items * (1 if they_repeat else len(their_items))
    if they_repeat:
        their_items = their_items * len(our_items)
    return _all_can_fit(tuple(our_items), tuple(their_items), depth)


def _places(annotation: Any) -> tuple[list[Any], bool] | None:
    """Return the types of a tuple's places, and whether the one there is stands for any number of them."""
    cls = get_origin(annotation) or annotation
    if not issubclass(cls, tuple):
        items = _items(annotation)
        return (list(items[:1]), True) if items else None
    if is_named_tuple(cls):
        return list((field_annotations(annotation) or {}).values()), False
    return tuple_items(annotation) if cls is tuple else None


def _typed_dicts_can_fit(declared: Any, wanted: Any, depth: int) -> bool:
    ours, theirs = field_annotations(declared), field_annotations(wanted)
    if ours is not None and theirs is not None and typing.is_typeddict(declared) and typing.is_typeddict(wanted):
        both = ours.keys() & theirs.keys() & declared.__required_keys__
        return all(_can_fit(ours[key], theirs[key], depth) for key in both)
    items = _items(wanted if typing.is_typeddict(declared) else declared)
    return not items or _can_fit(str, items[0], depth)


def _arrays_can_fit(declared: Any, wanted: Any, depth: int) -> bool:
    """Compare the scalars of two `NDArray[...]`."""
    ours, theirs = ([unwrap(argument) for argument in get_args(array)[1:]] for array in (declared, wanted))
    return all(_all_can_fit(get_args(one), get_args(other), depth) for one, other in zip(ours, theirs, strict=False))
