# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`@task`: a function whose calls in a block become closures; and what is known of it: options and schema.

The decorated function is a wrapt proxy, so that signature, docstring, annotations, `inspect` and `isinstance` are
those of the function. For type checkers it is the function itself (`F -> F`), the only typing that is right for
functions, methods, class methods, static methods and generic functions alike.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import cached_property
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

import attrs
import wrapt

from .context import call, in_force, open_blocks
from .errors import TaskError

if TYPE_CHECKING:
    from .annotations.signature import Schema
    from .context import Site
    from .errors import ParmanError

__all__ = ["Options", "TaskDefinition", "task"]

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


class TaskDefinition:
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

    is_blocking: ClassVar[bool] = False
    """Whether a call waits for something outside rather than to compute, so that it needs no worker."""
    at_once: int | None = None
    """How many calls may run at a time, if not as many as there are workers."""
    limit_key: Hashable = None
    """Which calls are counted together for that."""

    def dry_run(
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
            found = self.schema.stringized_annotations()
            self._travelling = {name: annotation for name, annotation in found.items() if _travels(annotation)}
        return self._travelling

    def learn_annotations(self, annotations: dict[str, Any]) -> None:
        """Take over what `travelling_annotations` returned elsewhere."""
        self._travelling = annotations
        self.schema.learn_annotations(annotations)

    @cached_property
    def schema(self) -> Schema:
        """Parameters and result; made when first needed, since annotations may name what is defined later."""
        from .annotations.signature import Schema  # not for those who only decorate

        return Schema(self.function, self.options.mock)

    @cached_property
    def goes_flat(self) -> bool:
        """Whether nothing stands in the way of the short way for arguments; see `snapshots.take.flat_snapshot`."""
        return not (self.as_they_are or self.is_blocking or self.schema.accepts_exceptions)

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
    from .snapshots.take import pickled, take_snapshot  # needed only where calls leave the process

    try:
        take_snapshot(annotation, pickled)
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


F = TypeVar("F", bound=Callable[..., Any])


@overload
def task(function: F, /) -> F: ...


@overload
def task(
    *,
    mock: Callable[..., Any] | None = None,
    check: Check | None = None,
    snapshot: bool | str | Collection[str] = True,
    resources: Mapping[str, Any] | None = None,
) -> Callable[[F], F]: ...


def task(
    function: Any = None,
    /,
    *,
    mock: Callable[..., Any] | None = None,
    check: Check | None = None,
    snapshot: bool | str | Collection[str] = True,
    resources: Mapping[str, Any] | None = None,
) -> Any:
    """Make a function a task: in a `workflow` block, its calls run in parallel.

    In the block a call returns futures in place of values: one, or as many as the return annotation promises, nested as
    it says (`docs/annotations.md` has the list). They go into further calls, or into `resolve`. Outside of a block, and
    inside of a running task, a call runs the plain function.

    Parameters
    ----------
    function
        A function, method, class method, static method or other callable.
    mock
        A function with the same parameters that returns an example result, where the shape of the result depends on
        the values of arguments. The call returns the structure of what it returns.
    check
        What a mismatch of types does: "error", "warn" or "off"; by default what the block says.
    snapshot
        False: the arguments are not copied; a name or names: these parameters are not. For tasks that run in the
        driver's process; to another process, everything is pickled.
    resources
        What the runner should know of the resources that the task needs.

    Raises
    ------
    TaskError
        The function can't be a task: a coroutine or generator function, a class, or nothing that can be called. Or an
        option makes no sense for it: its mock has other parameters, or there is no parameter of that name.
    """
    options = Options(mock, check, as_names(snapshot), resources)
    if function is None:
        return lambda decorated: _decorate(decorated, options)
    return _decorate(function, options)


def _decorate(function: Any, options: Options) -> Any:
    if isinstance(function, classmethod | staticmethod):
        return type(function)(_decorate(function.__func__, options))
    _check_function(function)
    decorated = _Task(function, options)
    decorated.__parman_task__.check_options()
    return decorated


def _check_function(function: Any) -> None:
    """Refuse what can't be a task, or would be one that fails later, and say what to decorate instead."""
    if isinstance(function, _Task):
        raise TaskError(f"{function.__parman_task__.name} is a task already: decorate it once")
    if isinstance(function, type):
        raise TaskError(
            f"the class {function.__qualname__} can't be a task, since it would be no class any more: "
            "write a function that makes the object, and decorate that"
        )
    if isinstance(function, property | cached_property):
        raise TaskError(f"@task goes below @{type(function).__name__}, next to the function")
    if not callable(function):
        raise TaskError(f"@task is for functions and other callables, not for {_described(function)}")


def _described(thing: Any) -> str:
    from .trees.nodes import short_repr  # for mistakes only

    return f"the {type(thing).__name__} {short_repr(thing)}"


class _Task(wrapt.CallableObjectProxy[Any]):
    """A function whose calls in a block are run by its runner."""

    def __init__(self, function: Any, options: Options) -> None:
        super().__init__(function)
        self._self_definition = TaskDefinition(function, options)
        self._self_is_method = isinstance(function, FunctionType)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if in_force.get() is None and not open_blocks:
            return self.__wrapped__(*args, **kwargs)
        return call(self, self.__wrapped__, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind the task as the function would be: what is bound is an ordinary method, whose function is the task."""
        if self._self_is_method:  # found without asking the function, which would take as long again
            return self if instance is None else MethodType(self, instance)
        bind = getattr(type(self.__wrapped__), "__get__", None)
        bound = None if bind is None else bind(self.__wrapped__, instance, owner)
        return MethodType(self, bound.__self__) if isinstance(bound, MethodType) else self

    @property
    def __parman_task__(self) -> TaskDefinition:
        return self._self_definition

    def __repr__(self) -> str:
        return f"<task {self._self_definition.name}>"

    def __copy__(self) -> _Task:
        return self

    def __deepcopy__(self, memo: Any) -> _Task:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        place = _place(self)
        if place is not None:
            return _import_task, place
        from .snapshots.take import pickled, take_snapshot  # a module of tasks is imported often, and pickled rarely

        # A pickler of another kind gets the bytes of ours, which knows functions of notebooks and closures.
        return _load_task, (take_snapshot(self._content(), pickled),)

    def __parman_reduce__(self) -> Any:
        """Return what our own pickler writes, which can pickle any function and keeps what it shares with others."""
        place = _place(self)
        if place is not None:
            return _import_task, place
        return _make_task, self._content()

    def _content(self) -> tuple[Any, Options, dict[str, Any]]:
        definition = self._self_definition
        return self.__wrapped__, definition.options, definition.travelling_annotations()


def _place(decorated: _Task) -> tuple[str, str] | None:
    """Return the module and qualified name under which a task can be imported."""
    module, name = getattr(decorated, "__module__", None), getattr(decorated, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__" or "<" in name:
        return None
    if module not in sys.modules:
        return None
    try:
        found = _look_up(sys.modules[module], name)
    except AttributeError:
        return None
    return (module, name) if found is decorated else None


def _look_up(module: Any, name: str) -> Any:
    found = module
    for part in name.split("."):
        found = inspect.getattr_static(found, part)
    return found.__func__ if isinstance(found, classmethod | staticmethod) else found


def _import_task(module: str, name: str) -> Any:
    __import__(module)
    return _look_up(sys.modules[module], name)


def _load_task(snapshot: Any) -> _Task:
    return _make_task(*snapshot.load())


def _make_task(function: Any, options: Options, annotations: dict[str, Any]) -> _Task:
    made = _Task(function, options)
    made.__parman_task__.learn_annotations(annotations)
    return made
