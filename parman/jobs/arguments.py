# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The arguments of one call of a job, as its files hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, JobError
from ..filing import files_below, sha256
from ..paths import Key, format_path
from ..staging.base import Place, WorkDirectory
from ..trees import map_leaves, walk
from .converters import NotJson, jsonable

__all__ = ["Arguments"]


class Arguments:
    """The arguments of one call of a job.

    Parameters
    ----------
    kwargs
        All arguments of the mock by name.
    home
        The directory of the job.
    """

    def __init__(self, kwargs: Mapping[str, Any], home: Place) -> None:
        self._kwargs = dict(kwargs)
        self._home = home

    @cached_property
    def json(self) -> Any:
        """The arguments as JSON, with paths relative to the job's directory.

        Raises
        ------
        ArgumentError
            Something in them has no form in JSON.
        """
        home = self._home
        tree = map_leaves(lambda leaf: str(home.inward(leaf)) if isinstance(leaf, Path) else leaf, self._kwargs)
        try:
            return jsonable(tree)
        except NotJson as error:
            raise ArgumentError(
                f"the job {home.locator}: argument {_place(error.path)} {error.why}; jobs get their arguments as JSON"
            ) from None

    @cached_property
    def sums(self) -> dict[str, str]:
        """The sum of each file among the arguments, by its path relative to the job's directory.

        Raises
        ------
        JobError
            A file is not there.
        """
        return {str(self._home.inward(file)): sha256(file) for file in self._files()}

    def _files(self) -> Iterator[Path]:
        for steps, leaf in walk(self._kwargs):
            if isinstance(leaf, Path):
                try:
                    yield from files_below(self._home.source(leaf))
                except (FileNotFoundError, ValueError):  # or no path at all, such as one with a null character
                    raise JobError(
                        f"the job {self._home.locator}: there is no file {str(leaf)!r}, which is its argument "
                        f"{_place(steps)}"
                    ) from None

    def bring(self, work: WorkDirectory) -> None:
        """Bring the files to where the script runs."""
        for _, leaf in walk(self._kwargs):
            if isinstance(leaf, Path):
                work.pull(leaf)


def _place(steps: tuple[Any, ...]) -> str:
    first = steps[0]
    return format_path(str(first.key if isinstance(first, Key) else first), steps[1:])
