# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Paths: how a place inside of a tree is noted and written, and how values are shown in messages."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Attr", "Index", "Key", "Path", "Step", "format_path", "short_repr"]


@dataclass(frozen=True, slots=True)
class Index:
    """The step to an item of a list or tuple."""

    position: int

    def __str__(self) -> str:
        return f"[{self.position}]"


@dataclass(frozen=True, slots=True)
class Key:
    """The step to a value of a dict."""

    key: object

    def __str__(self) -> str:
        return f"[{short_repr(self.key)}]"


@dataclass(frozen=True, slots=True)
class Attr:
    """The step to a field of a named tuple, dataclass or attrs instance."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"


Step: TypeAlias = Index | Key | Attr
Path: TypeAlias = tuple[Step, ...]


class _Shortener(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 4

    def repr_instance(self, x: Any, level: int) -> str:
        """Name the kind and shape of a big array, the repr of which takes long and says little."""
        size = getattr(x, "size", None)
        if isinstance(size, int) and size > 10 and hasattr(x, "dtype"):
            return f"<{type(x).__name__} {x.dtype} {getattr(x, 'shape', '')}>"
        return super().repr_instance(x, level)


def short_repr(value: object) -> str:
    """Return a repr on one line and of limited length, whatever the value's own repr does."""
    try:
        text = " ".join(_Shortener().repr(value).split())
    except Exception:
        text = f"<{type(value).__name__} at {id(value):#x}>"
    return text if len(text) <= 200 else f"{text[:197]}..."


def format_path(name: str, path: Path) -> str:
    """Return a place as the user would write it, such as `x['io'][1].cell`."""
    return name + "".join(map(str, path))
