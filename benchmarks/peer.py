# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a peer is: a library that can run the workloads, opened once in a process of its own.

A workload is one method, so that each library does it in its best way. Most have futures, or handles that can be
passed on like futures: `Dataflow` runs all workloads with two or three operations of such a library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from time import perf_counter
from typing import Any, ClassVar, Literal

from . import functions
from .functions import LISTED

__all__ = ["WORKERS", "Dataflow", "Kind", "Make", "NotOffered", "Peer"]

WORKERS = 2

Kind = Literal["threads", "processes"]
Function = Callable[..., Any]
Make = Callable[[int], None]


class NotOffered(Exception):
    """A library has no way to do this."""


class Peer(ABC):
    """A library that runs workloads.

    Attributes
    ----------
    label
        Its name in tables.
    kind
        Whose floor it is compared with: threads or processes.
    packages
        The distributions that it needs.
    share
        How many of the calls that others make it makes, so that slow ones end as well.
    delay
        How long after it is made a pending call is where it waits [s].
    first
        A script that gets a first result, as short as a user would write it; `done()` when the result is there.
    """

    label: ClassVar[str]
    kind: ClassVar[Kind]
    packages: ClassVar[tuple[str, ...]] = ()
    share: ClassVar[float] = 1.0
    delay: ClassVar[float] = 0.0
    first: ClassVar[str] = ""

    @abstractmethod
    def open(self, stack: ExitStack) -> None:
        """Start the workers; the stack ends them."""

    def block(self) -> AbstractContextManager[object]:
        """Return what a script has around its calls; entering and leaving are not timed."""
        return nullcontext()

    def fan(self, n: int) -> list[int]:
        """Make n calls; return all results."""
        raise NotOffered

    def chain(self, function: Function, start: Any, n: int) -> Any:
        """Make n calls, each with the result of the one before; return the last result."""
        raise NotOffered

    def tree(self, leaves: int) -> int:
        """Make so many calls, and sum their results by pairs, pairs of pairs, and so on."""
        raise NotOffered

    def fan_in(self, n: int) -> int:
        """Make n calls, and one call with all their results."""
        raise NotOffered

    def nested(self, rounds: int) -> int:
        """Make calls with `LEAVES` results each, and one call with each of these; return the sum of all."""
        raise NotOffered

    def pending(self) -> AbstractContextManager[Make]:
        """Return what makes calls that wait; on leaving, what they wait for is there, and then all are done."""
        raise NotOffered

    def mix(self, durations: Sequence[float]) -> None:
        """Make calls of these durations [s]; return when all are done."""
        raise NotOffered

    def fairness(self, slow: float, fast: float, n: int) -> float:
        """Make one slow call [s], then n fast ones; return the time until the fast ones are done [s]."""
        raise NotOffered


class Dataflow(Peer):
    """A library whose calls return at once, and take the futures of other calls."""

    def __init__(self) -> None:
        self._tasks: dict[Function, Function] = {}

    @abstractmethod
    def wrap(self, function: Function) -> Function:
        """Return what makes calls of a function."""

    @abstractmethod
    def values(self, futures: Sequence[Any]) -> Sequence[Any]:
        """Wait for results."""

    def gate(self) -> tuple[Any, Callable[[], object]]:
        """Return a future, and what finishes it with 0."""
        raise NotOffered

    def leaves(self, x: int) -> list[Any]:
        """Call `spread`; return a future for each leaf of its result."""
        tree, pick = self.task(functions.spread)(x), self.task(functions.pick)
        return [*[pick(tree, 0, i) for i in range(LISTED)], pick(tree, 1, "low"), pick(tree, 1, "high")]

    def task(self, function: Function) -> Function:
        """Wrap each function once."""
        found = self._tasks.get(function)
        if found is None:
            found = self._tasks[function] = self.wrap(function)
        return found

    def fan(self, n: int) -> list[int]:
        step = self.task(functions.step)
        return list(self.values([step(i) for i in range(n)]))

    def chain(self, function: Function, start: Any, n: int) -> Any:
        task, x = self.task(function), start
        for _ in range(n):
            x = task(x)
        return self.values([x])[0]

    def tree(self, leaves: int) -> int:
        step, add = self.task(functions.step), self.task(functions.add)
        level = [step(i) for i in range(leaves)]
        while len(level) > 1:
            level = [add(x, y) for x, y in zip(level[::2], level[1::2], strict=True)]
        return int(self.values(level)[0])

    def fan_in(self, n: int) -> int:
        step, total = self.task(functions.step), self.task(functions.total)
        return int(self.values([total(*[step(i) for i in range(n)])])[0])

    def nested(self, rounds: int) -> int:
        step = self.task(functions.step)
        return sum(self.values([step(leaf) for x in range(rounds) for leaf in self.leaves(x)]))

    @contextmanager
    def pending(self) -> Iterator[Make]:
        step = self.task(functions.step)
        future, finish = self.gate()
        made: list[Any] = []

        def make(n: int) -> None:
            made.extend([step(future) for _ in range(n)])

        try:
            yield make
        finally:
            finish()
            self.values(made)

    def mix(self, durations: Sequence[float]) -> None:
        nap = self.task(functions.nap)
        self.values([nap(seconds) for seconds in durations])

    def fairness(self, slow: float, fast: float, n: int) -> float:
        nap = self.task(functions.nap)
        start = perf_counter()
        long = nap(slow)
        self.values([nap(fast) for _ in range(n)])
        elapsed = perf_counter() - start
        self.values([long])
        return elapsed
