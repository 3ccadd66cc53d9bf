# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The first configurations, before anything is learned."""

from __future__ import annotations

from pathlib import Path


def mock(boot_size: int, points: int = 1, first: int = 0) -> list[Path]:
    """Spread configurations evenly over the region.

    Parameters
    ----------
    boot_size
        The number of files.
    points
        Configurations in each file.
    first
        Where in the sequence of points to begin.
    """
    return [Path(f"config{number:03d}.txt") for number in range(boot_size)]
