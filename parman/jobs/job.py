# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs: templates that are called like functions, in a block and without one."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

from ..context import call, current_workflow
from ..staging.base import Staging
from ..staging.inplace import InPlace
from .definition import JobDefinition
from .plan import JobPlan
from .settings import JobSettings
from .template import Template

__all__ = ["Job", "job_template"]

_REMEMBERED = 4
"""Plans that a job remembers, for as many blocks that take turns."""


def job_template(path: str | os.PathLike[str], settings: JobSettings | None = None) -> Job:
    """Make a template directory a job: a task that runs the script in it.

    Parameters
    ----------
    path
        The directory, with a `jobinfo.py` and an executable script `run`. Relative to the current directory.
    settings
        Settings for this template, over those of the block.

    Returns
    -------
    Job
        Called with a locator, which says where below the results root the job is kept, and with the arguments of the
        function `mock` in `jobinfo.py`. In a block it returns the structure of what `mock` returns, with futures;
        without a block it runs the script and returns the result.

    Raises
    ------
    TemplateError
        The directory is not there, or its `jobinfo.py` is missing, fails, or does not describe a job.
    """
    return Job(Template(path), settings or JobSettings(), InPlace())


class Job:
    """A template as a task; made by `job_template`.

    Attributes
    ----------
    template
        The template directory.
    settings
        Its own settings.
    """

    def __init__(self, template: Template, settings: JobSettings, staging: Staging) -> None:
        self.template = template
        self.settings = settings
        self._staging = staging
        self._recent: tuple[_Planned, ...] = ()
        self.__name__ = self.__qualname__ = template.name
        self.__doc__ = template.mock.__doc__
        self.__signature__: inspect.Signature = template.signature

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the job, or return its result if it has one; in a block, return the structure of its result at once.

        Parameters
        ----------
        *args
            The locator: a relative path, such as "g00/boot".
        **kwargs
            The arguments of the template's function `mock`.
        """
        planned = self._planned()
        return call(planned, planned.__parman_task__.function, args, kwargs)

    def __repr__(self) -> str:
        return f"<job {self.template.name} of {self.template.path}>"

    def __reduce__(self) -> Any:
        return Job, (self.template, self.settings, self._staging)

    def _planned(self) -> _Planned:
        block = current_workflow()
        around = None if block is None else block.jobs
        here = Path.cwd()
        for planned in self._recent:
            if planned.around is around and planned.__parman_task__.plan.here == here:
                return planned
        settings = self.settings.over(around)
        crowd = self.template.path if self.settings.at_once is not None else None
        plan = JobPlan(self.template, settings, settings.staging or self._staging, here, crowd)
        planned = _Planned(plan, around)
        # Replaced as a whole, since other threads may be here, too.
        self._recent = (planned, *self._recent[: _REMEMBERED - 1])
        return planned


class _Planned:
    """A job with the settings of a block: the task of its calls there."""

    def __init__(self, plan: JobPlan, around: JobSettings | None = None) -> None:
        self.around = around
        self.__parman_task__ = JobDefinition(plan)

    def __repr__(self) -> str:
        return f"<job {self.__parman_task__.name}>"

    def __reduce__(self) -> Any:
        definition = self.__parman_task__
        plan = definition.plan
        content = (plan.template, plan.settings, plan.staging, plan.here, plan.crowd)
        return _load_planned, (content, definition.travelling_annotations())


def _load_planned(content: tuple[Any, ...], annotations: dict[str, Any]) -> _Planned:
    planned = _Planned(JobPlan(*content))
    planned.__parman_task__.learn_annotations(annotations)
    return planned
