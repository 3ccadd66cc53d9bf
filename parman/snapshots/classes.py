# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Classes and other types of scripts and notebooks that travel: made again as they were, one object in each process.

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
- Structs of msgspec hold their layout and options in C. Such a class is made by msgspec again, from its fields and its
  options; its methods and the types of its fields, which may refer to the class itself, are set after. Instances are
  made without `__post_init__`, which has run where they come from.
- Types that are no classes (`NewType`, `ParamSpec`, aliases and the like) are pickled by their names, which mean
  nothing where the script is not `__main__`. They are compared by identity, so each is made once in a process; but
  aliases, which stand for something else.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from types import MemberDescriptorType
from typing import Any, TypeAlias
from weakref import WeakSet

import cloudpickle  # type: ignore[import-untyped, unused-ignore]

__all__ = [
    "TYPES",
    "described_struct",
    "is_prepared_struct",
    "is_struct",
    "reduce_class",
    "reduce_parametrised",
    "reduce_prepared_struct",
    "reduce_type",
    "subscription",
]

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
        quiet = type(_struct())(cls.__name__, (cls,), {"__post_init__": _leave_as_it_is, "__module__": cls.__module__})
        type.__setattr__(cls, _QUIET, quiet)
    instance = quiet(*args, **kwargs)
    object.__dict__["__class__"].__set__(instance, cls)
    return instance


def _leave_as_it_is(self: Any) -> None:
    pass


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


def reduce_parametrised(cls: Any) -> Reduced | None:
    """Return how a class is had from the generic class that made it for its parameters; None if there is none.

    Also one that can be imported here: pydantic puts some among the names of their module, in this process.
    """
    made = vars(cls).get("__pydantic_generic_metadata__")
    origin, args = (made.get("origin"), made.get("args")) if isinstance(made, dict) else (None, None)
    if origin is None or not args:
        return None
    item = args[0] if len(args) == 1 else tuple(args)
    try:
        return (_parametrise, (origin, item)) if origin[item] is cls else None
    except Exception:  # of a class of the user's, whose parameters are of another kind
        return None


def _parametrised(cls: Any) -> Reduced | None:
    reduced = reduce_parametrised(cls)
    if reduced is not None:
        return reduced
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
