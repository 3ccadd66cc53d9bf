# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND dict-keys
# RUNNERS serial threads:2 processes:2
# EXPECT same
# STDERR empty
"""Views of the values and the items of dicts as arguments: of plain ones, which change later, and of results."""

import contextlib
import sys
from collections import OrderedDict, UserDict
from collections.abc import Collection, Iterable, ValuesView

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def energy(volume: float) -> float:
    return (volume - 2) ** 2


@task
def field(size: int) -> np.ndarray:
    return np.arange(float(size))


@task
def pair(volume: float) -> tuple[float, float]:
    return volume, 2 * volume


@task
def mean(values: Collection[float]) -> str:
    return f"{sum(values) / len(values)} {isinstance(values, ValuesView)}"


@task
def lowest(items: Iterable[tuple[float, float]]) -> float:
    return min(items, key=lambda item: item[1])[0]


@task
def total(groups: dict[str, Iterable[object]]) -> float:
    return float(sum(np.sum(np.asarray(value)) for group in groups.values() for value in group))


with block():
    plain = {1.0: 3.0, 2.0: 4.0}
    found = [mean(plain.values()), lowest(plain.items())]
    plain[3.0] = -100.0
    found += [mean(plain.values()), lowest(plain.items())]

    energies = {volume: energy(volume) for volume in (1.0, 2.0, 4.5)}
    found += [mean(energies.values()), lowest(energies.items())]
    energies[2.25] = energy(2.25)
    found += [mean(energies.values()), lowest(energies.items())]
    found += [mean(OrderedDict(energies).values()), lowest(OrderedDict(energies).items())]
    found.append(lowest(UserDict(energies).items()))

    fields = {size: field(size) for size in (3, 300_000)}
    pairs = {volume: pair(volume) for volume in (1.0, 2.0)}
    found.append(total({"fields": fields.values(), "pairs": pairs.values(), "energies": energies.values()}))
print(resolve(found))
