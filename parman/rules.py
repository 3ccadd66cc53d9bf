# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How the calls of one block are made: how snapshots are taken, how strictly types are checked, what was met before.

A task is looked at once a block, at its first call: for futures that its function holds, and, where calls leave the
process, for a snapshot of the function with the globals it refers to, which then travels once to each worker.
"""

from __future__ import annotations

import dis
import threading
import uuid
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import attrs

from .errors import ArgumentError, HiddenFutureError
from .hidden import search_function
from .lessons import Lesson
from .shares import Share
from .snapshots import Carrier, Frozen, Ledger, freeze, in_process

if TYPE_CHECKING:
    from .context import Site
    from .definitions import Check, Definition

__all__ = ["Asset", "Rules"]

_BIG_GLOBAL = 10_000_000
"""Size from which a global that travels with a function is warned about [bytes]."""


@attrs.frozen(eq=False)
class Asset:
    """Something that travels once to each worker, which then knows it by its token."""

    token: str
    frozen: Frozen


def new_asset(value: object, carrier: Carrier, ledger: Ledger, label: str) -> Asset:
    """Freeze a value under a token of its own."""
    return Asset(uuid.uuid4().hex, freeze(value, carrier, ledger=ledger, label=label))


def _tell_nobody(key: tuple[str, ...], text: str) -> None:
    pass


class Rules:
    """How the calls of one block are made.

    Parameters
    ----------
    carrier
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
        carrier: Carrier = in_process,
        check: Check = "error",
        tell: Callable[[tuple[str, ...], str], None] = _tell_nobody,
        keep_originals: bool = False,
    ) -> None:
        self.carrier = carrier
        self.check: Check = check
        self.tell = tell
        self.keep_originals = keep_originals
        self.ledger = Ledger()
        self._lock = threading.Lock()
        self._met: dict[Definition, Asset | None] = {}

    def meet(self, task: Any, definition: Definition, site: Site) -> None:
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
        asset = None if self._stays(definition) else self._freeze_function(task, definition, site)
        with self._lock:
            self._met.setdefault(definition, asset)

    def mistakes_of(self, task: Any, definition: Definition, site: Site) -> list[ArgumentError]:
        """Return all for which `meet` would raise an error, where that raises the first."""
        if definition in self._met:
            return []
        hidden = _hidden_future(definition)
        found: list[ArgumentError] = [] if hidden is None else [hidden]
        if not self._stays(definition):
            try:
                self._freeze_function(task, definition, site)
            except ArgumentError as error:
                found += list(self._outsiders(definition)) or ([] if found else [error])
        return found

    def _stays(self, definition: Definition) -> bool:
        """Tell whether a function is called in this process: a call that waits runs in the driver, as a rule."""
        return self.carrier is in_process or definition.waits

    def share(self, value: Any) -> Share:
        """Take the snapshot of something once, for all calls it is passed to."""
        return Share(freeze(value, self.carrier, ledger=self.ledger, label="share(x)"))

    def share_here(self, value: Any) -> Share:
        """Share something that can't leave this process, for a dry run that goes on after saying so."""
        return Share(freeze(value, in_process, label="share(x)"))

    def asset_of(self, task: Any, definition: Definition, site: Site) -> Asset:
        """Return the snapshot of the function that was taken at the first call, or take it now."""
        asset = self._met[definition]
        if asset is None:
            asset = self._met[definition] = self._freeze_function(task, definition, site)
        return asset

    def _freeze_function(self, task: Any, definition: Definition, site: Site) -> Asset:
        try:
            asset = new_asset(Lesson.about(task), self.carrier, self.ledger, definition.name)
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
        self._tell_of_globals(definition, asset, site)
        return asset

    def _outsiders(self, definition: Definition) -> Iterator[ArgumentError]:
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
            freeze(value, self.carrier, ledger=self.ledger, label=label)
        except Exception as error:
            return error
        return None

    def _tell_of_globals(self, definition: Definition, asset: Asset, site: Site) -> None:
        for name in _assigned_globals(definition.function):
            self.tell(
                ("assigns", definition.name, name),
                f"{site}: {definition.name}() assigns to the global {name!r}: on processes this changes the worker's "
                "copy only; return the value instead",
            )
        if asset.frozen.nbytes > _BIG_GLOBAL:
            for name, size in self._big_variables(definition.function):
                self.tell(
                    ("big", definition.name, name),
                    f"{site}: {definition.name}() uses the variable {name!r} of {size / 1e6:.0f} MB from outside, "
                    "which is sent to each worker; pass it as an argument, or share() it",
                )

    def _big_variables(self, function: Any) -> Iterator[tuple[str, int]]:
        for name, value in _variables(function).items():
            try:
                size = freeze(value, self.carrier, ledger=self.ledger, label=name).nbytes
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


def _hidden_future(definition: Definition) -> HiddenFutureError | None:
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
