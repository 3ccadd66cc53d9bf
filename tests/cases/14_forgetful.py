# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND ndarray-subclass
# RUNNERS serial threads:2 processes:2
# EXPECT same
# STDERR empty
# LIMIT 180
"""What pickles forget: attributes of arrays, masks, flags, what __reduce__ leaves out, correlations."""

import collections
import contextlib
import copy
import sys
import threading

import numpy as np
import pandas as pd
import uncertainties

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Noted(np.ndarray):
    pass


class Labelled(np.ndarray):
    def __array_finalize__(self, old):
        self.label = getattr(old, "label", None)


class Sliced(np.ndarray):
    __slots__ = ("origin",)


class Reduced(np.ndarray):
    def __reduce__(self):
        return _reduced, (np.asarray(self),)


def _reduced(array):
    return array.view(Reduced)


class Point:
    def __init__(self, x):
        self.x, self.label = x, None

    def __reduce__(self):
        return Point, (self.x,)


class Dropping:
    def __init__(self):
        self.a, self.note, self._cache, self.lock = 1, "note", {1: 2}, threading.Lock()

    def __getstate__(self):
        return {"a": self.a}

    def __setstate__(self, state):
        self.__dict__.update(state, _cache={}, lock=threading.Lock())


class Copied:
    def __init__(self, x):
        self.x, self.more, self.big = x, 0, np.ones(200_000)

    def __deepcopy__(self, memo):
        new = object.__new__(Copied)
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    def __reduce__(self):
        return Copied, (self.x,)


class Table(collections.defaultdict):
    pass


class Frame(pd.DataFrame):
    _metadata = ["source"]

    @property
    def _constructor(self):
        return Frame


@task
def look(x, *names) -> str:
    return f"{type(x).__name__} {[repr(getattr(x, name, 'gone')) for name in names]}"


@task
def same(x):
    return x


@task
def masked(x) -> list:
    found = [x.hardmask, x.fill_value, x.sharedmask, repr(x.mask), repr(x)]
    return [*found, repr(copy.deepcopy(x))]


@task
def flags(x) -> list:
    return [x.flags.writeable, x.dtype.metadata, x.tolist()]


@task
def total(x) -> list:
    return [x.x, x.more, float(x.big.sum())]


@task
def twice(x):
    return 2 * x


def with_attributes(obj, **attributes):
    for name, value in attributes.items():
        setattr(obj, name, value)
    return obj


def frozen(array):
    array.flags.writeable = False
    return array


record = np.dtype([("a", int), ("b", float)])
objects = [
    (with_attributes(np.arange(3.0).view(Noted), note="n"), "note"),
    (with_attributes(np.ones(200_000).view(Noted), note={"a": [1]}), "note"),
    (with_attributes(np.arange(4.0).view(Labelled), label="m")[::2], "label"),
    (with_attributes(np.arange(3.0).view(Sliced), origin=3), "origin"),
    (with_attributes(np.arange(3.0).view(Reduced), tag="t"), "tag"),
    (with_attributes(Point(3), label="p", extra=[1]), "x", "label", "extra"),
    (Dropping(), "a", "note"),
    (with_attributes(Table(int, a=1), note="t"), "note"),
    (with_attributes(Frame({"a": [1]}), source="s"), "source"),
    (np.rec.array([(1, 2.0)], dtype=record), "a", "b"),
    (np.matrix([[1, 2]]), "A1"),
    (np.ma.array([(1, 2.0)], mask=[(0, 1)], dtype=record)[0], "mask", "data"),
]
masks = [
    np.ma.masked_array([1.0, 2.0, 3.0], mask=[0, 1, 0], hard_mask=True, fill_value=-1),
    np.ma.masked_array([1.0, 2.0, 3.0], mask=[0, 1, 0], hard_mask=True)[1:],
    np.ma.array(np.ones(200_000), mask=np.arange(200_000) % 2, hard_mask=True),
    np.ma.array([1.0, 2.0]),
    np.ma.array([(1, 2.0)], mask=[(0, 1)], dtype=record, hard_mask=True),
    np.ma.array(5),
]
arrays = [
    frozen(np.arange(6.0).reshape(2, 3)), frozen(np.arange(6.0).reshape(2, 3))[:, ::2], np.array(5.0),
    frozen(np.array([1, "a", None], object)), frozen(np.ones((400, 500)))[:, ::2], np.zeros(3)[::-1],
    np.ones(2, np.dtype("f8", metadata={"a": 1})),
]  # fmt: skip
with block():
    x, y = uncertainties.ufloat(1, 0.1), uncertainties.ufloat(2, 0.2)
    results = [look(*one) for one in objects] + [look(same(one[0]), *one[1:]) for one in objects]
    results += [masked(x) for x in masks] + [masked(same(x)) for x in masks] + [flags(x) for x in arrays]
    results += [total(with_attributes(Copied([1]), more=5, big=np.full(200_000, 2.0)))]
    results += [twice(x), twice(y), twice(twice(x))]
    results += [same(np.ma.masked)]
*results, a, b, c, constant = resolve(results)
print(*results, sep="\n")
print(a - 2 * x, a + b - 2 * x - 2 * y, c - 2 * a, constant is np.ma.masked)
