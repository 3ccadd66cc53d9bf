# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One point of a curve of growth, measured in a process of its own: `python -m benchmarks.points SWEEP SYSTEM SIZE`.

Small sizes are measured several times, the median is taken. Memory is that of the first run: by how much the resident
set of this process, which holds all futures, was greater at its peak than before.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from parman import Length, resolve, task

from . import functions
from .floor import ByHand, Countdown, Processes, Threads
from .functions import step
from .peer import Peer
from .peers.parman import ParmanProcesses, ParmanThreads
from .peers.parman import total as parman_total

__all__ = ["SWEEPS", "SYSTEMS"]

SYSTEMS: dict[str, type[Peer]] = {
    "parman-threads": ParmanThreads,
    "parman-processes": ParmanProcesses,
    "hand-threads": Threads,
    "hand-processes": Processes,
}

ENOUGH = 0.3
"""How long runs of one size are repeated [s]."""
MOST_RUNS = 15
NOISE = 1 << 18
"""Less memory than this is what any work costs [B]."""

Run = Callable[[Peer, int], float]


def widen(n: int) -> list[int]:
    """Return many leaves."""
    return list(range(n))


def weigh(data: NDArray[np.uint8]) -> int:
    """Look at an argument."""
    return data.nbytes + int(data[-1])


@task
def parman_widen(n: int) -> Annotated[list[int], Length("n")]:
    """Say how many."""
    return widen(n)


parman_weigh = task(weigh)


def _fan_out(system: Peer, n: int) -> float:
    start = perf_counter()
    found = system.fan(n)
    elapsed = perf_counter() - start
    assert found[-1] == n
    return elapsed


def _chain(system: Peer, n: int) -> float:
    start = perf_counter()
    found = system.chain(step, 0, n)
    elapsed = perf_counter() - start
    assert found == n
    return elapsed


def _fan_in(system: Peer, n: int) -> float:
    """Make one call that waits for n futures of somebody else, and finish these one after another."""
    futures = [Future[int]() for _ in range(n)]
    end: Future[int] = Future()
    start = perf_counter()
    if isinstance(system, ByHand):
        submit = system.executor.submit

        def submit_total(values: list[int]) -> None:
            submit(functions.total, *values).add_done_callback(lambda future: end.set_result(future.result()))

        receive = Countdown(n, submit_total).receive
        for place, future in enumerate(futures):
            future.add_done_callback(lambda future, place=place: receive(place, future.result()))  # type: ignore[misc]
        for future in futures:
            future.set_result(1)
        found = end.result()
    else:
        result = parman_total(*futures)  # type: ignore[arg-type]
        for future in futures:
            future.set_result(1)
        found = resolve(result)
    elapsed = perf_counter() - start
    assert found == n
    return elapsed


def _structure(system: Peer, n: int) -> float:
    start = perf_counter()
    if isinstance(system, ByHand):
        leaves = [Future[int]() for _ in range(n)]

        def fill(future: Future[list[int]]) -> None:
            for leaf, value in zip(leaves, future.result(), strict=True):
                leaf.set_result(value)

        system.executor.submit(widen, n).add_done_callback(fill)
        found = [leaf.result() for leaf in leaves]
    else:
        found = resolve(parman_widen(n))
    elapsed = perf_counter() - start
    assert found[-1] == n - 1
    return elapsed


def _argument(system: Peer, n: int) -> float:
    """Pass an array that nobody has seen before."""
    data = np.ones(n, np.uint8)
    start = perf_counter()
    found = system.executor.submit(weigh, data).result() if isinstance(system, ByHand) else resolve(parman_weigh(data))
    elapsed = perf_counter() - start
    assert found == n + 1
    return elapsed


SWEEPS: dict[str, Run] = {
    "fan-out": _fan_out,
    "chain": _chain,
    "fan-in": _fan_in,
    "structure": _structure,
    "arguments": _argument,
}


def _memory() -> dict[str, int]:
    """Return the resident set and its peak [B], where the system tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def measure(sweep: str, name: str, n: int) -> dict[str, float]:
    """Return the time [s] and, if it is more than noise, the memory [B] of one size."""
    run, system = SWEEPS[sweep], SYSTEMS[name]()
    with ExitStack() as stack:
        system.open(stack)
        stack.enter_context(system.block())
        system.fan(100)
        run(system, min(n, 100))
        gc.collect()
        _forget_peak()
        before = _memory()
        times = [run(system, n)]
        after = _memory()
        while sum(times) < ENOUGH and len(times) < MOST_RUNS:
            gc.collect()
            times.append(run(system, n))
    found = {"s": statistics.median(times)}
    if before:
        grown = after["VmHWM"] - before["VmRSS"]
        if grown > NOISE:
            found["B"] = grown
    return found


def main(sweep: str, name: str, size: str) -> None:
    """Measure, and write a line of JSON."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.getLogger("parman").setLevel(logging.ERROR)
    output.write(json.dumps(measure(sweep, name, int(size))) + "\n")
    output.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
