# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND resolve-containers
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Collections of results with an order, a length, a shape of their own keep it, and their items."""

import contextlib
import sys
from collections import OrderedDict, defaultdict, deque

import numpy as np

from parman import as_future, resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def double(x: float) -> float:
    return 2 * x


@task
def last(steps: OrderedDict[str, float]) -> float:
    return OrderedDict(steps).popitem()[1]


def grid(items):
    array = np.empty((2, 2), object)
    for place, item in zip(np.ndindex(2, 2), items, strict=True):
        array[place] = item
    return array


with block():
    xs = [double(float(x)) for x in range(4)]
    steps = OrderedDict(zip("bdac", xs, strict=True))
    print(resolve(steps), as_future(steps).result(), resolve(last(steps)))
    print(resolve(deque(xs, maxlen=2)), sorted(resolve(frozenset(xs))), resolve(defaultdict(list, a=xs)))
    print(resolve(grid(xs)), resolve(grid(xs).T), resolve({"a": [set(xs[:1])], "b": steps.values()}))
