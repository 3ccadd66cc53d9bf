# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Every row of the table of structures: what a call returns, what a task receives of it, what `resolve` gives."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Annotated, Any, NotRequired, TypedDict

import attrs
import pytest
from shapes import Checked, Fit, Frozen, Made, Outer, Point, Slotted, Table

from parman import FutureUseError, Keys, Length, StructureError, Whole, Workflow, resolve, task

Block = Callable[..., Workflow]


def is_future(x: Any) -> bool:
    return isinstance(x, Future)


@task
def anything(x):
    return x


@task
def number(x: int) -> int:
    return x


@task
def two(x: int) -> tuple[int, str]:
    return x, str(x)


@task
def deep(x: int) -> tuple[tuple[int, Point], Table]:
    return (x, Point(x, "p")), {"rows": (x, x), "title": "t"}


@task
def point(x: float) -> Point:
    return Point(x, "p")


@task
def table(x: int) -> Table:
    return {"title": "t", "rows": (x, x)}


@task
def many(n: int) -> list[int]:
    return list(range(n))


@task
def mapped(n: int) -> dict[str, int]:
    return {str(i): i for i in range(n)}


@task
def counted(count: int) -> Annotated[list[tuple[int, str]], Length("count")]:
    return [(i, str(i)) for i in range(count)]


@task
def alike(items: list[int]) -> Annotated[list[int], Length("items")]:
    return [-i for i in items]


@task
def grid(n: int, m: int = 2) -> Annotated[tuple[int, ...], Length(lambda n, m: n * m)]:
    return tuple(range(n * m))


@task
def three() -> Annotated[list[Annotated[list[int], Length(2)]], Length(3)]:
    return [[i, i] for i in range(3)]


@task
def keyed(x: int) -> Annotated[dict[str, tuple[int, int]], Keys(["a", "b"])]:
    return {"b": (x, 2), "a": (x, 1)}


@task
def keyed_by(names: list[str]) -> Annotated[dict[str, int], Keys("names")]:
    return {name: len(name) for name in names}


@task
def whole(x: int) -> Annotated[tuple[int, int], Whole]:
    return x, x


def example(n: int) -> dict[str, list[int]]:
    return {"values": [0] * n, "rest": []}


@task(mock=example)
def mocked(n: int) -> dict[str, list[int]]:
    return {"values": list(range(n)), "rest": []}


@task
def fitted(x: float) -> Fit:
    return Fit(x, "good")


@task
def bounded(x: float) -> Frozen:
    return Frozen(x, x + 1)


@task
def slotted(x: float) -> Slotted:
    return Slotted(Fit(x), 3)


@task
def made(x: int) -> Made:
    return Made(x, x)


@task
def checked(x: int) -> Checked:
    return Checked(x)


@task
def outer(x: float) -> Outer:
    return Outer(Point(x, "p"), [Fit(x)], {"k": x})


@task
def same(x: Any) -> Annotated[Any, Whole]:
    return x


@task
def describe(x: Any) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__} {x!r}"


class Loose(TypedDict):
    needed: int
    rest: NotRequired[int]


class Base(ABC):
    @abstractmethod
    def name(self) -> str: ...


@dataclasses.dataclass
class Node:
    value: int
    below: Node = None  # type: ignore[assignment]


@task
def union(x: int) -> int | tuple[int, int]:
    return x, x


@task
def loose(x: int) -> Loose:
    return {"needed": x}


@task
def recursive(x: int) -> Node:
    return Node(x, Node(x))


@task
def nothing() -> None:
    return None


@task
def wrong_length(n: int) -> Annotated[list[int], Length("n")]:
    return [1, 2, 3, 4, 5]


@task
def wrong_tuple() -> tuple[int, int]:
    return 1, 2, 3  # type: ignore[return-value]


@task
def wrong_class() -> Fit:
    return {"slope": 1.0}  # type: ignore[return-value]


# --- plain rows ---


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: anything([1, {"a": 2}]), [1, {"a": 2}]),
        (lambda: number(3), 3),
        (lambda: many(3), [0, 1, 2]),
        (lambda: mapped(2), {"0": 0, "1": 1}),
        (lambda: whole(2), (2, 2)),
        (lambda: union(1), (1, 1)),
        (lambda: loose(1), {"needed": 1}),
        (lambda: recursive(1), Node(1, Node(1))),
        (lambda: nothing(), None),
    ],
    ids=["nothing said", "class", "list", "dict", "Whole", "union", "optional key", "recursive", "None"],
)
def test_what_is_not_known_is_one_future(parallel: Block, make: Callable[[], Any], value: Any) -> None:
    """Where length, keys or class can turn out otherwise, the call returns one future of the whole."""
    with parallel():
        result = make()
        assert is_future(result)
        assert resolve(result) == value


def test_tuples_are_taken_apart(parallel: Block) -> None:
    """A tuple has a future in each place; each can be passed on and resolved alone."""
    with parallel():
        a, b = two(4)
        assert is_future(a)
        assert is_future(b)
        assert resolve(describe(b)) == "builtins.str '4'"
        assert resolve((a, b)) == (4, "4")


def test_structures_nest_to_any_depth(parallel: Block) -> None:
    """Tuples, named tuples and typed dicts in each other have futures at the leaves, in their declared order."""
    with parallel():
        (first, p), t = result = deep(1)
        assert type(p) is Point
        assert list(t) == ["rows", "title"]
        assert all(map(is_future, [first, p.x, p.name, *t["rows"], t["title"]]))
        assert resolve(result) == ((1, Point(1, "p")), {"rows": (1, 1), "title": "t"})


@pytest.mark.core
def test_results_are_the_same_on_every_runner(block: Block) -> None:
    """Resolved, every structure is what the plain function returns."""
    calls: list[Callable[[], Any]] = [
        lambda: two(4),
        lambda: deep(1),
        lambda: point(1.5),
        lambda: table(2),
        lambda: counted(3),
        lambda: alike([1, 2]),
        lambda: grid(2, m=3),
        lambda: grid(2),
        three,
        lambda: keyed(7),
        lambda: keyed_by(["x", "yy"]),
        lambda: mocked(2),
        lambda: fitted(2.0),
        lambda: bounded(2.0),
        lambda: slotted(2.0),
        lambda: made(2),
        lambda: checked(2),
        lambda: outer(2.0),
    ]
    plain = [call() for call in calls]
    with block():
        results = [call() for call in calls]
        found = resolve(results)
    assert found == plain
    assert [type(x) for x in found] == [type(x) for x in plain]


def test_lengths_are_known_at_the_call(parallel: Block) -> None:
    """A number, the number or the length that a parameter is, and a function of parameters give lists of futures."""
    with parallel():
        assert [len(x) for x in (counted(3), alike([5, 6]), grid(2), grid(2, 3), three())] == [3, 2, 4, 6, 3]
        assert counted(0) is not None
        assert resolve(counted(0)) == []
        assert resolve(three()[1]) == [1, 1]
        number_, text = counted(count=2)[1]
        assert resolve([number_, text]) == [1, "1"]


def test_a_length_that_is_a_future_gives_one_future(parallel: Block) -> None:
    """Where the parameter that says the length or the keys is not there yet, the result is one future."""
    with parallel():
        results = [counted(number(2)), grid(1, number(2)), keyed_by(same(["a"])), alike(many(2))]
        assert all(map(is_future, results))
        assert resolve(results) == [[(0, "0"), (1, "1")], (0, 1), {"a": 1}, [0, -1]]


def test_a_list_of_futures_has_a_length(parallel: Block) -> None:
    """The list that a parameter is may hold futures: its length is known all the same."""
    with parallel():
        result = alike([number(1), number(2), 3])
        assert len(result) == 3
        assert resolve(result) == [-1, -2, -3]


def test_keys_are_known_at_the_call(parallel: Block) -> None:
    """The keys come in the promised order, also if the task returns them in another."""
    with parallel():
        assert list(keyed(1)) == ["a", "b"]
        assert all(map(is_future, keyed(1)["a"]))
        assert resolve(keyed(1)) == {"a": (1, 1), "b": (1, 2)}
        assert list(keyed_by(["x", "y"])) == ["x", "y"]


@pytest.mark.core
def test_a_mock_tells_the_structure(parallel: Block) -> None:
    """The call returns the structure of what the mock returns for these arguments; one future where it can't tell."""
    with parallel():
        result = mocked(2)
        assert [len(result["values"]), result["rest"]] == [2, []]
        assert all(map(is_future, result["values"]))
        assert resolve(result) == {"values": [0, 1], "rest": []}
        assert is_future(mocked(number(2)))


@pytest.mark.core
@pytest.mark.parametrize("make", [lambda: wrong_length(2), wrong_tuple, wrong_class], ids=["length", "tuple", "class"])
def test_another_structure_fails_and_holds_the_result(block: Block, make: Callable[[], Any]) -> None:
    """A result that can't be taken apart as promised fails the call; the error has it."""
    with block() as w:
        result = make()
        with pytest.raises(StructureError, match="promised") as caught:
            resolve(result)
        assert caught.value.result in ([1, 2, 3, 4, 5], (1, 2, 3), {"slope": 1.0})
    assert len(w.failed) == 1


@pytest.mark.core
def test_items_of_a_future(parallel: Block) -> None:
    """`future[key]` is the future of an item: of lists, dicts, items of items; a missing one fails."""
    with parallel():
        found = resolve([many(3)[2], many(3)[-1], mapped(2)["1"], anything([[1, 2]])[0][1], many(5)[1:3]])
        assert found == [2, 2, 1, 2, [1, 2]]
        assert resolve(number(many(4)[3])) == 3
        with pytest.raises(IndexError):
            resolve(many(1)[1])
        with pytest.raises(KeyError):
            resolve(number(mapped(1)["no"]))


# --- placeholders ---

RECORDS = [
    pytest.param(fitted, 2.0, Fit(2.0, "good"), id="dataclass"),
    pytest.param(bounded, 2.0, Frozen(2.0, 3.0), id="frozen"),
    pytest.param(slotted, 2.0, Slotted(Fit(2.0), 3), id="slots"),
    pytest.param(made, 2, Made(2, "2"), id="attrs"),
    pytest.param(checked, 2, Checked(2), id="attrs-frozen"),
    pytest.param(outer, 2.0, Outer(Point(2.0, "p"), [Fit(2.0)], {"k": 2.0}), id="nested"),
]


def fields_of(x: Any) -> list[str]:
    cls: Any = type(x)
    if attrs.has(cls):
        return [a.name for a in attrs.fields(cls)]
    return [f.name for f in dataclasses.fields(x)]


@pytest.mark.parametrize(("make", "argument", "value"), RECORDS)
def test_a_placeholder_is_one_of_its_class(parallel: Block, make: Any, argument: Any, value: Any) -> None:
    """A record comes as an instance of its class, made without `__init__`, whose fields are what the fields promise."""
    with parallel():
        make_placeholder = make(argument)
        assert isinstance(make_placeholder, type(value))
        for name in fields_of(value):
            assert resolve(getattr(make_placeholder, name)) == getattr(value, name)
        assert resolve(make_placeholder) == value
        assert type(resolve(make_placeholder)) is type(value)


@pytest.mark.core
@pytest.mark.parametrize(("make", "argument", "value"), RECORDS)
def test_a_task_receives_the_real_object(block: Block, make: Any, argument: Any, value: Any) -> None:
    """Passed on, alone, in a container or in another record, a placeholder is the object that the task returned."""
    with block():
        alone = same(make(argument))
        inside = same([make(argument), {"k": make(argument)}])
        text = describe(make(argument))
        held = same(Outer(Point(0.0, "o"), [], {"made": make(argument)}))
        assert resolve(alone) == value
        assert type(resolve(alone)) is type(value)
        assert resolve(inside) == [value, {"k": value}]
        assert resolve(text) == f"shapes.{type(value).__qualname__} {value!r}"
        assert resolve(held) == Outer(Point(0.0, "o"), [], {"made": value})


def test_assigned_fields_are_passed_on(block: Block) -> None:
    """What the user assigned to a field since is what the task receives, futures too; the rest is the real object's."""
    with block():
        fit, other = fitted(2.0), made(3)
        fit.slope = number(5)
        other.text = "new"
        nest = slotted(1.0)
        nest.fit = fitted(9.0)
        assert resolve(same(fit)) == Fit(5, "good")
        assert resolve(same([other])) == [Made(3, "new")]
        assert resolve(same(nest)) == Slotted(Fit(9.0, "good"), 3)
        assert resolve([fit, other, nest]) == [Fit(5, "good"), Made(3, "new"), Slotted(Fit(9.0, "good"), 3)]


def test_fields_of_inner_placeholders_are_passed_on(block: Block) -> None:
    """A field assigned on a record that is a field of another one reaches the task with the outer one."""
    with block():
        nest = slotted(1.0)
        nest.fit.label = "inner"
        assert resolve(same(nest)) == Slotted(Fit(1.0, "inner"), 3)
        assert resolve(nest) == Slotted(Fit(1.0, "inner"), 3)


def test_assigning_to_one_placeholder_changes_no_other(parallel: Block) -> None:
    """A snapshot is taken at the call: what is assigned afterwards is seen by later calls only."""
    with parallel():
        fit = fitted(2.0)
        before = same(fit)
        fit.label = "later"
        after = same(fit)
        assert resolve([before, after]) == [Fit(2.0, "good"), Fit(2.0, "later")]


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x.at(1),
        lambda x: x.double,
        lambda x: x == x,
        lambda x: x != x,
        lambda x: bool(x == 1),
        lambda x: copy.copy(x),
        lambda x: copy.deepcopy(x),
        lambda x: dataclasses.replace(x, label="n"),
        lambda x: dataclasses.asdict(x),
        lambda x: pickle.dumps(x),
        lambda x: setattr(x, "other", 1),
        lambda x: delattr(x, "label"),
        lambda x: f"{x:>10}",
    ],
    ids=[
        "method", "property", "eq", "ne", "eq-other", "copy", "deepcopy", "replace", "asdict", "pickle", "new",
        "del", "format",
    ],
)  # fmt: skip
def test_all_else_says_that_there_are_futures(parallel: Block, use: Callable[[Any], Any]) -> None:
    """What would work on futures as if they were values raises an error that names the call, line and cure."""
    with parallel():
        make_placeholder = fitted(2.0)
        with pytest.raises(FutureUseError, match=r"future.*resolve\(\)") as caught:
            use(make_placeholder)
        assert "Fit" in str(caught.value) or "fitted" in str(caught.value)


def test_a_placeholder_of_a_frozen_class_is_frozen(parallel: Block) -> None:
    """Assigning to a field raises what it raises for the real object."""
    with parallel():
        with pytest.raises(dataclasses.FrozenInstanceError):
            bounded(1.0).low = 2.0  # type: ignore[misc]
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            checked(1).value = 2  # type: ignore[misc]


def test_a_placeholder_shows_what_it_is(parallel: Block) -> None:
    """`repr` and `str` tell that there are futures, and of which call."""
    with parallel():
        for text in (repr(fitted(2.0)), str(fitted(2.0))):
            assert "Fit" in text
            assert "fitted()" in text


class Child(Fit):
    """A subclass without fields of its own."""


@task
def child() -> Fit:
    return Child(1.0)


def test_a_subclass_may_be_returned(block: Block) -> None:
    """What is passed on is the very class that the task returned."""
    with block():
        assert resolve(describe(child())).startswith(f"{__name__}.Child")
        assert type(resolve(child())) is Child


@dataclasses.dataclass
class Abstract(Base):
    value: int


@dataclasses.dataclass
class Concrete(Abstract):
    def name(self) -> str:
        return "c"


@dataclasses.dataclass
class Newed:
    value: int

    def __new__(cls, value: int = 0) -> Newed:
        return super().__new__(cls)


@dataclasses.dataclass
class Computed:
    value: int
    twice: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.twice = 2 * self.value


@task
def abstract() -> Abstract:
    return Concrete(1)


@task
def newed() -> Newed:
    return Newed(1)


@task
def computed() -> Computed:
    return Computed(2)


@pytest.mark.parametrize("make", [abstract, newed, computed], ids=["abstract", "__new__", "unknown field"])
def test_classes_that_stay_whole(parallel: Block, make: Callable[[], Any]) -> None:
    """Abstract classes, those with a `__new__` and those with fields that can't be known are one future."""
    with parallel():
        result = make()
        assert is_future(result)
        assert resolve(result) == make.__wrapped__()  # type: ignore[attr-defined]


def test_records_as_serial_results_are_real(local: Block) -> None:
    """What the user sees at the end is never a placeholder."""
    with local():
        result = fitted(2.0)
    assert type(resolve(result)) is Fit
    assert resolve(result).at(2.0) == 4.0


@task
def generator_of_fits(n: int) -> Annotated[list[Fit], Length("n")]:
    return [Fit(float(i)) for i in range(n)]


def test_lists_of_records_hold_placeholders(parallel: Block) -> None:
    """A list of known length of records has a placeholder in each place."""

    def slopes() -> Iterator[Any]:
        for fit in generator_of_fits(3):
            assert isinstance(fit, Fit)
            yield fit.slope

    with parallel():
        assert resolve(list(slopes())) == [0.0, 1.0, 2.0]
        assert resolve(generator_of_fits(2)) == [Fit(0.0), Fit(1.0)]


CELL = """
from __future__ import annotations
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

class ReportOfCell(TypedDict):
    number: int
    inside: InsideOfCell

class InsideOfCell(TypedDict):
    pair: PairOfCell
    crystal: CrystalOfCell

class PairOfCell(NamedTuple):
    a: int
    b: int

@dataclass(slots=True)
class CrystalOfCell:
    n: int
    pair: PairOfCell

def report_of_cell() -> ReportOfCell:
    return {"number": 1, "inside": {"pair": PairOfCell(2, 3), "crystal": CrystalOfCell(4, PairOfCell(5, 6))}}

def use_of_cell(report: ReportOfCell, crystal: CrystalOfCell) -> str:
    return repr((report, crystal))
"""


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a cell with classes and functions in `__main__`, as in a notebook, and give its names."""
    names = {"__name__": "__main__"}
    exec(CELL, names)
    made = {name: value for name, value in names.items() if "OfCell" in name or "of_cell" in name}
    for name, value in made.items():
        monkeypatch.setattr(sys.modules["__main__"], name, value, raising=False)
    return made


def test_classes_of_a_cell_with_text_for_annotations(block: Block, cell: dict[str, Any]) -> None:
    """What a call returns has the places that the fields say, though a worker knows none of the names in them."""
    report, use = task(cell["report_of_cell"]), task(cell["use_of_cell"])
    with block():
        result = report()
        parts = (result["inside"]["pair"].a, result["inside"]["crystal"].pair)
        used = use(result, result["inside"]["crystal"])
        assert resolve(result) == cell["report_of_cell"]()
        assert type(resolve(result)["inside"]["crystal"]) is cell["CrystalOfCell"]
        assert resolve(parts) == (2, (5, 6))
        assert resolve(used) == cell["use_of_cell"](resolve(result), resolve(result)["inside"]["crystal"])
