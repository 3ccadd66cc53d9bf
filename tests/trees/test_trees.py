# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Trees: what is a node, how leaves are found and replaced, what becomes of sharing, cycles and depth."""

from __future__ import annotations

import enum
import time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from concurrent.futures import Future
from dataclasses import InitVar, dataclass, field
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parman.trees.nodes import Attr, Index, Key, Placeholder, children, format_path, is_leaf, short_repr
from parman.trees.walk import futures_in, map_futures, map_leaves, walk

Pair = namedtuple("Pair", "first second")


class Typed(NamedTuple):
    x: Any
    y: Any = 0


@dataclass
class Plain:
    a: Any
    b: Any = None


@dataclass(frozen=True)
class Frozen:
    a: Any


@dataclass(frozen=True, slots=True)
class Slotted:
    a: Any
    b: Any = 0


@dataclass
class Checked:
    a: Any
    twice: Any = field(init=False)
    extra: InitVar[int] = 0

    def __post_init__(self, extra: int) -> None:
        assert isinstance(self.a, int), "called again"
        self.twice = 2 * self.a


@attrs.define
class Defined:
    a: Any
    b: Any = 0


@attrs.frozen
class FrozenAttrs:
    a: Any = attrs.field(converter=int, validator=attrs.validators.instance_of(int))


@attrs.define(slots=False)
class Inherited(Defined):
    c: Any = 0


class Annotated(list[Any]):
    """A list with attributes of its own and an `__init__` that can't be called without arguments."""

    def __init__(self, label: str, items: list[Any]) -> None:
        super().__init__(items)
        self.label = label


class Keyed(dict[str, Any]):
    __slots__ = ("unit",)


class Triple(tuple[Any, ...]):
    pass


class Mood(enum.Enum):
    GOOD = [1]


class Planet(Frozen, enum.Enum):
    EARTH = 1


class Box:
    def __init__(self) -> None:
        self.item = [1]


def nodes() -> list[Any]:
    """Return one node of each kind, with the leaves 1 and 2 in it."""
    factory = defaultdict(list, a=1, b=2)
    keyed = Keyed(a=1, b=2)
    keyed.unit = "eV"
    triple = Triple((1, 2))
    triple.label = "t"  # type: ignore[attr-defined]
    return [
        [1, 2],
        (1, 2),
        {"a": 1, "b": 2},
        OrderedDict(a=1, b=2),
        Counter(a=1, b=2),
        factory,
        keyed,
        triple,
        Annotated("x", [1, 2]),
        Pair(1, 2),
        Typed(1, 2),
        Plain(1, 2),
        Frozen((1, 2)),
        Slotted(1, 2),
        Checked(1),
        Defined(1, 2),
        FrozenAttrs(1),
        Inherited(1, 2),
    ]


LEAVES = [
    1,
    "a",
    None,
    {1},
    frozenset([1]),
    np.zeros(2),
    Mood.GOOD,
    Planet.EARTH,
    Box(),
    Plain,
    ValueError([1]),
    time.gmtime(),
]


@pytest.mark.parametrize("node", nodes(), ids=lambda node: type(node).__name__)
def test_nodes_are_rebuilt_with_class_and_attributes(node: Any) -> None:
    """A node with new leaves is of the same class and keeps what else it has; the old one stays as it was."""
    before = [leaf for _, leaf in walk(node)]
    new = map_leaves(lambda leaf: str(leaf), node)
    assert not is_leaf(node)
    assert type(new) is type(node)
    assert [leaf for _, leaf in walk(new)] == [str(leaf) for leaf in before]
    assert [leaf for _, leaf in walk(node)] == before
    for name in ("label", "unit", "default_factory"):
        assert getattr(new, name, None) == getattr(node, name, None)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: type(leaf).__name__)
def test_everything_else_is_a_leaf(leaf: Any) -> None:
    """Sets, arrays, enumeration members, exceptions and foreign objects are not taken apart."""
    assert is_leaf(leaf)
    assert children(leaf) == []
    assert list(walk(leaf)) == [((), leaf)]
    assert map_leaves(lambda x: [x], leaf) == [leaf]


def test_stand_ins_are_leaves() -> None:
    """An instance of a class with the mix-in is a leaf even if the class is a dataclass."""

    class Stand(Placeholder, Plain):
        pass

    assert is_leaf(Stand(1))


def test_stand_ins_name_their_futures() -> None:
    """The futures that a placeholder waits for are found, with the path through it."""
    future: Future[int] = Future()

    class Stand(Placeholder, Plain):
        def __parman_futures__(self) -> Any:
            return [((Attr("a"),), future)]

    assert futures_in([0, Stand(1)]) == [((Index(1), Attr("a")), future)]


def test_paths_are_written_as_in_python() -> None:
    """A path reads like the expression that leads to the place."""
    tree = {"io": [Pair(0, 1), Plain({3: "x"})]}
    texts = [format_path("x", path) for path, _ in walk(tree)]
    assert texts == ["x['io'][0].first", "x['io'][0].second", "x['io'][1].a[3]", "x['io'][1].b"]


def test_fields_that_were_never_set_are_no_children() -> None:
    """A record made without its `__init__` is a node with the fields that it has."""
    slotted, plain = object.__new__(Slotted), object.__new__(Plain)
    plain.b = 1
    assert children(slotted) == []
    assert children(plain) == [(Attr("b"), 1)]
    assert children(map_leaves(str, plain)) == [(Attr("b"), "1")]


def test_unchanged_parts_are_used_again() -> None:
    """What holds no changed leaf is the very same object in the result."""
    tree: list[Any] = [[1, 2], {"a": 3}, Plain("x")]
    assert map_leaves(lambda x: x, tree) is tree
    new = map_leaves(lambda x: 0 if x == 3 else x, tree)
    assert new[0] is tree[0]
    assert new[1] == {"a": 0}
    assert new[2] is tree[2]


def test_shared_containers_stay_shared() -> None:
    """A container in two places is visited once and is one container in the result."""
    shared = [1]
    new = map_leaves(lambda x: x + 1, (shared, {"a": shared}))
    assert new == ([2], {"a": [2]})
    assert new[0] is new[1]["a"]
    assert len(list(walk([shared, shared]))) == 1


def test_cycles_are_kept() -> None:
    """A list in itself, also by way of tuples and frozen records, gives one that is in itself."""
    tree: list[Any] = [1]
    tree.append((tree, Frozen(tree), {"self": tree}))
    new = map_leaves(lambda x: x + 1, tree)
    assert new[0] == 2
    assert new[1][0] is new
    assert new[1][1].a is new
    assert new[1][2]["self"] is new
    assert len(list(walk(tree))) == 1


def test_cycle_that_begins_with_a_tuple_is_kept() -> None:
    """A tuple that is in itself by way of a list and another tuple is rebuilt."""
    inner: list[Any] = [1]
    tree = (inner,)
    inner.append((tree, 2))
    new = map_leaves(lambda x: x + 1, tree)
    assert new[0][0] == 2
    assert new[0][1][0] is new
    assert new[0][1][1] == 3


def test_new_leaves_are_not_looked_into() -> None:
    """A leaf replaced by a container of the tree gets that container as it was."""
    old = [1]
    new = map_leaves(lambda x: old if x == 2 else x + 1, [old, 2])
    assert new[0] == [2]
    assert new[1] is old


@pytest.mark.slow
def test_depth_has_no_limit() -> None:
    """A hundred thousand lists in each other are walked and rebuilt without recursion."""
    tree: list[Any] = [1]
    for _ in range(100_000):
        tree = [tree]
    ((path, leaf),) = walk(tree)
    assert leaf == 1
    assert len(path) == 100_001
    ((path, leaf),) = walk(map_leaves(str, tree))
    assert leaf == "1"
    assert futures_in(tree) == []


def test_deep_tuples_are_rebuilt() -> None:
    """Tuples in each other, to any depth, are rebuilt from the inside."""
    tree: Any = 1
    for _ in range(10_000):
        tree = (tree, 0)
    path, leaf = next(walk(map_leaves(str, tree)))
    assert leaf == "1"
    assert len(path) == 10_000


def test_futures_are_found_and_replaced() -> None:
    """Futures anywhere in a tree are found with their paths, and nothing else is touched by replacing them."""
    one, two = Future[int](), Future[int]()
    tree = {"a": [1.0] * 1000, "b": [one, Plain(two)], "c": [[0]] * 200 + [[one]]}
    paths = [format_path("x", path) for path, _ in futures_in(tree)]
    assert paths == ["x['b'][0]", "x['b'][1].a", "x['c'][200][0]"]
    new = map_futures(lambda future: 7, tree)
    assert new["a"] is tree["a"]
    assert new["b"] == [7, Plain(7)]
    assert new["c"][200] == [7]


def test_a_future_alone_is_a_tree() -> None:
    """A future has the empty path."""
    future: Future[int] = Future()
    assert futures_in(future) == [((), future)]
    assert map_futures(lambda _: 1, future) == 1
    assert futures_in(1) == []


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError


def test_short_repr_survives_everything() -> None:
    """A repr is short, on one line, and there even if the value's own raises."""
    assert "Rude" in short_repr(Rude())
    assert "Rude" in short_repr([Rude()])
    assert len(short_repr([["x" * 1000] * 1000] * 1000)) <= 200
    assert "\n" not in short_repr(np.zeros((10, 10)))
    assert short_repr([1, "a"]) == "[1, 'a']"


# A model of trees: recursion, without sharing.

LEAF = st.one_of(st.integers(), st.text(max_size=3), st.none(), st.builds(Future))
TREES = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.builds(Pair, inner, inner),
        st.builds(Plain, inner, inner),
        st.builds(Slotted, inner, inner),
        st.builds(Defined, inner, inner),
    ),
    max_leaves=20,
)


def model_walk(tree: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Find the leaves by recursion."""
    if isinstance(tree, Pair):
        items: list[tuple[Any, Any]] = [(Attr("first"), tree.first), (Attr("second"), tree.second)]
    elif isinstance(tree, list | tuple):
        items = [(Index(position), item) for position, item in enumerate(tree)]
    elif isinstance(tree, dict):
        items = [(Key(key), value) for key, value in tree.items()]
    elif isinstance(tree, Plain | Slotted | Defined):
        items = [(Attr("a"), tree.a), (Attr("b"), tree.b)]
    else:
        return [((), tree)]
    return [((step, *path), leaf) for step, child in items for path, leaf in model_walk(child)]


def model_map(function: Any, tree: Any) -> Any:
    """Replace the leaves by recursion."""
    if isinstance(tree, Pair):
        return Pair(*(model_map(function, item) for item in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(model_map(function, item) for item in tree)
    if isinstance(tree, dict):
        return {key: model_map(function, value) for key, value in tree.items()}
    if isinstance(tree, Plain | Slotted | Defined):
        return type(tree)(model_map(function, tree.a), model_map(function, tree.b))
    return function(tree)


@settings(deadline=None)
@given(TREES)
def test_walk_like_the_model(tree: Any) -> None:
    """Leaves and paths are those of a simple recursion, in its order."""
    assert [leaf for _, leaf in walk(tree)] == [leaf for _, leaf in model_walk(tree)]
    assert [path for path, _ in walk(tree)] == [path for path, _ in model_walk(tree)]


@settings(deadline=None)
@given(TREES)
def test_map_like_the_model(tree: Any) -> None:
    """Replacing leaves gives what a simple recursion gives."""
    assert map_leaves(lambda leaf: (leaf,), tree) == model_map(lambda leaf: (leaf,), tree)
    assert map_leaves(repr, tree) == model_map(repr, tree)


@settings(deadline=None)
@given(TREES)
def test_futures_like_the_model(tree: Any) -> None:
    """The futures found, in their order, are those among the leaves."""
    expected = [(path, leaf) for path, leaf in model_walk(tree) if isinstance(leaf, Future)]
    assert futures_in(tree) == expected
    swapped = map_futures(id, tree)
    assert swapped == model_map(lambda leaf: id(leaf) if isinstance(leaf, Future) else leaf, tree)


@pytest.mark.parametrize("cls", [OrderedDict, type("Own", (OrderedDict,), {})])
def test_ordered_dicts_keep_items_and_order(cls: Any) -> None:
    """An OrderedDict, which keeps an order of its own, is rebuilt with all of its items."""
    found = map_leaves(lambda x: x + 1, cls([("b", 1), ("a", 2)]))
    assert type(found) is cls
    assert list(found.items()) == [("b", 2), ("a", 3)]
    assert found.popitem() == ("a", 3)


def test_deques_keep_their_length() -> None:
    """A deque is a node, rebuilt with its class, its greatest length and its attributes."""
    window = type("Window", (deque,), {})([1, [2]], 2)
    window.note = "kept"
    found = map_leaves(lambda x: x + 1, window)
    assert (type(found), list(found), found.maxlen, found.note) == (type(window), [2, [3]], 2, "kept")
