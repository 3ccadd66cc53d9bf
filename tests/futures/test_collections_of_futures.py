# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Collections with futures in the hands of `resolve`, `as_future`, `as_resolved`, `cancel`, and as arguments."""

from __future__ import annotations

import itertools
import threading
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import TIMEOUT

from parman import Workflow, as_future, as_resolved, cancel, resolve, share, task, workflow


class Window(deque[Any]):
    pass


class Bag(set[Any]):
    pass


class Fixed(frozenset[Any]):
    pass


class Grid(np.ndarray):
    pass


def done(value: object) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def objects(items: Any, shape: Any = -1, order: Any = "C") -> np.ndarray:
    items = list(items)
    array = np.empty(len(items), object)
    for position, item in enumerate(items):
        array[position] = item
    return array.reshape(shape, order=order)


def records(items: Any) -> np.ndarray:
    array = np.zeros(len(items), [("x", object), ("n", int)])
    for position, item in enumerate(items):
        array["x"][position] = item
    return array


def noted(items: Any) -> Window:
    window = Window(items, 3)
    window.note = "kept"  # type: ignore[attr-defined]
    return window


KINDS: dict[str, Callable[[list[Any]], Any]] = {
    "ordered": lambda xs: OrderedDict(zip("cab", xs, strict=True)),
    "counter": lambda xs: Counter(dict(enumerate(xs))),
    "deque": lambda xs: deque(xs, maxlen=7),
    "window": noted,
    "set": set,
    "bag": Bag,
    "frozenset": frozenset,
    "fixed": Fixed,
    "nested": lambda xs: [{xs[0]}, {"k": deque([frozenset(xs)])}],
    "tuples in a set": lambda xs: {(xs[0], 1), (xs[1], 2)},
}
ARRAYS: dict[str, Callable[[list[Any]], Any]] = {
    "array": objects,
    "rows": lambda xs: objects(xs * 2, (2, 3)),
    "columns": lambda xs: objects(xs * 2, (2, 3), "F"),
    "transposed": lambda xs: objects(xs * 2, (2, 3)).T,
    "scalar": lambda xs: objects(xs[:1], ()),
    "subclass": lambda xs: objects(xs).view(Grid),
    "fields": records,
    "masked": lambda xs: np.ma.MaskedArray(objects(xs), mask=[False, True, False]),
    "lists": lambda xs: objects([[xs[0]], {"a": xs[1]}]),
}
VIEWS: dict[str, Callable[[list[Any]], Any]] = {
    "keys": lambda xs: dict(enumerate(xs)).keys(),
    "values": lambda xs: dict(enumerate(xs)).values(),
    "items": lambda xs: OrderedDict(enumerate(xs)).items(),
    "own values": lambda xs: UserDict(enumerate(xs)).values(),
}
ITERATORS: dict[str, Callable[[list[Any]], Any]] = {
    "generator": lambda xs: (x for x in xs),
    "zip": lambda xs: zip(xs, xs, strict=True),
    "map": lambda xs: map(str, xs),
    "enumerate": enumerate,
    "chain": itertools.chain,
    "iterator": iter,
    "in a dict": lambda xs: {"a": list(xs), "b": (x for x in xs)},
}
OPAQUE: dict[str, Callable[[list[Any]], Any]] = {
    "chain map": lambda xs: ChainMap(dict(enumerate(xs))),
    "proxy": lambda xs: MappingProxyType(dict(enumerate(xs))),
    "own dict": lambda xs: UserDict(enumerate(xs)),
    "own list": UserList,
    "namespace": lambda xs: SimpleNamespace(a=xs[0]),
    "partial": lambda xs: partial(print, xs[0]),
    "key": lambda xs: {xs[0]: 1},
    "series": lambda xs: pd.Series(xs, dtype=object),
    "frame": lambda xs: pd.DataFrame({"a": pd.Series(xs, dtype=object)}),
    "record": lambda xs: records(xs)[0],
}
VALUES = [0.5, 2.0, 4.0]


def ids(kinds: dict[str, Any]) -> Any:
    """Make parameters with names."""
    return pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in kinds.items()])


WAYS = pytest.mark.parametrize(
    "way",
    [resolve, lambda tree: as_future(tree).result(TIMEOUT), lambda tree: next(iter(as_resolved([tree])))[1]],
    ids=["resolve", "as_future", "as_resolved"],
)


@ids(KINDS)
@WAYS
def test_collections_come_back_as_their_kind(make: Callable[..., Any], way: Callable[[Any], Any]) -> None:
    """A collection with futures becomes one of the same class with the values."""
    found, expected = way(make([done(value) for value in VALUES])), make(VALUES)
    assert type(found) is type(expected)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))
    assert getattr(found, "maxlen", None) == getattr(expected, "maxlen", None)
    assert getattr(found, "note", None) == getattr(expected, "note", None)


@ids(ARRAYS)
@WAYS
def test_arrays_come_back_as_their_kind(make: Callable[..., Any], way: Callable[[Any], Any]) -> None:
    """An array of futures becomes one of the same class, shape and order with the values."""
    futures = make([done(value) for value in VALUES])
    found, expected = way(futures), make(VALUES)
    assert type(found) is type(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert found.flags.f_contiguous == expected.flags.f_contiguous
    assert repr(found) == repr(expected)
    assert repr(make(VALUES)) == repr(way(make(VALUES)))


@ids(VIEWS)
@WAYS
def test_views_come_back_as_lists(make: Callable[..., Any], way: Callable[[Any], Any]) -> None:
    """A view of a dict becomes a list, whether it holds futures or not."""
    assert way(make([done(value) for value in VALUES])) == way(make(VALUES)) == list(make(VALUES))


@ids(ITERATORS)
@pytest.mark.parametrize("way", [resolve, as_future, cancel, lambda tree: as_resolved([tree])])
@pytest.mark.parametrize("values", [VALUES, [done(value) for value in VALUES]], ids=["values", "futures"])
def test_iterators_are_an_error(make: Callable[..., Any], way: Callable[[Any], Any], values: list[Any]) -> None:
    """What can be read only once is refused, with futures and without, and the error names the cure."""
    with pytest.raises(TypeError, match=r"\(\) is given an? .* used up .*list\(\.\.\.\)"):
        way(make(values))


@ids(OPAQUE)
@pytest.mark.parametrize("way", [resolve, as_future, cancel, lambda tree: as_resolved([tree]), share])
def test_futures_elsewhere_are_an_error(make: Callable[..., Any], way: Callable[[Any], Any]) -> None:
    """A future where its value can't be put is never given back as if it were one."""
    with workflow("threads:1"), pytest.raises(TypeError, match="future"):
        way(make([done(value) for value in VALUES]))


@ids({**KINDS, **OPAQUE, **ARRAYS})
def test_values_are_given_back(make: Callable[..., Any]) -> None:
    """Without futures the very object comes back."""
    value = make(VALUES)
    assert resolve(value) is value
    assert cancel(value)


def test_values_that_no_set_can_hold() -> None:
    """Values that can't be hashed, as in the serial script, are an error that names the set."""
    with pytest.raises(TypeError, match="can't be in a set"):
        resolve({done([1])})


def test_an_array_in_itself() -> None:
    """An array that holds itself ends."""
    array = objects([done(1), 2])
    array[1] = array
    assert resolve(array)[0] == 1


@ids({**KINDS, **ARRAYS, **VIEWS})
def test_cancel_finds_them(make: Callable[..., Any]) -> None:
    """`cancel` cancels the futures in any of these; in a view of keys there are none."""
    futures: list[Future[Any]] = [Future() for _ in VALUES]
    collection = make(futures)
    assert cancel(collection)
    if make is not VIEWS["keys"]:
        assert any(future.cancelled() for future in futures)


# --- arguments ---


@task
def told(x: Any) -> str:
    return repr(sorted(x) if isinstance(x, set) else x)


def test_deques_are_trees() -> None:
    """A task gets a deque of values, of the same class and length, for a deque of futures."""
    with workflow("threads:1"):
        found = told(noted([done(value) for value in [1, *VALUES]]))
    assert resolve(found) == repr(noted(VALUES))


@ids({name: VIEWS[name] for name in ["keys"]} | {"own keys": lambda xs: UserDict(enumerate(xs)).keys()})
def test_keys_are_fine_whatever_the_values_are(make: Callable[..., Any]) -> None:
    """A view of the keys of a dict of futures is passed without the dict."""
    with workflow("threads:1"):
        found = told(make([Future() for _ in VALUES]))
    assert resolve(found) == "dict_keys([0, 1, 2])"


# --- as_resolved ---


@task
def half(x: float) -> float:
    return x / 2


@pytest.fixture(params=["plain", "threads:2"])
def within(request: pytest.FixtureRequest) -> Any:
    """Be in a block, or in none."""
    if request.param == "plain":
        yield None
        return
    with workflow(request.param) as w:
        yield w


@pytest.mark.parametrize("make", [list, lambda xs: deque(xs), UserList, lambda xs: dict(enumerate(xs))])
def test_what_is_added_comes(make: Callable[..., Any], within: Workflow | None) -> None:
    """What is added to a list or dict during the loop comes in the loop, whoever was the last one."""
    todo, seen = make([half(8.0)]), {}
    for key, value in as_resolved(todo):
        seen[key] = value
        if value > 1:
            if isinstance(todo, dict):
                todo[len(todo)] = half(value)
            else:
                todo.append(half(value))
    assert seen == {0: 4.0, 1: 2.0, 2: 1.0}


def test_what_takes_the_place_of_what_was_removed_comes(within: Workflow | None) -> None:
    """A dict from which each item is removed as it comes, while another one is added, has all of them come."""
    todo, seen = {0: half(64.0)}, []
    for key, value in as_resolved(todo):
        seen.append(value)
        del todo[key]
        if value > 1:
            todo[len(seen)] = half(value)
    assert seen == [32.0, 16.0, 8.0, 4.0, 2.0, 1.0]
    assert not todo


def test_values_may_be_put_in_place(within: Workflow | None) -> None:
    """A loop that puts what it made of a value where the future was goes through each item once."""
    todo, count = {key: half(float(key)) for key in range(5)}, 0
    for key, value in as_resolved(todo):
        todo[key] = value + 1
        count += 1
    assert count == 5
    assert todo == {key: key / 2 + 1 for key in range(5)}


def test_what_replaces_an_item_that_has_not_come() -> None:
    """An item that is replaced before it has come comes as what is there, although the old one never ends."""
    todo: dict[int, Any] = {0: done("a"), 1: Future()}
    seen = []
    for key, value in as_resolved(todo, timeout=TIMEOUT):
        seen.append((key, value))
        if key == 0:
            todo[1] = done("b")
    assert seen == [(0, "a"), (1, "b")]


def test_what_is_removed_before_it_has_come() -> None:
    """A key that is removed before it has come does not come, and the loop ends without it."""
    todo: dict[int, Any] = {0: done("a"), 1: Future()}
    seen = []
    for key, _ in as_resolved(todo, timeout=TIMEOUT):
        seen.append(key)
        del todo[1]
    assert seen == [0]


def test_what_replaces_an_item_that_has_come() -> None:
    """An item that has come can't be replaced by a call: that would be lost, so it is an error."""
    todo: dict[int, Any] = {0: done("a"), 1: done("b")}
    loop = as_resolved(todo)
    assert next(loop) == (0, "a")
    todo[0] = Future()
    with pytest.raises(RuntimeError, match="key of its own"):
        next(loop)


@pytest.mark.parametrize("change", ["pop", "clear", "reverse"])
def test_lists_are_not_taken_apart(change: str) -> None:
    """A list that is made shorter or put in another order during the loop is an error."""
    todo = [done("a"), Future(), done("b")]
    loop = as_resolved(todo)
    assert next(loop) == (0, "a")
    getattr(todo, change)()
    with pytest.raises(RuntimeError, match="dict"):
        next(loop)


def test_a_view_that_changes_is_an_error() -> None:
    """What can't be followed is refused rather than left out."""
    todo = {0: done("a")}
    loop = as_resolved(todo.values())
    assert next(loop) == (0, "a")
    todo[1] = done("b")
    with pytest.raises(RuntimeError, match="changed"):
        next(loop)


def test_what_another_thread_adds_comes() -> None:
    """What is added while the loop waits is noticed."""
    last: Future[str] = Future()
    todo: dict[int, Any] = {0: last}
    seen = []

    def add() -> None:
        todo[1] = done("b")

    adding = threading.Timer(0, add)
    adding.start()
    for key, _ in as_resolved(todo, timeout=TIMEOUT):
        seen.append(key)
        if key == 1:
            last.set_result("a")
    assert seen == [1, 0]


def test_futures_as_keys_are_refused() -> None:
    """A dict whose keys are the futures is not gone through as if all of them were done."""
    with pytest.raises(TypeError, match="as values"):
        list(as_resolved({Future(): 1}))


def test_a_timeout_holds_for_all() -> None:
    """The limit is for the whole loop, not for each item."""
    with pytest.raises(TimeoutError, match="1 of 2 items"):
        list(as_resolved([done(1), Future()], timeout=0.01))
