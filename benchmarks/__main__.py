# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a call costs: Parman beside hand-written `concurrent.futures` code that does the same, in the same run.

Tasks do nothing, so that all time is overhead. The two run in turn; the ratio is the median over the repeats.
`python -m benchmarks [CALLS [REPEATS]]`
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from threading import Event
from typing import Any

from parman import resolve, task, workflow
from parman.runners.pools import available_cpus


def plain_step(x: int) -> int:
    """Do nothing worth mentioning."""
    return x + 1


def plain_total(*xs: int) -> int:
    """Collect."""
    return sum(xs)


step = task(plain_step)
total = task(plain_total)


def fan_by_hand(executor: Executor, n: int) -> int:
    """Submit n calls, then collect."""
    futures = [executor.submit(plain_step, i) for i in range(n)]
    return plain_total(*[future.result() for future in futures])


def fan(n: int) -> int:
    """Do the same with tasks."""
    return resolve(total(*[step(i) for i in range(n)]))


def chain_by_hand(executor: Executor, n: int) -> int:
    """Submit each call from the callback of the one before."""
    done, last = Event(), [0]

    def follow(future: Future[int], left: int) -> None:
        last[0] = future.result()
        if left:
            executor.submit(plain_step, last[0]).add_done_callback(lambda f: follow(f, left - 1))
        else:
            done.set()

    executor.submit(plain_step, 0).add_done_callback(lambda f: follow(f, n - 1))
    done.wait()
    return last[0]


def chain(n: int) -> int:
    """Do the same with tasks."""
    x = 0
    for _ in range(n):
        x = step(x)
    return resolve(x)


def seconds(function: Callable[..., int], *args: Any) -> float:
    """Time one run [s]."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def compare(runner: str, pool: type[Any], n: int, repeats: int) -> None:
    """Print a row for each workload."""
    workers = available_cpus()
    with workflow(f"{runner}:{workers}"), pool(workers) as executor:
        for name, ours, by_hand in (("fan-out and fan-in", fan, fan_by_hand), ("chain", chain, chain_by_hand)):
            ours(50), by_hand(executor, 50)  # start the workers
            pairs = [(seconds(ours, n), seconds(by_hand, executor, n)) for _ in range(repeats)]
            ratio = statistics.median(a / b for a, b in pairs)
            a, b = (statistics.median(column) / n * 1e6 for column in zip(*pairs, strict=True))
            print(f"| {runner} | {name} | {a:.0f} | {b:.0f} | {ratio:.1f} |")


def fresh(code: str) -> float:
    """Time some code in a new interpreter, without its start [s]."""
    script = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout)


def main(n: int = 2000, repeats: int = 5) -> None:
    """Print all tables."""
    print("| runner | workload | Parman [us/call] | by hand [us/call] | ratio |\n| --- | --- | --- | --- | --- |")
    compare("threads", ThreadPoolExecutor, n, repeats)
    compare("processes", ProcessPoolExecutor, n, repeats)
    loops = 100_000
    cost = min(timeit.repeat(lambda: step(1), number=loops)) - min(timeit.repeat(lambda: plain_step(1), number=loops))
    print(f"\nA call outside a block: {cost / loops * 1e6:.2f} us over the bare function")
    pairs = [(fresh("import parman"), fresh("import attrs, wrapt, cloudpickle")) for _ in range(repeats)]
    print(f"import parman: {statistics.median(a / b for a, b in pairs):.2f} of import attrs, wrapt, cloudpickle")
    names = "from parman import task, workflow, resolve"
    pairs = [(fresh(names), fresh("import attrs, wrapt, cloudpickle")) for _ in range(repeats)]
    print(f"{names}: {statistics.median(a / b for a, b in pairs):.2f} of the same")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
