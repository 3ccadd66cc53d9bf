# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs: templates that are called like functions, in a block and without one.

    Job                   a template and its own settings: what the user calls
     └ _BoundJob          the same with the settings of one block: a task
        └ JobDefinition   what runners know of the task: its schema, and a function that makes a `JobCall`

A `Job` remembers some of the last it was bound to, so that a block has one for all its calls.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..context import InsideTask, Site, call, current_workflow, in_force
from ..errors import ParmanError
from ..lifecycle import Stop
from ..tasks import Options, TaskDefinition
from .call import JobCall, check_job
from .schema import JobSchema
from .settings import JobSettings
from .staging import InPlace, Staging
from .template import JobPlan, Template

__all__ = ["Job", "JobDefinition", "job_template"]

_RECENT = 4
"""How many blocks may take turns without a job being bound anew."""


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
        self._recent: tuple[_BoundJob, ...] = ()
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
        bound = self._bind()
        return call(bound, bound.__parman_task__.function, args, kwargs)

    def __repr__(self) -> str:
        return f"<job {self.template.name} of {self.template.path}>"

    def __reduce__(self) -> Any:
        return Job, (self.template, self.settings, self._staging)

    def _bind(self) -> _BoundJob:
        """Return the job as it is called in the block in force, and in the present directory."""
        block = current_workflow()
        around = None if block is None else block.jobs
        here = Path.cwd()
        for bound in self._recent:
            if bound.around is around and bound.__parman_task__.plan.here == here:
                return bound
        settings = self.settings.over(around)
        limit_key = self.template.path if self.settings.at_once is not None else None
        plan = JobPlan(self.template, settings, settings.staging or self._staging, here, limit_key)
        bound = _BoundJob(plan, around)
        # Replaced as a whole, since other threads may be here, too.
        self._recent = (bound, *self._recent[: _RECENT - 1])
        return bound


class _BoundJob:
    """A job with the settings of a block: the task of its calls there."""

    def __init__(self, plan: JobPlan, around: JobSettings | None = None) -> None:
        self.around = around
        self.__parman_task__ = JobDefinition(plan)

    def __repr__(self) -> str:
        return f"<job {self.__parman_task__.name}>"

    def __reduce__(self) -> Any:
        definition = self.__parman_task__
        plan = definition.plan
        content = (plan.template, plan.settings, plan.staging, plan.here, plan.limit_key)
        return _load_bound_job, (content, definition.travelling_annotations())


def _load_bound_job(content: tuple[Any, ...], annotations: dict[str, Any]) -> _BoundJob:
    bound = _BoundJob(JobPlan(*content))
    bound.__parman_task__.learn_annotations(annotations)
    return bound


class JobDefinition(TaskDefinition):
    """What is known of a job as a task.

    Parameters
    ----------
    plan
        The template, the settings and the places.
    """

    is_blocking = True

    def __init__(self, plan: JobPlan) -> None:
        self.plan = plan
        self.at_once = plan.settings.at_once
        self.limit_key = plan.limit_key
        super().__init__(self._function(), Options(mock=plan.mock, resources=plan.template.resources))

    def _function(self) -> Any:
        """Return a function that runs the job, with the signature and the name of the template."""
        template = self.plan.template

        def run(*args: Any, **kwargs: Any) -> Any:
            given = self.schema.bind(args, kwargs)
            parameters = template.signature.parameters.values()
            full = {p.name: given.get(p.name, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
            inside = in_force.get()
            stop = inside.stop if isinstance(inside, InsideTask) else None
            return JobCall(self.plan, self.schema, given["locator"], full, stop or Stop()).result()

        run.__signature__ = template.signature  # type: ignore[attr-defined]
        run.__wrapped__ = template.mock  # type: ignore[attr-defined] # annotations are read where it was written
        run.__name__ = run.__qualname__ = template.name
        run.__doc__ = template.mock.__doc__
        return run

    @cached_property
    def schema(self) -> JobSchema:
        """Parameters and result, as the template says."""
        return JobSchema(self.function, self.plan)

    def dry_run(
        self, arguments: Mapping[str, Any], site: Site, seen: dict[Any, Any], is_made: Callable[[Any], bool]
    ) -> list[ParmanError]:
        """Return what is wrong with a call, as far as the files show it."""
        return list(check_job(self.plan, self.name, arguments, is_made, site, seen))
