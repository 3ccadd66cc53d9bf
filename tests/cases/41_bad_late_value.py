# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND text-annotations
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""A late value is checked against the fields of classes of the script in a worker as in the driver."""

from __future__ import annotations

import sys
from typing import TypedDict

from parman import resolve, task, workflow


class Outer(TypedDict):
    inner: Inner


class Inner(TypedDict):
    items: list[Item]


class Item(TypedDict):
    name: str


@task
def make(n: int):
    return {"inner": {"items": [{"name": n}]}}


@task
def use(outer: Outer) -> str:
    return outer["inner"]["items"][0]["name"]


with workflow("serial" if sys.argv[1] == "plain" else sys.argv[1]):
    try:
        print(resolve(use(make(3))))
    except Exception as error:
        print(type(error).__name__, error)
