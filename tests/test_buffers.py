# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
from __future__ import annotations

import gc
import os
import pickle
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parman.buffers import Buffer

LONG = bytes(range(256)) * 5000


@pytest.fixture
def no_descriptors():
    """Leave so few descriptors that no buffer may take one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8, hard))
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


def test_adopt():
    """The descriptor of a buffer's file makes an equal buffer, as after it was sent to another process."""
    buffer = Buffer.of(LONG)
    other = Buffer.adopt(os.dup(buffer.fileno()), buffer.size)
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
