# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND own-copy-of-a-class
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Classes that a class of the script makes for its parameters, and keeps anywhere."""

import contextlib
import functools
import sys

from parman import resolve, task, workflow

MADE = {}


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Kept:
    def __init__(self, value):
        self.value = value

    def __class_getitem__(cls, item):
        if item not in MADE:
            MADE[item] = type(f"{cls.__name__}[{item.__name__}]", (cls,), {})
        return MADE[item]


class Cached:
    def __init__(self, value):
        self.value = value

    @classmethod
    @functools.lru_cache
    def of(cls, item):
        return type(f"{cls.__name__}[{item.__name__}]", (cls,), {})

    def __class_getitem__(cls, item):
        return cls.of(item)


@task
def kept(value: float) -> Kept[float]:
    return Kept[float](value)


@task
def use_kept(kept: Kept[float]) -> float:
    return kept.value


@task
def cached(value: float) -> Cached[float]:
    return Cached[float](value)


@task
def use_cached(cached: Cached[float]) -> float:
    return cached.value


with block():
    print(resolve([use_kept(kept(1.0)), use_kept(Kept[float](2.0)), use_cached(cached(1.0))]))
    print(type(resolve(kept(1.0))) is Kept[float], type(resolve(cached(1.0))) is Cached[float])
