# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How many ready calls may be taken out at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from parman.engine import ready_queue as queues
from parman.engine.ready_queue import ReadyQueue

QUICK, SLOW = queues._QUICK / 2, queues._QUICK * 2


class Clock:
    """Tells the time that it was set to."""

    def __init__(self) -> None:
        self.now = 1.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the clock of the queues."""
    clock = Clock()
    monkeypatch.setattr(queues, "time", clock)
    return clock


class Task:
    """Stands for the definition of a task."""


class Bench:
    """A queue and what a runner does with it."""

    def __init__(self, clock: Clock, slots: float, ahead: float) -> None:
        self.clock = clock
        self.queue = ReadyQueue(slots, ahead)

    def call(self, task: Task, awaited: bool = False) -> Any:
        """Make a call."""
        closure = SimpleNamespace(definition=task, dependencies=())
        # compared by identity, as calls are
        return type("Call", (), {"closure": closure, "leaves": [SimpleNamespace(awaited=awaited)]})()

    def offer(self, *calls: Any) -> list[Any]:
        """Add calls, and start all that may run."""
        for call in calls:
            self.queue.push(call)
        started = []
        while (call := self.queue.pop()) is not None:
            self.queue.start(call)
            started.append(call)
        return started

    def run(self, task: Task, seconds: float, count: int = 1) -> None:
        """Let calls run one after another."""
        for _ in range(count):
            (call,) = self.offer(self.call(task))
            self.clock.now += seconds
            self.queue.end(call)


@pytest.fixture
def bench(clock: Clock) -> Bench:
    """Have two slots, and two for quick calls."""
    return Bench(clock, 2, 2)


def test_the_first_calls_of_a_task_take_a_slot_each(bench: Bench) -> None:
    """Nobody knows yet that they are quick."""
    task = Task()
    bench.run(task, QUICK, queues._PROVEN - 1)
    assert len(bench.offer(*(bench.call(task) for _ in range(9)))) == 2


def test_quick_calls_go_ahead(bench: Bench) -> None:
    """There are more slots for them, but not without end."""
    task = Task()
    bench.run(task, QUICK, queues._PROVEN)
    assert len(bench.offer(*(bench.call(task) for _ in range(9)))) == 4
    assert bench.offer() == []


def test_without_slots_ahead(clock: Clock) -> None:
    """As a rule there is one slot for each worker."""
    bench, task = Bench(clock, 2, 0), Task()
    bench.run(task, QUICK, queues._PROVEN)
    assert len(bench.offer(*(bench.call(task) for _ in range(9)))) == 2


def test_a_slow_call_ends_that(bench: Bench) -> None:
    """One slow call, and the task has to prove itself again."""
    task = Task()
    bench.run(task, QUICK, queues._PROVEN)
    bench.run(task, SLOW)
    bench.run(task, QUICK, queues._PROVEN - 1)
    assert len(bench.offer(*(bench.call(task) for _ in range(9)))) == 2


def test_nobody_waits_behind_another_task(bench: Bench) -> None:
    """Beside a call that may be slow, a quick one takes a slot, and one that may be slow never goes ahead."""
    quick, other = Task(), Task()
    bench.run(quick, QUICK, queues._PROVEN)
    (running,) = bench.offer(bench.call(other))
    first, *more = bench.offer(*(bench.call(quick) for _ in range(9)))
    assert not more
    bench.queue.end(running)
    assert len(bench.offer()) == 3
    bench.queue.end(first)
    assert len(bench.offer(bench.call(other))) == 1


def test_nobody_waits_behind_what_has_become_slow(bench: Bench) -> None:
    """When a call runs that should be done by now, the others keep to the slots."""
    task = Task()
    bench.run(task, QUICK, queues._PROVEN)
    assert len(bench.offer(bench.call(task), bench.call(task))) == 2
    bench.clock.now += SLOW
    assert bench.offer(bench.call(task)) == []


def test_calls_that_others_wait_for_keep_their_order(bench: Bench) -> None:
    """What needs their results goes before what starts from nothing, which must not be out yet."""
    task = Task()
    bench.run(task, QUICK, queues._PROVEN)
    assert len(bench.offer(*(bench.call(task, awaited=True) for _ in range(9)))) == 2


def test_a_slot_is_freed_once(bench: Bench) -> None:
    """A call that is started again has its slot still, and one that has ended twice had only one."""
    task = Task()
    first, second = bench.offer(bench.call(task), bench.call(task))
    bench.queue.start(first)
    bench.queue.end(first)
    bench.queue.end(first)
    (third,) = bench.offer(bench.call(task), bench.call(task))
    bench.queue.end(second)
    (fourth,) = bench.offer()
    bench.queue.end(third)
    bench.queue.end(fourth)
    bench.run(task, QUICK, queues._PROVEN)
    assert len(bench.offer(*(bench.call(task) for _ in range(9)))) == 4
