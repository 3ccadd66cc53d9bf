# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND slots
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Enumerations, metaclasses, hooks and counters of the script: what a class is, it is in a worker, and stays."""

import contextlib
import enum
import sys

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Planet(enum.Enum):
    EARTH = (1.0, 2.0)
    MARS = (3.0, 4.0)
    HOME = (1.0, 2.0)

    def __init__(self, mass, radius):
        self.mass = mass
        self.radius = radius

    @property
    def gravity(self):
        return self.mass / self.radius

    def more(self):
        return self.gravity, Planet.HOME is Planet.EARTH, [planet.name for planet in Planet]


class Permission(enum.IntFlag):
    READ = 1
    WRITE = 2
    BOTH = 3

    def more(self):
        return self is Permission.BOTH, Permission.BOTH.name, int(~self)


class Mode(str, enum.Enum):
    FAST = "fast"


class Meta(type):
    made = []

    def __new__(cls, name, bases, namespace, *, key):
        made = super().__new__(cls, name, bases, namespace)
        made.key = key
        cls.made.append(name)
        return made

    def __init__(cls, name, bases, namespace, *, key):
        super().__init__(name, bases, namespace)


class Made(metaclass=Meta, key="k"):
    def __repr__(self):
        return f"Made({self.key}, {Meta.made})"


class Plugin:
    registry = {}

    def __init_subclass__(cls, /, key, **kwargs):
        super().__init_subclass__(**kwargs)
        Plugin.registry[key] = cls
        cls.key = key


class First(Plugin, key="one"):
    def __repr__(self):
        return f"First({self.key}, {sorted(Plugin.registry)}, {Plugin.registry['one'] is type(self)})"


class Counted:
    count = 0

    def __repr__(self):
        return "Counted"


def local():
    class Local:
        def __repr__(self):
            return type(self).__qualname__

    return Local


Local = local()
MAKERS = [
    lambda: Planet.MARS, lambda: Permission.BOTH, lambda: Permission.READ | Permission.WRITE, lambda: Mode.FAST,
    Made, First, Counted, Local,
]  # fmt: skip


def told(value):
    """Return what is known of an object: its text, its class, and whether it has attributes of its own."""
    known = [repr(value), type(value).__qualname__, hasattr(value, "__dict__")]
    return [*known, *value.more()] if hasattr(value, "more") else known


@task
def make(i: int):
    return MAKERS[i]()


@task
def use(value) -> list:
    return told(value)


@task
def is_same_class(i: int, value) -> bool:
    return type(MAKERS[i]()) is type(value)


with block():
    for i, maker in enumerate(MAKERS):
        try:
            made = make(i)
            print(told(resolve(made)), type(resolve(made)) is type(maker()))
            print(resolve([use(maker()), use(made), is_same_class(i, maker()), is_same_class(i, made)]))
        except Exception as error:
            print(i, type(error).__name__, str(error)[:200])


with block():
    result = make(MAKERS.index(Counted))
    Counted.count = 7  # while the result comes, or has come, with the class as it was
    resolve(result)
    print(Counted.count, Meta.made, sorted(Plugin.registry), len(Plugin.__subclasses__()))
