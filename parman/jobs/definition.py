# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is known of a job as a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from ..context import InsideTask, Site, in_force
from ..definitions import Definition, Options
from ..errors import ParmanError
from ..stopping import Stop
from .execution import Execution
from .plan import JobPlan
from .rehearsal import Rehearsal
from .schema import JobSchema

__all__ = ["JobDefinition"]


class JobDefinition(Definition):
    """What is known of a job as a task.

    Parameters
    ----------
    plan
        The template, the settings and the places.
    """

    waits = True

    def __init__(self, plan: JobPlan) -> None:
        self.plan = plan
        self.at_once = plan.settings.at_once
        self.crowd = plan.crowd
        super().__init__(self._function(), Options(mock=plan.mock, resources=plan.template.resources))

    def _function(self) -> Any:
        template = self.plan.template

        def run(*args: Any, **kwargs: Any) -> Any:
            return self._run(args, kwargs)

        run.__signature__ = template.signature  # type: ignore[attr-defined]
        run.__wrapped__ = template.mock  # type: ignore[attr-defined] # annotations are read where it was written
        run.__name__ = run.__qualname__ = template.name
        run.__doc__ = template.mock.__doc__
        return run

    def _run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        given = self.schema.bind(args, kwargs)
        parameters = self.plan.template.signature.parameters.values()
        full = {p.name: given.get(p.name, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
        inside = in_force.get()
        stop = inside.stop if isinstance(inside, InsideTask) else None
        return Execution(self.plan, self.schema, given["locator"], full, stop or Stop()).result()

    @cached_property
    def schema(self) -> JobSchema:
        """Parameters and result, as the template says."""
        return JobSchema(self.function, self.plan)

    def rehearse(
        self, arguments: Mapping[str, Any], site: Site, seen: dict[Any, Any], is_made: Callable[[Any], bool]
    ) -> list[ParmanError]:
        """Return what is wrong with a call, as far as the files show it."""
        return Rehearsal(self.plan, self.name, arguments, is_made).problems(site, seen)
