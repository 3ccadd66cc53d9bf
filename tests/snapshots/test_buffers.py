# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
from __future__ import annotations

import errno
import gc
import os
import pickle
import resource
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import pytest
from helpers.waiting import in_thread
from hypothesis import given
from hypothesis import strategies as st

from parman.snapshots.buffers import Buffer
from parman.snapshots.memory import Bulk, File, filled_file

LONG = bytes(range(256)) * 5000


@pytest.fixture
def no_descriptors():
    """Leave so few descriptors that no buffer may take one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def ordinary_limit():
    """Let this process have as many descriptors as one mostly may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@given(st.binary(max_size=100))
def test_round_trip(content):
    """A buffer holds the bytes it was made of, in each of its forms."""
    buffer = Buffer.of(content)
    assert bytes(buffer.private()) == bytes(buffer.readonly()) == content
    assert buffer.size == len(buffer) == len(content)
    assert buffer.equals(content)


def test_copies_are_private():
    """What is written to a private copy is seen neither by the buffer nor by another copy."""
    buffer = Buffer.of(LONG)
    first, second = buffer.private(), buffer.private()
    first[0] = 7
    second[1] = 8
    assert first[:2] == b"\7\1"
    assert second[:2] == b"\0\10"
    assert buffer.equals(LONG)


def test_source_is_copied():
    """A buffer does not change when what it was made of does."""
    source = bytearray(LONG)
    buffer = Buffer.of(source)
    source[0] = 99
    assert buffer.equals(LONG)


def test_readonly():
    """The read-only view can't be written."""
    with pytest.raises(TypeError):
        Buffer.of(LONG).readonly()[0] = 1


@pytest.mark.parametrize("place", [0, 1, 262143, 262144, len(LONG) - 1])
def test_equals_sees_every_byte(place):
    """A difference in any single byte is seen, also at the edges of the chunks that are compared."""
    other = bytearray(LONG)
    other[place] ^= 1
    buffer = Buffer.of(LONG)
    assert not buffer.equals(other)
    assert not buffer.equals(LONG[:-1])
    assert buffer.equals(memoryview(LONG))


def test_equals_any_format():
    """Memory is compared by its bytes, whatever the items of the view are."""
    numbers = memoryview(bytearray(LONG)).cast("d")
    assert Buffer.of(numbers).equals(LONG)


def test_descriptor_is_closed():
    """The descriptor goes with the buffer."""
    buffer = Buffer.of(LONG)
    fd = buffer.fileno()
    assert fd is not None
    del buffer
    gc.collect()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)


def test_copy_outlives_the_buffer():
    """A private copy stays valid when the buffer has gone."""
    copy = Buffer.of(LONG).private()
    gc.collect()
    assert copy[:] == LONG


def test_file_of_another_process():
    """The descriptor of a buffer's file makes an equal buffer, as after it was sent to another process."""
    buffer = Buffer.of(LONG)
    other = Buffer(File(os.dup(buffer.fileno()), buffer.size, others=1), buffer.size)
    del buffer
    assert other.equals(LONG)


def test_pickle():
    """A buffer pickles as its bytes."""
    stream = pickle.dumps(Buffer.of(LONG), 5)
    assert pickle.loads(stream).equals(LONG)
    assert len(stream) < len(LONG) + 200


def test_without_descriptors(no_descriptors):
    """When many descriptors are in use, a buffer takes none and behaves the same."""
    buffer = Buffer.of(LONG)
    assert buffer.fileno() is None
    copy = buffer.private()
    copy[0] = 1
    assert buffer.equals(LONG)
    assert not buffer.equals(copy)
    assert bytes(buffer.readonly()) == LONG


def test_maps_without_descriptors():
    """A map needs a descriptor too; without any, copies are plain memory."""
    buffer = Buffer.of(LONG)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        copy, view = buffer.private(), buffer.readonly()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(copy, bytearray)
    assert copy == view == LONG
    assert view.readonly


def test_no_memory_file(monkeypatch):
    """Where there are no anonymous memory files, an unlinked temporary file serves."""
    monkeypatch.delattr(os, "memfd_create")
    buffer = Buffer.of(LONG)
    assert os.fstat(buffer.fileno()).st_nlink == 0
    assert buffer.private()[:] == LONG


# --- many of them ---


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def maps() -> int:
    return sum("memfd:parman" in line for line in Path("/proc/self/maps").read_text().splitlines())


def numbered(count: int) -> list[Buffer]:
    return [Buffer.of(number.to_bytes(2, "big") * 1000) for number in range(count)]


def test_descriptors_do_not_grow(ordinary_limit):
    """However many buffers there are, some dozens have files, the first ones; all hold what they should."""
    before = open_files()
    buffers = numbered(200)
    few = open_files()
    buffers += numbered(1000)
    assert open_files() == few < before + 200
    assert buffers[0].fileno() is not None
    assert buffers[-1].fileno() is None
    for number, buffer in enumerate(buffers[200:]):
        assert buffer.equals(number.to_bytes(2, "big") * 1000)
        assert bytes(buffer.readonly()) == bytes(buffer.private()) == number.to_bytes(2, "big") * 1000
    del buffers, buffer
    gc.collect()
    assert open_files() == before


def test_maps_do_not_grow(ordinary_limit):
    """However many copies there are, some dozens are maps; each is private."""
    gc.collect()
    before, maps_before = open_files(), maps()
    buffer = Buffer.of(LONG)
    copies = [buffer.private() for _ in range(100)]
    views = [buffer.readonly() for _ in range(100)]
    few, files = maps(), open_files()
    more = [buffer.private() for _ in range(200)]
    assert maps() == few < maps_before + 200
    assert open_files() == files < before + 200
    for number, copy in enumerate((*copies, *more)):
        assert copy[:3] == b"\0\1\2"
        copy[:2] = number.to_bytes(2, "big")
    assert [int.from_bytes(copy[:2], "big") for copy in (*copies, *more)] == list(range(300))
    assert all(bytes(view[:3]) == b"\0\1\2" and view.readonly for view in views)
    assert buffer.equals(LONG)
    del copies, copy, more, views
    assert maps() == maps_before
    assert not isinstance(buffer.private(), bytearray)


def test_many_small_ones_leave_room_for_a_huge_one(ordinary_limit):
    """What is huge is mapped although many others are."""
    buffers = numbered(200)
    copies = [buffer.private() for buffer in buffers]
    huge = Buffer.of(bytes(1 << 25))
    assert huge.fileno() is not None
    assert not isinstance(huge.private(), bytearray)
    assert huge.fileno() is not None
    del copies


def test_a_view_outlives_the_parking():
    """A map of a buffer that is parked later shows what it did."""
    buffer = Buffer.of(LONG)
    copy, view = buffer.private(), buffer.readonly()
    copy[0] = 7
    buffer.park()
    assert buffer.fileno() is None
    assert buffer.equals(LONG)
    assert view == LONG
    assert copy[:2] == b"\7\1"


def test_a_parked_one_gets_a_file_for_its_journeys():
    """The first journey uses a file that goes with it, from the second on it is the buffer's own."""
    buffer = Buffer.of(LONG)
    buffer.park()
    first = buffer.file_to_send()
    assert first is not None
    assert first.read(0, first.size) == LONG
    assert buffer.fileno() is None
    del first
    second = buffer.file_to_send()
    assert second is not None
    assert buffer.fileno() == second.fd
    assert buffer.file_to_send() is second
    assert buffer.equals(LONG)


def test_pieces_of_one_file():
    """A piece reads as what was added, whatever is done with it, and never maps the file that others are in."""
    gc.collect()
    before = maps()
    bulk = Bulk.begin()
    assert bulk is not None
    contents = [bytes([number]) * (number + 1) for number in range(5)]
    pieces = [Buffer(bulk.file, len(one), bulk.add(memoryview(one))) for one in contents]
    for piece, content in zip(pieces, contents, strict=True):
        assert piece.equals(content)
        assert piece.private() == content
        assert bytes(piece.readonly()) == bytes(piece.content()) == content
        sent = piece.file_to_send()
        assert sent is not bulk.file
        assert sent.read(0, sent.size) == content
        piece.file_to_send()
    assert maps() == before
    pieces[3].keep()
    assert pieces[3].fileno() is None
    assert pieces[3].equals(contents[3])
    fd = bulk.file.fd
    del bulk, pieces, piece
    gc.collect()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)


def test_an_empty_piece_is_no_spare():
    """The file that others have pieces of is not taken away for an empty one."""
    bulk = Bulk.begin()
    assert bulk is not None
    piece, empty = Buffer(bulk.file, 3, bulk.add(memoryview(b"abc"))), Buffer(bulk.file, 0, 3)
    assert not empty.is_spare
    empty.surrender()
    assert piece.equals(b"abc")


def test_no_space_for_a_file(monkeypatch):
    """Where a file can't be filled, the buffer holds plain bytes, and no descriptor is left behind."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = open_files()
    monkeypatch.setattr(os, "pwrite", refuse)
    buffer = Buffer.of(LONG)
    assert buffer.fileno() is None
    assert buffer.file_to_send() is None
    assert buffer.equals(LONG)
    bulk = Bulk.begin()
    assert bulk is not None
    assert bulk.add(memoryview(LONG)) is None
    del bulk
    assert open_files() == before


def test_no_memory_says_what_to_do():
    """Where there is no memory at all, the error says how much was wanted and what helps."""
    script = """
        import resource
        from pathlib import Path
        from parman.snapshots.buffers import Buffer

        content = bytearray(200_000_000)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 50_000_000,) * 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            Buffer.of(content)
        except MemoryError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert "no memory left for a snapshot of 200 MB" in done.stdout
    assert "let go of results" in done.stdout


def test_a_file_that_is_being_closed_is_not_found():
    """Whoever asks for a file by a weak reference while it goes gets none, or one that is open."""
    published, is_over, errors = [], threading.Event(), []

    def ask() -> None:
        while not is_over.is_set():
            for ref in published[-2:]:
                file = ref()
                if file is not None:
                    try:
                        file.read(0, 1)
                    except OSError as error:
                        errors.append(error)
                del file

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [in_thread(ask) for _ in range(2)]
        for _ in range(2000):
            file = filled_file(memoryview(b"x"))
            published.append(weakref.ref(file))
            del file
        is_over.set()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors
