# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later

"""Blocks that share a runner: what one of them is left by ends nothing of the others."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from helpers import TIMEOUT
from helpers.gates import Gate, pass_gate
from helpers.processes import ended
from helpers.templates import held_up
from helpers.waiting import handled, in_thread

from parman import ConcurrentRunner, Interrupted, job_template, resolve, task, workflow


@task
def act(place: str, number: int) -> int:
    if place:
        pass_gate(place)
    return number


@task
def where(place: str) -> int:
    Path(place, f"{os.getpid()}.pid").touch()
    pass_gate(place)
    return os.getpid()


@pytest.fixture
def gates(tmp_path: Path) -> Iterator[list[Gate]]:
    """Make two gates."""
    with Gate(tmp_path / "first") as first, Gate(tmp_path / "second") as second:
        yield [first, second]


@pytest.fixture(params=["threads", "processes"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def runner_of(kind: str, workers: int) -> ConcurrentRunner:
    """Return a runner with a pool of its own."""
    runner: ConcurrentRunner = getattr(ConcurrentRunner, kind)(workers)
    return runner


@contextmanager
def left_by_ctrl_c() -> Iterator[None]:
    """Expect that what is in here is left by Ctrl-C."""
    with pytest.raises(KeyboardInterrupt):
        yield


def test_an_interrupt_that_comes_late(kind: str, gates: list[Gate]) -> None:
    """What Ctrl-C has to do to a block ends nothing of the next one on the runner, however late it is done."""
    with runner_of(kind, 2) as runner:
        with left_by_ctrl_c(), workflow(runner) as first:
            lost = act(gates[0].place, 1)
            gates[0].wait_for()
            raise KeyboardInterrupt
        assert isinstance(lost.exception(), Interrupted)
        with workflow(runner):
            running, pending = [act(gates[1].place, i) for i in range(2)], [act("", i) for i in range(5)]
            gates[1].wait_for(2)
            runner.interrupt(first._registry)
            assert handled(runner.event_loop.post)
            gates[1].open()
            assert resolve([running, pending], TIMEOUT) == [[0, 1], [0, 1, 2, 3, 4]]


def test_the_next_block_does_not_wait_for_what_was_given_up(kind: str, gates: list[Gate]) -> None:
    """After Ctrl-C all workers are there for the next block: what runs on a thread yet has one of its own."""
    with runner_of(kind, 2) as runner:
        for _ in range(3):
            with left_by_ctrl_c(), workflow(runner):
                lost = [act(gates[0].place, i) for i in range(2)] + [act("", 3)]
                gates[0].wait_for(2)
                raise KeyboardInterrupt
            assert all(future.done() for future in lost)
            with workflow(runner):
                both = [act(gates[1].place, i) for i in range(2)]
                gates[1].wait_for(2)
                gates[1].open(2)
                assert resolve(both, TIMEOUT) == [0, 1]


def test_ctrl_c_in_an_inner_block(kind: str, gates: list[Gate]) -> None:
    """Ctrl-C that leaves an inner block ends its calls; those of the block around go on, and have all other workers."""
    with workflow(f"{kind}:2"):
        outer = act(gates[0].place, 0)
        gates[0].wait_for()
        with left_by_ctrl_c(), workflow():
            inner = act(gates[1].place, 1)
            waiting = act("", inner)
            gates[1].wait_for()
            raise KeyboardInterrupt
        assert isinstance(inner.exception(), Interrupted)
        assert waiting.cancelled() or isinstance(waiting.exception(), Interrupted)
        assert not outer.done()
        assert resolve([act("", i) for i in range(20)], TIMEOUT) == list(range(20))
        gates[0].open()
        assert resolve(outer, TIMEOUT) == 0


def test_a_worker_process_is_killed_for_calls_of_the_block_alone(gates: list[Gate]) -> None:
    """The process that runs a call of the block is killed, the one beside it is not."""
    with workflow("processes:2"):
        outer = where(gates[0].place)
        gates[0].wait_for()
        with left_by_ctrl_c(), workflow():
            inner = where(gates[1].place)
            gates[1].wait_for()
            (killed,) = [int(file.stem) for file in Path(gates[1].place).glob("*.pid")]
            raise KeyboardInterrupt
        assert isinstance(inner.exception(), Interrupted)
        assert ended(str(killed))
        gates[0].open()
        (kept,) = [int(file.stem) for file in Path(gates[0].place).glob("*.pid")]
        assert resolve(outer, TIMEOUT) == kept


def test_calls_of_two_blocks_in_one_batch(gates: list[Gate]) -> None:
    """What travels with a call that is given up runs elsewhere, once, and nobody is told of a death."""
    with workflow("processes:1"):
        around = copy_context()
        resolve([act("", i) for i in range(50)])
        with left_by_ctrl_c(), workflow():
            inner = act(gates[0].place, -1)
            outer = [around.run(act, "", i) for i in range(20)]
            gates[0].wait_for()
            raise KeyboardInterrupt
        assert isinstance(inner.exception(), Interrupted)
        assert resolve(outer, TIMEOUT) == list(range(20))


def test_threads_in_two_blocks(kind: str, gates: list[Gate]) -> None:
    """A block of another thread on the runner goes on when Ctrl-C leaves that of the main thread."""
    found: list[Any] = []
    with runner_of(kind, 2) as runner:

        def other() -> None:
            with workflow(runner):
                found.append(resolve([act(gates[0].place, 7), act("", 8)]))

        thread = in_thread(other)
        gates[0].wait_for()
        with left_by_ctrl_c(), workflow(runner):
            act(gates[1].place, 1)
            gates[1].wait_for()
            raise KeyboardInterrupt
        gates[0].open()
        thread.join(TIMEOUT)
    assert found == [[7, 8]]


@pytest.mark.parametrize("name", ["threads:2", "processes:2"])
def test_jobs_of_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Ctrl-C in an inner block ends the scripts of its jobs alone, and does not wait for the others."""
    with held_up(tmp_path, monkeypatch) as gate:
        job = job_template(gate.template)
        monkeypatch.chdir(tmp_path)
        with workflow(name):
            outer = job("outer", number=1)
            gate.arrival()
            with left_by_ctrl_c(), workflow() as block:
                inner = job("inner", number=2)
                gate.arrival()
                raise KeyboardInterrupt
            assert isinstance(inner.exception(), Interrupted)
            assert block.runner._blocking._stopped.is_set()  # type: ignore[attr-defined]
            assert not outer.done()
            gate.open()
            resolve(outer, TIMEOUT)


def test_no_thread_is_left_after_ctrl_c(kind: str, gates: list[Gate]) -> None:
    """Blocks that Ctrl-C has left leave no thread that handles events."""
    before = set(threading.enumerate())
    held = []
    for _ in range(2):
        with left_by_ctrl_c(), workflow(f"{kind}:1"):
            held.append(act(gates[0].place, 1))
            gates[0].wait_for()
            raise KeyboardInterrupt
    for thread in set(threading.enumerate()) - before:
        if thread.name == "parman-event-loop":
            thread.join(TIMEOUT)
            assert not thread.is_alive()
