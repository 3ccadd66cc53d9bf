# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a worker is told once, under a token: of a task the structure of its results and the lines of its file as well.

The structure travels as the driver has found it. A worker that found it in the annotations itself might find another
one: names in annotations that are text mean nothing where the script is not `__main__`. The values of the leaves come
back in a row, so a structure with other places would put them into wrong ones, unseen. Therefore each call says which
structure it expects, and a worker that has another one refuses to run it.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from .annotations.evaluate import learn_fields
from .annotations.spec import ResultSpec
from .errors import StructureError
from .snapshots.cache import SnapshotCache
from .snapshots.code import Source, file_sources, learn_sources
from .snapshots.snapshot import Snapshot
from .snapshots.take import Serializer, pickled, take_snapshot

if TYPE_CHECKING:
    from .tasks import TaskDefinition

__all__ = ["Asset", "TaskSpec", "new_asset"]

_Fields: TypeAlias = dict[type, dict[str, Any]]


@attrs.frozen(eq=False)
class Asset:
    """Something that travels once to each worker, which then knows it by its token."""

    token: str
    snapshot: Snapshot


def new_asset(value: object, serializer: Serializer, cache: SnapshotCache, label: str) -> Asset:
    """Take a snapshot under a token of its own."""
    return Asset(uuid.uuid4().hex, take_snapshot(value, serializer, cache=cache, label=label))


class TaskSpec:
    """What a worker is told of a task.

    Parameters
    ----------
    task
        The task.
    structure
        The structure of the results of all its calls; None if each call has its own, or if it can't travel.
    sources
        The lines of the file in which its function stands.
    fields
        The evaluated annotations of the fields of the classes in its annotations, for which text says them.
    """

    def __init__(self, task: Any, structure: ResultSpec | None, sources: list[Source], fields: _Fields) -> None:
        self.task = task
        self.structure = structure
        self.sources = sources
        self.fields = fields
        self._agreed: str | None = None
        learn_sources(sources)
        learn_fields(fields)

    @classmethod
    def about(cls, task: Any) -> TaskSpec:
        """Make the spec, in the driver."""
        definition: TaskDefinition = task.__parman_task__
        structure = definition.schema.fixed_spec()
        fields = definition.schema.stringized_fields()
        return cls(
            task,
            None if structure is None else _first_that_travels(structure, structure.without_types()),
            file_sources(definition.function),
            _first_that_travels(fields) or {one: known for one, known in fields.items() if _first_that_travels(known)},
        )

    def __reduce__(self) -> tuple[type[TaskSpec], tuple[Any, ...]]:
        return TaskSpec, (self.task, self.structure, self.sources, self.fields)

    @property
    def definition(self) -> TaskDefinition:
        """What is known of the task here."""
        definition: TaskDefinition = self.task.__parman_task__
        return definition

    def structure_of(self, expected: ResultSpec | str) -> ResultSpec:
        """Return the structure of the result of a call.

        Parameters
        ----------
        expected
            The structure, or the digest of the one that all calls of the task have.

        Raises
        ------
        StructureError
            The structure of all calls is another one here.
        """
        if not isinstance(expected, str):
            return expected
        if self.structure is None:
            self.structure = self.definition.schema.result_spec({})
        if self._agreed != expected:
            if self.structure.digest != expected:
                raise StructureError(
                    f"{self.definition.name}() has a return annotation that means {self.structure.tree.shape()} in "
                    "the worker, but something else in your script: a name in it, or in the fields of its classes, is "
                    "another thing there. Annotate Annotated[..., Whole] to get one future, or import the name "
                    "where the class is defined"
                )
            self._agreed = expected
        return self.structure


def _first_that_travels(*candidates: Any) -> Any:
    for candidate in candidates:
        try:
            take_snapshot(candidate, pickled)
        except Exception:
            continue
        return candidate
    return None
