# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Results with a structure: each piece is a future, and goes into the next call as soon as it is there."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated

from parman import Length, resolve, task, workflow


@dataclass
class Line:
    """A straight line."""

    slope: float
    offset: float


@task
def sample(count: int) -> Annotated[list[tuple[float, float]], Length("count")]:
    """Return points, each a tuple of two results."""
    return [(float(x), 2.0 * x + 1) for x in range(count)]


@task
def connect(start: tuple[float, float], end: tuple[float, float]) -> Line:
    """Return the line through two points."""
    slope = (end[1] - start[1]) / (end[0] - start[0])
    return Line(slope, start[1] - slope * start[0])


with workflow("threads"):
    points = sample(3)
    line = connect(points[0], points[2])
    for name, part in {"x": points[1][0], "line": line, "slope": line.slope}.items():
        print(f"{name}: a future {isinstance(part, Future)}, a line {isinstance(part, Line)}")
print(resolve((points[1], line)))
