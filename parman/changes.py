# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which arguments a task changed in place, in its own copy: a change that is lost, so the user wants to know.

The copy is pickled before and after the task has run, argument by argument, and the streams are compared. Both are
made of the same objects, so that they differ only if something changed. Big arrays are not copied for that, but
compared with the memory that the snapshot holds anyway.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from .buffers import Buffer
from .frozen import Held, HeldArray
from .ledgers import Ledger
from .picklers import write_in_process
from .trees import ATOMS

__all__ = ["Fingerprint", "changed", "fingerprint"]

Fingerprint: TypeAlias = "tuple[object, ...] | None"
"""Tells an argument before from one after a change; None if that can't be told."""


class _Comparing(Ledger):
    """Notes which of the held buffers a big array equals, instead of holding another copy of it."""

    def __init__(self, held: Sequence[Buffer]) -> None:
        super().__init__()
        self.held = held
        self.found: list[int] = []

    def keep(self, view: memoryview) -> Buffer:
        equal = (-1 - number for number, buffer in enumerate(self.held) if buffer.equals(view))
        self.found.append(next(equal, None) or zlib.crc32(view))
        return _EMPTY


_EMPTY = Buffer.of(b"")


def fingerprint(arguments: Mapping[str, object], buffers: Sequence[Buffer] = ()) -> dict[str, Fingerprint]:
    """Return what tells whether an argument changes; never raises.

    Parameters
    ----------
    arguments
        The copies that a task is given, or was given, by name.
    buffers
        Those of the snapshot that the copies were made from.
    """
    return {name: _fingerprint(value, buffers) for name, value in arguments.items() if type(value) not in ATOMS}


def changed(before: Mapping[str, Fingerprint], after: Mapping[str, Fingerprint]) -> list[str]:
    """Return the names of the arguments that differ."""
    return [name for name, old in before.items() if old is not None and after.get(name) not in (old, None)]


def _fingerprint(value: object, buffers: Sequence[Buffer]) -> Fingerprint:
    ledger = _Comparing(buffers)
    try:
        frozen, _ = write_in_process(value, ledger, without_cached=True)
    except Exception:
        return None
    return frozen.stream, tuple(ledger.found), tuple(map(_identity, frozen.beside))


class _Same:
    """Equal to itself and to what refers to the same object, whatever that thinks of equality."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]


def _identity(item: Buffer | Held | int) -> object:
    if isinstance(item, HeldArray):
        return item.value.dtype, item.value.shape, item.value.tobytes()
    if isinstance(item, Held):
        return item.value if isinstance(item.value, str | bytes) else _Same(item.value)
    return item if isinstance(item, int) else None
