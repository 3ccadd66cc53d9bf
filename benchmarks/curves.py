# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What grows, by how much, and the straight line that is fitted to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["CURVES", "Curve", "Fit", "fit"]


@dataclass(frozen=True)
class Curve:
    """What grows.

    Attributes
    ----------
    title
        Of the plot.
    axis
        What its horizontal axis shows.
    decades
        The least and the greatest power of ten.
    per_decade
        How many points there are in a decade.
    memory
        Whether memory is shown, too.
    """

    title: str
    axis: str
    decades: tuple[int, int]
    per_decade: int = 2
    memory: bool = False

    def sizes(self, most: float) -> list[int]:
        """Return the sizes, the greatest first and last among them."""
        first, last = self.decades
        steps = np.linspace(first, last, (last - first) * self.per_decade + 1)
        return sorted({round(10**power) for power in steps if 10**power <= most * 1.001})


CURVES = {
    "fan-out": Curve("Independent calls", "calls", (3, 6), memory=True),
    "chain": Curve("Calls that wait for the one before", "calls", (3, 6), memory=True),
    "fan-in": Curve("One call that waits for many futures", "futures", (1, 5)),
    "structure": Curve("One call with many leaves in its result", "leaves", (0, 4)),
    "arguments": Curve("One call with a big array", "size of the argument [B]", (0, 9), per_decade=1),
}


@dataclass(frozen=True)
class Fit:
    """A power law: `factor * size ** slope`, between two sizes."""

    slope: float
    factor: float
    least: int
    most: int


def fit(points: dict[int, float]) -> Fit | None:
    """Fit the last two decades, in logarithms; None where there are too few points."""
    sizes = [size for size in sorted(points) if size * 101 > max(points)]
    if len(sizes) < 2:
        return None
    slope, constant = np.polyfit(np.log(sizes), np.log([points[size] for size in sizes]), 1)
    return Fit(float(slope), float(np.exp(constant)), sizes[0], sizes[-1])
