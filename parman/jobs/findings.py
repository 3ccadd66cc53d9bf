# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is found in the directory of a job, compared with what a call wants."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import JobError
from .arguments import Arguments
from .converters import load_json, same_json
from .record import Record, State
from .template import Template

__all__ = ["Findings"]


class Findings:
    """One look at the directory of a job, from the point of view of one call.

    Parameters
    ----------
    record
        The directory.
    arguments
        What the job is called with.
    template
        What it would be made from.

    Attributes
    ----------
    state
        What the files say.
    """

    def __init__(self, record: Record, arguments: Arguments, template: Template) -> None:
        self._record = record
        self._arguments = arguments
        self._template = template
        self.state = record.state()

    @cached_property
    def kwargs(self) -> Any:
        """The arguments that the job was made with; None if the user says that the result holds for any."""
        return load_json(self._record.kwargs)

    @cached_property
    def sums(self) -> dict[str, str] | None:
        """The sums of the files that it was made with; None if the user says that the result holds for any."""
        return self._read(self._record.sums)

    @cached_property
    def other_arguments(self) -> list[str]:
        """The names of the arguments that were others."""
        if self.kwargs is None:
            return []
        if not isinstance(self.kwargs, dict):
            raise JobError(f"{self._record.kwargs} holds no object with arguments")
        return _differing(self.kwargs, self._arguments.json, same_json)

    @cached_property
    def other_files(self) -> list[str]:
        """The files among the arguments whose contents were others."""
        return [] if self.sums is None else _differing(self.sums, self._arguments.sums)

    @property
    def has_changed(self) -> bool:
        """Whether the job was made with other arguments, or other files among them."""
        return bool(self.other_arguments or self.other_files)

    @cached_property
    def other_template_files(self) -> list[str]:
        """The files of the template that were others."""
        made_from = self._read(self._record.template_sums)
        return [] if made_from is None else _differing(made_from, self._template.sums())

    @property
    def is_complete(self) -> bool:
        """Whether there is a result, and nothing to write, to remove or to tell."""
        if self.state is not State.FINISHED or self.has_changed or self.other_template_files:
            return False
        old = self._record.new_kwargs.exists() or self._record.new_sums.exists()
        return self.kwargs is not None and self.sums is not None and not old

    def _read(self, path: Path) -> dict[str, str] | None:
        try:
            return self._record.read_sums(path)
        except ValueError as error:
            raise JobError(f"{path} is not what sha256sum writes: {error}") from None


def _differing(one: Mapping[str, Any], other: Mapping[str, Any], same: Any = lambda a, b: a == b) -> list[str]:
    names = sorted({*one, *other})
    return [name for name in names if name not in one or name not in other or not same(one[name], other[name])]
