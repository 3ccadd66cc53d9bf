# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND deque
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""A deque of results as an argument."""

import contextlib
import sys
from collections import deque

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def step(x: float) -> float:
    return x + 1


@task
def mean(window: deque[float]) -> float:
    return sum(window) / len(window)


try:
    with block():
        window, x = deque(maxlen=3), 0.0
        for _ in range(5):
            x = step(x)
            window.append(x)
        print(resolve(mean(window)))
except Exception as error:
    print(type(error).__name__, error)
