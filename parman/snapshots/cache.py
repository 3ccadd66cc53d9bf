# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the snapshots of one workflow have in common: big pieces of memory, and the random generators passed so far.

Memory that is met again is recognized by its bytes: a sample of them leads to the piece that was held last, which is
then compared in full. The address would be no better a key: it says nothing once the memory was freed and used
anew, so that the bytes have to be compared anyway, and it would miss a copy.
"""

from __future__ import annotations

import weakref
from typing import Any

from .attributes import Forgotten
from .buffers import Buffer
from .snapshot import Held

__all__ = ["BIG", "HUGE", "SnapshotCache"]

BIG = 1 << 20
"""Size from which memory is held beside the stream, and once [bytes]."""

HUGE = 1 << 25
"""Size from which it counts more that there are few copies than that they are made fast [bytes]."""

_SAMPLES = 96


class SnapshotCache:
    """What the snapshots of a workflow hold in common, as long as one of them holds it.

    Parameters
    ----------
    forgotten
        What is known of types whose pickles forget something.
    """

    def __init__(self, forgotten: Forgotten | None = None) -> None:
        self.forgotten = forgotten or Forgotten()
        self._buffers: weakref.WeakValueDictionary[tuple[int, bytes], Buffer] = weakref.WeakValueDictionary()
        self._strings: weakref.WeakValueDictionary[tuple[int, bytes], Held] = weakref.WeakValueDictionary()
        self._passed: weakref.WeakSet[Any] = weakref.WeakSet()
        self._passed_for_good: dict[int, object] = {}

    def keep(self, view: memoryview) -> Buffer:
        """Return a buffer with these bytes: one that is held, if they are the same, else a new one."""
        key = _sample(view)
        held = self._buffers.get(key)
        if held is None or not held.equals(view):
            held = self._buffers[key] = Buffer.of(view)
        return held

    def keep_string(self, string: str | bytes) -> Held:
        """Return a holder of this string, or of an equal one that is held."""
        key = _string_sample(string)
        held = self._strings.get(key)
        if held is None or held.value != string:
            held = self._strings[key] = Held(string)
        return held

    def pass_generators(self, generators: list[object]) -> object:
        """Note that a call is given these random generators.

        Returns
        -------
        object
            The first of them that an earlier call was given, in which case nothing is noted; else None.
        """
        marks = [(generator, _mark(generator)) for generator in generators]
        for generator, mark in marks:
            if id(mark) in self._passed_for_good or (_can_be_weak(mark) and mark in self._passed):
                return generator
        for _, mark in marks:
            if _can_be_weak(mark):
                self._passed.add(mark)
            else:
                self._passed_for_good[id(mark)] = mark
        return None


def _sample(view: memoryview) -> tuple[int, bytes]:
    size = view.nbytes
    step = size // _SAMPLES | 1  # odd, so that it meets all bytes of a number
    return size, b"".join((view[:64], view[::step].tobytes(), view[-64:]))


def _string_sample(string: str | bytes) -> tuple[int, bytes]:
    some = string[:: len(string) // _SAMPLES | 1]
    return len(string), some if isinstance(some, bytes) else b"s" + some.encode("utf-8", "surrogatepass")


def _mark(generator: Any) -> Any:
    """Return what is one with a generator; of a numpy one the lock of its bits, since that can be held weakly."""
    bits = getattr(generator, "bit_generator", None) or getattr(generator, "_bit_generator", generator)
    return getattr(bits, "lock", generator)


def _can_be_weak(mark: Any) -> bool:
    return type(mark).__weakrefoffset__ > 0 and hash(mark) == object.__hash__(mark)
