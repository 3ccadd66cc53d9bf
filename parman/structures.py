# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Structures: the tree of a result, as far as it is known before the call runs.

A structure is a tree of forms. A form can be built (with futures as leaves), and a value of that form can be split
into its leaves, in the same order. Many items of the same form are one form and a number, so that a list of a hundred
thousand futures is described by two small objects.
"""

# ruff: noqa: D102 (what the methods of the base promise is said there)

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeAlias

from attrs import evolve, field, frozen

from .annotations import describe
from .checkers import Checker, is_same_anew
from .checks import checker_for
from .errors import StructureError
from .paths import Attr, Index, Key, Path, Step, format_path, short_repr

__all__ = ["DictForm", "EmptyForm", "Form", "Leaf", "ListForm", "RecordForm", "RepeatForm", "Structure", "TupleForm"]

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
