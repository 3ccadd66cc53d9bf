# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all calls have in common reaches each worker of an executor soon, whichever worker a call is given to."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers import TIMEOUT

from parman import ConcurrentRunner, WorkflowError, resolve, task, workflow

STEPS = 40


class InTurns(Executor):
    """Two workers that are given calls in turns, as some engines do; notes how many bytes each call takes."""

    def __init__(self) -> None:
        self._pools = [ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) for _ in range(2)]
        self._turns = itertools.cycle(self._pools)
        self.sent: list[int] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        (content,) = args
        self.sent.append(len(content))
        return next(self._turns).submit(fn, content)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for pool in self._pools:
            pool.shutdown(wait)


@pytest.fixture
def executor() -> Iterator[InTurns]:
    """Give such an executor."""
    with InTurns() as executor:
        yield executor


def stepper(ballast: bytes) -> Callable[[int], int]:
    """Make a task that has to be sent as it is."""

    @task
    def step(x: int) -> int:
        return x + 1 + 0 * len(ballast)

    return step


@pytest.mark.parametrize("workers", [2, None])
def test_workers_that_take_turns(executor: InTurns, workers: int | None) -> None:
    """A chain takes one message a step: neither worker asks again and again for what the other was sent."""
    step = stepper(b"")
    with workflow(ConcurrentRunner(executor, workers=workers)):
        x: Any = 0
        for _ in range(STEPS):
            x = step(x)
        assert resolve(x, TIMEOUT) == STEPS
    assert len(executor.sent) == STEPS


def test_a_big_function_travels_a_few_times(executor: InTurns) -> None:
    """What is big goes to each worker, and not with many calls, even if there are many at a time."""
    size = 200_000
    step = stepper(bytes(range(256)) * (size // 256))
    with workflow(ConcurrentRunner(executor, workers=2)):
        x: Any = 0
        for _ in range(STEPS):
            x = step(x)
        assert resolve([x, *[step(i) for i in range(STEPS)]], TIMEOUT) == [STEPS, *range(1, STEPS + 1)]
    assert len(executor.sent) <= 2 * STEPS + 4
    assert sum(executor.sent) < 9 * size


def test_a_place_that_is_none_is_refused(executor: InTurns) -> None:
    """Where workers are is one of a few words, which the error lists."""
    with pytest.raises(
        WorkflowError, match="where must be one of 'inside', 'machine', 'cluster', 'unknown', not 'here'"
    ):
        ConcurrentRunner(executor, where="here")  # type: ignore[arg-type]


@task
def surroundings() -> tuple[str, str | None]:
    return str(Path.cwd()), os.environ.get("COLOUR")


@pytest.mark.parametrize(("where", "colour"), [("machine", "green"), ("cluster", None)])
def test_what_of_the_block_reaches_workers(
    executor: InTurns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, colour: str | None
) -> None:
    """The user may say how much workers have in common with the driver."""
    with workflow(ConcurrentRunner(executor, workers=2)):
        resolve([surroundings(), surroundings()], TIMEOUT)  # which starts both workers
    monkeypatch.setenv("COLOUR", "green")
    monkeypatch.chdir(tmp_path)
    with workflow(ConcurrentRunner(executor, workers=2, where=where)):
        assert resolve([surroundings(), surroundings()], TIMEOUT) == [(str(tmp_path), colour)] * 2
