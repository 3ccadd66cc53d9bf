# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Messages between the driver and one worker process.

A message is a pickle (by cloudpickle, so that functions of scripts and notebooks travel) and the descriptors of the
`Buffer` objects in it, whose memory both sides then share. On the wire:

    header: kind, number of descriptors, length of the body
    for each 200 descriptors: one byte that carries them
    body: the pickle

The end of the other side shows in two ways, and both are watched: its socket closes, or its process ends. Either
alone can lie: a process that a task forked behind Python's back holds a copy of the socket and keeps it open.

A message brings few descriptors: the buffers beyond the first dozens are in one file, as its pieces. Where there is no
room for another file, buffers travel as bytes. A system call takes fewer descriptors than it was given where the
process has too many files open. The message is then still read to its end, so that only its own call fails.
"""

from __future__ import annotations

import array
import errno
import io
import os
import pickle
import resource
import select
import socket
import struct
import weakref
from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from ..descriptors import lift
from ..snapshots.buffers import Buffer
from ..snapshots.code import ScriptPickler
from ..snapshots.memory import Bulk, File, Traces

__all__ = ["Channel", "Kind", "Message", "Parcel", "milliseconds", "name_of", "open_pidfd", "pack"]

_HEADER = struct.Struct("!BIQ")
_CHUNK = 200
_MOST = 32
_SHARE = 32
"""Memory files that come one by one with a message; at most this fraction of the descriptors of a process."""
_SMALL = 1 << 16
_AHEAD = 1 << 18
_ROOM = socket.CMSG_SPACE(_CHUNK * array.array("i").itemsize)
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_TRUNCATED = getattr(socket, "MSG_CTRUNC", 0)


class Kind(IntEnum):
    """What a message says."""

    READY = 1
    """The worker has started."""
    CALL = 2
    """The driver sends a function and its arguments."""
    BEGUN = 3
    """The worker has the whole call: from now on it may not be sent to another worker."""
    VALUE = 4
    """The result of the call."""
    FAILURE = 5
    """The exception of the call."""
    BATCH = 6
    """The driver sends calls of tasks; see `remote.batch`."""
    OUTCOME = 7
    """How the next call of the batch ended."""
    MISSING = 8
    """The worker lacks something that the batch needs, and waits for it."""
    OVER = 9
    """The driver took back the rest of the batch."""
    ASSETS = 10
    """The driver sends what the worker lacks."""


_KINDS = {int(kind): kind for kind in Kind}
_ANSWERS = {Kind.VALUE, Kind.FAILURE, Kind.OUTCOME}

_Place: TypeAlias = "tuple[int, int | None, int]"
"""Where a buffer is: the number of the file, where in it it begins if it is a piece of it, and its length."""


class Message(NamedTuple):
    """A message to be sent. The memory files are held until then."""

    kind: Kind
    body: bytes
    files: list[File]


def pack(kind: Kind, value: object) -> Message:
    """Make a message of any value that cloudpickle can pickle."""
    if _is_plain(value):
        return Message(kind, pickle.dumps(value, protocol=5), [])
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(value)
    return Message(kind, file.getvalue(), pickler.files)


def _is_plain(value: Any) -> bool:
    """Tell whether this is what runners send all the time: bytes, or a function of Parman's and bytes."""
    if type(value) is bytes:
        return True
    if type(value) is not tuple or len(value) != 3 or value[2]:
        return False
    function, args, _ = value
    return str(getattr(function, "__module__", "")).startswith("parman.") and all(type(arg) is bytes for arg in args)


class _Pickler(ScriptPickler):
    """Leaves the memory of buffers out and keeps the files that it is in."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.files: list[File] = []
        self._bulk: Bulk | None = None
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = _MOST if limit == resource.RLIM_INFINITY else min(_MOST, limit // _SHARE)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Buffer):
            place = self._alone(obj) if len(self.files) < self._most else self._in_bulk(obj)
            if place is not None:
                return _received, place
        return super().reducer_override(obj)

    def _alone(self, buffer: Buffer) -> _Place | None:
        file = buffer.file_to_send()
        if file is None:
            return None
        self.files.append(file)
        return len(self.files) - 1, None, buffer.size

    def _in_bulk(self, buffer: Buffer) -> _Place | None:
        if not buffer.size:  # a spare is a file or nothing
            return None
        if self._bulk is None:
            self._bulk = Bulk.begin()
            if self._bulk is None:
                return None
            self.files.append(self._bulk.file)
        start = self._bulk.add(buffer.content())
        return None if start is None else (self._most, start, buffer.size)


def _received(index: int, start: int | None, size: int) -> Buffer:
    """Stand in a pickle for `_Adopter` with the descriptors that came with it."""
    raise pickle.UnpicklingError(f"descriptor {index} ({size} bytes) came without the message that it belongs to")


class _Unpickler(pickle.Unpickler):
    def __init__(self, body: memoryview | bytearray, adopter: _Adopter) -> None:
        super().__init__(io.BytesIO(body))
        self._adopter = adopter

    def find_class(self, module: str, name: str, /) -> Any:
        if module == __name__ and name == _received.__name__:
            # Not a method of this object, which would be in its own memo and keep all that was loaded.
            return self._adopter
        return super().find_class(module, name)


class _Adopter:
    """Makes the buffers of the files that came with a message."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors
        self._files: dict[int, File] = {}
        self.buffers: list[Buffer] = []

    def __call__(self, index: int, start: int | None, size: int) -> Buffer:
        file = self._files.get(index)
        if file is None:
            fd, self._descriptors[index] = self._descriptors[index], -1
            length = size if start is None else os.fstat(fd).st_size
            file = self._files[index] = File(fd, length, others=1)
        buffer = Buffer(file, size, start)
        self.buffers.append(buffer)
        return buffer


class Parcel:
    """A message as it was received.

    Attributes
    ----------
    kind
        What the message says.
    traces
        What will tell whether the buffers that were in it are still used.
    """

    __slots__ = ("_body", "_complete", "_descriptors", "kind", "traces")

    def __init__(
        self, kind: Kind, body: memoryview | bytearray | None, descriptors: list[int], *, complete: bool
    ) -> None:
        self.kind = kind
        self._body = body
        self._descriptors = descriptors
        self._complete = complete
        self.traces: list[Traces] = []

    def load(self) -> Any:
        """Rebuild the value, once: the parcel does not keep its content.

        Raises
        ------
        OSError
            The process had too many files open for the descriptors of the message.
        MemoryError
            The message did not fit in memory.
        Exception
            Whatever the classes of the user raise when their objects are rebuilt.
        """
        body, self._body = self._body, None
        descriptors, self._descriptors = self._descriptors, []
        try:
            if not self._complete:
                raise OSError(errno.EMFILE, _limit_text())
            if body is None:
                raise MemoryError("no memory for the message")
            return self._load_with(body, descriptors) if descriptors else pickle.loads(body)
        finally:
            _close_all(descriptors)

    def _load_with(self, body: memoryview | bytearray, descriptors: list[int]) -> Any:
        adopter = _Adopter(descriptors)
        value = _Unpickler(body, adopter).load()
        for buffer in adopter.buffers:
            if self.kind in _ANSWERS:  # there may be any number of results, while a worker has one message at a time
                buffer.keep()
            if buffer.traces is not None:
                self.traces.append(buffer.traces)
        return value


def _limit_text() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"a process has too many files open (limit {limit}) to receive shared memory; "
        "close files that the script or its tasks have open, or raise the limit with 'ulimit -n'"
    )


def _close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        if fd >= 0:
            os.close(fd)


def open_pidfd(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process has ended, None where the system has no such thing."""
    try:
        return lift(os.pidfd_open(pid))
    except (AttributeError, OSError):
        return None


class Channel:
    """One end of a connection.

    Every method raises `EOFError` when the other side is gone.

    Parameters
    ----------
    sock
        Connected Unix socket.
    peer
        Descriptor that becomes readable when the process at the other end has ended.
    """

    def __init__(self, sock: socket.socket, peer: int | None) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._peer = peer
        self._polls: dict[int, select.poll] = {}
        # What was read ahead of the message that is wanted. Descriptors come in groups, each with a byte of its own.
        self._ahead = memoryview(b"")
        self._groups: deque[tuple[list[int], int]] = deque()
        _channels.add(self)

    def close(self) -> None:
        """Let go of the connection; the other side sees that."""
        self._sock.close()
        while self._groups:
            _close_all(self._groups.popleft()[0])
        peer, self._peer = self._peer, None
        if peer is not None:
            os.close(peer)

    def wait_for_end(self, timeout: float | None = None) -> None:
        """Wait until the other side is gone, at most `timeout` [s]."""
        self._poll(0, timeout)

    def send(self, message: Message) -> None:
        """Send a whole message."""
        kind, body, files = message
        header = _HEADER.pack(kind, len(files), len(body))
        if not files and len(body) < _SMALL:
            self._write(memoryview(header + body))
            return
        for file in files:
            file.lend()
        self._write(memoryview(header))
        for start in range(0, len(files), _CHUNK):
            self._write_descriptors([file.fd for file in files[start : start + _CHUNK]])
        self._write(memoryview(body))

    def _write(self, view: memoryview) -> None:
        while view:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)
            except OSError as error:
                raise EOFError from error

    def _write_descriptors(self, descriptors: list[int]) -> None:
        while True:
            try:
                socket.send_fds(self._sock, [b"f"], descriptors)
                return
            except BlockingIOError:
                self._wait(select.POLLOUT)
            except OSError as error:
                if error.errno != errno.ETOOMANYREFS:
                    raise EOFError from error
                # Others of this user have as many on their way as one may have; they will be taken.
                self._poll(0, 0.01)

    def receive(self) -> Parcel:
        """Wait for a message and read it as a whole."""
        kind, count, size = _HEADER.unpack(self._read_small(_HEADER.size))
        descriptors: list[int] = []
        try:
            complete = not count or self._read_descriptors(count, descriptors)
            body = self._read_small(size) if size < _SMALL else self._read(size)
            return Parcel(_KINDS[kind], body, descriptors, complete=complete)
        except EOFError:
            _close_all(descriptors)
            raise

    @property
    def has_ahead(self) -> bool:
        """Whether a message has begun to come, without a look into the socket."""
        return len(self._ahead) > 0

    def take_ahead(self, wanted: Kind) -> Iterator[Any]:
        """Yield what is in the messages of this kind that were read ahead as a whole, and have no descriptors.

        Raises
        ------
        Exception
            Whatever the classes of the user raise when their objects are rebuilt.
        """
        while len(self._ahead) >= _HEADER.size:
            kind, count, size = _HEADER.unpack_from(self._ahead)
            end = _HEADER.size + size
            if kind != wanted or count or len(self._ahead) < end:
                return
            body, self._ahead = self._ahead[_HEADER.size : end], self._ahead[end:]
            yield pickle.loads(body)

    def has_something(self, timeout: float | None) -> bool:
        """Wait until a message begins to come, or the other side is gone; false if that takes longer [s]."""
        return len(self._ahead) > 0 or bool(self._poll(select.POLLIN, timeout))

    def _read_small(self, size: int) -> memoryview:
        while len(self._ahead) < size:
            self._read_ahead()
        content, self._ahead = self._ahead[:size], self._ahead[size:]
        return content

    def _read_ahead(self) -> None:
        """Read what is there; the system stops after a byte that carries descriptors."""
        while True:
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(_AHEAD, _ROOM, _CLOEXEC)
            except BlockingIOError:
                self._wait(select.POLLIN)
                continue
            except OSError as error:
                raise EOFError from error
            break
        fds = _descriptors_in(ancillary)
        if not data:
            _close_all(fds)
            raise EOFError
        if ancillary or flags & _TRUNCATED:
            for fd in [] if _CLOEXEC else fds:
                os.set_inheritable(fd, False)
            self._groups.append((fds, flags))
        self._ahead = memoryview(bytes(self._ahead) + data if self._ahead else data)

    def _read(self, size: int) -> bytearray | None:
        try:
            content = bytearray(size)
        except MemoryError:
            self._skip(size)
            return None
        self._fill(memoryview(content))
        return content

    def _skip(self, size: int) -> None:
        scrap = memoryview(bytearray(min(size, _SMALL)))
        while size:
            self._fill(scrap[:size])
            size -= min(size, _SMALL)

    def _fill(self, view: memoryview) -> None:
        known = min(len(view), len(self._ahead))
        view[:known], self._ahead = self._ahead[:known], self._ahead[known:]
        view = view[known:]
        while view:
            try:
                count = self._sock.recv_into(view)
            except BlockingIOError:
                self._wait(select.POLLIN)
                continue
            except OSError as error:
                raise EOFError from error
            if not count:
                raise EOFError
            view = view[count:]

    def _read_descriptors(self, count: int, received: list[int]) -> bool:
        """Append `count` descriptors to `received`; False if some of them were lost."""
        complete = True
        for start in range(0, count, _CHUNK):
            expected = min(_CHUNK, count - start)
            self._read_small(1)
            fds, flags = self._groups.popleft() if self._groups else ([], _TRUNCATED)
            received += fds
            complete = complete and len(fds) == expected and not flags & _TRUNCATED
        return complete

    def _wait(self, event: int) -> None:
        """Wait until the socket is ready; what a dead process has sent is still read."""
        if self._sock.fileno() not in self._poll(event, None):
            raise EOFError

    def _poll(self, event: int, timeout: float | None) -> set[int]:
        if self._sock.fileno() < 0:
            raise EOFError
        poll = self._polls.get(event)
        if poll is None:
            poll = select.poll()
            poll.register(self._sock, event)
            if self._peer is not None:
                poll.register(self._peer, select.POLLIN)
            self._polls[event] = poll
        return {fd for fd, _ in poll.poll(milliseconds(timeout))}


def _descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return [lift(fd) for fd in found]


def name_of(function: object) -> str:
    """Return what a message calls the function."""
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def milliseconds(seconds: float | None) -> int | None:
    """Convert what `poll` waits at most, which is for ever if None."""
    return None if seconds is None else round(seconds * 1000)


_channels: weakref.WeakSet[Channel] = weakref.WeakSet()


def _close_in_child() -> None:
    """Close the copies that a fork made: they would hide from the other side that this one is gone."""
    for channel in list(_channels):
        channel.close()


os.register_at_fork(after_in_child=_close_in_child)
