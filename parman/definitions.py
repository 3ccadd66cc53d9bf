# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is known of a task: its function, its options, its schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import attrs

from .errors import TaskError

if TYPE_CHECKING:
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
        self.name: str = getattr(function, "__qualname__", None) or repr(function)

    @cached_property
    def schema(self) -> Schema:
        """Parameters and result; made when first needed, since annotations may name what is defined later."""
        from .schemas import Schema  # not for those who only decorate

        return Schema(self.function, self.options.mock)

    @cached_property
    def as_they_are(self) -> frozenset[str]:
        """Parameters of which no snapshot is taken."""
        snapshot = self.options.snapshot
        if snapshot is True:
            return frozenset()
        names = frozenset(self.schema.signature.parameters)
        if snapshot is False:
            return names
        unknown = [name for name in snapshot if name not in names]
        if unknown:
            raise TaskError(f"@task(snapshot=...): {self.name}() has no parameter {unknown[0]!r}")
        return frozenset(snapshot)


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
    return (snapshot,) if isinstance(snapshot, str) else tuple(snapshot)
