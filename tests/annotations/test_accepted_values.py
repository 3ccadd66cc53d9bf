# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The table of what annotations accept: each row is a test, and docs/annotations.md holds the same rows."""

# ruff: noqa: F401 (the rows of the table use these names)

from __future__ import annotations

import collections
import collections.abc
import enum
import fractions
import io
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import numpy as np
import pytest
from helpers import ROOT
from numpy.typing import ArrayLike, NDArray

from parman.annotations.signature import Schema

DOCS = ROOT / "docs" / "annotations.md"


class Colour(enum.Enum):
    RED = 1


class Animal:
    name = "animal"


class Cat(Animal):
    pass


class Point(NamedTuple):
    x: float
    y: float


class Options(TypedDict):
    depth: int
    title: str


@dataclass
class Config:
    depth: int


class HasName(Protocol):
    name: str


class Ring(collections.abc.Sequence[int]):
    def __getitem__(self, index: Any) -> Any:
        return 0

    def __len__(self) -> int:
        return 3


UserId = NewType("UserId", int)
T = TypeVar("T")
Bounded = TypeVar("Bounded", bound=Animal)
Either = TypeVar("Either", int, str)
P = typing.ParamSpec("P")
Tree = Union[int, list["Tree"]]  # noqa: UP007 (the string could not be joined by |)

# The annotation, what is accepted (;), what is refused (;), and a remark.
ROWS: list[tuple[str, str, str, str]] = [
    ("Any", "1; None; Future()", "", ""),
    ("object", "1; None", "", ""),
    ("Undefined", "1; None", "", "a name that can't be found says nothing"),
    ("int", "1; True; np.int8(1); np.True_", "1.0; '1'; None; np.float64(1)", "numpy's integers are registered"),
    (
        "float",
        "1.0; 1; np.float32(1); np.int64(1); fractions.Fraction(1, 2)",
        "'1'; 1j; None",
        "PEP 484",
    ),
    ("complex", "1j; 1.0; 1; np.complex64(1)", "'1'; None", "PEP 484"),
    ("bool", "True; np.False_", "1; None; 'yes'", ""),
    ("str", "'a'; np.str_('a')", "b'a'; 1; Path('a')", ""),
    ("bytes", "b'a'; bytearray(b'a')", "'a'", "PEP 484"),
    ("None", "None", "0", ""),
    ("Decimal", "Decimal(1)", "1.0", ""),
    ("Path", "Path('a')", "'a'; None", ""),
    ("PurePath", "Path('a')", "'a'", "a subclass"),
    ("os.PathLike[str]", "Path('a')", "'a'; 1", ""),
    ("str | os.PathLike[str]", "'a'; Path('a')", "1", ""),
    ("Animal", "Animal(); Cat()", "1; Cat", "subclasses fit"),
    ("Colour", "Colour.RED", "1; 'RED'", ""),
    ("Config", "Config(1)", "{'depth': 1}", "of dataclasses and attrs classes only the class is checked"),
    ("int | str", "1; 'a'", "1.0; None", ""),
    ("Union[int, list[str]]", "1; ['a']", "[1]; 'a'", ""),
    ("Optional[int]", "None; 1", "'a'", ""),
    ("int | Undefined", "1; 'a'", "", "the rest of the union can't be known"),
    ("list", "[]; ['a', 1]", "(); 'a'", ""),
    ("list[float]", "[]; [1, 2.0, np.float32(3)]", "[1, 'a']; (1.0,); np.zeros(2)", "every item is checked"),
    ("list[list[int]]", "[[1], []]", "[[1], ['a']]; [1]", ""),
    ("list[Undefined]", "[1, 'a']", "1", ""),
    ("tuple", "(); (1, 'a')", "[]", ""),
    ("tuple[int, str]", "(1, 'a')", "(1,); (1, 2); [1, 'a']; (1, 'a', 2)", ""),
    ("tuple[int, ...]", "(); (1, 2, 3)", "(1, 'a'); [1]", ""),
    ("tuple[()]", "()", "(1,)", ""),
    ("tuple[int, *tuple[str, ...]]", "(1,); (1, 'a', 'b')", "1", ""),
    ("set[int]", "set(); {1}", "{'a'}; [1]", ""),
    ("frozenset[str]", "frozenset('a')", "frozenset({1}); {'a'}", ""),
    ("dict[str, int]", "{}; {'a': 1}; collections.OrderedDict(a=1)", "{1: 1}; {'a': 'b'}; []", ""),
    ("collections.Counter[str]", "collections.Counter('aab')", "{'a': 1}; collections.Counter([1])", ""),
    ("collections.deque[int]", "collections.deque([1])", "collections.deque(['a']); [1]", ""),
    (
        "Sequence[int]",
        "[1]; (1,); range(3); Ring(); np.arange(3); b'a'",
        "['a']; {1}; 'a'; {}",
        "arrays too",
    ),
    ("Sequence[str]", "['a']; 'abc'", "[1]", "a string is a sequence of strings"),
    ("Iterable[int]", "[1]; {1}; {1: 'a'}; (i for i in 'a')", "['a']; 1", "iterators are not used up"),
    ("Iterator[int]", "iter([1])", "[1]", ""),
    ("collections.abc.Collection[int]", "[1]; {1}", "1; ['a']", ""),
    ("Mapping[str, float]", "{'a': 1}; collections.ChainMap({'a': 1})", "{'a': 'b'}; []; [('a', 1)]", ""),
    ("collections.abc.Hashable", "1; 'a'; ()", "[]", ""),
    ("collections.abc.Sized", "[]; 'a'", "1", ""),
    ("NDArray[np.float64]", "np.zeros(2)", "[0.0]; np.zeros(2, int); 1.0", ""),
    ("NDArray[np.floating]", "np.zeros(2, 'f4')", "np.zeros(2, int)", ""),
    ("NDArray[Any]", "np.array(['a'])", "[1]", ""),
    ("np.ndarray", "np.zeros(2)", "[0.0]", ""),
    ("ArrayLike", "[1, 2]; 1.0; np.zeros(2); [[1.0]]", "", ""),
    ("np.float64", "np.float64(1)", "1.0; np.float32(1)", ""),
    ("Callable[[int], str]", "len; str; lambda: 1", "1", "parameters and result are not compared"),
    ("type[Animal]", "Cat; Animal", "int; Cat()", ""),
    ("type", "int", "1", ""),
    ("Literal['a', 1]", "'a'; 1; np.int64(1)", "'b'; 2; None", ""),
    ("Annotated[int, 'units']", "1", "'a'", ""),
    ("UserId", "1; UserId(1)", "'a'", "a NewType is its type"),
    ("T", "1; 'a'", "", "a type variable without a bound"),
    ("Bounded", "Cat()", "1", "a type variable with a bound"),
    ("Either", "1; 'a'", "1.5", "a type variable with constraints"),
    ("HasName", "Cat(); Animal; Colour.RED", "1", "protocols: the members have to be there"),
    ("typing.SupportsFloat", "1; 1.0; np.float32(1)", "'a'", ""),
    ("Point", "Point(1, 2)", "(1, 2)", ""),
    (
        "Options",
        "{'depth': 1, 'title': 'a'}",
        "{'depth': 1}; {'depth': 'a', 'title': 'a'}; 1",
        "more keys are fine",
    ),
    ("typing.TextIO", "io.StringIO(); 1", "", "files are not checked"),
    ("typing.LiteralString", "'a'", "1", ""),
    ("P.args", "1", "", ""),
    ("typing.Self", "1", "", ""),
    ("typing.TypeGuard[int]", "True; 1", "", "what no class stands for is not checked"),
    ("list[Tree]", "[1, [2, [3]]]", "[1, 'a']", "in a type that refers to itself the inner one is not known"),
    ("3", "1; 'a'", "", "what is no type says nothing"),
    ("'a sentence'", "1; 'a'", "", ""),
    ("Exception", "ValueError('a')", "1; ValueError", ""),
    ("int | Exception", "1; ValueError('a')", "'a'", "an exception fits only where the annotation says so"),
    ("list[int]", "[Future(), 1]", "[Future(), 'a']; [ValueError('a')]", "futures are compared by their declared type"),
]

NAMES = globals()


def _values(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _schema(annotation: str) -> Schema:
    def function(x):  # type: ignore[no-untyped-def]
        return x

    function.__annotations__ = {"x": annotation}
    return Schema(function)


CASES = [
    pytest.param(annotation, value, fits, id=f"{annotation} {'takes' if fits else 'refuses'} {value}")
    for annotation, accepted, refused, _ in ROWS
    for fits, values in ((True, accepted), (False, refused))
    for value in _values(values)
]


@pytest.mark.parametrize(("annotation", "value", "fits"), CASES)
def test_row(annotation: str, value: str, fits: bool) -> None:
    """Each value of the table is accepted or refused as the table says."""
    problems = _schema(annotation).problems({"x": eval(value, NAMES)})
    assert len(problems) == (0 if fits else 1), problems


@pytest.mark.parametrize(("annotation", "value", "fits"), CASES)
def test_row_as_plain_call(annotation: str, value: str, fits: bool) -> None:
    """Each value of the table reaches the function of a plain call, whatever the annotation says."""
    schema = _schema(annotation)
    given = eval(value, NAMES)
    args, kwargs = schema.call_arguments(schema.bind((given,), {}))
    assert schema.function(*args, **kwargs) is given


def _table() -> str:
    lines = ["| annotation | accepted | refused | remark |", "| --- | --- | --- | --- |"]
    for annotation, accepted, refused, remark in ROWS:
        cells = [", ".join(f"`{value}`" for value in _values(values)) for values in (accepted, refused)]
        row = [cell.replace("|", "\\|") for cell in (f"`{annotation}`", *cells, remark)]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def test_docs_hold_the_table() -> None:
    """The table in docs/annotations.md is this one."""
    assert _table() in DOCS.read_text()
