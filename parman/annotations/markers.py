# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Markers: what a user writes into `Annotated[...]` to say how many items a result will have.

A marker is evaluated with the arguments of a call. It says nothing (None) while an argument that it needs is still a
future; then the whole result is one future.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Hashable, Iterable, Mapping, Sized
from concurrent.futures import Future
from functools import lru_cache
from typing import Any, NamedTuple

from ..context import Site, is_ours
from ..errors import FutureUseError, StructureError
from ..trees.nodes import Placeholder, short_repr
from ..trees.walk import futures_in

__all__ = ["Keys", "Length", "MarkerArgs", "Whole", "call_user_function", "is_pending"]


class MarkerArgs(NamedTuple):
    """What a marker may ask of a call: the function's name, its parameters, and the arguments."""

    name: str
    parameters: tuple[str, ...]
    arguments: Mapping[str, Any]


class _Marker:
    """The base of markers that hold a value, the name of a parameter, or a function of the parameters."""

    __slots__ = ("source",)

    def __init__(self, source: Any) -> None:
        self.source = source

    def __repr__(self) -> str:
        return f"{type(self).__name__}({short_repr(self.source)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and bool(other.source == self.source)

    def __hash__(self) -> int:
        return hash((type(self), id(self.source) if callable(self.source) else repr(self.source)))

    def value(self, call: MarkerArgs) -> Any:
        """Return what the marker says for a call, None while an argument that it needs is a future."""
        found = self.source
        if isinstance(found, str):
            self._require([found], call)
            found = call.arguments.get(found)
        elif callable(found):
            wanted = self._parameters_of_source(call)
            self._require(wanted, call)
            arguments = {key: call.arguments.get(key) for key in wanted}
            if any(map(is_pending, arguments.values())):
                return None
            try:
                return call_user_function(found, (), arguments, f"{call.name}(): {self}")
            except FutureUseError:  # of a future deeper in an argument
                return None
        return None if is_pending(found) else found

    def _parameters_of_source(self, call: MarkerArgs) -> list[str]:
        try:
            parameters = _signature(self.source).parameters.values()
        except (TypeError, ValueError):
            text = f"{call.name}(): {self} has no signature; give a function written in Python"
            raise StructureError(text) from None
        return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]

    def _require(self, wanted: Iterable[str], call: MarkerArgs) -> None:
        for name in wanted:
            if name not in call.parameters:
                there = ", ".join(call.parameters) or "none"
                raise StructureError(f"{call.name}() has no parameter {name!r}, which {self} asks for; it has: {there}")

    def error(self, call: MarkerArgs, value: object, cure: str) -> StructureError:
        """Return the error for a marker that makes no sense with these arguments."""
        return StructureError(f"{call.name}(): {self} is {short_repr(value)} ({type(value).__name__}) here; {cure}")


class Length(_Marker):
    """Says how long a list will be: `Annotated[list[A], Length(3)]`.

    Parameters
    ----------
    source
        A number; or the name of a parameter that is the number, or has that length; or a function that returns the
        number, whose parameters are named as those of the task (any of them).
    """

    __slots__ = ()

    def __init__(self, source: int | str | Callable[..., int]) -> None:
        super().__init__(source)

    def length(self, call: MarkerArgs) -> int | None:
        """Return the length for a call, None where it is not known yet.

        Raises
        ------
        StructureError
            If it is no length.
        """
        found = self.value(call)
        if found is None:
            return None
        cure = "it has to be a whole number, 0 or larger, or something that has a length"
        if isinstance(found, str | bytes):
            cure += ", but no string, whose length is its characters': make a list of it if that is meant"
        elif isinstance(found, bool):
            cure += ", but neither True nor False, which are hardly meant as 1 and 0: use int() if they are"
        elif isinstance(found, Sized):
            return len(found)
        else:
            try:
                length = operator.index(found)
            except TypeError:
                raise self.error(call, found, cure) from None
            if length >= 0:
                return length
        raise self.error(call, found, cure)


class Keys(_Marker):
    """Says which keys a dict will have: `Annotated[dict[str, A], Keys(["a", "b"])]`.

    Parameters
    ----------
    source
        The keys; or the name of a parameter that holds them (a list, a dict); or a function that returns the keys,
        whose parameters are named as those of the task (any of them).
    """

    __slots__ = ()

    def __init__(self, source: Iterable[Hashable] | str | Callable[..., Iterable[Hashable]]) -> None:
        super().__init__(tuple(source) if isinstance(source, list) else source)

    def keys(self, call: MarkerArgs) -> tuple[Hashable, ...] | None:
        """Return the keys for a call, None where they are not known yet.

        Raises
        ------
        StructureError
            If they are no keys.
        """
        found = self.value(call)
        if found is None or futures_in(found):
            return None
        cure = "it has to be a list of different keys"
        try:
            keys = tuple(found)
            distinct = len(set(keys)) == len(keys)
        except TypeError:
            distinct = False
        if not distinct or isinstance(found, str | bytes) or iter(found) is found:
            raise self.error(call, found, cure)
        return keys


class Whole:
    """Says that a result is one future and never taken apart: `Annotated[tuple[A, B], Whole]`."""

    __slots__ = ()


def is_pending(value: object) -> bool:
    """Tell whether a value is not there yet."""
    return isinstance(value, Future | Placeholder)


@lru_cache(maxsize=256)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def call_user_function(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], what: str
) -> Any:
    """Call a function of the user that looks at the arguments of a task.

    Raises
    ------
    FutureUseError
        If it stumbles over a future among the arguments.
    StructureError
        From what it raises otherwise.
    """
    try:
        return function(*args, **kwargs)
    except FutureUseError:
        raise
    except Exception as exc:
        if futures_in((args, dict(kwargs))):
            raise FutureUseError(f"{what} needs the value of a future: {exc}") from exc
        raise StructureError(f"{what} failed: {type(exc).__name__}: {exc}{_line_of(exc)}") from exc


def _line_of(error: Exception) -> str:
    """Say in which line code of the user's raised an error, if it did."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    own = trace is not None and not is_ours(trace.tb_frame)
    return f" ({Site(trace.tb_frame.f_code.co_filename, trace.tb_lineno, '')})" if trace is not None and own else ""
