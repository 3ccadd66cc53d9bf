# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A snapshot: values as they were, from which any number of copies can be made.

A snapshot is a pickle stream and what lies beside it. What is not in the stream itself is taken from a sequence while
the stream is read, in the order in which it was met when the stream was written: the memory of big arrays, objects
that are passed by reference, the values of futures. Pickle protocol 5 has an opcode that does just this, meant for
buffers: `loads` puts the next item of its `buffers` on the stack, whatever that is. So reading needs neither a table
in the module nor a subclass of the unpickler, runs at the speed of C, and may happen in many threads at once and
inside of itself.
"""

from __future__ import annotations

import copy
import io
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeAlias

from ..trees.nodes import kind_of
from .buffers import Buffer

__all__ = [
    "FILED",
    "ArraySnapshot",
    "AtomSnapshot",
    "FileSnapshot",
    "Held",
    "HeldArray",
    "HeldObject",
    "Row",
    "RowSnapshot",
    "Snapshot",
    "decoded",
    "given",
    "loaded",
    "with_fields",
]


class Shared(Protocol):
    """A share, as far as snapshots have to know it; `share` has the class."""

    token: str
    snapshot: Snapshot


FILED = 1 << 16
"""Size from which a stream that is sent again goes as a memory file [bytes]."""


def given(x: Any) -> Any:
    """Return x: what a stream calls to get an object from beside it."""
    return x


def decoded(content: Any) -> str:
    """Return the string of which these are the bytes."""
    return str(content, "utf-8", "surrogatepass")


def with_fields(whole: Any, changes: Mapping[str, object]) -> Any:
    """Return an object, or a copy with some fields replaced, made without its `__init__`, validators and the like."""
    if not changes:
        return whole
    kind = kind_of(type(whole))
    # An empty instance of a class that answers for others would be asked by `copy.copy`.
    instance = copy.copy(whole) if kind is None or hasattr(type(whole), "__copy__") else kind.empty_copy(whole)
    for name, value in changes.items():
        object.__setattr__(instance, name, value)
    return instance


class Held:
    """An object that lies beside a stream."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: object) -> None:
        self.value = value


class HeldArray(Held):
    """A small array that lies beside a stream: faster to copy than to pickle."""

    __slots__ = ()
    value: Any


class HeldObject(Held):
    """A copy of an object that lies beside a stream, since its class says itself how it is copied."""

    __slots__ = ("_arrays",)

    def __init__(self, value: object, arrays: dict[int, tuple[Buffer, Any]]) -> None:
        super().__init__(value)
        self._arrays = arrays

    @classmethod
    def of(cls, obj: object, memo: dict[int, Any], arrays: dict[int, tuple[Buffer, Any]]) -> HeldObject:
        """Copy an object; its big arrays, by their identities, are held as buffers, with a map in their place."""
        mapped = {}
        for identity, (buffer, array) in arrays.items():
            if identity not in memo:
                memo[identity] = _mapped(buffer, array)
            mapped[id(memo[identity])] = buffer, memo[identity]
        return cls(copy.deepcopy(obj, memo), mapped)

    def copied(self, memo: dict[int, Any]) -> Any:
        """Copy it once more; what several objects hold, by the memo of their copies, stays one object."""
        for identity, (buffer, array) in self._arrays.items():
            if identity not in memo:
                memo[identity] = _mapped(buffer, array)
        return copy.deepcopy(self.value, memo)


def _mapped(buffer: Buffer, array: Any) -> Any:
    order = "C" if array.flags.c_contiguous else "F"
    return type(array)(array.shape, array.dtype, buffer.private(), order=order)


class _Loader(pickle.Unpickler):
    """Reads streams in which big strings lie beside the stream."""

    def persistent_load(self, pid: tuple[Callable[..., Any], tuple[Any]]) -> Any:
        make, content = pid
        return make(*content)


class Snapshot:
    """A snapshot of some value, immutable.

    It can be pickled if it holds no references, as those made by the serializer `pickled` do not; the futures stay
    behind.

    Attributes
    ----------
    stream
        The pickle stream.
    beside
        What the stream takes from beside it, in this order: buffers, references, numbers of slots.
    futures
        The futures, in the order of the slots for their values.
    shares
        The shares that the value refers to.
    has_big_strings
        Whether it was made by a second attempt, in which big strings lie beside the stream.
    """

    __slots__ = ("_sent", "beside", "futures", "has_big_strings", "shares", "stream")

    stream: bytes
    beside: tuple[Buffer | Held | int, ...]
    futures: tuple[Future[Any], ...]
    shares: tuple[Shared, ...]
    has_big_strings: bool

    @property
    def ordinary(self) -> Snapshot:
        """The same snapshot as a stream and what lies beside it."""
        return self

    def __init__(
        self,
        stream: bytes,
        beside: tuple[Buffer | Held | int, ...] = (),
        futures: tuple[Future[Any], ...] = (),
        shares: tuple[Shared, ...] = (),
        has_big_strings: bool = False,
    ) -> None:
        self.stream = stream
        self.beside = beside
        self.futures = futures
        self.shares = shares
        self.has_big_strings = has_big_strings
        self._sent: FileSnapshot | bool = False

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The big pieces of memory."""
        return tuple(item for item in self.beside if isinstance(item, Buffer))

    @property
    def references(self) -> tuple[object, ...]:
        """The objects that are passed as they are."""
        return tuple(item.value for item in self.beside if isinstance(item, Held))

    @property
    def nbytes(self) -> int:
        """Memory that the snapshot refers to, some of which other snapshots may refer to as well [bytes]."""
        return len(self.stream) + sum(map(_size, self.beside))

    def load(
        self, slots: Sequence[object] = (), *, readonly: bool = False, memories: list[object] | None = None
    ) -> Any:
        """Make a copy of the value.

        Parameters
        ----------
        slots
            For each future its value, or a snapshot of its value.
        readonly
            Big arrays can't be written, and all such copies refer to the same memory.
        memories
            Is given the memory of each of the `buffers` that the copy uses.
        """
        if not self.beside:
            return pickle.loads(self.stream)
        beside = self.taken(loaded(slots), readonly, [] if memories is None else memories)
        if self.has_big_strings:
            return _Loader(io.BytesIO(self.stream), buffers=beside).load()
        return pickle.loads(self.stream, buffers=beside)

    def taken(self, values: Sequence[object], readonly: bool, memories: list[object]) -> Iterator[Any]:
        """Yield what lies beside the stream, in copies; see `load`."""
        copies: dict[int, Any] = {}
        for item in self.beside:
            if isinstance(item, Buffer):
                memories.append(item.readonly() if readonly else item.private())
                yield memories[-1]
            elif isinstance(item, HeldObject):
                yield item.copied(copies)
            elif isinstance(item, HeldArray):
                yield item.value.copy("K")
            else:
                yield item.value if isinstance(item, Held) else values[item]

    def for_message(self) -> Snapshot:
        """Return what goes into a message: from the second time on, if it is big, what refers to a memory file.

        So the bytes of a value that very many calls are given are sent once, and no file is made for what one call is
        given.
        """
        if type(self) is not Snapshot or len(self.stream) < FILED:
            return self
        # Several threads may be here: then there are several files, or the bytes are sent once more.
        if self._sent is False:
            self._sent = True
            return self
        if self._sent is True:
            self._sent = FileSnapshot(Buffer.of(self.stream), self.beside, self.has_big_strings)
        return self._sent

    def __repr__(self) -> str:
        return f"<snapshot of {self.nbytes} bytes, {len(self.futures)} futures>"

    def __reduce__(self) -> tuple[Callable[..., Snapshot], tuple[object, ...]]:
        if self.references:
            raise TypeError("this snapshot was made for use in one process: it refers to objects of that process")
        return Snapshot, (self.stream, self.beside, (), (), self.has_big_strings)


def _size(item: Buffer | Held | int) -> int:
    if isinstance(item, HeldArray):
        return int(item.value.nbytes)
    if isinstance(item, Held):
        return sys.getsizeof(item.value) if type(item.value) in (str, bytes) else 0
    return item.size if isinstance(item, Buffer) else 0


def loaded(slots: Sequence[object]) -> Sequence[object]:
    """Return plain values; a snapshot that is in several slots gives one copy."""
    copies: dict[int, object] = {}
    for slot in slots:
        if isinstance(slot, Snapshot) and id(slot) not in copies:
            copies[id(slot)] = slot.load()
    return [copies[id(slot)] if isinstance(slot, Snapshot) else slot for slot in slots] if copies else slots


class FileSnapshot(Snapshot):
    """A snapshot whose stream is in a memory file.

    Parameters
    ----------
    content
        The stream.
    beside, has_big_strings
        As for `Snapshot`.
    """

    __slots__ = ("_content",)

    futures = ()
    shares = ()

    def __init__(self, content: Buffer, beside: tuple[Buffer | Held | int, ...], has_big_strings: bool) -> None:
        self._content = content
        self.beside = beside
        self.has_big_strings = has_big_strings

    @property
    def stream(self) -> memoryview:  # type: ignore[override]
        """The stream, which whoever reads it copies from the file."""
        return self._content.readonly()

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The big pieces of memory."""
        return (self._content, *super().buffers)

    def __reduce__(self) -> tuple[Callable[..., Snapshot], tuple[object, ...]]:
        return FileSnapshot, (self._content, self.beside, self.has_big_strings)


class AtomSnapshot(Snapshot):
    """A snapshot of a number or string, or of a dict of nothing else but these and futures: these need no copying.

    Parameters
    ----------
    value
        The value; in a dict, None stands where the value of a future is to be.
    futures
        The futures.
    places
        Keys in the dict, each with the number of the future whose value is to be there.
    """

    __slots__ = ("futures", "places", "value")

    stream = b""
    beside = ()
    shares = ()
    has_big_strings = False

    def __init__(
        self, value: object, futures: tuple[Future[Any], ...] = (), places: tuple[tuple[str, int], ...] = ()
    ) -> None:
        self.value = value
        self.futures = futures
        self.places = places

    @property
    def nbytes(self) -> int:
        """Memory that the snapshot refers to [bytes]."""
        return sum(
            sys.getsizeof(item) for item in (self.value.values() if isinstance(self.value, dict) else (self.value,))
        )

    def load(
        self, slots: Sequence[object] = (), *, readonly: bool = False, memories: list[object] | None = None
    ) -> Any:
        """Return the value; a dict is a new one."""
        value = self.value
        if type(value) is not dict:
            return value
        value = value.copy()
        if self.places:
            values = loaded(slots)
            for name, number in self.places:
                value[name] = values[number]
        return value

    def __reduce__(self) -> tuple[Callable[..., Snapshot], tuple[object, ...]]:
        return AtomSnapshot, (self.value, (), self.places) if self.places else (self.value,)


class ArraySnapshot(Snapshot):
    """An array to which nobody else refers: it is its own snapshot.

    The first who wants it gets a copy, which costs less than to write a memory file; mostly there is no second one. For
    others the array, if it is big, is written to a memory file, of which each takes a private map.

    Parameters
    ----------
    array
        The array, of numbers.
    write
        Makes an ordinary snapshot of it.
    big
        From which size on it is written to a memory file [bytes].
    """

    __slots__ = ("_array", "_is_big", "_is_read", "_write", "_written")

    futures = ()
    shares = ()

    def __init__(self, array: Any, write: Callable[[Any], Snapshot], big: int) -> None:
        self._array = array
        self._write = write
        self._written: Snapshot | None = None
        self._is_big = array.nbytes >= big
        self._is_read = False

    @property
    def stream(self) -> bytes:  # type: ignore[override]
        """The stream of an ordinary snapshot."""
        return self.ordinary.stream

    @property
    def beside(self) -> tuple[Buffer | Held | int, ...]:  # type: ignore[override]
        """What is beside the stream of an ordinary snapshot."""
        return self.ordinary.beside

    @property
    def ordinary(self) -> Snapshot:
        """An ordinary snapshot, which is used from now on."""
        # Several threads may be here. What one of them has written is there before the array is gone.
        array = self._array
        if self._written is None:
            self._written = self._write(array)
        self._array = None
        return self._written

    @property
    def nbytes(self) -> int:
        """Memory that the snapshot refers to [bytes]."""
        array = self._array
        return int(array.nbytes) if array is not None else self.ordinary.nbytes

    def load(
        self, slots: Sequence[object] = (), *, readonly: bool = False, memories: list[object] | None = None
    ) -> Any:
        """Make a copy."""
        array = self._array
        if array is None or readonly or (self._is_big and self._is_read):
            return self.ordinary.load(slots, readonly=readonly, memories=memories)
        self._is_read = True
        return array.copy("K")

    def __reduce__(self) -> tuple[Callable[..., Snapshot], tuple[object, ...]]:
        return self.ordinary.__reduce__()


Row: TypeAlias = "tuple[str, type, tuple[Any, ...], tuple[tuple[int, int], ...]]"
"""The key of a list or tuple, its class, its items (None for a future), and the futures' positions and numbers."""


class RowSnapshot(AtomSnapshot):
    """A snapshot of a dict in which there are, besides atoms and futures, lists and tuples of those.

    Parameters
    ----------
    value, futures, places
        As for `AtomSnapshot`; None stands where a list or tuple is to be.
    rows
        The lists and tuples.
    """

    __slots__ = ("rows",)

    def __init__(
        self,
        value: dict[Any, Any],
        futures: tuple[Future[Any], ...],
        places: tuple[tuple[str, int], ...],
        rows: tuple[Row, ...],
    ) -> None:
        super().__init__(value, futures, places)
        self.rows = rows

    @property
    def nbytes(self) -> int:
        """Memory that the snapshot refers to [bytes]."""
        return super().nbytes + sum(sum(map(sys.getsizeof, items)) for _, _, items, _ in self.rows)

    def load(
        self, slots: Sequence[object] = (), *, readonly: bool = False, memories: list[object] | None = None
    ) -> Any:
        """Return a new dict with new lists."""
        values = loaded(slots)
        whole = super().load(values)
        for name, cls, template, places in self.rows:
            items = list(template)
            for position, number in places:
                items[position] = values[number]
            whole[name] = items if cls is list else tuple(items)
        return whole

    def __reduce__(self) -> tuple[Callable[..., Snapshot], tuple[object, ...]]:
        return RowSnapshot, (self.value, (), self.places, self.rows)
