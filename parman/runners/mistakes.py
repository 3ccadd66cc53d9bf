# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""All mistakes of one call, where a closure stops at the first: each thing is looked at on its own.

What is wrong with one argument must not hide what is wrong with another, nor lead to mistakes that are no others: the
length of the result is looked at as if the wrong and the missing arguments were still to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..annotations.checkers import (
    Checker,
    ItemsChecker,
    LazyChecker,
    MappingChecker,
    Mismatch,
    TupleChecker,
    TypedDictChecker,
)
from ..annotations.evaluate import describe
from ..annotations.markers import is_pending
from ..annotations.signature import Schema
from ..errors import ArgumentError, FutureTypeError, ParmanError, StructureError
from ..snapshots.cache import SnapshotCache
from ..snapshots.hidden import Place, format_trail
from ..snapshots.share import unshared
from ..snapshots.take import in_process, take_snapshot
from ..trees.nodes import ATOMS, Index, Key, Step, children, is_generator, is_leaf, short_repr
from ..trees.walk import map_leaves, walk

if TYPE_CHECKING:
    from ..closures import CallOptions
    from ..context import Site

__all__ = ["Examined", "mock_mistake"]

_MOST = 3
"""Mistakes of one kind in one argument that are told one by one."""
_DEEPEST = 50


class Examined:
    """A call that can't be made, and why.

    Parameters
    ----------
    error
        What is known to be wrong.
    task, args, kwargs
        The call.
    options
        How the calls of the block are made.
    site
        Where it is made.
    make_placeholder
        Makes a placeholder for an argument of this annotation.

    Attributes
    ----------
    arguments
        Those that have a place, by name.
    known
        The same; in place of wrong and missing ones there are placeholders.
    of_function
        What is wrong with the function rather than with this call of it.
    of_call
        What is wrong with the call.
    """

    def __init__(
        self,
        error: Exception,
        task: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: CallOptions,
        site: Site,
        make_placeholder: Callable[[Any], Any],
    ) -> None:
        self.definition = task.__parman_task__
        schema = self.schema = self.definition.schema
        self._options = options
        self.of_call: list[Exception] = []
        self.arguments, errors = schema.bind_most(args, kwargs)
        self.of_call += errors
        self.of_function = options.mistakes_of(task, self.definition, site)
        problems = self._problems()
        self.of_call += problems
        doubtful = [*(self._wrong_names() if problems else ()), *schema.missing(self.arguments)]
        self.known = self.arguments | {name: make_placeholder(schema.annotation(name)) for name in doubtful}
        self.of_call += self._structure_mistakes()
        self.of_call += self._copying_mistakes()
        self.of_call += self._generator_mistakes()
        if not self.of_call and not self.of_function:
            self.of_call.append(error)

    def _problems(self) -> list[ParmanError]:
        """Return what does not fit the annotations: of an argument with many wrong items the first few."""
        if (self.definition.options.check or self._options.check) != "error":
            return []
        found = _without_what_is_in(self.schema.problems(self.arguments))
        for name in self.arguments:
            misfits = self._misfits(name)
            texts = {str(misfit) for misfit in misfits}
            first = next((i for i, problem in enumerate(found) if str(problem) in texts), None)
            if first is not None:
                found[first : first + 1] = misfits
        return found

    def _wrong_names(self) -> list[str]:
        general = set(map(str, self.schema.problems(self.arguments, ())))  # of all arguments together
        names = list(self.arguments)
        return [name for name in names if set(map(str, self.schema.problems(self.arguments, [name]))) - general]

    def _misfits(self, name: str) -> list[ArgumentError]:
        value = unshared(self.arguments[name])
        if type(value) in ATOMS or value is self.schema.signature.parameters[name].default:
            return []
        every = all_mismatches(self.schema.checker_of(name), value)
        few = list(islice(every, self._most(name)))
        more = sum(1 for _ in every)
        errors = [self.schema.mismatch_error(name, found) for found in few]
        if more:
            items = f"{more} more item{'s' if more > 1 else ''} that {'do' if more > 1 else 'does'} not fit"
            errors.append(ArgumentError(f"{self.schema.name}(): argument {name} has {items}"))
        return errors

    def _most(self, name: str) -> int:
        """Return how many mistakes in an argument are told; what is in `*args` and `**kwargs` are several."""
        variadic = self.schema.signature.parameters[name].kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        return _MOST * max(1, len(self.arguments[name])) if variadic else _MOST

    def _structure_mistakes(self) -> Iterator[Exception]:
        try:
            self.schema.result_spec(self.known)
        except StructureError as error:
            yield error

    def _copying_mistakes(self) -> Iterator[Exception]:
        """Yield what keeps arguments from being copied, or from going to another process."""
        serializer = self._options.serializer
        label = f"{self.schema.name}()"

        def look(place: str, node: object, depth: int) -> Iterator[Exception]:
            if type(node) in ATOMS or is_pending(node):
                return
            try:
                take_snapshot(node, serializer, cache=SnapshotCache(), label=place)
            except Exception as error:
                below = 0
                if not is_leaf(node) and depth < _DEEPEST:
                    for step, child in children(node):
                        for found in look(format_trail(place, (step,)), child, depth + 1):
                            below += 1
                            yield found
                if not below:
                    cls = type(error) if isinstance(error, ArgumentError) else ArgumentError
                    yield cls(f"{label}: argument {error}")

        as_they_are = self.definition.as_they_are if serializer is in_process else ()
        for name, value in self.arguments.items():
            if name not in as_they_are:
                found = look(name, value, 0)
                yield from islice(found, self._most(name))
                if next(found, None) is not None:
                    yield ArgumentError(f"{label}: argument {name} has more items that can't be passed on")

    def _generator_mistakes(self) -> Iterator[Exception]:
        met = set()
        for trail, leaf in walk(self.arguments):
            if not is_generator(type(leaf)) or id(leaf) in met:
                continue
            met.add(id(leaf))
            first = trail[0]
            place = format_trail(str(first.key) if isinstance(first, Key) else "", trail[1:])
            try:
                Place(leaf, place).check_generators(self._options.cache)
            except ArgumentError as error:
                yield ArgumentError(f"{self.schema.name}(): argument {error}")


def _without_what_is_in(problems: list[ParmanError]) -> list[ParmanError]:
    """Leave out what is said of futures in something that does not fit as a whole."""
    wholes = [str(problem).partition(" is ")[0] for problem in problems if isinstance(problem, ArgumentError)]
    inside = tuple(whole + sign for whole in wholes for sign in "[.")
    return [one for one in problems if not (isinstance(one, FutureTypeError) and str(one).startswith(inside))]


def all_mismatches(checker: Checker, value: Any, depth: int = 0) -> Iterator[Mismatch]:
    """Yield all that does not fit, where `Checker.find_mismatch` stops at the first."""
    first = checker.find_mismatch(value)
    if first is None:
        return
    below = _below(checker, value) if first.path and depth < _DEEPEST else None
    if below is None:
        yield first
        return
    for step, item_checker, item in below:
        for found in all_mismatches(item_checker, item, depth + 1):
            yield found.prefixed(step)


def _below(checker: Checker, value: Any) -> Iterator[tuple[Step, Checker, Any]] | None:
    """Return the items of a container with their checkers; None for what can't be taken apart."""
    while isinstance(checker, LazyChecker):
        checker = checker.checker()
    if isinstance(checker, MappingChecker):
        return _items_of_mapping(checker, value)
    if isinstance(checker, ItemsChecker):
        keyed = isinstance(value, set | frozenset | dict)
        return ((Key(item) if keyed else Index(i), checker.item, item) for i, item in enumerate(value))
    if isinstance(checker, TupleChecker):
        return ((Index(i), one, item) for i, (one, item) in enumerate(zip(checker.items, value, strict=True)))
    if isinstance(checker, TypedDictChecker):
        return ((Key(key), one, value[key]) for key, one in checker.items.items() if key in value)
    return None


def _items_of_mapping(checker: MappingChecker, value: Mapping[Any, Any]) -> Iterator[tuple[Step, Checker, Any]]:
    for key, item in value.items():
        yield Key(key), checker.key, key
        yield Key(key), checker.value, item


def mock_mistake(
    schema: Schema, arguments: Mapping[str, Any], example: Any, make_leaf: Callable[[], Any]
) -> str | None:
    """Say in which way what a mock returned can't be an example of the annotated result; None if it can.

    The values in it may be anything, since a mock may tell no more than the shape.
    """
    promised = describe(schema.annotation("return"))
    try:
        Schema(schema.function, name=schema.name).result_spec(arguments).flatten(example)
        if schema.checker_of("return").find_mismatch(map_leaves(lambda leaf: make_leaf(), example)) is None:
            return None
    except StructureError as error:
        if error.result is None:
            return None  # it is not the mock that is wrong
        promised = str(error).partition(" promised ")[2].partition(", but returned ")[0] or promised
    except Exception:
        return None
    kind = type(example).__qualname__
    length = f" of {len(example)}" if isinstance(example, list | tuple | dict) else ""
    returned = f"a {kind}{length}, {short_repr(example)}"
    return f"the mock of {schema.name}() returns {returned}, but the annotation promises {promised}"
