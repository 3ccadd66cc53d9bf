# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The block: which runner is in force, which calls are made in it, how it ends."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import Executor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .closures import CallOptions, Closure
from .context import Block, InsideTask, call_site, current_workflow, in_force, open_blocks
from .engine.registry import CallRegistry, CallState, RegisteredCall
from .engine.runner import Runner
from .errors import Failure, Interrupted, ParmanError, RemoteError, WorkflowError, WorkflowFailed
from .lifecycle import (
    Stage,
    at_exit,
    before_joins,
    counted,
    exit_with_failure,
    show_warning,
    unfinished,
    unwatch,
    watch,
)
from .snapshots.exceptions import annotate, safe_text, shorten
from .tasks import Check

if TYPE_CHECKING:
    from .jobs.settings import JobSettings

__all__ = ["Workflow", "share", "workflow"]

T = TypeVar("T")

logger = logging.getLogger("parman")

_CALLS_TO_END = 2.5
"""How long leaving a block after Ctrl-C waits for futures to be failed [s]."""
_NAMED = 20
"""How many calls are named that are lost with the interpreter."""
_MOMENT = 0.1
"""How long calls may still come to their end when the interpreter ends in an open block [s]."""


def workflow(
    runner: Runner | Executor | str | None = None,
    *,
    check: Check = "error",
    fail_fast: bool = False,
    keep: bool = False,
    jobs: JobSettings | None = None,
) -> Workflow:
    """Make a block in which calls of tasks are run by a runner.

    Parameters
    ----------
    runner
        A runner; any PEP 3148 executor; or a name: "serial", "dry", "threads", "processes", with a number of workers
        after a colon where that makes sense ("processes:4"). By default, inside another block that block's
        runner; else the name in the environment variable `PARMAN_RUNNER`; else "processes".
    check
        What arguments that don't fit their annotations do: "error", "warn" or "off".
    fail_fast
        The first failure ends the block: on the serial runner it is raised at the call, on others what is pending
        is cancelled. By default everything goes on that does not need the result of a failed call.
    keep
        Let `calls` list all calls, also those whose results nobody holds any more.
    jobs
        Settings for the template jobs that are called in the block. What they leave open is that of the block around.

    Returns
    -------
    Workflow
        A context manager, for one `with` block or one `open()`.

    Raises
    ------
    WorkflowError
        The runner is not known, or the block stands in a task that runs on this very runner.
    WorkflowFailed
        When the block is left: calls failed and nobody retrieved the failures, as `resolve` does.
    """
    return Workflow(runner, check=check, fail_fast=fail_fast, keep=keep, jobs=jobs)


class Workflow:
    """A block of calls; made by `workflow`."""

    def __init__(
        self,
        runner: Runner | Executor | str | None = None,
        *,
        check: Check = "error",
        fail_fast: bool = False,
        keep: bool = False,
        jobs: JobSettings | None = None,
    ) -> None:
        if check not in ("error", "warn", "off"):
            raise WorkflowError(f"check must be 'error', 'warn' or 'off', not {check!r}")
        self._wanted = runner
        self.jobs = jobs
        self._check: Check = check
        self._runner: Runner | None = None
        self._owns_runner = False
        self._registry = CallRegistry(keep=keep, fail_fast=fail_fast)
        self._options: CallOptions | None = None
        self._before: Block | InsideTask | None = None
        self._state = "new"
        self._main_thread = False
        self._interrupted = False
        self._is_hurried = False
        self.enclosing: frozenset[object] = frozenset()
        self._pid = os.getpid()

    # --- what the user sees ---

    @property
    def runner(self) -> Runner:
        """The runner that is in force in the block."""
        if self._runner is None:
            raise WorkflowError("the block has not been entered, so that it has no runner yet")
        return self._runner

    @property
    def calls(self) -> list[RegisteredCall]:
        """The calls that are pending, running or failed, and those whose results somebody still holds."""
        return self._registry.calls()

    @property
    def failed(self) -> tuple[Failure, ...]:
        """The calls that failed by themselves, each with its exception."""
        return tuple(self._registry.failures())

    def cancel(self) -> None:
        """Cancel all calls that have not started, and end the scripts of running jobs."""
        self._cancel_pending()
        for call in self._registry.pending():
            call.ask_to_stop()

    def open(self) -> Self:
        """Enter the block for the whole process, as over several cells of a notebook; `close` leaves it.

        A block that is open already, since the cell is run again, say, is closed first, as by its `close`.

        Raises
        ------
        WorkflowError
            This very block is open already, or has been left.
        WorkflowFailed
            Calls of the block that was open failed and nobody retrieved the failures; this one is not opened.
        """
        self._check_new()
        if in_force.get() is None:  # else it is opened in a task or in another block, which has its own end
            _close_opened()
        self._enter()
        self._state = "open"
        open_blocks.append(self)
        watch()
        return self

    def close(self) -> None:
        """Leave a block that was entered with `open`, as the end of a `with` block does: once all calls are done.

        Raises
        ------
        WorkflowFailed
            Calls failed and nobody retrieved the failures.
        """
        if self._state != "open":
            raise WorkflowError("close() ends what open() began: this block is not open")
        self.runner.refuse_to_wait("the end of a block")
        self._end(None)

    def __enter__(self) -> Self:
        self._enter(waits=True)
        self._before = in_force.get()
        try:
            in_force.set(self)
            self._state = "entered"
        except BaseException:  # Ctrl-C: there will be no `__exit__`
            in_force.set(self._before)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(value)

    def __repr__(self) -> str:
        return f"<workflow on {type(self._runner).__name__ if self._runner else self._wanted!r}, {self._state}>"

    # --- entering ---

    def _check_new(self) -> None:
        if self._state == "open":
            raise WorkflowError("this block is open already: calls are made in it until close()")
        if self._state != "new":
            raise WorkflowError("a workflow serves for a single block: call workflow() again for another one")

    def _enter(self, waits: bool = False) -> None:
        self._check_new()
        around = _current()
        if around is not None:
            self.jobs = around.jobs if self.jobs is None else self.jobs.over(around.jobs)
        runner, self._owns_runner = _find_runner(self._wanted, around)
        inside = in_force.get()
        self.enclosing = frozenset() if inside is None else inside.enclosing
        if runner in self.enclosing:
            raise WorkflowError(
                "this block stands in a task that runs on the same runner, and could wait for itself for ever: "
                "give it a runner of its own, such as workflow('serial')"
            )
        if waits:
            runner.refuse_to_wait("the end of a block")
        self._runner = runner
        self._main_thread = threading.current_thread() is threading.main_thread()
        if self._wanted is None and around is not None and around._options is not None:
            serializer = around._options.serializer
        else:
            serializer = runner.serializer_for(self._wanted)
        self._options = CallOptions(serializer, self._check, self._registry.warn_once, keep_originals=runner.is_dry)
        if self._registry.fail_fast:
            self._registry.on_failure = self._fail_fast
        runner.begin(self._registry)
        _open_blocks.add(self)

    def _fail_fast(self) -> None:
        self._registry.closed_to_calls = True
        self._cancel_pending()

    def _cancel_pending(self) -> None:
        if self._runner is not None:
            self._runner.cancel_pending(self._registry)

    # --- calls ---

    def call(self, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Make a call in this block."""
        runner = self.runner
        if self._state == "left":
            raise WorkflowError(
                f"{task.__parman_task__.name}() is called in a block that has been left: the caller took the context "
                "of the block along, as asyncio's tasks do; wait for it inside the block, or enter one of its own"
            )
        site = call_site(above=3)
        try:
            closure = Closure(task, args, kwargs, options=self._options, site=site)
        except Exception as error:
            if not runner.is_dry:
                shorten(error)
                raise
            assert self._options is not None
            return runner.refuse(error, task, args, kwargs, self._options, site)
        return runner.run(closure, self._registry)

    def share(self, value: T) -> T:
        """Take the snapshot of something big once."""
        assert self._options is not None
        try:
            shared: Any = self._options.share(value)
        except ParmanError as error:
            self.runner.object_to(error)
            shared = self._options.share_here(value)
        return shared  # type: ignore[no-any-return]

    # --- leaving ---

    def _end(self, cause: BaseException | None) -> None:
        self._state = "left"
        if self._pid != os.getpid():
            return  # the copy that a fork made: the calls are with the parent, and never end here
        try:
            self._lift()
            self.runner.refuse_to_wait("the end of a block")
            self._finish(cause)
        except KeyboardInterrupt as interrupt:
            self._end_interrupted(interrupt)
            raise
        except ParmanError as error:
            shorten(error)
            raise
        finally:
            self._close_runner()

    def _lift(self) -> None:
        """Be in force no more."""
        if self in open_blocks:
            open_blocks.remove(self)
            if not open_blocks:
                unwatch()
        # Another one may be in force, entered in this one, that will be left later: a generator ends when it likes. And
        # this one may be left in another context than it was entered in, as asynchronous frameworks may do.
        if in_force.get() is self:
            before = self._before
            while isinstance(before, Workflow) and before._state == "left":
                before = before._before
            in_force.set(before)

    def _finish(self, cause: BaseException | None) -> None:
        if self.runner.is_dry:
            self.runner.finish(self._registry, cause)
        elif cause is None:
            self._end_normally()
        elif isinstance(cause, KeyboardInterrupt) and self._main_thread:
            self._end_interrupted(cause)
        else:
            self._end_failed(cause)

    def _end_normally(self) -> None:
        self._registry.wait()
        self._registry.closed_to_calls = True
        self._registry.wait()  # for what other threads have called meanwhile
        self._registry.log_counts()
        missed = self._registry.failures(all_of_them=False)
        if missed:
            raise _failed(missed)

    def _end_failed(self, cause: BaseException) -> None:
        self._registry.closed_to_calls = True
        wanted = [call for call in self._registry.pending() if call.is_wanted()]
        self._cancel_pending()
        self._registry.wait()
        self._note_failures(cause)
        if isinstance(cause, SystemExit | GeneratorExit):  # nobody reads the notes of that
            self._tell_left([call for call in wanted if call.state is CallState.CANCELLED], cause)

    def _end_interrupted(self, cause: BaseException) -> None:
        self._is_hurried = True
        if self._interrupted:
            return  # the second Ctrl-C: at once
        self._interrupted = True
        self._registry.closed_to_calls = True
        self._interrupt_runner()
        if not self._registry.wait(_CALLS_TO_END):
            logger.warning("%s could not be ended in time", counted(len(self._registry.pending()), "call"))
        self._note_failures(cause)
        self._is_hurried = False  # a second Ctrl-C does not come to this point

    def _note_failures(self, cause: BaseException) -> None:
        self._registry.log_counts()
        for closure, exception in self._registry.failures(all_of_them=False):
            if exception is not cause and not isinstance(exception, Interrupted):
                annotate(cause, f"Besides, {closure} failed: {safe_text(exception)}")

    def _close_runner(self) -> None:
        _open_blocks.discard(self)
        try:
            if self._interrupted:
                self._interrupt_runner()  # the first time may have been cut off; a shutdown would wait
                if not self._is_hurried:
                    self.runner.wait_for_end()
            elif self._owns_runner:
                self.runner.shutdown()
        finally:  # also when a second Ctrl-C ends the waiting
            if self._owns_runner:
                self.runner.release()  # results that are held keep the runner
            self.runner.end(self._registry)

    def _interrupt_runner(self) -> None:
        """Give all calls up: those of the block, and all that its runner has if that was made for the block."""
        self.runner.interrupt(self._registry)
        if self._owns_runner:
            self.runner.stop_running()

    def drop(self, deadline: float) -> None:
        """Give everything up, since the interpreter ends."""
        _open_blocks.discard(self)
        if self.runner.is_dry:
            self._report_late()
        # A call that is just about to fail is not told as dropped, beside the message of its failure.
        self._registry.wait(max(0.0, min(_MOMENT, deadline - time.monotonic())))
        pending = [call for call in self._registry.pending() if call.is_wanted()]
        failures = self._registry.failures(all_of_them=False)
        if pending or failures:
            self._tell_lost(pending, failures)
        self._interrupt_runner()
        self._registry.wait(max(0.0, deadline - time.monotonic()))

    def _tell_lost(self, pending: list[RegisteredCall], failures: list[Failure]) -> None:
        """Name what the script will never see, and let it end with an exit status that says so."""
        exit_with_failure()
        cure = "leave the block, or close() it, to wait for them"
        show_warning(f"the interpreter ends in an open workflow: {_lost(pending, failures, cure)}")

    def _tell_left(self, dropped: list[RegisteredCall], cause: SystemExit | GeneratorExit) -> None:
        """Say so of a block that `sys.exit` leaves, or the end of a generator that nobody exhausts.

        An exit may be caught yet, so that its own status says so too.
        """
        failures = self._registry.failures(all_of_them=False)
        if not dropped and not failures:
            return
        if isinstance(cause, GeneratorExit):
            what, cure = "closing a generator", "go on with it to its end to wait for them"
        else:
            what, cure = "sys.exit()", "exit after the block to wait for them"
            if cause.code in (None, 0):
                cause.code = 1
        show_warning(f"{what} ends a workflow: {_lost(dropped, failures, cure)}")

    def _report_late(self) -> None:
        """Give the report of a dry run that nobody ended."""
        try:
            self.runner.finish(self._registry, Interrupted("the interpreter ends in the block"))
        except SystemExit as end:
            if end.code:
                exit_with_failure()
        except BaseException:  # by which it would end the script
            pass


def _close_opened() -> None:
    """Close the block that is open: nobody may have it any more who could do so, as when a notebook's cell ran twice.

    Raises
    ------
    WorkflowFailed
        From that block.
    """
    for block in reversed(open_blocks.copy()):
        logger.warning("open() closes the block that was open, and waits for its calls: one block is open at a time")
        assert isinstance(block, Workflow)
        try:
            block.close()
        except WorkflowFailed as error:
            annotate(error, "These calls were made in the block that was open, which is closed; open() again.")
            raise


_open_blocks: weakref.WeakSet[Workflow] = weakref.WeakSet()
os.register_at_fork(after_in_child=_open_blocks.clear)  # a child has none of their calls to give up at its exit


@at_exit(Stage.BLOCKS)
def _drop_open_blocks() -> None:
    """Give up all blocks that were not left, since the interpreter ends."""
    deadline = time.monotonic() + 1
    for block in list(_open_blocks):
        block.drop(deadline)


@before_joins
def _drop_blocks_on_joined_executors() -> None:
    """Give up blocks on executors that the interpreter waits for before it runs exit hooks, as the standard ones."""
    deadline = time.monotonic() + 1
    for block in list(_open_blocks):
        if block.runner.joined_at_exit:
            block.drop(deadline)


def _lost(dropped: list[RegisteredCall], failures: list[Failure], cure: str) -> str:
    lost = [f"dropped: {call.closure}" for call in dropped]
    lost += [f"failed: {closure}: {safe_text(exception)}" for closure, exception in failures]
    counts = [unfinished(len(dropped))] if dropped else []
    counts += [f"{counted(len(failures), 'call')} failed"] if failures else []
    more = [f"and {len(lost) - _NAMED} more"] if len(lost) > _NAMED else []
    return f"{' and '.join(counts)}; {cure}\n    " + "\n    ".join(lost[:_NAMED] + more)


def _failed(failures: list[Failure]) -> WorkflowFailed:
    count = f"{counted(len(failures), 'call')} failed"
    cure = "to go on with the others, resolve(..., return_exceptions=True) in the block, before it is left"
    group = WorkflowFailed(f"{count}; {cure}", [_as_exception(exception) for _, exception in failures])
    group.failed = tuple(failures)
    return group


def _as_exception(exception: BaseException) -> Exception:
    """Return what can be in an `ExceptionGroup`: an exit or interrupt in a task must not end the driver from there."""
    if isinstance(exception, Exception):
        return exception
    error = RemoteError(safe_text(exception))
    error.__cause__ = exception
    for note in getattr(exception, "__notes__", ()):
        annotate(error, note)
    return error


def _current() -> Workflow | None:
    """Return the block in force, which is always one of this class."""
    block = current_workflow()
    assert block is None or isinstance(block, Workflow)
    return block


def _find_runner(wanted: Runner | Executor | str | None, around: Workflow | None) -> tuple[Runner, bool]:
    """Return the runner, and whether the block has to shut it down."""
    # The runners and what they need are loaded when a block is entered.
    from .runners.names import check_name, make_runner

    name = os.environ.get("PARMAN_RUNNER")
    if around is not None and (around.runner.is_dry or wanted is None):
        if isinstance(wanted, str):
            try:
                check_name(wanted)
            except ParmanError as error:
                around.runner.object_to(error)
        return around.runner, False
    if isinstance(wanted, Runner):
        return wanted, False
    if wanted is None and name:
        return make_runner(name, " in the environment variable PARMAN_RUNNER"), True
    return make_runner(wanted or "processes"), True


def share(value: T) -> T:
    """Take the snapshot of something big once, for all calls that it is passed to.

    Parameters
    ----------
    value
        The value; its arrays can't be written by tasks. Good for arrays that go into very many calls.

    Returns
    -------
    In a block, on every runner, a handle without the value's methods: to be passed to tasks, which receive the value.
    Outside of a block the value itself.
    """
    block = _current()
    return value if block is None else block.share(value)
