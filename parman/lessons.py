# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a worker is told of a task, once: the task, the structure of its results, the lines of its file.

The structure travels as the driver has found it. A worker that found it in the annotations itself might find another
one: names in annotations that are text mean nothing where the script is not `__main__`. The values of the leaves come
back in a row, so a structure with other places would put them into wrong ones, unseen. Therefore each call says which
structure it expects, and a worker that has another one refuses to run it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .codes import Source, file_sources, learn_sources
from .errors import StructureError
from .snapshots import freeze, pickled
from .structures import Structure

if TYPE_CHECKING:
    from .definitions import Definition

__all__ = ["Lesson"]


class Lesson:
    """What a worker is told of a task.

    Parameters
    ----------
    task
        The task.
    structure
        The structure of the results of all its calls; None if each call has its own, or if it can't travel.
    sources
        The lines of the file in which its function stands.
    """

    def __init__(self, task: Any, structure: Structure | None, sources: list[Source]) -> None:
        self.task = task
        self.structure = structure
        self.sources = sources
        self._agreed: str | None = None
        learn_sources(sources)

    @classmethod
    def about(cls, task: Any) -> Lesson:
        """Make the lesson, in the driver."""
        definition: Definition = task.__parman_task__
        return cls(task, _that_travels(definition.schema.fixed_structure()), file_sources(definition.function))

    def __reduce__(self) -> tuple[type[Lesson], tuple[Any, Structure | None, list[Source]]]:
        return Lesson, (self.task, self.structure, self.sources)

    @property
    def definition(self) -> Definition:
        """What is known of the task here."""
        definition: Definition = self.task.__parman_task__
        return definition

    def structure_of(self, expected: Structure | str) -> Structure:
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
            self.structure = self.definition.schema.structure({})
        if self._agreed != expected:
            if self.structure.digest != expected:
                raise StructureError(
                    f"{self.definition.name}() has a return annotation that means {self.structure.form.shape()} in "
                    "the worker, but something else in your script: a name in it, or in the fields of its classes, is "
                    "another thing there. Annotate Annotated[..., Whole] to get one future, or import the name "
                    "where the class is defined"
                )
            self._agreed = expected
        return self.structure


def _that_travels(structure: Structure | None) -> Structure | None:
    """Return a structure as far as it can travel: at least its places, without the types declared for its leaves."""
    for candidate in [] if structure is None else [structure, structure.bare()]:
        try:
            freeze(candidate, pickled)
        except Exception:
            continue
        return candidate
    return None
