# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND own-copy-of-a-class
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Generic models of pydantic and their kin, as arguments, results and in containers."""

import contextlib
import sys
from typing import Annotated, Generic, TypeVar

import pydantic
from pydantic import BaseModel, Field, PrivateAttr, RootModel, computed_field, field_validator

from parman import Length, resolve, task, workflow

T = TypeVar("T")


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Inner(BaseModel):
    x: int = 1
    ys: list[float] = Field(default_factory=list)


class Box(BaseModel, Generic[T]):
    value: T
    inner: Inner = Inner()
    _secret: int = PrivateAttr(default=5)

    def model_post_init(self, context):
        self._secret = 7

    @field_validator("value")
    @classmethod
    def check(cls, value):
        return value

    @computed_field
    @property
    def twice(self) -> str:
        return repr(self.value) * 2


class Child(Box[int]):
    weight: int = 3


class Frozen(BaseModel):
    model_config = {"frozen": True}
    a: int


class Numbers(RootModel[list[int]]):
    pass


@pydantic.dataclasses.dataclass
class Record:
    a: int
    b: Inner


@task
def box(value: float) -> Box[float]:
    return Box[float](value=value)


@task
def secret(box: Box[float]) -> float:
    return box.value + box._secret


@task
def child(value: int) -> Box[int]:
    return Child(value=value)


@task
def undeclared(value: int):
    return Box[list[int]](value=[value])


@task
def many(n: int) -> Annotated[list[Box[Inner]], Length("n")]:
    return [Box[Inner](value=Inner(x=i)) for i in range(n)]


@task
def named() -> dict[str, Box[float]]:
    return {"a": Box[float](value=1.0)}


@task
def others() -> tuple[Frozen, Numbers, Record]:
    return Frozen(a=1), Numbers([1, 2]), Record(a=1, b=Inner(x=3))


@task
def echo(value):
    return value, type(value).__qualname__


with block():
    print(resolve([secret(box(1.0)), secret(Box[float](value=3.0)), named(), *others()]))
    print(resolve([echo(Box[int](value=1)), echo(child(3)), echo([box(2.0), {"a": child(1)}])]))
    print(type(resolve(box(1.0))) is Box[float], resolve(box(1.0)).twice, resolve(box(1.0))._secret)
    print(type(resolve(child(1))) is Child, type(resolve(undeclared(1))) is Box[list[int]])
    print([type(one) is Box[Inner] for one in resolve(many(2))])
