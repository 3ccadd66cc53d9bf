# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND false-mutation-warning
# RUNNERS serial threads:2 processes:2
# EXPECT same
# STDERR empty
# LIMIT 180
"""What a task changes and gives back in some way, or keeps as a cache, is not lost."""

import contextlib
import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@dataclass
class State:
    step: int = 0
    fields: dict = field(default_factory=dict)

    @task
    def advanced(self) -> Any:
        self.step += 1
        return self

    @cached_property
    def total(self):
        return float(sum(f.sum() for f in self.fields.values()))


class Model:
    def __init__(self):
        self.weights, self._cache = np.ones(4), {}

    def energy(self):
        return self._cache.setdefault("energy", float(self.weights.sum()))


@task
def relaxed(atoms) -> Any:
    atoms.calc = EMT()
    atoms.get_potential_energy()
    atoms.positions[0] += 0.1
    atoms.set_constraint(FixAtoms([0]))
    return atoms


@task
def energy(atoms) -> float:
    return atoms.get_potential_energy()


@task
def energy_of_model(model) -> float:
    return model.energy()


@task
def total(state) -> float:
    return state.total


@task
def with_column(df) -> Any:
    df["y"] = df["x"] * 2
    return df


@task
def with_message(state) -> Any:
    state.fields["a"] *= 3
    return state, "done"


@task
def in_dict(a, b) -> dict:
    a += 1
    b[0] = 5.0
    return {"a": a, "rest": [b]}


@task
def upper(x) -> Any:
    x[:] = np.arange(x.size)
    return x[x.size // 2 :]


@task
def part(table: dict) -> list:
    table["rows"].append(3)
    return table["rows"]


@task
def attribute(holder: State) -> Any:
    holder.fields["a"][0] = 7.0
    return holder.fields


with block():
    state = State(1, {"a": np.ones(3), "b": np.ones(200_000)})
    atoms = relaxed(bulk("Cu") * (2, 1, 1))
    hot = bulk("Cu")
    hot.calc = EMT()
    results = [
        energy(atoms), energy(hot), energy_of_model(Model()), total(state), with_column(pd.DataFrame({"x": [1, 2]})),
        with_message(State(1, {"a": np.ones(3)})), in_dict(np.ones(2), np.ones(200_000)), upper(np.ones(200_000)),
        part({"rows": [1, 2]}), attribute(State(0, {"a": np.ones(200_000)})), State(3).advanced(), atoms,
    ]  # fmt: skip
results = resolve(results)
print(np.round(results[:4], 6), results[4], results[5], results[6]["a"], results[6]["rest"][0][:2], results[7][:2])
print(results[8], results[9]["a"][:2], results[10].step, results[11].positions.round(3), results[11].constraints)
