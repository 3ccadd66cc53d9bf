# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls in place, one after another: for the debugger, and to see what the parallel run should give."""

from __future__ import annotations

import contextvars
from typing import Any

from ..closures import Closure
from ..engine.calls import Call
from ..engine.execute import Outcome, TaskWarning, perform
from ..engine.registry import CallRegistry, CallState
from ..engine.runner import Runner
from ..futures.loop import EventLoop
from ..futures.placeholders import make_placeholder
from ..futures.wait_graph import wait_for
from ..snapshots.changes import Watched
from ..snapshots.exceptions import strip
from ..trees.nodes import is_generator

__all__ = ["SerialRunner"]


class SerialRunner(Runner):
    """Runs each call where it is made, and returns plain values.

    Arguments are copied as for any other runner, so that a script gives the same values here; what a task changes in
    its arguments is noticed and told. A failed call leaves failed futures in place of its result, and what depends on
    it does not run; with `workflow(fail_fast=True)` the exception is raised at the call instead.
    """

    def __init__(self) -> None:
        self.event_loop = EventLoop()
        self._registry = CallRegistry()

    @property
    def own_registry(self) -> CallRegistry:
        return self._registry

    def run(self, closure: Closure, registry: CallRegistry) -> Any:
        wait_for(closure.dependencies)  # those of other runners and executors; ours are done
        call = Call(self, closure, registry)
        tree = closure.structure.unflatten(call.make_leaf, make_placeholder)
        if closure.dependencies:
            self.event_loop.start()
        try:
            registry.added(call)
            call.watch(list(closure.dependencies))
            if call.state is CallState.RUNNING:
                return self._run(call, tree)
            if call.is_root and registry.fail_fast and call.failure is not None:  # of a future from elsewhere
                call.retrieved = True
                raise call.failure
            return tree
        except BaseException:
            call.abandon()
            raise

    def enqueue(self, call: Call) -> None:
        call.begin()

    def _run(self, call: Call, tree: Any) -> Any:
        outcome = contextvars.copy_context().run(self._perform, call)
        call.warn(outcome.warnings)
        failure = outcome.failure
        if failure is None:
            call.succeed_in_place()
            return outcome.result
        if call.registry.fail_fast:
            call.retrieved = True
            call.fail(failure, None)
            raise failure
        strip(failure)
        call.fail(failure, None)
        return tree

    def _perform(self, call: Call) -> Outcome:
        closure = call.closure
        arguments = _Arguments(closure, call.take_values())
        outcome = perform(
            closure.definition,
            arguments.take,
            closure.structure,
            closure.site,
            late=closure.late,
            check=closure.check,
            runner=self,
            in_place=True,
        )
        outcome.warnings += arguments.warnings(outcome.result)
        return outcome


class _Arguments:
    """The arguments of a call, and whether the task changes them in place."""

    def __init__(self, closure: Closure, values: list[Any]) -> None:
        self.closure = closure
        self.values = values
        self.watched: Watched | None = None

    def take(self) -> dict[str, Any]:
        self.watched, arguments = self.closure.watched_arguments(self.values)
        return arguments

    def warnings(self, result: object) -> tuple[TaskWarning, ...]:
        watched = self.watched
        if watched is None:
            return ()
        return tuple(self._warning(name, watched.arguments[name]) for name in watched.changed(result))

    def _warning(self, parameter: str, value: object) -> TaskWarning:
        name = self.closure.name
        if is_generator(type(value)):
            text = (
                f"{name}() drew numbers from a copy of its argument {parameter!r}, so that the generator itself has "
                "not moved on: don't draw from it elsewhere, since that gives the same numbers again"
            )
        else:
            text = (
                f"{name}() changed its argument {parameter!r} in place: this is lost, since a task works on a copy; "
                "return the changed object"
            )
        return TaskWarning("changes", text)
