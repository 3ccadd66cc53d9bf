# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is known of the calls of a job: parameters and result as the template says, checked as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path, PurePath
from typing import Any

from ..annotations.checkers import Mismatch, checker_for
from ..annotations.compat import can_fit
from ..annotations.evaluate import describe
from ..annotations.markers import is_pending
from ..annotations.signature import Schema
from ..annotations.spec import (
    DictSpec,
    EmptySpec,
    LeafSpec,
    ListSpec,
    RecordSpec,
    RepeatSpec,
    TreeSpec,
    TupleSpec,
    spec_of_example,
)
from ..errors import ArgumentError, FutureTypeError, FutureUseError, JobError, ParmanError, TemplateError
from ..snapshots.exceptions import safe_text
from ..trees.nodes import Index, Key, Placeholder, children, format_path
from ..trees.nodes import Path as TreePath
from ..trees.walk import map_leaves
from .jsonio import NotJson, jsonable
from .staging import check_locator
from .template import JobPlan

__all__ = ["JobSchema"]

_DEEPEST = 8
"""In how many levels of an argument each thing that is no JSON is reported, rather than the first only."""


class JobSchema(Schema):
    """What is known of the calls of a job.

    Parameters
    ----------
    function
        What runs the job.
    plan
        The template, the settings and the places.
    """

    def __init__(self, function: Any, plan: JobPlan) -> None:
        super().__init__(function, plan.mock, plan.template.name)
        self._plan = plan

    def _spec_of_mock(self, arguments: Mapping[str, Any]) -> TreeSpec:
        """Return the spec of what the mock returns; the leaves have the types of the mock's."""
        annotation = self.annotation("return")
        try:
            example = self.mock_result(arguments)
        except FutureUseError:
            return LeafSpec(annotation)
        spec = spec_of_example(example, annotation)
        if isinstance(spec, EmptySpec):  # a job without results says so by `{}`; its script may write more
            return LeafSpec(type(example))
        return _typed(spec, example)

    def problems(self, arguments: Mapping[str, Any], names: Iterable[str] | None = None) -> list[ParmanError]:
        """Return an error for each thing that keeps the job from being run with these arguments."""
        names = list(arguments if names is None else names)
        template, staging = self._plan.template, self._plan.staging
        found = super().problems(arguments, names)
        try:
            template.script(self._plan.settings.script)
        except TemplateError as error:
            found.append(error)
        try:
            if "locator" in names and not is_pending(arguments["locator"]):
                staging.home(check_locator(arguments["locator"]))
        except (ArgumentError, JobError) as error:
            found.append(error)
        found += self._type_problems(arguments, names)
        wrong = {name for name in names if any(f"argument {name}" in str(problem) for problem in found)}
        for name in names:
            if name != "locator" and name in arguments and name not in wrong:
                found += self._json_problems(name, arguments[name])
        return found

    def _json_problems(self, name: str, argument: Any) -> Iterator[ParmanError]:
        for path, why in _not_json(map_leaves(_without_future, argument), ()):
            place = format_path(name, path)
            yield ArgumentError(f"{self.name}(): argument {place} {why}; jobs get their arguments as JSON")

    def _type_problems(self, arguments: Mapping[str, Any], names: list[str]) -> Iterator[ParmanError]:
        """Yield what does not fit the types that the template's function `parameters` returns."""
        if self._plan.template.parameters is None:
            return
        declared = self._plan.template.signature.parameters.values()
        defaults = {
            parameter.name: parameter.default for parameter in declared if parameter.default is not parameter.empty
        }
        given = {name: value for name, value in arguments.items() if name != "locator"}
        try:
            types = self._plan.template.parameters(**defaults | given)
        except FutureUseError:
            return  # it needs a value that is still to come
        except Exception as error:
            yield TemplateError(f"{self._plan.template.path / 'jobinfo.py'}: parameters() raised {safe_text(error)}")
            return
        for name in names:
            if isinstance(types, Mapping) and name in types and name in given:
                yield from self._mismatches(name, types[name], given[name], ())

    def _mismatches(self, name: str, wanted: Any, value: Any, path: TreePath) -> Iterator[ParmanError]:
        """Compare a tree of values with a tree of types; a type may stand for a whole tree."""
        if isinstance(value, Future):
            declared = getattr(value, "declared", Any)
            if not isinstance(wanted, list | tuple | dict) and declared is not Any and not can_fit(declared, wanted):
                said = f"is a future of {describe(declared)}, but parameters() says {describe(wanted)}"
                yield FutureTypeError(f"{self.name}(): argument {format_path(name, path)} {said}")
        elif isinstance(wanted, list | tuple):
            if not isinstance(value, list | tuple) or len(value) != len(wanted):
                yield self._unlike(
                    Mismatch(path, value, type(wanted)), name, f"a {type(wanted).__name__} of {len(wanted)}"
                )
                return
            for i, (part, item) in enumerate(zip(wanted, value, strict=True)):
                yield from self._mismatches(name, part, item, (*path, Index(i)))
        elif isinstance(wanted, dict):
            if not isinstance(value, Mapping) or set(value) != set(wanted):
                yield self._unlike(
                    Mismatch(path, value, dict), name, f"a dict with the keys {', '.join(map(str, wanted))}"
                )
                return
            for key, part in wanted.items():
                yield from self._mismatches(name, part, value[key], (*path, Key(key)))
        else:
            found = checker_for(wanted).find_mismatch(value)
            if found is not None:
                found = found._replace(path=(*path, *found.path))
                yield self._unlike(found, name, describe(found.annotation))

    def _unlike(self, found: Mismatch, name: str, wanted: str) -> ArgumentError:
        return ArgumentError(f"{self.name}(): argument {found.text(name)}, but parameters() says {wanted}")


def _not_json(tree: Any, path: TreePath) -> Iterator[tuple[TreePath, str]]:
    """Yield the places in an argument that have no form in JSON, and why."""
    try:
        jsonable(tree)
    except NotJson as error:
        shallow = len(path) < _DEEPEST  # else it may hold itself
        below = (
            [found for step, child in children(tree) for found in _not_json(child, (*path, step))] if shallow else []
        )
        yield from below or [((*path, *error.path), error.why)]


def _without_future(leaf: Any) -> Any:
    """Return a leaf as JSON would have it: a text for a path, nothing for what is still to come."""
    if isinstance(leaf, Path):
        return str(leaf)
    return None if isinstance(leaf, Future | Placeholder) else leaf


# --- the types of a mock's leaves ---


def _typed(spec: TreeSpec, example: Any) -> TreeSpec:
    """Return a spec whose leaves have the types of an example's, where no annotation says more."""
    match spec:
        case LeafSpec(declared=declared):
            return LeafSpec(Path if isinstance(example, PurePath) else type(example)) if declared is Any else spec
        case RepeatSpec(item=item, cls=cls):
            items = tuple(_typed(item, part) for part in example)
            if all(part == items[0] for part in items):
                return RepeatSpec(len(items), items[0] if items else item, cls)
            return TupleSpec(items) if cls is tuple else ListSpec(items)
        case ListSpec(items=items):
            return ListSpec(_typed_all(items, example))
        case TupleSpec(items=items, cls=cls):
            return TupleSpec(_typed_all(items, example), cls)
        case DictSpec(items=items, keys=keys):
            return DictSpec(_typed_all(items, example.values()), keys)
        case RecordSpec(items=items, cls=cls, names=names, declared=declared):
            return RecordSpec(_typed_all(items, [getattr(example, name) for name in names]), cls, names, declared)
    raise AssertionError(spec)


def _typed_all(items: tuple[TreeSpec, ...], examples: Iterable[Any]) -> tuple[TreeSpec, ...]:
    return tuple(_typed(item, example) for item, example in zip(items, examples, strict=True))
