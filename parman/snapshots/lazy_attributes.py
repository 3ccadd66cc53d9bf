# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What objects fill in when they are asked, which is no change of them: caches that are not named so.

A dimension that a quantity looks up once, the flag of a sparse matrix that its indices are sorted: the value follows
from the rest. Nothing marks such an attribute, so it is told by how it is used. It is private, and was not there
before, or None. Its class lets nobody set it from outside: `atoms.calc = ...` has its value in `_calc`, and is a
change. And some function of the class looks whether it is there before it sets it, where those functions can be read.
A `fit()` that sets `_weights` without a look makes a change.

Some libraries rewrite what they hold in an equivalent form instead. That is no change where nobody sees it: neither the
equality of the class nor the text that it shows, if it has these of its own, for what is private and holds no array.

Classes of the script are not trusted with either as those of libraries are: what no function of the class sets was
set by somebody else.
"""

from __future__ import annotations

import dis
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, TypeAlias

from ..trees.nodes import is_array, record_fields
from .attributes import attributes_of
from .hidden import reachable

__all__ = ["Filled", "filled_names", "rewritten_names"]

Filled: TypeAlias = "dict[int, tuple[object, frozenset[str]]]"
"""For the identity of each object, which is kept, the names of attributes that are left out."""

_MISSING = object()
_MAKERS = ("__init__", "__new__", "__setstate__", "__post_init__", "__attrs_post_init__")
_WRAPPED = 5
"""How many functions around each other are looked at."""
_SETTERS = {"__setattr__", "setattr", "__dict__"}
"""What sets an attribute whose name is a constant, as methods of frozen dataclasses do."""


def filled_names(old: Any, new: Any) -> frozenset[str]:
    """Return the names of attributes that were filled in since: those of a copy from before, and of the object."""
    before, after = attributes_of(old), attributes_of(new)
    cls: Any = type(new)
    names = frozenset(
        name
        for name, value in after.items()
        if _is_private(name) and value is not None and _is_nothing(before.get(name, _MISSING)) and _fills_in(cls, name)
    )
    if names and _is_of_a_library(cls) and record_fields(cls) is None and _says_different(old, new):
        return frozenset()
    return names


def rewritten_names(old: Any, new: Any, differ: Callable[[object, object], bool | None]) -> frozenset[str]:
    """Return the names of attributes that differ, though by all that their class tells the two objects are equal.

    Parameters
    ----------
    old, new
        The copy from before, and the object.
    differ
        Tells whether two values differ.
    """
    cls: Any = type(new)
    if not _is_of_a_library(cls) or cls.__eq__ is object.__eq__ or cls.__repr__ is object.__repr__:
        return frozenset()
    before, after = attributes_of(old), attributes_of(new)
    names = frozenset(
        name
        for name, value in after.items()
        if _is_private(name)
        and name in before
        and not _is_set_outside(cls, name)
        and not any(is_array(type(part)) for part in reachable(value, 1000))
        and differ(before[name], value)
    )
    return names if names and _looks_same(old, new) else frozenset()


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _is_nothing(value: object) -> bool:
    return value is None or type(value) is object


def _says_different(old: Any, new: Any) -> bool:
    """Tell whether a class with an equality of its own says that two objects differ, and not of all of its objects."""
    cls: Any = type(new)
    if cls.__eq__ is object.__eq__:
        return False
    try:
        return _is_plain(old == new, False) and _is_plain(new == new, True)  # NaN does not
    except Exception:  # from code of the user's classes
        return False


def _looks_same(old: Any, new: Any) -> bool:
    try:
        return _is_plain(old == new, True) and repr(old) == repr(new)
    except Exception:  # from code of the user's classes
        return False


def _is_plain(answer: object, expected: bool) -> bool:
    """Tell whether a comparison gave this; it may give an array."""
    return type(answer).__name__ in ("bool", "bool_") and bool(answer) is expected


@lru_cache(maxsize=4096)
def _is_of_a_library(cls: type) -> bool:
    module = cls.__module__.partition(".")[0]
    if module in sys.stdlib_module_names:
        return module != "__main__"
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    paths = sysconfig.get_paths()
    places = (paths["stdlib"], paths["purelib"], paths["platlib"])
    return file is not None and (file.startswith(places) or "site-packages" in file or "dist-packages" in file)


# --- how an attribute is used by the functions of its class ---


@lru_cache(maxsize=4096)
def _fills_in(cls: Any, name: str) -> bool:
    """Tell whether an attribute that was not there is filled in by the class itself, as far as it can be told."""
    if _is_filled_by_its_getter(cls, name):
        return True
    if _is_set_outside(cls, name):
        return False
    uses = [_first_use(code, name) for code in _functions(cls)]
    return "look" in uses or ("set" not in uses and _is_of_a_library(cls))


def _is_set_outside(cls: Any, name: str) -> bool:
    """Tell whether a class lets others set the value of a private attribute."""
    public = name.lstrip("_")
    found = getattr(cls, public, None)
    return callable(getattr(cls, f"set_{public}", None)) or (isinstance(found, property) and found.fset is not None)


def _is_filled_by_its_getter(cls: Any, name: str) -> bool:
    """Tell whether asking for the value sets it, though others may set it as well."""
    public = name.lstrip("_")
    code = getattr(getattr(getattr(cls, public, None), "fget", None), "__code__", None)
    return isinstance(code, CodeType) and (_sets(code, name) or _sets(code, public))


def _functions(cls: Any) -> Iterator[CodeType]:
    """Yield the code of the functions of a class, apart from those that make an instance."""
    for base in cls.__mro__:
        for name, found in vars(base).items():
            function = found.fget if isinstance(found, property) else found
            for _ in range(_WRAPPED):
                if isinstance(function, FunctionType) and name not in _MAKERS:
                    yield function.__code__
                function = getattr(function, "__wrapped__", None) or getattr(function, "func", None)


def _first_use(code: CodeType, name: str) -> str | None:
    """Tell of a function that sets an attribute whether it looks at it before, or sets it anyway."""
    if not _sets(code, name):
        return None
    uses = [instruction.opname for instruction in dis.get_instructions(code) if instruction.argval == name]
    return "look" if len(uses) > 1 and uses[0] != "STORE_ATTR" else "set"


@lru_cache(maxsize=4096)
def _sets(code: CodeType, name: str) -> bool:
    if name in code.co_consts and not _SETTERS.isdisjoint(code.co_names):
        return True
    return name in code.co_names and any(
        instruction.opname == "STORE_ATTR" and instruction.argval == name for instruction in dis.get_instructions(code)
    )
