# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND notebook-class
# RUNNERS serial threads:2 processes:2
# EXPECT out=ok
"""The cell with a class is run again; an instance of before is passed on, or the error says what has happened."""

import contextlib
import sys

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


CELL = """
class Point:
    def __init__(self, x):
        self.x = x

@task
def shifted(point: Point, by: float) -> float:
    return point.x + by
"""

exec(CELL, globals())
point = Point(1.0)  # noqa: F821
exec(CELL, globals())
try:
    with block():
        print("ok" if resolve(shifted(point, 2.0)) == 3.0 else "another value")  # noqa: F821
except Exception as error:
    words = ("anew", "again", "redefin", "re-run", "earlier", "older")
    print("ok" if any(word in str(error).lower() for word in words) else error)
