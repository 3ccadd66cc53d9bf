# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# RUNNERS serial
# LIMIT 30
"""Some calls fail."""

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


class Diverged(Exception):
    """A failure of the script that can't be made from its text."""

    def __init__(self, steps, residual):
        super().__init__(f"no end after {steps} steps")
        self.steps = steps
        self.residual = residual


class Failed:
    """What stands without a block in place of the result of a call that failed, and of those that need it."""

    def __init__(self, errors):
        self.errors = errors

    def __getattr__(self, name):
        return self

    def __getitem__(self, key):
        return self


ROOTS = []


def call(function, *arguments):
    """Call a task; without a block keep its failure in place of its result, as blocks do."""
    if RUNNER != "plain":
        return function(*arguments)
    rows = [each.values() if isinstance(each, dict) else each for each in arguments if isinstance(each, (list, dict))]
    before = [each for row in [arguments, *rows] for each in row if isinstance(each, Failed)]
    if before:
        return Failed([error for each in before for error in each.errors])
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        ROOTS.append(error)
        return Failed([error])


def show(name, first, results):
    """Print the values or failures of some calls."""
    for i, result in enumerate(results):
        try:
            value = resolve(result)
            if isinstance(value, Failed):
                text = "! " + "  |  ".join(sorted({described(error) for error in value.errors}))
            else:
                text = f"= {digest(value)}"
        except (Exception, SystemExit, CancelledError) as error:
            text = f"! {described(error)}"
        print(first + i, f"{name}[{i}]", text)


alone = contextlib.nullcontext


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
    a: "np.ndarray"
    n: "np.ndarray"


@dataclass
class Grid:
    a: "Cell"


class Fit:
    __slots__ = ('a', 'n',)

    def __init__(self, a, n):
        self.a = a
        self.n = n


@task
def step_1(a: "Fit", b: "np.ndarray", number: int) -> "complex":
    x = (number + int(a.a.sum(dtype=float)) + int(a.n.a.a.sum(dtype=float)) + int(a.n.a.n.sum(dtype=float)) + int(b.sum(dtype=float))) % 9973
    if number in (1001,):
        raise TimeoutError(f"run {number} is too slow")
    return complex(x, 1)


BEFORE = resources()
opened = opened_block()
seeds = [call(step_1, Fit(a=field(10, 1000 + i, "uint8", "rows"), n=Grid(a=Cell(a=field(70_000, 1000 + i + 1, "int16", "strided"), n=field(8_000, 1000 + i + 1 + 1, "float32", "flat")))), field(140_000, 1000 + i, "float64", "columns"), 1000 + i) for i in range(6)]
show("seeds", 1000, seeds)
opened.close()
print(f"? held {held()}", flush=True)
seeds = opened = value = None
print("left:", left_behind(BEFORE))
