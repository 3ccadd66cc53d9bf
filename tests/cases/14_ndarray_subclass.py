# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND ndarray-subclass
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""The attribute of a subclass of arrays, and the hard mask of a masked one."""

import contextlib
import sys

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Measured(np.ndarray):
    def __new__(cls, values, unit=None):
        new = np.asarray(values, float).view(cls)
        new.unit = unit
        return new

    def __array_finalize__(self, old):
        self.unit = getattr(old, "unit", None)


@task
def unit_of(x) -> str:
    return f"{x.unit} {float(x.sum())}"


@task
def fill(x) -> list:
    x[:] = 0.0
    return [x.data.tolist(), bool(x.hardmask)]


with block():
    units = [unit_of(Measured([1, 2], "m/s")), unit_of(Measured(np.ones(200_000), "kg"))]
    filled = fill(np.ma.masked_array([1.0, 2.0], mask=[0, 1], hard_mask=True))
print(resolve(units), resolve(filled))
