# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND livelock-big-value
# RUNNERS serial threads:2 processes:2
# EXPECT same
# LIMIT 30
"""Chains of strings of all sizes, and big arrays as arguments of quick calls."""

import contextlib
import sys

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def text(number: int, size: int) -> str:
    return "x" * size + str(number)


@task
def length(content: str) -> int:
    return len(content)


@task
def odd(content: str) -> int:
    return len(content) % 2


@task
def summary(field: np.ndarray) -> float:
    return float(field.sum())


with block():
    lengths = [length(text(number, size)) for number in range(10) for size in (10, 70_000, 5_000_000)]
    odds = [odd(text(number, 2_000_000)) for number in range(10)]
    sums = [summary(np.full(600_000, float(number))) for number in range(20)]
print(resolve(lengths), resolve(odds), resolve(sums))
