# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the pickle of a type forgets: noticed at its first instance, carried where it can be, else told.

The author of a class says how it is pickled: by `__reduce__`, `__getstate__`, in C. Not seldom something is left out:
attributes that were added later, that a constructor does not take, or that a base class written in C knows nothing
of. A pickle and a `deepcopy` both forget it, and a task would see an object that differs from the one it was given.

So the first instance of such a type is compared with its copy, once a block, by its attributes and slots. What is
missing there is from then on carried beside what the author pickles. Caches are left out, as their author wants it.
"""

from __future__ import annotations

import copyreg
import sys
from collections import deque
from functools import cached_property, lru_cache
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any
from weakref import ref

from ..trees.nodes import ATOMS, is_array, kind_of

__all__ = [
    "AsItIs",
    "Forgotten",
    "attributes_of",
    "cached_names",
    "has_attributes",
    "is_cache",
    "is_copied_by_itself",
    "lost_names",
    "may_forget",
    "reduced_with",
    "set_attributes",
]


class AsItIs:
    """An attribute's value that is passed by reference, since it can't be copied."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class Forgotten:
    """What pickles forget, as far as the snapshots of a block have met it.

    Attributes
    ----------
    checked
        For each type the names of attributes that its instances were compared by.
    carried
        For each type the names of those that are carried beside its pickle, and whether by reference.
    """

    def __init__(self) -> None:
        self.checked: dict[type, set[str]] = {}
        self.carried: dict[type, dict[str, bool]] = {}

    def is_known(self, obj: Any) -> bool:
        """Tell whether an instance with these attributes was compared."""
        checked = self.checked.get(type(obj))
        return checked is not None and getattr(obj, "__dict__", _NOTHING).keys() <= checked

    def note(self, obj: object, carried: dict[str, bool]) -> None:
        """Note that an instance was compared."""
        cls = type(obj)
        self.checked[cls] = self.checked.get(cls, set()) | attributes_of(obj).keys()
        if carried:
            self.carried[cls] = self.carried.get(cls, {}) | carried

    def give_up(self) -> bool:
        """Carry nothing any more, since something of it can't be; false if nothing was carried."""
        carried = bool(self.carried)
        self.carried.clear()
        return carried


_NOTHING: dict[str, object] = {}


def _class_of(obj: object) -> Any:
    return type(obj)


# --- attributes ---


@lru_cache(maxsize=4096)
def _slots(cls: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        for name, descriptor in vars(base).items():
            if type(descriptor) is MemberDescriptorType and not name.startswith("__") and not _is_of_c(base):
                found.setdefault(name, descriptor)
    return found


def _is_of_c(cls: type) -> bool:
    return not cls.__flags__ & (1 << 9)


def attributes_of(obj: Any) -> dict[str, Any]:
    """Return attributes and slots that an object has of its own."""
    found = {name: value for name, value in getattr(obj, "__dict__", _NOTHING).items() if isinstance(name, str)}
    for name, descriptor in _slots(_class_of(obj)).items():
        try:
            found.setdefault(name, descriptor.__get__(obj))
        except AttributeError:  # not set
            continue
    return found


def set_attributes(obj: Any, attributes: dict[str, Any]) -> None:
    """Set attributes and slots behind the back of the class."""
    slots = _slots(_class_of(obj))
    for name, value in attributes.items():
        if name in slots:
            slots[name].__set__(obj, value)
        else:
            obj.__dict__[name] = value


def is_cache(name: str) -> bool:
    """Tell whether an attribute is a cache, by its name: what is in it can be computed again."""
    return name.startswith("_") and ("cache" in name or "memo" in name)


@lru_cache(maxsize=4096)
def cached_names(cls: Any) -> frozenset[str]:
    """Return the names of the cached properties of a class, whichever library these are of."""
    return frozenset(name for base in cls.__mro__ for name, value in vars(base).items() if _is_cached_property(value))


def _is_cached_property(found: object) -> bool:
    """Tell whether a descriptor keeps what it computes among the attributes, under its own name.

    Its `__get__` writes there, while nobody else is meant to; one that gives a default does not.
    """
    if isinstance(found, cached_property):
        return True
    cls: Any = type(found)
    if cls is property or (isinstance(found, property) and found.fset is not None):
        return False
    if not isinstance(found, property) and hasattr(cls, "__set__"):
        return False
    getter = getattr(cls, "__get__", None)
    return isinstance(getter, FunctionType) and not {"__dict__", "setattr"}.isdisjoint(getter.__code__.co_names)


# --- which types are compared, and how ---

_TRUSTED = frozenset(sys.stdlib_module_names) | {"builtins", "numpy", "parman", "cloudpickle"}
_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__")


def may_forget(cls: type) -> bool:
    """Tell whether instances are pickled in a way of their own, which may leave something out."""
    if cls.__module__.partition(".")[0] in _TRUSTED or issubclass(cls, type):
        return False
    return cls in copyreg.dispatch_table or any(
        getattr(cls, name, None) is not getattr(object, name) for name in _HOOKS
    )


_WHOLE = _TRUSTED | {"pandas", "pydantic", "xarray", "pint", "uncertainties"}


def is_copied_by_itself(cls: type) -> bool:
    """Tell whether a class says how it is copied; not of libraries that are known to do it no better than a pickle."""
    own = getattr(cls, "__deepcopy__", None)
    if own is None or kind_of(cls) is not None:
        return False
    owner = next(base for base in cls.__mro__ if "__deepcopy__" in vars(base))
    return owner.__module__.partition(".")[0] not in _WHOLE


def has_attributes(obj: Any) -> bool:
    """Tell whether there is anything that could be lost."""
    return bool(attributes_of(obj)) or any(map(_is_of_a_c_library, type(obj).__mro__))


def _is_of_a_c_library(cls: type) -> bool:
    return _is_of_c(cls) and cls.__module__.partition(".")[0] not in _TRUSTED


def lost_names(obj: Any, copy: Any, within: bool) -> set[str]:
    """Return the names of attributes that a copy lacks, or has another simple value in.

    A private one is left out on purpose if the class has a `__getstate__` in Python; in this process, where nothing
    forces it to be lost, it is carried nevertheless. A weak reference to what is gone is nothing to lose.
    """
    has, cached = attributes_of(copy), cached_names(_class_of(obj))
    on_purpose = not within and isinstance(getattr(type(obj), "__getstate__", None), FunctionType)
    return _lost_in_c(obj, copy) | {
        name
        for name, value in attributes_of(obj).items()
        if not (name in cached or is_cache(name) or (on_purpose and name.startswith("_")))
        and not (isinstance(value, ref) and ref.__call__(value) is None)
        and _is_lost(value, has.get(name))
    }


def _lost_in_c(obj: Any, copy: Any) -> set[str]:
    """Return the names of public members of classes written in C that are set, and not in the copy."""
    lost = set()
    for base in type(obj).__mro__:
        if not _is_of_a_c_library(base):
            continue
        for name, descriptor in vars(base).items():
            if type(descriptor) in (GetSetDescriptorType, MemberDescriptorType) and not name.startswith("_"):
                try:
                    if descriptor.__get__(copy) is None and descriptor.__get__(obj) is not None:
                        lost.add(name)
                except Exception:  # it may be any code of a library
                    continue
    return lost


def _is_lost(value: Any, other: Any) -> bool:
    if value is other:
        return False
    cls = type(value)
    if other is None:
        return True
    if cls in ATOMS:
        return type(other) is not cls or repr(value) != repr(other)
    if cls in (list, tuple, dict, set, frozenset, deque):
        return type(other) is cls and (len(value) != len(other) or _differ_simply(value, other))
    if is_array(cls) and is_array(type(other)):
        same = value.shape == other.shape and value.dtype == other.dtype
        return not same or not (value.dtype.hasobject or value.tobytes() == other.tobytes())
    return False


def _differ_simply(value: Any, other: Any) -> bool:
    """Tell whether containers of numbers and strings alone differ."""
    if not ATOMS.issuperset(map(type, value.values() if isinstance(value, dict) else value)):
        return False
    return value != other if isinstance(value, set | frozenset) else repr(value) != repr(other)


# --- carrying ---


def reduced_with(obj: Any, names: dict[str, bool]) -> Any:
    """Reduce an object as its class does, with these attributes besides."""
    reduce = copyreg.dispatch_table.get(type(obj))
    reduced = obj.__reduce_ex__(5) if reduce is None else reduce(obj)
    if not isinstance(reduced, tuple):
        return reduced
    function, args, state, items, pairs, setter = (*reduced, None, None, None, None)[:6]
    extras = {
        name: AsItIs(value) if names[name] else value for name, value in attributes_of(obj).items() if name in names
    }
    return function, args, (state, setter, extras), items, pairs, _set_whole


def _set_whole(obj: Any, content: tuple[Any, Any, dict[str, Any]]) -> None:
    state, setter, extras = content
    if setter is not None:
        setter(obj, state)
    elif state is not None:
        _set_state(obj, state)
    set_attributes(obj, extras)


def _set_state(obj: Any, state: Any) -> None:
    """Do what pickle does with the state of an object."""
    own = getattr(obj, "__setstate__", None)
    if own is not None:
        own(state)
        return
    stored, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if stored:
        obj.__dict__.update(stored)
    for name, value in (slots or {}).items():
        setattr(obj, name, value)
