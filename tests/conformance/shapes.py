# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Classes that several modules of the suite use as results and arguments; importable in every worker."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import attrs

__all__ = ["Checked", "Fit", "Frozen", "Made", "Outer", "Point", "Slotted", "Table", "nested"]


class Point(NamedTuple):
    """A named tuple."""

    x: float
    name: str


class Table(TypedDict):
    """A typed dict with something in it."""

    rows: tuple[int, int]
    title: str


@dataclass
class Fit:
    """A plain dataclass with a method and a property."""

    slope: float
    label: str = ""

    def at(self, x: float) -> float:
        """Return the value at a place."""
        return self.slope * x

    @property
    def double(self) -> float:
        """Return twice the slope."""
        return 2 * self.slope


@dataclass(frozen=True)
class Frozen:
    """A frozen dataclass whose `__post_init__` looks at its fields."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low > high")


@dataclass(slots=True)
class Slotted:
    """A dataclass without a `__dict__`, with one in it."""

    fit: Fit
    count: int


@attrs.define
class Made:
    """An attrs class with a validator and a converter."""

    size: int = attrs.field(validator=attrs.validators.ge(0))
    text: str = attrs.field(converter=str)


@attrs.frozen
class Checked:
    """A frozen attrs class that looks at its fields."""

    value: int = attrs.field(converter=int, validator=attrs.validators.instance_of(int))

    def __attrs_post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("negative")


@dataclass
class Outer:
    """A dataclass with everything in it."""

    point: Point
    fits: list[Fit] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)


def nested(leaf: Any) -> Any:
    """Return every kind of container in every other, with a leaf in each."""
    return [
        (leaf, [leaf]),
        {"a": leaf, 2: (leaf,)},
        OrderedDict(first=leaf, second=[leaf]),
        defaultdict(list, k=leaf),
        Point(leaf, "p"),
        Fit(leaf, "f"),
        _frozen(leaf),
        Slotted(Fit(leaf), leaf),
        _made(leaf),
        Outer(Point(leaf, "q"), [Fit(leaf)], {"z": (leaf,)}),
    ]


def _frozen(leaf: Any) -> Frozen:
    made = object.__new__(Frozen)
    object.__setattr__(made, "low", leaf)
    object.__setattr__(made, "high", leaf)
    return made


def _made(leaf: Any) -> Made:
    made = Made(0, "")
    object.__setattr__(made, "size", leaf)
    return made
