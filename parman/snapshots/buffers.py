# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Big pieces of memory that many calls read and none may change.

A pending call must hold its arguments as they were, and a thousand pending calls may hold the same array. So the
bytes are copied once, into an anonymous memory file (see `memory`). Whoever runs maps that file privately: the map
reads the file's own pages and copies a page only when it is written, so that a copy costs what is changed of it. A
descriptor of the file can be sent to another process, which maps the very same memory.

A descriptor is a scarce thing (often 1024 a process), so is a map (65,530), which holds a descriptor as well, and a
user may hold any number of results. So the number of both is bounded, whatever the number of buffers is:

* Some dozens of buffers have files (`_Tier._files`). What is copied when there are that many stays in plain memory. For
  one that comes in a file, or travels again, the oldest is *parked*: its bytes are moved to plain memory. What is there
  is written to a file for each journey, and has one from the second on.
* Some dozens of maps exist (`_Tier.maps`). Beyond that a private copy is an ordinary copy.
* What is huge has bounds of its own, so that many small ones don't make the copies of a few huge ones dear.
* When half of the descriptors of the process are in use, by whomever, no buffer has a file.
* Many buffers that travel together share one file; who receives it copies the pieces that it wants to keep, since a
  single one would keep the memory of all.

What a buffer holds, `_held`, is either a file or bytes. It is changed by one assignment, and who reads it once has
something whole, which lives as long as it is used: so no lock is needed.
"""

from __future__ import annotations

import itertools
import mmap
import resource
import weakref
from collections import OrderedDict
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Self

from ..descriptors import map_file
from .memory import File, Traces, add_spare, filled_file, has_room_for, take_spare

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Buffer", "spare"]

_CHUNK = 1 << 18
"""Bytes that are compared at a time: they fit in the processor's cache beside what they are compared with."""
_HUGE = 1 << 25
"""Size from which a copy that could be a map is a pity [bytes]."""

Memory = bytes | bytearray | memoryview | mmap.mmap


def _flat(content: Memory) -> memoryview:
    view = memoryview(content)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def spare() -> Buffer | None:
    """Take a spare file, to be sent to a process that has more use for it; see `Buffer.surrender`."""
    found = take_spare()
    return None if found is None else Buffer(File(found.take(), 0), 0)


class _Tier:
    """The buffers of some sizes that have a file, and the maps of such buffers.

    Parameters
    ----------
    most
        How many there may be of each.
    share
        They take at most this fraction of the descriptors that a process may have, each.

    Attributes
    ----------
    maps
        Numbers of the maps that are left.
    """

    _numbers = itertools.count()

    def __init__(self, most: int, share: int) -> None:
        self._most = most
        self._share = share
        # In the order in which they got their file; what is done to it is done as a whole, whatever other threads do.
        self._files: OrderedDict[int, weakref.ref[Buffer]] = OrderedDict()
        self.maps: set[int] = set()

    @property
    def room(self) -> int:
        """How many of each there may be just now."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return self._most if limit == resource.RLIM_INFINITY else min(self._most, limit // self._share)

    @property
    def has_room(self) -> bool:
        """Whether one more may have a file without another one losing its own."""
        return len(self._files) < self.room

    def add(self, buffer: Buffer) -> None:
        """Note a buffer that has got a file, and park the oldest one if these are too many."""
        files, number = self._files, next(self._numbers)
        files[number] = weakref.ref(buffer, lambda _: files.pop(number, None))
        room = self.room
        while len(files) > room:
            try:
                _, oldest = files.popitem(last=False)
            except KeyError:
                return
            found = oldest()
            if found is not None:
                found.park()


_small = _Tier(256, 8)
_huge = _Tier(64, 16)


def _tier_of(size: int) -> _Tier:
    return _small if size < _HUGE else _huge


class Buffer:
    """An immutable piece of memory, mapped copy-on-write by those who use it, if it is in a file.

    It pickles as its bytes; a pickler that can send descriptors sends `file_to_send()` instead.

    Parameters
    ----------
    held
        The bytes, or the file that they are in.
    size
        Length [bytes].
    start
        Where in the file the bytes begin; None if they are all of it.
    """

    __slots__ = ("__weakref__", "_held", "_sent", "_start", "size")

    size: int

    def __init__(self, held: File | bytes, size: int, start: int | None = None) -> None:
        self._held = held
        self._start = start
        self._sent: weakref.ref[File] | None = None
        self.size = size

    @classmethod
    def of(cls, content: Memory) -> Self:
        """Copy `content` (any contiguous memory) into a new buffer.

        Raises
        ------
        MemoryError
            There is no memory left.
        """
        view = _flat(content)
        file = filled_file(view) if view.nbytes and _tier_of(view.nbytes).has_room else None
        if file is None:
            return cls(_bytes_of(view), view.nbytes)
        buffer = cls(file, view.nbytes)
        _tier_of(view.nbytes).add(buffer)
        return buffer

    # --- where its content is ---

    def keep(self) -> None:
        """Note that an adopted buffer is to be held for as long as the user likes."""
        held = self._held
        if not isinstance(held, File) or not self.size:
            return
        if self._start is None and has_room_for(held.fd):
            _tier_of(self.size).add(self)
        else:
            self.park()

    def park(self) -> None:
        """Move the content to plain memory, and let go of the file."""
        held = self._held
        if isinstance(held, File):
            try:
                self._held = held.read(self._start or 0, self.size)
            except (MemoryError, OSError):  # then the file is the only copy that there is room for
                pass

    def file_to_send(self) -> File | None:
        """Return a file with this content and nothing else; None where there is no room for one."""
        held, sent = self._held, self._sent
        if isinstance(held, File) and self._start is None:
            return held
        if not self.size:  # no process can map an empty file
            return None
        file = None if sent is None else sent()
        if file is None:
            file = filled_file(self.content())
            if file is None:
                return None
        if sent is None:
            self._sent = weakref.ref(file)
        elif not isinstance(held, File) and self._start is None:
            self._held = file
            _tier_of(self.size).add(self)
        return file

    def content(self) -> memoryview:
        """Return the bytes, read from the file if they are there."""
        held = self._held
        return memoryview(held.read(self._start or 0, self.size) if isinstance(held, File) else held)

    def fileno(self) -> int | None:
        """Return the descriptor of the file, None if the buffer holds plain bytes."""
        held = self._held
        return held.fd if isinstance(held, File) else None

    # --- who else looks into the file ---

    def lend(self) -> None:
        """Note that another process is sent the file."""
        if isinstance(held := self._held, File):
            held.lend()

    def take_back(self) -> None:
        """Note that a process has let go of the file, which it was lent or which it made."""
        if isinstance(held := self._held, File):
            held.take_back()

    @property
    def traces(self) -> Traces | None:
        """What will tell whether this process has let go of the file; None if there is none."""
        return held.traces if isinstance(held := self._held, File) else None

    @property
    def is_spare(self) -> bool:
        """Whether this is nothing but a file to be filled; see `spare`."""
        return self.size == 0 and self._start is None and isinstance(self._held, File)

    def surrender(self) -> None:
        """Make the file a spare of this process; for a buffer that another one made with `spare`."""
        held = self._held
        if isinstance(held, File) and self.is_spare:
            add_spare(held.surrender())
            self._held = b""

    # --- copies of it ---

    def private(self) -> mmap.mmap | bytearray:
        """Return a writable copy, which costs only what is written to it where there is room for another map."""
        held = self._held
        if not isinstance(held, File):
            return bytearray(held)
        made = self._map(held, mmap.PROT_READ | mmap.PROT_WRITE)
        return self._read(held) if made is None else made

    def readonly(self) -> memoryview:
        """Return the memory itself, which can't be written."""
        held = self._held
        if not isinstance(held, File):
            return memoryview(held)
        made = self._map(held, mmap.PROT_READ)
        return memoryview(self._read(held)).toreadonly() if made is None else memoryview(made)

    def _map(self, file: File, protection: int) -> mmap.mmap | None:
        tier = _tier_of(self.size)
        if self._start is not None or len(tier.maps) >= tier.room:
            return None
        try:
            made = map_file(file.fd, self.size, flags=mmap.MAP_PRIVATE, prot=protection)
        except OSError:  # each map holds a descriptor of its own, and the user may have taken them all
            return None
        return file.traces.add(made, tier.maps)

    def _read(self, file: File) -> bytearray:
        content = bytearray(self.size)
        file.read_into(memoryview(content), self._start or 0)
        return content

    def equals(self, content: Memory) -> bool:
        """Say whether `content` (any contiguous memory) has the same bytes."""
        # Only a `bytearray` compares with other memory at the speed of memcmp, a `memoryview` does so item by item.
        # Reading chunks into one costs less than mapping the file, which faults for every few pages.
        view = _flat(content)
        if view.nbytes != self.size:
            return False
        held = self._held
        chunk = bytearray(min(_CHUNK, self.size))
        for start in range(0, self.size, _CHUNK):
            piece = view[start : start + _CHUNK]
            if len(piece) < len(chunk):
                del chunk[len(piece) :]
            if isinstance(held, File):
                file_start = (self._start or 0) + start
                with memoryview(chunk) as target:
                    held.read_into(target, file_start)
            else:
                chunk[:] = memoryview(held)[start : start + len(chunk)]
            if chunk != piece:
                return False
        return True

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"<Buffer of {self.size} bytes>"

    def __reduce__(self) -> tuple[Callable[..., Buffer], tuple[PickleBuffer]]:
        return Buffer.of, (PickleBuffer(self.readonly()),)


def _bytes_of(view: memoryview) -> bytes:
    try:
        return view.tobytes()
    except MemoryError:
        raise MemoryError(
            f"there is no memory left for a snapshot of {view.nbytes / 1e6:.0f} MB, of an argument or a result: let go "
            "of results that are not needed any more, make fewer calls at a time, or return less from each"
        ) from None
