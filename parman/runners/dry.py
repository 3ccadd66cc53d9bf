# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dry run: everything is checked that can be checked before the first task runs, and no task runs.

A call returns what its mock returns, or futures that stand in for values, typed as the annotations say. A mock whose
values are not of the annotated types is taken for the shape alone, as on the other runners. A mistake is noted and
the script goes on, so that one run finds them all; blocks within the block are part of it, whatever their runners.

A script never goes on with made-up values: asking a stand-in for its value ends the run there, and so does leaving
the block. A script ends by `SystemExit`; at a prompt, where that would end the session, by an exception of its own.
"""

from __future__ import annotations

import logging
import sys
import sysconfig
from collections.abc import Mapping
from concurrent.futures._base import FINISHED
from types import FrameType, TracebackType
from typing import Any, NoReturn

from ..closures import Closure
from ..context import Site, call_site, is_ours
from ..dispatching import Dispatcher
from ..errors import DryRunErrors, FutureUseError, ParmanError, StructureError
from ..failures import safe_text
from ..journal import Journal
from ..promises import Promise, StrictPromise
from ..schemas import Schema, item_type
from ..snapshots import Frozen, Ledger, freeze, in_process, pickled
from ..standins import stand_in
from ..trees import futures_in
from .base import Runner
from .plans import Plan, count, readable

__all__ = ["DryRunEnded", "DryRunStopped", "DryRunner"]

logger = logging.getLogger("parman")


class DryRunStopped(SystemExit):
    """Ends the script where a dry run can't go on; the code is the exit status."""


class DryRunEnded(BaseException):
    """Ends what is running where a dry run can't go on, in a session at a prompt, which is left as it is."""

    def _render_traceback_(self) -> list[str]:
        """Say what IPython shows in place of a traceback."""
        return [str(self)]


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
        self._plan = Plan()
        self._ledger = Ledger()

    @property
    def own_journal(self) -> Journal:
        return self._journal

    # --- calls ---

    def run(self, closure: Closure, journal: Journal) -> Any:
        level = max(_level_of(closure.dependencies), self._plan.level_of_values(closure.originals)) + 1
        call = _DryCall(self, closure.site, closure.name, self._plan, level)
        self._plan.add_call(call.name, level)
        self._rehearse(closure)
        self._tell_losses(closure)
        if closure.definition.options.mock is not None:
            return self._mocked(call, closure)
        return closure.structure.build(call.make_leaf, stand_in)

    def _rehearse(self, closure: Closure) -> None:
        plan = self._plan
        for error in closure.definition.rehearse(
            closure.originals, closure.site, plan.seen, lambda value: plan.level_of_values(value) > 0
        ):
            plan.add_mistake(closure.site, error)

    def _tell_losses(self, closure: Closure) -> None:
        """Tell what the arguments would lose on the way to another process."""
        try:
            freeze(dict(closure.originals), pickled, ledger=self._ledger, forgets=closure.tell_forgotten)
        except Exception as error:  # a mistake only where calls leave the process
            logger.debug("%s can't be sent to another process: %s", closure, error)

    def _mocked(self, call: _DryCall, closure: Closure) -> Any:
        """Return what the mock returns, or its shape where it makes no values."""
        try:
            result = closure.definition.schema.mock_result(closure.originals)
            fits = not closure.structure.mismatches(closure.structure.split(result))
            call.cure = f"let the mock of `{call.name}` return values of the annotated types"
        except FutureUseError:
            fits = False
            call.cure = _cure_of(closure.dependencies) or call.cure
        except StructureError as error:
            self._plan.add_mistake(closure.site, error)
            fits = False
        if not fits:
            return closure.structure.build(call.make_leaf, stand_in)
        self._plan.remember(result, call.level)
        return result

    def refuse(self, error: Exception, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        site = call_site()
        definition = task.__parman_task__
        arguments, errors = _all_mistakes(error, definition.schema, args, kwargs)
        for mistake in errors:
            self._plan.add_mistake(site, mistake)
        level = _level_of([future for _, future in futures_in((args, dict(kwargs)))]) + 1
        call = _DryCall(self, site, definition.name, self._plan, level)
        call.cure = f"correct the call of `{call.name}` first"
        self._plan.add_call(call.name, level)
        return _shape(definition.schema, arguments, call)

    def object_to(self, error: ParmanError) -> None:
        self._plan.add_mistake(call_site(), error)

    # --- blocks ---

    def begin(self, journal: Journal) -> None:
        self._plan.depth += 1

    def finish(self, journal: Journal, cause: BaseException | None) -> None:
        plan = self._plan
        plan.depth -= 1
        if plan.depth:
            return
        self._plan = Plan()
        self._ledger = Ledger()
        if cause is not None and not isinstance(cause, _ENDS):
            _note_exception(plan, cause)
        logger.log(logging.ERROR if plan.mistakes else logging.WARNING, "%s", plan.report())
        self._end(plan, cause)

    def _end(self, plan: Plan, cause: BaseException | None) -> None:
        """End the script, unless it is to go on, or an exception of its own ends it."""
        errors = [error for _, error in plan.mistakes]
        found = DryRunErrors(f"the dry run found {count(len(errors), 'mistake')}", errors) if errors else None
        if not _is_answered(cause, found):
            return
        if self.proceed and found is not None:
            raise found from None
        if not self.proceed:
            raise _ending(found is not None) from found


_ENDS = (DryRunStopped, DryRunEnded)


def _is_answered(cause: BaseException | None, found: DryRunErrors | None) -> bool:
    """Tell whether the report says all that there is to say of what left the block."""
    if isinstance(cause, SystemExit) and not isinstance(cause, DryRunStopped):
        return found is not None and not cause.code
    return cause is None or isinstance(cause, (*_ENDS, ParmanError))


def _ending(mistaken: bool) -> BaseException:
    if hasattr(sys, "ps1"):
        return DryRunEnded("The dry run ends here.")
    return DryRunStopped(int(mistaken))


def _note_exception(plan: Plan, cause: BaseException) -> None:
    """Note an exception of the block's body: a mistake in the use of the library, or whatever else ended the run."""
    site = _site_of(cause.__traceback__)
    if isinstance(cause, ParmanError):
        plan.add_mistake(site, cause)
        plan.end = f"Checked up to {site}, where this ended the block"
    else:
        plan.end = f"Checked up to {site}, where the block was left by {safe_text(cause)}"


def _site_of(trace: TracebackType | None) -> Site:
    """Return the innermost place of a traceback in a file of the user's, rather than in an installed library."""
    places = []
    while trace is not None:
        places.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    own = [place for place in places if not is_ours(place[0])] or places
    frame, line = next((place for place in reversed(own) if not _is_installed(place[0])), own[-1])
    return Site(frame.f_code.co_filename, line, frame.f_code.co_name)


def _is_installed(frame: FrameType) -> bool:
    paths = sysconfig.get_paths()
    return frame.f_code.co_filename.startswith((paths["stdlib"], paths["purelib"], paths["platlib"], "<frozen"))


# --- calls with mistakes ---


def _all_mistakes(
    error: Exception, schema: Schema, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Exception]]:
    """Return the arguments by name, as far as they can be told, and all mistakes in a call of which one is known."""
    try:
        arguments = schema.bind(args, kwargs)
    except TypeError:
        return {}, [error]
    problems = schema.problems(arguments)
    if not problems or str(problems[0]) != str(error):
        return arguments, [error]
    try:
        freeze(dict(arguments), in_process, label=f"{schema.name}()")
    except Exception as further:
        return arguments, [*problems, further]
    return arguments, list(problems)


def _shape(schema: Schema, arguments: dict[str, Any], call: _DryCall) -> Any:
    """Return stand-ins for the result of a call with mistakes, in the structure that it probably has."""
    for known, of in ((schema, arguments), (Schema(schema.function), arguments), (Schema(schema.function), {})):
        try:
            return known.structure(of).build(call.make_leaf, stand_in)
        except Exception:
            continue
    return call.make_leaf(schema.annotation("return"))


def _origins(futures: Any) -> list[_DryCall]:
    return [future._origin for future in futures if isinstance(future, _DryPromise)]


def _level_of(futures: Any) -> int:
    return max((origin.level for origin in _origins(futures)), default=0)


def _cure_of(futures: Any) -> str | None:
    return next((origin.cure for origin in _origins(futures)), None)


# --- stand-ins ---


class _DryCall:
    """A call that does not run, as the origin of stand-ins.

    Attributes
    ----------
    level
        How many calls follow one another up to this one.
    cure
        What the user can do to have values in place of the stand-ins.
    """

    root = None
    cancels_causes = False

    def __init__(self, runner: DryRunner, site: Site, name: str, plan: Plan, level: int) -> None:
        self.dispatcher = runner.dispatcher
        self.site = site
        self.name = name
        self.plan = plan
        self.level = level
        self.cure = f"give `{name}` a mock"

    def __str__(self) -> str:
        return f"{self.name}(), called at {self.site}"

    def make_leaf(self, declared: object) -> _DryPromise:
        return _DryPromise(self, declared)

    def may_cancel(self, promise: Promise) -> bool:
        return False

    def end(self) -> None:
        pass

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
        place = f"{call_site()}, which needs a value" if _is_called_by_user() else f"the need for a value of {self}"
        self.plan.end = f"Checked up to {place}: {self.cure} to check what follows"
        if not self.plan.depth:  # the report has been given
            logger.warning("%s", readable(f"Dry run: {self.plan.end}"))
        raise _ending(bool(self.plan.mistakes))


def _is_called_by_user() -> bool:
    """Tell whether code of the user asks, rather than a thread of the library on its behalf."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (is_ours(frame) or _is_installed(frame)):
        frame = frame.f_back
    return frame is not None


class _DryPromise(StrictPromise):
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

    def _describe(self) -> str:
        return f"stand-in for the result of {self._origin}"
