# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dry run: everything is checked that can be checked before the first task runs, and no task runs.

A call returns what its mock returns, or futures that stand in for values, typed as the annotations say. A mistake is
noted and the script goes on, so that one run finds them all. A script never goes on with made-up values: asking a
stand-in for its value ends the run there, and so does leaving the block.
"""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures._base import FINISHED
from typing import Any, NoReturn

from ..closures import Closure
from ..context import Site, call_site
from ..definitions import Definition
from ..errors import DryRunErrors, ParmanError
from ..journal import Journal
from ..promises import Promise
from ..schemas import item_type
from ..snapshots import Frozen, freeze, in_process
from ..standins import stand_in
from ..trees import walk
from ..waiting import Dispatcher
from .base import Runner

__all__ = ["DryRunStopped", "DryRunner"]

logger = logging.getLogger("parman")


class DryRunStopped(SystemExit):
    """Ends the script where a dry run can't go on; the code is the exit status."""


class DryRunner(Runner):
    """Checks a workflow without running its tasks.

    Leaving the block logs what was found and ends the script: exit status 1 if there were mistakes, else 0.

    Parameters
    ----------
    proceed
        Go on with the script after the block. Mistakes are then raised as `DryRunErrors`.
    """

    is_dry = True

    def __init__(self, proceed: bool = False) -> None:
        self.proceed = proceed
        self.dispatcher = Dispatcher()
        self._journal = Journal()
        self._plans: dict[Journal, _Plan] = {}
        self._current = _Plan()

    @property
    def own_journal(self) -> Journal:
        return self._journal

    def begin(self, journal: Journal) -> None:
        self._current = self._plans[journal] = _Plan()

    def run(self, closure: Closure, journal: Journal) -> Any:
        plan = self._plan_of(journal)
        call = _DryCall(self, closure.site, closure.name, plan)
        call.level = plan.level_of(closure)
        plan.add(call)
        if closure.definition.options.mock is None:
            return closure.structure.build(call.make_leaf, stand_in)
        result = closure.definition.schema.mock_result(closure.arguments(closure.dependencies))
        plan.remember(result, call.level)
        return result

    def refuse(self, error: ParmanError | TypeError, definition: Definition) -> Any:
        site = call_site()
        error.add_note(f"Called at {site}.")
        self._current.errors.append((site, error))
        call = _DryCall(self, site, definition.name, self._current)
        self._current.add(call)
        try:
            return definition.schema.structure({}).build(call.make_leaf, stand_in)
        except Exception:  # a structure that depends on the arguments, which are wrong
            return call.make_leaf(Any)

    def _plan_of(self, journal: Journal) -> _Plan:
        return self._plans.get(journal, self._current)

    def finish(self, journal: Journal, cause: BaseException | None) -> None:
        plan = self._plans.pop(journal, self._current)
        logger.warning("%s", plan.report())
        if cause is not None and not isinstance(cause, DryRunStopped):
            return
        errors = [error for _, error in plan.errors]
        group = DryRunErrors(f"the dry run found {_count(len(errors), 'mistake')}", errors) if errors else None
        if self.proceed and group is not None:
            raise group
        if not self.proceed:
            raise DryRunStopped(1 if errors else 0) from group


class _Plan:
    """What a dry run has found in one block."""

    def __init__(self) -> None:
        self.errors: list[tuple[Site, Exception]] = []
        self.stopped_at: str | None = None
        self._calls: Counter[str] = Counter()
        self._width: Counter[int] = Counter()
        self._levels: dict[int, tuple[object, int]] = {}

    def add(self, call: _DryCall) -> None:
        self._calls[call.name] += 1
        self._width[call.level] += 1

    def level_of(self, closure: Closure) -> int:
        """Return how many calls follow one another up to this one."""
        before = [f._origin.level for f in closure.dependencies if isinstance(f, _DryPromise)]
        return max([*before, *self._levels_of_mocks(closure)], default=0) + 1

    def _levels_of_mocks(self, closure: Closure) -> list[int]:
        leaves = (leaf for _, leaf in walk(closure.originals))
        return [self._levels[id(leaf)][1] for leaf in leaves if id(leaf) in self._levels]

    def remember(self, result: object, level: int) -> None:
        """Note that the values of a mock come from a call of this level."""
        for _, leaf in walk(result):
            if not isinstance(leaf, int | float | complex | str | bytes | None):
                self._levels[id(leaf)] = (leaf, level)  # held, so that the id stays this leaf's

    def report(self) -> str:
        lines = []
        if self.errors:
            lines.append(f"Dry run: {_count(len(self.errors), 'mistake')}")
            lines += [f"  {site}: {error}" for site, error in self.errors]
        else:
            lines.append("Dry run: no mistakes found")
        if self.stopped_at is not None:
            lines.append(self.stopped_at)
        total = sum(self._calls.values())
        lines.append(f"{_count(total, 'call')} would run:")
        lines += [f"  {count} x {name}" for name, count in self._calls.items()]
        if total:
            lines.append(f"Longest chain: {_count(max(self._width), 'call')}; width: {max(self._width.values())}")
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class _DryCall:
    """A call that does not run, as the origin of stand-ins."""

    root = None
    cancels_causes = False

    def __init__(self, runner: DryRunner, site: Site, name: str, plan: _Plan) -> None:
        self.dispatcher = runner.dispatcher
        self.site = site
        self.name = name
        self.plan = plan
        self.level = 1

    def __str__(self) -> str:
        return f"{self.name}(), called at {self.site}"

    def make_leaf(self, declared: object) -> _DryPromise:
        return _DryPromise(self, declared)

    def may_cancel(self, promise: Promise) -> bool:
        return False

    def is_running(self) -> bool:
        return False

    def retrieve(self) -> None:
        pass

    def leaf_cancelled(self, promise: Promise) -> None:
        pass

    def freeze_value(self, value: Any) -> Frozen:
        return freeze(value, in_process)

    def stop(self) -> NoReturn:
        """End the run here."""
        self.plan.stopped_at = (
            f"Checked up to {call_site()}, which needs a value: give {self.name} a mock to check what follows"
        )
        raise DryRunStopped(1 if self.plan.errors else 0)


class _DryPromise(Promise):
    """Stands in for a value in a dry run.

    It counts as done, so that nobody waits for it for ever; who asks for its value ends the run.
    """

    _origin: _DryCall

    def __init__(self, origin: _DryCall, declared: object) -> None:
        super().__init__(origin, declared)
        self._state = FINISHED

    def result(self, timeout: float | None = None) -> Any:
        self._origin.stop()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._origin.stop()

    def _take(self) -> Any:
        self._origin.stop()

    def __getitem__(self, key: Any) -> Promise:
        return _DryPromise(self._origin, item_type(self.declared, key))

    def __repr__(self) -> str:
        return f"<stands in for the result of {self._origin}>"

    __str__ = __repr__
