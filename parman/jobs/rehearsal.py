# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a dry run looks at before a job is run: its files, its directory, other jobs in the same place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..context import Site
from ..errors import ArgumentError, JobError, ParmanError
from ..markers import is_pending
from ..paths import Key, format_path
from ..staging.base import check_locator
from ..trees import walk
from .plan import JobPlan
from .record import Record, State

__all__ = ["Rehearsal"]


class Rehearsal:
    """One call of a job in a dry run; its arguments have been checked, and may be wrong.

    Parameters
    ----------
    plan
        The template, the settings and the places.
    name
        The name of the job, for messages.
    arguments
        By name; they may hold futures.
    is_made
        Tells whether a value stands for what another call is going to make.
    """

    def __init__(self, plan: JobPlan, name: str, arguments: Mapping[str, Any], is_made: Callable[[Any], bool]) -> None:
        self._plan = plan
        self._name = name
        self._arguments = arguments
        self._is_made = is_made

    def problems(self, site: Site, seen: dict[Any, Any]) -> list[ParmanError]:
        """Return what is wrong; the directory of the job is noted among those that were seen."""
        found: list[ParmanError] = []
        home = self._home()
        if home is not None:
            found += self._directory_problems(home, site, seen)
        found += self._file_problems(seen)
        return found

    def _home(self) -> Path | None:
        """Return the directory of the job; None if it is still to come, or if the locator is a mistake."""
        locator = self._arguments.get("locator")
        if locator is None or is_pending(locator):
            return None
        try:
            return self._plan.staging.home(check_locator(locator))
        except (ArgumentError, JobError):
            return None

    def _directory_problems(self, home: Path, site: Site, seen: dict[Any, Any]) -> Iterator[ParmanError]:
        if home in seen:
            yield JobError(
                f"{self._name}(): the locator {str(self._arguments['locator'])!r} is that of the call at {seen[home]}, "
                "too; each job needs a directory of its own"
            )
        seen.setdefault(home, site)
        state = Record(home).state()
        again = state.name.lower() in self._plan.rerun or self._plan.template.can_resume
        if state is State.BROKEN or (state in (State.FAILED, State.UNFINISHED) and not again):
            yield JobError(
                f"{self._name}(): {home} {state.value}; remove it ('parman-clean-results {self._plan.staging.root}' "
                "removes all that did not finish)"
            )

    def _file_problems(self, seen: dict[Any, Any]) -> Iterator[ParmanError]:
        for steps, leaf in walk({name: value for name, value in self._arguments.items() if name != "locator"}):
            if not isinstance(leaf, Path) or self._is_made(leaf):
                continue
            source = Path(os.path.abspath(self._plan.here / leaf))  # noqa: PTH100 (links are left as they are)
            if not source.exists() and not any(parent in seen for parent in source.parents):
                first = steps[0]
                place = format_path(str(first.key) if isinstance(first, Key) else "", steps[1:])
                yield ArgumentError(
                    f"{self._name}(): argument {place} names the file {str(leaf)!r}, which is not there"
                )
