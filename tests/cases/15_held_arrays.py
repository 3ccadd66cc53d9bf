# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND many-big-results
# RUNNERS serial threads:2 processes:2
# EXPECT same
# LIMIT 120
"""A thousand arrays of 1.2 MB in hands, changed in place, while 256 files may be open."""

import contextlib
import resource
import sys
from pathlib import Path

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


@task
def make(number: int) -> np.ndarray:
    return np.full(150_000, float(number))


@task
def step(values: np.ndarray) -> np.ndarray:
    values += 1
    return values


with block():
    arrays = resolve([step(make(number)) for number in range(1000)])
    for number, array in enumerate(arrays):
        assert (array == number + 1).all()
        array[0] = -number
    print(Path(__file__).read_text().splitlines()[0])
    print(sum(float(array[0]) for array in arrays), sum(float(array[-1]) for array in arrays))
