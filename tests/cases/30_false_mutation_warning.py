# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND false-mutation-warning
# RUNNERS serial
# EXPECT same
# STDERR empty
"""A task that returns the argument that it has changed loses nothing."""

import contextlib
import sys

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def grown(xs: list[int]) -> list[int]:
    xs.append(len(xs))
    return xs


@task
def scaled(fields: dict) -> dict:
    for field in fields.values():
        field *= 2
    return fields


with block():
    xs = grown(grown([0]))
    fields = scaled({"a": np.ones(3), "b": np.ones(200_000)})
print(resolve(xs), [float(field.sum()) for field in resolve(fields).values()])
