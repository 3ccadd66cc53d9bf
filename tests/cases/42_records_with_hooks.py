# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND slots
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Records whose metaclass or base class wants keywords and keeps books, as results with futures for fields."""

import contextlib
import sys
from abc import ABC
from dataclasses import dataclass

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Meta(type):
    made = []

    def __new__(cls, name, bases, namespace, *, key):
        cls.made.append(name)
        return super().__new__(cls, name, bases, namespace)

    def __init__(cls, name, bases, namespace, *, key):
        super().__init__(name, bases, namespace)


class Base:
    registry = {}

    def __init_subclass__(cls, /, key):
        Base.registry[key] = cls


@dataclass
class Point(Base, key="p"):
    a: int


@dataclass
class Made(metaclass=Meta, key="q"):
    a: int


@dataclass
class Abstract(ABC):
    a: int


@task
def point() -> Point:
    return Point(1)


@task
def made() -> Made:
    return Made(1)


@task
def abstract() -> Abstract:
    return Abstract(1)


@task
def use(point: Point, made: Made, abstract: Abstract) -> str:
    return repr((point, made, abstract))


with block():
    print(resolve([point(), made(), abstract(), use(point(), made(), abstract())]), isinstance(made(), Made))
    print(Base.registry, Meta.made)
