# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Structures: the tree of a result, as far as it is known before the call runs.

A structure is a tree of forms. A form can be built (with futures as leaves), and a value of that form can be split
into its leaves, in the same order. Many items of the same form are one form and a number, so that a list of a hundred
thousand futures is described by two small objects.

Forms: the structure of a result, found in a return annotation or in an example (what a mock returned).

What can't be known, or could turn out otherwise, is one leaf: unions, recursive types, abstract classes, classes with
a `__new__` of their own, dicts with optional keys, records with fields that their `__init__` does not take.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping
from types import FunctionType
from typing import Annotated, Any, NamedTuple, TypeAlias, get_args, get_origin

from attrs import evolve, field, frozen

from ..errors import StructureError
from ..trees.nodes import ATOMS, Attr, Index, Key, Path, Step, format_path, kind_of, record_fields, short_repr
from .checkers import Checker, checker_for, is_same_anew
from .evaluate import ALIAS, describe, field_annotations, is_named_tuple, is_unpacked, item_type, plain
from .markers import Keys, Length, Whole

__all__ = [
    "Call",
    "DictForm",
    "EmptyForm",
    "Form",
    "Leaf",
    "ListForm",
    "RecordForm",
    "RepeatForm",
    "Structure",
    "TupleForm",
    "fixed_form",
    "form_of_annotation",
    "form_of_example",
]

# ruff: noqa: D102 (what the methods of the base promise is said there)


MakeLeaf: TypeAlias = Callable[[Any], Any]
MakeStandIn: TypeAlias = Callable[[type, dict[str, Any], Any], Any]


class Misfit(Exception):
    """A value has another form than promised."""

    def __init__(self, path: Path, promised: str, value: object) -> None:
        super().__init__()
        self.path = path
        self.promised = promised
        self.value = value


@frozen
class Form:
    """A place in a structure; itself a leaf's form has one leaf, the others those of what is in them."""

    def size(self) -> int:
        """Return the number of leaves."""
        raise NotImplementedError

    def build(self, make_leaf: MakeLeaf, make_stand_in: MakeStandIn) -> Any:
        """Make the tree, with leaves in it that `make_leaf` makes from their annotations."""
        raise NotImplementedError

    def split(self, value: Any, path: Path, leaves: list[Any]) -> None:
        """Append the leaves of a value of this form to a list."""
        raise NotImplementedError

    def places(self, path: Path) -> Iterator[tuple[Path, Any]]:
        """Yield the path and the annotation of each leaf."""
        raise NotImplementedError

    def shape(self) -> str:
        """Write the places of the leaves, and the classes around them, the same in each process."""
        raise NotImplementedError

    def bare(self) -> Form:
        """Return the same form with leaves for which nothing is declared."""
        raise NotImplementedError


@frozen
class Leaf(Form):
    """One future."""

    declared: Any = Any

    def size(self) -> int:
        return 1

    def build(self, make_leaf: MakeLeaf, make_stand_in: MakeStandIn) -> Any:
        return make_leaf(self.declared)

    def split(self, value: Any, path: Path, leaves: list[Any]) -> None:
        leaves.append(value)

    def places(self, path: Path) -> Iterator[tuple[Path, Any]]:
        yield path, self.declared

    def shape(self) -> str:
        return "."

    def bare(self) -> Form:
        return Leaf()


@frozen
class _Items(Form):
    """Forms side by side."""

    items: tuple[Form, ...]

    def size(self) -> int:
        return sum(item.size() for item in self.items)

    def built(self, make_leaf: MakeLeaf, make_stand_in: MakeStandIn) -> list[Any]:
        """Make the trees of the items."""
        return [item.build(make_leaf, make_stand_in) for item in self.items]

    def steps(self) -> list[Step]:
        """Return the steps to the items."""
        return [Index(position) for position in range(len(self.items))]

    def shape(self) -> str:
        inside = ", ".join(f"{step}: {item.shape()}" for step, item in zip(self.steps(), self.items, strict=True))
        return f"{self.kind()}({inside})"

    def kind(self) -> str:
        """Write what is around the items."""
        raise NotImplementedError

    def bare(self) -> Form:
        return evolve(self, items=tuple(item.bare() for item in self.items))

    def split_items(self, values: list[Any], path: Path, leaves: list[Any]) -> None:
        """Append the leaves of the items."""
        for step, item, value in zip(self.steps(), self.items, values, strict=True):
            item.split(value, (*path, step), leaves)

    def places(self, path: Path) -> Iterator[tuple[Path, Any]]:
        for step, item in zip(self.steps(), self.items, strict=True):
            yield from item.places((*path, step))


@frozen
class ListForm(_Items):
    """A list of items of different forms."""

    def kind(self) -> str:
        return "list"

    def build(self, make_leaf: MakeLeaf, make_stand_in: MakeStandIn) -> Any:
        return self.built(make_leaf, make_stand_in)

    def split(self, value: Any, path: Path, leaves: list[Any]) -> None:
        if not isinstance(value, list) or len(value) != len(self.items):
            raise Misfit(path, f"a list of {len(self.items)}", value)
        self.split_items(value, path, leaves)


@frozen
class TupleForm(_Items):
    """A tuple or, where a class is given, a named tuple."""

    cls: type[Any] | None = None

    def kind(self) -> str:
        return _name(self.cls or tuple)

    def steps(self) -> list[Step]:
        if self.cls is None:
            return super().steps()
        return [Attr(name) for name in self.cls._fields]

    def build(self, make_leaf: MakeLeaf, make_stand_in: MakeStandIn) -> Any:
        return tuple.__new__(self.cls or tuple, self.built(make_leaf, make_stand_in))

    def split(self, value: Any, path: Path, leaves: list[Any]) -> None:
        cls: type[Any] = self.cls or tuple
        if not _is_instance(value, cls) or len(value) != len(self.items):
            promised = f"a tuple of {len(self.items)}" if self.cls is None else f"the named tuple {describe(self.cls)}"
            raise Misfit(path, promised, value)
        self.split_items(list(value), path, leaves)


@frozen
class RepeatForm(Form):
    """A list or tuple of a number of items of one form."""

    length: int
    item: Form
    cls: type[Any] = list

    def size(self) -> int:
        return self.length * self.item.size()

    def build(self, make_leaf: MakeLeaf, make_stand_in: MakeStandIn) -> Any:
        return self.cls(self.item.build(make_leaf, make_stand_in) for _ in range(self.length))

    def split(self, value: Any, path: Path, leaves: list[Any]) -> None:
        if not isinstance(value, self.cls) or len(value) != self.length:
            raise Misfit(path, f"a {self.cls.__name__} of {self.length}", value)
        if isinstance(self.item, Leaf):
            leaves.extend(value)
            return
        for position, item in enumerate(value):
            self.item.split(item, (*path, Index(position)), leaves)

    def places(self, path: Path) -> Iterator[tuple[Path, Any]]:
        for position in range(self.length):
            yield from self.item.places((*path, Index(position)))

    def shape(self) -> str:
        return f"{_name(self.cls)}({self.length} times {self.item.shape()})"

    def bare(self) -> Form:
        return evolve(self, item=self.item.bare())


@frozen
class DictForm(_Items):
    """A dict with these keys, in the order in which they were promised."""

    keys: tuple[Hashable, ...] = ()

    def kind(self) -> str:
        return "dict"

    def steps(self) -> list[Step]:
        return [Key(key) for key in self.keys]

    def build(self, make_leaf: MakeLeaf, make_stand_in: MakeStandIn) -> Any:
        return dict(zip(self.keys, self.built(make_leaf, make_stand_in), strict=True))

    def split(self, value: Any, path: Path, leaves: list[Any]) -> None:
        if not isinstance(value, dict) or len(value) != len(self.keys) or any(key not in value for key in self.keys):
            raise Misfit(path, f"a dict with the keys {short_repr(list(self.keys))}", value)
        self.split_items([value[key] for key in self.keys], path, leaves)


@frozen
class RecordForm(_Items):
    """A dataclass or attrs class: a leaf for each field or what is in it, and one more for the whole object."""

    cls: type = object
    names: tuple[str, ...] = ()
    declared: Any = Any

    def size(self) -> int:
        return super().size() + 1

    def kind(self) -> str:
        return _name(self.cls)

    def bare(self) -> Form:
        return evolve(self, items=tuple(item.bare() for item in self.items), declared=Any)

    def steps(self) -> list[Step]:
        return [Attr(name) for name in self.names]

    def build(self, make_leaf: MakeLeaf, make_stand_in: MakeStandIn) -> Any:
        fields = dict(zip(self.names, self.built(make_leaf, make_stand_in), strict=True))
        return make_stand_in(self.cls, fields, make_leaf(self.declared))

    def split(self, value: Any, path: Path, leaves: list[Any]) -> None:
        if not _is_instance(value, self.cls):
            raise Misfit(path, f"an instance of {describe(self.cls)}", value)
        try:
            fields = [getattr(value, name) for name in self.names]
        except AttributeError:
            promised = f"an instance of {describe(self.cls)} with all its fields"
            if not isinstance(value, self.cls):
                promised += " (what came is of an earlier definition of that class: run the cells that make it again)"
            raise Misfit(path, promised, value) from None
        self.split_items(fields, path, leaves)
        leaves.append(value)

    def places(self, path: Path) -> Iterator[tuple[Path, Any]]:
        yield from super().places(path)
        yield path, self.declared


def _is_instance(value: object, cls: type) -> bool:
    return isinstance(value, cls) or is_same_anew(type(value), cls)


def _name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


@frozen
class EmptyForm(Form):
    """A form without leaves, such as a list of no items: the user gets it as it is.

    One leaf stands for the whole, which nobody but the call holds: the call can be run, cancelled and fail as any.
    """

    form: Form
    declared: Any = Any

    def size(self) -> int:
        return 1

    def build(self, make_leaf: MakeLeaf, make_stand_in: MakeStandIn) -> Any:
        make_leaf(self.declared)
        return self.form.build(make_leaf, make_stand_in)

    def split(self, value: Any, path: Path, leaves: list[Any]) -> None:
        self.form.split(value, path, leaves)
        leaves.append(value)

    def places(self, path: Path) -> Iterator[tuple[Path, Any]]:
        yield path, self.declared

    def shape(self) -> str:
        return f"empty({self.form.shape()})"

    def bare(self) -> Form:
        return EmptyForm(self.form.bare())


@frozen
class Structure:
    """The tree of a call's result, as far as it is known before the call runs.

    Attributes
    ----------
    form
        What it is.
    name
        The name of the function, for messages.
    size
        The number of leaves.
    single
        Whether there is one leaf and nothing around it.
    """

    form: Form
    name: str = "the task"
    size: int = field(init=False)
    single: bool = field(init=False)
    _checker: Checker = field(init=False, eq=False, repr=False)
    _digest: str | None = field(init=False, eq=False, repr=False, default=None)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_checker", checker_for(getattr(self.form, "declared", Any)))
        object.__setattr__(self, "size", self.form.size())
        object.__setattr__(self, "single", isinstance(self.form, Leaf))

    def __reduce__(self) -> tuple[type[Structure], tuple[Form, str]]:
        return Structure, (self.form, self.name)

    @property
    def digest(self) -> str:
        """A text by which two processes tell whether they mean the same structure."""
        if self._digest is None:
            shape = self.form.shape()
            digest = shape if self.single else hashlib.blake2b(shape.encode(), digest_size=12).hexdigest()
            object.__setattr__(self, "_digest", digest)
        return self._digest or ""

    def bare(self) -> Structure:
        """Return the same structure with leaves for which nothing is declared."""
        return Structure(self.form.bare(), self.name)

    def build(self, make_leaf: MakeLeaf, make_stand_in: MakeStandIn) -> Any:
        """Make the tree.

        Parameters
        ----------
        make_leaf
            Makes a leaf from its annotation; called in the order of `split`, once for each leaf.
        make_stand_in
            Makes an instance of a dataclass or attrs class from the class, the dict of its fields, and the leaf that
            stands for the whole object.
        """
        return self.form.build(make_leaf, make_stand_in)

    def split(self, value: object) -> list[Any]:
        """Return the leaves of a result, in the order of `build`.

        Raises
        ------
        StructureError
            If the result has another structure; the error holds it as `.result`.
        """
        if self.single:
            return [value]
        leaves: list[Any] = []
        try:
            self.form.split(value, (), leaves)
        except Misfit as misfit:
            raise StructureError(self._text(misfit), value) from None
        return leaves

    def _text(self, misfit: Misfit) -> str:
        where = f" at {format_path('result', misfit.path)}" if misfit.path else ""
        came = misfit.value
        kind = type(came).__qualname__.rpartition("<locals>.")[2]
        length = f" of {len(came)}" if isinstance(came, list | tuple | dict | str) else ""
        return (
            f"{self.name}() promised {misfit.promised}{where}, but returned a {kind}{length}: {short_repr(came)}; "
            "return what the annotation (or the mock) says, or annotate Annotated[..., Whole] to get one future"
        )

    def places(self) -> Iterator[tuple[Path, Any]]:
        """Yield the path and the annotation of each leaf, in the order of `build`."""
        return self.form.places(())

    def _all_sure(self, leaf_values: list[Any]) -> bool:
        """Tell, without looking at each leaf, whether all of them fit; False where that can't be told."""
        if not isinstance(self.form, RepeatForm) or not isinstance(self.form.item, Leaf):
            return False
        return all(map(checker_for(self.form.item.declared).sure, set(map(type, leaf_values))))

    def mismatches(self, leaf_values: list[Any]) -> list[str]:
        """Return a text for each leaf that does not fit its annotation, such as `[2] is 'a' (str), declared int`.

        Parameters
        ----------
        leaf_values
            What `split` returned.
        """
        if self.single and self._checker.sure(type(leaf_values[0])):
            return []
        if self._all_sure(leaf_values):
            return []
        texts = []
        for (path, declared), value in zip(self.places(), leaf_values, strict=True):
            found = checker_for(declared).find(value)
            if found is not None:
                text = found._replace(path=(*path, *found.path)).text("" if path or found.path else "it")
                texts.append(f"{text}, declared {describe(found.annotation)}")
        return texts


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
