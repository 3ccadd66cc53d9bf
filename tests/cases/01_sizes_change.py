# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND livelock-big-value
# RUNNERS serial threads:2 processes:2
# EXPECT same
# LIMIT 30
"""Chains of one task whose arrays are small, then big, then small again, after many quick calls."""

import contextlib
import sys

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def make(seed: int, size: int) -> np.ndarray:
    return np.full(size // 8, float(seed))


@task
def top(field: np.ndarray) -> float:
    return float(field.max())


@task
def double(x: float) -> float:
    return 2 * x


with block():
    sizes = [1000] * 200 + [1000, 8_000_000, 60_000, 900_000, 4_200_000] * 8 + [1000] * 20
    doubled = [double(top(make(seed, size))) for seed, size in enumerate(sizes)]
print(resolve(doubled))
