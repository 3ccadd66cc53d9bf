# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One call of a task, with all that it needs: a closure; and what a block says of all of them.

A closure is made in the caller's thread and at the caller's line: the arguments are bound, checked and copied, the
futures among them are found, the structure of the result is known. A runner only has to supply the values of the
futures. Arguments that are nothing but numbers, short strings and futures, as in most calls of a workflow with very
many, are checked, searched and taken in one loop. Anything that is not known to fit takes the long way, which gives
the messages, and teaches the schema what fits.

A task is looked at once a block, at its first call: for futures that its function holds, and, where calls leave the
process, for a snapshot of the function with the globals it refers to, which then travels once to each worker.
"""

from __future__ import annotations

import dis
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import lru_cache
from types import CodeType, FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any

from .annotations.spec import ResultSpec
from .assets import Asset, TaskSpec, new_asset
from .context import InsideTask, Site, call_site, in_force
from .errors import ArgumentError, HiddenFutureError, WorkflowError
from .futures.future import CallFuture
from .snapshots.cache import SnapshotCache
from .snapshots.changes import Watched
from .snapshots.hidden import search_function
from .snapshots.load_errors import explain
from .snapshots.share import Share
from .snapshots.snapshot import Snapshot
from .snapshots.take import Serializer, flat_snapshot, in_process, take_snapshot, what_is_lost
from .tasks import TaskDefinition
from .trees.nodes import ATOMS, Path
from .trees.walk import all_futures, futures_in, map_futures

if TYPE_CHECKING:
    from .tasks import Check

__all__ = ["CallOptions", "Closure", "names_in"]


@lru_cache(maxsize=1000)
def names_in(places: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Return the names in the places of futures; mostly the same object for the same ones."""
    return tuple([name for name, _ in places])


_BIG_GLOBAL = 10_000_000
"""Size from which a global that travels with a function is warned about [bytes]."""


def _warn_nobody(key: tuple[str, ...], text: str) -> None:
    pass


class CallOptions:
    """How the calls of one block are made.

    Parameters
    ----------
    serializer
        How snapshots are taken.
    check
        What a mismatch of types does, unless a task says otherwise.
    tell
        Tells the user something once for each key.
    keep_originals
        Closures keep the arguments as they were given besides, for the dry run.
    """

    def __init__(
        self,
        serializer: Serializer = in_process,
        check: Check = "error",
        warn: Callable[[tuple[str, ...], str], None] = _warn_nobody,
        keep_originals: bool = False,
    ) -> None:
        self.serializer = serializer
        self.check: Check = check
        self.warn = warn
        self.keep_originals = keep_originals
        self.cache = SnapshotCache()
        self._lock = threading.Lock()
        self._met: dict[TaskDefinition, Asset | None] = {}

    def meet(self, task: Any, definition: TaskDefinition, site: Site) -> None:
        """Look at a task, unless it has been called in this block before.

        Raises
        ------
        HiddenFutureError
            The function holds a future in its closure, or in a global that it loads.
        ArgumentError
            The function or something it refers to can't be pickled, where it has to be.
        """
        if definition in self._met:
            return
        hidden = _hidden_future(definition)
        if hidden is not None:
            raise hidden
        asset = None if self._stays(definition) else self._snapshot_function(task, definition, site)
        with self._lock:
            self._met.setdefault(definition, asset)

    def mistakes_of(self, task: Any, definition: TaskDefinition, site: Site) -> list[ArgumentError]:
        """Return all for which `meet` would raise an error, where that raises the first."""
        if definition in self._met:
            return []
        hidden = _hidden_future(definition)
        found: list[ArgumentError] = [] if hidden is None else [hidden]
        if not self._stays(definition):
            try:
                self._snapshot_function(task, definition, site)
            except ArgumentError as error:
                found += list(self._outsiders(definition)) or ([] if found else [error])
        return found

    def _stays(self, definition: TaskDefinition) -> bool:
        """Tell whether a function is called in this process: a call that waits runs in the driver, as a rule."""
        return self.serializer is in_process or definition.is_blocking

    def share(self, value: Any) -> Share:
        """Take the snapshot of something once, for all calls it is passed to."""
        return Share(take_snapshot(value, self.serializer, cache=self.cache, label="share(x)"))

    def share_here(self, value: Any) -> Share:
        """Share something that can't leave this process, for a dry run that goes on after saying so."""
        return Share(take_snapshot(value, in_process, label="share(x)"))

    def asset_of(self, task: Any, definition: TaskDefinition, site: Site) -> Asset:
        """Return the snapshot of the function that was taken at the first call, or take it now."""
        asset = self._met[definition]
        if asset is None:
            asset = self._met[definition] = self._snapshot_function(task, definition, site)
        return asset

    def _snapshot_function(self, task: Any, definition: TaskDefinition, site: Site) -> Asset:
        try:
            asset = new_asset(TaskSpec.about(task), self.serializer, self.cache, definition.name)
        except Exception as error:
            known = next(self._outsiders(definition), None)
            if known is not None:
                raise known from error
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError(
                f"the task {definition.name} can't be sent to a worker: {error}; "
                "make what it refers to an argument, or create it inside the task"
            ) from error
        self._warn_of_globals(definition, asset, site)
        return asset

    def _outsiders(self, definition: TaskDefinition) -> Iterator[ArgumentError]:
        """Yield an error for each variable and default because of which a function can't be pickled."""
        for text in self._failing(definition.function, definition.name + "()", set()):
            yield ArgumentError(text)

    def _failing(self, function: Any, name: str, seen: set[int]) -> Iterator[str]:
        if not isinstance(function, FunctionType) or id(function.__code__) in seen:
            return
        seen.add(id(function.__code__))
        for variable, value in _variables(function).items():
            error = self._failure(value, f"the variable {variable}")
            if error is None or id(getattr(value, "__code__", None)) in seen:
                continue
            yield from list(self._failing(value, f"{name}, which uses {variable}()", seen)) or [f"{name}: {error}"]
        for parameter, value in _defaults(function).items():
            error = self._failure(value, f"the default of {parameter}")
            if error is not None:
                yield f"{name}: {error}"

    def _failure(self, value: object, label: str) -> Exception | None:
        try:
            take_snapshot(value, self.serializer, cache=self.cache, label=label)
        except Exception as error:
            return error
        return None

    def _warn_of_globals(self, definition: TaskDefinition, asset: Asset, site: Site) -> None:
        for name in _assigned_globals(definition.function):
            self.warn(
                ("assigns", definition.name, name),
                f"{site}: {definition.name}() assigns to the global {name!r}: on processes this changes the worker's "
                "copy only; return the value instead",
            )
        if asset.snapshot.nbytes > _BIG_GLOBAL:
            for name, size in self._big_variables(definition.function):
                self.warn(
                    ("big", definition.name, name),
                    f"{site}: {definition.name}() uses the variable {name!r} of {size / 1e6:.0f} MB from outside, "
                    "which is sent to each worker; pass it as an argument, or share() it",
                )

    def _big_variables(self, function: Any) -> Iterator[tuple[str, int]]:
        for name, value in _variables(function).items():
            try:
                size = take_snapshot(value, self.serializer, cache=self.cache, label=name).nbytes
            except Exception:
                continue  # it travelled as a part of the function, so this can only be a detail of the pickling
            if size > _BIG_GLOBAL:
                yield name, size


def _variables(function: Any) -> dict[str, Any]:
    """Return the variables outside of a function that it may use: globals, and those of functions around it."""
    if not isinstance(function, FunctionType):
        return {}
    names = {name for code in _codes(function) for name in code.co_names} & function.__globals__.keys()
    found = {name: function.__globals__[name] for name in sorted(names)}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _defaults(function: FunctionType) -> dict[str, Any]:
    code = function.__code__
    values = function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    return dict(zip(names, values, strict=True)) | (function.__kwdefaults__ or {})


def _hidden_future(definition: TaskDefinition) -> HiddenFutureError | None:
    found = search_function(definition.function)
    if found is None:
        return None
    return HiddenFutureError(
        f"{definition.name}() uses {found}, which is a future: tasks can't see values through variables "
        "outside; pass it as an argument"
    )


def _codes(function: Any) -> Iterator[CodeType]:
    code = getattr(function, "__code__", None)
    todo = [code] if isinstance(code, CodeType) else []
    while todo:
        code = todo.pop()
        yield code
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _assigned_globals(function: Any) -> list[str]:
    return sorted(
        {
            str(instruction.argval)
            for code in _codes(function)
            for instruction in dis.get_instructions(code)
            if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")
        }
    )


_numbers = itertools.count()
_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Closure:
    """One call of a task: the task, its arguments as they were at the call, and where it was called.

    Parameters
    ----------
    task
        The task.
    args, kwargs
        The arguments; they may hold futures in trees.
    options
        How snapshots are taken and types are checked; by default in process, and strictly.
    site
        The place of the call in the user's file; by default that of the caller.

    Attributes
    ----------
    task
        The task.
    site
        File, line and function of the call.
    dependencies : tuple of Future
        The futures among the arguments.
    structure
        The structure of the result.
    check
        What a mismatch of types does in this call.

    Raises
    ------
    TypeError
        An argument is missing, unknown, can't be passed on, does not fit its annotation, or holds a future in a
        place where it can't be found.
    """

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_given",
        "_snapshot",
        "check",
        "definition",
        "dependencies",
        "late",
        "name",
        "number",
        "options",
        "originals",
        "site",
        "structure",
        "task",
    )

    structure: ResultSpec
    dependencies: tuple[Future[Any], ...]
    late: tuple[str, ...]
    originals: Mapping[str, Any]
    _snapshot: Snapshot | None
    _given: Mapping[str, Any]
    _accepted: Mapping[int, list[tuple[str, Path]]]

    def __init__(
        self,
        task: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        options: CallOptions | None = None,
        site: Site | None = None,
    ) -> None:
        definition: TaskDefinition = task.__parman_task__
        self.task = task
        self.definition = definition
        self.name = definition.name
        self.number = next(_numbers)
        self.site = site or call_site()
        self.options = options or CallOptions()
        self.check: str = definition.options.check or self.options.check
        schema = definition.schema
        arguments = schema.bind(tuple(args), kwargs or _NOTHING)
        self.options.meet(task, definition, self.site)
        if self._take_flat(arguments):
            return
        self._check(arguments)
        self.structure = schema.result_spec(arguments)
        self.originals = dict(arguments) if self.options.keep_originals else _NOTHING
        self._take_snapshot(arguments)

    def __str__(self) -> str:
        return f"{self.name}(), called at {self.site}"

    def __repr__(self) -> str:
        return f"<call of {self}>"

    def _take_flat(self, arguments: dict[str, Any]) -> bool:
        """Do all the rest at once for the arguments of most calls; false if these are others."""
        definition = self.definition
        structure = definition.schema.fixed
        if structure is None or not definition.goes_flat or self.options.keep_originals:
            return False
        snapshot = flat_snapshot(arguments, None if self.check == "off" else definition.schema)
        if snapshot is None:
            return False
        self._snapshot = snapshot
        self.structure = structure
        self.dependencies = snapshot.futures
        self.late = names_in(snapshot.places) if snapshot.places else ()
        self.originals = self._given = self._accepted = _NOTHING
        return True

    def _check(self, arguments: dict[str, Any]) -> None:
        if self.check == "off":
            return
        problems = self.definition.schema.problems(arguments)
        if problems and self.check == "error":
            raise problems[0]
        for problem in problems:
            self.options.warn(("argument", str(problem)), f"{self.site}: {problem}")

    def _take_snapshot(self, arguments: dict[str, Any]) -> None:
        serializer = self.options.serializer
        names = self.definition.as_they_are if serializer is in_process else frozenset()
        self._given = {name: arguments.pop(name) for name in names if name in arguments}
        self._snapshot = take_snapshot(
            arguments,
            serializer,
            cache=self.options.cache,
            label=f"{self.name}()",
            as_is=self._tell_as_is,
            forgets=self.tell_forgotten,
            seeds=self._tell_seeds,
        )
        futures = self._snapshot.futures
        if self._given:
            futures = (*futures, *(f for f in all_futures(self._given) if not any(f is g for g in futures)))
        self.dependencies = futures
        self.late = ()
        self._accepted = _NOTHING
        if futures:
            self._place_futures({**arguments, **self._given})

    def _tell_as_is(self, path: str, leaf: object) -> None:
        kind = type(leaf).__qualname__
        self.options.warn(
            ("as it is", self.name, kind),
            f"{self.site}: {self.name}() is given {path} as it is, since a {kind} can't be copied: "
            "what the task changes in it is seen by others",
        )

    def _tell_seeds(self, path: str) -> None:
        self.options.warn(
            ("seeds", self.name, path),
            f"{self.site}: {self.name}() is given {path}, a SeedSequence that an earlier call was given: what both "
            "spawn gives the same random numbers; give each call one of its own, as from spawn(n)",
        )

    def tell_forgotten(self, cls: type, names: list[str]) -> None:
        """Tell the user what of an argument is lost on the way to another process."""
        self.options.warn(
            ("forgotten", cls.__module__, cls.__qualname__, *names),
            f"{self.site}: {self.name}() is given {what_is_lost(cls, names)}",
        )

    def _place_futures(self, arguments: dict[str, Any]) -> None:
        """Note which parameters hold futures, and where, if any of them may be replaced by exceptions."""
        schema = self.definition.schema
        late = []
        accepted: dict[int, list[tuple[str, Path]]] = {}
        index = {id(future): i for i, future in enumerate(self.dependencies)} if schema.accepts_exceptions else {}
        for name, value in arguments.items():
            if type(value) in ATOMS:
                continue
            if isinstance(value, Future) or all_futures(value):
                late.append(name)
            if schema.accepts_exceptions:
                for path, future in [((), value)] if isinstance(value, Future) else futures_in(value):
                    accepted.setdefault(index[id(future)], []).append((name, path))
        self.late = tuple(late)
        self._accepted = accepted

    @property
    def may_accept_exceptions(self) -> bool:
        """Whether there is any exception that `admits` would let pass."""
        return bool(self._accepted)

    def accepts_exception(self, number: int, exception: BaseException) -> bool:
        """Tell whether the task wants this exception in all places of a dependency, which is given by its number."""
        schema, places = self.definition.schema, self._accepted.get(number, ())
        return bool(places) and all(schema.accepts_exception(name, path, exception) for name, path in places)

    # --- for runners ---

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot of the arguments, without those that are passed as they are."""
        if self._snapshot is None:
            raise WorkflowError(f"the arguments of {self} were dropped after the call had run")
        return self._snapshot

    def arguments(self, values: Sequence[Any] = ()) -> dict[str, Any]:
        """Return a copy of the arguments of its own, with the values of the dependencies in their places.

        Parameters
        ----------
        values
            For each dependency its value, plain or a snapshot.
        """
        snapshot = self._snapshot
        if snapshot is None:
            snapshot = self.snapshot
        try:
            return self._with_given(snapshot.load(values), values)
        except Exception as error:  # from code of the user's classes
            self._explain(error, snapshot, values)
            raise

    def watched_arguments(self, values: Sequence[Any] = ()) -> tuple[Watched, dict[str, Any]]:
        """Return the arguments, as `arguments` does, and what tells which of the copies the task changes."""
        snapshot = self.snapshot
        try:
            watched = Watched(snapshot, values)
            return watched, self._with_given(dict(watched.arguments), values)
        except Exception as error:  # from code of the user's classes
            self._explain(error, snapshot, values)
            raise

    def _explain(self, error: Exception, snapshot: Snapshot, values: Sequence[Any]) -> None:
        explain(error, self.name, snapshot, values, self._given, self.dependencies)

    def _with_given(self, arguments: dict[str, Any], values: Sequence[Any]) -> dict[str, Any]:
        """Add the arguments that are passed as they are."""
        if self._given:
            plain = {
                id(future): value.load() if isinstance(value, Snapshot) else value
                for future, value in zip(self.dependencies, values, strict=True)
            }
            arguments |= map_futures(lambda future: plain[id(future)], self._given)
        return arguments

    def carried_by(self, serializer: Serializer) -> Closure:
        """Return this call with a snapshot of the kind that a runner needs."""
        if self.options.serializer is serializer:
            return self
        args, kwargs = self.definition.schema.call_arguments(self.arguments(self.dependencies))
        options = CallOptions(serializer, self.options.check, self.options.warn)
        return Closure(self.task, args, kwargs, options=options, site=self.site)

    def release(self) -> None:
        """Drop the arguments, which nobody needs any more."""
        self._snapshot = None
        self._given = self._accepted = _NOTHING
        self.dependencies = ()

    # --- for the user ---

    def rerun(self) -> Any:
        """Run a failed call again, in place and with the same arguments, as for a debugger.

        Returns
        -------
        The plain result.

        Raises
        ------
        WorkflowError
            The arguments are no longer there: the call succeeded, or very many calls of this task failed.
        """
        values = [_value_of(future) for future in self.dependencies]
        args, kwargs = self.definition.schema.call_arguments(self.arguments(values))
        token = in_force.set(InsideTask())
        try:
            return self.definition.function(*args, **kwargs)
        finally:
            in_force.reset(token)


def _value_of(future: Future[Any]) -> Any:
    if isinstance(future, CallFuture):
        if future.failure is not None:
            return future.failure
        return future.current(lambda value: take_snapshot(value, in_process))
    return future.exception() or future.result()
