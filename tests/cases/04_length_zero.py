# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND length-zero
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""A list as long as a parameter says, which says nought."""

import contextlib
import sys
from typing import Annotated

from parman import Length, resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def split(total: float, n: int) -> Annotated[list[float], Length("n")]:
    return [total / n for _ in range(n)]


@task
def add(parts: list[float]) -> float:
    return sum(parts)


with block():
    counts = [len(split(1.0, n)) for n in (2, 1, 0)]
    sums = [add(split(1.0, n)) for n in (2, 0)]
print(counts, resolve(sums), resolve(split(1.0, 0)))
