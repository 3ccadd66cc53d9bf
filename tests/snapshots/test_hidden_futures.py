# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
from __future__ import annotations

import functools
import itertools
import types
import weakref
from collections import OrderedDict, deque, namedtuple
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from parman.snapshots.hidden import format_trail, inside, search, search_function, search_leaves

FUTURE: Future[int] = Future()
GLOBAL = {"results": [1, FUTURE]}
result = FUTURE


class Plain:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def method(self):
        pass


class Slots:
    __slots__ = ("a", "b")


class Explosive:
    """Every way to run its code raises."""

    def __init__(self, value):
        self.__dict__["value"] = value

    def __getattr__(self, name):
        raise AssertionError(name)

    @property
    def trap(self):
        raise AssertionError

    __iter__ = __len__ = __eq__ = __bool__ = __repr__ = __hash__ = trap


class ExplosiveDict(dict):
    def items(self):
        raise AssertionError

    keys = values = __iter__ = __getitem__ = __len__ = items


def slots():
    obj = Slots()
    obj.b = FUTURE
    return obj


def closure():
    y = [FUTURE]
    return lambda: y


def default(x=FUTURE):
    pass


def keyword_default(*, x=FUTURE):
    pass


def objects(shape, place):
    array = np.empty(shape, object)
    array[place] = FUTURE
    return array


Point = namedtuple("Point", "x y")

PLACES = [
    (lambda: FUTURE, "x"),
    (lambda: [1, FUTURE], "x[1]"),
    (lambda: {"io": [0, Plain(cell=FUTURE)]}, "x['io'][1].cell"),
    (lambda: OrderedDict(a=FUTURE), "x['a']"),
    (lambda: {FUTURE: 1}, "x.<key>"),
    (lambda: {(1, FUTURE): 1}, "x.<key>[1]"),
    (lambda: {1, FUTURE}, "x.<item>"),
    (lambda: frozenset({FUTURE}), "x.<item>"),
    (lambda: deque([1, 2, FUTURE]), "x[2]"),
    (lambda: Point(1, FUTURE), "x.y"),
    (lambda: objects(3, 2), "x[2]"),
    (lambda: objects((2, 2), (1, 0)), "x[1, 0]"),
    (lambda: np.array([(1, FUTURE)], dtype=[("n", int), ("f", object)]), "x[0][1]"),
    (lambda: functools.partial(print, 1, FUTURE), "x.args[1]"),
    (lambda: functools.partial(print, end=FUTURE), "x.keywords['end']"),
    (lambda: functools.partial(closure()), "x.func.<closure>.y[0]"),
    (closure, "x.<closure>.y[0]"),
    (lambda: default, "x.__defaults__[0]"),
    (lambda: keyword_default, "x.__kwdefaults__['x']"),
    (lambda: Plain(a=FUTURE).method, "x.__self__.a"),
    (lambda: [FUTURE].append, "x.__self__[0]"),
    (lambda: Plain(io={"a": slots()}), "x.io['a'].b"),
    (slots, "x.b"),
    (lambda: weakref.ref(FUTURE), "x()"),
    (lambda: ValueError("text", FUTURE), "x.args[1]"),
    (lambda: types.SimpleNamespace(a=FUTURE), "x.a"),
    (lambda: types.MappingProxyType({"a": FUTURE}), "x.<inside>['a']"),
    (lambda: Explosive([FUTURE]), "x.value[0]"),
    (lambda: ExplosiveDict(a=FUTURE), "x['a']"),
]


@pytest.mark.parametrize(("make", "place"), PLACES, ids=[place for _, place in PLACES])
def test_places(make, place):
    """A future is found wherever Python can keep one, and its place is named."""
    trail = search(make())
    assert trail is not None
    assert format_trail("x", trail) == place


def cyclic():
    items = [1]
    items.append(items)
    return items


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: 1.5,
        lambda: "text",
        cyclic,
        lambda: np.arange(10),
        lambda: np.zeros(3, dtype="i4,f8"),
        lambda: {"a": {1, 2}, (1, 2): deque()},
        lambda: Slots(),
        lambda: Explosive(1),
        lambda: types,
        lambda: Future,
        lambda: itertools.count(),
        lambda: print,
        lambda: lambda: 1,
        lambda: weakref.WeakSet(),
        lambda: ValueError("text"),
    ],
)
def test_nothing_there(make):
    """Where there is no future none is found, and nothing raises."""
    assert search(make()) is None


def test_shortest_way():
    """Of several ways to a future the shortest is named."""
    trail = search([[[[FUTURE]]], Plain(a=FUTURE)])
    assert format_trail("x", trail) == "x[1].a"


def test_budget():
    """The search ends after so many objects; numbers and strings do not count."""
    deep = [Plain(a=i) for i in range(200)]
    assert search([*deep, FUTURE], budget=100) is None
    assert search([*deep, FUTURE], budget=10_000) is not None
    assert search([*range(200), FUTURE], budget=100) is not None


def test_machinery_is_closed():
    """The futures of an executor's queue are no futures of the user's data."""
    with ThreadPoolExecutor(1) as executor:
        executor.gate = FUTURE
        assert search(Plain(executor=executor)) is None


def test_function_globals():
    """The globals that a function loads are looked at, and no others."""

    def loads():
        return GLOBAL["results"]

    def nested():
        return [result for _ in range(3)]

    def attribute_only(x):
        return x.result

    assert search_function(loads) == "GLOBAL['results'][1]"
    assert search_function(nested) == "result"
    assert search_function(attribute_only) is None


def test_function_closure():
    """The closure of a function is looked at, a cell that is not filled yet is passed over."""

    def late():
        return unfilled

    assert search_function(closure()) == "y[0]"
    assert search_function(late) is None
    unfilled = 1


def test_leaves():
    """Futures that are leaves of a tree are none of the hidden ones, in the very same tree."""
    assert search_leaves({"a": [FUTURE, (FUTURE, Point(FUTURE, 1))]}) is None
    assert format_trail("", search_leaves({"a": [FUTURE, {FUTURE}]})) == "['a'][1].<item>"
    assert format_trail("", search_leaves({"a": [FUTURE, {FUTURE: 1}]})) == "['a'][1].<key>"


def test_attributes_of_nodes():
    """Attributes of a container, and those of a record that are no fields, are no leaves."""

    class Items(list):
        pass

    items = Items([1])
    items.extra = FUTURE
    assert format_trail("", search_leaves([FUTURE, items])) == "[1].extra"


def test_inside():
    """What an object holds directly is listed, numbers too."""
    assert [(str(step), value) for step, value in inside(Plain(a=1, b="x"))] == [(".a", 1), (".b", "x")]
