# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Memory maps travel as references to their file: what is opened is the same part of it, in the same mode.

pickle and deepcopy would read the file into memory. What numpy notes of a map (its offset and mode) belongs to the
map and not to a slice of it; the place of a slice in the file follows from its address.

A copy-on-write map (mode "c") may differ from its file. It is a reference only as long as it does not.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["FilePlace", "file_place", "is_shared_map", "opened_map"]


class FilePlace(NamedTuple):
    """A part of a file, seen as an array."""

    filename: str
    mode: str
    start: int
    """Where the part begins in the file [bytes]."""
    size: int
    """Length of the part [bytes]."""
    first: int
    """Where the first item of the array is in the part [bytes]."""
    dtype: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    cls: type


def _root(array: Any) -> Any:
    """Return the memory map that an array is a view of, None if it is none."""
    numpy: Any = sys.modules["numpy"]
    while isinstance(array, numpy.ndarray):
        if isinstance(array, numpy.memmap) and array._mmap is not None:
            return array
        array = array.base
    return None


def _address(memory: Any) -> int:
    numpy: Any = sys.modules["numpy"]
    address: int = numpy.frombuffer(memory, "u1").__array_interface__["data"][0]
    return address


def is_shared_map(array: Any) -> bool:
    """Tell whether an array is a view of a map that all views of the file have in common."""
    root = _root(array)
    return root is not None and root.mode != "c"


def file_place(array: Any) -> FilePlace | None:
    """Return which part of which file an array is; None if it is none, or differs from its file."""
    root = _root(array)
    if root is None or root.filename is None or array.size == 0 or array.dtype.hasobject:
        return None
    steps = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    below = -sum(step for step in steps if step < 0)
    size = below + sum(step for step in steps if step > 0) + array.itemsize
    address = array.__array_interface__["data"][0] - below
    # A map begins at a multiple of this, and numpy notes where the array begins.
    start = root.offset - root.offset % mmap.ALLOCATIONGRANULARITY + address - _address(root._mmap)
    mode = "r+" if root.mode == "w+" else root.mode
    cls = type(array) if type(array) is type(root) else sys.modules["numpy"].ndarray
    place = FilePlace(os.fspath(root.filename), mode, start, size, below, array.dtype, array.shape, array.strides, cls)
    return place if _is_there(place, array) else None


def _is_there(place: FilePlace, array: Any) -> bool:
    try:
        return Path(place.filename).stat().st_size >= place.start + place.size and (
            place.mode != "c" or opened_map(place._replace(mode="r")).tobytes() == array.tobytes()
        )
    except OSError:
        return False


def opened_map(place: FilePlace) -> Any:
    """Map the part of the file, and return the array that it is."""
    numpy: Any = sys.modules.get("numpy") or __import__("numpy")
    whole = numpy.memmap(place.filename, "u1", place.mode, place.start, (place.size,))
    array = numpy.ndarray.__new__(place.cls, place.shape, place.dtype, whole, place.first, place.strides)
    if isinstance(array, numpy.memmap):
        array._mmap, array.filename, array.offset, array.mode = whole._mmap, whole.filename, whole.offset, whole.mode
    return array
