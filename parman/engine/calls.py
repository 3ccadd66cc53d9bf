# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One call on its way through a runner, from the closure to the end of its futures."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures._base import FINISHED
from typing import Any, Protocol

from ..closures import Closure
from ..errors import Interrupted, ResultError
from ..futures.future import CallFuture
from ..futures.loop import EventLoop, exception_of, result_of
from ..futures.wait_graph import Node
from ..lifecycle import Stop
from ..snapshots.preview import Named, preview, shown
from ..snapshots.snapshot import Snapshot
from ..snapshots.take import Serializer, in_process, is_plain, take_owned, take_snapshot
from .execute import Outcome, TaskWarning, describe_call, perform
from .registry import CallRegistry, CallState

__all__ = ["Call", "CallRunner", "Handle"]

_moving = threading.RLock()
"""Held while a call goes from one state to another; see `Call._move`."""


def _renew_in_child() -> None:
    """Forget who held the lock in the process that was forked."""
    global _moving
    _moving = threading.RLock()


os.register_at_fork(after_in_child=_renew_in_child)


class CallRunner(Protocol):
    """A runner as its calls see it."""

    event_loop: EventLoop
    serializer: Serializer

    def enqueue(self, call: Call) -> None:
        """Take a call whose dependencies succeeded."""


class Handle(Protocol):
    """What a call knows of its way."""

    def cancel(self, call: Call, future: CallFuture) -> bool:
        """Take the call back for one of its futures, in any thread; false if it has begun, or may have."""

    def drop(self) -> None:
        """Note that all futures of the call are cancelled."""

    def is_running(self, call: Call) -> bool:
        """Tell whether the call has begun, as far as that is known."""


class Call(Node):
    """One call on its way, and the origin of its futures.

    Attributes
    ----------
    closure
        The call as it was made.
    state
        Where it is.
    failure
        The exception that it failed with.
    is_root
        Whether it failed by itself, rather than because of a call before it.
    retrieved
        Whether somebody asked for its failure, or for one that it caused.
    stop
        Asks a running call to end, where that is possible.
    handle
        What has it in hands, from when it is on its way to a worker until it comes back or ends.
    returns, deaths
        How often it was sent and taken back before it began, and how many workers died when it was sent to them alone.
    """

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_cancelled",
        "_captured",
        "_cause",
        "_collected",
        "_counted",
        "_missing",
        "_root",
        "_uncancelled",
        "_values",
        "cancels_causes",
        "closure",
        "context",
        "deaths",
        "failure",
        "handle",
        "is_root",
        "leaves",
        "registry",
        "retrieved",
        "returns",
        "runner",
        "state",
        "stop",
    )

    def __init__(self, runner: CallRunner, closure: Closure, registry: CallRegistry) -> None:
        super().__init__(runner.event_loop)
        self.runner = runner
        self.closure = closure
        self.registry = registry
        self.state = CallState.PENDING
        self.failure: BaseException | None = None
        self.is_root = False
        self.retrieved = False
        self.handle: Handle | None = None
        self.leaves: Sequence[CallFuture] = ()
        self.stop = Stop() if closure.definition.is_blocking else None
        self.cancels_causes = False
        self.returns = 0
        self.deaths = 0
        # For a function that runs in this process.
        is_inside = runner.serializer.within or closure.definition.is_blocking
        self.context: contextvars.Context | None = contextvars.copy_context() if is_inside else None
        self._uncancelled = 0
        self._counted = 0
        self._missing = 0
        self._collected = False
        self._captured: Sequence[Any] | None = None
        self._values: Sequence[Any] = ()
        self._cause: tuple[BaseException, Call | None] | None = None
        self._cancelled = False
        self._accepted: list[Call] | None = None
        self._root: Call | None = None

    def __str__(self) -> str:
        return str(self.closure)

    def __repr__(self) -> str:
        return f"<{CallState.RUNNING if self.is_running() else self.state} call of {self.closure}>"

    @property
    def task(self) -> Any:
        """The task."""
        return self.closure.task

    def describe(self) -> str:
        """Write the call with its arguments as far as they can be shown without running code of the user's."""
        closure = self.closure
        try:
            arguments = preview(closure.snapshot, [self._shown_value(i, d) for i, d in enumerate(closure.dependencies)])
            return describe_call(closure.definition.name, arguments)
        except Exception:  # they are gone, very long, or of a kind that can't be read so
            return f"{closure.definition.name}()"

    def _shown_value(self, i: int, dependency: Future[Any]) -> object:
        value = self._values[i] if i < len(self._values) else None
        if value is None and isinstance(dependency, CallFuture):
            value = dependency.failure or dependency.snapshot or dependency.shown_plain
        name = f"<{dependency.origin if isinstance(dependency, CallFuture) else 'a future'}>"
        return Named(name) if value is None else shown(value, name)

    # --- the origin of futures ---

    def make_leaf(self, declared: object) -> CallFuture:
        future = self.registry.future_class(self, declared)
        leaves = self.leaves
        if not leaves:
            self.leaves = (future,)  # mostly the only one
        elif isinstance(leaves, list):
            leaves.append(future)
        else:
            self.leaves = [*leaves, future]
        self._uncancelled += 1
        return future

    @property
    def needs(self) -> Sequence[Future[Any]]:
        """The futures that the call waits for."""
        return self.closure.dependencies

    @property
    def root(self) -> Call | None:
        """The call that failed by itself, because of which this one failed."""
        return self if self.is_root else self._root  # it does not hold itself, which would be a cycle

    def may_cancel(self, future: CallFuture) -> bool:
        handle = self.handle
        if handle is None:  # the state is read after: a call that ends changes its state first, then drops the handle
            return self.state is CallState.PENDING
        return handle.cancel(self, future)

    def ask_to_stop(self) -> None:
        # Also a call that is "pending": it may be claimed already. One that was cancelled never looks at its stop.
        if self.stop is not None and not self.is_over:
            self.retrieved = True
            self.stop.ask()

    def is_running(self) -> bool:
        handle = self.handle
        return handle is not None and handle.is_running(self)

    def retrieve(self) -> None:
        root = self.root
        if root is not None:
            root.retrieved = True

    def take_snapshot(self, value: Any) -> Snapshot:
        return take_snapshot(
            value, self.runner.serializer, cache=self.closure.options.cache, label=f"the result of {self}"
        )

    def leaf_cancelled(self, future: CallFuture) -> None:
        self._uncancelled -= 1
        if self._uncancelled == 0 and self.state is CallState.PENDING:
            if self.handle is not None:
                self.handle.drop()
            self._cancel_causes()
            self._end(CallState.CANCELLED)
            self._leave()

    def _cancel_causes(self) -> None:
        """Count this call out of those that need its dependencies; cancel what nobody needs, if so asked."""
        for dependency in self.closure.dependencies[: self._counted]:
            if isinstance(dependency, CallFuture):
                source = dependency.source
                if source.need(-1) == 0 and self.cancels_causes:
                    source.cancel_with_causes()

    # --- waiting for dependencies ---

    def capture(self) -> None:
        """Take the values of dependencies that are done already, as they are at the call; in the caller's thread."""
        captured = [self._capture_one(dependency) for dependency in self.closure.dependencies]
        self._captured = () if captured.count(None) == len(captured) else captured

    def _capture_one(self, dependency: Future[Any]) -> Any:
        self._counted += 1
        if isinstance(dependency, CallFuture):
            if dependency.expect() and dependency.failure is None:
                return self._fit(dependency.current(self.take_snapshot))
            return None
        if type(dependency).done is Future.done and dependency._state != FINISHED:
            return None  # without its lock, which Ctrl-C can lose in futures of the standard library
        if dependency.done() and not dependency.cancelled() and dependency.exception() is None:
            return self.take_snapshot(dependency.result())
        return None

    def _fit(self, snapshot: Any) -> Any:
        """Take anew the snapshot that was taken for another kind of runner."""
        if not isinstance(snapshot, Snapshot) or self.runner.serializer is in_process or not snapshot.references:
            return snapshot
        return self.take_snapshot(snapshot.load())

    def enter(self) -> None:
        """Start to wait for the dependencies; in the event loop."""
        if self.state is not CallState.PENDING:
            return
        dependencies, event_loop = self.closure.dependencies, self.event_loop
        # Those of the same runner end in the same role, so that they can be counted.
        for dependency in dependencies:
            if not isinstance(dependency, CallFuture) or not dependency.serves(event_loop):
                self.watch(list(dependencies))
                return
        for dependency in dependencies:
            self._missing += dependency.add_dependent(self)  # type: ignore[attr-defined]
        if not self._missing:
            self._go_on()

    def dependency_done(self) -> None:
        """Count a dependency less."""
        self._missing -= 1
        if not self._missing:
            self.event_loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self.state is not CallState.PENDING or self.handle is not None or self._collected:
            return
        try:
            for dependency in self.closure.dependencies:
                self.collect(dependency)
            self.ready()
        except BaseException as exception:  # of user code that pickles a value
            self.failed(exception)

    def collect(self, dependency: Future[Any]) -> None:
        if self.state is not CallState.PENDING:
            return
        i = len(self._values)
        value = self._captured[i] if self._captured else None
        if value is None:
            value = self._value_of(i, dependency)
        if isinstance(self._values, list):
            self._values.append(value)
        else:
            self._values = [value]

    def _value_of(self, i: int, dependency: Future[Any]) -> Any:
        if dependency.cancelled():
            self._cancelled = True
            return None
        failure = dependency.failure if isinstance(dependency, CallFuture) else exception_of(dependency)
        if failure is not None:
            root = dependency.root if isinstance(dependency, CallFuture) else None
            if self.closure.accepts_exception(i, failure):
                if root is not None:
                    self._accepted = [] if self._accepted is None else self._accepted
                    self._accepted.append(root)
                return failure
            self._cause = self._cause or (failure, root)
            return None
        if isinstance(dependency, CallFuture):
            # The user may have the value in hands by now, and have changed it since the call.
            snapshot = dependency.snapshot if self._captured is not None else None
            return self._fit(snapshot or dependency.current(self.take_snapshot))
        return self.take_snapshot(result_of(dependency))

    def ready(self) -> None:
        if self.state is not CallState.PENDING:
            return
        self._collected = True
        if self._cause is not None:
            self.fail(*self._cause)
        elif self._cancelled:
            self.cancel()
        else:
            self.runner.enqueue(self)

    def failed(self, exception: BaseException) -> None:
        self.fail(exception, None)

    # --- running ---

    def claim(self) -> bool:
        """Rule out that the call is cancelled from now on; false if it was. On the thread that is to run it."""
        with _moving:
            if self.state is not CallState.PENDING:
                return False
            claimed = [leaf for leaf in self.leaves if leaf._claim()]
            return bool(claimed) and self._move(CallState.RUNNING)

    def begin(self) -> None:
        """Run a call, none of whose futures anybody has, in the thread that made it."""
        self._move(CallState.RUNNING)

    def _move(self, state: CallState) -> bool:
        """Go to another state. All changes of state come through here; false if the call has gone elsewhere before.

            pending ──▶ running                            `claim`, on the thread that runs it
            pending, running ──▶ finished, failed, cancelled   `_end`, in the event loop
            finished ──▶ failed                            `_note_failure`: a result that could not be pickled

        The lock makes one of two threads the first: a call that is given up, by Ctrl-C say, is not claimed any more,
        and one that was claimed ends by what its worker says.
        """
        with _moving:
            if state is CallState.RUNNING and self.state is not CallState.PENDING:
                return False
            self.state = state
            return True

    def is_wanted(self) -> bool:
        """Tell whether it is to be run, not having been cancelled; with a look that waits for a `cancel()` at work."""
        if self.state is not CallState.PENDING:
            return self.state is CallState.RUNNING
        for leaf in self.leaves:  # noqa: SIM110 (this is for each call)
            if not leaf.cancelled():
                return True
        return False

    def come_back(self) -> bool:
        """Be as before it was sent; true if it is ready to run."""
        self.handle = None
        if self.is_over:
            return False
        if not self._collected and not self._missing:
            self.event_loop.call_soon(self._go_on)  # its dependencies have ended meanwhile
        return self._collected

    @property
    def known_values(self) -> Sequence[Any]:
        """The values of dependencies that are known by now, as they are kept here."""
        return self._values or [value for value in self._captured or () if value is not None]

    @property
    def waits_for(self) -> int:
        """How many dependencies have not ended."""
        return self._missing

    def values_with(self, known: Mapping[int, Any]) -> list[Any] | None:
        """Return the values of the dependencies, of which some are known by their numbers; they are kept here.

        Returns
        -------
        None if a dependency has failed or was cancelled. That is for later: another one before it may fail as well,
        and then the failure of that counts.

        Raises
        ------
        Exception
            Of user code that pickles a value.
        """
        if self._collected:
            return list(self._values)
        values = []
        for i, dependency in enumerate(self.closure.dependencies):
            captured = self._captured[i] if self._captured else None
            value = known[i] if i in known else captured if captured is not None else self._value_of(i, dependency)
            values.append(value)
        if self._cause is None and not self._cancelled:
            return values
        self._cause, self._cancelled = None, False
        return None

    def perform(self) -> Outcome:
        """Run the task in this thread; never raises."""
        context = self.context
        if context is None:
            return Outcome(None, None)  # the call was given up meanwhile
        return context.run(self._perform)

    def _perform(self) -> Outcome:
        closure, leaves = self.closure, self.leaves
        outcome = perform(
            closure.definition,
            lambda: closure.arguments(self.take_values()),
            closure.structure,
            closure.site,
            late=closure.late,
            check=closure.check,
            runner=self.runner,
            stop=self.stop,
        )
        values = outcome.values
        if values is not None:
            closure.release()  # before results are copied: the arguments don't stand beside two copies of those
            for i, leaf in enumerate(leaves):
                if not is_plain(values[i]) and leaf.awaited:
                    values[i] = take_owned(values, i, self.runner.serializer, self.take_snapshot)
        return outcome

    def take_values(self) -> list[Any]:
        """Hand over the values of the dependencies, which are not kept here."""
        values, self._values = self._values, ()
        return list(values)

    def warn(self, warnings: Iterable[TaskWarning]) -> None:
        """Tell the user what was noticed while the task ran, once for each task and kind."""
        for warning in warnings:
            key = (warning.kind, self.closure.name, warning.text if warning.kind != "nested" else "")
            self.registry.warn_once(key, f"{self.closure.site}: {warning.text}")

    # --- ending; each call ends by exactly one of these, in the event loop ---

    def conclude(self, outcome: Outcome) -> None:
        """Finish with an outcome; what can't be settled makes it a failure."""
        try:
            if outcome.warnings:
                self.warn(outcome.warnings)
            if outcome.failure is not None:
                self.fail(outcome.failure, None)
            else:
                assert outcome.values is not None
                self.succeed(outcome.values)
        except BaseException as exception:
            self.fail(exception, None)

    def succeed(self, values: list[Any]) -> None:
        """Finish with a value, plain or a snapshot, for each leaf."""
        if self.is_over:
            return
        leaves = self.leaves
        if len(leaves) != len(values):  # before the call has ended, so that it can fail yet
            raise ResultError(
                f"{self.closure.name}() came back from its worker with {len(values)} values where its annotation, or "
                f"its mock, promises {len(leaves)}: the worker understands the annotation in another way; "
                "annotate Annotated[..., Whole] to get one future"
            )
        self._end(CallState.FINISHED)
        try:
            for leaf, value in zip(leaves, values, strict=True):
                try:
                    self._settle(leaf, value)
                except BaseException as exception:  # from user code that pickles the value
                    self._note_failure(exception, None)
                    leaf.settle_failure(exception)
        finally:
            self._leave()

    def succeed_in_place(self) -> None:
        """Finish a call whose result was handed out as it is."""
        self._end(CallState.FINISHED)
        self._leave()

    def _settle(self, leaf: CallFuture, value: Any) -> None:
        if isinstance(value, Snapshot):
            leaf.settle_snapshot(value)
        elif is_plain(value):
            leaf.settle_plain(value)
        elif not leaf.settle_value(value):
            leaf.settle_snapshot(self.take_snapshot(value))

    def fail(self, exception: BaseException, root: Call | None) -> None:
        """Finish with an exception; `root` is the call that raised it, if that was another one."""
        if self.is_over:
            return
        self._end(CallState.FAILED, has_run=root is None)
        try:
            self._note_failure(exception, root)
        finally:
            for leaf in self.leaves:
                leaf.settle_failure(exception)
            self._leave()

    def give_up(self) -> None:
        """Fail since what ran the call was stopped, by Ctrl-C say."""
        self.fail(Interrupted(f"{self} was given up while it was running"), None)

    def _note_failure(self, exception: BaseException, root: Call | None) -> None:
        """Tell the registry, before the futures: who has seen one of them finds the failure there."""
        self.failure = exception
        self.is_root = root is None
        self._root = root
        self._move(CallState.FAILED)
        self.registry.failed(self)

    def cancel(self) -> None:
        """Cancel all leaves, in any thread; the call follows when the last one is told."""
        if self.is_over:  # its leaves are about to be told how it ended, maybe by who has caused this cancelling
            return
        for leaf in self.leaves:
            leaf.cancel()

    def drop(self) -> None:
        """Cancel the call although it is on its way, since the executor dropped it."""
        if not self.is_over:
            self.abandon()

    def abandon(self) -> None:
        """Bring the call to its end, wherever Ctrl-C has cut it off, with what is open of it cancelled."""
        if not self.is_over:
            self._end(CallState.CANCELLED)
        for leaf in self.leaves:
            leaf._drop()
        self._leave()

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self.state is not CallState.PENDING and self.state is not CallState.RUNNING

    def _end(self, state: CallState, has_run: bool = False) -> None:
        self._move(state)
        if self._accepted is not None:
            if has_run or state is CallState.FINISHED:  # else nobody has seen the failures that it was to be given
                for root in self._accepted:
                    root.retrieved = True
            self._accepted = None
        if self._rest is not None or self._link is not None:
            self.unwatch()
        self._values, self._captured, self._cause, self.handle = (), None, None, None

    def _leave(self) -> None:
        self.leaves = ()
        self.context = None
        self.registry.finished(self)
