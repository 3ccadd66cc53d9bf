# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Trees as results and arguments, the same on every runner: cancelled, empty, and with objects of all kinds in them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest.mock import MagicMock, Mock

import attrs
import pytest
from helpers import TIMEOUT
from helpers.gates import Gate, pass_gate

from parman import Keys, Length, StructureError, Workflow, WorkflowFailed, as_future, cancel, resolve, task, workflow

Block = Callable[..., Workflow]


@task
def held(place: str, value: int = 0) -> int:
    pass_gate(place)
    return value


# --- structures of which nothing or all is cancelled, or which are empty ---


@dataclass
class Inner:
    slope: int
    error: tuple[int, int]


class Fit(NamedTuple):
    value: int
    inner: Inner


@attrs.define
class Outer:
    first: Inner
    rest: list[int]


@task
def inner(place: str, after: int) -> Inner:
    Path(place).touch()
    return Inner(after, (1, 2))


@task
def outer(place: str, after: int) -> Outer:
    Path(place).touch()
    return Outer(Inner(after, (1, 2)), [])


@task
def fit(place: str, after: int) -> Fit:
    Path(place).touch()
    return Fit(after, Inner(after, (1, 2)))


@pytest.mark.parametrize(
    ("make", "way"),
    [(inner, cancel), (outer, cancel), (fit, cancel), (outer, lambda result: as_future(result).cancel())],
    ids=["dataclass", "attrs", "named tuple", "as_future"],
)
def test_a_structure_is_cancelled_as_a_whole(
    parallel: Block, gate: Gate, tmp_path: Path, make: Any, way: Callable[[Any], bool]
) -> None:
    """A call whose result has fields does not run once its result is cancelled, whatever was assigned to a field."""
    with parallel():
        result = make(str(tmp_path / "ran"), held(gate.place))
        if isinstance(result, Inner):
            result.slope = 3
        assert way(result)
        gate.open()
    assert not (tmp_path / "ran").exists()


@task
def parts(n: int) -> Annotated[list[float], Length("n")]:
    return [1 / n for _ in range(n)]


@task
def named(keys: list[str]) -> Annotated[dict[str, int], Keys("keys")]:
    return {key: len(key) for key in keys}


@task(mock=lambda n: ([0] * n, {}))
def mocked(n: int) -> tuple[list[int], dict[str, int]]:
    return [1] * n, {}


@task
def nothing() -> tuple[()]:
    return ()


@task
def wrong(n: int) -> Annotated[list[float], Length("n")]:
    raise ZeroDivisionError("of nothing")


@task
def lying(n: int) -> Annotated[list[float], Length("n")]:
    return [1.0]


@task
def size(items: Any) -> int:
    return len(items)


def test_empty_structures_are_themselves(block: Block) -> None:
    """A structure without leaves is what the serial script would have, and can be passed on."""
    with block() as w:
        found = [parts(0), named([]), mocked(0), nothing()]
        assert found == [[], {}, ([], {}), ()]
        sizes = [size(one) for one in found]
    assert resolve(sizes) == [0, 0, 2, 0]
    assert not w.failed


def test_the_failure_of_an_empty_structure_is_told(block: Block) -> None:
    """A call whose result is empty runs like any other, and its failure leaves the block."""
    with pytest.raises(WorkflowFailed) as caught, block():
        assert wrong(0) == []
    assert caught.group_contains(ZeroDivisionError)


def test_an_empty_structure_that_is_none(block: Block) -> None:
    """A result that is not as empty as was promised is an error."""
    with pytest.raises(WorkflowFailed) as caught, block():
        lying(0)
    assert caught.group_contains(StructureError, match="promised a list of 0")


# --- names ---


@task
def any_names(x: int, /, **more: int) -> list[str]:
    return [f"{name}={value}" for name, value in more.items()]


class Teller:
    @task
    def told(self, /, **more: int) -> list[str]:
        return sorted(more)


NAMES = [
    *("self", "task", "function", "args", "kwargs", "fn", "x", "more", "name", "value", "closure", "runner", "call"),
    *("definition", "arguments", "site", "rules", "obj", "cls", "instance", "owner", "tree", "registry", "structure"),
    *("where", "late", "check", "stop", "in_place", "signature", "dependencies", "timeout", "key", "kind"),
]


def test_any_keyword_can_be_given(block: Block) -> None:
    """A task with `**kwargs` takes every name, those of our own parameters included."""
    expected = [f"{name}=1" for name in NAMES]
    with block():
        found = any_names(0, **dict.fromkeys(NAMES, 1))
        told = Teller().told(**dict.fromkeys(NAMES, 1))
    assert resolve(found) == expected
    assert resolve(told) == sorted(NAMES)
    assert any_names(0, **dict.fromkeys(NAMES, 1)) == expected


# --- objects that answer for others ---


class Proxy:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Slotted:
    __slots__ = ("_inner",)

    def __init__(self, inner: Any) -> None:
        object.__setattr__(self, "_inner", inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)


class Through:
    def __init__(self, inner: Any) -> None:
        object.__setattr__(self, "_inner", inner)

    def __getattribute__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_inner"), name)


class State(Proxy):
    def __getstate__(self) -> dict[str, Any]:
        return {"_inner": self._inner}


class ItemsAsAttributes(dict[str, int]):
    __getattr__ = dict.__getitem__


class AnswersAll(dict[str, int]):
    __getattr__ = dict.get


@dataclass
class Table:
    inner: dict[str, int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Each(list[Any]):
    def __getattr__(self, name: str) -> Any:
        return [getattr(item, name) for item in self]


@task
def ordered_keys(table: Any) -> list[str]:
    return sorted(table.keys())


@task
def given_back(x: Any) -> Any:
    return x


@task
def real_parts(x: Any) -> Any:
    return x.real


@task
def mock_says(mock: Any) -> Any:
    return mock.size(3)


COLUMNS = {"b": 1, "a": 2}
PROXIES = [Proxy, Slotted, Through, State, ItemsAsAttributes, AnswersAll, Table, lambda x: Proxy(Slotted(x))]


@pytest.mark.parametrize("make", PROXIES)
def test_objects_that_answer_for_others(block: Block, make: Callable[[Any], Any]) -> None:
    """An instance of a class with a `__getattr__` goes to a task and comes back."""
    with block():
        keys, back = ordered_keys(make(COLUMNS)), given_back([make(COLUMNS)])
    assert resolve(keys) == ["a", "b"]
    (found,) = resolve(back)
    assert type(found) is type(make(COLUMNS))
    assert sorted(found.keys()) == ["a", "b"]


def test_a_list_that_answers_for_its_items(block: Block) -> None:
    """A list subclass with a `__getattr__` keeps its items."""
    with block():
        found = real_parts(Each([1 + 2j, 3]))
    assert resolve(found) == [1, 3]


def test_mocks_are_arguments(block: Block) -> None:
    """The mocks of the standard library can be given to a task."""
    with block():
        found = [mock_says(Mock(**{"size.return_value": 5})), mock_says(MagicMock(**{"size.return_value": 6}))]
    assert resolve(found) == [5, 6]


# --- foreign failures ---


@task
def use(x: float) -> float:
    return x


def test_a_foreign_failure_under_fail_fast(parallel: Block) -> None:
    """Under `fail_fast` a call whose foreign argument fails ends with that failure, which leaves the block."""
    foreign: Future[float] = Future()
    used: list[Any] = []

    def run() -> None:
        with parallel(fail_fast=True):
            used.append(use(foreign))
            used.append(use(used[0]))
            foreign.set_exception(ValueError("from elsewhere"))

    with pytest.raises(WorkflowFailed) as caught:
        run()
    assert caught.group_contains(ValueError, match="from elsewhere")
    with pytest.raises(ValueError, match="from elsewhere"):
        used[0].result(TIMEOUT)
    assert used[1].done()


def test_a_foreign_failure_under_fail_fast_in_place() -> None:
    """On the serial runner it is raised at the call."""
    foreign: Future[float] = Future()
    foreign.set_exception(ValueError("from elsewhere"))
    with pytest.raises(ValueError, match="from elsewhere"), workflow("serial", fail_fast=True):
        use(foreign)
