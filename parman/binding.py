# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Binding: which argument of a call belongs to which parameter, found as Python finds it, in about a microsecond."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Mapping
from inspect import Parameter
from typing import Any

__all__ = ["Binder", "call_arguments"]

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_MUTABLE = (list, dict, set, bytearray, deque)


def _is_mutable(default: object) -> bool:
    """Tell whether a task could change this default, so that every call has to see a copy of it."""
    if isinstance(default, tuple):
        return any(map(_is_mutable, default))
    return isinstance(default, _MUTABLE) or hasattr(type(default), "__array_interface__")


def _s(number: int) -> str:
    return "" if number == 1 else "s"


class Binder:
    """The parameters of a function, sorted once by how a call can give them.

    Parameters
    ----------
    name
        The function's name, for messages.
    signature
        Its signature.
    """

    def __init__(self, name: str, signature: inspect.Signature) -> None:
        parameters = list(signature.parameters.values())
        self.name = name
        self.order = tuple(p.name for p in parameters)
        self.positional = tuple(p.name for p in parameters if p.kind in _POSITIONAL)
        self.by_name = frozenset(p.name for p in parameters if p.kind in _BY_NAME)
        self.star = next((p.name for p in parameters if p.kind is Parameter.VAR_POSITIONAL), None)
        self.star_star = next((p.name for p in parameters if p.kind is Parameter.VAR_KEYWORD), None)
        given = [p for p in parameters if p.kind in (*_POSITIONAL, Parameter.KEYWORD_ONLY)]
        self.required = tuple(p.name for p in given if p.default is Parameter.empty)
        self.mutable = {p.name: p.default for p in given if _is_mutable(p.default)}
        self.simple = self.order == self.positional

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, in the order of the parameters.

        Raises
        ------
        TypeError
            If the call does not match the signature.
        """
        bound = dict(zip(self.positional, args))  # noqa: B905 (which would take a third longer)
        if self.simple and not kwargs and len(args) == len(self.positional):
            return bound
        extra = self._bind_names(bound, kwargs) if kwargs else {}
        if len(args) > len(self.positional):
            bound.update(self._surplus(args, bound))
        if extra:
            bound[str(self.star_star)] = extra
        if any(name not in bound for name in self.required):
            raise self._missing(bound)
        for name, default in self.mutable.items():
            bound.setdefault(name, default)
        return {name: bound[name] for name in self.order if name in bound}

    def bind_most(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], list[TypeError]]:
        """Return the arguments that have a place, and an error for each thing that keeps the call from matching."""
        bound = dict(zip(self.positional, args, strict=False))
        errors = []
        unknown = []
        extra = {}
        for name, value in kwargs.items():
            if name in self.by_name and name in bound:
                errors.append(self._twice(name))
            elif name in self.by_name:
                bound[name] = value
            elif self.star_star is None:
                unknown.append(name)
            else:
                extra[name] = value
        if len(args) > len(self.positional):
            try:
                bound.update(self._surplus(args, bound))
            except TypeError as error:
                errors.append(error)
        errors += [self._unexpected([name]) for name in unknown]
        if extra:
            bound[str(self.star_star)] = extra
        missing = [name for name in self.required if name not in bound]
        positional = [name for name in missing if name in self.positional]
        for names in (positional, [name for name in missing if name not in positional]):
            if names:
                errors.append(self._missing(dict.fromkeys(name for name in self.order if name not in names)))
        for name, default in self.mutable.items():
            bound.setdefault(name, default)
        return {name: bound[name] for name in self.order if name in bound}, errors

    def _surplus(self, args: tuple[Any, ...], bound: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `*args` gets."""
        if self.star is not None:
            return {self.star: args[len(self.positional) :]}
        most, given = len(self.positional), str(len(args))
        least = sum(name in self.required for name in self.positional)
        takes = str(most) if least == most else f"from {least} to {most}"
        by_name = sum(name in bound for name in self.by_name.difference(self.positional))
        if by_name:
            given += f" positional argument{_s(len(args))} (and {by_name} keyword-only argument{_s(by_name)})"
        were = "was" if given == "1" else "were"
        raise TypeError(f"{self.name}() takes {takes} positional argument{_s(most)} but {given} {were} given")

    def _bind_names(self, bound: dict[str, Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Put keyword arguments in their places, and return those that have none."""
        extra: dict[str, Any] = {}
        for name, value in kwargs.items():
            if name not in self.by_name:
                extra[name] = value
            elif name in bound:
                raise self._twice(name)
            else:
                bound[name] = value
        if extra and self.star_star is None:
            raise self._unexpected(list(extra))
        return extra

    def _twice(self, name: str) -> TypeError:
        return TypeError(f"{self.name}() got multiple values for argument {name!r}")

    def _unexpected(self, names: list[str]) -> TypeError:
        by_position = [name for name in names if name in self.positional]
        if by_position:
            text = "got some positional-only arguments passed as keyword arguments"
            return TypeError(f"{self.name}() {text}: {', '.join(map(repr, by_position))}")
        return TypeError(f"{self.name}() got an unexpected keyword argument {names[0]!r}")

    def _missing(self, bound: Mapping[str, Any]) -> TypeError:
        missing = [name for name in self.required if name not in bound]
        positional = [name for name in missing if name in self.positional]
        kind, names = ("positional", positional) if positional else ("keyword-only", missing)
        quoted = [repr(name) for name in names]
        listed = (
            quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}{',' * (len(quoted) > 2)} and {quoted[-1]}"
        )
        return TypeError(f"{self.name}() missing {len(names)} required {kind} argument{_s(len(names))}: {listed}")


def call_arguments(
    signature: inspect.Signature, arguments: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments that bind to these arguments."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    gap = False
    for name, parameter in signature.parameters.items():
        if name not in arguments:
            gap |= parameter.kind in _POSITIONAL
        elif parameter.kind is Parameter.VAR_POSITIONAL:
            args.extend(arguments[name])
        elif parameter.kind is Parameter.VAR_KEYWORD:
            kwargs.update(arguments[name])
        elif parameter.kind is Parameter.KEYWORD_ONLY or gap:
            kwargs[name] = arguments[name]
        else:
            args.append(arguments[name])
    return tuple(args), kwargs
