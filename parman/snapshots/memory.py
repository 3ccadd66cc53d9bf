# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Anonymous memory files: when one may be filled anew, and which pages of a private map were written.

Shared memory with names (`multiprocessing.shared_memory`) was considered: names outlive a killed process and need a
tracker, and its size is limited by the mount of `/dev/shm`. Anonymous files go with their last descriptor.

What a new file costs is mostly the pages that the system has to find for it: filling an old one takes a quarter of the
time. So while calls with such files are on their way to other processes, a few that are garbage are kept as *spares*,
to be filled anew. A private map shows what is written to its file later, so a file must not become a spare unless it
is certain that nobody looks into it any more:

* no map of it that this process made is left (they are held weakly for this);
* each process that was sent it, or that it came from, has said that it has let go of it in the same sense (`lend`,
  `take_back`; without that, it is not certain);
* no process was forked since the file was made, which would have its maps as well.

One big file whose freed parts are given back (`MADV_REMOVE`) was considered, since it takes one descriptor for all: a
part can be given back only if all three are certain of it, and else stays for as long as the file. A file of its own
goes with the last who looks into it, whoever that is.

A page of a file that is mapped privately is the file's own until it is written; then it is a copy that belongs to no
file. Linux tells for each page in `/proc/self/pagemap` whether it is there and whether it is a file's. Where that
can't be read nothing is known, and the bytes have to be compared.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import resource
import sys
import tempfile
import threading
import weakref
from collections import deque
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..descriptors import lift

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Bulk",
    "File",
    "Spare",
    "Traces",
    "add_spare",
    "address_of",
    "drop_spares",
    "filled_file",
    "has_room_for",
    "is_untouched",
    "keep_spares",
    "rest",
    "take_spare",
]

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


_MOST_SPARES = 4
_BIGGEST_SPARE = 1 << 25
"""Files that are kept, and how big they may be [bytes]."""


def has_room_for(fd: int) -> bool:
    """Tell whether a descriptor may be kept: the other half of them is for the user's files.

    The system gives the lowest free number, which thus says how many are in use.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit == resource.RLIM_INFINITY or fd < limit // 2


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return lift(os.memfd_create("parman", os.MFD_CLOEXEC))
    fd, name = tempfile.mkstemp(prefix="parman-")
    Path(name).unlink()
    return lift(fd)


def _write(fd: int, view: memoryview, start: int = 0) -> None:
    done = 0
    while done < view.nbytes:
        done += os.pwrite(fd, view[done:], start + done)


def filled_file(view: memoryview) -> File | None:
    """Return a file with these bytes, None where there is no room for another one."""
    try:
        fd = _spare_file(view.nbytes)
        if fd is None:
            fd = _new_file()
    except OSError:
        return None
    try:
        if has_room_for(fd):
            _write(fd, view)
            return File(fd, view.nbytes)
    except OSError:  # no memory or no space left for the file: the copy in plain memory says so, if it is true
        pass
    os.close(fd)
    return None


# --- files that are filled anew ---

_lock = threading.Lock()
"""Held while a file is counted; never while something is called that may free an object."""

_forks = [0]
"""How many forks there were. In a list, since what is read at the end of the interpreter may be None by then."""

_spares: deque[Spare] = deque(maxlen=_MOST_SPARES)
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


class Spare:
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


def take_spare() -> Spare | None:
    """Take a file that nobody looks into, if there is one."""
    while True:
        try:
            found = _spares.pop()
        except IndexError:
            return None
        if found.forks == _forks[0]:
            return found


def _spare_file(size: int) -> int | None:
    found = take_spare() if size <= _BIGGEST_SPARE else None
    if found is None:
        return None
    fd = found.take()
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def add_spare(fd: int) -> None:
    """Keep a file that nobody looks into; the descriptor belongs to the spare from then on."""
    _spares.append(Spare(fd, _forks[0]))


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

    def __init__(self, file: File) -> None:
        self._file = weakref.ref(file)
        self._counter = _forks
        self.forks = _forks[0]
        # Those that are left, by numbers: what is done to a dict is done as a whole, whatever other threads do.
        self._maps: dict[int, weakref.ref[mmap.mmap]] = {}

    def add(self, made: mmap.mmap, tally: set[int]) -> mmap.mmap:
        """Note a map, here and in the tally of all maps that are left."""
        maps, number = self._maps, next(_numbers)

        def forget(_: object) -> None:
            tally.discard(number)
            maps.pop(number, None)

        tally.add(number)
        maps[number] = weakref.ref(made, forget)
        return made

    def are_of_maps(self) -> bool:
        """Tell whether there may be maps, here or in a forked process."""
        return bool(self._maps) or self.forks != self._counter[0]

    def are_left(self) -> bool:
        """Tell whether the file may be used, here or in a forked process."""
        return self._file() is not None or self.are_of_maps()


class _Descriptor:
    """Closes a descriptor when it is garbage, or makes it a spare.

    Nobody has a weak reference to it. Those give an object out while its `__del__` runs, and whoever got a file just
    then would have one that is closed, whose number may be that of another one by now.
    """

    __slots__ = ("fd", "others", "size", "traces")

    def __init__(self, fd: int, size: int, others: int, traces: Traces) -> None:
        self.fd = fd
        self.size = size
        self.others = others
        self.traces = traces

    def __del__(
        self,
        # Globals may be None at the end of the interpreter.
        _close: Callable[[int], None] = os.close,
        _most: int = _BIGGEST_SPARE,
        _keep: Callable[[Spare], None] = _spares.append,
        _make: type[Spare] = Spare,
        _users: set[int] = _users,
    ) -> None:
        if self.fd < 0:
            return
        if not _users or self.size > _most or self.others or self.traces.are_of_maps():
            _close(self.fd)
        else:
            _keep(_make(self.fd, self.traces.forks))


class File:
    """An anonymous memory file, until the last one who has this is gone.

    Parameters
    ----------
    fd
        The descriptor, which belongs to this object from now on.
    size
        Length [bytes]; a file that is sent to be filled has none.
    others
        How many other processes may look into the file.
    """

    __slots__ = ("__weakref__", "_descriptor")

    def __init__(self, fd: int, size: int, others: int = 0) -> None:
        self._descriptor = _Descriptor(fd, size, others, Traces(self))

    @property
    def fd(self) -> int:
        """The descriptor."""
        return self._descriptor.fd

    @property
    def size(self) -> int:
        """Length [bytes]."""
        return self._descriptor.size

    @property
    def traces(self) -> Traces:
        """What tells whether this process has let go of the file."""
        return self._descriptor.traces

    def grow(self, length: int) -> None:
        """Note that something was appended [bytes]."""
        self._descriptor.size += length

    def surrender(self) -> int:
        """Hand over the descriptor."""
        descriptor = self._descriptor
        fd, descriptor.fd = descriptor.fd, -1
        return fd

    def lend(self) -> None:
        """Note that another process is sent the file."""
        self._count_others(1)

    def take_back(self) -> None:
        """Note that a process has let go of the file, which it was lent or which it made."""
        self._count_others(-1)

    def _count_others(self, change: int) -> None:
        with _lock:
            self._descriptor.others += change

    def read(self, start: int, size: int) -> bytes:
        """Return a part of the content."""
        content = os.pread(self.fd, size, start)
        if len(content) == size:
            return content
        whole = bytearray(size)  # one system call reads no more than 2 GB
        self.read_into(memoryview(whole), start)
        return bytes(whole)

    def read_into(self, view: memoryview, start: int) -> None:
        """Fill memory with a part of the content."""
        done = 0
        while done < view.nbytes:
            count = os.preadv(self.fd, [view[done:]], start + done)
            if not count:
                raise OSError(errno.EIO, f"a memory file ends after {start + done} bytes")
            done += count


class Bulk:
    """One file for many pieces, which travel together.

    Attributes
    ----------
    file
        The file.
    """

    __slots__ = ("file",)

    def __init__(self, file: File) -> None:
        self.file = file

    @classmethod
    def begin(cls) -> Bulk | None:
        """Make an empty one, None where there is no room for another file."""
        try:
            fd = _new_file()
        except OSError:
            return None
        if has_room_for(fd):
            return cls(File(fd, 0))
        os.close(fd)
        return None

    def add(self, view: memoryview) -> int | None:
        """Append a piece, and return where it begins; None if there is no room for it."""
        start = self.file.size
        try:
            _write(self.file.fd, view, start)
        except OSError:
            return None
        self.file.grow(view.nbytes)
        return start
