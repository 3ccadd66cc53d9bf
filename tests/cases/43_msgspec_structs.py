# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND own-copy-of-a-class
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Structs of msgspec, with every option, as arguments, results and in containers."""

import contextlib
import sys
from typing import Generic, TypeVar

import msgspec

from parman import resolve, task, workflow

T = TypeVar("T")


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Plain(msgspec.Struct):
    a: int
    b: list[int] = []
    c: object = None


class Tagged(
    msgspec.Struct, frozen=True, gc=False, tag="t", array_like=True, kw_only=True, rename="camel", cache_hash=True
):
    some_a: int
    other_b: str = "x"


class Child(Plain, tag=True, weakref=True, dict=True, order=True):
    d: float = 2.0
    e: dict = msgspec.field(default_factory=dict)

    def __post_init__(self):
        self.d += 1

    def total(self):
        return super().__repr__() + str(self.d)


class Box(msgspec.Struct, Generic[T]):
    value: T


class Keyed(msgspec.Struct, kw_only=True):
    a: int = 3
    b: int


@task
def make() -> tuple[Plain, Tagged, Child, Box[int], Keyed]:
    return Plain(1, [2], Plain(3)), Tagged(some_a=1), Child(1), Box(2), Keyed(b=3)


@task
def echo(value):
    return value, type(value).__qualname__


@task
def encode(value) -> bytes:
    return msgspec.json.encode(value)


@task
def decode(content: bytes) -> Child:
    return msgspec.json.decode(content, type=Child)


@task
def total(child: Child) -> str:
    return child.total()


with block():
    made = make()
    print(resolve(made))
    print([type(one) for one in resolve(made)] == [Plain, Tagged, Child, Box, Keyed])
    print(resolve([echo(one) for one in (Plain(1), Tagged(some_a=2), Child(1), [made[2], {"a": made[1]}])]))
    print(resolve([encode(made[2]), encode(Tagged(some_a=2)), decode(encode(made[2])), total(made[2])]))
    print(hash(resolve(made[1])) == hash(Tagged(some_a=1)), resolve(made[2]) < Child(2))
