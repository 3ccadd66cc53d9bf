# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Big pieces of memory that many calls read and none may change.

A pending call must hold its arguments as they were, and a thousand pending calls may hold the same array. So the
bytes are copied once, into an anonymous memory file. Whoever runs maps that file privately: the map reads the file's
own pages and copies a page only when it is written, so that a copy costs what is changed of it. A descriptor of the
file can be sent to another process, which maps the very same memory.

Shared memory with names (`multiprocessing.shared_memory`) was considered: names outlive a killed process and need a
tracker, and its size is limited by the mount of `/dev/shm`. Anonymous files go with their last descriptor.

A descriptor is a scarce thing (often 1024 a process), and a user's `open()` must not fail because of us: when half of
them are in use, new buffers hold plain bytes instead, and a private copy is an ordinary copy. Nothing else changes.
"""

from __future__ import annotations

import mmap
import os
import resource
import tempfile
from pathlib import Path
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Buffer"]

_CHUNK = 1 << 18
"""Bytes that are compared at a time: they fit in the processor's cache beside what they are compared with."""


Memory = bytes | bytearray | memoryview | mmap.mmap


def _flat(content: Memory) -> memoryview:
    view = memoryview(content)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("parman", os.MFD_CLOEXEC)
    fd, name = tempfile.mkstemp(prefix="parman-")
    Path(name).unlink()
    return fd


def _write(fd: int, view: memoryview) -> None:
    done = 0
    while done < view.nbytes:
        done += os.write(fd, view[done:])


def _filled_file(view: memoryview) -> int | None:
    """Return the descriptor of a new file with these bytes, None where there is no room for another one."""
    try:
        fd = _new_file()
    except OSError:
        return None
    try:
        # The system gives the lowest free number, which thus says how many are in use.
        if fd < resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2:
            _write(fd, view)
            return fd
    except OSError:  # no memory or no space left for the file: the copy in plain memory says so, if it is true
        pass
    os.close(fd)
    return None


class _File:
    """Closes a descriptor when it is garbage.

    A buffer can't do that itself: weak references give an object out while its `__del__` runs, and whoever looks for a
    buffer in a ledger just then would get one whose file is closed.
    """

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        _close(self._fd)


class Buffer:
    """An immutable piece of memory in an anonymous file, mapped copy-on-write by those who use it.

    It pickles as its bytes; a pickler that can send descriptors sends `fileno()` and `size` instead, for `adopt`.

    Attributes
    ----------
    size
        Length [bytes].
    """

    __slots__ = ("__weakref__", "_bytes", "_fd", "_file", "size")

    size: int

    def __init__(self, fd: int | None, content: bytes | None, size: int) -> None:
        self._fd = fd
        self._file = None if fd is None else _File(fd)
        self._bytes = content
        self.size = size

    @classmethod
    def of(cls, content: Memory) -> Self:
        """Copy `content` (any contiguous memory) into a new buffer."""
        view = _flat(content)
        fd = _filled_file(view) if view.nbytes else None
        return cls(fd, view.tobytes() if fd is None else None, view.nbytes)

    @classmethod
    def adopt(cls, fd: int, size: int) -> Self:
        """Make the buffer of a file that another buffer made; the descriptor belongs to this buffer from now on."""
        return cls(fd, None, size)

    def fileno(self) -> int | None:
        """Return the descriptor of the file, None if the buffer holds plain bytes."""
        return self._fd

    def private(self) -> mmap.mmap | bytearray:
        """Return a writable copy, which costs only what is written to it."""
        if self._fd is None:
            return bytearray(self._bytes or b"")
        try:
            return mmap.mmap(self._fd, self.size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError:  # each map holds a descriptor of its own, and they may have run out
            return self._read()

    def readonly(self) -> memoryview:
        """Return the memory itself, which can't be written."""
        if self._fd is None:
            return memoryview(self._bytes or b"")
        try:
            return memoryview(mmap.mmap(self._fd, self.size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
        except OSError:
            return memoryview(self._read()).toreadonly()

    def equals(self, content: Memory) -> bool:
        """Say whether `content` (any contiguous memory) has the same bytes."""
        # Only a `bytearray` compares with other memory at the speed of memcmp, a `memoryview` does so item by item.
        # Reading chunks into one costs less than mapping the file, which faults for every few pages.
        view = _flat(content)
        if view.nbytes != self.size:
            return False
        chunk = bytearray(min(_CHUNK, self.size))
        for start in range(0, self.size, _CHUNK):
            piece = view[start : start + _CHUNK]
            if len(piece) < len(chunk):
                del chunk[len(piece) :]
            self._read_into(chunk, start)
            if chunk != piece:
                return False
        return True

    def _read_into(self, chunk: bytearray, start: int) -> None:
        if self._fd is None:
            chunk[:] = memoryview(self._bytes or b"")[start : start + len(chunk)]
        else:
            os.preadv(self._fd, [chunk], start)

    def _read(self) -> bytearray:
        content = bytearray(self.size)
        view = memoryview(content)
        done = 0
        while done < self.size:
            done += os.preadv(self._fd or 0, [view[done:]], done)
        return content

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"<Buffer of {self.size} bytes>"

    def __reduce__(self) -> tuple[Callable[..., Buffer], tuple[PickleBuffer]]:
        return Buffer.of, (PickleBuffer(self.readonly()),)
