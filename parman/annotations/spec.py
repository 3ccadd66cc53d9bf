# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The structure of a result: a tree with the leaves still missing, known before the call runs.

A `ResultSpec` does what a pytree's definition does: `unflatten` makes the tree (with futures as leaves), `flatten`
returns the leaves of a value of that structure, in the same order. It is a tree of specs itself. Many items with the
same spec are one spec and a number, so that two small objects describe a list of a hundred thousand futures.

The structure is found in a return annotation (`spec_of_annotation`), or in an example, which a mock returned
(`spec_of_example`). What can't be known, or could turn out otherwise, is one leaf: unions, recursive types, abstract
classes, classes with a `__new__` of their own, dicts with optional keys, records with fields that their `__init__` does
not take.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import typing
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from types import FunctionType
from typing import Annotated, Any, TypeAlias, get_args, get_origin

from attrs import evolve, field, frozen

from ..errors import StructureError
from ..trees.nodes import (
    ATOMS,
    Attr,
    Index,
    Key,
    Path,
    Step,
    class_name,
    format_path,
    kind_of,
    record_fields,
    short_repr,
)
from .checkers import Checker, checker_for, is_redefinition
from .evaluate import ALIAS, describe, field_annotations, is_named_tuple, item_type, tuple_items, unwrap
from .markers import Keys, Length, MarkerArgs, Whole

__all__ = [
    "DictSpec",
    "EmptySpec",
    "LeafSpec",
    "ListSpec",
    "RecordSpec",
    "RepeatSpec",
    "ResultSpec",
    "TreeSpec",
    "TupleSpec",
    "fixed_spec_of",
    "spec_of_annotation",
    "spec_of_example",
]

MakeLeaf: TypeAlias = Callable[[Any], Any]
MakePlaceholder: TypeAlias = Callable[[type, dict[str, Any], Any], Any]

_DEEPEST = 50

# ruff: noqa: D102 (the base class documents the methods)


@frozen
class ResultSpec:
    """The structure of a call's result, as far as it is known before the call runs.

    Attributes
    ----------
    tree
        What it is.
    name
        The name of the function, for messages.
    num_leaves
        The number of leaves.
    is_leaf
        Whether there is one leaf and nothing around it.
    """

    tree: TreeSpec
    name: str = "the task"
    num_leaves: int = field(init=False)
    is_leaf: bool = field(init=False)
    _checker: Checker = field(init=False, eq=False, repr=False)
    _digest: str | None = field(init=False, eq=False, repr=False, default=None)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_checker", checker_for(getattr(self.tree, "declared", Any)))
        object.__setattr__(self, "num_leaves", self.tree.num_leaves())
        object.__setattr__(self, "is_leaf", isinstance(self.tree, LeafSpec))

    def __reduce__(self) -> tuple[type[ResultSpec], tuple[TreeSpec, str]]:
        return ResultSpec, (self.tree, self.name)

    @property
    def digest(self) -> str:
        """A text by which two processes tell whether they mean the same structure."""
        if self._digest is None:
            shape = self.tree.shape()
            digest = shape if self.is_leaf else hashlib.blake2b(shape.encode(), digest_size=12).hexdigest()
            object.__setattr__(self, "_digest", digest)
        return self._digest or ""

    def without_types(self) -> ResultSpec:
        """Return the same structure with leaves for which nothing is declared."""
        return ResultSpec(self.tree.without_types(), self.name)

    def unflatten(self, make_leaf: MakeLeaf, make_placeholder: MakePlaceholder) -> Any:
        """Make the tree.

        Parameters
        ----------
        make_leaf
            Makes a leaf from its annotation; called in the order of `flatten`, once for each leaf.
        make_placeholder
            Makes an instance of a dataclass or attrs class from the class, the dict of its fields, and the leaf that
            stands for the whole object.
        """
        return self.tree.unflatten(make_leaf, make_placeholder)

    def flatten(self, value: object) -> list[Any]:
        """Return the leaves of a result, in the order of `unflatten`.

        Raises
        ------
        StructureError
            If the result has another structure; the error holds it as `.result`.
        """
        if self.is_leaf:
            return [value]
        leaves: list[Any] = []
        try:
            self.tree.flatten(value, (), leaves)
        except _OtherStructure as other:
            raise StructureError(other.text(self.name), value) from None
        return leaves

    def leaf_types(self) -> Iterator[tuple[Path, Any]]:
        """Yield the path and the annotation of each leaf, in the order of `unflatten`."""
        return self.tree.leaf_types(())

    def mismatches(self, leaves: list[Any]) -> list[str]:
        """Return a text for each leaf that does not fit its annotation, such as `[2] is 'a' (str), declared int`.

        Parameters
        ----------
        leaves
            What `flatten` returned.
        """
        if self.is_leaf and self._checker.accepts_class(type(leaves[0])):
            return []
        if isinstance(self.tree, RepeatSpec) and isinstance(self.tree.item, LeafSpec):
            checker = checker_for(self.tree.item.declared)
            if all(map(checker.accepts_class, set(map(type, leaves)))):
                return []
        texts = []
        for (path, declared), value in zip(self.leaf_types(), leaves, strict=True):
            found = checker_for(declared).find_mismatch(value)
            if found is not None:
                text = found._replace(path=(*path, *found.path)).text("" if path or found.path else "it")
                texts.append(f"{text}, declared {describe(found.annotation)}")
        return texts


class _OtherStructure(Exception):
    """A value has another structure than promised."""

    def __init__(self, path: Path, promised: str, value: object) -> None:
        super().__init__()
        self.path = path
        self.promised = promised
        self.value = value

    def text(self, name: str) -> str:
        """Return what the function promised and what it returned."""
        where = f" at {format_path('result', self.path)}" if self.path else ""
        length = f" of {len(self.value)}" if isinstance(self.value, list | tuple | dict | str) else ""
        returned = f"{class_name(type(self.value))}{length}: {short_repr(self.value)}"
        return (
            f"{name}() promised {self.promised}{where}, but returned a {returned}; "
            "return what the annotation (or the mock) says, or annotate Annotated[..., Whole] to get one future"
        )


@frozen
class TreeSpec:
    """A node of a structure, or a leaf."""

    def num_leaves(self) -> int:
        """Return the number of leaves."""
        raise NotImplementedError

    def unflatten(self, make_leaf: MakeLeaf, make_placeholder: MakePlaceholder) -> Any:
        """Make the tree, with leaves in it that `make_leaf` makes from their annotations."""
        raise NotImplementedError

    def flatten(self, value: Any, path: Path, leaves: list[Any]) -> None:
        """Append the leaves of a value of this structure to a list."""
        raise NotImplementedError

    def leaf_types(self, path: Path) -> Iterator[tuple[Path, Any]]:
        """Yield the path and the annotation of each leaf."""
        raise NotImplementedError

    def shape(self) -> str:
        """Write the places of the leaves, and the classes around them, the same in each process."""
        raise NotImplementedError

    def without_types(self) -> TreeSpec:
        """Return the same structure with leaves for which nothing is declared."""
        raise NotImplementedError


@frozen
class LeafSpec(TreeSpec):
    """One future."""

    declared: Any = Any

    def num_leaves(self) -> int:
        return 1

    def unflatten(self, make_leaf: MakeLeaf, make_placeholder: MakePlaceholder) -> Any:
        return make_leaf(self.declared)

    def flatten(self, value: Any, path: Path, leaves: list[Any]) -> None:
        leaves.append(value)

    def leaf_types(self, path: Path) -> Iterator[tuple[Path, Any]]:
        yield path, self.declared

    def shape(self) -> str:
        return "."

    def without_types(self) -> TreeSpec:
        return LeafSpec()


@frozen
class _ItemsSpec(TreeSpec):
    """Items with a spec each."""

    items: tuple[TreeSpec, ...]

    def container(self) -> type:
        """Return the class around the items."""
        raise NotImplementedError

    def steps(self) -> list[Step]:
        """Return the steps to the items."""
        return [Index(position) for position in range(len(self.items))]

    def num_leaves(self) -> int:
        return sum(item.num_leaves() for item in self.items)

    def unflatten_items(self, make_leaf: MakeLeaf, make_placeholder: MakePlaceholder) -> list[Any]:
        """Make the trees of the items."""
        return [item.unflatten(make_leaf, make_placeholder) for item in self.items]

    def flatten_items(self, values: list[Any], path: Path, leaves: list[Any]) -> None:
        """Append the leaves of the items."""
        for step, item, value in zip(self.steps(), self.items, values, strict=True):
            item.flatten(value, (*path, step), leaves)

    def leaf_types(self, path: Path) -> Iterator[tuple[Path, Any]]:
        for step, item in zip(self.steps(), self.items, strict=True):
            yield from item.leaf_types((*path, step))

    def shape(self) -> str:
        inside = ", ".join(f"{step}: {item.shape()}" for step, item in zip(self.steps(), self.items, strict=True))
        return f"{_full_name(self.container())}({inside})"

    def without_types(self) -> TreeSpec:
        return evolve(self, items=tuple(item.without_types() for item in self.items))


@frozen
class ListSpec(_ItemsSpec):
    """A list of items with different specs."""

    def container(self) -> type:
        return list

    def unflatten(self, make_leaf: MakeLeaf, make_placeholder: MakePlaceholder) -> Any:
        return self.unflatten_items(make_leaf, make_placeholder)

    def flatten(self, value: Any, path: Path, leaves: list[Any]) -> None:
        if not isinstance(value, list) or len(value) != len(self.items):
            raise _OtherStructure(path, f"a list of {len(self.items)}", value)
        self.flatten_items(value, path, leaves)


@frozen
class TupleSpec(_ItemsSpec):
    """A tuple or, where a class is given, a named tuple."""

    cls: type[Any] | None = None

    def container(self) -> type:
        return self.cls or tuple

    def steps(self) -> list[Step]:
        return super().steps() if self.cls is None else [Attr(name) for name in self.cls._fields]

    def unflatten(self, make_leaf: MakeLeaf, make_placeholder: MakePlaceholder) -> Any:
        return tuple.__new__(self.cls or tuple, self.unflatten_items(make_leaf, make_placeholder))

    def flatten(self, value: Any, path: Path, leaves: list[Any]) -> None:
        if not _is_instance(value, self.cls or tuple) or len(value) != len(self.items):
            promised = f"a tuple of {len(self.items)}" if self.cls is None else f"the named tuple {describe(self.cls)}"
            raise _OtherStructure(path, promised, value)
        self.flatten_items(list(value), path, leaves)


@frozen
class DictSpec(_ItemsSpec):
    """A dict with these keys, in the order in which they were promised."""

    keys: tuple[Hashable, ...] = ()

    def container(self) -> type:
        return dict

    def steps(self) -> list[Step]:
        return [Key(key) for key in self.keys]

    def unflatten(self, make_leaf: MakeLeaf, make_placeholder: MakePlaceholder) -> Any:
        return dict(zip(self.keys, self.unflatten_items(make_leaf, make_placeholder), strict=True))

    def flatten(self, value: Any, path: Path, leaves: list[Any]) -> None:
        if not isinstance(value, dict) or len(value) != len(self.keys) or any(key not in value for key in self.keys):
            raise _OtherStructure(path, f"a dict with the keys {short_repr(list(self.keys))}", value)
        self.flatten_items([value[key] for key in self.keys], path, leaves)


@frozen
class RecordSpec(_ItemsSpec):
    """A dataclass or attrs class: the leaves of its fields, and one more for the whole object."""

    cls: type = object
    names: tuple[str, ...] = ()
    declared: Any = Any

    def container(self) -> type:
        return self.cls

    def steps(self) -> list[Step]:
        return [Attr(name) for name in self.names]

    def num_leaves(self) -> int:
        return super().num_leaves() + 1

    def unflatten(self, make_leaf: MakeLeaf, make_placeholder: MakePlaceholder) -> Any:
        fields = dict(zip(self.names, self.unflatten_items(make_leaf, make_placeholder), strict=True))
        return make_placeholder(self.cls, fields, make_leaf(self.declared))

    def flatten(self, value: Any, path: Path, leaves: list[Any]) -> None:
        if not _is_instance(value, self.cls):
            raise _OtherStructure(path, f"an instance of {describe(self.cls)}", value)
        try:
            fields = [getattr(value, name) for name in self.names]
        except AttributeError:
            promised = f"an instance of {describe(self.cls)} with all its fields"
            if not isinstance(value, self.cls):
                promised += " (what came is of an earlier definition of that class: run the cells that make it again)"
            raise _OtherStructure(path, promised, value) from None
        self.flatten_items(fields, path, leaves)
        leaves.append(value)

    def leaf_types(self, path: Path) -> Iterator[tuple[Path, Any]]:
        yield from super().leaf_types(path)
        yield path, self.declared

    def without_types(self) -> TreeSpec:
        return evolve(self, items=tuple(item.without_types() for item in self.items), declared=Any)


@frozen
class RepeatSpec(TreeSpec):
    """A list or tuple of a number of items with one spec."""

    length: int
    item: TreeSpec
    cls: type[Any] = list

    def num_leaves(self) -> int:
        return self.length * self.item.num_leaves()

    def unflatten(self, make_leaf: MakeLeaf, make_placeholder: MakePlaceholder) -> Any:
        return self.cls(self.item.unflatten(make_leaf, make_placeholder) for _ in range(self.length))

    def flatten(self, value: Any, path: Path, leaves: list[Any]) -> None:
        if not isinstance(value, self.cls) or len(value) != self.length:
            raise _OtherStructure(path, f"a {self.cls.__name__} of {self.length}", value)
        if isinstance(self.item, LeafSpec):
            leaves.extend(value)
            return
        for position, item in enumerate(value):
            self.item.flatten(item, (*path, Index(position)), leaves)

    def leaf_types(self, path: Path) -> Iterator[tuple[Path, Any]]:
        for position in range(self.length):
            yield from self.item.leaf_types((*path, Index(position)))

    def shape(self) -> str:
        return f"{_full_name(self.cls)}({self.length} times {self.item.shape()})"

    def without_types(self) -> TreeSpec:
        return evolve(self, item=self.item.without_types())


@frozen
class EmptySpec(TreeSpec):
    """A structure without leaves, such as a list of no items: the user gets it as it is.

    One leaf stands for the whole, which nobody but the call holds: the call can be run, cancelled and fail as any.
    """

    empty: TreeSpec
    declared: Any = Any

    def num_leaves(self) -> int:
        return 1

    def unflatten(self, make_leaf: MakeLeaf, make_placeholder: MakePlaceholder) -> Any:
        make_leaf(self.declared)
        return self.empty.unflatten(make_leaf, make_placeholder)

    def flatten(self, value: Any, path: Path, leaves: list[Any]) -> None:
        self.empty.flatten(value, path, leaves)
        leaves.append(value)

    def leaf_types(self, path: Path) -> Iterator[tuple[Path, Any]]:
        yield path, self.declared

    def shape(self) -> str:
        return f"empty({self.empty.shape()})"

    def without_types(self) -> TreeSpec:
        return EmptySpec(self.empty.without_types())


def _is_instance(value: object, cls: type) -> bool:
    return isinstance(value, cls) or is_redefinition(type(value), cls)


def _full_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def spec_of_annotation(annotation: Any, call: MarkerArgs) -> tuple[TreeSpec, bool]:
    """Return the structure that a return annotation promises, and whether it is the same for all arguments.

    Raises
    ------
    StructureError
        If a `Length` or `Keys` makes no sense.
    """
    builder = _SpecBuilder(call)
    return _with_a_leaf(builder.spec_of(annotation), annotation), builder.fixed


def fixed_spec_of(annotation: Any) -> TreeSpec | None:
    """Return the structure that a return annotation promises for all calls, None if it depends on the arguments."""
    try:
        return _with_a_leaf(_SpecBuilder(None).spec_of(annotation), annotation)
    except _DependsOnCallError:
        return None


def _with_a_leaf(spec: TreeSpec, annotation: Any) -> TreeSpec:
    return spec if spec.num_leaves() else EmptySpec(spec, annotation)


class _DependsOnCallError(Exception):
    pass


class _SpecBuilder:
    """One run over an annotation; it knows the types that it is in, to notice recursive ones."""

    def __init__(self, call: MarkerArgs | None) -> None:
        self._call = call
        self.inside: list[Any] = []
        self.recursive: list[Any] = []
        self.fixed = True

    @property
    def call(self) -> MarkerArgs:
        """The call, on which the structure depends if this is asked for."""
        self.fixed = False
        if self._call is None:
            raise _DependsOnCallError
        return self._call

    def spec_of(self, annotation: Any) -> TreeSpec:
        if get_origin(annotation) is Annotated:
            return self.of_annotated(annotation)
        inner = unwrap(annotation)
        if ALIAS is not None and ALIAS in (type(annotation), type(get_origin(annotation))):
            return self.unless_recursive(annotation, inner)
        cls = get_origin(inner) or inner
        if isinstance(cls, type) and _has_certain_fields(cls):
            return self.unless_recursive(annotation, inner)
        found = tuple_items(inner) if cls is tuple else None
        if found is None or found[1]:
            return LeafSpec(annotation)
        return TupleSpec(tuple(self.spec_of(item) for item in found[0]))

    def of_annotated(self, annotation: Any) -> TreeSpec:
        inner = annotation.__origin__
        for marker in annotation.__metadata__:
            if marker is Whole or isinstance(marker, Whole):
                return LeafSpec(inner)
            if isinstance(marker, Length):
                return self.of_length(inner, marker)
            if isinstance(marker, Keys):
                return self.of_keys(inner, marker)
        return self.spec_of(inner)

    def of_length(self, annotation: Any, marker: Length) -> TreeSpec:
        inner = unwrap(annotation)
        cls, arguments = get_origin(inner) or inner, get_args(inner)
        if cls not in (list, tuple) or (cls is tuple and arguments[1:] != (...,)):
            text = f"{self.call.name}(): {marker} goes with list[...] or tuple[..., ...], not with {describe(inner)}"
            raise StructureError(text)
        length = marker.length(self.call)
        return LeafSpec(annotation) if length is None else RepeatSpec(length, self.of_item(arguments), cls)

    def of_keys(self, annotation: Any, marker: Keys) -> TreeSpec:
        inner = unwrap(annotation)
        if (get_origin(inner) or inner) is not dict:
            text = f"{self.call.name}(): {marker} goes with dict[..., ...], not with {describe(inner)}"
            raise StructureError(text)
        keys = marker.keys(self.call)
        item = self.of_item(get_args(inner)[1:])
        return LeafSpec(annotation) if keys is None else DictSpec((item,) * len(keys), keys)

    def of_item(self, arguments: Sequence[Any]) -> TreeSpec:
        return self.spec_of(arguments[0]) if arguments else LeafSpec()

    def unless_recursive(self, annotation: Any, inner: Any) -> TreeSpec:
        """Return the spec of a type that may hold itself: then it is a leaf."""
        if annotation in self.inside or len(self.inside) > _DEEPEST:
            self.recursive.append(annotation)
            return LeafSpec(annotation)
        self.inside.append(annotation)
        spec = self.of_fields(annotation) if inner is annotation else self.spec_of(inner)
        self.inside.pop()
        return LeafSpec(annotation) if annotation in self.recursive else spec

    def of_fields(self, annotation: Any) -> TreeSpec:
        cls: Any = get_origin(annotation) or annotation
        fields = field_annotations(annotation) or {}
        if typing.is_typeddict(cls) and any(get_origin(field) is typing.NotRequired for field in fields.values()):
            return LeafSpec(annotation)
        items = tuple(self.spec_of(field) for field in fields.values())
        if typing.is_typeddict(cls):
            return DictSpec(items, tuple(fields))
        if is_named_tuple(cls):
            return TupleSpec(items, cls)
        return RecordSpec(items, cls, tuple(fields), annotation) if fields else LeafSpec(annotation)


def _has_certain_fields(cls: Any) -> bool:
    """Tell whether instances of this class are certain to have just the fields that it declares."""
    if typing.is_typeddict(cls):
        return bool(cls.__required_keys__) and not cls.__optional_keys__
    return _own_new(cls) is None if is_named_tuple(cls) else _is_open_record(cls)


def _is_open_record(cls: type) -> bool:
    """Tell whether this is a concrete dataclass or attrs class whose fields are all set by the caller."""
    if record_fields(cls) is None or kind_of(cls) is None or inspect.isabstract(cls) or _own_new(cls) is not None:
        return False
    if dataclasses.is_dataclass(cls):
        pseudo = vars(cls).get("__dataclass_fields__", {}).values()
        if any(field._field_type is dataclasses._FIELD_INITVAR for field in pseudo):  # type: ignore[attr-defined]
            return False
        return all(field.init for field in dataclasses.fields(cls))
    return all(attribute.init for attribute in cls.__attrs_attrs__)  # type: ignore[attr-defined]


def _own_new(cls: type) -> FunctionType | None:
    """Return the `__new__` that a user wrote for this class; those of named tuples and protocols are not meant."""
    for base in cls.__mro__:
        found = vars(base).get("__new__")
        found = getattr(found, "__func__", found)
        if isinstance(found, FunctionType):
            return None if "_fields" in vars(base) or base.__module__ == "typing" else found
    return None


def spec_of_example(example: object, annotation: Any) -> TreeSpec:
    """Return the structure of an example result.

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
    return _with_a_leaf(_spec_of_example(example, annotation, ()), annotation)


def _spec_of_example(example: Any, annotation: Any, inside: tuple[object, ...]) -> TreeSpec:
    if len(inside) > _DEEPEST or any(example is outer for outer in inside):
        raise StructureError(f"a mock returned a {type(inside[-1]).__name__} that holds itself or is nested too deeply")
    inside = (*inside, example)

    def specs(steps: Iterable[Step], values: Iterable[Any]) -> tuple[TreeSpec, ...]:
        pairs = zip(steps, values, strict=True)
        return tuple(_spec_of_example(value, item_type(annotation, step), inside) for step, value in pairs)

    cls: Any = type(example)
    if isinstance(example, list):
        if ATOMS.issuperset(map(type, example)):
            return RepeatSpec(len(example), LeafSpec(item_type(annotation, Index(0))))
        items = specs([Index(0)] * len(example), example)
        return RepeatSpec(len(items), items[0]) if all(item == items[0] for item in items) else ListSpec(items)
    if is_named_tuple(cls) and kind_of(cls) is not None:
        return TupleSpec(specs(map(Attr, cls._fields), example), cls)
    if cls is tuple:
        return TupleSpec(specs(map(Index, range(len(example))), example))
    if isinstance(example, dict):
        return DictSpec(specs(map(Key, example), example.values()), tuple(example))
    names = record_fields(cls)
    if not names or not _is_open_record(cls):
        return LeafSpec(annotation)
    own = field_annotations(cls) or {}
    items = tuple(_spec_of_example(getattr(example, name), own.get(name, Any), inside) for name in names)
    return RecordSpec(items, cls, tuple(names), cls)
