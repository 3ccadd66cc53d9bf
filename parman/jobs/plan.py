# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A template with all that its calls in one block have in common: settings, staging, the driver's directory."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from ..errors import JobError, TemplateError
from ..markers import is_pending
from ..staging.base import Place, Staging, check_locator
from ..trees import map_leaves
from .settings import JobSettings
from .template import Template

__all__ = ["JobPlan"]


@attrs.frozen(eq=False, slots=False)
class JobPlan:
    """A template with all that its calls in one block have in common.

    Attributes
    ----------
    template
        The template.
    settings
        The template's own settings, over those of the block.
    staging
        The staging.
    here
        The driver's directory.
    crowd
        Which jobs are counted together for `at_once`.
    """

    template: Template
    settings: JobSettings
    staging: Staging
    here: Path
    crowd: Hashable = None

    @property
    def rerun(self) -> frozenset[str]:
        """Which jobs are run again."""
        return self.settings.rerun or frozenset()

    @property
    def on_change(self) -> str:
        """What it does when the template has changed."""
        return self.settings.on_change or "warn"

    def place(self, locator: PurePosixPath) -> Place:
        """Return the directory of a job."""
        return Place(self.staging, locator, self.here)

    def _named(self, path: Path, place: Place) -> Path:
        try:
            return place.outward(path)
        except JobError as error:
            raise TemplateError(f"{self.template.path / 'jobinfo.py'}: mock() returns {str(path)!r}: {error}") from None

    @cached_property
    def mock(self) -> Callable[..., Any]:
        """The template's mock, with the parameters and the paths of a job."""

        def mock(locator: Any, /, **kwargs: Any) -> Any:
            result = self.template.mock(**kwargs)
            if is_pending(locator):
                return result
            place = self.place(check_locator(locator))
            return map_leaves(lambda leaf: self._named(leaf, place) if isinstance(leaf, Path) else leaf, result)

        mock.__signature__ = self.template.signature  # type: ignore[attr-defined]
        return mock
