# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND getattr-proxy
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""An argument of a class that hands all attributes on to the object that it holds."""

import contextlib
import sys

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class Proxy:
    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)


@task
def names(table) -> list[str]:
    return sorted(table.keys())


try:
    with block():
        print(resolve(names(Proxy({"a": 1, "b": 2}))))
except Exception as error:
    print(type(error).__name__, str(error)[:200])
