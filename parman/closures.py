# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One call of a task, frozen.

All that a call needs is settled when the closure is made, in the caller's thread and at the caller's line: the
arguments are bound, checked and copied, the futures among them are found, the structure of the result is known.
A runner only has to supply the values of the futures.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import MappingProxyType
from typing import Any

from .changes import Watched
from .context import InsideTask, Site, call_site, in_force
from .definitions import Definition
from .errors import WorkflowError
from .flat import freeze_flat, names_in
from .promises import Promise
from .rules import Rules
from .schemas import Structure
from .snapshots import Carrier, Frozen, freeze, in_process, what_is_lost
from .trees import ATOMS, Path, all_futures, futures_in, map_futures

__all__ = ["Closure"]

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
    rules
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
        "_admitted",
        "_frozen",
        "_given",
        "check",
        "definition",
        "dependencies",
        "late",
        "name",
        "number",
        "originals",
        "rules",
        "site",
        "structure",
        "task",
    )

    structure: Structure
    dependencies: tuple[Future[Any], ...]
    late: tuple[str, ...]
    originals: Mapping[str, Any]
    _frozen: Frozen | None
    _given: Mapping[str, Any]
    _admitted: Mapping[int, list[tuple[str, Path]]]

    def __init__(
        self,
        task: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        rules: Rules | None = None,
        site: Site | None = None,
    ) -> None:
        definition: Definition = task.__parman_task__
        self.task = task
        self.definition = definition
        self.name = definition.name
        self.number = next(_numbers)
        self.site = site or call_site()
        self.rules = rules or Rules()
        self.check: str = definition.options.check or self.rules.check
        schema = definition.schema
        arguments = schema.bind(tuple(args), kwargs or _NOTHING)
        self.rules.meet(task, definition, self.site)
        if self._take_flat(arguments):
            return
        self._check(arguments)
        self.structure = schema.structure(arguments)
        self.originals = dict(arguments) if self.rules.keep_originals else _NOTHING
        self._freeze(arguments)

    def __str__(self) -> str:
        return f"{self.name}(), called at {self.site}"

    def __repr__(self) -> str:
        return f"<call of {self}>"

    def _take_flat(self, arguments: dict[str, Any]) -> bool:
        """Do all the rest at once for the arguments of most calls; false if these are others."""
        definition = self.definition
        structure = definition.schema.fixed
        if structure is None or not definition.goes_flat or self.rules.keep_originals:
            return False
        frozen = freeze_flat(arguments, definition.schema, self.check != "off")
        if frozen is None:
            return False
        self._frozen = frozen
        self.structure = structure
        self.dependencies = frozen.futures
        self.late = names_in(frozen.places) if frozen.places else ()
        self.originals = self._given = self._admitted = _NOTHING
        return True

    def _check(self, arguments: dict[str, Any]) -> None:
        if self.check == "off":
            return
        problems = self.definition.schema.problems(arguments)
        if problems and self.check == "error":
            raise problems[0]
        for problem in problems:
            self.rules.tell(("argument", str(problem)), f"{self.site}: {problem}")

    def _freeze(self, arguments: dict[str, Any]) -> None:
        carrier = self.rules.carrier
        names = self.definition.as_they_are if carrier is in_process else frozenset()
        self._given = {name: arguments.pop(name) for name in names if name in arguments}
        self._frozen = freeze(
            arguments,
            carrier,
            ledger=self.rules.ledger,
            label=f"{self.name}()",
            as_is=self._tell_as_is,
            forgets=self.tell_forgotten,
            seeds=self._tell_seeds,
        )
        futures = self._frozen.futures
        if self._given:
            futures = (*futures, *(f for f in all_futures(self._given) if not any(f is g for g in futures)))
        self.dependencies = futures
        self.late = ()
        self._admitted = _NOTHING
        if futures:
            self._place_futures({**arguments, **self._given})

    def _tell_as_is(self, path: str, leaf: object) -> None:
        kind = type(leaf).__qualname__
        self.rules.tell(
            ("as it is", self.name, kind),
            f"{self.site}: {self.name}() is given {path} as it is, since a {kind} can't be copied: "
            "what the task changes in it is seen by others",
        )

    def _tell_seeds(self, path: str) -> None:
        self.rules.tell(
            ("seeds", self.name, path),
            f"{self.site}: {self.name}() is given {path}, a SeedSequence that an earlier call was given: what both "
            "spawn gives the same random numbers; give each call one of its own, as from spawn(n)",
        )

    def tell_forgotten(self, cls: type, names: list[str]) -> None:
        """Tell the user what of an argument is lost on the way to another process."""
        self.rules.tell(
            ("forgotten", cls.__module__, cls.__qualname__, *names),
            f"{self.site}: {self.name}() is given {what_is_lost(cls, names)}",
        )

    def _place_futures(self, arguments: dict[str, Any]) -> None:
        """Note which parameters hold futures, and where, if any of them may be replaced by exceptions."""
        schema = self.definition.schema
        late = []
        admitted: dict[int, list[tuple[str, Path]]] = {}
        index = {id(future): i for i, future in enumerate(self.dependencies)} if schema.admitting else {}
        for name, value in arguments.items():
            if type(value) in ATOMS:
                continue
            if isinstance(value, Future) or all_futures(value):
                late.append(name)
            if schema.admitting:
                for path, future in [((), value)] if isinstance(value, Future) else futures_in(value):
                    admitted.setdefault(index[id(future)], []).append((name, path))
        self.late = tuple(late)
        self._admitted = admitted

    @property
    def may_admit(self) -> bool:
        """Whether there is any exception that `admits` would let pass."""
        return bool(self._admitted)

    def admits(self, number: int, exception: BaseException) -> bool:
        """Tell whether the task wants this exception in all places of a dependency, which is given by its number."""
        schema, places = self.definition.schema, self._admitted.get(number, ())
        return bool(places) and all(schema.admits(name, path, exception) for name, path in places)

    # --- for runners ---

    @property
    def frozen(self) -> Frozen:
        """The snapshot of the arguments, without those that are passed as they are."""
        if self._frozen is None:
            raise WorkflowError(f"the arguments of {self} were dropped after the call had run")
        return self._frozen

    def arguments(self, values: Sequence[Any] = ()) -> dict[str, Any]:
        """Return a copy of the arguments of its own, with the values of the dependencies in their places.

        Parameters
        ----------
        values
            For each dependency its value, plain or frozen.
        """
        frozen = self._frozen
        return self._with_given((self.frozen if frozen is None else frozen).thaw(values), values)

    def watched_arguments(self, values: Sequence[Any] = ()) -> tuple[Watched, dict[str, Any]]:
        """Return the arguments, as `arguments` does, and what tells which of the copies the task changes."""
        watched = Watched(self.frozen, values)
        return watched, self._with_given(dict(watched.arguments), values)

    def _with_given(self, arguments: dict[str, Any], values: Sequence[Any]) -> dict[str, Any]:
        """Add the arguments that are passed as they are."""
        if self._given:
            plain = {
                id(future): value.thaw() if isinstance(value, Frozen) else value
                for future, value in zip(self.dependencies, values, strict=True)
            }
            arguments |= map_futures(lambda future: plain[id(future)], self._given)
        return arguments

    def carried_by(self, carrier: Carrier) -> Closure:
        """Return this call with a snapshot of the kind that a runner needs."""
        if self.rules.carrier is carrier:
            return self
        args, kwargs = self.definition.schema.call_arguments(self.arguments(self.dependencies))
        rules = Rules(carrier, self.rules.check, self.rules.tell)
        return Closure(self.task, args, kwargs, rules=rules, site=self.site)

    def release(self) -> None:
        """Drop the arguments, which nobody needs any more."""
        self._frozen = None
        self._given = self._admitted = _NOTHING
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
    if isinstance(future, Promise):
        if future.failure is not None:
            return future.failure
        return future.current(lambda value: freeze(value, in_process))
    return future.exception() or future.result()
