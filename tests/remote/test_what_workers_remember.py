# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a worker remembers is there for the calls that need it, and goes when none will."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TIMEOUT
from helpers.exchanges import counted
from helpers.gates import Gate, pass_gate
from helpers.waiting import death, died

from parman import ConcurrentRunner, resolve, share, task, workflow
from parman.assets import new_asset
from parman.remote import batch as batches
from parman.remote.batch import _KNOWN, _ROOM, Batch, _WorkerMemory
from parman.snapshots.cache import SnapshotCache
from parman.snapshots.snapshot import Snapshot
from parman.snapshots.take import pickled, take_snapshot

MB = 1 << 20


class Caller:
    """Calls what it is given, in the process of the manager, on a thread for each thread that asks."""

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return fn(*args)


class Manager(BaseManager):
    """A process of others."""


Manager.register("Caller", Caller)


class ProcessWithThreads(Executor):
    """One worker process that runs several calls at a time, on threads, as Dask's do."""

    def __init__(self) -> None:
        self._manager = Manager(ctx=multiprocessing.get_context("spawn"))
        self._manager.start()
        self._caller = self._manager.Caller()  # type: ignore[attr-defined]
        self._threads = ThreadPoolExecutor(4)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._caller.call, fn, args)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait)
        self._manager.shutdown()


@pytest.fixture
def executor() -> Iterator[ProcessWithThreads]:
    """Give such an executor."""
    with ProcessWithThreads() as executor:
        yield executor


class AtGate:
    """Is rebuilt when it has passed a gate."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __setstate__(self, state: dict[str, str]) -> None:
        pass_gate(state["place"])
        self.__dict__.update(state)


@task
def look(first: Any, array: np.ndarray, after: Any = None) -> float:
    return float(array[-1])


@task
def installed() -> int:
    """Count the shares that this process can find."""
    from parman.snapshots import share as module

    return len(module._installed)


# --- calls of several blocks in one process ---


def test_a_share_is_there_until_its_call_has_it(executor: ProcessWithThreads, tmp_path: Path) -> None:
    """A block that begins in the same process takes nothing from a call that was about to load its arguments."""
    with Gate(tmp_path / "gate") as gate, workflow(ConcurrentRunner(executor)):
        call = look(AtGate(gate.place), share(np.arange(10.0)), after=share([1]))
        gate.wait_for()
        with workflow(ConcurrentRunner(executor)):
            assert resolve(look(0, share(np.arange(5.0))), TIMEOUT) == 4.0
        gate.open()
        assert resolve(call, TIMEOUT) == 9.0


def test_shares_of_blocks_in_turns(executor: ProcessWithThreads) -> None:
    """Calls of blocks that are open at the same time find their own shares, whichever comes when."""
    with workflow(ConcurrentRunner(executor)):
        ours = share(np.arange(10.0))
        with workflow(ConcurrentRunner(executor)):
            theirs = share(np.arange(20.0))
            assert resolve([look(0, theirs) for _ in range(8)], TIMEOUT) == [19.0] * 8
        assert resolve([look(0, ours) for _ in range(8)], TIMEOUT) == [9.0] * 8


# --- what goes ---


@pytest.mark.parametrize("foreign", [False, True])
def test_what_nobody_can_pass_any_more_goes_at_once(foreign: bool) -> None:
    """A loop that shares something new each time leaves nothing of it in the worker, while the block goes on."""
    context = multiprocessing.get_context("spawn")
    runner = ConcurrentRunner(ProcessPoolExecutor(1, context)) if foreign else ConcurrentRunner.processes(1)
    with runner, workflow(runner):
        kept = share(np.ones(10))
        for number in range(5):
            shared = share(np.full(MB // 8, number))
            ended = death(shared)
            assert resolve([look(0, shared), look(0, kept)], TIMEOUT) == [number, 1.0]
            assert resolve(installed(), TIMEOUT) == 2
            del shared
            assert died(ended)
            assert resolve(installed(), TIMEOUT) == 1
    if foreign:
        runner.executor.shutdown()


def test_big_things_that_are_not_needed_go() -> None:
    """What no call asks for goes, though the user holds it; what is asked for again comes once more, and stays."""
    with counted() as exchanges, ConcurrentRunner.processes(1) as runner, workflow(runner):
        shares = [share(np.full(_ROOM // 8 // 4, number)) for number in range(12)]
        for shared in shares:
            resolve(look(0, shared), TIMEOUT)
        assert resolve(installed(), TIMEOUT) <= 4
        for _ in range(4):  # more than there is room for
            assert resolve([look(0, shared) for shared in shares], TIMEOUT) == list(range(12))
            assert resolve([look(0, shared) for shared in shares[::-1]], TIMEOUT) == list(range(12))[::-1]
    exchanges.check()


def test_functions_with_big_globals_go() -> None:
    """So do functions with much in them, of which a script makes one after the other."""

    def make(number: int) -> Callable[[int], int]:
        ballast = np.full(_ROOM // 8 // 4, number)

        @task
        def of_ballast(x: int) -> tuple[int, int]:
            from parman.remote import batch

            return x + int(ballast[0]), sum(batch._memory.sizes.values())

        return of_ballast

    with workflow("processes:1"):
        for number in range(12):
            value, size = make(number)(1)
            assert resolve(value, TIMEOUT) == number + 1
            assert resolve(size, TIMEOUT) < 1.5 * _ROOM


# --- the bookkeeping ---


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> int:
    """Have little room, and give its size."""
    monkeypatch.setattr(batches, "_ROOM", MB)
    return MB


def bring(memory: _WorkerMemory, assets: dict[str, Snapshot], tokens: list[str]) -> list[str]:
    """Let a worker learn shares; return what it lacked."""
    batch = Batch(None, (), tuple(tokens), (), [])
    missing = memory.learn(batch)
    if missing:
        assert not memory.learn(batch._replace(assets={token: assets[token] for token in missing}))
    assert len(memory.needed_by(batch).shares) == len(tokens)
    return missing


def big(count: int, size: int) -> dict[str, Snapshot]:
    """Make snapshots by their tokens."""
    made = (new_asset(np.zeros(size // 8), pickled, SnapshotCache(), "") for _ in range(count))
    return {asset.token: asset.snapshot for asset in made}


@pytest.mark.parametrize("size", [0.01, 0.3, 2])
@pytest.mark.parametrize("together", [1, 3])
def test_nothing_is_sent_more_than_twice(room: int, size: float, together: int) -> None:
    """Calls that need more than there is room for, alone or in turns, do not make it go to and fro."""
    memory = _WorkerMemory()
    assets = big(6, int(size * room))
    tokens = list(assets)
    sent = []
    for start in [*range(6), *range(6), *range(5, -1, -1), *range(0, 6, 2), *range(6)]:
        sent += bring(memory, assets, [tokens[(start + i) % 6] for i in range(together)])
    assert all(sent.count(token) <= 2 for token in tokens)


def test_small_things_stay(room: int) -> None:
    """Something huge that is passed by does not have the small things forgotten, which cost nothing."""
    memory = _WorkerMemory()
    small, huge = big(_KNOWN // 2, 8), big(3, 2 * room)
    bring(memory, small, list(small))
    for token in huge:
        bring(memory, huge, [token])
    assert not bring(memory, small, list(small))
    assert memory.size < room


def test_what_was_forgotten_is_not_counted(room: int) -> None:
    """However things come, go and come again: what is known of their size adds up."""
    memory = _WorkerMemory()
    assets = big(8, room // 2)
    tokens = list(assets)
    for token in [*tokens, *tokens[::2], *tokens[::-1]]:
        bring(memory, assets, [token])
    for token in [*tokens, "one that nobody knows"]:
        memory.forget(token)
    assert memory.size == 0
    assert not memory.assets
    assert not memory.kept
    assert not memory.sizes


def test_what_a_call_holds_outlives_being_forgotten() -> None:
    """What was taken out for a call is found by its token until the call lets go of it."""
    from parman.snapshots.share import shared_value

    memory = _WorkerMemory()
    assets = {"token of a test": take_snapshot([1, 2], pickled)}
    bring(memory, assets, list(assets))
    needed = memory.needed_by(Batch(None, (), tuple(assets), (), []))
    memory.forget("token of a test")
    assert shared_value("token of a test") == [1, 2]
    del needed
    with pytest.raises(LookupError):
        shared_value("token of a test")
