# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND notebook-class
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Cells with classes are run again between blocks: instances and tasks of before go on working."""

import contextlib
import sys
from dataclasses import dataclass
from typing import NamedTuple

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


CELL = """
@dataclass
class Point:
    x: float
    y: float = {y}

    def norm(self):
        return abs(self.x) + {y}


class Pair(NamedTuple):
    a: int
    b: int


@task
def make(x: float) -> Point:
    return Point(x)


@task
def shifted(point: Point, by: float) -> Point:
    return Point(point.x + by)


@task
def same(point: Point) -> Point:
    return point


@task
def norm(point: Point) -> float:
    return point.norm()


@task
def pair(pair: Pair) -> Pair:
    return pair


@task
def kind(cls: type[Point]) -> str:
    return cls.__name__
"""

exec(CELL.format(y=1.0), globals())
with block():
    point, named = make(1.0), Pair(1, 2)  # noqa: F821
    old, old_make, old_class = resolve(make(2.0)), make, Point  # noqa: F821
    print(resolve([shifted(point, 1.0), norm(point), pair(named)]))  # noqa: F821
exec(CELL.format(y=3.0), globals())
with block():
    print(resolve([shifted(old, 1.0), norm(old), norm(make(1.0)), norm(old_make(7.0))]))  # noqa: F821
    print(resolve([same(old), same(point), norm(same(old)), shifted(point, 2.0), pair(named)]))  # noqa: F821
    print(type(resolve(same(old))) is type(old), type(resolve(make(1.0))) is Point, resolve(kind(old_class)))  # noqa: F821
