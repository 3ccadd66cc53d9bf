# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Forms: the structure of a result, found in a return annotation or in an example (what a mock returned).

What can't be known, or could turn out otherwise, is one leaf: unions, recursive types, abstract classes, classes with
a `__new__` of their own, dicts with optional keys, records with fields that their `__init__` does not take.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Hashable, Mapping
from types import FunctionType
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from .annotations import (
    ALIAS,
    describe,
    field_annotations,
    is_named_tuple,
    is_unpacked,
    item_type,
    plain,
)
from .errors import StructureError
from .markers import Keys, Length, Whole
from .nodes import ATOMS, kind_of, record_fields
from .paths import Attr, Index, Key
from .structures import DictForm, EmptyForm, Form, Leaf, ListForm, RecordForm, RepeatForm, TupleForm

__all__ = ["Call", "fixed_form", "form_of_annotation", "form_of_example"]

_DEEPEST = 50


class Call(NamedTuple):
    """What the markers need to know of a call: the function's name, its parameters, and the arguments."""

    name: str
    parameters: tuple[str, ...]
    arguments: Mapping[str, Any]


def form_of_annotation(annotation: Any, call: Call) -> tuple[Form, bool]:
    """Return the form that a return annotation promises, and whether it is the same for all arguments.

    Raises
    ------
    StructureError
        If a `Length` or `Keys` makes no sense.
    """
    run = _FromAnnotation(call)
    form = run.form(annotation)
    return _promised(form, annotation), run.fixed


def fixed_form(annotation: Any) -> Form | None:
    """Return the form that a return annotation promises for all calls, None if it depends on the arguments."""
    try:
        form = _FromAnnotation(None).form(annotation)
    except _DependsOnCallError:
        return None
    return _promised(form, annotation)


def _promised(form: Form, annotation: Any) -> Form:
    return form if form.size() else EmptyForm(form, annotation)


class _DependsOnCallError(Exception):
    pass


class _FromAnnotation:
    """One run over an annotation; it knows the types that it is in, to notice recursive ones."""

    def __init__(self, call: Call | None) -> None:
        self._call = call
        self.inside: list[Any] = []
        self.recursive: list[Any] = []
        self.fixed = True

    @property
    def call(self) -> Call:
        """The call, on which the form depends if this is asked for."""
        self.fixed = False
        if self._call is None:
            raise _DependsOnCallError
        return self._call

    def form(self, annotation: Any) -> Form:
        if get_origin(annotation) is Annotated:
            return self.marked(annotation)
        if ALIAS is not None and ALIAS in (type(annotation), type(get_origin(annotation))):
            return self.guarded(annotation, plain(annotation))
        inner = plain(annotation)
        cls = get_origin(inner) or inner
        if not isinstance(cls, type) or not self.has_fields(cls):
            return self.tuple(inner) if cls is tuple else Leaf(annotation)
        return self.guarded(annotation, inner)

    def marked(self, annotation: Any) -> Form:
        inner = annotation.__origin__
        for marker in annotation.__metadata__:
            if marker is Whole or isinstance(marker, Whole):
                return Leaf(inner)
            if isinstance(marker, Length):
                return self.repeated(inner, marker)
            if isinstance(marker, Keys):
                return self.keyed(inner, marker)
        return self.form(inner)

    def repeated(self, annotation: Any, marker: Length) -> Form:
        inner = plain(annotation)
        cls, arguments = get_origin(inner) or inner, get_args(inner)
        if cls not in (list, tuple) or (cls is tuple and arguments[1:] != (...,)):
            text = f"{self.call.name}(): {marker} goes with list[...] or tuple[..., ...], not with {describe(inner)}"
            raise StructureError(text)
        length = marker.length(*self.call)
        return Leaf(annotation) if length is None else RepeatForm(length, self.item(arguments), cls)

    def item(self, arguments: typing.Sequence[Any]) -> Form:
        return self.form(arguments[0]) if arguments else Leaf()

    def keyed(self, annotation: Any, marker: Keys) -> Form:
        inner = plain(annotation)
        if (get_origin(inner) or inner) is not dict:
            text = f"{self.call.name}(): {marker} goes with dict[..., ...], not with {describe(inner)}"
            raise StructureError(text)
        keys = marker.keys(*self.call)
        item = self.item(get_args(inner)[1:])
        return Leaf(annotation) if keys is None else DictForm((item,) * len(keys), keys)

    def guarded(self, annotation: Any, inner: Any) -> Form:
        """Return the form of a type that may hold itself: then it is a leaf."""
        if annotation in self.inside or len(self.inside) > _DEEPEST:
            self.recursive.append(annotation)
            return Leaf(annotation)
        self.inside.append(annotation)
        form = self.form(inner) if inner is not annotation else self.record(annotation)
        self.inside.pop()
        return Leaf(annotation) if annotation in self.recursive else form

    def tuple(self, annotation: Any) -> Form:
        arguments = get_args(annotation)
        open_ended = arguments[1:] == (...,) or any(is_unpacked(argument) for argument in arguments)
        if open_ended or "[" not in str(annotation):
            return Leaf(annotation)
        return TupleForm(tuple(self.form(argument) for argument in arguments))

    @staticmethod
    def has_fields(cls: Any) -> bool:
        """Tell whether instances of this class are certain to have just the fields that it declares."""
        if typing.is_typeddict(cls):
            return bool(cls.__required_keys__) and not cls.__optional_keys__
        if is_named_tuple(cls):
            return _own_new(cls) is None
        return is_open_record(cls)

    def record(self, annotation: Any) -> Form:
        cls: Any = get_origin(annotation) or annotation
        fields = field_annotations(annotation) or {}
        if typing.is_typeddict(cls) and any(get_origin(field) is typing.NotRequired for field in fields.values()):
            return Leaf(annotation)
        items = tuple(self.form(field) for field in fields.values())
        if typing.is_typeddict(cls):
            return DictForm(items, tuple(fields))
        if is_named_tuple(cls):
            return TupleForm(items, cls)
        return RecordForm(items, cls, tuple(fields), annotation) if fields else Leaf(annotation)


def _own_new(cls: type) -> FunctionType | None:
    """Return the `__new__` that a user wrote for this class; those of named tuples and protocols are not meant."""
    for base in cls.__mro__:
        found = vars(base).get("__new__")
        found = getattr(found, "__func__", found)
        if isinstance(found, FunctionType):
            return None if "_fields" in vars(base) or base.__module__ == "typing" else found
    return None


def is_open_record(cls: type) -> bool:
    """Tell whether this is a concrete dataclass or attrs class whose fields are all set by the caller."""
    if record_fields(cls) is None or kind_of(cls) is None or inspect.isabstract(cls) or _own_new(cls) is not None:
        return False
    if dataclasses.is_dataclass(cls):
        pseudo = vars(cls).get("__dataclass_fields__", {}).values()
        if any(field._field_type is dataclasses._FIELD_INITVAR for field in pseudo):  # type: ignore[attr-defined]
            return False
        return all(field.init for field in dataclasses.fields(cls))
    return all(attribute.init for attribute in cls.__attrs_attrs__)  # type: ignore[attr-defined]


def form_of_example(example: object, annotation: Any) -> Form:
    """Return the form of an example result.

    Parameters
    ----------
    example
        What a mock returned. Lists, tuples, dicts and records are taken apart; everything else is a leaf.
    annotation
        The return annotation: the leaves are declared as it says. Nothing is read off the example's leaves,
        since a mock that returns 0 does not promise an integer.

    Raises
    ------
    StructureError
        If the example holds itself, or is nested deeper than 50 levels.
    """
    form = _from_example(example, annotation, ())
    return _promised(form, annotation)


def _from_example(example: Any, annotation: Any, inside: tuple[object, ...]) -> Form:
    if len(inside) > _DEEPEST or any(example is outer for outer in inside):
        raise StructureError(f"a mock returned a {type(inside[-1]).__name__} that holds itself or is nested too deeply")
    inside = (*inside, example)
    if isinstance(example, list):
        return _list_form(example, annotation, inside)
    if is_named_tuple(type(example)) and kind_of(type(example)) is not None:
        steps: list[Any] = [Attr(name) for name in example._fields]
        return TupleForm(_item_forms(steps, example, annotation, inside), type(example))
    if type(example) is tuple:
        steps = [Index(position) for position in range(len(example))]
        return TupleForm(_item_forms(steps, example, annotation, inside))
    if isinstance(example, dict):
        keys: tuple[Hashable, ...] = tuple(example)
        return DictForm(_item_forms([Key(key) for key in keys], example.values(), annotation, inside), keys)
    return _record_form(example, annotation, inside)


def _item_forms(steps: list[Any], values: Any, annotation: Any, inside: tuple[object, ...]) -> tuple[Form, ...]:
    pairs = zip(steps, values, strict=True)
    return tuple(_from_example(value, item_type(annotation, step), inside) for step, value in pairs)


def _list_form(example: list[Any], annotation: Any, inside: tuple[object, ...]) -> Form:
    item = item_type(annotation, Index(0))
    if ATOMS.issuperset(map(type, example)):
        return RepeatForm(len(example), Leaf(item))
    forms = tuple(_from_example(value, item, inside) for value in example)
    return RepeatForm(len(forms), forms[0]) if all(form == forms[0] for form in forms) else ListForm(forms)


def _record_form(example: Any, annotation: Any, inside: tuple[object, ...]) -> Form:
    cls: Any = type(example)
    names = record_fields(cls)
    if not names or not is_open_record(cls):
        return Leaf(annotation)
    own = field_annotations(cls) or {}
    items = tuple(_from_example(getattr(example, name), own.get(name, Any), inside) for name in names)
    return RecordForm(items, cls, tuple(names), cls)
