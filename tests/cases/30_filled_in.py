# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND false-mutation-warning
# RUNNERS serial
# EXPECT same
# STDERR empty
# LIMIT 180
"""A task that only reads is not said to change its argument, whatever the library looks up and keeps on the way."""

import contextlib
import sys
from typing import Any

import numpy as np
import pandas as pd
import pint
from uncertainties import ufloat

from parman import resolve, task, workflow

units = pint.UnitRegistry()
pint.set_application_registry(units)


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Molecule:
    def __init__(self, masses):
        self.masses, self._mass = masses, None

    @property
    def mass(self):
        if self._mass is None:
            self._mass = sum(self.masses)
        return self._mass


@task
def table() -> Any:
    times = pd.date_range("2024-03-30", periods=4)
    return pd.DataFrame({"k": list("abca"), "x": np.arange(4.0), "t": times}).set_index("k")


@task
def rows(df) -> int:
    return len(df.loc["a"]) + len(df[df["x"] > 1])


@task
def sizes(df) -> Any:
    return {k: len(g) for k, g in df.groupby(level="k")}


@task
def text(df, name: str) -> str:
    return str(df[name])


@task
def total(a, b) -> Any:
    return a + b


@task
def deviation(x) -> float:
    return x.std_dev


@task
def mass(molecule) -> float:
    return molecule.mass


with block():
    df = table()
    length = 2.0 * units.meter
    results = [rows(df), sizes(df), text(df, "x")]
    results += [total(length, length), deviation(ufloat(3, 0.1) * 2), mass(Molecule([1.0, 16.0]))]
results = resolve(results)
print(results[0], results[1], results[3:])
