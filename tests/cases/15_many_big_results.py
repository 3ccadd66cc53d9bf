# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND many-big-results
# RUNNERS serial threads:2 processes:2
# EXPECT same
# LIMIT 120
"""1200 results of over 1 MiB, where a process may have 1024 files open."""

import contextlib
import resource
import sys

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))


@task
def make(number: int) -> np.ndarray:
    return np.full(140_000, float(number))


@task
def first(values: np.ndarray) -> float:
    return float(values[0])


with block():
    arrays = [make(number) for number in range(1200)]
    print(sum(resolve([first(array) for array in arrays])))
print(len(resolve(arrays)))
