# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND length-zero
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Results without items: no keys, nothing but empty parts, what a mock says; and a failure of such a call."""

import contextlib
import sys
from typing import Annotated

from parman import Keys, Length, resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def measure(names: list[str]) -> Annotated[dict[str, float], Keys("names")]:
    return {name: float(len(name)) for name in names}


@task
def split(n: int) -> tuple[Annotated[list[float], Length("n")], Annotated[tuple[int, ...], Length("n")]]:
    return [1.0] * n, tuple(range(n))


@task(mock=lambda n: [0.0] * n)
def points(n: int) -> list[float]:
    return [float(i) for i in range(n)]


@task
def broken(n: int) -> Annotated[list[float], Length("n")]:
    return [1 / n for _ in range(n + 1)][:n]


@task
def count(things) -> int:
    return len(things)


with block():
    found = [measure([]), measure(["a"]), split(0), split(2), points(0), points(1)]
    print([len(one) for one in found], resolve([count(one) for one in found]), resolve(found))
try:
    with block():
        broken(0)
except (ZeroDivisionError, ExceptionGroup) as error:
    print("failed", isinstance(error, ZeroDivisionError) or error.subgroup(ZeroDivisionError) is not None)
