# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND oserror-text
# RUNNERS serial threads:2 processes:2
# EXPECT same
# LIMIT 60
"""Exceptions that are values: returned by tasks, and passed to them, with attributes that their classes require."""

import contextlib
import json
import subprocess
import sys
import threading

import numpy as np

from parman import resolve, share, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class NotConverged(Exception):
    def __init__(self, steps, residual, field=None):
        super().__init__(f"no convergence after {steps} steps: {residual:.1e}")
        self.steps, self.residual, self.field = steps, residual, field


class KeywordOnly(ValueError):
    def __init__(self, *, code):
        super().__init__()
        self.code = code

    def __str__(self):
        return f"code {self.code}"


class Slotted(OSError):
    __slots__ = ("where",)

    def __init__(self, where):
        super().__init__(2, "gone", where)
        self.where = where


class SaysHow(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b

    def __reduce__(self):
        return SaysHow, (self.args[0], self.b)


class WithLock(Exception):
    def __init__(self, name, lock):
        super().__init__(name)
        self.lock = lock


def caught(cause):
    try:
        try:
            raise cause
        except Exception as error:
            raise NotConverged(3, 0.5) from error
    except NotConverged as error:
        return error


MAKE = [
    lambda: NotConverged(5, 0.1, np.ones(3)),
    lambda: NotConverged(6, 0.1, np.ones(200_000)),
    lambda: KeywordOnly(code=4),
    lambda: Slotted("a.txt"),
    lambda: SaysHow(1, [2]),
    lambda: caught(KeywordOnly(code=1)),
    lambda: caught(caught(SaysHow(1, 2))),
    lambda: caught(WithLock("locked", threading.Lock())),
    lambda: ExceptionGroup("two", [KeywordOnly(code=2), NotConverged(1, 1.0)]),
    lambda: subprocess.CalledProcessError(3, ["ls"], "out", "err"),
    lambda: json.JSONDecodeError("bad", "{x", 1),
]


@task
def attempt(which: int):
    return MAKE[which]()


@task
def attempts() -> list[Exception]:
    return [make() for make in MAKE]


@task
def both(which: int) -> tuple[int, Exception]:
    return which, MAKE[which]()


@task
def describe(error: Exception) -> str:
    return show(error)


@task
def describe_all(errors: dict[int, Exception]) -> list[str]:
    return [show(error) for error in errors.values()]


def show(error):
    if not isinstance(error, BaseException):
        return repr(error)
    texts = [f"{type(error).__name__} {error}"]
    for name in ("steps", "residual", "code", "where", "errno", "b", "exceptions", "returncode", "pos", "field"):
        value = getattr(error, name, None)
        texts.append(str(value.sum()) if isinstance(value, np.ndarray) else repr(value))
    return f"{' '.join(texts)} <- {show(error.__cause__)}"


with block():
    made = [attempt(i) for i in range(len(MAKE))]
    described = [describe(error) for error in made]
    passed = [describe(make()) for make in MAKE]
    shared = describe(share(NotConverged(9, 0.9)))
    pairs = [both(i) for i in range(len(MAKE))]
    halves = [describe(pair[1]) for pair in pairs]
    together = describe_all(dict(enumerate(made)))
    everything = attempts()
print(*map(show, resolve(made)), *resolve(described), *resolve(passed), resolve(shared), sep="\n")
print(*resolve(halves), *resolve(together), *map(show, resolve(everything)), sep="\n")
