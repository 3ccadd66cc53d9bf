# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which pages of a private map were written, as the system knows it.

A page of a file that is mapped privately is the file's own until it is written; then it is a copy that belongs to no
file. Linux tells for each page in `/proc/self/pagemap` whether it is there and whether it is a file's. Where that
can't be read nothing is known, and the bytes have to be compared.
"""

from __future__ import annotations

import mmap
import os
import sys
from functools import cache
from typing import Any

__all__ = ["address_of", "is_untouched"]

_IS_A_FILES = 1 << 61
_IS_THERE = 3 << 62
"""In memory, or swapped out."""


def address_of(memory: Any) -> int | None:
    """Return where memory is; None without numpy, which knows."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return None
    address: int = numpy.frombuffer(memory, "u1").__array_interface__["data"][0]
    return address


def is_untouched(address: int, size: int) -> bool:
    """Tell whether it is certain that no page of this private map of a file was written."""
    numpy: Any = sys.modules.get("numpy")
    first, last = address // mmap.PAGESIZE, (address + size - 1) // mmap.PAGESIZE
    content = _page_map(8 * first, 8 * (last - first + 1)) if numpy is not None and _tells() else b""
    if len(content) != 8 * (last - first + 1):
        return False
    pages = numpy.frombuffer(content, "u8")
    written = ((pages & numpy.uint64(_IS_THERE)) != 0) & ((pages & numpy.uint64(_IS_A_FILES)) == 0)
    return not written.any()


def _page_map(start: int, size: int) -> bytes:
    try:
        fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(fd, size, start)
    except OSError:
        return b""
    finally:
        os.close(fd)


@cache
def _tells() -> bool:
    """Try with a page that is read, and then written, whether the system tells the difference."""
    if not hasattr(os, "memfd_create"):
        return False
    fd = os.memfd_create("parman-pages", os.MFD_CLOEXEC)
    try:
        os.pwrite(fd, b"a" * mmap.PAGESIZE, 0)
        tried = mmap.mmap(fd, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(fd)
    address = address_of(tried)
    if address is None:
        return False
    entry = 8 * (address // mmap.PAGESIZE)
    tried[0]
    read = int.from_bytes(_page_map(entry, 8), sys.byteorder)
    tried[0] = 1
    written = int.from_bytes(_page_map(entry, 8), sys.byteorder)
    return bool(read & _IS_THERE and read & _IS_A_FILES and written & _IS_THERE and not written & _IS_A_FILES)
