# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What type checkers see of a workflow: the serial script.

Nothing here is run. mypy and pyright read it, with an error for each ignore comment that is not needed: so the lines
that carry one are wrong wiring that both have to find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar, assert_type

from parman import Length, as_future, resolve, task, workflow

T = TypeVar("T")


@task
def count(text: str) -> int:
    """Stand for a plain function."""
    return len(text)


@task
def scale(number: float, *, factor: float = 2.0) -> float:
    """Stand for a function with a keyword and a default."""
    return number * factor


@task(check="warn")
def name(path: Path) -> str:
    """Stand for a function decorated with options."""
    return path.name


@task
def first(items: Sequence[T]) -> T:
    """Stand for a generic function."""
    return items[0]


@task
def split(text: str, parts: int) -> Annotated[list[str], Length("parts")]:
    """Stand for a function whose number of results is annotated."""
    return text.split()[:parts]


@dataclass
class Model:
    """Stand for a class whose methods of all kinds are tasks."""

    weight: float

    @task
    def predict(self, x: float) -> float:
        """Stand for a method."""
        return self.weight * x

    @classmethod
    @task
    def read(cls, path: Path) -> Model:
        """Stand for a class method."""
        return cls(float(path.read_text()))

    @staticmethod
    @task
    def loss(x: float, y: float) -> float:
        """Stand for a static method."""
        return (x - y) ** 2


def decorated_functions_keep_their_types() -> None:
    """Hold that the decorated function is the plain one."""
    assert_type(count("a"), int)
    assert_type(scale(1.0, factor=3.0), float)
    assert_type(name(Path("a")), str)
    assert_type(first([1, 2]), int)
    assert_type(first(["a"]), str)
    assert_type(split("a b", parts=2), list[str])
    function: Callable[[str], int] = count
    assert_type(function("a"), int)


def methods_keep_their_types() -> None:
    """Hold the same for methods."""
    model = Model.read(Path("model"))
    assert_type(model, Model)
    assert_type(model.predict(1.0), float)
    assert_type(Model.predict(model, 1.0), float)
    assert_type(Model.loss(1.0, 2.0), float)


def right_wiring_is_accepted() -> None:
    """Hold that results go into calls, and come out of `resolve`, as in the serial script."""
    with workflow("serial"):
        numbers = [count(word) for word in split("a b", parts=2)]
        scaled = {key: scale(number) for key, number in enumerate(numbers)}
    assert_type(resolve(numbers), list[int])
    assert_type(resolve(scaled), dict[int, float])
    assert_type(as_future(count("a")), Future[int])


def wrong_wiring_is_found() -> None:
    """Hold that each mistake is an error in an editor, before anything runs."""
    count(scale(1.0))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    count(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    scale(name(Path("a")))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    scale(1.0, 2.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    count()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    count("a", "b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Model(1.0).predict("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Model.loss(1.0, "a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Model.read("model")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    first(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    count("a").upper()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    name(split("a b", parts=2))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
