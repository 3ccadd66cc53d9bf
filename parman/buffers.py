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

What a new file costs is mostly the pages that the system has to find for it: filling an old one takes a quarter of the
time. So while calls with such buffers are on their way to other processes, a few files whose buffers are garbage are
kept as *spares*, to be filled anew. A private map shows what is written to its file later, so a file must not become a
spare unless it is certain that nobody looks into it any more:

* no map of it that this process made is left (they are held weakly for this);
* each process that was sent it, or that it came from, has said that it has let go of it in the same sense (`lend`,
  `take_back`; without that, it is not certain);
* no process was forked since the file was made, which would have its maps as well.
"""

from __future__ import annotations

import itertools
import mmap
import os
import resource
import tempfile
import threading
import weakref
from collections import deque
from pathlib import Path
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Buffer", "Traces", "drop_spares", "keep_spares", "rest", "spare"]

_CHUNK = 1 << 18
"""Bytes that are compared at a time: they fit in the processor's cache beside what they are compared with."""


_MOST_SPARES = 4
_BIGGEST_SPARE = 1 << 25
"""Files that are kept, and how big they may be [bytes]."""

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
        done += os.pwrite(fd, view[done:], done)


def _filled_file(view: memoryview) -> int | None:
    """Return the descriptor of a file with these bytes, None where there is no room for another one."""
    try:
        fd = _spare_file(view.nbytes)
        if fd is None:
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


# --- files that are filled anew ---

_lock = threading.Lock()
"""Held while a file is counted; never while something is called that may free an object."""

_forks = [0]
"""How many forks there were. In a list, since what is read at the end of the interpreter may be None by then."""

_spares: deque[_Spare] = deque(maxlen=_MOST_SPARES)
_users: set[int] = set()
"""Who would fill them."""
_numbers = itertools.count()


def _note_fork() -> None:
    _forks[0] += 1


def _begin_child() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it
    _note_fork()


# Before and after, since other threads may make files in between.
os.register_at_fork(before=_note_fork, after_in_parent=_note_fork, after_in_child=_begin_child)


class _Spare:
    """A file that nobody looks into."""

    __slots__ = ("_fd", "forks")

    def __init__(self, fd: int, forks: int) -> None:
        self._fd = fd
        self.forks = forks

    def take(self) -> int:
        """Hand over the descriptor."""
        fd, self._fd = self._fd, -1
        return fd

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        if self._fd >= 0:
            _close(self._fd)


def _take_spare() -> _Spare | None:
    while True:
        try:
            found = _spares.pop()
        except IndexError:
            return None
        if found.forks == _forks[0]:
            return found


def _spare_file(size: int) -> int | None:
    found = _take_spare() if size <= _BIGGEST_SPARE else None
    if found is None:
        return None
    fd = found.take()
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def spare() -> Buffer | None:
    """Take a spare file, to be sent to a process that has more use for it; see `Buffer.surrender`."""
    found = _take_spare()
    return None if found is None else Buffer(found.take(), None, 0)


def drop_spares() -> None:
    """Give the memory of spare files back."""
    _spares.clear()


def keep_spares(user: object) -> None:
    """Let there be spares until this user rests."""
    _users.add(id(user))


def rest(user: object) -> None:
    """Note that a user has no need of spares: without one, none are kept."""
    _users.discard(id(user))
    if not _users:
        drop_spares()


class Traces:
    """What tells whether this process may still look into a file; outlives the buffer."""

    __slots__ = ("_counter", "_file", "_maps", "forks")

    def __init__(self, file: _File) -> None:
        self._file = weakref.ref(file)
        self._counter = _forks
        self.forks = _forks[0]
        # Those that are left, by numbers: what is done to a dict is done as a whole, whatever other threads do.
        self._maps: dict[int, weakref.ref[mmap.mmap]] = {}

    def add(self, made: mmap.mmap) -> mmap.mmap:
        """Note a map."""
        maps, number = self._maps, next(_numbers)
        maps[number] = weakref.ref(made, lambda _: maps.pop(number, None))
        return made

    def are_of_maps(self) -> bool:
        """Tell whether there may be maps, here or in a forked process."""
        return bool(self._maps) or self.forks != self._counter[0]

    def are_left(self) -> bool:
        """Tell whether the buffer may be used, here or in a forked process."""
        return self._file() is not None or self.are_of_maps()


class _File:
    """Closes a descriptor when it is garbage, or makes it a spare.

    A buffer can't do that itself: weak references give an object out while its `__del__` runs, and whoever looks for a
    buffer in a ledger just then would get one whose file is closed.

    Attributes
    ----------
    others
        How many other processes may look into the file.
    """

    __slots__ = ("__weakref__", "_fd", "_size", "others", "traces")

    def __init__(self, fd: int, size: int, others: int) -> None:
        self._fd = fd
        self._size = size
        self.others = others
        self.traces = Traces(self)

    def surrender(self) -> int:
        """Hand over the descriptor."""
        fd, self._fd = self._fd, -1
        return fd

    def __del__(
        self,
        # Globals may be None at the end of the interpreter.
        _close: Callable[[int], None] = os.close,
        _most: int = _BIGGEST_SPARE,
        _keep: Callable[[_Spare], None] = _spares.append,
        _make: type[_Spare] = _Spare,
        _users: set[int] = _users,
    ) -> None:
        if self._fd < 0:
            return
        if not _users or self._size > _most or self.others or self.traces.are_of_maps():
            _close(self._fd)
        else:
            _keep(_make(self._fd, self.traces.forks))


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

    def __init__(self, fd: int | None, content: bytes | None, size: int, others: int = 0) -> None:
        self._fd = fd
        self._file = None if fd is None else _File(fd, size, others)
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
        """Make the buffer of a file that another process made; the descriptor belongs to this buffer from now on."""
        return cls(fd, None, size, others=1)

    # --- who else looks into the file ---

    def lend(self) -> None:
        """Note that another process is sent the file."""
        self._count_others(1)

    def take_back(self) -> None:
        """Note that a process has let go of the file, which it was lent or which it made."""
        self._count_others(-1)

    def _count_others(self, change: int) -> None:
        if self._file is not None:
            with _lock:
                self._file.others += change

    @property
    def traces(self) -> Traces | None:
        """What will tell whether this process has let go of the file; None if there is none."""
        return None if self._file is None else self._file.traces

    @property
    def is_spare(self) -> bool:
        """Whether this is nothing but a file to be filled; see `spare`."""
        return self.size == 0 and self._file is not None

    def surrender(self) -> None:
        """Make the file a spare of this process; for a buffer that another one made with `spare`."""
        if self.is_spare:
            assert self._file is not None
            _spares.append(_Spare(self._file.surrender(), _forks[0]))
            self._fd = self._file = None

    # --- its content ---

    def fileno(self) -> int | None:
        """Return the descriptor of the file, None if the buffer holds plain bytes."""
        return self._fd

    def private(self) -> mmap.mmap | bytearray:
        """Return a writable copy, which costs only what is written to it."""
        if self._fd is None:
            return bytearray(self._bytes or b"")
        try:
            return self._map(mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError:  # each map holds a descriptor of its own, and they may have run out
            return self._read()

    def readonly(self) -> memoryview:
        """Return the memory itself, which can't be written."""
        if self._fd is None:
            return memoryview(self._bytes or b"")
        try:
            return memoryview(self._map(mmap.PROT_READ))
        except OSError:
            return memoryview(self._read()).toreadonly()

    def _map(self, protection: int) -> mmap.mmap:
        assert self._fd is not None
        assert self._file is not None
        return self._file.traces.add(mmap.mmap(self._fd, self.size, flags=mmap.MAP_PRIVATE, prot=protection))

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
