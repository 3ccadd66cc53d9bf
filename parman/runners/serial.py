# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls in place, one after another: for the debugger, and to see what the parallel run should give."""

from __future__ import annotations

import contextvars
from typing import Any

from ..changes import changed, fingerprint
from ..closures import Closure
from ..dispatching import Dispatcher
from ..failures import strip
from ..journal import Journal
from ..kinds import is_generator
from ..standins import stand_in
from ..waiting import wait_for
from ..work import Outcome, Remark, perform
from .base import Runner
from .calls import Call
from .flights import Flight

__all__ = ["SerialRunner"]


class SerialRunner(Runner):
    """Runs each call where it is made, and returns plain values.

    Arguments are copied as for any other runner, so that a script gives the same values here; what a task changes in
    its arguments is noticed and told. A failed call leaves failed futures in place of its result, and what depends on
    it does not run; with `workflow(fail_fast=True)` the exception is raised at the call instead.
    """

    def __init__(self) -> None:
        self.dispatcher = Dispatcher()
        self._journal = Journal()

    @property
    def own_journal(self) -> Journal:
        return self._journal

    def run(self, closure: Closure, journal: Journal) -> Any:
        wait_for(closure.dependencies)  # those of other runners and executors; ours are done
        call = Call(self, closure, journal)
        tree = closure.structure.build(call.make_leaf, stand_in)
        if closure.dependencies:
            self.dispatcher.start()
        try:
            journal.added(call)
            call.watch(list(closure.dependencies))
            return self._run(call, tree) if call.state == "running" else tree
        except BaseException:
            call.abandon()
            raise

    def enqueue(self, call: Call) -> None:
        call.state = "running"

    def recover(self, flight: Flight) -> None:
        pass

    def _run(self, call: Call, tree: Any) -> Any:
        outcome = contextvars.copy_context().run(self._perform, call)
        call.tell(outcome.remarks)
        failure = outcome.failure
        if failure is None:
            call.succeed_in_place()
            return outcome.result
        if call.journal.fail_fast:
            call.retrieved = True
            call.fail(failure, None)
            raise failure
        strip(failure)
        call.fail(failure, None)
        return tree

    def _perform(self, call: Call) -> Outcome:
        closure = call.closure
        watched = _Watched(closure, call.take_values())
        outcome = perform(
            closure.definition,
            watched.take_arguments,
            closure.structure,
            closure.site,
            late=closure.late,
            check=closure.check,
            runner=self,
            in_place=True,
        )
        outcome.remarks += watched.remarks()
        return outcome


class _Watched:
    """The arguments of a call, and whether the task changes them in place."""

    def __init__(self, closure: Closure, values: list[Any]) -> None:
        self.closure = closure
        self.values = values
        self.arguments: dict[str, Any] = {}
        self.before: dict[str, Any] = {}
        self.buffers: tuple[Any, ...] = ()

    def take_arguments(self) -> dict[str, Any]:
        self.arguments = self.closure.arguments(self.values)
        self.buffers = self.closure.frozen.buffers
        self.before = fingerprint(self._copied(), self.buffers)
        return dict(self.arguments)

    def _copied(self) -> dict[str, Any]:
        skip = self.closure.definition.as_they_are
        return {name: value for name, value in self.arguments.items() if name not in skip}

    def remarks(self) -> tuple[Remark, ...]:
        after = fingerprint(self._copied(), self.buffers)
        return tuple(self._remark(parameter) for parameter in changed(self.before, after))

    def _remark(self, parameter: str) -> Remark:
        name = self.closure.name
        if is_generator(type(self.arguments[parameter])):
            text = (
                f"{name}() drew numbers from a copy of its argument {parameter!r}, so that the generator itself has "
                "not moved on: don't draw from it elsewhere, since that gives the same numbers again"
            )
        else:
            text = (
                f"{name}() changed its argument {parameter!r} in place: this is lost, since a task works on a copy; "
                "return the changed object"
            )
        return Remark("changes", text)
