# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Classes of scripts and notebooks that travel: made again as they were, and one class object in each process.

A class that cannot be imported is described in the stream: cloudpickle makes an empty class and then sets what is in
its namespace, and knows it again by a number. This module adds what is lost that way.

- The slots are there when the class is made; so its instances have the layout of the original.
- A class is made once. Where it is known, nothing is made for the sake of being thrown away, which would call
  `__init_subclass__` and metaclasses, and show in registries. The hooks of the script do not run again: what they did
  is part of what travels.
- A class changes as its home says: the process in which its `class` statement ran. What comes back from a worker
  changes nothing there.
- Members of enumerations have their attributes and aliases.
- A class that a generic class makes for its parameters (`Box[float]` of pydantic) travels as just that.
- Classes of libraries that hold the layout of their instances in C (msgspec) are made by the library again.
"""

from __future__ import annotations

import os
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from types import MemberDescriptorType
from typing import Any, TypeAlias
from weakref import WeakSet

import cloudpickle  # type: ignore[import-untyped, unused-ignore]

from .structs import described_struct, is_struct

__all__ = ["reduce_class"]

Reduced: TypeAlias = "tuple[Any, ...]"

_HOME = os.getpid()
_lock = threading.RLock()
"""Held while hooks are silenced."""
_received: WeakSet[type] = WeakSet()
"""Classes that were made here from a stream."""
_complete: WeakSet[type] = WeakSet()
"""Those of them that have got all that is in them."""

_IS_AS_EXPECTED = all(
    hasattr(cloudpickle.cloudpickle, name) for name in ("_DYNAMIC_CLASS_TRACKER_BY_ID", "_lookup_class_or_track")
)
"""Whether cloudpickle is inside as the releases that are known."""
_BASES, _NAMESPACE, _NUMBER = 2, 3, 4
_ENUM_BASES, _ENUM_MEMBERS, _ENUM_NUMBER = 0, 3, 5


def reduce_class(cls: type, usual: Reduced) -> Reduced:
    """Return what a class that cannot be imported becomes in a stream.

    Parameters
    ----------
    cls
        The class.
    usual
        What cloudpickle would write.
    """
    if len(usual) != 6 or not _IS_AS_EXPECTED:
        return usual
    parametrised = _parametrised(cls)
    if parametrised is not None:
        return parametrised
    if is_struct(cls):
        make, args, state = described_struct(cls, usual)
        return _written(args[0], make, args, (usual[5], state, {}, _is_at_home(cls), {}))
    name = getattr(usual[0], "__name__", "")
    if name not in ("_make_skeleton_class", "_make_skeleton_enum"):
        return usual
    make, args, (state, slots), _, _, put = usual
    extra: dict[str, Any] = {}
    if name == "_make_skeleton_enum":
        number = args[_ENUM_NUMBER]
        args, state, extra = _with_all_members(cls, args, state)
    else:
        number = args[_NUMBER]
        namespace = {**args[_NAMESPACE], "__qualname__": cls.__qualname__}
        args, state = _with_slots(cls, (*args[:_NAMESPACE], namespace, *args[_NAMESPACE + 1 :]), state)
    return _written(number, make, args, (put, state, slots, _is_at_home(cls), extra))


def _written(number: str, make: Any, args: tuple[Any, ...], content: tuple[Any, ...]) -> Reduced:
    return _class_again, (number, make, args), content, None, None, _complete_class


def _is_at_home(cls: type) -> bool:
    return cls not in _received and os.getpid() == _HOME


# --- made again ---


def _renew_lock() -> None:
    global _lock  # another thread may have held it when this process was forked
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


def _known_class(number: str) -> type | None:
    known: type | None = cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
    return known


def _class_again(number: str, make: Callable[..., type], args: tuple[Any, ...]) -> type:
    """Return the class that is known by this number, or make it, still without what is in it."""
    known = _known_class(number)
    if known is None:
        # Another thread may make it, too; both get the one that is there first.
        known = _make_quietly(make, args)
        _received.add(known)
    return known


def _complete_class(cls: type, content: tuple[Any, ...]) -> None:
    """Give a class what is in it, if it is new here, or if its home says how it is by now."""
    put, state, slots, from_home, extra = content
    is_here = cls not in _received and os.getpid() == _HOME
    if is_here or (cls in _complete and not from_home):
        return
    if type(cls).__setattr__ is type.__setattr__ or issubclass(cls, Enum):
        put(cls, (state, slots))
    else:
        _put_past_the_metaclass(cls, state)
    for name, attributes in extra.items():
        vars(cls._member_map_[name]).update(attributes)  # type: ignore[attr-defined]
    _complete.add(cls)


def _put_past_the_metaclass(cls: Any, state: dict[str, Any]) -> None:
    """Set attributes although the metaclass may refuse that."""
    for name, value in state.items():
        if name == "_abc_impl":
            for registered in value:
                cls.register(registered)
        else:
            type.__setattr__(cls, name, value)
    if "__firstlineno__" in state:  # which Python drops as soon as the name of the module is set
        type.__setattr__(cls, "__firstlineno__", state["__firstlineno__"])


def _make_quietly(make: Callable[..., type], args: tuple[Any, ...]) -> type:
    """Make a class without the hooks of classes of the script: these have run where the class comes from."""
    if make.__name__ != "_make_skeleton_class":
        return make(*args)
    meta, name, bases, namespace, number, _ = args
    resolved = types.resolve_bases(bases)
    hooking = [base for base in _ancestors(resolved) if "__init_subclass__" in vars(base)]
    if meta not in _received and not any(base in _received for base in hooking):
        try:
            return make(*args)
        except Exception:  # from a hook of a module of the user, that wants what only the `class` statement can give
            maker = _first_in(("builtins", "abc"), meta)
    else:
        maker = next(one for one in meta.__mro__ if one not in _received)
        hooking = [base for base in hooking if base in _received]
    if resolved is not bases:
        namespace = {**namespace, "__orig_bases__": bases}
    with _silenced(hooking):
        made: type = maker.__new__(meta, name, tuple(resolved), {**namespace})
    tracked: type = cloudpickle.cloudpickle._lookup_class_or_track(number, made)
    return tracked


def _first_in(modules: tuple[str, ...], meta: type) -> Any:
    return next(one for one in meta.__mro__ if one.__module__ in modules)


@contextmanager
def _silenced(classes: Iterable[type]) -> Iterator[None]:
    """Let classes do nothing where one is derived from them."""
    with _lock:
        hooks = {cls: vars(cls)["__init_subclass__"] for cls in classes if not _is_builtin(cls)}
        try:
            for cls in hooks:
                type.__setattr__(cls, "__init_subclass__", classmethod(_do_nothing))
            yield
        finally:
            for cls, hook in hooks.items():
                type.__setattr__(cls, "__init_subclass__", hook)


def _is_builtin(cls: type) -> bool:
    return cls.__module__ in ("builtins", "typing")


def _do_nothing(cls: type, /, **kwargs: object) -> None:
    pass


def _ancestors(bases: Iterable[Any]) -> list[type]:
    return list(dict.fromkeys(cls for base in bases for cls in base.__mro__))


# --- what is lost otherwise ---


def _with_slots(cls: type, args: tuple[Any, ...], state: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Let the class be made with its slots, and leave out what these bring along."""
    own = vars(cls)
    if "__slots__" not in own or _is_made_by_typing(args[_BASES]):
        return args, state
    members = {name for name, value in own.items() if _is_slot(cls, value)}
    declared = own["__slots__"]
    names = [declared] if isinstance(declared, str) else list(declared)
    names += sorted(members - {_mangled(name, cls) for name in names})  # an iterator is used up
    if not isinstance(declared, str | tuple | list | dict | set | frozenset):
        state = {**state, "__slots__": tuple(names)}
    state = {name: value for name, value in state.items() if name not in members}
    args = (*args[:_NAMESPACE], {**args[_NAMESPACE], "__slots__": tuple(names)}, *args[_NAMESPACE + 1 :])
    return args, state


def _is_slot(cls: type, value: object) -> bool:
    return isinstance(value, MemberDescriptorType) and value.__objclass__ is cls


def _mangled(name: str, cls: type) -> str:
    owner = cls.__name__.lstrip("_")
    return f"_{owner}{name}" if name.startswith("__") and not name.endswith("__") and owner else name


def _is_made_by_typing(bases: tuple[Any, ...]) -> bool:
    """Tell whether a class is made anew by `typing.NamedTuple` or `TypedDict`, which see to its slots themselves."""
    return any(getattr(base, "__name__", "") in ("NamedTuple", "TypedDict") for base in bases)


def _with_all_members(
    cls: Any, args: tuple[Any, ...], state: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """Let an enumeration have its aliases, and its members their attributes."""
    members = {name: member._value_ for name, member in cls.__members__.items()}
    args = (*args[:_ENUM_MEMBERS], members, *args[_ENUM_MEMBERS + 1 :])
    attributes = {
        name: {key: value for key, value in vars(member).items() if key not in _SET_BY_ENUM}
        for name, member in cls.__members__.items()
        if hasattr(member, "__dict__")
    }
    state = {name: value for name, value in state.items() if name not in members}
    return args, state, {name: found for name, found in attributes.items() if found}


_SET_BY_ENUM = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})


# --- classes that generic classes make ---


def _parametrised(cls: Any) -> Reduced | None:
    """Return how a class is had from the generic class that made it for its parameters."""
    made = vars(cls).get("__pydantic_generic_metadata__")
    origin, args = (made.get("origin"), made.get("args")) if isinstance(made, dict) else (None, None)
    if origin is not None and args:
        item = args[0] if len(args) == 1 else tuple(args)
        try:
            if origin[item] is cls:
                return _parametrise, (origin, item)
        except Exception:
            return None
    is_made_here = cls not in _received and (cls.__bases__[0] in _received or os.getpid() != _HOME)
    twin = _twin(cls) if is_made_here and "[" in cls.__qualname__ else None
    return None if twin is None else (_same, (twin,))


def _parametrise(origin: Any, item: Any) -> Any:
    return origin[item]


def _same(cls: type) -> type:
    return cls


def _twin(cls: type) -> type | None:
    """Return the class that came from elsewhere and that this one was made once more for, in the same way."""
    others: list[type] = cls.__bases__[0].__subclasses__()
    alike = [
        other
        for other in others
        if other in _received
        and (other.__module__, other.__qualname__, other.__bases__) == (cls.__module__, cls.__qualname__, cls.__bases__)
        and vars(other).keys() - _OF_STREAMS == vars(cls).keys() - _OF_STREAMS
    ]
    return alike[0] if len(alike) == 1 else None


_OF_STREAMS = frozenset({"__firstlineno__", "__static_attributes__", "__dict__", "__weakref__", "__slotnames__"})
