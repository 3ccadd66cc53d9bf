# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What Parman adds to the cost of a call on each engine: throughput and latency, with it and without.

`python -m benchmarks.engines [ENGINE ...]`; each engine runs in a process of its own, with a time limit. Both ways run
in turn, on the same open engine; the figures are medians over the repeats, and those of one run stand in `README.md`.
How engines are opened is told in `demos/engines/openers.py`.
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "demos" / "engines"))

from openers import ENGINES, Engine

from parman import resolve, task, workflow

CALLS, STEPS, REPEATS = 1000, 100, 7
LIMIT = 300
"""How long an engine may take [s]."""


def plain(x: int) -> int:
    """Do nothing worth mentioning."""
    return x + 1


step = task(plain)


def fan(engine: Engine) -> float:
    """Return the time of a call among many with Parman [s]."""
    with workflow(engine.runner):
        resolve(step(0))
        return _timed(lambda: resolve([step(i) for i in range(CALLS)])) / CALLS


def chain(engine: Engine) -> float:
    """Return the time of a call that waits for the one before it, with Parman [s]."""

    def run() -> None:
        x: Any = 0
        for _ in range(STEPS):
            x = step(x)
        resolve(x)

    with workflow(engine.runner):
        resolve(step(0))
        return _timed(run) / STEPS


def fan_by_hand(submit: Callable[..., Future[Any]]) -> float:
    """Return the time of a call among many without Parman [s]."""
    return _timed(lambda: wait([submit(plain, i) for i in range(CALLS)])) / CALLS


def chain_by_hand(submit: Callable[..., Future[Any]]) -> float:
    """Return the time of a call that waits for the one before it, without Parman [s]."""

    def run() -> None:
        x = 0
        for _ in range(STEPS):
            x = submit(plain, x).result()

    return _timed(run) / STEPS


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(name: str) -> dict[str, float]:
    """Return the medians of an engine [us]."""
    logging.getLogger("parman").setLevel(logging.ERROR)
    with ExitStack() as stack:
        engine = ENGINES[name](stack)
        submit = engine.submit
        assert submit is not None
        wait([submit(plain, 0) for _ in range(10)])
        runs: dict[str, Callable[[], float]] = {
            "fan-out": lambda: fan(engine),
            "fan-out by hand": lambda: fan_by_hand(submit),
            "chain": lambda: chain(engine),
            "chain by hand": lambda: chain_by_hand(submit),
        }
        # The runner's own pool is closed with a block that opened it; this one was opened before.
        with engine.runner:
            found: dict[str, list[float]] = {key: [] for key in runs}
            for _ in range(REPEATS):
                for key, run in runs.items():
                    found[key].append(run() * 1e6)
    return {key: statistics.median(times) for key, times in found.items()}


def main(names: list[str]) -> None:
    """Measure engines, each in a process of its own, and write a table."""
    write = sys.stdout.write
    write("| engine | fan-out [us] | by hand | ratio | chain [us] | by hand | ratio |\n")
    write("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
    for name in names or [name for name in ENGINES if name not in ("serial", "mpi4py")]:
        command = [sys.executable, "-m", "benchmarks.engines", "--one", name]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            reason = (error.stderr or "").strip().splitlines()[-1:] if isinstance(error.stderr, str) else []
            write(f"| {name} | left out: {' '.join(reason) or type(error).__name__} | | | | | |\n")
            continue
        found = json.loads(ended.stdout.splitlines()[-1])
        cells = []
        for kind in ("fan-out", "chain"):
            ours, by_hand = found[kind], found[f"{kind} by hand"]
            cells += [f"{ours:.0f}", f"{by_hand:.0f}", f"{ours / by_hand:.2f}"]
        write(f"| {name} | {' | '.join(cells)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.stdout.write(json.dumps(measure(sys.argv[2])) + "\n")
    else:
        main(sys.argv[1:])
