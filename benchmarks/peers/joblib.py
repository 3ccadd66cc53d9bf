# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later

"""joblib: lists of independent calls, so that a script waits at each level. Short calls travel in batches."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Any, ClassVar

from .. import functions
from ..peer import WORKERS, Peer

__all__ = ["JoblibLoky", "JoblibThreads"]

FIRST = """
from joblib import Parallel, delayed

def first(x):
    return x + 1

if __name__ == "__main__":
    with Parallel({workers}, backend="{backend}") as parallel:
        done(parallel([delayed(first)(0)])[0])
"""


class _Joblib(Peer):
    """Any backend; the workers stay between lists of calls."""

    packages = ("joblib",)
    backend: ClassVar[str]
    _parallel: Any
    _delayed: Any
    _as_they_come: Any

    def open(self, stack: ExitStack) -> None:
        from joblib import Parallel, delayed

        self._delayed = delayed
        self._parallel = stack.enter_context(Parallel(WORKERS, backend=self.backend))
        self._as_they_come = Parallel(WORKERS, backend=self.backend, return_as="generator_unordered")

    def fan(self, n: int) -> list[int]:
        step = self._delayed(functions.step)
        return list(self._parallel(step(i) for i in range(n)))

    def tree(self, leaves: int) -> int:
        level, add = self.fan(leaves), self._delayed(functions.add)
        while len(level) > 1:
            level = self._parallel(add(x, y) for x, y in zip(level[::2], level[1::2], strict=True))
        return level[0]

    def fan_in(self, n: int) -> int:
        """Make the last call in place, as there is but one."""
        return functions.total(*self.fan(n))

    def nested(self, rounds: int) -> int:
        spread, step = self._delayed(functions.spread), self._delayed(functions.step)
        trees = self._parallel(spread(x) for x in range(rounds))
        leaves = (leaf for listed, named in trees for leaf in (*listed, *named.values()))
        return sum(self._parallel(step(leaf) for leaf in leaves))

    def mix(self, durations: Sequence[float]) -> None:
        nap = self._delayed(functions.nap)
        self._parallel(nap(seconds) for seconds in durations)

    def fairness(self, slow: float, fast: float, n: int) -> float:
        """Take results in the order in which they come."""
        nap = self._delayed(functions.nap)
        start, elapsed, left = perf_counter(), 0.0, n
        for seconds in self._as_they_come(nap(seconds) for seconds in (slow, *[fast] * n)):
            left -= seconds == fast
            if not left and not elapsed:
                elapsed = perf_counter() - start
        return elapsed


class JoblibThreads(_Joblib):
    """Threads."""

    label = "joblib threads"
    kind = "threads"
    backend = "threading"
    first: ClassVar[str] = FIRST.format(workers=WORKERS, backend=backend)


class JoblibLoky(_Joblib):
    """Processes."""

    label = "joblib loky"
    kind = "processes"
    backend = "loky"
    first: ClassVar[str] = FIRST.format(workers=WORKERS, backend=backend)
