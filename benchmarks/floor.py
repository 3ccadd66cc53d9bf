# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The floor: `concurrent.futures` with callbacks, written by hand for each workload.

There is no snapshot here, no check, no structure, and a failed call would hang the script. It is what an experienced
programmer writes when nothing but speed matters: nothing waits in between, a call is submitted by the callback that
sees its last argument come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Lock
from time import perf_counter
from typing import Any, ClassVar

from .functions import LEAVES, add, nap, spread, step, total
from .peer import WORKERS, Kind, Make, Peer

__all__ = ["FLOORS", "ByHand", "Processes", "Threads"]


class Countdown:
    """Submits a call when its last argument is there."""

    __slots__ = ("_left", "_lock", "_submit", "_values")

    def __init__(self, width: int, submit: Callable[[list[Any]], object]) -> None:
        self._left = width
        self._values: list[Any] = [None] * width
        self._lock = Lock()  # callbacks of threads run on any of them
        self._submit = submit

    def receive(self, place: int, value: object) -> None:
        """Take an argument."""
        self._values[place] = value
        with self._lock:
            self._left -= 1
            last = not self._left
        if last:
            self._submit(self._values)


class ByHand(Peer):
    """Code for any executor."""

    executor: Executor

    def fan(self, n: int) -> list[int]:
        """Submit all, then collect."""
        submit = self.executor.submit
        futures = [submit(step, i) for i in range(n)]
        return [future.result() for future in futures]

    def chain(self, function: Callable[..., Any], start: Any, n: int) -> Any:
        """Submit each call in the callback of the one before."""
        submit, end, left = self.executor.submit, Future[Any](), n

        def follow(future: Future[Any]) -> None:
            nonlocal left
            # A call that is done already would call back from in here, and the next one from in there.
            while True:
                value, left = future.result(), left - 1
                if not left:
                    end.set_result(value)
                    return
                future = submit(function, value)
                if not future.done():
                    future.add_done_callback(follow)
                    return

        submit(function, start).add_done_callback(follow)
        return end.result()

    def tree(self, leaves: int) -> int:
        """Submit each sum in the callback of the later one of its two parts."""
        submit, end = self.executor.submit, Future[int]()

        def node(width: int, place: int) -> Callable[[Any], object]:
            """Return what takes the value of a node of a level with so many nodes."""
            if width == 1:
                return end.set_result
            receive = nodes[width // 2][place // 2].receive
            return lambda value: receive(place % 2, value)

        def submit_sum(hand: Callable[[Any], object], values: list[int]) -> None:
            submit(add, *values).add_done_callback(lambda future: hand(future.result()))

        nodes: dict[int, list[Countdown]] = {}
        width = 1
        while width < leaves:
            hands = [node(width, place) for place in range(width)]
            nodes[width] = [Countdown(2, lambda values, hand=hand: submit_sum(hand, values)) for hand in hands]  # type: ignore[misc]
            width *= 2
        for place in range(leaves):
            hand = node(leaves, place)
            submit(step, place).add_done_callback(lambda future, hand=hand: hand(future.result()))  # type: ignore[misc]
        return end.result()

    def fan_in(self, n: int) -> int:
        """Submit the sum in the callback of the last part."""
        submit, end = self.executor.submit, Future[int]()

        def submit_total(values: list[int]) -> None:
            submit(total, *values).add_done_callback(lambda future: end.set_result(future.result()))

        receive = Countdown(n, submit_total).receive
        for place in range(n):
            submit(step, place).add_done_callback(lambda future, place=place: receive(place, future.result()))  # type: ignore[misc]
        return end.result()

    def nested(self, rounds: int) -> int:
        """Fill futures made before in the callback of the call that has their values, and consume each."""
        found: list[Future[int]] = []
        for x in range(rounds):
            leaves = [Future[int]() for _ in range(LEAVES)]
            found += [self.after(step, leaf) for leaf in leaves]

            def fill(future: Future[Any], leaves: list[Future[int]] = leaves) -> None:
                listed, named = future.result()
                for leaf, value in zip(leaves, (*listed, named["low"], named["high"]), strict=True):
                    leaf.set_result(value)

            self.executor.submit(spread, x).add_done_callback(fill)
        return sum(future.result() for future in found)

    @contextmanager
    def pending(self) -> Iterator[Make]:
        """Give each call a future of its own, and submit it in the callback of the one that it waits for."""
        gate, made = Future[int](), list[Future[int]]()

        def make(n: int) -> None:
            made.extend([self.after(step, gate) for _ in range(n)])

        yield make
        gate.set_result(0)
        for future in made:
            future.result()

    def after(self, function: Callable[..., Any], dependency: Future[Any]) -> Future[Any]:
        """Call a function when its argument is there."""
        end = Future[Any]()

        def submit(future: Future[Any]) -> None:
            self.executor.submit(function, future.result()).add_done_callback(forward)

        def forward(future: Future[Any]) -> None:
            end.set_result(future.result())

        dependency.add_done_callback(submit)
        return end

    def mix(self, durations: Sequence[float]) -> None:
        """Submit all, then wait."""
        for future in [self.executor.submit(nap, seconds) for seconds in durations]:
            future.result()

    def fairness(self, slow: float, fast: float, n: int) -> float:
        """Submit all, then wait for the fast ones."""
        start = perf_counter()
        long = self.executor.submit(nap, slow)
        for future in [self.executor.submit(nap, fast) for _ in range(n)]:
            future.result()
        elapsed = perf_counter() - start
        long.result()
        return elapsed


class Threads(ByHand):
    """The standard library's threads."""

    label = "by hand, threads"
    kind = "threads"
    first: ClassVar[str] = f"""
from concurrent.futures import ThreadPoolExecutor

def first(x):
    return x + 1

if __name__ == "__main__":
    with ThreadPoolExecutor({WORKERS}) as pool:
        done(pool.submit(first, 0).result())
"""

    def open(self, stack: ExitStack) -> None:
        self.executor = stack.enter_context(ThreadPoolExecutor(WORKERS))


class Processes(ByHand):
    """The standard library's processes, started as it does by default."""

    label = "by hand, processes"
    kind = "processes"
    first: ClassVar[str] = Threads.first.replace("ThreadPool", "ProcessPool")

    def open(self, stack: ExitStack) -> None:
        self.executor = stack.enter_context(ProcessPoolExecutor(WORKERS))


FLOORS: dict[Kind, type[ByHand]] = {"threads": Threads, "processes": Processes}
