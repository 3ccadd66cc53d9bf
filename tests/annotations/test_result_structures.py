# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Structures: what a call returns as futures, how a result is taken apart, markers and mocks."""

# ruff: noqa: F401 (annotations in strings use these names)

from __future__ import annotations

import abc
import itertools
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar

import attrs
import numpy as np
import pytest

from parman.annotations.markers import Keys, Length, Whole
from parman.annotations.signature import Schema
from parman.annotations.spec import ResultSpec
from parman.errors import FutureUseError, StructureError
from parman.snapshots.share import Share
from parman.snapshots.take import in_process, take_snapshot
from parman.trees.nodes import Placeholder

Untyped = namedtuple("Untyped", "a b")
T = TypeVar("T")


class Typed(NamedTuple):
    a: int
    b: tuple[int, str]


class OwnNew(Typed):
    def __new__(cls, a: int) -> OwnNew:
        return super().__new__(cls, a, (1, "a"))


class Options(TypedDict):
    depth: int
    pair: tuple[int, str]


class Optional(TypedDict):
    depth: int
    title: NotRequired[str]


@dataclass
class Plain:
    a: int
    b: tuple[int, str]


@dataclass(frozen=True, slots=True)
class Slotted:
    a: int


@attrs.frozen
class Attrs:
    a: int = attrs.field(converter=int)


@dataclass
class Computed:
    a: int
    b: int = field(init=False)


@dataclass
class Initialised:
    a: int
    extra: InitVar[int]


@dataclass
class Abstract(abc.ABC):
    a: int

    @abc.abstractmethod
    def go(self) -> None: ...


@dataclass
class Made:
    a: int

    def __new__(cls, *args: Any) -> Made:
        return super().__new__(cls)


@dataclass
class Recursive:
    a: int
    other: Recursive


@dataclass
class Linked:
    a: int
    other: Linked | None


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Empty:
    pass


def function_of(annotation: Any) -> Callable[..., Any]:
    def function(n: Any = 3, names: Any = ("x", "y")) -> Any:
        return n

    function.__annotations__ = {"return": annotation}
    return function


def leaves_of(structure: ResultSpec) -> Any:
    """Build the tree with numbered leaves; a placeholder is its class, its fields and the whole."""
    count = itertools.count()
    return structure.unflatten(lambda _: next(count), lambda cls, fields, whole: (cls.__name__, fields, whole))


STRUCTURES: list[tuple[str, Any]] = [
    ("tuple[int, str]", (0, 1)),
    ("tuple[int, tuple[str, Path]]", (0, (1, 2))),
    ("Typed", Typed(0, (1, 2))),  # type: ignore[arg-type]
    ("Untyped", Untyped(0, 1)),
    ("Options", {"depth": 0, "pair": (1, 2)}),
    ("Plain", ("Plain", {"a": 0, "b": (1, 2)}, 3)),
    ("Slotted", ("Slotted", {"a": 0}, 1)),
    ("Attrs", ("Attrs", {"a": 0}, 1)),
    ("Linked", ("Linked", {"a": 0, "other": 1}, 2)),
    ("Box[tuple[int, int]]", ("Box", {"item": (0, 1)}, 2)),
    ("Annotated[list[int], Length(2)]", [0, 1]),
    ("Annotated[list[tuple[int, str]], Length(2)]", [(0, 1), (2, 3)]),
    ("Annotated[tuple[int, ...], Length(2)]", (0, 1)),
    ("Annotated[list, Length(1)]", [0]),
    ("Annotated[dict[str, int], Keys(['a', 'b'])]", {"a": 0, "b": 1}),
    ("Annotated[dict[str, tuple[int, int]], Keys('names')]", {"x": (0, 1), "y": (2, 3)}),
    ("Annotated[list[int], Length('n')]", [0, 1, 2]),
    ("Annotated[list[int], Length(lambda n: n + 1)]", [0, 1, 2, 3]),
    ("Annotated[list[int], Length(lambda n, names: n + len(names))]", [0, 1, 2, 3, 4]),
    ("Annotated[dict[int, int], Keys(lambda n: range(n))]", {0: 0, 1: 1, 2: 2}),
    ("tuple[Annotated[list[int], Length(1)], Annotated[tuple[int, int], Whole]]", ([0], 1)),
    ("tuple[Annotated[list[int], Length(0)], int]", ([], 0)),
    ("Annotated[list[int], Length(0)]", []),
    ("Annotated[tuple[int, ...], Length(0)]", ()),
    ("Annotated[dict[str, int], Keys([])]", {}),
    ("tuple[()]", ()),
    ("tuple[Annotated[list[int], Length(0)], tuple[()]]", ([], ())),
]

SINGLES = [
    "None",
    "int",
    "Any",
    "Undefined",
    "tuple",
    "tuple[int, ...]",
    "tuple[int, *tuple[str, ...]]",
    "list[int]",
    "dict[str, int]",
    "set[int]",
    "tuple[int, str] | None",
    "Annotated[tuple[int, str], Whole]",
    "Annotated[tuple[int, str], Whole()]",
    "OwnNew",
    "Optional",
    "Computed",
    "Initialised",
    "Abstract",
    "Made",
    "Recursive",
    "Empty",
    "ValueError",
]


@pytest.mark.parametrize(("annotation", "expected"), STRUCTURES, ids=str)
def test_structure(annotation: str, expected: Any) -> None:
    """A return annotation promises this tree; its leaves are counted in the order in which they are made."""
    structure = Schema(function_of(annotation)).result_spec({})
    assert leaves_of(structure) == expected
    assert not structure.is_leaf
    assert len(list(structure.leaf_types())) == structure.num_leaves


@pytest.mark.parametrize("annotation", SINGLES)
def test_single(annotation: str) -> None:
    """What can't be known, or might be something else, is one future."""
    structure = Schema(function_of(annotation)).result_spec({})
    assert structure.is_leaf
    assert structure.num_leaves == 1
    assert structure.flatten("anything") == ["anything"]


def test_no_annotation_is_one_future() -> None:
    """A function without a return annotation returns one future of anything."""
    structure = Schema(lambda: 0).result_spec({})
    assert structure.unflatten(lambda declared: declared, NotImplemented) is Any


GOOD: list[tuple[str, Any, list[Any]]] = [
    ("tuple[int, tuple[str, int]]", (1, ("a", 2)), [1, "a", 2]),
    ("tuple[int, int]", Untyped(1, 2), [1, 2]),
    ("Typed", Typed(1, (2, "a")), [1, 2, "a"]),
    ("Options", {"pair": (1, "a"), "depth": 0}, [0, 1, "a"]),
    ("Slotted", Slotted(1), [1, Slotted(1)]),
    ("Attrs", Attrs(1), [1, Attrs(1)]),
    ("Annotated[list[tuple[int, str]], Length(2)]", [(1, "a"), (2, "b")], [1, "a", 2, "b"]),
    ("Annotated[dict[str, int], Keys(['a', 'b'])]", {"b": 1, "a": 2}, [2, 1]),
]

BAD: list[tuple[str, Any, str]] = [
    ("tuple[int, int]", [1, 2], "promised a tuple of 2, but returned a list of 2"),
    ("tuple[int, int]", (1, 2, 3), "promised a tuple of 2, but returned a tuple of 3"),
    ("tuple[int, int]", None, "promised a tuple of 2, but returned a NoneType"),
    ("tuple[int, tuple[str, int]]", (1, 2), "promised a tuple of 2 at result[1], but returned a int: 2"),
    ("Typed", (1, (2, "a")), "promised the named tuple Typed, but returned a tuple"),
    ("Options", {"depth": 0}, "promised a dict with the keys ['depth', 'pair'], but"),
    ("Options", {"depth": 0, "pair": (1, ""), "more": 0}, "promised a dict with the keys"),
    ("Options", {"depth": 0, "pair": 1}, "promised a tuple of 2 at result['pair'], but"),
    ("Plain", {"a": 1}, "promised an instance of Plain, but returned a dict"),
    ("Plain", Plain(1, 2), "promised a tuple of 2 at result.b, but"),  # type: ignore[arg-type]
    ("Plain", object.__new__(Plain), "promised an instance of Plain with all its fields, but"),
    ("Annotated[list[int], Length(2)]", [1], "promised a list of 2, but returned a list of 1"),
    ("Annotated[list[int], Length(2)]", (1, 2), "promised a list of 2, but returned a tuple of 2"),
    ("Annotated[list[int], Length(2)]", np.zeros(2), "promised a list of 2, but returned a ndarray"),
    ("Annotated[dict[str, int], Keys(['a'])]", {"b": 1}, "promised a dict with the keys ['a'], but"),
]


@pytest.mark.parametrize(("annotation", "result", "leaves"), GOOD)
def test_split(annotation: str, result: Any, leaves: list[Any]) -> None:
    """A result is taken apart in the order in which the leaves were made."""
    assert Schema(function_of(annotation)).result_spec({}).flatten(result) == leaves


@pytest.mark.parametrize(("annotation", "result", "text"), BAD)
def test_split_of_another_structure(annotation: str, result: Any, text: str) -> None:
    """A result of another structure is an error that says where, what was promised and what came, and holds it."""
    with pytest.raises(StructureError) as caught:
        Schema(function_of(annotation)).result_spec({}).flatten(result)
    assert text in str(caught.value)
    assert str(caught.value).startswith("function() promised")
    assert caught.value.result is result


def test_mismatches() -> None:
    """Leaves of another type than declared are listed with their places."""
    structure = Schema(function_of("tuple[int, list[str], Plain]")).result_spec({})
    values = structure.flatten((1, ["a", 2], Plain("x", (1, "a"))))  # type: ignore[arg-type]
    assert structure.mismatches(values) == ["[1][1] is 2 (int), declared str", "[2].a is 'x' (str), declared int"]
    assert Schema(function_of("int")).result_spec({}).mismatches(["a"]) == ["it is 'a' (str), declared int"]
    many = Schema(function_of("Annotated[list[float], Length(100000)]")).result_spec({})
    assert many.mismatches([1.0] * 100_000) == []
    assert many.mismatches([1.0] * 99_999 + ["a"]) == ["[99999] is 'a' (str), declared float"]


class Stand(Placeholder):
    pass


@pytest.mark.parametrize("value", [Future(), Stand()], ids=["future", "placeholder"])
@pytest.mark.parametrize(
    "annotation",
    [
        "Annotated[list[int], Length('n')]",
        "Annotated[list[int], Length(lambda n: 3)]",
        "Annotated[dict[str, int], Keys('n')]",
        "Annotated[dict[str, int], Keys(lambda n: ['a'])]",
    ],
)
def test_markers_of_unknown_arguments(annotation: str, value: Any) -> None:
    """While the parameter that a marker asks for is a future, the result is one future."""
    assert Schema(function_of(annotation)).result_spec({"n": value}).is_leaf


def test_a_function_of_a_marker_that_stumbles_over_a_future_gives_one_future() -> None:
    """A list that holds futures has a length, but nothing can be computed from its items."""
    future: Future[int] = Future()
    length = Schema(function_of("Annotated[list[int], Length(lambda n: len(n))]"))
    total = Schema(function_of("Annotated[list[int], Length(lambda n: sum(n))]"))
    keys = Schema(function_of("Annotated[dict[str, int], Keys('n')]"))
    assert length.result_spec({"n": [future]}).num_leaves == 1
    assert not length.result_spec({"n": [future]}).is_leaf
    assert total.result_spec({"n": [future]}).is_leaf
    assert total.result_spec({"n": [2, 1]}).num_leaves == 3
    assert keys.result_spec({"n": [future]}).is_leaf


@pytest.mark.parametrize(
    ("value", "size"), [(2, 2), (np.int64(2), 2), ([1, 2], 2), ({"a": 1}, 1), (np.zeros((4, 2)), 4)], ids=str
)
def test_length_of_a_parameter(value: Any, size: int) -> None:
    """A parameter is the number itself, or has that length."""
    assert Schema(function_of("Annotated[list[int], Length('n')]")).result_spec({"n": value}).num_leaves == size


@pytest.mark.parametrize(
    ("annotation", "n", "text"),
    [
        ("Annotated[list[int], Length('n')]", -1, "function(): Length('n') is -1 (int) here"),
        ("Annotated[list[int], Length('n')]", 1.5, "Length('n') is 1.5 (float) here"),
        ("Annotated[list[int], Length('n')]", "abc", "Length('n') is 'abc' (str) here"),
        ("Annotated[list[int], Length('n')]", True, "Length('n') is True (bool) here"),
        ("Annotated[list[int], Length('m')]", 1, "has no parameter 'm', which Length('m') asks for; it has: n, names"),
        ("Annotated[list[int], Length(lambda m: m)]", 1, "has no parameter 'm'"),
        ("Annotated[list[int], Length(lambda n: 1 / n)]", 0, "failed: ZeroDivisionError: division by zero"),
        ("Annotated[set[int], Length(3)]", 1, "Length(3) goes with list[...] or tuple[..., ...], not with set[int]"),
        ("Annotated[dict[str, int], Keys('n')]", "abc", "Keys('n') is 'abc' (str) here"),
        ("Annotated[dict[str, int], Keys('n')]", [1, 1], "it has to be a list of different keys"),
        ("Annotated[dict[str, int], Keys('n')]", [[]], "it has to be a list of different keys"),
        ("Annotated[dict[str, int], Keys('n')]", 3, "Keys('n') is 3 (int) here"),
        ("Annotated[list[int], Keys('n')]", [1], "Keys('n') goes with dict[..., ...], not with list[int]"),
    ],
    ids=str,
)
def test_markers_that_make_no_sense(annotation: str, n: Any, text: str) -> None:
    """A marker that can't be right is an error that names it, the function and the cure."""
    with pytest.raises(StructureError) as caught:
        Schema(function_of(annotation)).result_spec({"n": n})
    assert text in str(caught.value)


def test_a_length_of_an_omitted_argument_is_that_of_its_default() -> None:
    """Markers see the defaults of parameters that the call does not give, and what is in a share."""
    schema = Schema(function_of("Annotated[list[int], Length('n')]"))
    assert schema.result_spec(schema.bind((), {})).num_leaves == 3
    assert schema.result_spec({"n": Share(take_snapshot([1, 2], in_process))}).num_leaves == 2


def mocked(mock: Callable[..., Any], annotation: Any = Any) -> Schema:
    def function(n: Any, *rest: Any, flag: bool = False) -> Any: ...

    function.__annotations__["return"] = annotation
    return Schema(function, mock)


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ([1, 2], [0, 1]),
        ((1, [2, "a"]), (0, [1, 2])),
        ({"a": 1, "b": (2, 3)}, {"a": 0, "b": (1, 2)}),
        (Untyped(1, 2), Untyped(0, 1)),
        (Plain(1, (2, "a")), ("Plain", {"a": 0, "b": (1, 2)}, 3)),
        ([[1], [2, 3]], [[0], [1, 2]]),
    ],
    ids=str,
)
def test_mock(example: Any, expected: Any) -> None:
    """Without knowing types, the structure of a result is that of what the mock returns."""
    assert leaves_of(mocked(lambda n: example).result_spec({"n": 1})) == expected
    assert mocked(lambda n: example).mock_result({"n": 1}) is example


@pytest.mark.parametrize("example", [1, None, "abc", np.zeros(3), {1, 2}], ids=str)
def test_mock_without_anything_to_take_apart(example: Any) -> None:
    """A scalar, or what is no tree, is one future."""
    assert mocked(lambda n: example).result_spec({"n": 1}).is_leaf


@pytest.mark.parametrize("example", [[], {}, (), ((),), {"a": [], "b": ()}], ids=str)
def test_mock_of_nothing_but_empty_containers(example: Any) -> None:
    """Containers without leaves are what the user gets; one leaf, which stands for the whole, is the call's own."""
    structure = mocked(lambda n: example).result_spec({"n": 1})
    made: list[Any] = []
    assert structure.unflatten(made.append, lambda *_: None) == example
    assert structure.num_leaves == len(made) == 1
    assert structure.flatten(example) == [example]
    with pytest.raises(StructureError, match="promised"):
        structure.flatten([1])


def test_mock_depends_on_values() -> None:
    """The mock gets the arguments as the task does, and its result decides for each call."""
    schema = mocked(lambda n, *rest, flag=False: [0] * (n + len(rest) + flag))
    assert schema.result_spec(schema.bind((2, 1, 1), {"flag": True})).num_leaves == 5
    assert schema.result_spec(schema.bind((2,), {})).num_leaves == 2


def test_mock_leaves_are_declared_by_the_annotation() -> None:
    """The types of leaves come from the return annotation, never from the example."""
    structure = mocked(lambda n: {"a": [0, 1]}, dict[str, list[Path]]).result_spec({"n": 1})
    assert [declared for _, declared in structure.leaf_types()] == [Path, Path]
    assert [declared for _, declared in mocked(lambda n: [0]).result_spec({"n": 1}).leaf_types()] == [Any]


def test_mock_that_stumbles_over_a_future() -> None:
    """A mock that needs the value of a future gives one future; one that does not is used."""

    def refuse(n: Any) -> Any:
        raise FutureUseError("no value")

    assert mocked(refuse).result_spec({"n": 1}).is_leaf
    assert mocked(lambda n: [0] * n).result_spec({"n": Future()}).is_leaf
    assert mocked(lambda n: [0] * len(n)).result_spec({"n": [Future(), Future()]}).num_leaves == 2
    with pytest.raises(FutureUseError):
        mocked(lambda n: [0] * n).mock_result({"n": Future()})


def test_mock_that_fails() -> None:
    """Another exception of the mock is an error that names the task and keeps the cause."""
    with pytest.raises(StructureError, match=r"the mock of .*function\(\) failed: ZeroDivisionError") as caught:
        mocked(lambda n: 1 // n).result_spec({"n": 0})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(StructureError, match="has no mock"):
        Schema(lambda: 0).mock_result({})


def test_mock_that_is_in_itself() -> None:
    """A mock whose result holds itself, or is nested beyond reason, is an error instead of endless recursion."""
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    for example in (endless, deep):
        with pytest.raises(StructureError, match="holds itself"):
            mocked(lambda n, example=example: example).result_spec({"n": 1})


@pytest.mark.slow
def test_large_structures_are_small() -> None:
    """A hundred thousand items of one form are described by that form and a number."""
    structure = Schema(function_of("Annotated[list[tuple[int, str]], Length(100000)]")).result_spec({})
    assert structure.num_leaves == 200_000
    assert structure.tree.length == 100_000  # type: ignore[attr-defined]
    example = mocked(lambda n: [(0, 1)] * n).result_spec({"n": 100_000})
    assert example.tree.length == 100_000  # type: ignore[attr-defined]
    built = structure.unflatten(lambda _: 1, NotImplemented)
    assert len(structure.flatten(built)) == 200_000


def test_fixed_structures_are_found_once() -> None:
    """Where no argument matters, all calls share one structure."""
    fixed = Schema(function_of("tuple[int, str]"))
    assert fixed.result_spec({}) is fixed.result_spec({"n": 1})
    varying = Schema(function_of("Annotated[list[int], Length('n')]"))
    assert [varying.result_spec({"n": n}).num_leaves for n in (1, 2)] == [1, 2]


def test_what_travels_is_what_the_call_returns() -> None:
    """The structure that a worker is told of first is the one that calls have, also if it has no leaves."""

    def nothing() -> tuple[()]:
        return ()

    told, called = Schema(nothing), Schema(nothing)
    assert told.fixed_spec() == called.result_spec({}) == told.result_spec({})


@pytest.mark.parametrize(
    ("value", "more"),
    [("", "but no string"), (b"ab", "but no string"), (True, "but neither True nor False"), (1.5, "")],
)
def test_why_a_length_is_refused(value: Any, more: str) -> None:
    """A string has a length, and True is a number: that these are refused is said, and why."""
    with pytest.raises(StructureError) as caught:
        Schema(function_of("Annotated[list[int], Length('n')]")).result_spec({"n": value})
    text = "it has to be a whole number, 0 or larger, or something that has a length"
    assert text in str(caught.value)
    assert more in str(caught.value)
    assert str(caught.value).endswith(text) == (not more)
