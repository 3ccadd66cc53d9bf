# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs run in the directories in which their results are kept."""

from __future__ import annotations

from pathlib import Path

from .base import Place, Staging, WorkDirectory

__all__ = ["InPlace"]


class InPlace(Staging):
    """Jobs run in the directories below the results root in which their results are kept.

    Parameters
    ----------
    root
        The results root. A relative one is meant as seen from the directory in which the staging was made.
    """

    def open(self, home: Place) -> WorkDirectory:
        """Return the directory itself."""
        return _Home(self, home.locator, home.here)

    def reopen(self, home: Place, path: Path) -> WorkDirectory | None:
        """Return the directory itself; None if the job ran elsewhere, with another staging."""
        return self.open(home) if path == home.path else None


class _Home(WorkDirectory):
    """A job's own directory, where all files are already."""

    def fetch(self, source: Path, target: Path) -> None:
        pass

    def store(self, source: Path, target: Path) -> None:
        pass
