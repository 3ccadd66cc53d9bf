# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Structs of msgspec, whose layout and options are held in C: how a class of a script, and an instance, are made again.

A class is made by msgspec again, from its fields and its options; its methods and the types of its fields, which may
refer to the class itself, are set after. Instances are made without `__post_init__`, which has run where they come
from.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import cloudpickle  # type: ignore[import-untyped, unused-ignore]

__all__ = ["described_struct", "is_prepared_struct", "is_struct", "reduce_prepared_struct"]

_OPTIONS = (
    "frozen eq order array_like gc repr_omit_defaults omit_defaults forbid_unknown_fields weakref dict cache_hash tag "
    "tag_field"
)
_QUIET = "_parman_quiet"
_SET_BY_MSGSPEC = frozenset(
    (
        "__struct_fields__ __struct_defaults__ __struct_encode_fields__ __struct_config__ __match_args__ __dict__ "
        f"__weakref__ __slots__ {_QUIET}"
    ).split()
)


def is_struct(cls: type) -> bool:
    """Tell whether a class is a struct."""
    module: Any = sys.modules.get("msgspec")
    return module is not None and isinstance(cls, type(module.Struct))


def described_struct(cls: Any, usual: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return what makes a struct again, with which arguments, and what is set on it after.

    Parameters
    ----------
    cls
        The struct.
    usual
        What cloudpickle would write.
    """
    _, (_, name, bases, _, number, _), (state, _), _, _, _ = usual
    config = cls.__struct_config__
    options = {name: getattr(config, name) for name in _OPTIONS.split() if hasattr(config, name)}
    fields: tuple[str, ...] = cls.__struct_fields__
    own = [field for field in vars(cls).get("__annotations__", {}) if field in fields]
    options["kw_only"] = any(field not in cls.__match_args__ for field in own)
    encoded = zip(fields, cls.__struct_encode_fields__, strict=True)
    options["rename"] = {field: other for field, other in encoded if field != other and field in own} or None
    defaults = dict(zip(reversed(fields), reversed(cls.__struct_defaults__), strict=False))
    plan = {field: _default(defaults[field]) if field in defaults else () for field in own}
    place = (cls.__module__, cls.__qualname__)
    state = {key: value for key, value in state.items() if key not in _SET_BY_MSGSPEC and key not in fields}
    return _struct_again, (number, bases, name, place, plan, options, "__post_init__" in vars(cls)), state


def _default(value: Any) -> tuple[Any, ...]:
    """Return nothing for no default, a default, or two of which the second makes one."""
    if value is sys.modules["msgspec"].NODEFAULT:
        return ()
    return (None, value.factory) if type(value).__name__ == "Factory" else (value,)


def _struct_again(
    number: str,
    bases: Any,
    name: str,
    place: tuple[str, str],
    plan: dict[str, Any],
    options: dict[str, Any],
    prepares: bool,
) -> type:
    msgspec = importlib.import_module("msgspec")
    resolved = types.resolve_bases(bases)
    module, qualname = place
    namespace: dict[str, Any] = {"__module__": module, "__qualname__": qualname}
    namespace["__annotations__"] = dict.fromkeys(plan, Any)
    for field, default in plan.items():
        if default:
            namespace[field] = default[0] if len(default) == 1 else msgspec.field(default_factory=default[1])
    if resolved is not bases:
        namespace["__orig_bases__"] = bases
    if prepares:  # msgspec looks for it only once
        namespace["__post_init__"] = _prepare
    meta: Any = type(msgspec.Struct)
    made: type = meta(name, tuple(resolved), namespace, **options)
    tracked: type = cloudpickle.cloudpickle._lookup_class_or_track(number, made)
    return tracked


def _prepare(self: Any) -> None:
    self.__post_init__()


def is_prepared_struct(cls: Any) -> bool:
    """Tell whether instances of a class are made by msgspec with a call of `__post_init__`."""
    return is_struct(cls) and hasattr(cls, "__post_init__") and cls.__reduce__ is _struct().__reduce__


def _struct() -> Any:
    return sys.modules["msgspec"].Struct


def reduce_prepared_struct(obj: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return what an instance of such a class becomes in a stream."""
    make, args = obj.__reduce__()
    return _instance_again, ((type(obj), args, {}) if make is type(obj) else (args[0], (), args[1]))


def _instance_again(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    quiet = vars(cls).get(_QUIET)
    if quiet is None:
        quiet = type(_struct())(cls.__name__, (cls,), {"__post_init__": _do_nothing, "__module__": cls.__module__})
        type.__setattr__(cls, _QUIET, quiet)
    instance = quiet(*args, **kwargs)
    object.__dict__["__class__"].__set__(instance, cls)
    return instance


def _do_nothing(self: Any) -> None:
    pass
