# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND getattr-proxy
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Dicts whose items are attributes, a proxy with slots, and a record that answers for its table."""

import contextlib
import sys
from dataclasses import dataclass

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Settings(dict):
    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


class Handle:
    __slots__ = ("_inner",)

    def __init__(self, inner):
        object.__setattr__(self, "_inner", inner)

    def __getattr__(self, name):
        return getattr(self._inner, name)


@dataclass
class Table:
    columns: dict

    def __getattr__(self, name):
        return getattr(self.columns, name)


@task
def names(table) -> list[str]:
    return sorted(table.keys())


@task
def again(thing):
    return thing


tables = [Settings(a=1, b=2), Handle({"a": 1}), Table({"c": 3})]
with block():
    print(resolve([names(table) for table in tables]))
    backs = resolve([again(table) for table in tables])
print([type(back).__name__ for back in backs], backs[0].a, backs[1].get("a"), backs[2].get("c"))
