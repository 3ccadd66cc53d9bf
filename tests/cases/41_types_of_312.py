# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND text-annotations
# RUNNERS serial threads:2 processes:2
# EXPECT same
# PYTHON 3.12
"""Type parameters and type statements of the script in results."""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple, NewType, TypedDict

from parman import Length, resolve, task, workflow

type Row = tuple[int, float]
type Tree = dict[str, Tree] | int
type Pair[T] = tuple[T, T]
UserId = NewType("UserId", int)


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@dataclass
class Box[T]:
    value: T
    row: "Row"


@dataclass(slots=True)
class Slotted[T: int]:
    value: T

    def same(self, x: T) -> T:
        return x


class Named[T](NamedTuple):
    value: T
    row: Row


class Table[T](TypedDict):
    value: T


def through[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return inner


class Scope:
    type Inner = tuple[int, str]

    @task
    def inner(self) -> Inner:
        return 1, "a"


@task
def row() -> Row:
    return 1, 2.0


@task
def tree() -> Tree:
    return {"a": 1}


@task
def pair() -> Pair[Row]:
    return (1, 2.0), (3, 4.0)


@task
def box() -> Box[int]:
    return Box(1, (1, 2.0))


@task
def named() -> Named[UserId]:
    return Named(UserId(3), (1, 2.0))


@task
def table() -> Table[Box[Row]]:
    return {"value": Box((1, 2.0), (1, 2.0))}


@task
def slotted() -> Slotted[int]:
    return Slotted(1)


@task
def many[T](x: T, n: int) -> Annotated[list[T], Length("n")]:
    return [x] * n


@task
@through
def user(x: UserId) -> UserId:
    return x


@task
def use(tree: Tree, pair: Pair[Row], box: Box[int], user: UserId) -> str:
    return repr((tree, pair, box, user))


with block():
    results = [row(), tree(), pair(), box(), named(), table(), slotted(), many(1, 2), many(Box(1, (1, 1.0)), 2)]
    results += [user(UserId(1)), use(tree(), pair(), box(), user(UserId(3))), Scope().inner()]
    for result in results:
        try:
            print(resolve(result))
        except Exception as error:
            print(type(error).__name__, str(error)[:100])
