# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Running one call, wherever that is: the same few steps on every runner.

The outcome of a call is either the values of the leaves of its result, in the order of the structure, or the
exception. An outcome is always returned, never raised: what a task does ends in its own call and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ..annotations.spec import ResultSpec
from ..context import InsideTask, in_force
from ..errors import ArgumentError, JobError, StructureError
from ..lifecycle import Stop
from ..snapshots.exceptions import annotate, duplicate, strip, traceback_text
from ..tasks import TaskDefinition
from ..trees.nodes import short_repr

__all__ = ["Outcome", "TaskWarning", "describe_call", "perform"]


@attrs.frozen
class TaskWarning:
    """Something that the user is told once: a kind, and a sentence."""

    kind: str
    text: str


@attrs.define
class Outcome:
    """How a call ended.

    Attributes
    ----------
    values
        The value of each leaf, if the task returned what it promised.
    failure
        The exception otherwise, without frames and with notes.
    result
        What the task returned, if the runner is to hand it out as it is.
    warnings
        What the user should know besides.
    """

    values: list[Any] | None
    failure: BaseException | None
    result: Any = None
    warnings: tuple[TaskWarning, ...] = ()


def describe_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Write a call in a line, with its arguments shortened."""
    return f"{name}({', '.join(f'{key}={short_repr(value)}' for key, value in arguments.items())})"


def perform(
    definition: TaskDefinition,
    take_arguments: Callable[[], dict[str, Any]],
    structure: ResultSpec,
    where: object,
    *,
    late: Sequence[str] = (),
    check: str = "error",
    runner: object = None,
    stop: Stop | None = None,
    in_place: bool = False,
) -> Outcome:
    """Call the function of a task, in this thread, and say how it ended.

    Parameters
    ----------
    definition
        The task.
    take_arguments
        Makes the arguments by name; they are the task's own, and nobody else should hold them.
    structure
        What was promised.
    where
        The line in the user's file that made the call, as `str` writes it, for the notes of a failure.
    late
        Parameters whose values were not known at the call: they are checked now.
    check
        "error", "warn" or "off".
    runner
        The runner, where it is in this process.
    stop
        Asks the task to end.
    in_place
        The caller of the task waits for it in the same thread: Ctrl-C is the caller's, the frames of a failure are
        kept for a debugger, and the result is wanted as it is.
    """
    warnings: list[TaskWarning] = []
    arguments: dict[str, Any] = {}
    outcome: Outcome
    around = in_force.get()
    inside = InsideTask(runner, frozenset() if around is None else around.enclosing, stop)
    token = in_force.set(inside)
    try:
        arguments = take_arguments()
        if late and check != "off" and not definition.schema.all_fit_surely(arguments, late):
            _check_late(definition, arguments, late, check, warnings)
        args, kwargs = definition.schema.call_arguments(arguments)
        result = definition.function(*args, **kwargs)
        del args, kwargs
        values = structure.flatten(result)
        if check != "off" and (texts := structure.mismatches(values)):
            warnings += _mismatches(definition, texts)
    except BaseException as exception:  # SystemExit and KeyboardInterrupt too: they end the task, not the worker
        if in_place and isinstance(exception, KeyboardInterrupt):
            raise
        outcome = Outcome(None, _told(exception, definition, arguments, where, in_place))
    else:
        outcome = Outcome(values, None, result if in_place else None)
    finally:
        in_force.reset(token)
    if inside.called:
        warnings.append(_nested(definition, inside.called))
    if warnings:
        outcome.warnings = tuple(warnings)
    return outcome


def _check_late(
    definition: TaskDefinition, arguments: dict[str, Any], late: Sequence[str], check: str, warnings: list[TaskWarning]
) -> None:
    problems = definition.schema.problems(arguments, late)
    if problems and check == "error":
        raise problems[0]
    warnings += [TaskWarning("argument", str(problem)) for problem in problems]


def _mismatches(definition: TaskDefinition, texts: list[str]) -> list[TaskWarning]:
    head = f"{definition.name}() returned what its annotation does not promise"
    return [TaskWarning("result", f"{head}: {text}") for text in texts]


def _nested(definition: TaskDefinition, called: set[str]) -> TaskWarning:
    names = ", ".join(sorted(called))
    return TaskWarning(
        "nested",
        f"{definition.name}() called the tasks {names} while it was running: those ran in place, one after another; "
        "call them from the workflow to run them in parallel",
    )


def _told(
    exception: BaseException, definition: TaskDefinition, arguments: dict[str, Any], where: object, in_place: bool
) -> BaseException:
    """Return the exception as the future will have it.

    It is a copy, since the task may have raised an object that others raise and hold as well: a constant of a module,
    or the failure of another call.
    """
    trace = traceback_text(exception, skip=1)
    failure = duplicate(exception)
    _add_notes(failure, trace, definition, arguments, where)
    if failure is not exception:
        BaseException.with_traceback(exception, None)
    if not in_place:
        strip(failure)
    return failure


def _add_notes(
    exception: BaseException, trace: str, definition: TaskDefinition, arguments: dict[str, Any], where: object
) -> None:
    annotate(exception, f"In the task {describe_call(definition.name, arguments)}, called at {where}.")
    if not isinstance(exception, StructureError | ArgumentError | JobError):
        annotate(exception, f"The task's traceback:\n{trace}")
