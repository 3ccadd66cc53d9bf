# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Every error that Parman raises.

What the user can mend by changing the script is a `TypeError` (or a `WorkflowError` for a misused block)
whose message names the place in the user's file. A mistake of ours keeps its ordinary traceback.

    ParmanError (mix-in)
    ├── TypeError
    │   ├── TaskError           a function that can't be a task
    │   │   └── TemplateError   a directory that can't be the template of a job
    │   ├── ArgumentError       an argument that does not fit its annotation, or can't be passed on
    │   │   └── HiddenFutureError   a future where it can't be found and replaced by its value
    │   ├── FutureTypeError     a future whose declared type can't fit the parameter
    │   ├── FutureUseError      a future that is used as if it were its value
    │   │   └── FutureAttributeError    an attribute of the value is asked of the future; an AttributeError, too
    │   ├── ResultError         a result that can't be sent back from a worker
    │   └── StructureError      a result (or Length, Keys, mock) of another structure than promised
    ├── RuntimeError
    │   ├── WorkflowError       a block or runner used in a way that can't work
    │   ├── JobError            a job directory that does not allow to go on
    │   │   └── JobFailed       the script of a job failed
    │   ├── WorkerDied          a worker process ended while calls were there
    │   ├── RemoteError         stands for an exception that can't be rebuilt in this process
    │   └── Interrupted         the call was abandoned because of Ctrl-C or the end of the interpreter
    ├── ExceptionGroup
    │   ├── WorkflowFailed      the failures of a block that nobody retrieved
    │   └── DryRunErrors        what a dry run found
    └── ImportError
        └── MissingExtra        an optional dependency is not installed
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

__all__ = [
    "ArgumentError",
    "DryRunErrors",
    "FailedCall",
    "Failure",
    "FutureAttributeError",
    "FutureTypeError",
    "FutureUseError",
    "HiddenFutureError",
    "Interrupted",
    "JobError",
    "JobFailed",
    "MissingExtra",
    "ParmanError",
    "RemoteError",
    "ResultError",
    "StructureError",
    "TaskError",
    "TemplateError",
    "WorkerDied",
    "WorkflowError",
    "WorkflowFailed",
]


class ParmanError(Exception):
    """The mix-in of all errors that Parman raises on its own account."""


class TaskError(ParmanError, TypeError):
    """A function that can't be a task, such as an `async def` or a generator function."""


class TemplateError(TaskError):
    """A directory that can't be the template of a job, such as one without `jobinfo.py`."""


class ArgumentError(ParmanError, TypeError):
    """An argument that does not fit its annotation, or that can't be given to a task."""


class HiddenFutureError(ArgumentError):
    """A future in a place where it can't be found and replaced by its value."""


class FutureTypeError(ParmanError, TypeError):
    """A future whose declared type can have no value in common with the parameter it is passed to."""


class FutureUseError(ParmanError, TypeError):
    """A future that is used as if it were its value."""


class FutureAttributeError(FutureUseError, AttributeError):
    """An attribute of the value is asked of the future; an `AttributeError`, so that `hasattr` works."""


class ResultError(ParmanError, TypeError):
    """A result that can't be sent back from a worker."""


class StructureError(ParmanError, TypeError):
    """A result whose structure is not the promised one.

    Attributes
    ----------
    result
        What the task returned, so that it is not lost.
    """

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class WorkflowError(ParmanError, RuntimeError):
    """A block or a runner that is used in a way that can't work."""


class JobError(ParmanError, RuntimeError):
    """A job can't go on with what is in its directory; the message names the file and what to do."""


class JobFailed(JobError):
    """The script of a job failed.

    Attributes
    ----------
    locator
        Where its results live, below the results root.
    script
        The name of the script.
    status
        Its exit status; None if it ended well, but left no result.
    directory
        Where it ran.
    """

    def __init__(
        self, message: str, locator: str = "", script: str = "", status: int | None = None, directory: str = ""
    ) -> None:
        super().__init__(message)
        self.locator = locator
        self.script = script
        self.status = status
        self.directory = directory


class WorkerDied(ParmanError, RuntimeError):
    """A worker process ended while calls were running in it, or were in flight to it."""


class RemoteError(ParmanError, RuntimeError):
    """Stands for an exception of a worker that can't be rebuilt in this process.

    Its text holds the name of the original type, its message and its traceback.
    """


class Interrupted(ParmanError, RuntimeError):
    """The call was given up because of Ctrl-C, or because the interpreter ended."""


class MissingExtra(ParmanError, ImportError):
    """An optional dependency is not installed; the message says how to install it."""


class FailedCall(Protocol):
    """A call that failed, as far as a script needs it: a `Closure`."""

    task: Any
    name: str
    site: Any

    def rerun(self) -> Any:
        """Run the call again, here and now, with the arguments as they were."""


class Failure(NamedTuple):
    """A call that failed, and the exception it failed with."""

    closure: FailedCall
    exception: BaseException


class WorkflowFailed(ParmanError, ExceptionGroup[Exception]):
    """Calls of a block failed and nobody retrieved the failures.

    The other calls have run, and their results are there: `resolve(results, return_exceptions=True)` gives both. Done
    in the block, that retrieves the failures, and this is not raised.

    Attributes
    ----------
    failed
        For each root failure the closure and its exception; what failed only because of it is not listed.
    """

    failed: tuple[Failure, ...] = ()

    def derive(self, excs: Sequence[Exception], /) -> Self:  # type: ignore[override]
        """Make the group that `except*` and `split` hand out, with the failures that are in it."""
        group = type(self)(self.message, excs)
        kept = {id(exc.__cause__ if isinstance(exc, RemoteError) and exc.__cause__ else exc) for exc in excs}
        group.failed = tuple(failure for failure in self.failed if id(failure.exception) in kept)
        return group


class DryRunErrors(ParmanError, ExceptionGroup[Exception]):
    """All mistakes that a dry run found, each with the user's file and line in its notes."""

    def derive(self, excs: Sequence[Exception], /) -> Self:  # type: ignore[override]
        """Make the group that `except*` and `split` hand out."""
        return type(self)(self.message, excs)
