# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND livelock-big-value
# RUNNERS serial threads:2 processes:2
# EXPECT same
# LIMIT 30
"""Big arrays, a dict of them and a dataclass, each for very many quick calls, and sums of all of those."""

import contextlib
import sys
from dataclasses import dataclass

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@dataclass
class State:
    name: str
    fields: dict[str, np.ndarray]


@task
def state(name: str, size: int) -> State:
    return State(name, {key: np.full(size // 8, float(number)) for number, key in enumerate("uvw")})


@task
def norm(whole: State, key: str, factor: int) -> float:
    return float(whole.fields[key][:10].sum()) * factor


@task
def shift(x: float) -> float:
    return x + 1


@task
def total(numbers: list[float], states: list[State]) -> float:
    return sum(numbers) + sum(float(one.fields["w"][-1]) for one in states)


with block():
    states = [state(f"state {number}", size) for number, size in enumerate([8_000, 480_000, 4_000_000])]
    norms = [shift(norm(one, key, factor)) for one in states for key in "uvw" for factor in range(20)]
    result = total(norms, states)
print(resolve(result), resolve(norms))
