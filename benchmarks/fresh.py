# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is timed in fresh interpreters: first results, imports, plain calls; in turn with what each is compared to."""

from __future__ import annotations

import time

from .children import interpreter
from .floor import FLOORS
from .peer import Peer

__all__ = ["IMPORTS", "first_results", "imports", "plain_calls"]

Pairs = list[dict[str, dict[str, float]]]

HEAD = """
import time
start = time.perf_counter()

def done(result):
    elapsed = time.perf_counter() - start
    assert result == 1
    print('{"s": %.6f}' % elapsed, flush=True)
"""

IMPORT = """
import time
start = time.perf_counter()
NAMES
print('{"s": %.6f}' % (time.perf_counter() - start))
"""

REFERENCE = "import attrs, wrapt, cloudpickle"
IMPORTS = ("import parman", "from parman import resolve, task, workflow")

PLAIN_CALL = """
import timeit
from parman import task

def plain(x: int) -> int:
    return x + 1

step = task(plain)
number = 100_000
both = [[timeit.timeit(lambda: f(1), number=number) for f in (step, plain)] for _ in range(5)]
ours, bare = (min(times) / number * 1e6 for times in zip(*both))
print('{"peer": %.4f, "floor": %.4f}' % (ours, bare))
"""


def first_results(peer: type[Peer], repeats: int, limit: float) -> Pairs:
    """Time from the first line of a script, imports included, to its first result; beside the standard pool."""
    floor = FLOORS[peer.kind]
    scripts = {"peer": HEAD + peer.first, "floor": HEAD + floor.first}
    return [{name: _run(script, limit) for name, script in scripts.items()} for _ in range(repeats)]


def imports(repeats: int, limit: float) -> dict[str, Pairs]:
    """Time imports beside those of the dependencies."""
    return {
        statement: [
            {
                name: _run(IMPORT.replace("NAMES", names), limit)
                for name, names in (("peer", statement), ("floor", REFERENCE))
            }
            for _ in range(repeats)
        ]
        for statement in IMPORTS
    }


def plain_calls(repeats: int, limit: float) -> Pairs:
    """Time a call outside a block beside the bare function, the best of five each."""
    found = [_run(PLAIN_CALL, limit) for _ in range(repeats)]
    return [{name: {"us": both[name]} for name in ("peer", "floor")} for both in found]


def _run(script: str, limit: float) -> dict[str, float]:
    start = time.perf_counter()
    with interpreter(script) as child:
        found = child.line(limit)
        elapsed = time.perf_counter() - start
        if found is None:
            raise RuntimeError(child.complaint())
    return {**found, "s with interpreter": elapsed}
