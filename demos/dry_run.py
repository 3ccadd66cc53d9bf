# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dry run: nothing is computed, and three mistakes are reported at once, each with its line."""

from __future__ import annotations

from pathlib import Path

from parman import task, workflow


@task
def load(path: Path) -> list[float]:
    """Stand for an hour of reading."""
    raise AssertionError("A dry run calls no task.")


@task
def mean(numbers: list[float], weight: float = 1.0) -> float:
    """Stand for a day of computing."""
    raise AssertionError("A dry run calls no task.")


@task
def report(title: str, value: float) -> str:
    """Stand for what is written at the end."""
    raise AssertionError("A dry run calls no task.")


with workflow("dry"):
    data = load("measured.csv")  # a text instead of a path
    average = mean(data, weight="heavy")  # a text instead of a number
    text = report(average, 0.5)  # a number instead of a text
    again = report("again", mean(data))
