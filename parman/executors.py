# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A runner in the shape of an executor, for libraries that want one.

Behind it is a block that is in force nowhere: calls are made in it by `submit` alone. All of them are calls of one
task, which is given the function as its first argument. So a function is no more to the runner than any argument, and
nothing is kept of it: such libraries often make a new one for each call. What differs from a block is that a failure
belongs to the future alone, as PEP 3148 has it: nobody else is told, and nothing is kept of the call.
"""

from __future__ import annotations

import functools
import itertools
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from types import FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar

from .closures import Closure
from .context import InsideTask, Site, in_force, is_ours
from .engine.registry import CallRegistry, RegisteredCall
from .engine.runner import Runner
from .errors import Failure, WorkflowError
from .futures.future import CallFuture
from .lifecycle import unfinished
from .snapshots.exceptions import shorten
from .tasks import Options, TaskDefinition
from .workflows import Workflow

__all__ = ["RunnerExecutor", "executor"]

logger = logging.getLogger("parman")

P = ParamSpec("P")
T = TypeVar("T")


def executor(runner: Runner | Executor | str | None = None) -> RunnerExecutor:
    """Make an executor, as PEP 3148 describes them, of any runner.

    It is for libraries that take an executor, and for `asyncio`. A script is better off with tasks in a `workflow`.

    Parameters
    ----------
    runner
        As for `workflow`: a runner, an executor, or a name such as "processes:4" or "parsl"; by default that of the
        block around, or the one that the environment names, or "processes".

    Returns
    -------
    RunnerExecutor
        Shut down by `shutdown()`, or by the end of a `with` block.

    Raises
    ------
    WorkflowError
        The runner is not known, or this stands in a task that runs on this very runner.

    Examples
    --------
    >>> import asyncio
    >>> import parman
    >>> async def main():
    ...     with parman.executor("threads") as pool:
    ...         return await asyncio.get_running_loop().run_in_executor(pool, pow, 2, 10)
    >>> asyncio.run(main())
    1024
    """
    return RunnerExecutor(runner)


class RunnerExecutor(Executor):
    """An executor whose calls are run by a runner; made by `executor`.

    Functions of notebooks, of `__main__` and nested ones work on processes, too. The arguments are copied at the call,
    as those of tasks are, and the object of a method with them. A future among them is waited for and replaced by its
    value. Annotations are not looked at.

    Shutting down closes what was opened for it: a runner or executor that was passed stays open. At the end of the
    interpreter calls that have not finished are dropped, with a warning.
    """

    def __init__(self, runner: Runner | Executor | str | None = None) -> None:
        self._task = _Submit()
        self._calls = _Calls(runner)
        self._calls.begin()
        self._is_shut = False
        self._is_over = False
        self._ending = threading.RLock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Make a call, and return its future at once; with a serial runner, when the call has ended.

        Parameters
        ----------
        fn
            Anything that can be called.
        *args, **kwargs
            Its arguments.

        Raises
        ------
        TypeError
            The function or an argument can't be given to a worker, or a future is hidden in it.
        WorkflowError
            After `shutdown`.
        """
        if self._is_shut:
            raise WorkflowError("cannot schedule new futures after shutdown")
        try:
            result = self._calls.make(self._task, (fn, *args), kwargs)
        except Exception as error:
            shorten(error)
            raise
        return result if isinstance(result, CallFuture) else _finished(result)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **more: Any,
    ) -> Iterator[T]:
        """Make a call for each set of items, and yield the results in their order.

        Parameters
        ----------
        fn
            Anything that can be called.
        *iterables
            What it is called with, which is taken from them at once.
        timeout
            How long all results together may take [s].
        chunksize
            How many calls travel as one: on processes, many short ones are much faster so. A failure is that of the
            whole chunk.
        **more
            As `Executor.map` of this Python has it.

        Raises
        ------
        TimeoutError
            A result was not there in time. What has not started is cancelled, as it is when nobody wants the results
            any more.
        ValueError
            `chunksize` is less than 1.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout, **more)
        chunks = _in_chunks(zip(*iterables, strict=False), chunksize)
        return _chained(super().map(_Chunk(fn), chunks, timeout=timeout, **more))

    @property
    def _max_workers(self) -> int:
        # Libraries look at this attribute of the standard library's.
        return self._calls.runner.workers

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and release what was opened for them when they are done. May be called again.

        Parameters
        ----------
        wait
            Return when that is done. Ctrl-C gives up all calls.
        cancel_futures
            Cancel the calls that have not started.

        Raises
        ------
        WorkflowError
            For waiting in a callback of a future, or in a call on this very runner: it would never end.
        """
        if wait:
            self._calls.refuse_to_wait()
        self._is_shut = True
        if cancel_futures:
            self._calls.cancel()
        if wait:
            self._end()
        else:
            threading.Thread(target=self._end, name="parman-shutdown", daemon=True).start()

    def _end(self, cause: BaseException | None = None) -> None:
        with self._ending:
            if not self._is_over:
                self._is_over = True
                self._calls.finish(cause)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(value, KeyboardInterrupt):
            self._is_shut = True
            self._end(value)
        else:
            self.shutdown()

    def __repr__(self) -> str:
        return f"<executor on {type(self._calls.runner).__name__}{', shut down' if self._is_shut else ''}>"


def _finished(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    future.set_result(value)
    return future


class _Calls(Workflow):
    """The block behind an executor."""

    def __init__(self, runner: Runner | Executor | str | None) -> None:
        super().__init__(runner)
        self._registry = _Quiet()

    def begin(self) -> None:
        """Enter the block, without being in force."""
        self._enter()
        self._state = "entered"

    def make(self, task: _Submit, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Make a call."""
        closure = Closure(task, args, kwargs, options=self._options, site=_site())
        closure.name = _name_of(args[0])
        return self.runner.run(closure, self._registry)

    def refuse_to_wait(self) -> None:
        """Raise where waiting for the calls would never end."""
        inside = in_force.get()
        event_loop = getattr(self.runner, "event_loop", None)
        if event_loop is not None and event_loop.is_current():
            raise WorkflowError("a callback of a future can't wait for its executor: use shutdown(wait=False)")
        if isinstance(inside, InsideTask) and self.runner in inside.enclosing:
            raise WorkflowError("a call can't wait for the executor that runs it: use shutdown(wait=False)")

    def _tell_lost(self, pending: list[RegisteredCall], failures: list[Failure]) -> None:
        """Say what is dropped, as a warning: what becomes of a call is for who holds its future."""
        logger.warning("the interpreter ends with an open executor: %s", unfinished(len(pending)))

    def finish(self, cause: BaseException | None) -> None:
        """Leave the block."""
        self._end(cause)


class _Quiet(CallRegistry):
    """A registry of calls whose failures concern nobody but the holders of their futures, which are plain ones."""

    future_class = CallFuture

    def failed(self, call: RegisteredCall) -> None:
        """Keep nothing of the call."""
        call.closure.release()


class _Submit:
    """The task that is called for each `submit`."""

    def __init__(self) -> None:
        self.__parman_task__ = TaskDefinition(submit, Options(check="off"))

    def __reduce__(self) -> Any:
        return _Submit, ()


def submit(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function, in the worker; named as what the user has called, for the messages."""
    definition = getattr(fn, "__parman_task__", None)
    if isinstance(definition, TaskDefinition) and not definition.is_blocking:
        fn = definition.function  # the task itself would say that it was called in another one
    return fn(*args, **kwargs)


class _Chunk:
    """A function, called with many sets of arguments one after another."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, chunk: Iterable[tuple[Any, ...]]) -> list[Any]:
        return [submit(self.function, *args) for args in chunk]

    def __repr__(self) -> str:
        return f"<a chunk of calls of {_name_of(self.function)}>"


def _in_chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _chained(chunks: Iterator[list[T]]) -> Iterator[T]:
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()  # not kept here


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial | _Chunk):
        function = function.func if isinstance(function, functools.partial) else function.function
    name: str = getattr(function, "__qualname__", None) or type(function).__qualname__
    return name.rpartition("<locals>.")[2]


def _site() -> Site:
    """Return the place of the call in the user's file, also where the standard library lies between."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (is_ours(frame) or _is_between(frame)):
        frame = frame.f_back
    if frame is None:
        return Site("<unknown>", 0, "")
    return Site(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def _is_between(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(("asyncio.", "concurrent.futures."))
