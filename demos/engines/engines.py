# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One workflow on every engine that is installed here, and what each costs.

python engines.py                   all that are here, each in a process of its own
python engines.py threads dask      these
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

import openers

from parman import resolve, task, workflow

# --- the workflow: how far does a drunkard get? It names no engine. ---


@task
def walk(steps: int, seed: int) -> tuple[float, int]:
    """Walk at random; return the distance from the start, and how often the start was met again."""
    draw = random.Random(seed)
    x = y = met = 0
    for _ in range(steps):
        dx, dy = draw.choice([(1, 0), (-1, 0), (0, 1), (0, -1)])
        x, y = x + dx, y + dy
        met += x == y == 0
    return math.hypot(x, y), met


@task
def mean(values: list[float]) -> float:
    """Return the mean."""
    return math.fsum(values) / len(values)


@task
def exponent(lengths: list[int], distances: list[float]) -> float:
    """Fit a power law to distances as a function of lengths."""
    x, y = [math.log(n) for n in lengths], [math.log(d) for d in distances]
    x0, y0 = math.fsum(x) / len(x), math.fsum(y) / len(y)
    return sum((a - x0) * (b - y0) for a, b in zip(x, y, strict=True)) / sum((a - x0) ** 2 for a in x)


def study() -> Any:
    """Return the exponent, and the mean number of returns of the longest walks: results, or futures of them."""
    lengths = [50, 100, 200, 400]
    walks = [[walk(n, 1000 * n + i) for i in range(20)] for n in lengths]
    distances = [mean([distance for distance, _ in group]) for group in walks]
    return exponent(lengths, distances), mean([met for _, met in walks[-1]])


# --- one engine, in a process of its own ---


@task
def nothing(x: int) -> int:
    """Do nothing."""
    return x


def plain_nothing(x: int) -> int:
    """Do nothing, without Parman."""
    return x


class Measured(NamedTuple):
    """What is found out of one engine: the result, and times [s]; `by_hand` without Parman, if that can be."""

    result: list[float]
    first: float
    per_call: float
    by_hand: float | None


def measure(name: str, calls: int) -> Measured:
    """Run the workflow on the engine, and many calls that do nothing, with and without Parman."""
    start = time.perf_counter()
    with ExitStack() as stack:
        engine = openers.ENGINES[name](stack)
        with workflow(engine.runner):
            resolve(nothing(0))
            first = time.perf_counter() - start
            result = resolve(study())
            per_call = best(lambda: resolve([nothing(i) for i in range(calls)])) / calls
        submit, by_hand = engine.submit, None
        if submit is not None:
            by_hand = best(lambda: wait([submit(plain_nothing, i) for i in range(calls)])) / calls
    return Measured(list(result), first, per_call, by_hand)


def best(run: Callable[[], object]) -> float:
    """Return the shortest of three times [s]."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


# --- all engines ---


def run(name: str, options: argparse.Namespace) -> Measured | str:
    """Have an engine measured in another process; return what is found, or why there is nothing."""
    needs = openers.NEEDS.get(name, ())
    missing = [need for need in needs if not (find_spec(need) or which(need))]
    if missing:
        return f"needs {' and '.join(missing)}"
    # Some engines look for their own programs on PATH, and OpenMPI asks twice whether root may.
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment = {**os.environ, **root, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [*openers.LAUNCHERS.get(name, [sys.executable]), __file__, "--measure", name, "--calls", options.calls]
    try:
        done = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, timeout=options.limit, check=False
        )
    except subprocess.TimeoutExpired:
        return f"took more than {options.limit:g} s"
    if done.returncode:
        return f"failed: {(done.stderr.strip() or 'without a word').splitlines()[-1]}"
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def row(name: str, found: Measured | str) -> str:
    """Return a row of the table."""
    if isinstance(found, str):
        return f"| {name:14} | {found} |"
    cells = [f"{found.first:9.2f}", f"{found.per_call * 1e6:9.0f}", f"{'':9}", f"{'':5}"]
    if found.by_hand is not None:
        cells[2:] = [f"{found.by_hand * 1e6:9.0f}", f"{found.per_call / found.by_hand:5.2f}"]
    return f"| {name:14} | {' | '.join(cells)} |"


def main() -> int:
    """Measure the engines one after another; the exit status is 1 if one failed, or had another result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", metavar="engine", help=", ".join(openers.ENGINES))
    parser.add_argument("--calls", type=int, default=300, help="how many calls that do nothing (%(default)s)")
    parser.add_argument("--limit", type=float, default=60, help="how long an engine may take [s] (%(default)s)")
    parser.add_argument("--measure", choices=openers.ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.calls)._asdict()))
        return 0
    unknown = [name for name in options.engines if name not in openers.ENGINES]
    if unknown:
        parser.error(f"there is no engine {unknown[0]!r}, but {', '.join(openers.ENGINES)}")

    expected = list(study())
    print(f"{'| engine':16} | {'first [s]':9} | {'call [us]':9} | {'hand [us]':9} | {'ratio':5} |")
    print(f"| {'---':14} | {'---:':>9} | {'---:':>9} | {'---:':>9} | {'---:':>5} |")
    failed = False
    for name in options.engines or openers.ENGINES:
        found = run(name, options)
        if isinstance(found, Measured) and found.result != expected:
            found = f"failed: {found.result} instead of {expected}"
        failed |= isinstance(found, str) and not found.startswith("needs")
        print(row(name, found), flush=True)
    print(f"\nwalks go as the power {expected[0]:.3f} of their length; the longest came back {expected[1]:.1f} times")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
