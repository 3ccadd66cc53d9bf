# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Rewriting all the paths of a tree: from the user's to the script's, and back."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import JobError
from ..trees import map_leaves
from .base import Place, WorkDirectory

__all__ = ["globalize", "localize", "named"]


def localize(tree: Any, work: WorkDirectory) -> Any:
    """Return a tree of arguments as the script needs it, and bring the files in it to where it runs."""
    return map_leaves(lambda leaf: work.pull(leaf) if isinstance(leaf, Path) else leaf, tree)


def globalize(tree: Any, work: WorkDirectory, apart: Collection[str] = ()) -> Any:
    """Return a tree of results as the user needs it, and bring the files in it, but some, to where results are kept."""
    return map_leaves(lambda leaf: work.push(leaf, apart) if isinstance(leaf, Path) else leaf, tree)


def named(tree: Any, place: Place) -> Any:
    """Return a tree of results as the user needs it; its files are where results are kept already."""

    def rename(leaf: Any) -> Any:
        if not isinstance(leaf, Path):
            return leaf
        found = place.found(leaf)
        if not found.exists():
            raise JobError(
                f"the job {place.locator} names {str(leaf)!r} as a file of its own, but there is no {found}: bring it "
                "back, or remove the directory of the job, so that it is run again"
            )
        return place.outward(leaf)

    return map_leaves(rename, tree)
