# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""On threads, an array that a task returns is passed on without a snapshot if nobody else has it: nobody can tell."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TIMEOUT
from helpers.gates import Gate, pass_gate

from parman import ConcurrentRunner, Runner, resolve, task, workflow
from parman.snapshots.snapshot import ArraySnapshot, Snapshot
from parman.snapshots.take import in_process, take_snapshot

SMALL, BIG = 10, 1 << 18
"""Lengths of arrays that would lie in a snapshot, and in a memory file."""
SIZES = pytest.mark.parametrize("size", [SMALL, BIG])


@task
def make(number: float, size: int, gate: str = "") -> np.ndarray:
    if gate:
        pass_gate(gate)
    return np.full(size, number)


@task
def add(array: np.ndarray) -> np.ndarray:
    array += 1  # in place: the task may do that with its own
    return array + 0


@task
def spoil(array: np.ndarray) -> float:
    """Tell what was there, and change all of it."""
    before = float(array.min())
    assert array.min() == array.max()
    array[:] = -1
    return before


@task
def spoil_and_fail(array: np.ndarray) -> None:
    before = float(array.min())
    array[:] = -1
    raise ValueError(before)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Give a gate that is open at the end."""
    with Gate(tmp_path / "gate") as gate:
        yield gate


@SIZES
def test_a_chain_writes_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a chain no memory file is made, and no stream is written."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a snapshot was written")

    with workflow("threads:1"):
        first = add(make(0.0, size))
        resolve(first)
        monkeypatch.setattr("parman.engine.calls.take_snapshot", refuse)
        array = make(0.0, size)
        for _ in range(20):
            array = add(array)
        assert set(resolve(array)) == {20.0}


@pytest.mark.parametrize(("size", "kind"), [(1 << 22, ArraySnapshot), ((1 << 22) + 1, Snapshot)])
def test_what_is_huge_is_written_at_once(size: int, kind: type[Snapshot], gate: Gate) -> None:
    """An array of more than 32 MiB goes into a memory file at once, where no more copies are needed."""
    with workflow("threads:1"):
        array = make(3.0, size, gate.place)
        total = spoil(array)
        gate.open()
        assert resolve(total) == 3.0
        assert type(array.snapshot) is kind


@SIZES
def test_each_call_has_a_copy_of_its_own(size: int, gate: Gate) -> None:
    """Whatever calls do with the array that they share, the next one finds it as it was."""
    with workflow("threads:2"):
        array = make(7.0, size, gate.place)
        seen = [spoil(array) for _ in range(10)]
        gate.open()
        assert resolve(seen) == [7.0] * 10
        assert set(resolve(array)) == {7.0}


@SIZES
def test_the_user_has_a_copy_of_their_own(size: int, gate: Gate) -> None:
    """What the user does to a result does not reach the calls that were made before, nor the other way round."""
    with workflow("threads:1"):
        array = make(7.0, size, gate.place)
        other = make(1.0, size, gate.place)
        seen = [spoil(array), spoil(array)]
        late = spoil(add(add(other)))
        gate.open()
        own = array.result()
        own[:] = 9.0
        assert resolve((*seen, late)) == (7.0, 7.0, 3.0)
        assert set(own) == {9.0}


@SIZES
def test_a_failed_call_can_be_run_again(size: int) -> None:
    """A call that changed its argument and failed has the argument as it was."""
    with workflow("threads:2") as w:
        failed = spoil_and_fail(add(make(1.0, size)))
        assert failed.exception() is not None
        ((closure, _),) = w.failed
        for _ in range(2):
            with pytest.raises(ValueError, match=r"^2\.0$"):
                closure.rerun()


_kept: list[Any] = []

KEEPERS: dict[str, Callable[[np.ndarray], Any]] = {
    "itself": lambda array: array,
    "slice": lambda array: array[1:],
    "memory": lambda array: memoryview(array),
    "weak": weakref.ref,
}


@task
def make_and_keep(size: int, how: str, gate: str) -> np.ndarray:
    """Keep a way to change the result later."""
    pass_gate(gate)
    array = np.full(size, 1.0)
    _kept.append(KEEPERS[how](array))
    return array


@task
def hold(gate: str) -> None:
    pass_gate(gate)


@task
def look(array: np.ndarray, after: None) -> list[float]:
    return sorted(set(array.tolist()))


@SIZES
@pytest.mark.parametrize("how", KEEPERS)
def test_what_a_task_keeps_of_its_result(how: str, size: int, tmp_path: Path) -> None:
    """A task that has kept its result, or a way to it, can't change what others are given."""
    _kept.clear()
    with Gate(tmp_path / "first") as first, Gate(tmp_path / "second") as second, workflow("threads:2"):
        array = make_and_keep(size, how, first.place)
        seen = look(array, hold(second.place))
        first.open()
        done, _ = wait([array], TIMEOUT)
        assert done
        kept = _kept.pop()
        kept = kept() if isinstance(kept, weakref.ref) else kept
        if kept is not None:
            kept[:] = memoryview(np.full(len(kept), 5.0))
        second.open()
        assert resolve(seen) == [1.0]


ODD: dict[str, Callable[[], np.ndarray]] = {
    "Fortran": lambda: np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": lambda: np.arange(24.0)[::2],
    "transposed": lambda: np.arange(12.0).reshape(3, 4).T,
    "no dimension": lambda: np.array(3.0),
    "empty": lambda: np.zeros((0, 3)),
    "records": lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "objects": lambda: np.array([1, "two", None], dtype=object),
    "dates": lambda: np.array(["2026-11-23"], dtype="M8[D]"),
    "strings": lambda: np.array(["a", "bc"]),
    "big-endian": lambda: np.arange(3, dtype=">i4"),
    "not to be written": lambda: np.frombuffer(b"12345678"),
    "masked": lambda: np.ma.masked_less(np.arange(4.0), 2),
    "matrix": lambda: np.arange(4.0).reshape(2, 2).view(np.matrix),
    "metadata": lambda: np.zeros(2, dtype=np.dtype("f8", metadata={"unit": "m"})),
}


@task
def make_odd(kind: str) -> Any:
    return ODD[kind]()


@task
def describe(array: Any) -> tuple[Any, ...]:
    strides = array.strides if array.size else ()  # of nothing they mean nothing
    return type(array).__name__, array.dtype.str, array.shape, strides, array.flags.writeable, repr(array.tolist())


@pytest.fixture(scope="module")
def runners() -> Iterator[list[Runner]]:
    """Open a runner on a thread, and one on a process."""
    with ConcurrentRunner.threads(1) as threads, ConcurrentRunner.processes(1) as processes:
        yield [threads, processes]


@pytest.mark.parametrize("kind", ODD)
def test_odd_arrays_are_as_on_processes(kind: str, runners: list[Runner]) -> None:
    """Class, order and all else of an array that goes from task to task do not depend on the runner."""
    seen = []
    for runner in runners:
        with workflow(runner):
            seen.append(resolve(describe(make_odd(kind))))
    assert seen[0] == seen[1]


def test_an_array_can_go_on_to_other_processes() -> None:
    """A result of threads that goes to a task on processes, and again to threads, is the same."""
    with workflow("threads:1"):
        array = add(make(1.0, BIG))
        first = spoil(array)
        with workflow("processes:1"):
            seen = [spoil(array), spoil(add(array))]
        assert resolve((first, *seen, spoil(array))) == (2.0, 2.0, 3.0, 2.0)


def test_array_snapshot_is_written_once() -> None:
    """The first copy is of the array itself, all others are of an ordinary snapshot, and of one that can be pickled."""
    snapshot = ArraySnapshot(np.full(BIG, 1.0), lambda array: take_snapshot(array, in_process), 1 << 20)
    assert snapshot.nbytes == BIG * 8
    first = snapshot.load()
    first[:] = 2
    fds = [snapshot.load() is not None and snapshot.ordinary.buffers[0].fileno() for _ in range(3)]
    assert len(set(fds)) == 1
    assert os.fstat(fds[0]).st_size == BIG * 8
    assert set(snapshot.load()) == {1.0}
    assert snapshot.nbytes >= BIG * 8
