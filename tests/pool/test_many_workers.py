# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Very many threads, and very many worker processes: a call costs hardly more than with a few of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from helpers import TIMEOUT
from helpers.pretended_workers import Peers
from helpers.waiting import hasty_switches, in_thread

from parman import ConcurrentRunner, resolve, task, workflow
from parman.engine import worker_loops
from parman.engine.calls import Call
from parman.engine.handles import BatchHandle
from parman.engine.worker_loops import WorkerLoop, WorkerLoops
from parman.pool import processes

CALLS = 2000
FEW = 16
MOST = 3
"""How much more a call may cost than with few workers."""


@task
def step(x: int) -> int:
    return x + 1


@task(snapshot=False)
def meet(barrier: threading.Barrier) -> int:
    return barrier.wait(TIMEOUT)


def wide() -> Any:
    """Make calls that start from nothing."""
    return [step(i) for i in range(CALLS)]


def chains() -> Any:
    """Make short chains."""
    return [step(step(step(step(i)))) for i in range(CALLS // 4)]


def cost(make: Callable[[], Any]) -> float:
    """Return the CPU time of all threads [s], of the best of a few times: it is the others that something disturbed."""
    times = []
    for _ in range(4):
        start = time.process_time()
        resolve(make(), TIMEOUT)
        times.append(time.process_time() - start)
    return min(times)


def cost_on_threads(workers: int, make: Callable[[], Any]) -> float:
    """Return what calls cost when all the threads have been started."""
    with ConcurrentRunner.threads(workers) as runner, workflow(runner):
        barrier = threading.Barrier(workers)
        assert sorted(resolve([meet(barrier) for _ in range(workers)], TIMEOUT)) == list(range(workers))
        return cost(make)


@pytest.mark.parametrize("workers", [200, *(pytest.param(count, marks=pytest.mark.slow) for count in (64, 1000))])
@pytest.mark.parametrize("make", [wide, chains])
def test_calls_on_many_threads(make: Callable[[], Any], workers: int) -> None:
    """However many threads there are, a call costs about the same."""
    assert cost_on_threads(workers, make) <= MOST * cost_on_threads(FEW, make)


def test_all_threads_are_used() -> None:
    """As many calls run at a time as there are threads, although not all of those are woken at once."""
    with ConcurrentRunner.threads(300) as runner, workflow(runner):
        for _ in range(3):
            barrier = threading.Barrier(300)
            assert sorted(resolve([meet(barrier) for _ in range(300)], TIMEOUT)) == list(range(300))


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peers]:
    """Have placeholders for worker processes, none of which is held to be late: one thread answers for all of them."""
    peers = Peers()
    monkeypatch.setattr(processes, "_Process", peers.make)
    monkeypatch.setattr("parman.remote.exchange._OVERDUE", 100.0)
    yield peers
    peers.close()


def cost_on_lanes(peers: Peers, workers: int, make: Callable[[], Any]) -> float:
    """Return what calls cost in the driver when all the workers have been started."""
    with ConcurrentRunner.processes(workers) as runner, workflow(runner):
        for _ in range(3):
            resolve([step(i) for i in range(5 * workers)], TIMEOUT)
        before = peers.batches
        taken = cost(make)
        assert peers.batches - before >= 4
        return taken


@pytest.mark.parametrize("make", [wide, chains])
def test_calls_on_many_lanes(peers: Peers, make: Callable[[], Any]) -> None:
    """However many worker processes there are, a call costs the driver about the same."""
    assert cost_on_lanes(peers, 200, make) <= MOST * cost_on_lanes(peers, FEW, make)


@pytest.mark.slow
def test_calls_that_travel_alone_on_many_lanes(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds for calls that are not known to be short."""
    monkeypatch.setattr("parman.remote.batcher._BUDGET", 0.0)
    assert cost_on_lanes(peers, 200, wide) <= MOST * cost_on_lanes(peers, FEW, wide)


class Laden:
    """A batch that has nothing to spare, and notes who asks."""

    is_stealable = True
    is_complete = False

    def __init__(self) -> None:
        self.asked = 0

    def may_be_stolen_from(self) -> bool:
        self.asked += 1
        return False


def loops_of(runner: ConcurrentRunner) -> WorkerLoops:
    """Return the loops of a runner that has some."""
    assert runner._loops is not None
    return runner._loops


def test_an_idle_worker_looks_at_a_few_others() -> None:
    """However many are busy; and who has nothing left looks at others than who did before."""
    with ConcurrentRunner.threads(1) as runner:
        loops = loops_of(runner)
        batches: list[Any] = [Laden() for _ in range(100)]
        for batch in batches:
            loops.carries(WorkerLoop(None), batch)  # type: ignore[arg-type]
        assert loops._steal() is None
        assert sum(batch.asked for batch in batches) == worker_loops._LOOKS
        for _ in range(20):
            loops._steal()
        assert {batch.asked for batch in batches} <= {1, 2}


def test_what_a_drain_carries_is_forgotten_when_it_is_over() -> None:
    """A loop that ends, or asks for the next call, has nothing on its way."""
    with ConcurrentRunner.threads(1) as runner:
        loops = loops_of(runner)
        first, second = WorkerLoop(None), WorkerLoop(None)  # type: ignore[arg-type]
        for loop in (first, second):
            loops._loops.add(loop)
            batch: Any = Laden()
            loops.carries(loop, batch)
        loops.end_loop(first)
        assert loops.next_call(second) is None
        assert not loops._stealable
        assert not loops._loops


def test_a_drain_that_was_given_up_loses_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that learns that its pool was stopped when it has taken a call gives that back."""
    take = WorkerLoops._take
    gate, given_up = threading.Event(), []

    def late_take(loops: WorkerLoops) -> Call | None:
        call = take(loops)
        if call is not None and not given_up and threading.current_thread().name.startswith("parman-thread"):
            given_up.extend(loops._loops)
            future: Future[Any] = Future()
            future.cancel()
            done = threading.Event()
            loops.event_loop.post(partial(loops.end_loop, given_up[0], future))
            loops.event_loop.post(done.set)
            assert done.wait(TIMEOUT)
        return call

    @task
    def wait(number: int) -> int:
        assert gate.wait(TIMEOUT)
        return number

    with ConcurrentRunner.threads(1) as runner, workflow(runner):
        futures = [wait(i) for i in range(3)]
        monkeypatch.setattr(WorkerLoops, "_take", late_take)
        gate.set()
        assert resolve(futures, TIMEOUT) == [0, 1, 2]
    assert given_up


def test_a_call_is_settled_before_its_loop_goes_on() -> None:
    """A loop sleeps until its call is settled, and not when that came first; each sleep is ended once."""
    courtesy, loop = worker_loops._ResultsFirst(), WorkerLoop(None)  # type: ignore[arg-type]
    courtesy._lookers.clear()
    with hasty_switches():
        for number in range(1, 500):
            loop.ran = number
            settler = in_thread(partial(courtesy.settled, loop))
            courtesy.give_way(loop)
            settler.join(TIMEOUT)
            assert loop.settled == number
            assert loop.bell is None


def test_results_first_on_many_threads() -> None:
    """Hardly a chain begins before those that have begun have gone on, however many threads there are."""
    lock, begun, peak = threading.Lock(), [0], [0]

    @task
    def begin(x: int) -> int:
        with lock:
            begun[0] += 1
            peak[0] = max(peak[0], begun[0])
        return x

    @task
    def end(x: int) -> int:
        with lock:
            begun[0] -= 1
        return x

    workers = 32
    with ConcurrentRunner.threads(workers) as runner, workflow(runner):
        barrier = threading.Barrier(workers)
        waiting = [meet(barrier) for _ in range(workers)]
        ends = [end(begin(i)) for i in range(2000)]
        resolve([waiting, ends], TIMEOUT)
    assert peak[0] <= 3 * workers


def test_a_flight_knows_what_it_could_spare() -> None:
    """Only calls behind the first that need nothing of the same batch could as well go elsewhere."""

    class Wanted:
        batch: Any = None
        seat = 0

        def is_wanted(self) -> bool:
            return True

    tokens: Any = None
    batch = BatchHandle(tokens)
    calls: list[Any] = [Wanted() for _ in range(3)]
    batch.add(calls[0])
    batch.add(calls[1], is_ready=False)
    assert not batch.is_stealable
    batch.add(calls[2])
    assert batch.is_stealable
