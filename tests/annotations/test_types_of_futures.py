# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Declared types of futures against the annotations of the places where they stand."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypedDict, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from parman.annotations.compat import can_fit
from parman.annotations.signature import Schema
from parman.errors import FutureTypeError


class Animal:
    pass


class Cat(Animal):
    pass


class Dog(Animal):
    pass


class Names(list[str]):
    pass


class Point(NamedTuple):
    x: float
    y: float


class Named(Protocol):
    name: str


class Options(TypedDict):
    depth: int


class OtherOptions(TypedDict):
    depth: str


@dataclass
class Config:
    path: Path
    depth: int


T = TypeVar("T")

FIT: list[tuple[Any, Any]] = [
    (int, int),
    (int, float),
    (float, int),
    (int, complex),
    (np.float64, float),
    (float, np.float64),
    (np.int64, float),
    (np.float32, float),
    (bool, int),
    (np.bool_, bool),
    (bytearray, bytes),
    (Cat, Animal),
    (Animal, Cat),
    (Any, int),
    (int, Any),
    (object, int),
    (T, int),
    (int | None, int),
    (int | str, str | Path),
    (list[str], Sequence[str]),
    (Names, Sequence[str]),
    (str, Sequence[str]),
    (str, Iterable[str]),
    (list[int], list[float]),
    (list[Any], list[int]),
    (list, list[int]),
    (list[int], list),
    (tuple[int, int], Sequence[int]),
    (tuple[int, int], tuple[int, ...]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int, str], Sequence[int | str]),
    (Point, tuple[float, float]),
    (dict[str, int], Mapping[str, float]),
    (dict[str, int], Iterable[str]),
    (Options, dict[str, Any]),
    (Options, Mapping[str, int]),
    (NDArray[np.float64], NDArray[np.floating[Any]]),
    (NDArray[np.float64], np.ndarray),
    (NDArray[np.float64], Sequence[float]),
    (Path, os.PathLike[str]),
    (Path, str | os.PathLike[str]),
    (Literal["a"], str),
    (str, Literal["a"]),
    (Literal["a", 1], Literal[1, 2]),
    (Cat, Sequence[int]),
    (Cat, Named),
    (Mapping[str, int], Sequence[int]),
    (type[Cat], type[Animal]),
    (type[Cat], Callable[[], Animal]),
    (Callable[[], int], Callable[[int], str]),
    (collections.OrderedDict[str, int], dict[str, int]),
    (None, int | None),
]

DONT_FIT: list[tuple[Any, Any]] = [
    (str, int),
    (int, str),
    (str, float),
    (complex, str),
    (Path, str),
    (str, Path),
    (Cat, Dog),
    (Cat, int),
    (int | Path, str),
    (type(None), int),
    (list[str], list[int]),
    (list[str], Sequence[int]),
    (str, Sequence[int]),
    (int, Sequence[str]),
    (int, Iterable[int]),
    (tuple[int, int], list[int]),
    (list[int], tuple[int, int]),
    (tuple[int, int], tuple[int, int, int]),
    (tuple[int, str], tuple[int, int]),
    (tuple[int, str], Sequence[int]),
    (Point, tuple[str, float]),
    (Point, tuple[float, float, float]),
    (dict[str, int], dict[int, int]),
    (dict[str, int], Mapping[str, Path]),
    (dict[str, int], list[str]),
    (Options, dict[int, Any]),
    (Options, OtherOptions),
    (NDArray[np.float64], NDArray[np.int64]),
    (NDArray[np.float64], list[float]),
    (NDArray[np.float64], float),
    (np.float64, NDArray[np.float64]),
    (Literal["a"], Literal["b"]),
    (Literal["a"], int),
    (int, Named),
    (int, os.PathLike[str]),
    (int, Callable[[], int]),
    (type[Cat], type[Dog]),
    (Names, Sequence[int]),
    (list[list[int]], list[list[str]]),
]


@pytest.mark.parametrize(("declared", "wanted"), FIT, ids=str)
def test_fits(declared: Any, wanted: Any) -> None:
    """A type that may have a value in common with the wanted one is never refused."""
    assert can_fit(declared, wanted)


@pytest.mark.parametrize(("declared", "wanted"), DONT_FIT, ids=str)
def test_does_not_fit(declared: Any, wanted: Any) -> None:
    """A type that has no value in common with the wanted one is refused."""
    assert not can_fit(declared, wanted)


def future_of(declared: Any, origin: str = "") -> Future[Any]:
    future: Any = Future()
    future.declared = declared
    future.origin = origin
    return future  # type: ignore[no-any-return]


def test_message_names_place_source_and_types() -> None:
    """The error says which argument, which call the future comes from, and both types."""

    def train(n: int) -> None: ...

    (problem,) = Schema(train).problems({"n": future_of(str, "load, script.py:12")})
    assert isinstance(problem, FutureTypeError)
    assert str(problem) == (
        "train(): argument n is a future of str (from load, script.py:12), but its annotation says int"
    )


def test_future_in_a_container_is_compared_with_the_item() -> None:
    """A future deep in an argument is compared with the annotation of its own place."""

    def train(data: dict[str, list[Path]], config: Config, point: Point) -> None: ...

    good: dict[str, Any] = {
        "data": {"a": [future_of(Path), Path()]},
        "config": Config(future_of(Path), future_of(int)),  # type: ignore[arg-type]
        "point": Point(future_of(int), 1.0),  # type: ignore[arg-type]
    }
    bad: dict[str, Any] = {
        "data": {"a": [Path(), future_of(str)]},
        "config": Config(future_of(Path), future_of(Path)),  # type: ignore[arg-type]
        "point": Point(0.0, future_of(str)),  # type: ignore[arg-type]
    }
    assert Schema(train).problems(good) == []
    places = [str(problem).split(" is a ")[0] for problem in Schema(train).problems(bad)]
    assert [place.split()[-1] for place in places] == ["data['a'][1]", "config.depth", "point.y"]


def test_foreign_futures_fit_everywhere() -> None:
    """A future that declares nothing, as those of other libraries, is never refused."""

    def train(n: int, x: list[Path]) -> None: ...

    assert Schema(train).problems({"n": Future(), "x": [Future()]}) == []


def test_a_class_that_raises_when_asked_fits() -> None:
    """A comparison that stumbles refuses nothing."""

    class Meta(type):
        def __subclasscheck__(cls, other: type) -> bool:
            raise RuntimeError

    class Odd(metaclass=Meta):
        pass

    assert can_fit(int, Odd)
    assert can_fit(Odd, str)
