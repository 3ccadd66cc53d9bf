# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a runner is, and what it has to know of an executor: where its workers are, and how many.

A runner takes a closure, sees that it is run somewhere, and returns its result tree.
"""

from __future__ import annotations

import inspect
import math
import operator
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeGuard, get_args

import attrs

from ..errors import WorkflowError
from ..pool.threads import ThreadPool
from ..snapshots.take import Serializer, in_process
from ..trees.nodes import short_repr

if TYPE_CHECKING:
    from ..closures import CallOptions, Closure
    from ..context import Site
    from ..errors import ParmanError
    from ..pool.processes import ProcessPool
    from .registry import CallRegistry

__all__ = [
    "PLACES",
    "ExecutorInfo",
    "Runner",
    "Where",
    "check_submit",
    "check_workers",
    "executor_info",
    "is_process_pool",
    "tells_of_death",
]


class Runner(ABC):
    """Runs closures.

    A runner is a context manager that shuts down what it opened itself, and can be entered again.
    """

    serializer: Serializer = in_process
    """How the arguments of calls are copied for this runner."""

    is_dry: ClassVar[bool] = False
    """Whether tasks are not run."""

    @property
    def joined_at_exit(self) -> bool:
        """Whether the interpreter may wait for running calls before it runs exit hooks."""
        return False

    @property
    def workers(self) -> int:
        """How many calls it runs at a time, as far as is known."""
        return 1

    @abstractmethod
    def run(self, closure: Closure, registry: CallRegistry) -> Any:
        """See that the closure is run, and return its result tree; what becomes of it is written into the registry."""

    def __call__(self, closure: Closure) -> Any:
        """See that the closure is run.

        Parameters
        ----------
        closure
            The call.

        Returns
        -------
        The result tree, with futures where values are still missing.
        """
        return self.run(closure.carried_by(self.serializer), self.own_registry)

    @property
    @abstractmethod
    def own_registry(self) -> CallRegistry:
        """The registry of calls that belong to no block."""

    def serializer_for(self, wanted: Runner | Executor | str | None) -> Serializer:
        """Return how the arguments of calls are copied in a block on this runner whose head names another one."""
        return self.serializer

    def refuse(
        self,
        error: Exception,
        task: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: CallOptions,
        site: Site,
    ) -> Any:
        """Deal with a call that can't be made: raise the error, or return what stands in for the result."""
        raise error

    def object_to(self, error: ParmanError) -> None:
        """Deal with a mistake that is not one of a call: raise the error, or note it."""
        raise error

    def begin(self, registry: CallRegistry) -> None:
        """Prepare for the calls of a block."""

    def end(self, registry: CallRegistry) -> None:
        """Let go of what served the calls of a block, which has been left."""

    def finish(self, registry: CallRegistry, cause: BaseException | None) -> None:
        """Do what is to be done when a block of a dry run is left, with what left it if that was an exception."""

    def refuse_to_wait(self, what: str) -> None:
        """Raise, rather than wait for ever, on the thread that has to end the calls that are waited for."""

    def cancel_pending(self, registry: CallRegistry) -> None:
        """Cancel the calls of a block that have not started."""

    def interrupt(self, registry: CallRegistry) -> None:
        """Give up all calls of a block at once, for Ctrl-C; not those of other blocks."""

    def stop_running(self) -> None:
        """End what is running, of whatever block, as far as that is the runner's to end."""

    def wait_for_end(self) -> None:
        """Wait a moment, after `interrupt`, for what it has told to end."""

    def shutdown(self) -> None:
        """Release what the runner opened; it opens that again when it is used again."""

    def release(self) -> None:
        """Have threads and the like end when no block uses the runner; they start again when needed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()


Where = Literal["inside", "machine", "cluster", "unknown"]
PLACES: tuple[str, ...] = get_args(Where)

_CLUSTERS = ("executorlib", "mpi4py")
"""Packages whose executors always have processes of their own, on machines with the same files."""


_DEATHS = (
    ("executorlib", "ExecutorlibSocketError"),
    ("distributed", "KilledWorker"),
    ("parsl", "ManagerLost"),
    ("parsl", "WorkerLost"),
    ("pebble", "ProcessExpired"),
)
"""Packages, and what they raise for a call whose worker has died."""


@attrs.frozen
class ExecutorInfo:
    """What a runner has to know of an executor.

    Attributes
    ----------
    where
        Where functions run. "inside" of this very process, so that nothing has to be pickled. In other processes of
        this "machine", which get the whole state of the block (directory, environment, ...), and leave scripts of jobs
        to the driver. On a "cluster", that is on machines with the same files, which get the block's directory and
        import path. Or "unknown": such workers get the import path.
    workers
        How many calls run at a time; infinity if that is not known.
    """

    where: Where
    workers: float = math.inf


def check_submit(executor: object) -> None:
    """Look whether the arguments of a call are what `submit` takes behind the function, as PEP 3148 has it.

    Raises
    ------
    WorkflowError
        There is no such method, or it takes something else first, such as a time limit; what helps is said.
    """
    submit = getattr(executor, "submit", None)
    if isinstance(executor, type) or not callable(submit):
        raise WorkflowError(
            f"{short_repr(executor)} is no executor: pass an object with a method submit, such as ThreadPool(4)"
        )
    kind = f"{type(executor).__module__.partition('.')[0]}.{type(executor).__qualname__}"
    if inspect.iscoroutinefunction(submit):
        raise WorkflowError(f"submit() of {kind} is a coroutine function, and that of an executor returns a future")
    try:
        signature = inspect.signature(submit)
    except (TypeError, ValueError):  # of one that is written in C, say
        return
    if not _takes_a_call(signature):
        stars: dict[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
        parts = ", ".join(stars.get(one.kind, "") + one.name for one in signature.parameters.values())
        raise WorkflowError(
            f"{kind} is no executor of the standard library's kind: its method is submit({parts}), where "
            "submit(function, *arguments) is needed. Take 'processes', whose workers are replaced when they die, "
            "or pass an object whose method submit(function, *arguments) calls this one as it wants to be called "
            f"{_hint(executor)}"
        )


def _takes_a_call(signature: inspect.Signature) -> bool:
    """Tell whether what comes second by position is an argument of the call, and no option of the executor's."""
    kinds = [(one.name, one.kind, one.default) for one in signature.parameters.values()]
    by_position = [
        one for one in kinds if one[1] in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    needed = [
        name for name, kind, default in kinds if kind == inspect.Parameter.KEYWORD_ONLY and default is inspect._empty
    ]
    if needed:
        return False
    if any(kind == inspect.Parameter.VAR_POSITIONAL for _, kind, _ in kinds):
        return len(by_position) <= 1
    # An executor of the user's, for functions of one argument, will do.
    return len(by_position) == 2 and by_position[1][0] not in ("args", "timeout")


def _hint(executor: object) -> str:
    schedule = getattr(executor, "schedule", None)
    return "(pool.schedule(function, args=arguments))" if callable(schedule) else ""


def check_workers(workers: object) -> int | None:
    """Return a number of workers that the user gives, if any, as an int.

    Raises
    ------
    WorkflowError
        It is none from 1 on: no call would ever run.
    """
    if workers is None:
        return None
    try:
        count = operator.index(workers)  # type: ignore[arg-type]
    except TypeError:
        count = 0
    if count < 1:
        raise WorkflowError(f"workers must be a whole number from 1 on, not {short_repr(workers)}")
    return count


def executor_info(executor: Executor, where: Where | None = None, workers: int | None = None) -> ExecutorInfo:
    """Find out what can be known of an executor.

    Parameters
    ----------
    executor
        The executor.
    where
        Where its workers are, if the user says so.
    workers
        How many workers it has, if the user says so.
    """
    known = workers or getattr(executor, "workers", None) or getattr(executor, "_max_workers", None)
    return ExecutorInfo(where or _where(executor), known if isinstance(known, int) and known > 0 else math.inf)


def _where(executor: Executor) -> Where:
    if isinstance(executor, ThreadPool | ThreadPoolExecutor):
        return "inside"
    if is_process_pool(executor) or "loky" in type(executor).__module__:
        return "machine"
    if isinstance(executor, _class("concurrent.futures.process", "ProcessPoolExecutor")):
        return "machine"
    return "cluster" if type(executor).__module__.partition(".")[0] in _CLUSTERS else "unknown"


def is_process_pool(executor: object) -> TypeGuard[ProcessPool]:
    """Tell whether this is a pool of our own processes."""
    return isinstance(executor, _class("parman.pool.processes", "ProcessPool"))


def _class(module: str, name: str) -> Any:
    """Return a class, or nothing if its module was not imported: then there are no instances of it."""
    return getattr(sys.modules.get(module), name, ())


def tells_of_death(exception: BaseException) -> bool:
    """Tell whether an executor says by this exception that workers of it have died."""
    kind = type(exception)
    return isinstance(exception, BrokenExecutor) or (kind.__module__.partition(".")[0], kind.__name__) in _DEATHS
