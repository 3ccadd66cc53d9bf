# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND text-annotations
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Nested classes of the script as results, with annotations that are text."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import TypedDict

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Inner(TypedDict):
    c: int


class Outer(TypedDict):
    a: int
    b: Inner


@dataclass
class Cell:
    a: float


@dataclass
class Crystal:
    n: int
    cell: Cell


@task
def make() -> Outer:
    return {"a": 1, "b": {"c": 2}}


@task
def build(n: int) -> Crystal:
    return Crystal(n, Cell(3.6))


with block():
    print(resolve(make()))
    try:
        print(resolve(build(2)))
    except Exception as error:
        print(type(error).__name__, str(error)[:60])
