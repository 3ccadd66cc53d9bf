# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND livelock-big-value
# RUNNERS serial threads:2 processes:2
# EXPECT same
# LIMIT 20
"""Twelve chains: an array of 8 MiB, a number of it, a number of that."""

import contextlib
import sys

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def make(seed: int) -> np.ndarray:
    return np.full(2**20, float(seed))


@task
def top(field: np.ndarray) -> float:
    return float(field[:100].max())


@task
def double(x: float) -> float:
    return 2 * x


with block():
    doubled = [double(top(make(seed))) for seed in range(12)]
print(resolve(doubled))
