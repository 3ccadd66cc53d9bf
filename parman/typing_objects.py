# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The types of a script that are no classes: `NewType`, `ParamSpec`, aliases and the like.

Pickle writes them by their names, which mean nothing where the script is not `__main__`. They are compared by identity,
so each is made once in a process; but aliases, which stand for something else.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from typing import Any

import cloudpickle  # type: ignore[import-untyped, unused-ignore]

__all__ = ["TYPES", "reduce_type", "subscription"]

_ALIAS: Any = getattr(typing, "TypeAliasType", None)


def reduce_type(obj: Any) -> Any:
    """Return what an object of one of `TYPES` becomes in a stream."""
    return TYPES[type(obj)](obj)


def subscription() -> Any:
    """Return the function with which generic named tuples are subscripted, which pickle finds under no name."""
    return getattr(typing.Generic.__class_getitem__, "__func__", None)


def _can_be_imported(obj: Any) -> bool:
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    return module is not None and module.__name__ != "__main__" and getattr(module, obj.__name__, None) is obj


def _number(obj: Any) -> str:
    number: str = cloudpickle.cloudpickle._get_or_create_tracker_id(obj)
    return number


def _known_or(number: str, make: Callable[..., Any], *args: Any) -> Any:
    known = cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
    return known if known is not None else cloudpickle.cloudpickle._lookup_class_or_track(number, make(*args))


def _reduce_new_type(obj: Any) -> Any:
    if _can_be_imported(obj):
        return NotImplemented
    return _known_or, (_number(obj), _new_type, obj.__name__, obj.__supertype__, obj.__module__)


def _new_type(name: str, supertype: Any, module: str) -> Any:
    made = typing.NewType(name, supertype)  # type: ignore[misc]
    made.__module__ = module
    return made


def _reduce_param_spec(obj: Any) -> Any:
    if _can_be_imported(obj):
        return NotImplemented
    return _known_or, (_number(obj), typing.ParamSpec, obj.__name__)


def _reduce_type_variables(obj: Any) -> Any:
    if _can_be_imported(obj):
        return NotImplemented
    return _known_or, (_number(obj), typing.TypeVarTuple, obj.__name__)


def _reduce_alias(obj: Any) -> Any:
    if _can_be_imported(obj):
        return NotImplemented
    return _alias, (obj.__name__, _value_of(obj), obj.__type_params__)


def _value_of(alias: Any) -> Any:
    """Return what an alias stands for: in itself, and where a name in it is unknown, it is `Any`."""
    try:
        value = alias.__value__
    except Exception:
        return typing.Any
    return typing.Any if _mentions(value, alias, 0) else value


def _mentions(value: Any, alias: Any, depth: int) -> bool:
    if value is alias or typing.get_origin(value) is alias or depth > _DEEPEST:
        return True
    if type(value) is _ALIAS:
        return _mentions(_value_of_other(value), alias, depth + 1)
    return any(_mentions(argument, alias, depth + 1) for argument in typing.get_args(value))


_DEEPEST = 30


def _value_of_other(alias: Any) -> Any:
    try:
        return alias.__value__
    except Exception:
        return typing.Any


def _alias(name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    return _ALIAS(name, value, type_params=parameters)


TYPES: dict[type, Callable[[Any], Any]] = {
    typing.NewType: _reduce_new_type,
    typing.ParamSpec: _reduce_param_spec,
    typing.TypeVarTuple: _reduce_type_variables,
    **({} if _ALIAS is None else {_ALIAS: _reduce_alias}),
}
"""How objects of these classes are written."""
