# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`@task`: a function whose calls in a block become closures.

The decorated function is a wrapt proxy, so that signature, docstring, annotations, `inspect` and `isinstance` are
those of the function. For type checkers it is the function itself (`F -> F`), the only typing that is right for
functions, methods, class methods, static methods and generic functions alike.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from types import FunctionType, MethodType
from typing import Any, TypeVar, overload

import wrapt

from .context import call, in_force, opened
from .definitions import Check, Definition, Options, as_names
from .errors import TaskError

__all__ = ["task"]

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
    from .paths import short_repr  # for mistakes only

    return f"the {type(thing).__name__} {short_repr(thing)}"


class _Task(wrapt.CallableObjectProxy[Any]):
    """A function whose calls in a block are run by its runner."""

    def __init__(self, function: Any, options: Options) -> None:
        super().__init__(function)
        self._self_definition = Definition(function, options)
        self._self_is_method = isinstance(function, FunctionType)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if in_force.get() is None and not opened:
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
    def __parman_task__(self) -> Definition:
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
        from .snapshots import freeze, pickled  # a module of tasks is imported often, and pickled rarely

        # A pickler of another kind gets the bytes of ours, which knows functions of notebooks and closures.
        return _load_task, (freeze(self._content(), pickled),)

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


def _load_task(frozen: Any) -> _Task:
    return _make_task(*frozen.thaw())


def _make_task(function: Any, options: Options, annotations: dict[str, Any]) -> _Task:
    made = _Task(function, options)
    made.__parman_task__.learn_annotations(annotations)
    return made
