# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dry run: everything is checked that can be checked before the first task runs, and no task runs.

A call returns what its mock returns, or futures that stand in for values, typed as the annotations say. A mock whose
values are not of the annotated types is taken for the shape alone, as on the other runners. A mistake is noted and
the script goes on, so that one run finds them all; blocks within the block are part of it, whatever their runners.

A script never goes on with made-up values: asking a placeholder for its value ends the run there, and so does leaving
the block. A script ends by `SystemExit`; at a prompt, where that would end the session, by an exception of its own.

The report has the mistakes, the calls, and how they depend on each other. How long the chains are is seen from the
futures that are passed on. The values of mocks carry no mark, so those that can be told apart (lists, arrays, objects)
are remembered by their identity; numbers and texts can't be followed. Which lines of the script the run has reached,
and which not, is read from the source of the block.
"""

from __future__ import annotations

import ast
import linecache
import logging
import os
import re
import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from concurrent.futures._base import FINISHED
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple, NoReturn, TypeAlias

from ..annotations.evaluate import item_type
from ..annotations.signature import Schema
from ..annotations.spec import ResultSpec
from ..closures import CallOptions, Closure
from ..context import Site, call_site, is_ours
from ..engine.registry import CallRegistry
from ..engine.runner import Runner, executor_info
from ..errors import DryRunErrors, FutureUseError, Interrupted, ParmanError, StructureError
from ..futures.future import CallFuture, StrictFuture
from ..futures.loop import EventLoop
from ..futures.placeholders import make_placeholder
from ..lifecycle import counted
from ..snapshots.exceptions import safe_text
from ..snapshots.snapshot import Snapshot
from ..snapshots.take import Serializer, in_process, pickled, take_snapshot
from ..tasks import TaskDefinition
from ..trees.nodes import ATOMS, kind_of
from ..trees.walk import futures_in
from .mistakes import Examined, mock_mistake

__all__ = [
    "DryRunEnded",
    "DryRunStopped",
    "DryRunner",
    "Extent",
    "Mistake",
    "Plan",
    "extent_of_caller",
    "is_installed",
    "readable",
]

_Scope: TypeAlias = "ast.Module | ast.FunctionDef | ast.AsyncFunctionDef"


def is_installed(frame: FrameType) -> bool:
    """Tell whether a frame runs code of Python or of an installed library."""
    paths = sysconfig.get_paths()
    return frame.f_code.co_filename.startswith((paths["stdlib"], paths["purelib"], paths["platlib"], "<frozen"))


def extent_of_caller() -> Extent | None:
    """Return the place of the block that code of the user enters here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (is_ours(frame) or is_installed(frame)):
        frame = frame.f_back
    return None if frame is None else Extent(frame.f_code, frame.f_lineno)


class Extent:
    """Where a block stands in the user's file.

    Parameters
    ----------
    code
        The code that the block is part of.
    line
        The line that enters it.
    """

    def __init__(self, code: CodeType, line: int) -> None:
        self._code = code
        self._line = line

    def line_of(self, trace: TracebackType | None) -> int | None:
        """Return the line of the block at which an exception left it."""
        while trace is not None:
            if trace.tb_frame.f_code is self._code:
                return trace.tb_lineno
            trace = trace.tb_next
        return None

    def not_reached(self, last: int | None) -> str | None:
        """Name the lines behind the last one that was reached, or behind the block; None if there are none."""
        try:
            tree = ast.parse("".join(linecache.getlines(self._code.co_filename)))
        except (SyntaxError, ValueError):  # not a file of Python, as a cell with magic commands
            return None
        scope = self._scope(tree)
        if last is None:
            last = self._end(scope)
        if last is None:
            return None
        lines = [node.lineno for node in _statements(scope) if node.lineno > last]
        end = max((node.end_lineno or 0 for node in _statements(scope)), default=0)
        if not lines:
            return None
        place = str(Site(self._code.co_filename, min(lines), ""))
        return place if end == min(lines) else f"{place}-{end}"

    def _scope(self, tree: ast.Module) -> _Scope:
        """Return the function in which the block stands, or the module."""
        found: _Scope = tree
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == self._code.co_name:
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                if first == self._code.co_firstlineno:
                    found = node
        return found

    def _end(self, scope: _Scope) -> int | None:
        """Return the last line of the `with` block; None if the block is none of these."""
        ends = [
            node.end_lineno
            for node in _statements(scope)
            if isinstance(node, ast.With | ast.AsyncWith)
            and node.lineno <= self._line <= max(item.context_expr.end_lineno or 0 for item in node.items)
        ]
        return ends[-1] if ends else None


def _statements(scope: _Scope) -> Iterator[ast.stmt]:
    """Yield the statements that are run with the scope, outer ones first."""
    todo: list[ast.AST] = list(reversed(scope.body))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            todo.extend(reversed(list(ast.iter_child_nodes(node))))


_MOST_AT_A_LINE = 5
"""Different mistakes that are shown for one line of the script, which may be in a loop; of its first call, all."""


class Mistake(NamedTuple):
    """Something that the user has to mend."""

    site: Site
    error: Exception
    call: int
    """Which call of the run it belongs to, or comes after."""


class Plan:
    """What a dry run has found in a block, and in the blocks within it.

    Attributes
    ----------
    mistakes
        In the order in which they were met.
    end
        A sentence that says why the run ended before the end of the block.
    end_place
        The place of that.
    failed
        What the script itself failed with, so that nobody can say that it is without mistakes.
    extent
        Where the block stands in the script.
    last
        The last line of the block that was reached, if not its end.
    depth
        How many blocks are open.
    seen
        What tasks note of their calls, to compare them with later ones.
    """

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self.end: str | None = None
        self.end_place: str | None = None
        self.failed: str | None = None
        self.extent: Extent | None = None
        self.last: int | None = None
        self.depth = 0
        self.seen: dict[Any, Any] = {}
        self._calls: Counter[str] = Counter()
        self._width: Counter[int] = Counter()
        self._levels: dict[int, tuple[object, int]] = {}
        self._exact = True
        self._lock = threading.Lock()
        self._functions: set[TaskDefinition] = set()

    # --- what was found ---

    def add_mistake(self, site: Site, error: Exception) -> None:
        """Note a mistake; its traceback is of no use, since it was met in the library."""
        error.add_note(f"Found by the dry run at {site}.")
        self.mistakes.append(Mistake(site, error.with_traceback(None), self._calls.total()))

    def add_mistakes_of_function(self, definition: TaskDefinition, site: Site, errors: Iterable[Exception]) -> None:
        """Note what is wrong with a function, at the first of its calls."""
        if definition not in self._functions:
            for error in errors:
                self._functions.add(definition)
                self.add_mistake(site, error)

    def add_call(self, name: str, level: int) -> None:
        """Note a call that comes after `level - 1` others."""
        with self._lock:
            self._calls[name] += 1
            self._width[level] += 1

    def remember(self, result: object, level: int) -> None:
        """Note that what a mock returned comes from a call of this level."""
        for part in _parts(result):
            if type(part) not in ATOMS:
                self._levels[id(part)] = (part, level)  # held, so that the id stays that of this object
            elif part is not None:
                self._exact = False

    def level_of_values(self, tree: object) -> int:
        """Return the highest level of the calls whose mocks made the values in a tree; 0 if there are none."""
        if not self._levels:
            return 0
        return max((self._levels[id(part)][1] for part in _parts(tree) if id(part) in self._levels), default=0)

    # --- what the user is told ---

    def report(self, goes_on: bool = False) -> str:
        """Write down what was found, and how far the run came.

        Parameters
        ----------
        goes_on
            The script goes on after the block.
        """
        ends = [] if self.end is None else [self.end]
        left = None if goes_on or self.extent is None else self.extent.not_reached(self.last)
        if left is not None:
            ends.append(f"Not checked: {left}" + ("" if self.end else ", after the block"))
        return readable("\n".join([self._head(), *self._mistake_lines(), *ends, *self._call_lines()]))

    def _head(self) -> str:
        place = "" if self.end_place is None else f" up to {self.end_place}"
        if self.mistakes:
            return f"Dry run: {counted(len(self.mistakes), 'mistake')}{place}"
        if self.failed is not None:
            return (
                f"Dry run: not finished: {self.failed}, after {counted(self._calls.total(), 'call')} without a mistake"
            )
        return f"Dry run: no mistakes found{place}"

    def _mistake_lines(self) -> Iterator[str]:
        by_line: dict[tuple[str, int], list[Mistake]] = {}
        for mistake in self.mistakes:
            by_line.setdefault(mistake.site[:2], []).append(mistake)
        for (file, line), mistakes in by_line.items():
            texts = Counter(_text(mistake.error) for mistake in mistakes)
            of_first_call = {_text(mistake.error) for mistake in mistakes if mistake.call == mistakes[0].call}
            shown = list(texts)[: max(_MOST_AT_A_LINE, len(of_first_call))]
            for text in shown:
                times = f" ({texts[text]} times)" if texts[text] > 1 else ""
                yield f"  {Site(file, line, '')}: {text}{times}"
            more = texts.total() - sum(texts[text] for text in shown)
            if more:
                yield f"  {Site(file, line, '')}: and {counted(more, 'more mistake')}"

    def _call_lines(self) -> list[str]:
        if not self._calls:
            return ["No task would be called"]
        lines = [f"{counted(sum(self._calls.values()), 'call')} would run:"]
        digits = len(str(max(self._calls.values())))
        lines += [f"  {number:{digits}} x {name}" for name, number in self._calls.items()]
        at_least = "" if self._exact else "at least "
        longest, widest = max(self._width), max(self._width.values())
        return [*lines, f"Longest chain: {at_least}{counted(longest, 'call')}; width: {widest}"]


def _parts(tree: object) -> Iterable[object]:
    """Yield a tree, the nodes in it and its leaves; of items that are all numbers or texts only the first."""
    seen: set[int] = set()
    todo = [tree]
    while todo:
        part = todo.pop()
        yield part
        kind = kind_of(type(part))
        if kind is None or id(part) in seen:
            continue
        seen.add(id(part))
        values = list(kind.values(part))
        todo.extend(values[:1] if ATOMS.issuperset(map(type, values)) else values)


def _text(error: Exception) -> str:
    known = isinstance(error, TypeError) or type(error).__module__.startswith("parman.")
    return (str(error) if known else safe_text(error)).replace("\n", "\n    ")


def readable(text: str) -> str:
    """Write places as short as they can be: relative to the current directory."""
    here = re.escape(str(Path.cwd()) + os.sep)
    return re.sub(rf"{here}([^\s:]+:\d+)", r"\1", text)


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

    Leaving the block logs what was found and ends the script: exit status 1 if there were mistakes, else 0. Arguments
    and functions are pickled as for processes, unless the block names another runner within a dry one.

    Parameters
    ----------
    proceed
        Go on with the script after the block. Mistakes are then raised as `DryRunErrors`.
    """

    is_dry = True
    serializer = pickled

    def __init__(self, proceed: bool = False) -> None:
        self.proceed = proceed
        self.event_loop = EventLoop()
        self._registry = CallRegistry()
        self._plan = Plan()

    @property
    def own_registry(self) -> CallRegistry:
        return self._registry

    def serializer_for(self, wanted: Runner | Executor | str | None) -> Serializer:
        if isinstance(wanted, str):
            return in_process if wanted.partition(":")[0] in ("serial", "threads") else pickled
        if wanted is None or isinstance(wanted, Runner):
            return self.serializer if wanted is None else wanted.serializer
        return in_process if executor_info(wanted).where == "inside" else pickled

    # --- calls ---

    def run(self, closure: Closure, registry: CallRegistry) -> Any:
        level = max(_level_of(closure.dependencies), self._plan.level_of_values(closure.originals)) + 1
        call = _DryCall(self, closure.site, closure.name, self._plan, level)
        self._plan.add_call(call.name, level)
        self._dry_run(closure.definition, closure.originals, closure.site)
        return self._result(call, closure.definition, closure.originals, closure.structure)

    def _dry_run(self, definition: TaskDefinition, arguments: Mapping[str, Any], site: Site) -> None:
        plan = self._plan
        for error in definition.dry_run(arguments, site, plan.seen, lambda value: plan.level_of_values(value) > 0):
            plan.add_mistake(site, error)

    def _result(
        self, call: _DryCall, definition: TaskDefinition, arguments: Mapping[str, Any], structure: ResultSpec
    ) -> Any:
        """Return what the mock returns, or its shape where it makes no values; without a mock, placeholders."""
        schema = definition.schema
        if definition.options.mock is None:
            return structure.unflatten(call.make_leaf, make_placeholder)
        try:
            result = schema.mock_result(arguments)
            self._check_mock(call, definition, arguments, result)
            fits = not structure.mismatches(structure.flatten(result))
            call.cure = call.correction or f"let the mock of `{call.name}` return values of the annotated types"
        except FutureUseError:
            fits = False
            futures = [future for _, future in futures_in(dict(arguments))]
            call.cure = call.correction or _cure_of(futures) or call.cure
        except StructureError as error:
            self._plan.add_mistake(call.site, error)
            fits = False
        if not fits:
            return structure.unflatten(call.make_leaf, make_placeholder)
        self._plan.remember(result, call.level)
        return result

    def _check_mock(
        self, call: _DryCall, definition: TaskDefinition, arguments: Mapping[str, Any], result: Any
    ) -> None:
        if definition.is_blocking:
            return  # the result of a job is what the mock says, whatever is annotated
        text = mock_mistake(definition.schema, arguments, result, lambda: call.make_leaf(Any))
        if text is not None:
            self._plan.add_mistake(call.site, StructureError(text))

    def refuse(
        self,
        error: Exception,
        task: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: CallOptions,
        site: Site,
    ) -> Any:
        definition = task.__parman_task__
        level = _level_of([future for _, future in futures_in((args, dict(kwargs)))]) + 1
        call = _DryCall(self, site, definition.name, self._plan, level)
        call.cure = call.correction = f"correct the call of `{call.name}` first"
        self._plan.add_call(call.name, level)
        examined = Examined(error, task, args, kwargs, options, site, call.make_leaf)
        for mistake in examined.of_call:
            self._plan.add_mistake(site, mistake)
        self._plan.add_mistakes_of_function(definition, site, examined.of_function)
        self._dry_run(definition, examined.known, site)
        if any(isinstance(mistake, StructureError) for mistake in examined.of_call):
            return _shape(definition.schema, examined.arguments, call)
        return self._result(call, definition, examined.known, definition.schema.result_spec(examined.known))

    def object_to(self, error: ParmanError) -> None:
        self._plan.add_mistake(call_site(), error)

    # --- blocks ---

    def begin(self, registry: CallRegistry) -> None:
        self._plan.depth += 1
        if self._plan.depth == 1:
            self._plan.extent = extent_of_caller()

    def finish(self, registry: CallRegistry, cause: BaseException | None) -> None:
        plan = self._plan
        plan.depth -= 1
        if plan.depth:
            return
        self._plan = Plan()
        if cause is not None:
            _note_end(plan, cause)
        goes_on = self.proceed and plan.end is None
        logger.log(logging.ERROR if plan.mistakes else logging.WARNING, "%s", plan.report(goes_on))
        self._end(plan, cause)

    def _end(self, plan: Plan, cause: BaseException | None) -> None:
        """End the script, unless it is to go on, or an exception of its own ends it."""
        errors = [mistake.error for mistake in plan.mistakes]
        found = DryRunErrors(f"the dry run found {counted(len(errors), 'mistake')}", errors) if errors else None
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


def _note_end(plan: Plan, cause: BaseException) -> None:
    """Note what ended the block: a mistake in the use of the library, or an exception of the script's own."""
    plan.last = None if plan.extent is None else plan.extent.line_of(cause.__traceback__)
    if isinstance(cause, _ENDS):
        return  # noted where it was raised
    if isinstance(cause, Interrupted):
        plan.failed = "the block was never left"
        plan.end = "Checked as far as the script goes, which does not leave the block: close() it, or use `with`"
        return
    site = _site_of(cause.__traceback__)
    plan.end_place = str(site)
    if isinstance(cause, ParmanError):
        plan.add_mistake(site, cause)
        plan.end = f"Checked up to {site}, where this ended the block"
    elif isinstance(cause, SystemExit):
        status = cause.code if isinstance(cause.code, int) else int(cause.code is not None)
        ended = "ended itself" + (f" with exit status {status}" if status else "")
        plan.failed = f"the script {ended} at {site}" if status else None
        plan.end = f"Checked up to {site}, where the script {ended}"
    else:
        plan.failed = f"the script failed at {site}"
        plan.end = f"Checked up to {site}, where the block was left by {safe_text(cause)}{_told_of_placeholders(cause)}"


def _told_of_placeholders(cause: BaseException) -> str:
    """Explain the class of placeholders in an error that Python or a library raised because of one."""
    name = _DryFuture.__name__
    if name not in safe_text(cause):
        return ""
    return f"; a {name} stands in for the result of a call: resolve() it, or pass it to a task"


def _site_of(trace: TracebackType | None) -> Site:
    """Return the innermost place of a traceback in a file of the user's, rather than in an installed library."""
    places = []
    while trace is not None:
        places.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    own = [place for place in places if not is_ours(place[0])] or places
    frame, line = next((place for place in reversed(own) if not is_installed(place[0])), own[-1])
    return Site(frame.f_code.co_filename, line, frame.f_code.co_name)


# --- calls with mistakes ---


def _shape(schema: Schema, arguments: dict[str, Any], call: _DryCall) -> Any:
    """Return placeholders for the result of a call with mistakes, in the structure that it probably has."""
    for known, of in ((schema, arguments), (Schema(schema.function), arguments), (Schema(schema.function), {})):
        try:
            return known.result_spec(of).unflatten(call.make_leaf, make_placeholder)
        except Exception:
            continue
    return call.make_leaf(schema.annotation("return"))


def _origins(futures: Any) -> list[_DryCall]:
    return [future._origin for future in futures if isinstance(future, _DryFuture)]


def _level_of(futures: Any) -> int:
    return max((origin.level for origin in _origins(futures)), default=0)


def _cure_of(futures: Any) -> str | None:
    return next((origin.cure for origin in _origins(futures)), None)


# --- placeholders ---


class _DryCall:
    """A call that does not run, as the origin of placeholders.

    Attributes
    ----------
    level
        How many calls follow one another up to this one.
    cure
        What the user can do to have values in place of the placeholders.
    correction
        The same for a call with a mistake, which is to be mended before anything else.
    """

    root = None
    needs = ()
    cancels_causes = False
    leaves = ()

    def __init__(self, runner: DryRunner, site: Site, name: str, plan: Plan, level: int) -> None:
        self.event_loop = runner.event_loop
        self.site = site
        self.name = name
        self.plan = plan
        self.level = level
        self.cure = f"give `{name}` a mock"
        self.correction: str | None = None

    def __str__(self) -> str:
        return f"{self.name}(), called at {self.site}"

    def make_leaf(self, declared: object) -> _DryFuture:
        return _DryFuture(self, declared)

    def may_cancel(self, future: CallFuture) -> bool:
        return False

    def ask_to_stop(self) -> None:
        pass

    def is_running(self) -> bool:
        return False

    def retrieve(self) -> None:
        pass

    def leaf_cancelled(self, future: CallFuture) -> None:
        pass

    def take_snapshot(self, value: Any) -> Snapshot:
        return take_snapshot(value, in_process)

    def stop(self) -> NoReturn:
        """End the run here."""
        by_user = _is_called_by_user()
        place = str(call_site()) if by_user else f"the need for a value of {self}"
        need = ", which needs a value" if by_user else ""
        self.plan.end = f"Checked up to {place}{need}: {self.cure} to check what follows"
        self.plan.end_place = place
        if not self.plan.depth:  # the report has been given
            logger.warning("%s", readable(f"Dry run: {self.plan.end}"))
        raise _ending(bool(self.plan.mistakes))


def _is_called_by_user() -> bool:
    """Tell whether code of the user asks, rather than a thread of the library on its behalf."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (is_ours(frame) or is_installed(frame)):
        frame = frame.f_back
    return frame is not None


class _DryFuture(StrictFuture):
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

    def __getitem__(self, key: Any) -> CallFuture:
        return _DryFuture(self._origin, item_type(self.declared, key))

    def _describe(self) -> str:
        return f"placeholder for the result of {self._origin}"
