# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND slots
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Slotted classes of every making, as arguments, results and exceptions."""

import abc
import contextlib
import copyreg
import functools
import sys
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import attrs

from parman import resolve, task, workflow

T = TypeVar("T")


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@dataclass(slots=True, frozen=True)
class Frozen:
    a: float
    b: int = 2


@dataclass(slots=True, weakref_slot=True)
class Weak:
    a: float = 1.0


@dataclass
class WithDict:
    a: float = 1.0


@dataclass(slots=True)
class SlottedChild(WithDict):
    b: float = 2.0


@dataclass(frozen=True)
class ChildWithDict(Frozen):
    c: float = 3.0


class Private:
    __slots__ = ("__dict__", "__weakref__", "__x")

    def __init__(self, x):
        self.__x = x
        self.y = x

    def more(self):
        return self.__x, self._Private__x, self.y


class Single:
    __slots__ = "value"

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"Single({self.value})"


class Described:
    __slots__ = {"a": "the first", "b": "the second"}

    def __init__(self, a):
        self.a = a

    def __repr__(self):
        return f"Described({self.a}) {hasattr(self, 'b')}"


class Derived(Single):
    __slots__ = ("extra",)

    def __init__(self, value):
        super().__init__(value)
        self.extra = value

    def __repr__(self):
        return f"Derived({self.extra}) of {super().__repr__()}"


class Stateful:
    __slots__ = ("a", "b")

    def __init__(self, a):
        self.a = self.b = a

    def __getstate__(self):
        return {"A": self.a}

    def __setstate__(self, state):
        self.a = self.b = state["A"]

    def __repr__(self):
        return f"Stateful({self.a}, {self.b})"


class Reduced:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a

    def __reduce__(self):
        return Reduced, (self.a,)

    def __repr__(self):
        return f"Reduced({self.a})"


class Registered:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a

    def __repr__(self):
        return f"Registered({self.a})"


copyreg.pickle(Registered, lambda registered: (Registered, (registered.a,)))


@attrs.define
class Defined:
    a: float
    b: list = attrs.field(factory=list)


@attrs.frozen
class Caching:
    a: float

    @functools.cached_property
    def twice(self):
        return 2 * self.a

    def more(self):
        return [self.twice]


@attrs.define
class DefinedChild(Defined):
    c: int = 1

    def __attrs_post_init__(self):
        super().__init__(self.a, [self.c])


class Pair(NamedTuple):
    a: int
    b: float = 2.0

    def more(self):
        return [self.a + self.b]


class SlottedPair(Pair):
    __slots__ = ()


class Box(Generic[T]):
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"Box({self.value})"


class Goes(Protocol):
    __slots__ = ()

    def go(self) -> int: ...


class Goer(Goes):
    __slots__ = ("z",)

    def __init__(self):
        self.z = 1

    def go(self):
        return 3

    def __repr__(self):
        return f"Goer({self.z}, {self.go()})"


class Abstract(abc.ABC):
    __slots__ = ("q",)

    @abc.abstractmethod
    def go(self): ...


class Concrete(Abstract):
    __slots__ = ("w",)

    def __init__(self):
        self.q, self.w = 1, 2

    def go(self):
        return 3

    def __repr__(self):
        return f"Concrete({self.q}, {self.w})"


class Described2:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, instance, owner):
        return self if instance is None else getattr(instance, self.name)

    def __set__(self, instance, value):
        setattr(instance, self.name, value)


class WithDescriptor:
    x = Described2()
    __slots__ = ("_x",)

    def __init__(self, x):
        self.x = x

    def __repr__(self):
        return f"WithDescriptor({self.x})"


class Node:
    __slots__ = ("__weakref__", "k")

    def __init__(self, k):
        self.k = k

    def __repr__(self):
        return f"Node({self.k}, {type(Node.root) is type(self)})"


Node.root = Node(0)


class Coded(ValueError):
    __slots__ = ("code",)

    def __init__(self, code, more):
        super().__init__(f"code {code}")
        self.code = code


MAKERS = [
    lambda: Frozen(1.0), Weak, SlottedChild, lambda: ChildWithDict(1.0), lambda: Single(1), lambda: Described(1),
    lambda: Derived(2), lambda: Stateful(1), lambda: Reduced(1), lambda: Registered(1), lambda: Defined(1.0),
    lambda: Caching(2.0), lambda: DefinedChild(1.0), lambda: Pair(1), lambda: SlottedPair(1), lambda: Box(1), Goer,
    Concrete, lambda: WithDescriptor(1), lambda: Node(2),
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


@task
def fail():
    raise Coded(3, "x")


@task
def private() -> Private:
    return Private(4)


with block():
    try:
        resolve(fail())
    except Coded as error:
        print(error.code, error.args)
    print(resolve(private()).more())
