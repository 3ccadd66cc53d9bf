# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Short calls travel to worker processes together, and nobody can tell: not by order, failure, cancelling or death."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TIMEOUT
from helpers.gates import Gate, pass_gate
from helpers.seeds import seeds
from helpers.waiting import handled, hasty_switches

from parman import ArgumentError, ConcurrentRunner, Interrupted, WorkerDied, as_future, resolve, task, workflow
from parman.engine.handles import BatchHandle
from parman.pool.channel import Channel, Kind, pack
from parman.pool.claims import ClaimPipe
from parman.pool.processes import ProcessWorker
from parman.snapshots.buffers import Buffer

PLENTY = 300
"""Calls after which a task is known to be quick."""


@task
def act(how: str, place: str, number: int, before: Any = None) -> int:
    """Note that the call ran, and do as told."""
    with open(os.path.join(place, "ran"), "a") as file:  # noqa: PTH118, PTH123 (it is to be quick)
        file.write(f"{number}\n")
    if how == "gate":
        pass_gate(os.path.join(place, "gate"))  # noqa: PTH118
    elif how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "fail":
        raise ValueError(number)
    return number


@task
def hold(place: str) -> None:
    pass_gate(place)


class Field:
    """A place where calls leave traces, and a gate in it."""

    def __init__(self, folder: Path) -> None:
        self.place = str(folder)
        self.gate = Gate(folder / "gate")

    def act(self, how: str, number: int, before: Any = None) -> Any:
        return act(how, self.place, number, before)

    def ran(self) -> Counter[int]:
        """Return how often each call ran."""
        return Counter(map(int, Path(self.place, "ran").read_text().split()))

    def make_quick(self) -> None:
        """Let it be seen that calls of the task are quick."""
        resolve([self.act("go", -1) for _ in range(PLENTY)])


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    """Give a place for calls."""
    field = Field(tmp_path)
    with field.gate:
        yield field


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """List how many calls each batch has."""
    sizes: list[int] = []
    launch = BatchHandle.send

    def counting(self: BatchHandle) -> bool:
        sizes.append(len(self.calls))
        return launch(self)

    monkeypatch.setattr(BatchHandle, "send", counting)
    return sizes


@contextmanager
def processes(workers: int) -> Iterator[Any]:
    """Open a block on worker processes."""
    with ConcurrentRunner.processes(workers) as runner, workflow(runner) as w:
        yield w


def test_short_calls_travel_together(field: Field, batches: list[int]) -> None:
    """Calls that are ready, and chains of calls, take few messages, once they are known to be short."""
    with processes(1):
        field.make_quick()
        del batches[:]
        resolve([field.act("go", i) for i in range(1000)])
        wide = len(batches)
        last: Any = 0
        for i in range(1000):
            last = field.act("go", i, last)
        resolve(last)
    assert sum(batches) >= 2000  # more, if some were taken back on a busy machine
    assert wide < 200
    assert len(batches) - wide < 200


def test_what_is_not_known_to_be_short_travels_alone(field: Field, batches: list[int]) -> None:
    """So do the first calls of a task, and big arguments and results."""
    with processes(1):
        first = [field.act("go", i) for i in range(2)]
        resolve(first)
        assert batches[0] == 1
        field.make_quick()
        del batches[:]
        big = np.zeros(1 << 20)
        resolve([field.act("go", i, big) for i in range(10)])
        assert batches == [1] * 10


def test_each_worker_has_its_share(field: Field, batches: list[int]) -> None:
    """No worker takes more than its part of what is ready, so that none waits for another's batch."""
    with processes(2):
        field.make_quick()
        holding = [hold(field.gate.place) for _ in range(2)]
        field.gate.wait_for(2)
        del batches[:]
        futures = [field.act("go", i) for i in range(20)]
        assert handled(futures[0].event_loop.post)
        field.gate.open(2)
        resolve([holding, futures])
    assert max(batches) <= 10


@pytest.mark.parametrize("seed", seeds(5))
def test_a_call_that_takes_longer_than_expected_holds_up_nobody(field: Field, seed: int) -> None:
    """What is behind it in its batch runs elsewhere while it is running."""
    with processes(2):
        field.make_quick()
        number = random.Random(seed).randrange(100)
        futures = [field.act("gate" if i == number else "go", i) for i in range(100)]
        field.gate.wait_for()
        others = futures[:number] + futures[number + 1 :]
        assert not wait(others, TIMEOUT).not_done
        assert not futures[number].done()
        assert futures[number].running()
        assert not futures[number].cancel()
        field.gate.open(1)
        assert futures[number].result(TIMEOUT) == number
    assert {count for i, count in field.ran().items() if i >= 0} == {1}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let batches be big, nothing be taken back because of the time that a call takes, and all for an idle worker."""
    monkeypatch.setattr("parman.remote.batcher._BUDGET", 1.0)
    monkeypatch.setattr("parman.remote.exchange._OVERDUE", 100.0)
    monkeypatch.setattr("parman.engine.handles._WORTH", 0.0)


@contextmanager
def held_up(place: Path) -> Iterator[None]:
    """Hold two workers up while calls are made, and let them go."""
    with Gate(place / "held") as gate:
        holding = [hold(gate.place) for _ in range(2)]
        gate.wait_for(2)
        yield
        gate.open(2)
        resolve(holding)


@pytest.mark.usefixtures("patient")
def test_an_idle_worker_takes_what_waits_for_a_busy_one(field: Field, batches: list[int], tmp_path: Path) -> None:
    """Calls that were sent along with a long one are run by another worker when that has nothing else to do."""
    with processes(2):
        field.make_quick()
        with held_up(tmp_path):
            del batches[:]
            slow = field.act("gate", 0)
            futures = [field.act("go", i) for i in range(1, 10)]
            assert handled(futures[0].event_loop.post)
        field.gate.wait_for()
        assert resolve(futures) == list(range(1, 10))
        assert not slow.done()
        field.gate.open()
        resolve(slow)
    assert batches[0] > 1
    assert set(field.ran().values()) == {1, PLENTY}


@pytest.mark.usefixtures("patient")
def test_an_idle_worker_leaves_a_chain_where_it_is(field: Field, batches: list[int], tmp_path: Path) -> None:
    """Calls that wait for one another are not taken from a worker: no other one could run them."""
    with processes(2):
        field.make_quick()
        with held_up(tmp_path):
            del batches[:]
            chain = [field.act("gate", 0)]
            for i in range(1, 10):
                chain.append(field.act("go", i, chain[-1]))
            assert handled(chain[0].event_loop.post)
        field.gate.wait_for()
        resolve([field.act("go", -1) for _ in range(10)])
        field.gate.open()
        resolve(chain)
    assert 10 in batches
    assert sum(batches) == 20


def test_calls_behind_one_that_runs_can_be_cancelled(field: Field) -> None:
    """All but the call that has begun, at once and for certain, wherever they are."""
    with processes(1):
        field.make_quick()
        futures = [field.act("gate" if i == 3 else "go", i) for i in range(50)]
        field.gate.wait_for()
        assert [future.cancel() for future in futures[4:]] == [True] * 46
        assert not futures[3].cancel()
        field.gate.open(1)
        assert resolve(futures[:4]) == [0, 1, 2, 3]
    assert sorted(field.ran()) == [-1, 0, 1, 2, 3]


def test_cancelling_one_leaves_the_others(field: Field) -> None:
    """What was taken back with a cancelled call runs."""
    with processes(1):
        field.make_quick()
        futures = [field.act("gate" if i == 0 else "go", i) for i in range(20)]
        field.gate.wait_for()
        assert futures[10].cancel()
        field.gate.open(1)
        assert resolve(futures[:10] + futures[11:]) == [*range(10), *range(11, 20)]
    assert {i: count for i, count in field.ran().items() if i >= 0} == dict.fromkeys([*range(10), *range(11, 20)], 1)


@pytest.mark.parametrize("number", [0, 1, 7, 19])
def test_a_worker_that_dies_takes_along_the_call_that_it_ran(field: Field, number: int) -> None:
    """No other call of the batch is lost, and none runs twice."""
    with processes(1):
        field.make_quick()
        futures = [field.act("die" if i == number else "go", i) for i in range(20)]
        error = futures[number].exception(TIMEOUT)
        assert isinstance(error, WorkerDied)
        assert "SIGKILL" in str(error)
        assert "while it was running act(), called at" in str(error)
        assert resolve(futures[:number] + futures[number + 1 :]) == [i for i in range(20) if i != number]
    assert {i: count for i, count in field.ran().items() if i >= 0} == dict.fromkeys(range(20), 1)


def test_a_call_that_is_lost_is_not_taken_back(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the death of a worker and the failure of its call nobody can cancel that, or run it again."""
    futures: list[Any] = []
    refused = []
    bury = ProcessWorker.bury

    def bury_late(self: ProcessWorker) -> str:
        refused.append(not futures[1].cancel())
        assert handled(futures[1].event_loop.post)
        return bury(self)

    monkeypatch.setattr(ProcessWorker, "bury", bury_late)
    with processes(1):
        field.make_quick()
        hold(field.gate.place)
        field.gate.wait_for()
        futures += [field.act("die" if i == 1 else "go", i) for i in range(5)]
        field.gate.open(1)
        assert isinstance(futures[1].exception(TIMEOUT), WorkerDied)
        assert resolve([futures[0], *futures[2:]]) == [0, 2, 3, 4]
    assert refused == [True]
    assert {i: count for i, count in field.ran().items() if i >= 0} == dict.fromkeys(range(5), 1)


def test_a_worker_that_is_stopped(field: Field) -> None:
    """When the workers are killed by their pool, calls were given up; nobody is told that a worker had died."""
    with ConcurrentRunner.processes(2) as runner, workflow(runner):
        field.make_quick()
        slow = [field.act("gate", i) for i in range(2)]
        quick = [field.act("go", i) for i in range(2, 12)]
        field.gate.wait_for(2)
        runner.stop_running()
        assert [type(one.exception(TIMEOUT)) for one in slow] == [Interrupted] * 2
        assert {type(one.exception(TIMEOUT)) for one in quick} <= {Interrupted, type(None)}
    assert all(count == 1 for number, count in field.ran().items() if number >= 0)


def test_a_worker_that_dies_in_a_chain(field: Field) -> None:
    """What needs the lost call fails with its failure, what does not goes on."""
    with processes(1):
        field.make_quick()
        first = field.act("go", 0)
        lost = field.act("die", 1, first)
        after = field.act("go", 2, lost)
        beside = field.act("go", 3, first)
        error = lost.exception(TIMEOUT)
        assert isinstance(error, WorkerDied)
        assert after.exception(TIMEOUT) is error
        assert resolve(beside) == 3
    assert 2 not in field.ran()


def test_a_failure_in_a_chain(field: Field) -> None:
    """It reaches the calls behind it in the batch, which do not run, and no other."""
    with processes(1) as w:
        field.make_quick()
        first = field.act("go", 0)
        failed = field.act("fail", 1, first)
        chain = [failed]
        for i in range(2, 20):
            chain.append(field.act("go", i, chain[-1]))
        others = [field.act("go", i, first) for i in range(20, 40)]
        error = failed.exception(TIMEOUT)
        assert isinstance(error, ValueError)
        assert all(future.exception(TIMEOUT) is error for future in chain)
        assert resolve(others) == list(range(20, 40))
        assert len(w.failed) == 1
    assert sorted(field.ran()) == [-1, 0, 1, *range(20, 40)]


def test_of_two_failures_the_first_counts(field: Field) -> None:
    """In the order of the dependencies, although the other one was known when the call was chosen for a batch."""
    with processes(1):
        field.make_quick()
        second = field.act("fail", 2)
        assert isinstance(second.exception(TIMEOUT), ValueError)
        field.make_quick()  # again, since a failure takes longer
        hold(field.gate.place)
        field.gate.wait_for()
        first = field.act("fail", 1)
        after = field.act("go", 3, [first, second])
        field.gate.open(1)
        assert after.exception(TIMEOUT) is first.exception(TIMEOUT)


@task
def accept(outcome: int | Exception) -> str:
    return type(outcome).__name__


def test_an_exception_that_is_admitted(field: Field) -> None:
    """A call that takes exceptions runs after one that fails, however short both are."""
    with processes(1):
        field.make_quick()
        resolve([accept(i) for i in range(PLENTY)])
        failing = [field.act("fail" if i % 2 else "go", i, field.act("go", i)) for i in range(20)]
        assert resolve([accept(future) for future in failing]) == ["int", "ValueError"] * 10


def test_values_are_those_of_the_serial_script() -> None:
    """Results that stay in the worker are copied for each call that gets them."""

    @task
    def make(n: int) -> list[int]:
        return list(range(n))

    @task
    def spoil(items: list[int]) -> int:
        items.append(len(items))
        return len(items)

    with processes(1):
        resolve([spoil(make(3)) for _ in range(PLENTY)])
        made = make(3)
        assert resolve([spoil(made) for _ in range(20)]) == [4] * 20
        assert resolve(made) == [0, 1, 2]


def test_several_leaves() -> None:
    """Each part of a result goes its own way in a batch."""

    @task
    def split(n: int) -> tuple[int, dict[str, int]]:
        return n, {"next": n + 1}

    @task
    def join(a: int, b: dict[str, int]) -> int:
        return a * b["next"]

    with processes(1):
        for _ in range(3):
            pairs = [split(i) for i in range(PLENTY)]
            assert resolve([join(a, b) for a, b in pairs]) == [i * i + i for i in range(PLENTY)]


def test_a_worker_that_has_forgotten() -> None:
    """What a worker knew and has forgotten is sent to it once more."""

    def make(number: int) -> Callable[[int], int]:
        ballast = os.urandom(200_000)  # much of it is what makes a worker forget

        @task
        def numbered(x: int) -> int:
            assert ballast
            return x + number

        return numbered

    tasks = [make(i) for i in range(520)]
    with processes(1):
        for _ in range(2):
            assert resolve([tasks[i](1) for i in range(520)]) == list(range(1, 521))


def test_other_calls_of_the_same_pool_have_their_turn(field: Field) -> None:
    """A pool that is busy with the calls of a block still runs what its user submits."""
    with ConcurrentRunner.processes(1) as runner, workflow(runner):
        field.make_quick()
        last: Any = 0
        for i in range(3000):
            last = field.act("go", i, last)
        assert runner.executor.submit(pow, 2, 10).result(TIMEOUT) == 1024
        resolve(as_future(last))


@pytest.mark.parametrize("seed", seeds(10))
def test_calls_that_end_in_any_way(field: Field, seed: int) -> None:
    """Among very many calls with dependencies: each ends, as it should, and runs once at most."""
    dice = random.Random(seed)
    with hasty_switches(), processes(2) as w:
        field.make_quick()
        futures: list[Any] = []
        cancelled = 0
        for i in range(400):
            how = dice.choices(["go", "fail", "die"], [100, 2, 1])[0]
            before = dice.choice(futures[-20:]) if futures and dice.random() < 0.7 else None
            futures.append(field.act(how, i, before))
            if dice.random() < 0.05:
                cancelled += dice.choice(futures[-20:]).cancel()
        done, open_ = wait(futures, TIMEOUT)
        assert not open_
        assert len(done) == 400
        for future in futures:
            if not future.cancelled():
                future.exception(TIMEOUT)
        assert not w.failed or {type(exception) for _, exception in w.failed} <= {ValueError, WorkerDied}
    ran = field.ran()
    assert max(count for i, count in ran.items() if i >= 0) == 1
    assert all(ran[i] == 0 for i, future in enumerate(futures) if future.cancelled())
    assert all(ran[i] == 1 for i, future in enumerate(futures) if not future.cancelled() and not future.exception())


DRIVER = os.getpid()


class Key:
    """A key of a result that can't be loaded in a worker."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return load_key, (self.how, DRIVER)


def load_key(how: str, driver: int) -> Key:
    if os.getpid() != driver:
        if how == "die":
            os._exit(3)
        raise LookupError("no such key here")
    return Key(how)


def keyed_like(how: str) -> dict[Any, int]:
    """Give an example of the result of `keyed`: what its keys are travels with each call."""
    return {Key(how) if how else "plain": 1}


@task(mock=keyed_like)
def keyed(how: str) -> dict[Any, int]:
    return {"plain": 1}


def test_calls_that_a_worker_cannot_read(field: Field) -> None:
    """They fail with what went wrong there, and nothing else does."""
    with processes(1):
        field.make_quick()
        resolve([keyed("") for _ in range(PLENTY)])
        futures = [next(iter(keyed("raise" if i == 5 else "").values())) for i in range(20)]
        error = futures[5].exception(TIMEOUT)
        assert isinstance(error, ArgumentError)
        assert "no such key here" in str(error)
        assert resolve(futures[:5] + futures[6:]) == [1] * 19


def test_calls_that_kill_a_worker_before_they_begin() -> None:
    """They are tried once more, and then given up with a message that says so."""
    with processes(1):
        resolve(keyed(""))
        future = next(iter(keyed("die").values()))
        error = future.exception(TIMEOUT)
        assert isinstance(error, WorkerDied)
        assert "exit status 3" in str(error)
        assert "the call was not run" in str(error)
        assert resolve(keyed("")) == {"plain": 1}


# --- tokens ---


def test_tokens_are_given_once() -> None:
    """A token is the worker's or the driver's."""
    tokens = ClaimPipe()
    tokens.put(5000)
    assert tokens.left() == 5000
    assert os.read(tokens.theirs, 1) == b"\0"
    assert tokens.reclaim() == 4999
    assert tokens.left() == 0
    assert tokens.reclaim() == 0
    tokens.close()


def test_messages_of_all_sizes_and_descriptors() -> None:
    """Messages that were read ahead are those that were sent, whatever comes with them."""
    left, right = socket.socketpair()
    sender, receiver = Channel(left, None), Channel(right, None)
    dice = random.Random(3)
    for _ in range(300):
        sent = []
        for _ in range(dice.randrange(1, 5)):
            size = dice.choice([0, 1, 100, 5000])
            value = Buffer.of(bytes([size % 251]) * size) if dice.random() < 0.4 else b"x" * size
            sent.append(value)
            sender.send(pack(Kind.VALUE, value))
        for value in sent:
            came = receiver.receive().load()
            assert bytes(came.readonly() if isinstance(came, Buffer) else came) == bytes(
                value.readonly() if isinstance(value, Buffer) else value
            )
    sender.close()
    receiver.close()
