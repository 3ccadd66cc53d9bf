# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Arguments that can be pickled, but not made again: the message says which one, of which class, and what to write."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from parman import ArgumentError, resolve, task, workflow

RUNNERS = ("serial", "threads:1", "processes:1")


class Wanting:
    """Is made from something, which its pickle does not keep."""

    def __new__(cls, a):
        self = super().__new__(cls)
        self.a = a
        return self


class Refusing:
    """Does not take its own state."""

    def __setstate__(self, state):
        raise ValueError("no such state")


def remade(x):
    raise LookupError("no such thing")


class Reducing:
    def __reduce__(self):
        return remade, (1,)


class Filling(list):
    """Can't be filled without what its `__init__` makes."""

    def __init__(self, *items):
        self.known = set()
        super().__init__()
        self.extend(items)

    def append(self, item):
        self.known.add(item)
        super().append(item)

    def extend(self, items):
        for item in items:
            self.append(item)


class CopiedBadly:
    def __init__(self):
        self.copies = 0

    def __deepcopy__(self, memo):
        new = CopiedBadly()
        new.copies = self.copies + 1
        if new.copies > 1:
            raise RuntimeError("one copy is enough")
        return new


@task
def make(n: int) -> Any:
    return Wanting(n)


@task
def use(first: Any, x: Any = None) -> Any:
    return first


MADE = {
    "of another call": lambda: make(1),
    "itself": lambda: Wanting(1),
}


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("way", MADE)
def test_the_argument_is_named(runner, way):
    """The message names task, argument, place in it and class, and what to write."""
    with workflow(runner):
        for first, x, place in (
            (1, lambda one: one, "x"),
            (1, lambda one: {"a": [0, one]}, "x['a'][1]"),
            ([numpy.ones(3)], lambda one: (2, [one]), "x[1][0]"),
        ):
            with pytest.raises(ArgumentError, match="can't be copied") as info:
                resolve(use(first, x(MADE[way]())))
            text = str(info.value)
            assert text.startswith(f"use(): argument {place} can't be copied for the task: an instance of Wanting ")
            assert "missing 1 required positional argument: 'a'" in text
            assert "__getnewargs__" in text
            assert "__reduce__" in text


REASONS = {
    "state": (Refusing, "an instance of Refusing", "ValueError: no such state"),
    "function": (Reducing, "by the function remade", "LookupError: no such thing"),
    "items": (lambda: Filling(1, 2), "an instance of Filling", "AttributeError"),
}


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("way", REASONS)
def test_whatever_fails_is_named(runner, way):
    """So is what does not take its state or its items, or is made by a function that fails."""
    make, who, why = REASONS[way]
    one = make()
    if way == "state":
        one.x = 1
    with workflow(runner), pytest.raises(ArgumentError, match="can't be copied") as info:
        resolve(use([one]))
    text = str(info.value)
    assert "argument first[0] " in text
    assert who in text
    assert why in text


@pytest.mark.parametrize("runner", ["serial", "threads:1"])
def test_a_copy_of_its_own_is_named(runner):
    """So is what has a `__deepcopy__` that fails."""
    with workflow(runner), pytest.raises(ArgumentError, match=r"argument x\['k'\].*CopiedBadly.*one copy is enough"):
        resolve(use(1, {"k": CopiedBadly()}))


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_task_may_raise_the_same(runner):
    """An exception of the task itself stays what it is."""

    @task
    def raising(x: Any) -> None:
        Wanting()

    with workflow(runner), pytest.raises(TypeError, match="missing 1 required") as info:
        resolve(raising([1]))
    assert not isinstance(info.value, ArgumentError)
