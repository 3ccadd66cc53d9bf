# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where the time of a short call goes: `python -m benchmarks.steps [CALLS]`.

One worker is held up while the calls are made, and then let go: so making calls and running them are timed apart, and
nothing else goes on meanwhile. Both with the garbage collector and without, for Parman and by hand.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from parman import resolve, task, workflow

from .functions import step
from .machine import describe, sentence

REPEATS = 7
WARM_UP = 300


def wait(place: str) -> int:
    """Hold a worker up: say that it is here, and wait."""
    Path(place, "here").write_text("here")
    return len(Path(place, "go").read_text())


parman_step = task(step)
parman_wait = task(wait)


class Costs(NamedTuple):
    """What a call costs [us]; the last one is the time of the driver's CPU while calls run."""

    make: float
    run: float
    driver: float


class Gate:
    """Two pipes with names."""

    def __init__(self, place: str) -> None:
        self.place = place
        for name in ("here", "go"):
            os.mkfifo(Path(place, name))

    def wait_for_worker(self) -> None:
        """Return when the worker is held up."""
        Path(self.place, "here").read_text()

    def open(self) -> None:
        """Let the worker go."""
        Path(self.place, "go").write_text("go")


@contextmanager
def gate() -> Iterator[Gate]:
    """Give a gate in a directory of its own."""
    with tempfile.TemporaryDirectory() as place:
        yield Gate(place)


def timed(calls: int, call: Callable[[int], Any], hold: Callable[[str], Any]) -> Costs:
    """Make calls while the only worker is held up, then let it run them."""
    for future in [call(i) for i in range(WARM_UP)]:
        future.result()
    with gate() as held:
        first = hold(held.place)
        held.wait_for_worker()
        gc.collect()
        start = time.perf_counter()
        futures = [call(i) for i in range(calls)]
        made, busy = time.perf_counter(), time.process_time()
        held.open()
        futures[-1].result()
        end, busy = time.perf_counter(), time.process_time() - busy
        first.result()
    return Costs(*(seconds / calls * 1e6 for seconds in (made - start, end - made, busy)))


def by_hand(make: Callable[[int], Executor], calls: int) -> Costs:
    """Submit calls to a pool of the standard library."""
    with make(1) as executor:
        return timed(calls, lambda i: executor.submit(step, i), lambda place: executor.submit(wait, place))


def with_parman(runner: str, calls: int) -> Costs:
    """Make calls of a task in a block."""
    with workflow(f"{runner}:1"):
        return timed(calls, parman_step, parman_wait)


def functions_called(calls: int) -> tuple[float, float]:
    """Count the Python functions that making a call and running one on threads take."""
    counts = [0, 0]

    def counting(which: int) -> Callable[[Any, str, object], None]:
        def note(frame: object, event: str, argument: object) -> None:
            counts[which] += event == "call"

        return note

    threading.setprofile(counting(1))
    try:
        with workflow("threads:1"):
            resolve(parman_step(0))
            counts[:] = 0, 0
            sys.setprofile(counting(0))
            futures = [parman_step(i) for i in range(calls)]
            sys.setprofile(None)
            resolve(futures)
    finally:
        threading.setprofile(None)
    return counts[0] / calls, counts[1] / calls


WAYS: dict[str, Callable[[int], Costs]] = {
    "by hand, threads": lambda calls: by_hand(ThreadPoolExecutor, calls),
    "Parman threads": lambda calls: with_parman("threads", calls),
    "by hand, processes": lambda calls: by_hand(ProcessPoolExecutor, calls),
    "Parman processes": lambda calls: with_parman("processes", calls),
}


def measure(calls: int) -> dict[tuple[str, bool], Costs]:
    """Measure all ways in turn, with and without the collector; medians."""
    found: dict[tuple[str, bool], list[Costs]] = {}
    for _ in range(REPEATS):
        for collects in (True, False):
            for name, way in WAYS.items():
                (gc.enable if collects else gc.disable)()
                found.setdefault((name, collects), []).append(way(calls))
    gc.enable()
    return {
        key: Costs(*(statistics.median(column) for column in zip(*costs, strict=True))) for key, costs in found.items()
    }


def main(calls: int = 10_000) -> None:
    """Print a table."""
    found = measure(calls)
    print(f"{sentence(describe())}.\n")
    print("| | make a call [us] | without collector | run it [us] | without collector | the driver's CPU meanwhile |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in WAYS:
        collected, freed = found[name, True], found[name, False]
        cells = (collected.make, freed.make, collected.run, freed.run, collected.driver)
        print(f"| {name} | {' | '.join(f'{cell:.1f}' for cell in cells)} |")
    made, ran = functions_called(1000)
    print(f"\nParman threads: {made:.0f} Python functions to make a call, {ran:.0f} to run it.")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
