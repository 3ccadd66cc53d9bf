# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs run in fresh directories, and what they make is copied to the results root."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ..errors import ArgumentError
from ..filing import copy
from .base import Place, Staging, WorkDirectory, check_directory

__all__ = ["Scratch"]


class Scratch(Staging):
    """Each job runs in a fresh directory; inputs are copied there before, and outputs to the results root after.

    The directory is removed when the job has succeeded. It is kept when the job failed, and the error says where.

    Parameters
    ----------
    root
        The results root. A relative one is meant as seen from the directory in which the staging was made.
    tmp
        The directory in which the fresh directories are made, such as a fast local disk; by default the system's
        directory for temporary files (`TMPDIR`).
    prefix, suffix
        How the names of the fresh directories begin and end.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = "results",
        tmp: str | os.PathLike[str] | None = None,
        prefix: str = "parman-",
        suffix: str = "",
    ) -> None:
        super().__init__(root)
        for name, part in (("prefix", prefix), ("suffix", suffix)):
            if "/" in part or "\0" in part:
                raise ArgumentError(f"Scratch({name}=...) is a part of the name of a directory, not {part!r}")
        self.tmp = None if tmp is None else self.base / check_directory(tmp)
        self.prefix = prefix
        self.suffix = suffix

    def open(self, home: Place) -> WorkDirectory:
        """Make a fresh directory."""
        if self.tmp is not None:
            self.tmp.mkdir(parents=True, exist_ok=True)
        fresh = Path(os.path.realpath(tempfile.mkdtemp(self.suffix, self.prefix, self.tmp)))
        # The whole path of the job's directory, so that any relative path out of it stays inside of the fresh one.
        path = fresh.joinpath(*home.home.parts[1:])
        path.mkdir(parents=True)
        return _Fresh(self, home.locator, home.here, path)

    def reopen(self, home: Place, path: Path) -> WorkDirectory | None:
        """Return a directory that was made before."""
        depth = len(home.home.parts) - 1
        if len(path.parents) <= depth:
            return None
        # The path was read from a file: only what has been made by `open` may be used, and removed in the end.
        fresh = path.parents[depth - 1]
        is_ours = fresh.name.startswith(self.prefix) and fresh.name.endswith(self.suffix)
        inside = fresh.parent == Path(os.path.realpath(self.tmp or tempfile.gettempdir()))
        fits = path == fresh.joinpath(*home.home.parts[1:]) == Path(os.path.realpath(path))
        if not (is_ours and inside and fits):
            return None
        return _Fresh(self, home.locator, home.here, path) if path.is_dir() else None


class _Fresh(WorkDirectory):
    """A directory of its own for one run of a script."""

    def fetch(self, source: Path, target: Path) -> None:
        copy(source, target)

    def store(self, source: Path, target: Path) -> None:
        copy(source, target, durable=True)  # what it was copied from is removed in the end

    def close(self, succeeded: bool) -> None:
        if succeeded:
            shutil.rmtree(self.path.parents[len(self.home.parts) - 2], ignore_errors=True)
