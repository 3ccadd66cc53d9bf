# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND own-copy-of-a-class
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""A generic class of the script whose parametrised form is made anew in a worker."""

import contextlib
import sys
from typing import Generic, TypeVar

from parman import resolve, task, workflow

T = TypeVar("T")


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Box(Generic[T]):
    made: dict = {}

    def __init__(self, v):
        self.v = v

    def __class_getitem__(cls, item):
        # a class for each parameter, as pydantic's generic models make it
        if item not in cls.made:
            cls.made[item] = type(f"{cls.__name__}[{getattr(item, '__name__', item)}]", (cls,), {})
        return cls.made[item]


@task
def make(x: float) -> Box[float]:
    return Box[float](x)


@task
def use(b: Box[float]) -> float:
    return b.v


with block():
    try:
        print(resolve(use(make(1.0))))
    except Exception as error:
        print(type(error).__name__, str(error)[:100])
