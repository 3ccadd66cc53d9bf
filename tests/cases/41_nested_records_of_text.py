# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND text-annotations
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Records of every kind, nested, with text for annotations and names that are unknown, as results."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import TYPE_CHECKING, Annotated, Generic, NamedTuple, Optional, TypedDict, TypeVar

import attrs

from parman import Keys, Length, Whole, resolve, task, workflow

if TYPE_CHECKING:
    from nowhere import Hidden

T = TypeVar("T")


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Report(TypedDict):
    number: int
    inside: Inside


class Inside(TypedDict):
    place: Place


class Place(NamedTuple):
    x: int
    crystal: Crystal


@dataclass
class Crystal:
    size: float
    atoms: Atoms


@attrs.define
class Atoms:
    count: int
    charge: Optional[Pair]


class Pair(NamedTuple):
    a: int
    b: int


@dataclass
class Half:
    number: int
    pair: "Pair"
    hidden: Hidden
    whole: "Annotated[Pair, Whole]"


@dataclass
class Base:
    first: Pair


@dataclass
class Derived(Base):
    _: KW_ONLY
    second: Pair


@dataclass
class Filled:
    first: Pair
    second: Pair = field(init=False, default=Pair(1, 2))


@dataclass
class Started:
    first: Pair
    start: InitVar[int]

    def __post_init__(self, start):
        self.begun = start


@dataclass
class Box(Generic[T]):
    value: T
    pair: Pair


class Row(NamedTuple, Generic[T]):
    value: T
    pair: Pair


class Table(TypedDict, Generic[T]):
    value: T
    pair: Pair


@task
def report() -> Report:
    return {"number": 1, "inside": {"place": Place(2, Crystal(3.0, Atoms(4, Pair(5, 6))))}}


@task
def half() -> Half:
    return Half(1, Pair(2, 3), 4, Pair(5, 6))


@task
def derived() -> Derived:
    return Derived(Pair(1, 2), second=Pair(3, 4))


@task
def filled() -> Filled:
    return Filled(Pair(5, 6))


@task
def started() -> Started:
    return Started(Pair(5, 6), 7)


@task
def box() -> Box[Pair]:
    return Box(Pair(1, 2), Pair(3, 4))


@task
def row() -> Row[Inside]:
    return Row({"place": Place(2, Crystal(3.0, Atoms(4, None)))}, Pair(3, 4))


@task
def table() -> Table[Pair]:
    return {"value": Pair(1, 2), "pair": Pair(3, 4)}


@task
def boxes(n: int) -> Annotated[list[Box[Pair]], Length("n")]:
    return [Box(Pair(i, i), Pair(3, 4)) for i in range(n)]


@task
def crystals(names: list[str]) -> Annotated[dict[str, Crystal], Keys("names")]:
    return {name: Crystal(1.0, Atoms(1, None)) for name in names}


@task(mock=lambda: {"x": [Box(Crystal(0, Atoms(0, None)), Pair(0, 0))], "y": (Pair(0, 0),)})
def mocked():
    return {"x": [Box(Crystal(1.0, Atoms(1, None)), Pair(1, 2))], "y": (Pair(1, 2),)}


@task
def use(report: Report, rows: list[Inside], either: Crystal | Pair) -> str:
    return f"{report} {rows} {either}"


def local():
    @dataclass
    class Outer:
        inner: Inner

    class Inner(NamedTuple):
        u: int
        v: int

    @task
    def make() -> Outer:
        return Outer(Inner(1, 2))

    return make()


with block():
    made = report()
    results = [made, half(), derived(), filled(), started(), box(), row(), table(), boxes(2), crystals(["a", "b"])]
    results += [mocked(), local(), use(made, [made["inside"]], box().pair)]
    for result in results:
        try:
            print(resolve(result))
        except Exception as error:
            print(type(error).__name__, str(error)[:100])
