# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Memory files are filled anew, but never while anybody may still look into them."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TIMEOUT
from helpers.seeds import seeds
from helpers.waiting import hasty_switches

from parman import resolve, task, workflow
from parman.snapshots.buffers import Buffer, spare
from parman.snapshots.memory import File, drop_spares, keep_spares, rest

SIZE = 1 << 20
"""Length of an array, big enough for a memory file [bytes]."""


def content(number: int, size: int = SIZE) -> bytes:
    """Make content that tells where it is from."""
    return bytes([number]) * size


@pytest.fixture
def user() -> Iterator[object]:
    """Have spares kept."""
    user = object()
    keep_spares(user)
    yield user
    rest(user)


def file_of(buffer: Buffer) -> int:
    """Return the number of the file that a buffer is in."""
    fd = buffer.fileno()
    assert fd is not None
    return os.fstat(fd).st_ino


def dropped(buffer: Buffer) -> int:
    """Return the number of the file of a buffer, to which nobody else may refer."""
    return file_of(buffer)


@pytest.mark.parametrize("size", [SIZE, SIZE // 2, 2 * SIZE])
@pytest.mark.usefixtures("user")
def test_a_file_is_filled_anew(size: int) -> None:
    """The file of a buffer that is garbage takes the next content, whatever its length."""
    first = dropped(Buffer.of(content(1)))
    again = Buffer.of(content(2, size))
    assert file_of(again) == first
    assert again.equals(content(2, size))
    assert bytes(again.readonly()) == content(2, size)


def test_nothing_is_kept_for_nobody(user: object) -> None:
    """Without a user, files end with their buffers, and with the last user the spares."""
    keep_spares(other := object())
    dropped(Buffer.of(content(1)))
    rest(user)
    found = spare()
    assert found is not None
    del found
    rest(other)
    assert spare() is None
    dropped(Buffer.of(content(1)))
    assert spare() is None


@pytest.mark.parametrize("way", ["private", "readonly"])
@pytest.mark.usefixtures("user")
def test_a_map_keeps_its_content(way: str) -> None:
    """As long as there is a map of a file, the file is left alone; of several, until the last is gone."""
    buffer = Buffer.of(content(1))
    file = file_of(buffer)
    maps = [getattr(buffer, way)() for _ in range(3)]
    del buffer
    while maps:
        other = Buffer.of(content(2))
        assert file_of(other) != file
        del other
        assert bytes(maps.pop()[:]) == content(1)
        drop_spares()


@pytest.mark.usefixtures("user")
def test_an_array_on_a_map_keeps_its_content() -> None:
    """A slice of an array that lies on a map is enough."""
    buffer = Buffer.of(content(1))
    piece = np.frombuffer(buffer.private(), np.uint8)[100:200]
    del buffer
    others = [Buffer.of(content(2)) for _ in range(3)]
    assert set(piece) == {1}
    del others


@pytest.mark.usefixtures("user")
def test_what_was_lent_is_left_alone() -> None:
    """A file that another process has is not filled until that process has let go of it, each time that it was lent."""
    buffer = Buffer.of(content(1))
    buffer.lend()
    buffer.lend()
    buffer.take_back()
    del buffer
    assert spare() is None
    buffer = Buffer.of(content(1))
    buffer.lend()
    buffer.take_back()
    del buffer
    assert spare() is not None


@pytest.mark.usefixtures("user")
def test_what_another_process_made_is_left_alone() -> None:
    """The process that made a file may still look into it."""
    made = Buffer.of(content(1))
    fd = made.fileno()
    assert fd is not None
    adopted = Buffer(File(os.dup(fd), SIZE, others=1), SIZE)
    made.lend()
    del made, adopted
    assert spare() is None


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.usefixtures("user")
def test_what_a_fork_has_seen_is_left_alone() -> None:
    """A forked process has all maps of before, and may have more made of the buffers that it has."""
    buffer = Buffer.of(content(1))
    dropped(Buffer.of(content(2)))  # this one is a spare when the fork comes
    _fork()
    assert spare() is None
    del buffer
    assert spare() is None
    dropped(Buffer.of(content(3)))
    assert spare() is not None


@pytest.mark.usefixtures("user")
def test_few_are_kept() -> None:
    """No more than four, and none that is very big."""
    buffers = [Buffer.of(content(1)) for _ in range(10)]
    del buffers
    found = []
    while (one := spare()) is not None:
        found.append(one)
    assert len(found) == 4
    found.clear()
    drop_spares()
    dropped(Buffer.of(bytes((1 << 25) + 1)))
    assert spare() is None


# --- through worker processes ---


@task
def fill(number: float, size: int = SIZE // 8) -> np.ndarray:
    return np.full(size, number)


@task
def step(array: np.ndarray) -> np.ndarray:
    return array + 1


_kept: list[np.ndarray] = []


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Keep nothing for the next test."""
    yield
    _kept.clear()


@task
def keep(array: np.ndarray) -> np.ndarray:
    """Go on using the argument after the call has ended."""
    _kept.append(array)
    return array + 1


@task
def kept(array: np.ndarray) -> list[tuple[float, float]]:
    """Tell what is in the arrays that were kept."""
    return [(float(one.min()), float(one.max())) for one in _kept]


def test_a_chain_uses_few_files() -> None:
    """The results of a chain of fifty are in a handful of files, one after another."""
    files: list[int] = []

    def note(future: Any) -> None:
        files.append(file_of(future.snapshot.buffers[0]))

    with workflow("processes:2"):
        array = step(fill(0.0))
        for _ in range(50):
            before, array = array, step(array)
            before.add_done_callback(note)
            del before
        assert resolve(array)[0] == 51
    assert len(files) == 50
    assert len(set(files)) <= 10


def test_what_a_task_keeps_is_left_alone() -> None:
    """An array that a task keeps for later calls does not change, whatever is computed meanwhile."""
    with workflow("processes:1"):
        array = fill(0.0)
        for _ in range(10):
            array = keep(array)
            array = step(step(step(array)))
        found = resolve(kept(array))
    assert found == [(4.0 * i, 4.0 * i) for i in range(10)]


@task
def fork_and_keep(array: np.ndarray, go: str, answer: str) -> np.ndarray:
    """Leave a process behind that looks at the argument later."""
    if os.fork() == 0:
        try:
            Path(go).read_text()
            text = f"{array.min()} {array.max()}"
            Path(answer + ".part").write_text(text)
            os.rename(answer + ".part", answer)  # noqa: PTH104
        finally:
            os._exit(0)
    return array + 1


@task
def told(go: str, answer: str, after: np.ndarray) -> str:
    """Let the processes that were left behind look, and return what they saw."""
    Path(go).write_text("go")
    os.wait()
    return Path(answer).read_text()


def test_what_a_forked_process_keeps_is_left_alone(tmp_path: Path) -> None:
    """A process that a task forked, and that outlives the call, sees the argument as it was."""
    go, answer = str(tmp_path / "go"), str(tmp_path / "answer")
    os.mkfifo(go)
    with workflow("processes:1"):
        array = step(step(step(fill(0.0))))
        array = fork_and_keep(array, go, answer)
        for _ in range(10):
            array = step(array)
        assert resolve(told(go, answer, array)) == "3.0 3.0"


def test_what_the_user_has_is_left_alone() -> None:
    """Results that the user has looked at do not change."""
    with workflow("processes:2"):
        array = fill(0.0)
        seen = []
        for i in range(40):
            array = step(array)
            if i % 3 == 0:
                seen.append((i + 1, resolve(array)))
        resolve(array)
        gc.collect()
        assert all(bool((one == number).all()) for number, one in seen)


@task
def fail(array: np.ndarray) -> np.ndarray:
    raise ValueError(float(array[0]))


def test_a_failed_call_keeps_its_arguments() -> None:
    """A call that failed can be run again with what it was given, long after."""
    with workflow("processes:2") as w:
        array = step(step(fill(0.0)))
        failed = fail(array)
        for _ in range(20):
            array = step(array)
        resolve(array)
        assert failed.exception() is not None
        ((closure, _),) = w.failed
        with pytest.raises(ValueError, match=r"2\.0"):
            closure.rerun()


@task
def mix(number: int, *arrays: np.ndarray) -> np.ndarray:
    """Check what is given, keep some of it, and return something new."""
    for array in (*arrays, *_kept):
        assert array.min() == array.max()
    if number % 7 == 0 and arrays:
        _kept[:] = [*_kept[-5:], arrays[0]]
    size = SIZE // 8 * (1 + number % 3)
    return np.full(size, float(number))


@pytest.mark.parametrize("seed", seeds(3))
@pytest.mark.parametrize("runner", ["threads:2", "processes:2"])
def test_storm(runner: str, seed: int) -> None:
    """Of many calls with arrays of several lengths, in a random graph, each finds what it should."""
    dice = random.Random(seed)
    with hasty_switches(), workflow(runner):
        own = np.zeros(SIZE // 8)
        futures: list[Any] = []
        seen: list[tuple[int, np.ndarray]] = []
        for number in range(120):
            given = dice.sample(futures[-8:], min(len(futures[-8:]), dice.randrange(3)))
            own[:] = number
            futures.append(mix(number, *given, own) if dice.random() < 0.3 else mix(number, *given))
            if dice.random() < 0.1:
                at = dice.randrange(len(futures))
                if futures[at] is not None:
                    seen.append((at, resolve(futures[at])))
            if number >= 20 and dice.random() < 0.8:
                futures[number - 20] = None
        left = [(number, future) for number, future in enumerate(futures) if future is not None]
        _, late = wait([future for _, future in left], TIMEOUT)
        assert not late
        seen += [(number, future.result()) for number, future in left]
        for number, array in seen:
            assert array.min() == array.max() == number
