# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# RUNNERS processes:2
# LIMIT 30
"""Values of many kinds go from task to task."""

import contextlib
import dataclasses
import gc
import hashlib
import os
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import CancelledError, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import attrs
import numpy as np
from parman import Length, WorkerDied, as_resolved, cancel, resolve, share, task, workflow

RUNNER = sys.argv[1]
DRIVER = os.getpid()
COUNT = os.environ.get("ORACLE_COUNT", "")
T = TypeVar("T")
OPTIONS = {}


def field(count, x, dtype="float64", layout="flat"):
    """Make an array that depends on a number."""
    values = np.full(count, x % 50, dtype)
    values[:: max(1, count // 7)] += 1
    if layout == "strided":
        return values[::2]
    if layout in ("rows", "columns"):
        values = values[: count // 2 * 2].reshape(2, -1)
    return np.asfortranarray(values) if layout == "columns" else values


def digest(value):
    """Write a value down, so that two texts are the same only if the values are."""
    kind = type(value).__name__
    if type(value).__module__ == "__main__" and type(value) is not globals()[kind]:
        kind += " (another class of this name)"
    if isinstance(value, np.ndarray):
        marks = "" if value.flags.writeable else " read-only"
        return f"{kind} {value.dtype}{value.shape}{marks} {hashlib.sha1(np.ascontiguousarray(value)).hexdigest()[:10]}"
    if isinstance(value, (str, bytes)) and len(value) > 60:
        whole = value.encode() if isinstance(value, str) else value
        return f"{kind} {len(value)} {hashlib.sha1(whole).hexdigest()[:10]}"
    if isinstance(value, dict):
        return f"{kind}{{{', '.join(f'{key!r}: {digest(item)}' for key, item in value.items())}}}"
    if isinstance(value, (list, tuple, deque)):
        return f"{kind}({', '.join(digest(item) for item in value)})"
    if isinstance(value, (set, frozenset)):
        return f"{kind}({', '.join(sorted(digest(item) for item in value))})"
    if isinstance(value, Enum) or type(value).__module__ != "__main__":
        return f"{kind} {value!r}"
    names = [*getattr(type(value), "__slots__", ()), *getattr(value, "__dict__", ())]
    return f"{kind}({', '.join(f'{name}={digest(getattr(value, name))}' for name in names if name[:2] != '__')})"


def described(error):
    """Write a failure down: its type, text and attributes, its members, and what caused it."""
    if isinstance(error, (WorkerDied, CancelledError)):
        return type(error).__name__
    own = {name: item for name, item in vars(error).items() if name != "__notes__"}
    inner = "".join(f" [{described(member)}]" for member in getattr(error, "exceptions", ()))
    cause = "" if error.__cause__ is None else f" from {described(error.__cause__)}"
    return f"{type(error).__name__}{digest(error.args)[5:]} {str(error)[:200]!r} {digest(own)[4:]}{inner}{cause}"


alone = contextlib.nullcontext


def show(name, first, results):
    """Print the values of some calls."""
    for i, result in enumerate(results):
        try:
            text = f"= {digest(resolve(result))}"
        except (Exception, CancelledError) as error:
            text = f"! {described(error)}"
        print(first + i, f"{name}[{i}]", text)


@contextlib.contextmanager
def on(pool):
    """Make a block on a pool that ends with it."""
    with pool, workflow(pool, **OPTIONS):
        yield


def block():
    """Make a block, or what stands in its place."""
    if RUNNER == "plain":
        return alone()
    if RUNNER.startswith("fork:"):
        return on(ProcessPoolExecutor(int(RUNNER[5:])))
    if RUNNER.startswith("loky:"):
        import loky

        return on(loky.ProcessPoolExecutor(int(RUNNER[5:])))
    return counted() if COUNT and RUNNER.startswith("processes") else workflow(RUNNER, **OPTIONS)


@contextlib.contextmanager
def counted():
    """Make a block that ends with an error if too much has gone to and from the workers."""
    sys.path.append(COUNT)
    import exchanges

    with exchanges.counted() as seen, workflow(RUNNER, **OPTIONS):
        yield
    seen.check()


def inner_block():
    """Make a block inside another."""
    return contextlib.nullcontext() if RUNNER == "plain" else workflow()


def opened_block():
    """Open a block that is closed by a call."""
    if RUNNER == "plain" or RUNNER.startswith(("fork:", "loky:")):
        stack = contextlib.ExitStack()
        stack.enter_context(block())
        return stack
    opened = workflow(RUNNER, **OPTIONS)
    opened.open()
    return opened


def maps():
    """Count the maps of files in memory, and all others."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    files = [line for line in lines if "memfd:" in line or "/dev/shm" in line or "/dev/zero" in line]
    return len(files), len(lines)


def resources():
    """Count what a script must not lose: threads, processes, open files, maps of files in memory."""
    gc.collect()
    children = sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children"))
    trackers = 2 if RUNNER.startswith("loky") else 0
    files = len(os.listdir("/proc/self/fd"))
    return {"threads": threading.active_count(), "processes": max(0, children - trackers), "files": files - 4 * trackers,
            "maps": maps()[0]}


def held():
    """Count open files and maps while all results are there."""
    return f"files {len(os.listdir('/proc/self/fd'))} maps {maps()[1]}"


def left_behind(before):
    """Name what is more than before, if it does not go by itself; a few files are kept to be used again."""
    spare = {"threads": 0, "processes": 0, "files": 6, "maps": 6}
    for _ in range(60):
        more = {name: count - before[name] for name, count in resources().items()}
        left = [f"{count} {name}" for name, count in more.items() if count > spare[name]]
        if not left:
            return "nothing"
        time.sleep(0.05)
    return f"{', '.join(left)}; threads {[each.name for each in threading.enumerate()]}"


class Phase(Enum):
    SOLID = 0
    LIQUID = 1


@dataclass(slots=True)
class Cell:
    a: complex
    n: bytes


class Grid:
    __slots__ = ('a', 'n',)

    def __init__(self, a, n):
        self.a = a
        self.n = n


@attrs.define
class Fit:
    a: Decimal
    n: np.ndarray


class Mesh(NamedTuple):
    a: np.ndarray
    n: Fit
    grid: set[int]


@attrs.define
class Orbit:
    a: Grid
    n: Mesh


@attrs.define
class Sample:
    a: np.ndarray


class Spectrum:
    def __init__(self, a):
        self.a = a


@dataclass(slots=True)
class Model:
    a: list[Sample]
    n: Spectrum


@task
def step_1(a: bytes, b: Orbit, number: int) -> Fraction:
    x = (number + a[-1] + int(b.a.a.a.real) + b.a.a.n[0] + len(b.a.n) + int(b.n.a.sum(dtype=float)) + int(b.n.n.a) + int(b.n.n.n.sum(dtype=float)) + sum(item for item in b.n.grid)) % 9973
    return Fraction(x, 7)


@task
def fit_2(a: Fraction, number: int) -> Model:
    x = (number + a.numerator) % 9973
    return Model(a=[Sample(a=field(10, x + k)) for k in range(1)], n=Spectrum(a=set((x + 1 + k) for k in range(0))))


BEFORE = resources()
with block():
    seeds = [step_1(bytes([(1000 + i) % 251]) * 2_000_000, Orbit(a=Grid(a=Cell(a=complex((1000 + i), 1), n=bytes([(1000 + i + 1) % 251])), n="step {}\n".format((1000 + i + 1)) * 90_000), n=Mesh(a=field(20_000, 1000 + i + 1, "float32", "columns"), n=Fit(a=Decimal((1000 + i + 1 + 1)), n=field(140_000, 1000 + i + 1 + 1 + 1, "float32", "flat")), grid=set((1000 + i + 1 + 2 + k) for k in range(4)))), 1000 + i) for i in range(1)]
    starts = [None] * 1
    for i, value in as_resolved(seeds):
        starts[i] = fit_2(value, 2000 + i)
show("seeds", 1000, seeds)
show("starts", 2000, starts)
print(f"? held {held()}", flush=True)
seeds = starts = opened = value = None
print("left:", left_behind(BEFORE))
