# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a snapshot shows of its value, without a line of the user's code.

It is for the message about a call whose worker has died. The arguments can't be rebuilt for that in the driver: it may
have been that which killed the worker. So the stream is read with placeholders for all classes and functions but some
of Python's and numpy's that are known to do no harm.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ..trees.nodes import short_repr
from .buffers import Buffer
from .snapshot import AtomSnapshot, Held, HeldArray, Snapshot, decoded, given

__all__ = ["Named", "preview", "shown"]

_MOST = 1 << 25
"""Longer streams are not read [bytes]."""

_HARMLESS: dict[str, str] = {
    "builtins": "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple",
    "collections": "Counter OrderedDict deque",
    "copyreg": "_reconstructor",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "pathlib": "Path PosixPath PurePath PurePosixPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath",
    "uuid": "UUID",
    "numpy": "dtype ndarray",
    **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"), "_reconstruct scalar"),
    **dict.fromkeys(("numpy.core.numeric", "numpy._core.numeric"), "_frombuffer"),
}


class Named:
    """Something that is shown by a name alone."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class _Kind(type):
    """A class, or a function, that is not looked at."""

    def __repr__(cls) -> str:
        return cls.__name__


class _Stranger(metaclass=_Kind):
    """An instance of a class that is not looked at: its name, and what its state names, or what it was made of."""

    def __new__(cls, *args: object, **kwargs: object) -> _Stranger:
        self = object.__new__(cls)
        self.__dict__.update(_args=args, _shown=kwargs)
        return self

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        for part in state if isinstance(state, tuple) else (state,):  # the second one is of slots
            if isinstance(part, dict):
                self.__dict__["_shown"].update(part)

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Take an item of a list."""

    def extend(self, items: object) -> None:
        """Take items of a list."""

    def add(self, item: object) -> None:
        """Take an item of a set."""

    def __call__(self, *args: object, **kwargs: object) -> _Stranger:
        return self

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        shown = [f"{name}={short_repr(value)}" for name, value in self.__dict__["_shown"].items()]
        parts = shown or [short_repr(arg) for arg in self.__dict__["_args"]]
        return f"{type(self).__name__}({', '.join(parts[:4] + ['...'] * (len(parts) > 4))})"


def _stranger(name: object) -> Any:
    return _Kind(str(name), (_Stranger,), {})


class _Reader(pickle.Unpickler):
    def __init__(self, stream: bytes, beside: Iterator[object]) -> None:
        super().__init__(io.BytesIO(stream), buffers=beside)
        self._strangers: dict[tuple[str, str], Any] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        if name in _HARMLESS.get(module, "").split():
            found = getattr(sys.modules.get(module), name, None)
            if found is not None:
                return found
        if module == given.__module__ and name in ("given", "decoded"):
            return given if name == "given" else decoded
        if module == "parman.snapshots.classes" and name == "_class_again":
            return lambda number, make, args: make(*args)
        if module.startswith("cloudpickle") and name in ("_make_skeleton_class", "_make_skeleton_enum"):
            return lambda kind, name, *rest: _stranger(name)
        if module.startswith("cloudpickle") and name == "_make_function":
            return lambda *parts: _stranger("<function>")
        key = (module, name)
        if key not in self._strangers:
            self._strangers[key] = _stranger(name.rpartition(".")[2])
        return self._strangers[key]

    def persistent_load(self, pid: Any) -> Any:
        make, content = pid
        return make(*content)


def preview(snapshot: Snapshot, slots: Sequence[object] = ()) -> Any:
    """Return what can be shown of a value, with placeholders for instances of classes that are not Python's.

    Parameters
    ----------
    snapshot
        The snapshot.
    slots
        For each future what is to be shown in its place.

    Raises
    ------
    Exception
        The snapshot is too long, or can't be read so.
    """
    if isinstance(snapshot, AtomSnapshot):
        return snapshot.load(slots)
    snapshot = snapshot.ordinary
    if len(snapshot.stream) > _MOST:
        raise ValueError("too long")
    return _Reader(snapshot.stream, _beside(snapshot, slots)).load()


def _beside(snapshot: Snapshot, slots: Sequence[object]) -> Iterator[object]:
    for item in snapshot.beside:
        if isinstance(item, Buffer):
            yield item.private()
        elif isinstance(item, HeldArray):
            yield item.value
        else:
            yield item.value if isinstance(item, Held) else slots[item]


def shown(value: object, otherwise: str) -> object:
    """Return what can be shown of a value, plain or a snapshot; a name if that is nothing."""
    if not isinstance(value, Snapshot):
        return value
    try:
        return preview(value)
    except Exception:
        return Named(otherwise)
