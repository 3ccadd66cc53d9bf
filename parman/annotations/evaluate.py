# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Annotations: evaluated one by one, taken apart, and written in messages.

A name that can't be found (because its import stands under `TYPE_CHECKING`, say) becomes `Any` where it stands, and
spoils nothing around it.

Whoever looks at an annotation unwraps it first: `unwrap` takes off what says nothing about values (`Annotated`,
`NewType`, `Final`, aliases), and turns a type variable into its bound.
"""

from __future__ import annotations

import builtins
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import InitVar
from typing import Annotated, Any, ClassVar, ForwardRef, Literal, TypeVar, Union, get_args, get_origin
from weakref import WeakKeyDictionary

from ..trees.nodes import Attr, Index, Key, Path, Step, class_name, record_fields

__all__ = [
    "ALIAS",
    "Namespace",
    "annotation_at",
    "container_arguments",
    "describe",
    "evaluate",
    "field_annotations",
    "has_one_item_type",
    "is_any",
    "is_named_tuple",
    "is_protocol",
    "is_unpacked",
    "item_type",
    "learn_fields",
    "stringized_fields",
    "tuple_items",
    "union_members",
    "unwrap",
]

ALIAS: Any = getattr(typing, "TypeAliasType", None)
"""The class of what a `type` statement makes; None before Python 3.12."""
_WRAPPERS = (typing.Final, ClassVar, typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", typing.Final))
_STANDARD = frozenset({"builtins", "collections", "collections.abc", "typing"})
_MOST_LAYERS = 50
_MOST_TYPES = 1000


class Namespace(dict[str, Any]):
    """The names that an annotation can use; a name that is nowhere is `_Unknown`.

    Parameters
    ----------
    *scopes
        Where to look, the innermost first.
    """

    def __init__(self, *scopes: Mapping[str, Any]) -> None:
        super().__init__()
        self.scopes = (*scopes, vars(builtins))

    def __missing__(self, name: str) -> Any:
        return next((scope[name] for scope in self.scopes if name in scope), _Unknown)

    def globals(self) -> dict[str, Any]:
        """Return the dictionary in which the functions of an annotation (`Length(lambda n: ...)`) look for names."""
        return next((scope for scope in reversed(self.scopes[:-1]) if isinstance(scope, dict)), {})


class _UnknownMeta(type):
    """Lets a class be used in each way in which an annotation can use a name."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, item: object) -> Any:
        return cls

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        return cls


class _Unknown(metaclass=_UnknownMeta):
    """What a name that can't be found means."""


def evaluate(annotation: Any, names: Namespace, inside: tuple[str, ...] = ()) -> Any:
    """Return the type that an annotation means, `Any` if that can't be found out.

    Parameters
    ----------
    annotation
        A type, or a string (or something with strings in it, such as `list["Later"]`) that has to be evaluated.
    names
        What the strings in it refer to.
    inside
        The strings that are being evaluated: an alias that refers to itself is `Any` in itself.
    """
    try:
        return _evaluate(annotation, names, inside)
    except Exception:  # strings may be any code, and classes of libraries may do anything
        return Any


def _evaluate(annotation: Any, names: Namespace, inside: tuple[str, ...]) -> Any:
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        if annotation in inside:
            return Any
        meaning = eval(annotation.strip(), names.globals(), names)
        return _evaluate(meaning, names, (*inside, annotation))
    if annotation is None:
        return type(None)
    if annotation is _Unknown:
        return Any
    return _evaluate_arguments(annotation, names, inside)


def _evaluate_arguments(annotation: Any, names: Namespace, inside: tuple[str, ...]) -> Any:
    """Evaluate the strings among the arguments of a generic type."""
    origin = get_origin(annotation)
    if origin is None or origin is Literal or origin is Callable:
        return annotation
    if origin is Annotated:
        inner = evaluate(annotation.__origin__, names, inside)
        return annotation if inner is annotation.__origin__ else Annotated[(inner, *annotation.__metadata__)]
    old = get_args(annotation)
    new = tuple(arg if arg is ... or isinstance(arg, list) else evaluate(arg, names, inside) for arg in old)
    if all(a is b or a is type(None) for a, b in zip(new, old, strict=True)):
        return annotation
    if origin in (Union, types.UnionType):
        return _union_of(new)
    return annotation.copy_with(new) if hasattr(annotation, "copy_with") else types.GenericAlias(origin, new)


def _union_of(members: Iterable[Any]) -> Any:
    """Return the union of some types; `Any` where one of them is, or where there are none."""
    unique = list({id(member): member for member in members}.values())
    if not unique or any(member is Any for member in unique):
        return Any
    try:
        return Union[tuple(unique)]  # noqa: UP007 (a tuple of members)
    except TypeError:
        return Any


def is_any(annotation: Any) -> bool:
    """Tell whether every value fits, as far as anyone can say."""
    return annotation is Any or annotation is object or annotation is inspect.Parameter.empty


def unwrap(annotation: Any) -> Any:
    """Return the annotation without what says nothing about values; `Any` for what is not understood at all."""
    for _ in range(_MOST_LAYERS):
        inner = _without_outer_layer(annotation)
        if inner is annotation:
            return annotation
        annotation = inner
    return Any


def _without_outer_layer(annotation: Any) -> Any:
    origin = get_origin(annotation)
    if annotation is None:
        return type(None)
    if origin is Annotated:
        return annotation.__origin__
    if isinstance(annotation, InitVar):
        return annotation.type
    if origin in _WRAPPERS:
        return get_args(annotation)[0]
    if isinstance(annotation, typing.NewType):
        return annotation.__supertype__
    if isinstance(annotation, TypeVar):
        names = Namespace(vars(sys.modules.get(annotation.__module__ or "", builtins)))
        if annotation.__constraints__:
            return _union_of(evaluate(constraint, names) for constraint in annotation.__constraints__)
        return Any if annotation.__bound__ is None else evaluate(annotation.__bound__, names)
    if ALIAS is not None and ALIAS in (type(annotation), type(origin)):
        return _meaning_of_alias(annotation, origin)
    if annotation is typing.LiteralString:
        return str
    unknown = isinstance(annotation, str | ForwardRef | typing.ParamSpecArgs | typing.ParamSpecKwargs)
    return Any if unknown or annotation is _Unknown else annotation


def _meaning_of_alias(annotation: Any, origin: Any) -> Any:
    """Return what an alias made by a `type` statement (PEP 695) stands for."""
    alias = annotation if origin is None else origin
    try:
        value = alias.__value__
    except Exception:  # it is evaluated only now, and may name what is nowhere
        return Any
    return value if origin is None else value[get_args(annotation)]


def union_members(annotation: Any) -> list[Any]:
    """Return the members of a union, at any depth of aliases and unions; anything else is its own only member."""
    found: list[Any] = []
    todo = [annotation]
    while todo and len(found) < _MOST_TYPES:
        member = unwrap(todo.pop(0))
        if get_origin(member) in (Union, types.UnionType):
            todo = [*get_args(member), *todo]
        else:
            found.append(member)
    return found


def is_named_tuple(cls: object) -> bool:
    """Tell whether this is a class of named tuples."""
    return isinstance(cls, type) and issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple)


def is_protocol(cls: type) -> bool:
    """Tell whether this is a protocol; a class that implements one is none."""
    return bool(getattr(cls, "_is_protocol", False))


def is_unpacked(annotation: Any) -> bool:
    """Tell whether this is `*tuple[int, ...]` or `*Ts`: a number of types that is not known here."""
    return get_origin(annotation) is typing.Unpack or bool(getattr(annotation, "__unpacked__", False))


def tuple_items(annotation: Any) -> tuple[list[Any], bool] | None:
    """Return the item types of a `tuple[...]`, and whether the only one stands for any number of items.

    None if they are not known: of `tuple` itself, and of `tuple[int, *Ts]`.
    """
    arguments = get_args(annotation)
    if not arguments and "[" not in str(annotation):  # which tells `tuple` from `tuple[()]`
        return None
    if any(is_unpacked(argument) for argument in arguments):
        return None
    return ([arguments[0]], True) if arguments[1:] == (...,) else (list(arguments), False)


def container_arguments(annotation: Any) -> tuple[Any, ...]:
    """Return the item types of a builtin or abstract container, or of a class derived from one.

    `class Names(list[str])` has the argument `str`; a `Counter[str]` has `str` and `int`.
    """
    origin = get_origin(annotation) or annotation
    arguments = get_args(annotation)
    if isinstance(origin, type) and origin.__module__ in _STANDARD:
        return (*arguments, int) if origin.__name__ == "Counter" and len(arguments) == 1 else arguments
    own = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
    for base in getattr(origin, "__orig_bases__", ()):
        found = container_arguments(_put_in(base, own))
        if found and get_origin(base) is not typing.Generic:
            return found
    return ()


def field_annotations(annotation: Any) -> dict[str, Any] | None:
    """Return the annotation of each field of a TypedDict, named tuple, dataclass or attrs class.

    Fields without an annotation are `Any`. For generic classes with arguments (`Box[int]`) the arguments are put in.
    None for everything that has no fields.
    """
    cls = get_origin(annotation) or annotation
    names = _field_names(cls)
    if names is None:
        return None
    known = _evaluated_fields(cls)
    arguments = dict(zip(getattr(cls, "__parameters__", ()), get_args(annotation), strict=False))
    return {name: _put_in(known.get(name, Any), arguments) for name in names}


def _field_names(cls: Any) -> list[str] | None:
    if not isinstance(cls, type):
        return None
    if typing.is_typeddict(cls):
        return list(cls.__annotations__)
    return list(cls._fields) if is_named_tuple(cls) else record_fields(cls)  # type: ignore[attr-defined]


_learned: WeakKeyDictionary[type, dict[str, Any]] = WeakKeyDictionary()
"""The annotations of the fields of classes that another process has evaluated."""


def _evaluated_fields(cls: type) -> dict[str, Any]:
    return _learned.get(cls) or {name: evaluate(raw, names) for name, raw, names in _own_annotations(cls)}


def _own_annotations(cls: type) -> Iterator[tuple[str, Any, Namespace]]:
    """Yield the annotations in the body of a class and of its bases, with the names that these can use."""
    for base in reversed(cls.__mro__):
        module = sys.modules.get(base.__module__)
        parameters = {p.__name__: p for p in getattr(base, "__type_params__", ())}
        nested = {name: value for name, value in vars(base).items() if isinstance(value, type)}
        names = Namespace(parameters, nested, {} if module is None else vars(module))
        for name, annotation in vars(base).get("__annotations__", {}).items():
            yield name, annotation, names


def _put_in(annotation: Any, arguments: dict[Any, Any]) -> Any:
    """Replace the type variables in an annotation."""
    if isinstance(annotation, TypeVar):
        return arguments.get(annotation, annotation)
    parameters = getattr(annotation, "__parameters__", ())
    if not arguments or not parameters or isinstance(annotation, type):
        return annotation
    try:
        return annotation[tuple(arguments.get(parameter, parameter) for parameter in parameters)]
    except TypeError:
        return Any


def learn_fields(found: Mapping[type, dict[str, Any]]) -> None:
    """Take over what `stringized_fields` returned in another process."""
    _learned.update(found)


def stringized_fields(annotations: Iterable[Any]) -> dict[type, dict[str, Any]]:
    """Return, evaluated, the fields of all classes in some annotations whose own annotations are strings.

    Another process could not evaluate them if the names in the strings mean nothing there.
    """
    found: dict[type, dict[str, Any]] = {}
    seen: set[Any] = set()  # types may hold themselves
    todo = list(annotations)
    while todo and len(seen) < _MOST_TYPES:
        for member in union_members(todo.pop()):
            try:
                if member in seen:
                    continue
                seen.add(member)
            except TypeError:  # it has no hash, so it is no type
                continue
            todo += get_args(member)
            cls = get_origin(member) or member
            if not isinstance(cls, type) or cls in found or _field_names(cls) is None:
                continue
            known = _evaluated_fields(cls)
            todo += known.values()
            if any(known.get(name) is not raw for name, raw, _ in _own_annotations(cls)):
                found[cls] = known
    return found


def item_type(annotation: Any, key: Any) -> Any:
    """Return the annotation of an item or field: `list[int]` and 3 give `int`. `Any` where it is not known.

    Parameters
    ----------
    annotation
        The annotation of the container.
    key
        A step of a path, or what would stand between the brackets (an index, a key, a slice).
    """
    if annotation is Any:
        return Any
    step = key if isinstance(key, Index | Key | Attr) else None
    raw = getattr(step, "position", getattr(step, "key", getattr(step, "name", None))) if step is not None else key
    found = [_item(member, step, raw) for member in union_members(annotation)]
    fitting = [item for item in found if item is not None]
    return _union_of(fitting) if fitting else Any


def _item(member: Any, step: Step | None, raw: Any) -> Any:
    """Return the annotation of an item, None where this type has no item there."""
    origin = get_origin(member) or member
    if is_any(member) or not isinstance(origin, type):
        return Any
    own_fields = field_annotations(member)
    if own_fields is not None and not isinstance(step, Index):
        if isinstance(raw, int) and issubclass(origin, tuple):
            return _nth(list(own_fields.values()), raw)
        return own_fields.get(raw, Any) if isinstance(raw, str) else Any
    if isinstance(raw, slice):
        return Any if issubclass(origin, tuple) and get_args(member)[1:] != (...,) else member
    if issubclass(origin, tuple) and not isinstance(step, Key | Attr):
        found = (list(own_fields.values()), False) if own_fields else tuple_items(member)
        if found is None:
            return Any
        items, repeated = found
        return items[0] if repeated else _nth(items, raw)
    return _container_item(member, origin, step)


def _nth(items: list[Any], position: Any) -> Any:
    try:
        return items[position]
    except (IndexError, TypeError):
        return None


def _container_item(member: Any, origin: type, step: Step | None) -> Any:
    arguments = container_arguments(member)
    if issubclass(origin, Mapping):
        return None if isinstance(step, Index | Attr) else (arguments[1] if len(arguments) == 2 else Any)
    if issubclass(origin, str | bytes):
        return str if issubclass(origin, str) else int
    if not issubclass(origin, Collection | Iterable):
        return None if origin.__module__ == "builtins" else Any
    if isinstance(step, Key | Attr):
        return None
    return arguments[0] if len(arguments) == 1 else Any


def annotation_at(annotation: Any, path: Path) -> Any:
    """Return the annotation of what is at the end of a path."""
    for step in path:
        annotation = item_type(annotation, step)
    return annotation


def has_one_item_type(annotation: Any) -> bool:
    """Tell whether all items have the same annotation, as in `list[int]` and `tuple[int, ...]`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if not isinstance(origin, type):
        return False
    return arguments[1:] == (...,) if issubclass(origin, tuple) else len(arguments) == 1


def describe(annotation: Any) -> str:
    """Return an annotation as it would be written, without the names of modules."""
    if annotation is type(None):
        return "None"
    if get_origin(annotation) is Annotated:
        return describe(annotation.__origin__)
    if isinstance(annotation, type) and not get_args(annotation):
        return class_name(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return " | ".join(describe(member) for member in get_args(annotation))
    arguments = get_args(annotation)
    if not arguments or get_origin(annotation) in (Literal, Callable):
        return _short(repr(annotation))
    name = _short(str(getattr(get_origin(annotation), "__name__", annotation)))
    inside = ", ".join("..." if arg is ... else describe(arg) for arg in arguments)
    return f"{name}[{inside}]"


def _short(text: str) -> str:
    """Take the modules off the names in a repr."""
    text = re.sub(r"[\w.<>]+\.(?=[A-Za-z_])", "", text)
    return text if len(text) <= 200 else f"{text[:197]}..."
