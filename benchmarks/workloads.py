# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The workloads: what is asked of a peer, whether it did it, and the figures that come of it."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from math import log2
from time import perf_counter

import numpy as np

from .functions import LEAVES, Array, nap, shift, step
from .peer import WORKERS, Peer

__all__ = ["PLAIN", "WORKLOADS", "Figures", "Workload", "durations", "plain_chain"]

Figures = dict[str, float]
"""What was measured in one run, by unit."""

PLAIN = "plain"
"""The name of the run of the plain function, without any library."""

ARRAY_LENGTH = 1_000_000
ARRAY_BYTES = ARRAY_LENGTH * 8
LONGEST = 0.05
SLOW, FAST, FAST_CALLS = 0.3, 0.001, 200


@dataclass(frozen=True)
class Workload:
    """Something that all peers do.

    Attributes
    ----------
    title
        What it is called in tables.
    run
        Does it with a peer, once.
    calls
        How many calls it makes, of those that the command line says; a whole number if that is none of its business.
    beside_plain
        Whether the plain function is measured, too.
    """

    title: str
    run: Callable[[Peer, int], Figures]
    calls: float = 1.0
    beside_plain: bool = False

    def size(self, calls: float) -> int:
        """Return how many calls to make."""
        return int(self.calls) if self.calls > 1 else max(2, round(self.calls * calls))


def _fan(peer: Peer, n: int) -> Figures:
    start = perf_counter()
    found = peer.fan(n)
    elapsed = perf_counter() - start
    _expect(found, list(range(1, n + 1)))
    return {"us": elapsed / n * 1e6}


def _chain(peer: Peer, n: int) -> Figures:
    start = perf_counter()
    found = peer.chain(step, 0, n)
    elapsed = perf_counter() - start
    _expect(found, n)
    return {"us": elapsed / n * 1e6}


def _tree(peer: Peer, n: int) -> Figures:
    leaves = int(2 ** int(log2(max(n, 2)))) // 2 or 1
    start = perf_counter()
    found = peer.tree(leaves)
    elapsed = perf_counter() - start
    _expect(found, leaves * (leaves + 1) // 2)
    return {"us": elapsed / (2 * leaves - 1) * 1e6}


def _fan_in(peer: Peer, n: int) -> Figures:
    start = perf_counter()
    found = peer.fan_in(n)
    elapsed = perf_counter() - start
    _expect(found, n * (n + 1) // 2)
    return {"us": elapsed / (n + 1) * 1e6}


def _nested(peer: Peer, n: int) -> Figures:
    rounds = max(1, round(n / (LEAVES + 1)))
    start = perf_counter()
    found = peer.nested(rounds)
    elapsed = perf_counter() - start
    leaves = [x + i for x in range(rounds) for i in (*range(LEAVES - 2), 0, LEAVES - 2)]
    _expect(found, sum(leaves) + len(leaves))
    return {"us": elapsed / (rounds * (LEAVES + 1)) * 1e6}


def _arrays(peer: Peer, n: int) -> Figures:
    start = perf_counter()
    found = peer.chain(shift, np.zeros(ARRAY_LENGTH), n)
    elapsed = perf_counter() - start
    _expect((found[0], found[-1]), (n, n))
    return {"MB/s": n * ARRAY_BYTES / 1e6 / elapsed}


def plain_chain(n: int) -> Figures:
    """Do without any library what the arrays do."""
    start = perf_counter()
    array: Array = np.zeros(ARRAY_LENGTH)
    for _ in range(n):
        array = shift(array)
    return {"MB/s": n * ARRAY_BYTES / 1e6 / (perf_counter() - start)}


def _pending(peer: Peer, n: int) -> Figures:
    """Time some calls, then count the memory of as many others: to count it is slow."""
    with peer.pending() as make:
        start = perf_counter()
        make(n)
        elapsed = perf_counter() - start
        time.sleep(peer.delay)
        gc.collect()
        tracemalloc.start()
        try:
            make(n)
            time.sleep(peer.delay)
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    return {"us": elapsed / n * 1e6, "B": held / n}


def durations(n: int) -> list[float]:
    """Return durations [s] of which a few make up most of the sum: a shifted Pareto distribution, cut off."""
    source = random.Random(5)
    return [min(LONGEST, 4e-4 * (source.paretovariate(0.8) - 1)) for _ in range(n)]


def _mix(peer: Peer, n: int) -> Figures:
    wanted = durations(n)
    start = perf_counter()
    peer.mix(wanted)
    elapsed = perf_counter() - start
    return {"of the best": elapsed / max(sum(wanted) / WORKERS, *wanted)}


def _fairness(peer: Peer, n: int) -> Figures:
    """Compare with the fast calls alone, one after another; that they are fast is known when the slow one comes."""
    start = perf_counter()
    for _ in range(n // 4):
        nap(FAST)
    alone = (perf_counter() - start) / (n // 4) * n
    peer.mix([FAST] * (n // 4))
    return {"of alone": peer.fairness(SLOW, FAST, n) / alone}


def _expect(found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"wrong result: {str(found)[:100]} instead of {str(expected)[:100]}")


WORKLOADS = {
    "fan-out": Workload("fan-out", _fan),
    "chain": Workload("chain", _chain),
    "tree": Workload("tree reduction", _tree),
    "fan-in": Workload("fan-in", _fan_in),
    "nested": Workload(f"{LEAVES} leaves", _nested),
    "arrays": Workload("8 MB arrays", _arrays, calls=20, beside_plain=True),
    "pending": Workload("pending calls", _pending),
    "mix": Workload("mix of durations", _mix, calls=300),
    "fairness": Workload("fast beside slow", _fairness, calls=FAST_CALLS),
}
