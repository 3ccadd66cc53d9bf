# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The inner nodes of trees: what is in them, how they are made anew, and paths to that.

A node is an instance of one of five kinds of classes: lists, deques, tuples (named or not), dicts, and records
(dataclass and attrs classes). The kind of a class is found once. Classes derived from a container are nodes too, unless
it is not certain how to make them anew. All other objects are leaves.

A node is made anew without `__init__`, `__post_init__`, a converter or a validator: the class written in C from which
its own class is derived makes the instance, which then gets the attributes of the old one and what is to be in it. Both
this and reading a node leave the methods of its own class alone, so that no code of the user runs.

The last part of the module tells apart classes of leaves that snapshots treat in a way of their own: arrays, iterators,
generators of random numbers, and some classes of libraries. It imports no library: if there is an instance, somebody
else has imported it.
"""

from __future__ import annotations

import dataclasses
import random
import re
import reprlib
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from decimal import Decimal
from enum import EnumMeta
from functools import lru_cache
from io import IOBase
from types import BuiltinFunctionType, MemberDescriptorType
from typing import Any, TypeAlias

__all__ = [
    "ATOMS",
    "Attr",
    "Index",
    "Key",
    "NodeKind",
    "Path",
    "Placeholder",
    "Step",
    "TupleKind",
    "c_base",
    "children",
    "class_attribute",
    "class_name",
    "format_path",
    "is_array",
    "is_calculator",
    "is_generator",
    "is_iterator",
    "is_leaf",
    "is_molecule",
    "is_plain_array",
    "is_quantity",
    "is_scalar",
    "is_seed",
    "kind_of",
    "member_descriptors",
    "record_fields",
    "short_repr",
    "stored_attributes",
]


# ruff: noqa: D102 (the base class documents the methods)


@dataclass(frozen=True, slots=True)
class Index:
    """The step to an item of a list or tuple."""

    position: int

    def __str__(self) -> str:
        return f"[{self.position}]"


@dataclass(frozen=True, slots=True)
class Key:
    """The step to a value of a dict."""

    key: object

    def __str__(self) -> str:
        return f"[{short_repr(self.key)}]"


@dataclass(frozen=True, slots=True)
class Attr:
    """The step to a field of a named tuple, dataclass or attrs instance."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"


Step: TypeAlias = Index | Key | Attr
Path: TypeAlias = tuple[Step, ...]


class _Shortener(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 4

    def repr_instance(self, x: Any, level: int) -> str:
        """Name the kind and shape of a big array, the repr of which takes long and says little."""
        size = getattr(x, "size", None)
        if isinstance(size, int) and size > 10 and hasattr(x, "dtype"):
            return f"<{type(x).__name__} {x.dtype} {getattr(x, 'shape', '')}>"
        return super().repr_instance(x, level)


def class_name(cls: type) -> str:
    """Return the name of a class for messages: without the function that defined it."""
    return cls.__qualname__.rpartition("<locals>.")[2]


def short_repr(value: object) -> str:
    """Return a repr on one line and of limited length, whatever the value's own repr does."""
    try:
        text = " ".join(_Shortener().repr(value).split())
    except Exception:
        text = f"<{type(value).__name__} at {id(value):#x}>"
    return text if len(text) <= 200 else f"{text[:197]}..."


def format_path(name: str, path: Path) -> str:
    """Return a place as the user would write it, such as `x['io'][1].cell`."""
    return name + "".join(map(str, path))


ATOMS: frozenset[type] = frozenset(
    {int, float, complex, bool, str, bytes, type(None), type(...), range, slice, Decimal}
)
"""Types whose instances never hold a future: containers of nothing else are passed over in one C loop."""


class Placeholder:
    """The base of objects that stand for a result that is not there yet: they are leaves, whatever they derive from."""

    __slots__ = ()

    def __parman_futures__(self) -> Iterable[tuple[Path, Future[Any]]]:
        """Return the futures that have to be done before the real object can take this one's place."""
        return ()


def stored_attributes(obj: object) -> dict[str, Any] | None:
    """Return the `__dict__` of an object without running code of its class; None if it has none."""
    try:
        stored: dict[str, Any] = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        return None
    return stored


def member_descriptors(cls: type) -> list[MemberDescriptorType]:
    """Return the slots of the instances of a class."""
    return [d for c in cls.__mro__ for d in vars(c).values() if isinstance(d, MemberDescriptorType)]


def class_attribute(cls: type, name: str) -> Any:
    """Return an attribute of a class as its `__dict__` or that of a base holds it; None if there is none."""
    return next((vars(c)[name] for c in cls.__mro__ if name in vars(c)), None)


def c_base(cls: type) -> type:
    """Return the class of the MRO whose `__new__` is written in C: it can make an instance of any class below it."""
    return next(c for c in cls.__mro__ if isinstance(vars(c).get("__new__"), BuiltinFunctionType))


def record_fields(cls: type) -> list[str] | None:
    """Return the names of the fields of a dataclass or attrs class, None for any other class."""
    attributes = class_attribute(cls, "__attrs_attrs__")
    if attributes is not None:
        return [attribute.name for attribute in attributes]
    if class_attribute(cls, "__dataclass_fields__") is not None:
        return [field.name for field in dataclasses.fields(cls)]
    return None


class NodeKind:
    """How the nodes of one class are read and made anew.

    Attributes
    ----------
    cls
        The class of the nodes.
    base
        The container whose methods read and fill them; `object` for records.
    step
        Makes a step of a path from a position, key or name.
    """

    step: Callable[[Any], Step]

    def __init__(self, cls: type, base: type) -> None:
        self.cls = cls
        self.base: Any = base
        self.members = member_descriptors(cls)

    def items(self, node: Any) -> Iterable[tuple[Any, object]]:
        """Return what is directly in the node, each with its position, key or name."""
        raise NotImplementedError

    def children(self, node: Any) -> list[tuple[Step, object]]:
        """Return what is directly in the node, each with the step to it."""
        return [(self.step(key), value) for key, value in self.items(node)]

    def values(self, node: Any) -> Collection[object]:
        """Return what is directly in the node, from left to right."""
        raise NotImplementedError

    def empty_copy(self, node: Any) -> Any:
        """Make an empty node with the class and the attributes of this one."""
        return self.keep_attributes(node, self.base.__new__(self.cls))

    def fill(self, new: Any, node: Any, values: list[object]) -> None:
        """Put the values, in the order in which they were read, into an empty copy of a node."""
        raise NotImplementedError

    def keep_attributes(self, node: Any, new: Any) -> Any:
        """Give the new node the attributes and slots of the old one."""
        own = stored_attributes(node)
        if own:
            new.__dict__.update(own)
        for member in self.members:
            try:
                member.__set__(new, member.__get__(node))
            except AttributeError:
                pass
        return new


class _ListKind(NodeKind):
    step: Callable[[Any], Step] = Index

    def items(self, node: Any) -> Iterable[tuple[Any, object]]:
        return enumerate(self.values(node))

    def values(self, node: Any) -> Collection[object]:
        values: Collection[object] = node if type(node) is self.base else list(self.base.__iter__(node))
        return values

    def fill(self, new: Any, node: Any, values: list[object]) -> None:
        self.base.extend(new, values)


class _DequeKind(_ListKind):
    def empty_copy(self, node: Any) -> Any:
        new: Any = deque.__new__(self.cls)
        deque.__init__(new, (), deque.maxlen.__get__(node))
        return self.keep_attributes(node, new)


class TupleKind(_ListKind):
    """Tuples and named tuples, which can't be made before their items are there."""

    def __init__(self, cls: type, base: type) -> None:
        super().__init__(cls, base)
        self.names: tuple[str, ...] | None = getattr(cls, "_fields", None)
        self.step = Index if self.names is None else Attr

    def items(self, node: Any) -> Iterable[tuple[Any, object]]:
        return enumerate(self.values(node)) if self.names is None else zip(self.names, self.values(node), strict=False)

    def rebuild(self, node: Any, values: list[object]) -> Any:
        """Make a node like this one that holds these values."""
        return self.keep_attributes(node, tuple.__new__(self.cls, values))


class _DictKind(NodeKind):
    step = Key

    def items(self, node: Any) -> Iterable[tuple[Any, object]]:
        items: Iterable[tuple[Any, object]] = self.base.items(node)
        return items

    def values(self, node: Any) -> Collection[object]:
        values: Collection[object] = self.base.values(node)
        return values

    def fill(self, new: Any, node: Any, values: list[object]) -> None:
        put = self.base.__setitem__
        for key, value in zip(list(self.base.keys(node)), values, strict=True):
            put(new, key, value)


class _RecordKind(NodeKind):
    """Dataclass and attrs instances; a field that was never set is no child."""

    step = Attr

    def __init__(self, cls: type, base: type) -> None:
        super().__init__(cls, base)
        slots = {member.__name__: member for member in reversed(self.members)}
        self.names = tuple(record_fields(cls) or ())
        self.slots = {name: slots[name] for name in self.names if name in slots}

    def fields(self, node: Any) -> dict[str, object]:
        """Return the fields that are set."""
        stored = stored_attributes(node) or {}
        found: dict[str, object] = {}
        for name in self.names:
            if name in self.slots:
                try:
                    found[name] = self.slots[name].__get__(node)
                except AttributeError:
                    pass
            elif name in stored:
                found[name] = stored[name]
        return found

    def items(self, node: Any) -> Iterable[tuple[Any, object]]:
        return self.fields(node).items()

    def values(self, node: Any) -> Collection[object]:
        return self.fields(node).values()

    def fill(self, new: Any, node: Any, values: list[object]) -> None:
        for name, value in zip(self.fields(node), values, strict=True):
            if name in self.slots:
                self.slots[name].__set__(new, value)
            else:
                new.__dict__[name] = value


_KINDS: dict[type, type[NodeKind]] = {
    list: _ListKind,
    deque: _DequeKind,
    tuple: TupleKind,
    dict: _DictKind,
    OrderedDict: _DictKind,
    defaultdict: _DictKind,
}


@lru_cache(maxsize=1024)
def _kind_of(cls: Any) -> NodeKind | None:
    """Return how nodes of this class are read and made anew; None where its instances are leaves.

    Classes that are a container and a record at once, and those with a layout of their own in C, can't be made anew
    with certainty; members of an enumeration must stay the only ones.
    """
    if issubclass(cls, Placeholder | type) or isinstance(cls, EnumMeta):
        return None
    base, is_record = c_base(cls), record_fields(cls) is not None
    if base is dict and issubclass(cls, OrderedDict):  # made as any dict, but it keeps an order of its own
        base = OrderedDict
    if is_record:
        return _RecordKind(cls, base) if base is object else None
    return _KINDS[base](cls, base) if base in _KINDS else None


kind_of: Callable[[type], NodeKind | None] = _kind_of


def is_leaf(x: object) -> bool:
    """Tell whether x is anything but a list, deque, tuple, dict, named tuple, dataclass or attrs instance."""
    return kind_of(type(x)) is None


def children(node: object) -> list[tuple[Step, object]]:
    """Return the steps to what is directly in this node, and what is there; nothing for a leaf."""
    kind = kind_of(type(node))
    return [] if kind is None else kind.children(node)


def is_array(cls: type) -> bool:
    """Tell whether instances of a class are numpy arrays."""
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return array is not None and issubclass(cls, array)


def is_plain_array(value: Any) -> bool:
    """Tell whether this is a numpy array of numbers and the like that owns its memory."""
    if type(value) is not getattr(sys.modules.get("numpy"), "ndarray", None):
        return False
    flags = value.flags
    return bool(value.base is None and flags.owndata and flags.writeable and flags.forc and not value.dtype.hasobject)


def is_scalar(cls: type) -> bool:
    """Tell whether instances of a class are numpy scalars, which can't be changed; records can."""
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and issubclass(cls, numpy.generic) and not issubclass(cls, numpy.void)


def is_quantity(cls: type) -> bool:
    """Tell whether instances are quantities or units of pint, which belong to a registry of units."""
    return cls.__module__.partition(".")[0] == "pint" and hasattr(cls, "_REGISTRY") and hasattr(cls, "__reduce__")


def is_molecule(cls: type) -> bool:
    """Tell whether instances are molecules of RDKit, whose pickles hold what a setting of the library says."""
    return cls.__module__ == "rdkit.Chem.rdchem" and cls.__name__ in ("Mol", "RWMol")


def is_calculator(cls: type) -> bool:
    """Tell whether instances are calculators of ASE, whose state is what they computed last."""
    return any(base.__module__.startswith("ase.calculators.") and "Calculator" in base.__name__ for base in cls.__mro__)


def is_iterator(cls: type) -> bool:
    """Tell whether instances of a class are used up by reading them; files and mocks are none of them."""
    return issubclass(cls, Iterator) and not issubclass(cls, IOBase) and cls.__module__ != "unittest.mock"


_GENERATOR_NAME = re.compile(r"(Generator|RandomState|Random|Rngs?|RNG|RngStream|PRNG\w*|QMCEngine|SobolEngine)$")
_GENERATOR_MODULE = re.compile(r"(^|\.)_?(random|randomgen|quasirandom|rngs?|rnglib|qmc)(\.|$)|^torch\._C$")
_DRAW = (
    "random", "random_sample", "random_raw", "rand", "randn", "randint", "integers", "uniform", "standard_normal",
)  # fmt: skip
_ADVANCE = (
    "seed", "manual_seed", "reset_from_seed", "get_state", "getstate", "set_state", "setstate", "jumped",
    "fast_forward", "spawn",
)  # fmt: skip


def is_generator(cls: type) -> bool:
    """Tell whether instances of a class give random numbers, and change when they do.

    Generators of other libraries are known by their name and module, or because they have a method that draws and one
    that advances the state.
    """
    if issubclass(cls, random.Random):
        return not issubclass(cls, random.SystemRandom)
    module: Any = sys.modules.get("numpy.random")
    if module is not None and issubclass(cls, (module.Generator, module.RandomState, module.BitGenerator)):
        return True
    if any(_GENERATOR_NAME.search(base.__name__) and _GENERATOR_MODULE.search(base.__module__) for base in cls.__mro__):
        return True
    return all(any(callable(getattr(cls, name, None)) for name in names) for names in (_DRAW, _ADVANCE))


def is_seed(cls: type) -> bool:
    """Tell whether instances give seeds to generators, and other ones each time they spawn."""
    seed = getattr(sys.modules.get("numpy.random"), "SeedSequence", None)
    return seed is not None and issubclass(cls, seed)
