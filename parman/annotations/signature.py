# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is known of one function: its parameters, what they accept, what a call will return.

`Binder` finds which argument of a call belongs to which parameter, as Python does, in about a microsecond. `Schema` has
the annotations: it evaluates each when it is first needed, since a name may be defined after the function. One that
never is spoils no other annotation.
"""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from inspect import Parameter
from typing import Any, get_args, get_origin, is_typeddict

from ..errors import ArgumentError, FutureTypeError, FutureUseError, ParmanError, StructureError
from ..snapshots.share import unshared
from ..trees.nodes import ATOMS, Index, Path, format_path
from ..trees.walk import futures_if_flat, futures_in
from .checkers import Checker, Memo, Mismatch, checker_for
from .compat import can_fit
from .evaluate import (
    Namespace,
    annotation_at,
    describe,
    evaluate,
    field_annotations,
    has_one_item_type,
    is_unpacked,
    stringized_fields,
    union_members,
)
from .markers import MarkerArgs, call_user_function
from .spec import LeafSpec, ResultSpec, TreeSpec, fixed_spec_of, spec_of_annotation, spec_of_example

__all__ = ["Binder", "Schema"]

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_ANY_ARGUMENTS = inspect.Signature([Parameter("args", _VARIADIC[0]), Parameter("kwargs", _VARIADIC[1])])
_MUTABLE = (list, dict, set, bytearray, deque)
_NOTHING = object()
_MOST_DECLARED = 1000
"""Declared types of futures that a schema remembers."""


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
        self.signature = signature
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
        """Return the arguments of a call by the names of the parameters, in their order.

        `*args` is a tuple and `**kwargs` a dict; they are there only if they hold something. Of the defaults only
        those are filled in that a task could change (lists, dicts, sets, arrays): others mean the same everywhere.

        Raises
        ------
        TypeError
            As Python would for this call.
        """
        bound = dict(zip(self.positional, args))  # noqa: B905 (which would take a third longer)
        if self.simple and not kwargs and len(args) == len(self.positional):
            return bound
        if kwargs:
            repeated, unknown = self._bind_names(bound, kwargs)
            if repeated:
                raise self._repeated_error(repeated[0])
            if unknown:
                raise self._unknown_error(unknown)
        if len(args) > len(self.positional):
            self._bind_surplus(bound, args)
        missing = [name for name in self.required if name not in bound]
        if missing:
            raise self._missing_error(missing)
        return self._completed(bound)

    def bind_most(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], list[TypeError]]:
        """Return the arguments that have a place, as `bind` does, and an error for each mistake in the others."""
        bound = dict(zip(self.positional, args, strict=False))
        repeated, unknown = self._bind_names(bound, kwargs)
        errors = [self._repeated_error(name) for name in repeated]
        if len(args) > len(self.positional):
            try:
                self._bind_surplus(bound, args)
            except TypeError as error:
                errors.append(error)
        errors += [self._unknown_error([name]) for name in unknown]
        missing = [name for name in self.required if name not in bound]
        positional = [name for name in missing if name in self.positional]
        keyword_only = [name for name in missing if name not in self.positional]
        errors += [self._missing_error(names) for names in (positional, keyword_only) if names]
        return self._completed(bound), errors

    def _bind_names(self, bound: dict[str, Any], kwargs: Mapping[str, Any]) -> tuple[list[str], Collection[str]]:
        """Put keyword arguments in their places; return the names given twice, and those that have no place."""
        repeated: list[str] = []
        extra: dict[str, Any] = {}
        for name, value in kwargs.items():
            if name not in self.by_name:
                extra[name] = value
            elif name in bound:
                repeated.append(name)
            else:
                bound[name] = value
        if extra and self.star_star is not None:
            bound[self.star_star] = extra
            return repeated, ()
        return repeated, extra

    def _bind_surplus(self, bound: dict[str, Any], args: tuple[Any, ...]) -> None:
        """Give `*args` what the parameters before it don't take."""
        if self.star is not None:
            bound[self.star] = args[len(self.positional) :]
            return
        most, given = len(self.positional), str(len(args))
        least = sum(name in self.required for name in self.positional)
        takes = str(most) if least == most else f"from {least} to {most}"
        by_name = sum(name in bound for name in self.by_name.difference(self.positional))
        if by_name:
            given += f" positional argument{_s(len(args))} (and {by_name} keyword-only argument{_s(by_name)})"
        were = "was" if given == "1" else "were"
        raise TypeError(f"{self.name}() takes {takes} positional argument{_s(most)} but {given} {were} given")

    def _completed(self, bound: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments with defaults that a task could change, in the order of the parameters."""
        for name, default in self.mutable.items():
            bound.setdefault(name, default)
        return {name: bound[name] for name in self.order if name in bound}

    def _repeated_error(self, name: str) -> TypeError:
        return TypeError(f"{self.name}() got multiple values for argument {name!r}")

    def _unknown_error(self, names: Collection[str]) -> TypeError:
        by_position = [name for name in names if name in self.positional]
        if by_position:
            text = "got some positional-only arguments passed as keyword arguments"
            return TypeError(f"{self.name}() {text}: {', '.join(map(repr, by_position))}")
        return TypeError(f"{self.name}() got an unexpected keyword argument {next(iter(names))!r}")

    def _missing_error(self, missing: list[str]) -> TypeError:
        """Make Python's error for missing arguments, which names the positional ones first, the others alone."""
        positional = [name for name in missing if name in self.positional]
        kind, names = ("positional", positional) if positional else ("keyword-only", missing)
        *most, last = [repr(name) for name in names]
        listed = f"{', '.join(most)}{',' * (len(most) > 1)} and {last}" if most else last
        return TypeError(f"{self.name}() missing {len(names)} required {kind} argument{_s(len(names))}: {listed}")

    def call_arguments(self, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the keyword arguments that bind to these arguments."""
        names = self.positional
        if self.simple and len(arguments) == len(names):
            return ((arguments[names[0]],) if len(names) == 1 else tuple([arguments[name] for name in names])), {}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        gap = False
        for name, parameter in self.signature.parameters.items():
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


def _is_mutable(default: object) -> bool:
    """Tell whether a task could change this default, so that every call has to see a copy of it."""
    if isinstance(default, tuple):
        return any(map(_is_mutable, default))
    return isinstance(default, _MUTABLE) or hasattr(type(default), "__array_interface__")


def _s(number: int) -> str:
    return "" if number == 1 else "s"


class Schema:
    """What is known of a function.

    Parameters
    ----------
    function
        Any callable; of methods the plain function, whose first parameter is the object.
    mock
        A function with the same parameters that returns an example result.
    name
        The name for messages; by default the function's.

    Attributes
    ----------
    name
        The name for messages.
    signature
        As of `inspect.signature`; of builtins that have none, `(*args, **kwargs)`.
    bind, bind_most, call_arguments
        As of `Binder`.
    fixed
        The structure of the results of all calls, as soon as it is known that all have the same.
    """

    def __init__(
        self, function: Callable[..., Any], mock: Callable[..., Any] | None = None, name: str | None = None
    ) -> None:
        self.function = function
        self.mock = mock
        self.name = name or _name_of(function)
        self.signature = _signature_of(function)
        self._parameters = dict(self.signature.parameters)
        self._defaults = {p.name: p.default for p in self._parameters.values() if p.default is not p.empty}
        self._binder = Binder(self.name, self.signature)
        self.bind = self._binder.bind
        self.bind_most = self._binder.bind_most
        self.call_arguments = self._binder.call_arguments
        self._names = _names_of(function)
        self._annotations: dict[str, Any] = {}
        self._checkers: dict[str, Checker] = {}
        self._fitting: dict[tuple[str, int], Any] = {}
        self.fixed: ResultSpec | None = None

    def missing(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return the names of the parameters without a default that got no argument."""
        return [name for name in self._binder.required if name not in arguments]

    def annotation(self, name: str) -> Any:
        """Return the annotation of a parameter, or of the result (`"return"`): `Any` where there is none.

        That of `*args: int` is `tuple[int, ...]`, that of `**kwargs: int` is `dict[str, int]`.
        """
        if name not in self._annotations:
            self._annotations[name] = self._evaluate(name)
        return self._annotations[name]

    def _evaluate(self, name: str) -> Any:
        parameter = self._parameters.get(name)
        raw = self.signature.return_annotation if parameter is None else parameter.annotation
        if raw is Parameter.empty:
            return Any
        evaluated = evaluate(raw, self._names)
        if parameter is None or parameter.kind not in _VARIADIC or evaluated is Any:
            return evaluated
        if is_unpacked(evaluated):
            inner = get_args(evaluated)
            return inner[0] if inner and is_typeddict(inner[0]) else Any
        if parameter.kind is Parameter.VAR_POSITIONAL:
            return tuple[evaluated, ...]  # type: ignore[valid-type]
        return dict[str, evaluated]  # type: ignore[valid-type]

    def stringized_annotations(self) -> dict[str, Any]:
        """Return, evaluated, the annotations that are strings: the names in them mean nothing in another process."""
        raw = {name: parameter.annotation for name, parameter in self._parameters.items()}
        raw["return"] = self.signature.return_annotation
        return {name: self.annotation(name) for name, annotation in raw.items() if isinstance(annotation, str)}

    def stringized_fields(self) -> dict[type, dict[str, Any]]:
        """Return likewise the fields of the classes in the annotations, by class."""
        try:
            return stringized_fields(self.annotation(name) for name in [*self._parameters, "return"])
        except Exception:  # from classes of libraries, which may be anything
            return {}

    def learn_annotations(self, annotations: Mapping[str, Any]) -> None:
        """Take over annotations that were evaluated in another process."""
        self._annotations.update(annotations)

    def problems(self, arguments: Mapping[str, Any], names: Iterable[str] | None = None) -> list[ParmanError]:
        """Return an error for each argument that does not fit, and for each future in it that can't.

        Every item of lists, tuples, dicts and sets is looked at. A default, and None where it is the default, fits.

        Parameters
        ----------
        arguments
            As `bind` returns them.
        names
            The parameters to look at; all if not given.
        """
        found: list[ParmanError] = []
        for name in arguments if names is None else names:
            if name in arguments and name in self._parameters:
                value = unshared(arguments[name])
                if value is not self._parameters[name].default:
                    found.extend(self._problems_of(name, value))
        return found

    def _problems_of(self, name: str, value: Any) -> Iterable[ParmanError]:
        annotation = self.annotation(name)
        memo = Memo()
        mismatch = self.checker_of(name).find_mismatch(value, memo)
        if annotation is Any:
            self._note_fitting(name, value)
            return
        if mismatch is not None:
            yield self.mismatch_error(name, mismatch)
        if type(value) in ATOMS:
            return
        flat = futures_if_flat(value) if has_one_item_type(annotation) else None
        if flat is not None:  # each declared type is looked at once
            wanted = annotation_at(annotation, (Index(0),))
            types = {id(one): one for one in [getattr(future, "declared", Any) for _, future in flat]}
            if all(one is Any or can_fit(one, wanted) for one in types.values()):
                return
        for path, future in [((), value)] if isinstance(value, Future) else futures_in(value, memo):
            declared, wanted = getattr(future, "declared", Any), annotation_at(annotation, path)
            if declared is not Any and not can_fit(declared, wanted):
                origin = getattr(future, "origin", None)
                source = f" (from {origin})" if origin else ""
                said = f"is a future of {describe(declared)}{source}, but its annotation says {describe(wanted)}"
                yield FutureTypeError(f"{self.name}(): argument {format_path(name, path)} {said}")
            elif future is value:
                self._note_fitting(name, future)

    def _note_fitting(self, name: str, value: Any) -> None:
        if isinstance(value, Future) and len(self._fitting) < _MOST_DECLARED:
            declared = getattr(value, "declared", Any)
            self._fitting[name, id(declared)] = declared  # which is held, so that its identity stays its own

    def mismatch_error(self, name: str, mismatch: Mismatch) -> ArgumentError:
        """Make the error for an argument that does not fit its annotation."""
        wanted = describe(mismatch.annotation)
        return ArgumentError(f"{self.name}(): argument {mismatch.text(name)}, but its annotation says {wanted}")

    def checker_of(self, name: str) -> Checker:
        """Return what checks the values of a parameter, or of the result (`"return"`)."""
        checker = self._checkers.get(name)
        if checker is None:
            checker = self._checkers[name] = checker_for(self.annotation(name))
        return checker

    def surely_fits(self, name: str, cls: type) -> bool:
        """Tell whether every instance of exactly this class is known to fit a parameter, as `problems` has found."""
        checker = self._checkers.get(name)
        return checker is not None and checker.known.get(cls, False)

    def all_fit_surely(self, arguments: Mapping[str, Any], names: Iterable[str]) -> bool:
        """Tell whether arguments are of classes all instances of which are known to fit."""
        for name in names:  # noqa: SIM110 (this is for each call)
            if not self.surely_fits(name, type(arguments[name])):
                return False
        return True

    def is_known_to_fit(self, name: str, declared: Any) -> bool:
        """Tell whether a future of this annotation is known to fit a parameter as a whole, as `problems` has found."""
        return self._fitting.get((name, id(declared)), _NOTHING) is declared

    @functools.cached_property
    def accepts_exceptions(self) -> bool:
        """Whether any place of any parameter admits exceptions."""
        return any(_mentions_exception(self.annotation(name), ()) for name in self._parameters)

    def accepts_exception(self, name: str, path: Path = (), exception: BaseException | None = None) -> bool:
        """Tell whether the annotation says that an exception may stand at this place of this parameter.

        Parameters
        ----------
        name
            The parameter.
        path
            The way to the place, from the argument.
        exception
            The exception in question; any, if not given.
        """
        if not self.accepts_exceptions or name not in self._parameters:
            return False
        wanted = BaseException if exception is None else type(exception)
        classes = _exception_classes(annotation_at(self.annotation(name), path))
        return any(exception is None or issubclass(wanted, cls) for cls in classes)

    def mock_result(self, arguments: Mapping[str, Any]) -> Any:
        """Return what the mock returns for these arguments: an example of a result.

        Raises
        ------
        FutureUseError
            If the mock stumbles over a future among the arguments.
        StructureError
            If there is no mock, or from what it raises.
        """
        if self.mock is None:
            raise StructureError(f"{self.name}() has no mock; give it one: @task(mock=function)")
        values = {name: unshared(value) for name, value in arguments.items()}
        return call_user_function(self.mock, *self.call_arguments(values), f"the mock of {self.name}()")

    def fixed_spec(self) -> ResultSpec | None:
        """Return the structure of the results of all calls, None if each call has its own."""
        if self.fixed is None and self.mock is None:
            try:
                tree = fixed_spec_of(self.annotation("return"))
            except StructureError:  # which is the caller's, who gets it from `result_spec`
                tree = None
            self.fixed = None if tree is None else ResultSpec(tree, self.name)
        return self.fixed

    def result_spec(self, arguments: Mapping[str, Any]) -> ResultSpec:
        """Return the structure of the result of a call, from the mock or else from the return annotation.

        Raises
        ------
        StructureError
            If a `Length` or `Keys` makes no sense for these arguments, or if the mock fails.
        """
        if self.fixed is not None:
            return self.fixed
        if self.mock is not None:
            return ResultSpec(self._spec_of_mock(arguments), self.name)
        values = self._defaults | {name: unshared(value) for name, value in arguments.items()}
        call = MarkerArgs(self.name, tuple(self._parameters), values)
        tree, fixed = spec_of_annotation(self.annotation("return"), call)
        spec = ResultSpec(tree, self.name)
        if fixed:
            self.fixed = spec
        return spec

    def _spec_of_mock(self, arguments: Mapping[str, Any]) -> TreeSpec:
        annotation = self.annotation("return")
        try:
            return spec_of_example(self.mock_result(arguments), annotation)
        except FutureUseError:
            return LeafSpec(annotation)


def _name_of(function: Any) -> str:
    found = inspect.unwrap(function)
    while isinstance(found, functools.partial):
        found = found.func
    name = getattr(found, "__qualname__", None) or type(found).__qualname__
    return str(name).rpartition("<locals>.")[2]


def _signature_of(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return _ANY_ARGUMENTS


def _written_function(function: Any) -> Any:
    """Return the Python function in which the annotations of a callable were written, if there is one."""
    for _ in range(100):
        function = inspect.unwrap(function)
        inner = getattr(function, "func", None) if isinstance(function, functools.partial) else None
        inner = inner or getattr(function, "__func__", None)
        if inner is None and isinstance(function, type):
            inner = function.__init__  # type: ignore[misc]
        elif inner is None and not hasattr(function, "__globals__"):
            inner = inspect.getattr_static(type(function), "__call__", None)
        if inner is None or not callable(inner) or type(inner) is type(object.__call__):
            break
        function = inner
    return function


def _names_of(function: Any) -> Namespace:
    """Return the names that the function's annotations can use: its type parameters, closure variables, globals."""
    written = _written_function(function)
    parameters = {parameter.__name__: parameter for parameter in getattr(written, "__type_params__", ())}
    code, cells = getattr(written, "__code__", None), getattr(written, "__closure__", None) or ()
    closure = {}
    for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False):
        try:
            closure[name] = cell.cell_contents
        except ValueError:
            pass
    return Namespace(parameters, closure, getattr(written, "__globals__", {}))


def _exception_classes(annotation: Any) -> list[type[BaseException]]:
    classes = (get_origin(member) or member for member in union_members(annotation))
    return [cls for cls in classes if isinstance(cls, type) and issubclass(cls, BaseException)]


def _mentions_exception(annotation: Any, inside: tuple[Any, ...]) -> bool:
    """Tell whether an exception may stand anywhere in a value of this type."""
    if len(inside) > 20 or annotation in inside:
        return False
    inside = (*inside, annotation)
    if _exception_classes(annotation):
        return True
    for member in union_members(annotation):
        parts = (*get_args(member), *(field_annotations(member) or {}).values())
        if any(_mentions_exception(part, inside) for part in parts if part is not Any and part is not ...):
            return True
    return False
