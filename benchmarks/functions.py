# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the tasks of the benchmarks do: next to nothing, so that all time is overhead. The same for all peers."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAVES", "LISTED", "Array", "add", "nap", "pick", "shift", "spread", "step", "total"]

Array = NDArray[np.float64]

LISTED = 100
LEAVES = LISTED + 2
"""How many leaves the nested result has."""


def step(x: int) -> int:
    """Do nothing worth mentioning."""
    return x + 1


def add(x: int, y: int) -> int:
    """Join two."""
    return x + y


def total(*xs: int) -> int:
    """Join many."""
    return sum(xs)


def spread(x: int) -> tuple[list[int], dict[str, int]]:
    """Return many leaves."""
    return list(range(x, x + LISTED)), {"low": x, "high": x + LISTED}


def shift(array: Array) -> Array:
    """Return an array of the same size."""
    return array + 1.0


def nap(seconds: float) -> float:
    """Take some time, without a CPU."""
    if seconds:
        time.sleep(seconds)
    return seconds


def pick(tree: Any, *path: Any) -> Any:
    """Return a leaf of a result, for peers whose results are not taken apart."""
    for key in path:
        tree = tree[key]
    return tree
