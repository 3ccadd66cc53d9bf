# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Shares: one snapshot, passed to many calls without copies."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path
from typing import Any

import numpy
import pytest

from parman import ArgumentError, ConcurrentRunner, resolve, share, task, workflow

RUNNERS = ("serial", "threads:2", "processes:2")


class Counting:
    """Counts how often it is rebuilt in this process."""

    rebuilt = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __setstate__(self, state: dict[str, Any]) -> None:
        Counting.rebuilt += 1
        self.__dict__.update(state)


@task
def look(counting: Counting, number: int) -> tuple[int, int, int]:
    return os.getpid(), Counting.rebuilt, counting.number + number


@task
def identity_of(array: numpy.ndarray) -> int:
    return id(array)


@task
def mean(array: numpy.ndarray, of_all: bool = True) -> float:
    return float(array.mean())


@task
def scribble(array: numpy.ndarray) -> str:
    try:
        array[0] = 1
    except ValueError as error:
        return str(error)
    return "written"


@task
def scribble_anywhere(tree: dict[str, Any]) -> list[str]:
    return [scribble(array) for array in (tree["a"], *tree["b"], tree["c"].array)]


class Holder:
    """A class of the user's."""

    def __init__(self, array: numpy.ndarray) -> None:
        self.array = array


@task
def files_of(_: object) -> tuple[int, int]:
    files = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            files += "parman" in str(fd.readlink())
        except OSError:  # that of the directory itself
            continue
    return os.getpid(), files


def test_outside_of_a_block():
    """Outside of a block a share is the value itself."""
    value = [1, 2]
    assert share(value) is value


@pytest.mark.parametrize("runner", RUNNERS)
def test_resolve_gives_the_value(runner):
    """`resolve(share(x))` is x's value on every runner, in a tree too."""
    with workflow(runner):
        shared = share({"a": [1, 2]})
        assert resolve(shared) == {"a": [1, 2]}
        assert resolve([shared, 3]) == [{"a": [1, 2]}, 3]
        assert (resolve(share(numpy.arange(3))) == [0, 1, 2]).all()


@pytest.mark.parametrize("runner", RUNNERS)
def test_tasks_see_the_value(runner):
    """A task receives the value that was shared, as it was then."""
    array = numpy.arange(10.0)
    with workflow(runner):
        shared = share(array)
        array[:] = 0
        assert resolve([mean(shared), mean(array)]) == [4.5, 0.0]


def test_same_object_on_threads():
    """On threads all tasks are given the very same object."""
    with workflow("threads:2"):
        shared = share(numpy.arange(10))
        assert len(set(resolve([identity_of(shared) for _ in range(20)]))) == 1


def test_once_to_each_worker():
    """A share is rebuilt once in each worker, however many calls it is passed to."""
    with workflow("processes:2"):
        shared = share(Counting(5))
        seen = resolve([look(shared, i) for i in range(50)])
    assert [number for _, _, number in seen] == [5 + i for i in range(50)]
    assert {rebuilt for _, rebuilt, _ in seen} == {1}


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_arrays_are_read_only(runner, size):
    """The arrays of a share can't be written by tasks, whether they are big or small."""
    with workflow(runner):
        assert "read-only" in resolve(scribble(share(numpy.zeros(size))))


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_arrays_in_a_share_are_read_only(runner, size):
    """So are those in containers and objects that are shared."""
    tree = {"a": numpy.zeros(size), "b": [numpy.ones(size)], "c": Holder(numpy.full(size, 2.0))}
    with workflow(runner):
        texts = resolve(scribble_anywhere(share(tree)))
        assert all("read-only" in text for text in texts)
    assert tree["a"].flags.writeable


@pytest.mark.parametrize("runner", RUNNERS)
def test_wrong_type_is_refused_at_the_call(runner):
    """The value of a share is checked as if it were passed itself."""
    with pytest.raises(ArgumentError, match="array"), workflow(runner):
        mean(share([1, 2, 3]))


def test_future_is_refused():
    """A future can't be shared, and the error says what to do."""
    with pytest.raises(ArgumentError, match=r"resolve\(\)"), workflow("threads:1"):
        share([mean(numpy.ones(3))])


def test_share_of_another_block():
    """A share that outlives its block can be passed in another one."""
    with ConcurrentRunner.processes(1) as runner:
        with workflow(runner):
            shared = share(numpy.arange(4.0))
            assert resolve(mean(shared)) == 1.5
        with workflow(runner):
            assert resolve(mean(shared)) == 1.5


def test_many_shares_in_one_call():
    """A call may be given more shares than a worker remembers."""
    with workflow("processes:1"):
        shares = [share(i) for i in range(1000)]
        assert resolve(total(shares)) == sum(range(1000))


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


def test_share_is_dropped_with_its_last_holder():
    """A share that nobody holds is freed, while the block goes on."""
    with workflow("threads:1"):
        shared = share(numpy.ones(1_000_000))
        ghost = weakref.ref(shared)
        assert resolve(mean(shared)) == 1.0
        del shared
        gc.collect()
        assert ghost() is None


def test_workers_drop_the_shares_of_former_blocks():
    """Warm workers don't pile up the shares, or the big globals of tasks, of blocks that are over."""
    with ConcurrentRunner.processes(1) as runner:
        counts = []
        for number in range(3):
            with workflow(runner):
                shared = share(numpy.full(1_000_000, number))
                assert resolve(mean(shared)) == number
                counts.append(resolve(files_of(0)))
        assert [count for _, count in counts] == [counts[0][1]] * 3


def test_failed_call_does_not_spoil_a_share():
    """A failed call with a share does not spoil it for others."""
    with workflow("processes:1"):
        shared = share(numpy.ones(10))
        (error,) = resolve([failing(shared)], return_exceptions=True)
        assert isinstance(error, ValueError)
        assert resolve(mean(shared)) == 1.0


@task
def failing(array: numpy.ndarray) -> None:
    raise ValueError("as told")


def test_a_handle_is_not_its_value():
    """Who uses a handle as the value is told what it is, and what to do."""
    with workflow("threads:1"):
        handle: Any = share([1, 2])
        with pytest.raises(AttributeError, match=r"no attribute 'append': it is a handle; pass it to a task"):
            handle.append(3)


class Pickled:
    """Counts how often it is pickled in this process."""

    times = 0

    def __getstate__(self) -> dict[str, Any]:
        Pickled.times += 1
        return {}


@task
def append(shared: dict[str, Any], xs: list[int]) -> int:
    if xs[0]:
        xs.append(1)
    return len(shared)


@pytest.mark.parametrize("changes", [False, True])
def test_serial_does_not_look_into_a_share(changes, caplog):
    """The look for what a task changed stops at a share, whose size may be a hundred calls'; it tells of the rest."""
    with workflow("serial"):
        shared = share({"a": Pickled(), "b": [1, 2]})
        before = Pickled.times
        assert resolve([append(shared, [int(changes)]) for _ in range(5)]) == [2] * 5
    assert Pickled.times == before
    assert ("append() changed its argument 'xs' in place" in caplog.text) is changes
