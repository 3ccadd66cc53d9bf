# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Placeholders: what a call returns in place of a dataclass or attrs instance, with futures as fields.

A placeholder is an instance of a subclass that is made here, so that `isinstance` holds. It is made without `__init__`,
which could not do much with futures. It promises two things: its fields, and that it can be passed on. A task that
receives it gets the object that the call really returned, of which the placeholder holds the future, or a copy of that
with the fields replaced that the user has assigned since. All else (methods, properties, comparisons, copies) would
work on futures as if they were values, so it raises an error that says so.
"""

from __future__ import annotations

import functools
from abc import ABCMeta
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NoReturn

from ..errors import FutureUseError
from ..trees.nodes import Attr, Path, Placeholder, is_leaf
from ..trees.walk import futures_in, walk
from .future import CallFuture

__all__ = ["make_placeholder"]

_OPERATIONS = (
    "lt le gt ge eq ne hash bool len iter next reversed contains getitem setitem delitem call enter exit "
    "add radd iadd sub rsub isub mul rmul imul truediv rtruediv floordiv mod pow matmul and or xor neg pos abs invert "
    "int float complex index round format bytes fspath array copy deepcopy replace await aiter anext"
)


def make_placeholder(cls: type, fields: Mapping[str, object], whole: CallFuture) -> Any:
    """Make an instance of a subclass of `cls` that holds futures.

    Parameters
    ----------
    cls
        A dataclass or an attrs class.
    fields
        The structure for each field.
    whole
        The future of the object itself.
    """
    instance: Any = object.__new__(_placeholder_class(cls))
    for name, value in fields.items():
        object.__setattr__(instance, name, value)
    whole.cover(sum(map(_count_leaves, fields.values())))
    object.__setattr__(instance, "_parman_whole", whole)
    object.__setattr__(instance, "_parman_changes", {})
    return instance


def _count_leaves(field: object) -> int:
    """Return how many leaves of the call are in a field, those that stand for a whole object included."""
    if isinstance(field, CallFuture):
        return 1
    if isinstance(field, _Behaviour):
        get = object.__getattribute__
        return 1 + sum(_count_leaves(get(field, name)) for name in get(field, "_parman_fields"))
    return sum(_count_leaves(leaf) for _, leaf in walk(field)) if not is_leaf(field) else 0


@functools.lru_cache(maxsize=256)
def _placeholder_class(cls: type) -> type:
    names = _field_names(cls)
    namespace: dict[str, object] = {
        "__slots__": ("_parman_changes", "_parman_whole"),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "_parman_class": cls,
        "_parman_fields": names,
        **{f"__{name}__": _refusal(cls, f"__{name}__") for name in _OPERATIONS.split() if hasattr(cls, f"__{name}__")},
    }
    # Past the metaclasses of users, which may want keywords, or keep books of the classes that they make.
    meta = type(cls)
    maker: Any = ABCMeta if issubclass(meta, ABCMeta) else type
    made: type = maker.__new__(meta, cls.__name__, (_Behaviour, cls), namespace)
    return made


def _field_names(cls: Any) -> frozenset[str]:
    if hasattr(cls, "__attrs_attrs__"):
        return frozenset(attribute.name for attribute in cls.__attrs_attrs__)
    return frozenset(cls.__dataclass_fields__)


def _refusal(cls: type, name: str) -> Callable[..., NoReturn]:
    def refuse(self: Any, *args: object, **kwargs: object) -> NoReturn:
        _refuse(self, cls, name)

    return refuse


def _refuse(instance: Any, cls: type, name: str) -> NoReturn:
    whole = object.__getattribute__(instance, "_parman_whole")
    raise FutureUseError(
        f"{cls.__name__}.{name} can't be used yet: this {cls.__name__} is the result of {whole.origin} and "
        "still holds futures; resolve() it, or pass it to a task in the block"
    )


class _Behaviour(Placeholder):
    """What all placeholders do, whatever class they stand for."""

    __slots__ = ()
    _parman_class: Any
    _parman_fields: frozenset[str]

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Do nothing: the hooks of the real class are for those that users derive from it."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise FutureUseError(
            f"a placeholder for {type(self).__name__} that holds futures can't be made anew, as by replace(); "
            "assign to its fields, resolve() it, or pass it to a task in the block"
        )

    def _parman_pass(self) -> tuple[CallFuture, dict[str, object]]:
        get = object.__getattribute__
        changes: dict[str, object] = get(self, "_parman_changes")
        inner = {name: get(self, name) for name in get(self, "_parman_fields") - changes.keys()}
        changed = {name: value for name, value in inner.items() if _holds_changes(value)}
        return get(self, "_parman_whole"), {**changed, **changes}

    def __parman_futures__(self) -> list[tuple[Path, Future[Any]]]:
        whole, changes = self._parman_pass()
        return [
            ((), whole),
            *(((Attr(name), *path), future) for name, value in changes.items() for path, future in futures_in(value)),
        ]

    def __getattribute__(self, name: str) -> Any:
        get = object.__getattribute__
        if name in get(self, "_parman_fields") or name.startswith(("__", "_parman_")):
            return get(self, name)
        cls = get(self, "_parman_class")
        if hasattr(cls, name):
            _refuse(self, cls, name)
        raise AttributeError(f"{cls.__name__} has no field {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        cls = self._parman_class
        if _is_frozen(cls):
            cls.__setattr__(self, name, value)  # raises, as it does for the real object
        if name not in self._parman_fields:
            _refuse(self, cls, name)
        object.__setattr__(self, name, value)
        self._parman_changes[name] = value

    def __delattr__(self, name: str) -> None:
        _refuse(self, self._parman_class, name)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        _refuse(self, self._parman_class, "__reduce_ex__")

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={object.__getattribute__(self, name)!r}" for name in sorted(self._parman_fields))
        return f"<{type(self).__name__} with futures: {fields}>"


def _holds_changes(field: object) -> bool:
    """Tell whether a field was assigned to on a placeholder in this field: then the field is not the real object's."""
    return any(isinstance(leaf, _Behaviour) and leaf._parman_pass()[1] for _, leaf in walk(field))


def _is_frozen(cls: Any) -> bool:
    parameters = getattr(cls, "__dataclass_params__", None)
    if parameters is not None:
        return bool(parameters.frozen)
    return cls.__setattr__ is not object.__setattr__ and cls.__setattr__.__name__ == "_frozen_setattrs"
