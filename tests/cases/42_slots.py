# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND slots
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Classes of the script with slots, as results."""

import contextlib
import sys
from dataclasses import dataclass

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@dataclass(slots=True)
class Cell:
    a: float


class Bare:
    __slots__ = ("x", "y")

    def __init__(self, x):
        self.x = x

    def __repr__(self):
        return f"Bare({self.x})"


@task
def grow(a: float) -> Cell:
    return Cell(a + 1)


@task
def bare(x: int) -> list[Bare]:
    return [Bare(x), Bare(x + 1)]


with block():
    for result in (grow(2.0), bare(1)):
        try:
            print(resolve(result))
        except Exception as error:
            print(type(error).__name__, str(error)[:60])
