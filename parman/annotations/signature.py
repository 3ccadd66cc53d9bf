# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Binding: which argument of a call belongs to which parameter, found as Python finds it, in about a microsecond.

Schemas: what is known of one function: its parameters, what they accept, what a call will return.

Annotations are evaluated one by one, each when it is first needed: a name may be defined after the function,
and one that never is spoils no other annotation.
"""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from inspect import Parameter
from typing import Any, get_args, get_origin, is_typeddict

from ..errors import ArgumentError, FutureTypeError, FutureUseError, ParmanError, StructureError
from ..snapshots.share import opened
from ..trees.nodes import ATOMS, Index, Path, format_path
from ..trees.walk import futures_in, futures_in_row
from .checkers import Checker, Mismatch, Visit, checker_for
from .compat import can_fit
from .evaluate import (
    Names,
    alternatives,
    annotation_at,
    describe,
    evaluate,
    field_annotations,
    has_one_item_type,
    is_unpacked,
    text_fields,
)
from .markers import call_with
from .spec import Call, Form, Leaf, Structure, fixed_form, form_of_annotation, form_of_example

__all__ = ["Binder", "Schema", "call_arguments"]

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


_MANY = 1000
_NOTHING = object()
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_ANYTHING = inspect.Signature([Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)])


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
    fixed
        The structure of the results of all calls, as soon as one call has shown that there is such a thing.
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
        self._names = _names_of(function)
        self._annotations: dict[str, Any] = {}
        self._checkers: dict[str, Checker] = {}
        self._fitting: dict[tuple[str, int], Any] = {}
        self.fixed: Structure | None = None

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by the names of the parameters, in their order.

        `*args` is a tuple and `**kwargs` a dict; they are there only if they hold something. Of the defaults only
        those are filled in that a task could change (lists, dicts, sets, arrays): others mean the same everywhere.

        Raises
        ------
        TypeError
            As Python would for this call.
        """
        return self._binder.bind(args, kwargs)

    def bind_most(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], list[TypeError]]:
        """Return the arguments that have a place, as `bind` does, and an error for each mistake in the others."""
        return self._binder.bind_most(args, kwargs)

    def missing(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return the names of the parameters without a default that got no argument."""
        return [name for name in self._binder.required if name not in arguments]

    def call_arguments(self, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the keyword arguments that bind to these arguments."""
        names = self._binder.positional
        if self._binder.simple and len(arguments) == len(names):
            return ((arguments[names[0]],) if len(names) == 1 else tuple([arguments[name] for name in names])), {}
        return call_arguments(self.signature, arguments)

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
        if parameter is None or parameter.kind not in _VARIADIC:
            return evaluated
        if is_unpacked(evaluated):
            inner = get_args(evaluated)
            return inner[0] if inner and is_typeddict(inner[0]) else Any
        return _variadic(parameter, evaluated)

    def text_annotations(self) -> dict[str, Any]:
        """Return, evaluated, the annotations that are text: another process could not look up the names in them."""
        raw = {name: parameter.annotation for name, parameter in self._parameters.items()}
        raw["return"] = self.signature.return_annotation
        return {name: self.annotation(name) for name, annotation in raw.items() if isinstance(annotation, str)}

    def text_fields(self) -> dict[type, dict[str, Any]]:
        """Return likewise the annotations of the fields of the classes in the annotations, by class."""
        try:
            return text_fields(self.annotation(name) for name in [*self._parameters, "return"])
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
                value = opened(arguments[name])
                if value is not self._parameters[name].default:
                    found.extend(self._problems_of(name, value))
        return found

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

    def checker_of(self, name: str) -> Checker:
        """Return what checks the values of a parameter, or of the result (`"return"`)."""
        checker = self._checkers.get(name)
        if checker is None:
            checker = self._checkers[name] = checker_for(self.annotation(name))
        return checker

    def _problems_of(self, name: str, value: Any) -> Iterable[ParmanError]:
        annotation = self.annotation(name)
        visit = Visit()
        mismatch = self.checker_of(name).find(value, visit)
        if annotation is Any:
            self._note_fitting(name, value)
            return
        if mismatch is not None:
            yield self.mismatch_error(name, mismatch)
        if type(value) in ATOMS:
            return
        row = futures_in_row(value) if has_one_item_type(annotation) else None
        if row is not None and self._row_fits(row, annotation):
            return
        for path, future in [((), value)] if isinstance(value, Future) else futures_in(value, visit):
            declared, wanted = getattr(future, "declared", Any), annotation_at(annotation, path)
            if declared is not Any and not can_fit(declared, wanted):
                yield self._future_error(format_path(name, path), future, declared, wanted)
            elif future is value:
                self._note_fitting(name, future)

    def mismatch_error(self, name: str, mismatch: Mismatch) -> ArgumentError:
        """Make the error for an argument that does not fit its annotation."""
        wanted = describe(mismatch.annotation)
        return ArgumentError(f"{self.name}(): argument {mismatch.text(name)}, but its annotation says {wanted}")

    def _row_fits(self, row: list[tuple[int, Future[Any]]], annotation: Any) -> bool:
        """Tell whether all futures of a list fit; each type that they declare is looked at once."""
        wanted = annotation_at(annotation, (Index(0),))
        declared = {id(one): one for one in [getattr(future, "declared", Any) for _, future in row]}
        return all(one is Any or can_fit(one, wanted) for one in declared.values())

    def _note_fitting(self, name: str, value: Any) -> None:
        if isinstance(value, Future) and len(self._fitting) < _MANY:
            declared = getattr(value, "declared", Any)
            self._fitting[name, id(declared)] = declared  # which is held, so that its identity stays its own

    def _future_error(self, place: str, future: Future[Any], declared: Any, wanted: Any) -> FutureTypeError:
        origin = getattr(future, "origin", None)
        source = f" (from {origin})" if origin else ""
        said = f"is a future of {describe(declared)}{source}, but its annotation says {describe(wanted)}"
        return FutureTypeError(f"{self.name}(): argument {place} {said}")

    @functools.cached_property
    def admitting(self) -> bool:
        """Whether any place of any parameter admits exceptions."""
        return any(_mentions_exception(self.annotation(name), ()) for name in self._parameters)

    def admits(self, name: str, path: Path = (), exception: BaseException | None = None) -> bool:
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
        if not self.admitting or name not in self._parameters:
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
        values = {name: opened(value) for name, value in arguments.items()}
        return call_with(self.mock, *self.call_arguments(values), f"the mock of {self.name}()")

    def fixed_structure(self) -> Structure | None:
        """Return the structure of the results of all calls, None if each call has its own."""
        if self.fixed is None and self.mock is None:
            try:
                form = fixed_form(self.annotation("return"))
            except StructureError:  # which is the caller's, who gets it from `structure`
                form = None
            self.fixed = None if form is None else Structure(form, self.name)
        return self.fixed

    def structure(self, arguments: Mapping[str, Any]) -> Structure:
        """Return the structure of the result of a call, from the mock or else from the return annotation.

        Raises
        ------
        StructureError
            If a `Length` or `Keys` makes no sense for these arguments, or if the mock fails.
        """
        if self.fixed is not None:
            return self.fixed
        if self.mock is not None:
            return Structure(self._mocked_form(arguments), self.name)
        call = Call(self.name, tuple(self._parameters), self._defaults | {k: opened(v) for k, v in arguments.items()})
        form, fixed = form_of_annotation(self.annotation("return"), call)
        structure = Structure(form, self.name)
        if fixed:
            self.fixed = structure
        return structure

    def _mocked_form(self, arguments: Mapping[str, Any]) -> Form:
        annotation = self.annotation("return")
        try:
            return form_of_example(self.mock_result(arguments), annotation)
        except FutureUseError:
            return Leaf(annotation)


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
        return _ANYTHING


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


def _names_of(function: Any) -> Names:
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
    return Names(parameters, closure, getattr(written, "__globals__", {}))


def _variadic(parameter: Parameter, annotation: Any) -> Any:
    if annotation is Any:
        return Any
    return tuple[annotation, ...] if parameter.kind is Parameter.VAR_POSITIONAL else dict[str, annotation]


def _exception_classes(annotation: Any) -> list[type[BaseException]]:
    classes = (get_origin(member) or member for member in alternatives(annotation))
    return [cls for cls in classes if isinstance(cls, type) and issubclass(cls, BaseException)]


def _mentions_exception(annotation: Any, inside: tuple[Any, ...]) -> bool:
    """Tell whether an exception may stand anywhere in a value of this type."""
    if len(inside) > 20 or annotation in inside:
        return False
    inside = (*inside, annotation)
    if _exception_classes(annotation):
        return True
    for member in alternatives(annotation):
        parts = (*get_args(member), *(field_annotations(member) or {}).values())
        if any(_mentions_exception(part, inside) for part in parts if part is not Any and part is not ...):
            return True
    return False
