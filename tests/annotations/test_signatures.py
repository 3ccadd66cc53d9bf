# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Schemas: binding, annotations that are evaluated late, problems of arguments, exceptions that are admitted."""

from __future__ import annotations

import functools
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypedDict, TypeVar, Unpack

import numpy as np
import pytest

from parman.annotations.evaluate import item_type
from parman.annotations.markers import Length
from parman.annotations.signature import Schema
from parman.errors import ArgumentError
from parman.snapshots.share import Share
from parman.snapshots.take import in_process, take_snapshot
from parman.trees.nodes import Index, Key, Placeholder

if TYPE_CHECKING:
    from nowhere import Missing

NEVER: Any = object()


def positional_only(a, b, /, c=3):  # type: ignore[no-untyped-def]
    pass


def one(a):  # type: ignore[no-untyped-def]
    pass


def default(a, b=2):  # type: ignore[no-untyped-def]
    pass


def keyword_only(a, *, key, other=None):  # type: ignore[no-untyped-def]
    pass


def two_keywords(*, first, second, third):  # type: ignore[no-untyped-def]
    pass


def star(a, *rest, key=1):  # type: ignore[no-untyped-def]
    pass


def star_star(a, /, **more):  # type: ignore[no-untyped-def]
    pass


def nothing():  # type: ignore[no-untyped-def]
    pass


FUNCTIONS = [positional_only, one, default, keyword_only, two_keywords, star, star_star, nothing]
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, 3), {}),
    ((1, 2, 3, 4), {}),
    ((), {"a": 1}),
    ((1,), {"a": 1}),
    ((1,), {"b": 2}),
    ((1, 2), {"c": 5}),
    ((1,), {"key": 2}),
    ((1,), {"key": 2, "other": 3}),
    ((1, 2), {"key": 2}),
    ((), {"first": 1}),
    ((), {"first": 1, "second": 2, "third": 3}),
    ((1,), {"nobody": 1}),
]


def error_of(function: Callable[..., Any], args: Any, kwargs: Any) -> str | None:
    """Return the message of the TypeError that a call raises."""
    try:
        function(*args, **kwargs)
    except TypeError as exc:
        return str(exc)
    return None


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("args", "kwargs"), CALLS, ids=str)
def test_bind_as_python_does(function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """A call binds just if Python would make it, gives the same arguments, and fails with Python's words."""
    schema = Schema(function)
    message = error_of(function, args, kwargs)
    if message is not None:
        assert error_of(lambda *_, **__: schema.bind(args, kwargs), (), {}) == message
    else:
        bound = schema.bind(args, kwargs)
        assert bound == inspect.signature(function).bind(*args, **kwargs).arguments
        again = schema.bind(*schema.call_arguments(bound))
        assert again == bound
        assert list(bound) == [name for name in schema.signature.parameters if name in bound]


def test_mutable_defaults_are_filled_in() -> None:
    """Defaults that a task could change become arguments; others, such as sentinels, stay defaults."""
    sentinel = object()
    array = np.zeros(2)

    def function(a, b=[], c={}, d=1, e=sentinel, f=array, g=(1, [2]), h=()):  # type: ignore[no-untyped-def]  # noqa: B006
        pass

    bound = Schema(function).bind((0,), {"d": 5})
    assert list(bound) == ["a", "b", "c", "d", "f", "g"]
    assert bound["f"] is array


def test_call_arguments_go_by_name_after_a_gap() -> None:
    """An argument behind an omitted one is passed by name."""
    schema = Schema(positional_only)
    assert schema.call_arguments({"a": 1, "b": 2, "c": 3}) == ((1, 2, 3), {})
    assert Schema(default).call_arguments({"b": 2}) == ((), {"b": 2})
    assert Schema(star).call_arguments({"a": 1, "rest": (2, 3), "key": 4}) == ((1, 2, 3), {"key": 4})
    assert Schema(star_star).call_arguments({"a": 1, "more": {"a": 2}}) == ((1,), {"a": 2})


class Caller:
    def __call__(self, x: int) -> float:
        return x

    def method(self, x: int) -> float:
        return x

    @classmethod
    def made(cls, x: int) -> float:
        return x


def original(x: int, y: Path) -> float:
    return x


@functools.wraps(original)
def wrapped(*args: Any) -> Any:
    return original(*args)


@pytest.mark.parametrize(
    "function",
    [
        original,
        wrapped,
        functools.partial(original, y=Path()),
        Caller(),
        Caller().method,
        Caller.made,
        functools.partial(Caller()),
    ],
    ids=["function", "wrapped", "partial", "instance", "method", "class method", "partial instance"],
)
def test_callables_of_all_kinds_are_understood(function: Callable[..., Any]) -> None:
    """String annotations of partials, callables, methods and wrapped functions are found where they were written."""
    schema = Schema(function)
    assert schema.annotation("x") is int
    assert schema.annotation("return") is float
    assert len(schema.problems({"x": "a"})) == 1


def test_plain_functions_of_methods_take_any_self() -> None:
    """The first parameter of a method's function has no annotation and takes everything."""
    schema = Schema(Caller.method)
    assert schema.problems(schema.bind((object(), 1), {})) == []


def test_builtins_without_a_signature_take_anything() -> None:
    """A callable whose signature nobody knows takes any arguments."""
    schema = Schema(getattr)
    bound = schema.bind((1, "real"), {})
    args, kwargs = schema.call_arguments(bound)
    assert getattr(*args, **kwargs) == 1
    assert schema.problems(bound) == []
    assert schema.result_spec(bound).is_leaf


def test_missing_names_spoil_nothing() -> None:
    """A name that exists for type checkers only is `Any` where it stands; all else is checked."""

    def function(a: Missing, b: int, c: dict[str, Missing], d: Missing.Part[int] | None) -> Missing: ...

    schema = Schema(function)
    texts = [str(problem) for problem in schema.problems({"a": 1, "b": "x", "c": {1: 2}, "d": 3})]
    assert len(texts) == 2
    assert "argument b is 'x' (str)" in texts[0]
    assert "is 1 (int), but its annotation says str" in texts[1]


def test_names_may_be_defined_later() -> None:
    """Annotations are evaluated when they are first needed, not when the function is looked at."""
    scope: dict[str, Any] = {}
    exec("def function(x: 'Later') -> 'list[Later]': ...", scope)
    schema = Schema(scope["function"])
    scope["Later"] = int
    assert schema.annotation("x") is int
    assert schema.annotation("return") == list[int]


def test_names_of_an_enclosing_function_are_found() -> None:
    """A class of the enclosing function is known where the function refers to it."""

    class Local:
        pass

    def function(x: Local) -> Any:
        return Local

    assert len(Schema(function).problems({"x": 1})) == 1
    assert Schema(function).problems({"x": Local()}) == []


def test_none_fits_where_it_is_the_default() -> None:
    """`x: int = None` takes None, as any default is taken."""
    sentinel = object()

    def function(x: int = None, y: int = sentinel, z: int = 0) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    schema = Schema(function)
    assert schema.problems({"x": None, "y": sentinel}) == []
    assert len(schema.problems({"y": None, "z": None})) == 2


def test_error_names_argument_path_value_and_type() -> None:
    """The error says where the value stands, what it is, and what it should be."""

    def train(examples: list[Path], seed: int) -> None: ...

    (problem,) = Schema(train).problems({"examples": [Path(), Path(), "a"], "seed": 1})
    assert isinstance(problem, ArgumentError)
    assert str(problem) == "train(): argument examples[2] is 'a' (str), but its annotation says Path"


def test_errors_of_several_arguments_come_together() -> None:
    """Each argument that does not fit has its own error; `names` restricts what is looked at."""

    def train(a: int, b: int, c: int) -> None: ...

    arguments = {"a": "x", "b": "y", "c": 1}
    assert len(Schema(train).problems(arguments)) == 2
    assert len(Schema(train).problems(arguments, ["b"])) == 1


def test_nested_values_are_named_by_their_path() -> None:
    """In a union the error is that of the member that got furthest."""

    def function(x: dict[str, list[tuple[int, str]]] | int) -> None: ...

    (problem,) = Schema(function).problems({"x": {"a": [(1, "b"), (2, 3)]}})
    assert "argument x['a'][1][1] is 3 (int), but its annotation says str" in str(problem)


def test_values_whose_repr_raises_are_survived() -> None:
    """An object that can't even be shown gets its error all the same."""

    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    def function(x: int) -> None: ...

    (problem,) = Schema(function).problems({"x": Rude()})
    assert "(Rude)" in str(problem)


class Extras(TypedDict):
    depth: int


def test_star_parameters_are_checked_item_by_item() -> None:
    """`*args: int` holds for each, `**kwargs: int` for each value, `Unpack` of a TypedDict for its keys."""

    def function(*args: int, **kwargs: int) -> None: ...

    def unpacked(**kwargs: Unpack[Extras]) -> None: ...

    texts = [str(problem) for problem in Schema(function).problems({"args": (1, "a"), "kwargs": {"x": 1, "y": "b"}})]
    assert "args[1]" in texts[0]
    assert "kwargs['y']" in texts[1]
    assert len(Schema(unpacked).problems({"kwargs": {"depth": "a"}})) == 1


def test_a_share_is_checked_by_its_value() -> None:
    """The handle of a shared value is no value of its own."""

    def function(x: list[int]) -> None: ...

    (problem,) = Schema(function).problems({"x": Share(take_snapshot([1, "a"], in_process))})
    assert "x[1] is 'a'" in str(problem)


def test_placeholders_need_only_the_class() -> None:
    """A placeholder fits as an instance of its class, whatever its fields hold."""

    class Config:
        pass

    class Stand(Placeholder, Config):
        pass

    def function(x: Config, y: list[Config]) -> None: ...

    assert Schema(function).problems({"x": Stand(), "y": [Stand()]}) == []


def test_self_referential_values_end() -> None:
    """A list in itself is checked in finite time, also against a type that refers to itself."""
    endless: list[Any] = [1]
    endless.append(endless)

    def function(x: list[int | list[Any]], y: Any) -> None: ...

    assert Schema(function).problems({"x": endless, "y": endless}) == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is new in 3.12")
def test_type_statements_are_understood() -> None:
    """Aliases of PEP 695, recursive and generic, are checked to any depth, endless values included."""
    scope: dict[str, Any] = {}
    source = """
type Tree = int | list[Tree]
type Pair[T] = tuple[T, T]
def tree(x: Tree): ...
def pair(x: Pair[int]): ...
def generic[T: int](x: T, y: list[T]): ...
"""
    exec(source, scope)
    tree, endless = Schema(scope["tree"]), [1]
    endless.append(endless)  # type: ignore[arg-type]
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert len(tree.problems({"x": [1, [2, ["a"]]]})) == 1
    assert tree.problems({"x": endless}) == []
    assert tree.problems({"x": deep}) == []
    assert len(Schema(scope["pair"]).problems({"x": (1, "a")})) == 1
    assert len(Schema(scope["generic"]).problems({"x": "a", "y": ["b"]})) == 2


def test_all_items_of_large_containers_are_checked() -> None:
    """One wrong item among a hundred thousand is found, at any place and also in lists of lists and of tuples."""

    def function(a: list[float], b: list[list[float]], c: list[tuple[int, float]], d: dict[int, float]) -> None: ...

    schema, count = Schema(function), 100_000
    for position in (0, count // 2, count - 1):
        arguments: dict[str, Any] = {
            "a": [1.0] * count,
            "b": [[1.0] for _ in range(count)],
            "c": [(1, 1.0)] * count,
            "d": dict.fromkeys(range(count), 1.0),
        }
        assert schema.problems(arguments) == []
        arguments["a"][position] = "x"
        arguments["b"][position] = ["x"]
        arguments["c"][position] = (1, "x")
        arguments["d"][position] = "x"
        texts = [str(problem).split(" is ")[0].split()[-1] for problem in schema.problems(arguments)]
        assert texts == [f"a[{position}]", f"b[{position}][0]", f"c[{position}][1]", f"d[{position}]"]


def test_futures_among_many_items_are_found() -> None:
    """A future between a hundred thousand numbers is compared as any other."""
    future: Any = Future()
    future.declared = str

    def function(x: list[float]) -> None: ...

    (problem,) = Schema(function).problems({"x": [1.0] * 100_000 + [future]})
    assert "x[100000] is a future of str" in str(problem)


def test_admitting() -> None:
    """A parameter admits exceptions where its annotation names them, and only there."""

    def function(a: int | Exception, b: list[int | ValueError], c: Any, d: dict[str, Path]) -> None: ...

    schema = Schema(function)
    assert schema.accepts_exceptions
    assert schema.accepts_exception("a")
    assert not schema.accepts_exception("a", (), KeyboardInterrupt())
    assert not schema.accepts_exception("b")
    assert schema.accepts_exception("b", (Index(3),))
    assert schema.accepts_exception("b", (Index(3),), UnicodeError())
    assert not schema.accepts_exception("b", (Index(3),), KeyError())
    assert not schema.accepts_exception("c")
    assert not schema.accepts_exception("d", (Key("x"),))
    assert not Schema(original).accepts_exceptions


T = TypeVar("T")


class Holder(Generic[T]):
    pass


def test_item_types() -> None:
    """Items and fields have the annotations that their container says, `Any` where it says nothing."""
    assert item_type(list[int], 0) is int
    assert item_type(list[int], slice(2)) == list[int]
    assert item_type(dict[str, Path], "a") is Path
    assert item_type(tuple[int, str], -1) is str
    assert item_type(tuple[int, ...], 7) is int
    assert item_type(Annotated[list[str], Length(3)], 1) is str
    assert item_type(list[int] | None, 0) is int
    assert item_type(list[int] | dict[str, str], "a") in (int, str, int | str)
    assert item_type(list[int] | dict[str, str], Key("a")) is str
    assert item_type(Extras, "depth") is int
    assert item_type(np.ndarray, 0) is Any
    assert item_type(Holder[int], 0) is Any
    assert item_type(Any, 0) is Any
    assert item_type(int, 0) is Any


def test_structures_can_be_pickled() -> None:
    """A structure travels to a worker and back."""

    def function(n: int) -> tuple[int, Annotated[list[Path], Length("n")]]: ...

    structure = Schema(function).result_spec({"n": 3})
    assert pickle.loads(pickle.dumps(structure)) == structure


def test_nothing_heavy_is_imported() -> None:
    """The modules behind schemas don't need numpy or a type checker."""
    code = "import sys, parman.annotations.signature; print([m for m in ('numpy', 'typeguard') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
