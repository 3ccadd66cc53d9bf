# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parman itself, with everything on: snapshots, checks, structures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, ClassVar

import numpy as np

from parman import ConcurrentRunner, Keys, Length, Runner, SerialRunner, resolve, task, workflow

from .. import functions
from ..functions import LISTED
from ..peer import WORKERS, Dataflow, NotOffered

__all__ = ["ParmanProcesses", "ParmanSerial", "ParmanThreads"]


@task
def spread(x: int) -> tuple[Annotated[list[int], Length(LISTED)], Annotated[dict[str, int], Keys(("low", "high"))]]:
    """Say what the result looks like."""
    return functions.spread(x)


step = task(functions.step)
add = task(functions.add)
total = task(functions.total)
shift = task(functions.shift)
nap = task(functions.nap)

TASKS: dict[Callable[..., Any], Callable[..., Any]] = {
    functions.step: step,
    functions.add: add,
    functions.total: total,
    functions.shift: shift,
    functions.nap: nap,
}

FIRST = """
from parman import resolve, task, workflow

@task
def first(x: int) -> int:
    return x + 1

if __name__ == "__main__":
    with workflow("{runner}"):
        done(resolve(first(0)))
"""


class _Parman(Dataflow):
    """Any runner; it stays open between blocks."""

    runner: Runner

    @contextmanager
    def block(self) -> Iterator[None]:
        """Call each task before anything is timed: what it refers to is looked at, and sent, once a block."""
        with workflow(self.runner):
            for _ in range(2):
                resolve([step(0), add(0, 0), total(0), spread(0), shift(np.zeros(1)), nap(0.0)])
            yield

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return TASKS[function]

    def values(self, futures: Sequence[Any]) -> Sequence[Any]:
        found: Sequence[Any] = resolve(futures)
        return found

    def leaves(self, x: int) -> list[Any]:
        listed, named = spread(x)
        return [*listed, named["low"], named["high"]]

    def gate(self) -> tuple[Any, Callable[[], object]]:
        future = Future[int]()
        return future, lambda: future.set_result(0)


class ParmanThreads(_Parman):
    """Our threads."""

    label = "Parman threads"
    kind = "threads"
    packages = ("parman",)
    first: ClassVar[str] = FIRST.format(runner=f"threads:{WORKERS}")

    def open(self, stack: ExitStack) -> None:
        self.runner = stack.enter_context(ConcurrentRunner.threads(WORKERS))


class ParmanProcesses(_Parman):
    """Our processes."""

    label = "Parman processes"
    kind = "processes"
    packages = ("parman",)
    first: ClassVar[str] = FIRST.format(runner=f"processes:{WORKERS}")

    def open(self, stack: ExitStack) -> None:
        self.runner = stack.enter_context(ConcurrentRunner.processes(WORKERS))


class ParmanSerial(_Parman):
    """In place, one after another: no call is ever pending."""

    label = "Parman serial"
    kind = "threads"
    packages = ("parman",)
    first: ClassVar[str] = FIRST.format(runner="serial")

    def open(self, stack: ExitStack) -> None:
        self.runner = stack.enter_context(SerialRunner())

    def gate(self) -> tuple[Any, Callable[[], object]]:
        raise NotOffered

    def mix(self, durations: Sequence[float]) -> None:
        raise NotOffered

    def fairness(self, slow: float, fast: float, n: int) -> float:
        raise NotOffered
