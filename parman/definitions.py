# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is known of a task: its function, its options, its schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from .errors import TaskError

if TYPE_CHECKING:
    from .context import Site
    from .errors import ParmanError
    from .schemas import Schema

__all__ = ["Definition", "Options"]

Check = Literal["error", "warn", "off"]


@attrs.frozen
class Options:
    """The options of a task, as given to `@task(...)`.

    Attributes
    ----------
    mock
        A function with the task's parameters that returns an example result.
    check
        What a mismatch of types does; None leaves it to the block.
    snapshot
        False: arguments are passed as they are; a collection of names: these are. Only in the process itself:
        to another process, everything has to be pickled.
    resources
        What the runner should know of the resources that the task needs.
    """

    mock: Callable[..., Any] | None = None
    check: Check | None = None
    snapshot: bool | tuple[str, ...] = True
    resources: Mapping[str, Any] | None = None


class Definition:
    """What is known of a task.

    Parameters
    ----------
    function
        The function that the task calls, with `self` or `cls` as an ordinary first parameter.
    options
        The options of the task.
    """

    def __init__(self, function: Callable[..., Any], options: Options) -> None:
        _refuse_coroutines(function)
        self.function = function
        self.options = options
        name: str = getattr(function, "__qualname__", None) or repr(function)
        self.name = name.rpartition("<locals>.")[2]
        self._travelling: dict[str, Any] | None = None

    waits: ClassVar[bool] = False
    """Whether a call waits for something outside rather than to compute, so that it needs no worker."""
    at_once: int | None = None
    """How many calls may run at a time, if not as many as there are workers."""
    crowd: Hashable = None
    """Which calls are counted together for that."""

    def rehearse(
        self, arguments: Mapping[str, Any], site: Site, seen: dict[Any, Any], is_made: Callable[[Any], bool]
    ) -> list[ParmanError]:
        """Return what a dry run can find wrong with a call, besides its arguments.

        Parameters
        ----------
        arguments
            By name; they may hold futures.
        site
            Where the call is made.
        seen
            For notes about the calls of the dry run.
        is_made
            Tells whether a value stands for what another call is going to make.
        """
        return []

    def check_options(self) -> None:
        """Refuse options that make no sense for this function."""
        check, snapshot, mock = self.options.check, self.options.snapshot, self.options.mock
        if check not in (None, "error", "warn", "off"):
            raise TaskError(f"@task(check=...) for {self.name}(): it is 'error', 'warn' or 'off', not {check!r}")
        if not isinstance(snapshot, bool):
            self._check_names(snapshot)
        if mock is not None:
            self._check_mock(mock)

    def _check_names(self, names: tuple[str, ...]) -> None:
        known = list(_parameters(self.function))
        for name in names:
            if name not in known:
                there = ", ".join(known) or "none"
                raise TaskError(f"@task(snapshot=...) for {self.name}(): there is no parameter {name!r}, but: {there}")

    def _check_mock(self, mock: Any) -> None:
        """Refuse a mock that can't be called as the function can."""
        if not callable(mock):
            raise TaskError(
                f"@task(mock=...) for {self.name}(): a mock is a function that returns an example result, "
                f"not an object of type {type(mock).__name__}"
            )
        try:
            signature = inspect.signature(mock)
        except (TypeError, ValueError):
            return
        parameters = _parameters(self.function)
        if not all(_takes(signature, parameters, full) for full in (False, True)):
            function = inspect.Signature([p.replace(annotation=p.empty) for p in parameters.values()])
            short = inspect.Signature([p.replace(annotation=p.empty) for p in signature.parameters.values()])
            raise TaskError(
                f"@task(mock=...) for {self.name}(): the mock has to take {function}, as the function does, "
                f"but takes {short}"
            )

    def travelling_annotations(self) -> dict[str, Any]:
        """Return the annotations that are text, evaluated, for a process in which the names in them may be unknown."""
        if self._travelling is None:
            self._travelling = {}  # a class in an annotation may refer to this very task
            found = self.schema.text_annotations()
            self._travelling = {name: annotation for name, annotation in found.items() if _travels(annotation)}
        return self._travelling

    def learn_annotations(self, annotations: dict[str, Any]) -> None:
        """Take over what `travelling_annotations` returned elsewhere."""
        self._travelling = annotations
        self.schema.learn_annotations(annotations)

    @cached_property
    def schema(self) -> Schema:
        """Parameters and result; made when first needed, since annotations may name what is defined later."""
        from .schemas import Schema  # not for those who only decorate

        return Schema(self.function, self.options.mock)

    @cached_property
    def goes_flat(self) -> bool:
        """Whether nothing stands in the way of the short way for arguments; see `flat`."""
        return not (self.as_they_are or self.waits or self.schema.admitting)

    @cached_property
    def as_they_are(self) -> frozenset[str]:
        """Parameters of which no snapshot is taken."""
        snapshot = self.options.snapshot
        if snapshot is True:
            return frozenset()
        return frozenset(self.schema.signature.parameters if snapshot is False else snapshot)


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return dict(inspect.signature(lambda *args, **kwargs: None).parameters)


def _takes(signature: inspect.Signature, parameters: Mapping[str, inspect.Parameter], full: bool) -> bool:
    """Tell whether a call with all parameters, or with no more than the required ones, fits a signature."""
    args: list[None] = []
    kwargs: dict[str, None] = {}
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty or full:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                args.append(None)
            elif parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[name] = None
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _travels(annotation: Any) -> bool:
    from .snapshots import freeze, pickled  # needed only where calls leave the process

    try:
        freeze(annotation, pickled)
    except Exception:
        return False
    return True


def _refuse_coroutines(function: Callable[..., Any]) -> None:
    inner = inspect.unwrap(function)
    candidates = [inner, getattr(inner, "func", None), getattr(type(inner), "__call__", None)]  # noqa: B004
    for candidate in candidates:
        kind = (
            "async def"
            if inspect.iscoroutinefunction(candidate)
            else "generator"
            if inspect.isgeneratorfunction(candidate) or inspect.isasyncgenfunction(candidate)
            else None
        )
        if kind is not None:
            name = getattr(function, "__qualname__", repr(function))
            cure = "return a list instead" if kind == "generator" else "make it a plain function"
            raise TaskError(f"{name} can't be a task: it is {'an' if kind[0] == 'a' else 'a'} {kind} function; {cure}")


def as_names(snapshot: bool | str | Collection[str]) -> bool | tuple[str, ...]:
    """Bring the `snapshot` option of `@task` into the form that `Options` holds."""
    if isinstance(snapshot, bool):
        return snapshot
    names = (snapshot,) if isinstance(snapshot, str) else tuple(snapshot) if isinstance(snapshot, Collection) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise TaskError(f"@task(snapshot=...) is True, False, or names of parameters, not {snapshot!r}")
    return names
