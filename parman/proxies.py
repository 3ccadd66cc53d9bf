# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Copies of objects that answer for others: those of classes with a `__getattr__` or `__getattribute__` of their own.

pickle asks the *object* for what it may have to say (`__getnewargs__`, `__setstate__`), also the empty one that it has
just made. A class that hands all attributes on to the object that it holds, `return getattr(self._inner, name)`,
looks for `_inner` in the empty one, does not find it, and so asks itself without end; one that answers everything
(`__getattr__ = dict.get`) answers for pickle. So such an object is written as pickle would write an ordinary one,
from what its *class* says, and filled behind the back of its methods.
"""

from __future__ import annotations

import copyreg
from types import FunctionType
from typing import Any

from .nodes import class_attribute, maker_of, member_descriptors, stored_attributes

__all__ = ["is_proxy", "reduce_proxy"]

_BASES = (object, dict, list, tuple, str, bytes, int, float)
_OWN_WAYS = ("__reduce_ex__", "__reduce__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")


def is_proxy(cls: type) -> bool:
    """Tell whether instances of a class answer for other objects, and are pickled in the ordinary way."""
    answers = class_attribute(cls, "__getattr__") is not None
    if not answers and not isinstance(class_attribute(cls, "__getattribute__"), FunctionType):
        return False
    base = maker_of(cls)
    if base not in _BASES or cls in copyreg.dispatch_table:
        return False
    return not any(name in vars(c) for c in cls.__mro__ if c not in (base, object) for name in _OWN_WAYS)


def reduce_proxy(obj: Any, without: frozenset[str]) -> tuple[Any, ...]:
    """Return what `__reduce__` of an ordinary object would, with what fills the new one.

    Parameters
    ----------
    obj
        An instance of a class for which `is_proxy` holds.
    without
        Attributes that are left out.
    """
    cls: Any = type(obj)
    base: Any = maker_of(cls)
    arguments = base.__getnewargs__(obj) if hasattr(base, "__getnewargs__") else ()
    items: Any = dict(dict.items(obj)) if base is dict else list(list.__iter__(obj)) if base is list else None
    return _new, (cls, *arguments), (_state(obj, without), items), None, None, _fill


def _state(obj: Any, without: frozenset[str]) -> Any:
    own = class_attribute(type(obj), "__getstate__")
    if isinstance(own, FunctionType):
        return own(obj)
    stored = stored_attributes(obj)
    slots = {}
    for member in member_descriptors(type(obj)):
        try:
            slots[member.__name__] = member.__get__(obj)
        except AttributeError:  # not set
            continue
    return {name: value for name, value in (stored or {}).items() if name not in without}, slots


def _new(cls: Any, *arguments: Any) -> Any:
    return cls.__new__(cls, *arguments)


def _fill(obj: Any, content: tuple[Any, Any]) -> None:
    """Put attributes and items into an object that was just made."""
    state, items = content
    if isinstance(items, dict):
        dict.update(obj, items)
    elif items is not None:
        list.extend(obj, items)
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    stored = stored_attributes(obj)
    members = {member.__name__ for member in member_descriptors(type(obj))}
    # By name: a class that came to another process by value may have its slots in the dict there.
    for name, value in {**(attributes or {}), **(slots or {})}.items():
        if stored is None or name in members:
            object.__setattr__(obj, name, value)
        else:
            stored[name] = value
