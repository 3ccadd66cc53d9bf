# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Hidden futures: futures in places where they can't be replaced by their values, and what the user is told of them.

A future among the leaves of an argument's tree becomes a value before the task runs. One in a dict's key, a set, an
array of objects, a partial, a closure variable or an attribute of some object would reach the task as it is. Whether
there is one, the copying of the arguments knows at no cost; this module says where it is, and looks into what is
passed by reference and hence never copied.

The search goes breadth first, so that the shortest path is reported, and runs no code of the user: attributes are
read from the dictionary and the slots that an object has, never by `getattr`, items by the methods of the base class
in C. What leads out of the user's data into the machinery (classes, modules, frames, threads, executors, loggers,
Parman's own objects) is not entered.
"""

from __future__ import annotations

import dis
import gc
import sys
from collections import deque
from collections.abc import Callable, ItemsView, Iterable, Iterator, Sequence, ValuesView
from concurrent.futures import Executor, Future
from functools import lru_cache, partial
from itertools import product
from logging import Handler, Logger
from threading import Thread
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FrameType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any, TypeAlias
from weakref import ref

from ..errors import ArgumentError, HiddenFutureError
from ..trees.nodes import (
    ATOMS,
    Attr,
    Index,
    Key,
    Placeholder,
    Step,
    is_generator,
    is_iterator,
    is_seed,
    kind_of,
    record_fields,
)
from ..trees.walk import futures_in, map_leaves, walk
from .cache import SnapshotCache

__all__ = [
    "BUDGET",
    "Place",
    "Trail",
    "beside_children",
    "format_trail",
    "inside",
    "is_searchable",
    "reachable",
    "search",
    "search_function",
    "search_leaves",
    "search_roots",
]

BUDGET = 10_000
"""Objects that one search looks at, apart from numbers, strings and the like."""

Trail: TypeAlias = "tuple[Step | str, ...]"
"""The steps to a future: as in a tree, or text where Python has no expression for the step."""
_Found: TypeAlias = "Iterable[tuple[Step | str, Any]]"
_Reader: TypeAlias = "Callable[[Any], _Found]"
_Entry: TypeAlias = "tuple[object, _Entry | None, Step | str | Trail]"

_CLOSED = (
    type, ModuleType, CodeType, FrameType, TracebackType, Executor, Thread, Logger, Handler,
    MemberDescriptorType, GetSetDescriptorType,
)  # fmt: skip
_IS_COLLECTED = 1 << 14
_IS_PYTHON_CLASS = 1 << 9


def format_trail(name: str, trail: Trail) -> str:
    """Return a place as the user would write it, such as `x['io'][1].cell`."""
    return name + "".join(map(str, trail))


def search(obj: object, budget: int = BUDGET) -> Trail | None:
    """Return the way to a future in an object, None if there is none among the objects looked at.

    The way to an object that is itself a future is empty. Never raises.
    """
    return _Search(budget).run([((), obj)])


def search_roots(roots: list[tuple[Trail, object]], budget: int = BUDGET) -> Trail | None:
    """Do as `search` for several objects, each with the way to it."""
    return _Search(budget).run(roots)


def is_searchable(cls: type) -> bool:
    """Tell whether instances of a class can hold a future, or are futures."""
    return cls not in ATOMS and bool(_readers(cls))


def search_function(function: object, budget: int = BUDGET) -> str | None:
    """Return where a future is in a function's closure, the globals that it loads, or its defaults, such as `y[0]`."""
    roots: list[tuple[Trail, object]] = []
    if type(function) is FunctionType:
        roots += [((name,), value) for name, value in (*_closure(function), *_globals(function))]
    trail = _Search(budget).run([*roots, (("its ",), function)])
    return None if trail is None else format_trail("", trail)


def search_leaves(tree: object, budget: int = BUDGET) -> Trail | None:
    """Return the way to a future in a tree that is anywhere but among the leaves."""
    roots: list[tuple[Trail, object]] = []
    seen: set[int] = set()
    todo: list[tuple[Trail, object]] = [((), tree)]
    while todo:
        trail, node = todo.pop()
        kind = kind_of(type(node))
        if kind is None:
            if type(node) not in ATOMS and not _is_future(node):
                roots.append((trail, node))
        elif id(node) not in seen:
            seen.add(id(node))
            roots.extend(((*trail, step), value) for step, value in beside_children(node))
            if not ATOMS.issuperset(map(type, kind.values(node))):
                todo.extend(((*trail, step), child) for step, child in reversed(kind.children(node)))
    return _Search(budget).run(roots) if roots else None


def beside_children(node: object) -> _Found:
    """Yield what a node of a tree holds apart from its children: keys and attributes."""
    cls = type(node)
    if isinstance(node, dict) and not ATOMS.issuperset(map(type, dict.keys(node))):
        yield from ((".<key>", key) for key in dict.keys(node))
    fields = set(record_fields(cls) or ())
    for reader in _attribute_readers(cls):
        for step, value in _careful(reader(node)):
            if not (isinstance(step, Attr) and step.name in fields):
                yield step, value


def inside(obj: object) -> list[tuple[Step | str, object]]:
    """Return what an object holds directly, numbers, strings and the like included, and the steps to it."""
    found: list[tuple[Step | str, object]] = []
    for reader in _readers(type(obj)):
        found.extend(_careful(reader(obj)))
    return found


def reachable(obj: object, budget: int = BUDGET) -> Iterator[object]:
    """Yield an object and what can be reached from it, also through objects written in C; each of them once."""
    seen = {id(obj): obj}
    queue = deque([obj])
    while queue and budget > 0:
        one = queue.popleft()
        yield one
        parts: Iterable[object] = [part for _, part in inside(one)]
        if not parts and not isinstance(one, _CLOSED) and gc.is_tracked(one):
            parts = gc.get_referents(one)
        for part in parts:
            if type(part) not in ATOMS and not isinstance(part, _CLOSED) and id(part) not in seen:
                seen[id(part)] = part
                budget -= 1
                queue.append(part)


class _Search:
    """One search: what was seen, and how many objects may still be looked at."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.seen: dict[int, object] = {}

    def run(self, roots: list[tuple[Trail, object]]) -> Trail | None:
        entries: list[_Entry] = []
        for trail, obj in roots:
            if _is_future(obj):
                return trail
            entries.append((obj, None, trail))
            self.seen[id(obj)] = obj
        queue = deque(entries)
        while queue and self.budget > 0:
            entry = queue.popleft()
            for new in self.enter(entry):
                if _is_future(new[0]):
                    return _trail(new)
                queue.append(new)
        return None

    def enter(self, entry: _Entry) -> Iterator[_Entry]:
        """Yield what is directly in an object and was not seen before."""
        for reader in _readers(type(entry[0])):
            for step, child in _careful(reader(entry[0])):
                if type(child) in ATOMS or not _readers(type(child)) or id(child) in self.seen:
                    continue
                self.seen[id(child)] = child
                self.budget -= 1
                if self.budget < 0:
                    return
                yield child, entry, step


def _trail(entry: _Entry) -> Trail:
    steps: list[Step | str] = []
    _, above, step = entry
    while above is not None:
        steps.append(step)  # type: ignore[arg-type]
        _, above, step = above
    return (*step, *reversed(steps))  # type: ignore[misc]


def _is_future(obj: object) -> bool:
    return issubclass(type(obj), (Future, Placeholder))


def _careful(found: _Found) -> Iterator[tuple[Step | str, Any]]:
    """Yield what is found until reading fails, as it may for an object that another thread changes."""
    try:
        yield from found
    except Exception:
        return


def _find_readers(cls: type) -> list[_Reader]:
    """Return the functions that read what an instance of this class holds; none for a closed class."""
    if issubclass(cls, (Future, Placeholder)):
        return [_nothing]
    if cls in ATOMS or issubclass(cls, _CLOSED):
        return []
    if getattr(cls, "__parman_task__", False):
        return [_wrapped]
    if cls.__module__.partition(".")[0] == "parman":
        return []
    readers = [reader for base, reader in _READERS if issubclass(cls, base)]
    readers += _array_readers(cls) + _frame_readers(cls)
    readers += _attribute_readers(cls)
    if not readers and cls.__flags__ & _IS_COLLECTED and not cls.__flags__ & _IS_PYTHON_CLASS:
        readers.append(_referents)
    return readers


def _array_readers(cls: type) -> list[_Reader]:
    numpy = sys.modules.get("numpy")
    array = getattr(numpy, "ndarray", None)
    if array is None or not issubclass(cls, (array, numpy.void)):  # type: ignore[union-attr]
        return []
    return [_array] if issubclass(cls, array) else [_array_record]


def _frame_readers(cls: type) -> list[_Reader]:
    if cls.__module__.partition(".")[0] != "pandas":  # as is that of all of its own classes, and few have subclasses
        return []
    pandas: Any = sys.modules["pandas"]
    if issubclass(cls, pandas.DataFrame):
        return [_frame]
    return [_column] if issubclass(cls, (pandas.Series, pandas.Index)) else []


def _find_attribute_readers(cls: type) -> list[_Reader]:
    slots = []
    stored = None
    for base in cls.__mro__:
        for name, descriptor in vars(base).items():
            if name == "__dict__" and type(descriptor) in (GetSetDescriptorType, MemberDescriptorType):
                stored = descriptor
            elif type(descriptor) is MemberDescriptorType and not name.startswith("__"):  # as a function's globals
                slots.append((Attr(name), descriptor))
    readers: list[_Reader] = [partial(_stored, stored)] if stored is not None else []
    return [*readers, partial(_slots, slots)] if slots else readers


def _nothing(obj: object) -> _Found:
    return ()


def _stored(descriptor: Any, obj: object) -> _Found:
    try:
        attributes = descriptor.__get__(obj)
    except Exception:  # of a proxy in C, which asks what it stands for
        return ()
    return [(Attr(name), value) for name, value in dict.items(attributes)] if attributes else ()


def _slots(descriptors: list[tuple[Attr, Any]], obj: object) -> _Found:
    for step, descriptor in descriptors:
        try:
            yield step, descriptor.__get__(obj)
        except AttributeError:
            continue


def _dict(obj: dict[object, object]) -> _Found:
    if not ATOMS.issuperset(map(type, dict.keys(obj))):
        yield from ((".<key>", key) for key in dict.keys(obj))
    if not ATOMS.issuperset(map(type, dict.values(obj))):
        yield from ((Key(key), value) for key, value in dict.items(obj))


def _tuple(obj: tuple[object, ...]) -> _Found:
    names = getattr(type(obj), "_fields", None)
    if names is None:
        return _sequence(tuple, obj)
    return [(Attr(name), item) for name, item in zip(names, tuple.__iter__(obj), strict=False)]


def _sequence(base: Any, obj: Any) -> _Found:
    if ATOMS.issuperset(map(type, base.__iter__(obj))):
        return ()
    return ((Index(position), item) for position, item in enumerate(base.__iter__(obj)))


def _set(base: Any, obj: Any) -> _Found:
    if ATOMS.issuperset(map(type, base.__iter__(obj))):
        return ()
    return ((".<item>", item) for item in base.__iter__(obj))


def _array(obj: Any) -> _Found:
    numpy = sys.modules["numpy"]
    plain = numpy.ndarray.view(obj, numpy.ndarray)
    if not plain.dtype.hasobject:
        return
    places = product(*map(range, plain.shape))
    for place, item in zip(places, plain.flat, strict=False):
        if type(item) not in ATOMS:
            step = ", ".join(map(str, place)) or "()"
            yield f"[{step}]", item.item() if isinstance(item, numpy.void) else item


def _array_record(obj: Any) -> _Found:
    return ((Key(name), obj[name]) for name in obj.dtype.names or () if obj.dtype[name].hasobject)


def _frame(obj: Any) -> _Found:
    return ((Key(name), column) for name, column in obj.items() if column.dtype == object)


def _column(obj: Any) -> _Found:
    if obj.dtype == object:
        yield ".values", obj.to_numpy()


def _method(obj: Any) -> _Found:
    yield ".__self__", obj.__self__
    yield ".__func__", obj.__func__


def _builtin(obj: Any) -> _Found:
    yield ".__self__", obj.__self__


def _function(obj: FunctionType) -> _Found:
    yield from ((f".<closure>.{name}", value) for name, value in _closure(obj))
    if obj.__module__ == "__main__" or "<" in obj.__qualname__:  # it would be pickled with its globals
        yield from ((f".<global>.{name}", value) for name, value in _globals(obj))
    yield ".__defaults__", obj.__defaults__
    yield ".__kwdefaults__", obj.__kwdefaults__


def _closure(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the variables of the functions around it that a function uses."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        yield from ((name, value) for _, value in _cell(cell))


def _cell(obj: CellType) -> _Found:
    try:
        yield ".cell_contents", obj.cell_contents
    except ValueError:  # not filled yet
        return


def _wrapped(obj: Any) -> _Found:
    yield "", obj.__wrapped__


def _reference(obj: Any) -> _Found:
    yield "()", ref.__call__(obj)


def _exception(obj: Any) -> _Found:
    yield ".args", BaseException.args.__get__(obj)  # type: ignore[attr-defined]
    yield ".__cause__", obj.__cause__


def _referents(obj: object) -> _Found:
    return ((".<inside>", item) for item in gc.get_referents(obj))


_READERS: list[tuple[type, _Reader]] = [
    (dict, _dict),
    (tuple, _tuple),
    (list, partial(_sequence, list)),
    (set, partial(_set, set)),
    (frozenset, partial(_set, frozenset)),
    (deque, partial(_sequence, deque)),
    (MethodType, _method),
    (BuiltinFunctionType, _builtin),
    (FunctionType, _function),
    (CellType, _cell),
    (ref, _reference),
    (BaseException, _exception),
]


_readers: Callable[[type], list[_Reader]] = lru_cache(maxsize=4096)(_find_readers)
_attribute_readers: Callable[[type], list[_Reader]] = lru_cache(maxsize=4096)(_find_attribute_readers)


def _globals(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the globals that a function, or a function in it, loads by name."""
    names = _loaded(function.__code__)
    return ((name, function.__globals__[name]) for name in names if name in function.__globals__)


@lru_cache(maxsize=1024)
def _loaded(code: CodeType) -> tuple[str, ...]:
    names = [i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    within = [name for constant in code.co_consts if isinstance(constant, CodeType) for name in _loaded(constant)]
    return tuple(dict.fromkeys(names + within))


class Place:
    """A value of which a snapshot is taken, and how places in it are named.

    Parameters
    ----------
    value
        The value; a dict of arguments if the label ends with "()".
    label
        What the value is.
    """

    def __init__(self, value: object, label: str) -> None:
        self.value = value
        self.label = label
        self.is_call = label.endswith("()") and isinstance(value, dict)

    def format(self, trail: Trail) -> str:
        """Return a place as the user would write it."""
        if self.is_call and trail and isinstance(trail[0], Key):
            return format_trail(str(trail[0].key), trail[1:])
        return format_trail("<somewhere>" if self.is_call else self.label or "the value", trail)

    def error(self, text: str, cls: type[ArgumentError] = ArgumentError) -> ArgumentError:
        """Make an error that names the function and the place."""
        return cls(f"{self.label}: argument {text}" if self.is_call else text)

    # --- futures ---

    def check_futures(
        self,
        futures: Sequence[Future[Any]],
        references: Sequence[object],
        *,
        placeholders: bool = False,
        views: bool = False,
    ) -> None:
        """Raise an error if any future is elsewhere than among the leaves of the tree.

        Parameters
        ----------
        futures
            All that were met when the value was copied.
        references
            What was not copied.
        stand_ins, views
            Whether any placeholder, view of a dict's values was met.
        """
        tree = map_leaves(_opened, self.value) if views else self.value
        proper = {id(future) for future in _proper(tree, placeholders)} if futures else set()
        strangers = [future for future in futures if id(future) not in proper]
        if not futures and all(search(obj) is None for obj in references):
            return
        trail = search_leaves(tree)
        if trail is not None:
            raise self.error(f"{self.format(trail)} is a future {_OUT_OF_REACH}", HiddenFutureError)
        if strangers:
            raise self.error(f"{self._holder()} holds a future somewhere {_OUT_OF_REACH}", HiddenFutureError)

    def _holder(self) -> str:
        """Return the argument that has a future somewhere, however deep."""
        for name, value in self.value.items() if self.is_call else ():  # type: ignore[attr-defined]
            if search_leaves(value, budget=1_000_000) is not None:
                return str(name)
        return self.format(())

    # --- iterators and random generators ---

    def check_iterators(self) -> None:
        """Raise an error if any leaf is used up by reading it."""
        for trail, leaf in walk(self.value):
            if is_iterator(type(leaf)):
                raise self.error(
                    f"{self.format(trail)} is {_a(leaf)}, which is used up by the first to read it, while each task "
                    "has a copy of its own; pass a list"
                )

    def check_generators(self, cache: SnapshotCache) -> None:
        """Raise an error if any leaf is a random generator that an earlier call was given."""
        leaves = [(trail, leaf) for trail, leaf in walk(self.value) if is_generator(type(leaf))]
        passed = cache.pass_generators([leaf for _, leaf in leaves])
        for trail, leaf in leaves:
            if leaf is passed:
                raise self.error(
                    f"{self.format(trail)} is a random generator that an earlier call was given: both calls would see "
                    f"the same numbers; give each call one of its own, {_one_each(leaf)}"
                )

    def seeds_again(self, cache: SnapshotCache) -> Iterator[str]:
        """Yield the places of sequences of seeds that an earlier call was given."""
        leaves = [(trail, leaf) for trail, leaf in walk(self.value) if is_seed(type(leaf))]
        passed = cache.pass_generators([leaf for _, leaf in leaves])
        yield from (self.format(trail) for trail, leaf in leaves if leaf is passed)


def _opened(leaf: object) -> object:
    """Return the values that a view of a dict shows, which are replaced as if they were in a list."""
    if isinstance(leaf, ItemsView):
        return map_leaves(_opened, [value for _, value in leaf])
    return map_leaves(_opened, list(leaf)) if isinstance(leaf, ValuesView) else leaf


def _proper(tree: object, placeholders: bool) -> Iterator[Future[Any]]:
    """Yield the futures that will be replaced by their values."""
    for _, future in futures_in(tree):
        yield future
    for _, leaf in walk(tree) if placeholders else ():
        if issubclass(type(leaf), Placeholder):
            whole, changes = leaf._parman_pass()  # type: ignore[attr-defined]
            yield whole
            yield from _proper(changes, placeholders)


_OUT_OF_REACH = (
    "where it can't be found and replaced by its value; resolve() it, "
    "or pass it as an argument or in a list, tuple or dict value"
)


def _a(leaf: object) -> str:
    name = type(leaf).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _one_each(generator: object) -> str:
    return "as from rng.spawn(n)" if hasattr(generator, "spawn") else "with a seed of its own"
