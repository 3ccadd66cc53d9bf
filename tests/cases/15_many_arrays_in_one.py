# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND many-big-results
# RUNNERS serial threads:2 processes:2
# EXPECT same
# LIMIT 120
"""Lists of five hundred arrays as arguments and results, and dicts of forty of them by the dozen."""

import contextlib
import resource
import sys

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


@task
def many(count: int, number: int) -> list[np.ndarray]:
    return [np.full(140_000, float(number + i)) for i in range(count)]


@task
def doubled(arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"n{i}": 2 * array for i, array in enumerate(arrays)}


@task
def total(arrays: dict[str, np.ndarray]) -> float:
    return float(sum(array[-1] for array in arrays.values()))


with block():
    arrays = doubled(many(500, 0))
    print(resolve(total(arrays)))
    print(sum(float(array[0]) for array in resolve(arrays).values()))
    dozen = [doubled(many(40, number)) for number in range(12)]
    print(resolve([total(arrays) for arrays in dozen]))
    print([len(arrays) for arrays in resolve(dozen)])
