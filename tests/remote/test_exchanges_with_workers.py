# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Every exchange with a worker brings something to its end, or the next is smaller: nothing is sent for ever."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from helpers import TIMEOUT
from helpers.exchanges import Exchanges, counted
from helpers.waiting import hasty_switches

from parman import ConcurrentRunner, WorkerDied, resolve, share, task, workflow
from parman.pool import processes
from parman.pool.channel import Channel, Kind, Message, Parcel
from parman.pool.claims import ClaimPipe
from parman.remote.batcher import _MOST, _ROOM, _most_with

KB, MB = 1 << 10, 1 << 20
SIZES = [1, KB, 60 * KB, 300 * KB, 8 * MB]
"""A number, what goes in company, what does not, what is sent as bytes, and what is a memory file [bytes]."""


@dataclass
class Grid:
    """Some arrays and a name."""

    name: str
    fields: dict[str, np.ndarray]


@task
def make(seed: int, size: int, pause: float) -> np.ndarray:
    time.sleep(pause)
    return np.full(max(size // 8, 1), float(seed))


@task
def grid(seed: int, size: int, pause: float) -> Grid:
    time.sleep(pause)
    return Grid(f"grid {seed}", {name: np.full(max(size // 24, 1), float(seed)) for name in "uvw"})


@task
def names(seed: int, size: int, pause: float) -> str:
    time.sleep(pause)
    return "x" * size + str(seed)


@task
def measure(value: Any, pause: float) -> float:
    time.sleep(pause)
    return number_in(value)


@task
def scale(x: float) -> float:
    return 2 * x


@task
def shifted(value: np.ndarray, by: float) -> np.ndarray:
    return value + by


@task
def total(values: list[Any]) -> float:
    return sum(map(number_in, values))


def number_in(value: Any) -> float:
    """Return a number that depends on a value."""
    if isinstance(value, Grid):
        return float(sum(field[-1] for field in value.fields.values())) + len(value.name)
    return float(len(value)) if isinstance(value, str) else float(np.max(value))


def chains(source: Any, size: int, pause: float) -> Any:
    """Make values, a number of each, a number of that."""
    return [scale(measure(source(i, size, pause), pause)) for i in range(20)]


def fan_out(source: Any, size: int, pause: float) -> Any:
    """Make one value for many calls."""
    value = source(3, size, pause)
    return [scale(measure(value, pause)) for _ in range(30)]


def fan_in(source: Any, size: int, pause: float) -> Any:
    """Make many values for each of a few calls."""
    values = [source(i, size, pause) for i in range(8)]
    return [total(values), total(values[:4]), total(values[4:])]


def diamonds(source: Any, size: int, pause: float) -> Any:
    """Make values, two numbers of each, one of those."""
    tops = [source(i, size, pause) for i in range(8)]
    return [total([measure(top, pause), scale(measure(top, pause)), top]) for top in tops]


@contextlib.contextmanager
def serial() -> Iterator[None]:
    """Open no block."""
    yield


@contextlib.contextmanager
def on_processes(workers: int = 2) -> Iterator[None]:
    """Open a block on worker processes."""
    with ConcurrentRunner.processes(workers) as runner, workflow(runner):
        yield


@pytest.mark.parametrize("shape", [chains, fan_out, fan_in, diamonds])
@pytest.mark.parametrize("source", [make, *(pytest.param(other, marks=pytest.mark.slow) for other in (grid, names))])
def test_few_messages_and_sends(shape: Callable[..., Any], source: Any) -> None:
    """Whatever depends on what, and however big it is: the values of the serial script, for few messages."""
    todo = [(size, pause) for size in SIZES for pause in ((0.0, 0.004) if size < MB else (0.0,))]
    expected = [shape(source, *one) for one in todo]
    with counted() as exchanges, on_processes():
        for one, values in zip(todo, expected, strict=True):
            assert resolve(shape(source, *one), TIMEOUT) == values
    exchanges.check()


def test_sizes_that_change_from_call_to_call() -> None:
    """Calls of a task that were light and quick say nothing about the next one."""
    sizes = [KB, 8 * MB, KB, 70 * KB, KB, 900 * KB, 1, 2 * MB] * 6
    with counted() as exchanges, hasty_switches(), on_processes():
        resolve(chains(make, KB, 0.0) * 10)
        found = resolve([scale(measure(make(i, size, 0.0), 0.0)) for i, size in enumerate(sizes)], TIMEOUT)
        assert found == [2.0 * i for i in range(len(sizes))]
    exchanges.check()


def test_big_values_for_quick_calls() -> None:
    """A call that is known to be quick travels alone if it depends on much, and so does not hold up others."""
    with counted() as exchanges, on_processes(1):
        resolve([measure(float(i), 0.0) for i in range(300)])
        resolve([scale(measure(shifted(make(i, 8 * MB, 0.0), 1.0), 0.0)) for i in range(20)], TIMEOUT)
    exchanges.check()
    assert exchanges.size < 2 * MB


def test_the_bytes_of_a_value_are_sent_once() -> None:
    """A value that many calls are given is sent to their workers as bytes once, and then as a memory file."""
    with counted() as exchanges, on_processes():
        value = make(1, 500 * KB, 0.0)
        assert resolve([measure(value, 0.0) for _ in range(100)], TIMEOUT) == [1.0] * 100
    exchanges.check()
    assert exchanges.size < 3 * 500 * KB


@task
def fail_with(size: int) -> np.ndarray:
    raise ValueError(np.full(size, 7.0))


@task
def told(result: np.ndarray | Exception, number: int) -> float:
    return float(result.args[0][-1]) if isinstance(result, Exception) else 0.0


def test_exceptions_as_values_are_sent_as_memory_files() -> None:
    """However big an exception is that calls are given, it does not go through the socket for each of them."""
    with counted() as exchanges, on_processes() as _:
        failed = fail_with(MB)
        assert resolve([told(failed, i) for i in range(20)], TIMEOUT) == [7.0] * 20
        with pytest.raises(ValueError, match="7"):
            resolve(failed)
    exchanges.check()
    assert exchanges.size < 2 * MB


def test_many_medium_values_in_company() -> None:
    """What each call may have in company, many calls together may not."""
    with counted() as exchanges, on_processes(1):
        resolve([measure("x" * KB, 0.0) for _ in range(300)])
        texts = ["x" * (50 * KB) + str(i) for i in range(100)]
        assert resolve([measure(text, 0.0) for text in texts], TIMEOUT) == list(map(float, map(len, texts)))
    exchanges.check()
    assert exchanges.largest < 2 * _ROOM


def test_shares_and_tasks_are_sent_once() -> None:
    """What a worker was told it knows, in one block after another."""
    with counted() as exchanges, ConcurrentRunner.processes(2) as runner:
        for _ in range(3):
            with workflow(runner):
                shared = [share("y" * (200 * KB)) for _ in range(4)]
                found = resolve([measure(one, 0.0) for one in shared for _ in range(10)], TIMEOUT)
                assert found == [200.0 * KB] * 40
    exchanges.check()


# --- workers that are slow to begin, or die before ---


class Slow:
    """Holds each worker up as soon as it is sent calls, until the driver waits for nothing but an answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stops = 0
        send, receive = Channel.send, Channel.receive

        def slow_send(channel: Channel, message: Message) -> None:
            if message.kind == Kind.BATCH:
                self.stops += 1
                os.kill(pid_behind(channel), signal.SIGSTOP)
            send(channel, message)

        def slow_receive(channel: Channel) -> Parcel:
            pid = pid_behind(channel)
            if pid:
                os.kill(pid, signal.SIGCONT)
            return receive(channel)

        monkeypatch.setattr(Channel, "send", slow_send)
        monkeypatch.setattr(Channel, "receive", slow_receive)


def pid_behind(channel: Channel) -> int:
    """Return the worker at the other end; 0 if that is not known yet."""
    return next((one._popen.pid for one in list(processes._processes) if one.channel is channel), 0)


def test_inner_blocks_forget_nothing_of_the_outer_one() -> None:
    """However many blocks begin inside of a block, its tasks and shares are sent to each worker twice at most."""
    with counted() as exchanges, ConcurrentRunner.processes(2) as runner, workflow(runner):
        shared = share(np.ones(100))
        for _ in range(12):
            assert resolve([measure(shared, 0.0) for _ in range(4)]) == [1.0] * 4
            with workflow(runner):
                assert len(resolve(names(1, KB, 0.0))) == KB + 1
    exchanges.check()


@pytest.mark.parametrize("patience", [0.2, 0.0])
def test_workers_that_are_slow_to_begin(monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    """Each batch brings a call to its end, although other calls don't wait for it, and calls are sent few times."""
    monkeypatch.setattr("parman.remote.exchange._NOT_BEGUN", patience)
    with on_processes(1):
        resolve([scale(float(i)) for i in range(300)])
        with counted() as exchanges:
            slow = Slow(monkeypatch)
            assert resolve([scale(float(i)) for i in range(60)], TIMEOUT) == [2.0 * i for i in range(60)]
    exchanges.check()
    assert 1 < slow.stops <= 60
    assert exchanges.messages[Kind.BATCH] == slow.stops


def test_a_worker_that_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other workers run what is behind the call that a stopped worker was sent; it runs that one when it goes on."""
    stopped: list[int] = []
    send = Channel.send

    def stop_first(channel: Channel, message: Message) -> None:
        if message.kind == Kind.BATCH and not stopped:
            stopped.append(pid_behind(channel))
            os.kill(stopped[0], signal.SIGSTOP)
        send(channel, message)

    with on_processes(2):
        resolve([scale(float(i)) for i in range(300)])
        monkeypatch.setattr(Channel, "send", stop_first)
        with counted() as exchanges:
            futures: list[Any] = [scale(float(i)) for i in range(100)]
            done = as_completed(futures, TIMEOUT)
            for _ in range(99):
                next(done)
            os.kill(stopped[0], signal.SIGCONT)
            assert resolve(futures, TIMEOUT) == [2.0 * i for i in range(100)]
    exchanges.check()


DRIVER = os.getpid()


class Poison:
    """Ends any worker that reads it."""

    def __reduce__(self) -> Any:
        return end_worker, (DRIVER,)


def end_worker(driver: int) -> Poison:
    if os.getpid() != driver:
        os._exit(3)
    return Poison()


def keyed_like(how: str) -> dict[Any, float]:
    """Give an example of the result of `keyed`: its keys travel with each call."""
    return {Poison() if how == "die" else "plain": 1.0}


@task(mock=keyed_like)
def keyed(how: str) -> dict[Any, float]:
    return {"plain": 1.0}


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_is_given_up_for_what_another_call_did(workers: int) -> None:
    """A worker can die of a call in the middle of a batch that it has not begun: that call fails, the others run."""
    with on_processes(workers):
        resolve([next(iter(keyed("go").values())) for _ in range(300)])
        futures = [next(iter(keyed("die" if i == 7 else "go").values())) for i in range(20)]
        error = futures[7].exception(TIMEOUT)
        assert isinstance(error, WorkerDied)
        assert "the call was not run" in str(error)
        assert resolve(futures[:7] + futures[8:], TIMEOUT) == [1.0] * 19


# --- the parts ---


def test_some_tokens_are_kept() -> None:
    """All but some tokens are taken back, and none is waited for."""
    tokens = ClaimPipe()
    tokens.put(10)
    assert tokens.reclaim(keep=3) == 7
    assert tokens.left() == 3
    assert tokens.reclaim(keep=3) == 0
    assert tokens.reclaim() == 3
    assert tokens.reclaim(keep=1) == 0
    tokens.close()


def test_a_call_that_came_back_goes_with_fewer() -> None:
    """Each time with fewer, at last alone; at once alone if it is more than a few bytes."""

    class Returned:
        returns = 0

    call: Any = Returned()
    numbers = []
    for call.returns in range(4):
        numbers.append(_most_with(call, 100.0))
        assert _most_with(call, 2.0 * KB) == (1 if call.returns else _MOST)
        assert _most_with(call, 100.0 * KB) == 1
    assert numbers[0] == _MOST
    assert numbers[-2:] == [1, 1]
    assert numbers == sorted(numbers, reverse=True)


def test_exchanges_are_checked() -> None:
    """What counts the messages would notice too many."""
    exchanges = Exchanges()
    exchanges.note_call()
    for _ in range(5):
        exchanges.note_message(Kind.BATCH)
    with pytest.raises(AssertionError, match="5 messages for 1 calls"):
        exchanges.check()
