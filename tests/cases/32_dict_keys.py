# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND dict-keys
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""The keys of a dict whose values are futures."""

import contextlib
import sys

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def energy(volume: float) -> float:
    return (volume - 2) ** 2


@task
def mean(values) -> float:
    return sum(values) / len(values)


try:
    with block():
        energies = {volume: energy(volume) for volume in (1.0, 2.0, 4.5)}
        print(resolve(mean(energies.keys())))
except Exception as error:
    print(type(error).__name__, error)
