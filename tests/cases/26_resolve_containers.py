# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND resolve-containers
# RUNNERS serial threads:2 processes:2
# EXPECT out=[]
"""`resolve` of other collections gives values, or an error that says what to pass; no futures remain."""

import contextlib
import sys
from concurrent.futures import Future

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def double(x: float) -> float:
    return 2 * x


def as_array(items):
    array = np.empty(len(items), object)
    for place, item in enumerate(items):
        array[place] = item
    return array


def is_fine(collection):
    try:
        got = list(resolve(collection))
    except Exception as error:
        return "list" in str(error)
    return not any(isinstance(item, Future) for item in got)


with block():
    xs = [double(float(x)) for x in range(3)]
    collections = {
        "generator": (x for x in xs),
        "values": dict(enumerate(xs)).values(),
        "set": set(xs),
        "object array": as_array(xs),
    }
    print([name for name, collection in collections.items() if not is_fine(collection)])
