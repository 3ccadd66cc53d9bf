# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Writing snapshots: what each kind of object becomes in the stream, and what is noted of it on the way.

Both picklers work in C and ask their `reducer_override` for every object that is no number, string or plain
container. It looks up the object's class: nearly always the answer is "as usual". The exceptions are futures (slots),
placeholders, shares, arrays (big ones beside the stream, maps as references to their file) and, for copies within the
process, whatever is passed by reference: functions, classes, modules.

Only a `persistent_id` sees strings and plain containers, and is called for every object, numbers too. Such a
pickler is used for a second attempt, after the first met a string so big that it should not be copied, or failed.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, ItemsView, KeysView, ValuesView
from concurrent.futures import Future
from enum import Enum
from functools import cached_property, lru_cache
from importlib import import_module
from io import TextIOWrapper
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias
from weakref import CallableProxyType, ProxyType, ref

from ..trees.nodes import (
    ATOMS,
    Placeholder,
    is_array,
    is_calculator,
    is_generator,
    is_iterator,
    is_molecule,
    is_plain_array,
    is_quantity,
    is_scalar,
    is_seed,
)
from .attributes import (
    AsItIs,
    attributes_of,
    cached_names,
    is_cache,
    is_copied_by_itself,
    may_forget,
    reduced_with,
    set_attributes,
)
from .buffers import Buffer
from .cache import BIG, SnapshotCache
from .classes import is_prepared_struct, reduce_prepared_struct
from .code import ScriptPickler
from .exceptions import is_made_again, reduce_exception
from .hidden import reachable
from .lazy_attributes import Filled
from .reducers import is_proxy, is_shared_map, is_variable, reduce_array, reduce_proxy, reduce_variable
from .share import Share
from .snapshot import Held, HeldArray, HeldObject, Snapshot, decoded, given, with_fields

__all__ = ["Record", "Writer", "write_in_process", "write_pickled"]

_Handler: TypeAlias = "Callable[[Record, Any], Any]"
"""Returns for an object what `__reduce__` would, or `NotImplemented`."""


class Record:
    """What is met while a stream is written.

    Attributes
    ----------
    beside, futures, shares
        As in `Snapshot`.
    comparing
        The stream is compared and then dropped, so that small arrays need not be copied.
    without_cached
        Leave the values of caches out, so that computing one does not look like a change.
    filled
        What is left out besides, object by object.
    searchable
        Objects passed by reference that may hold futures.
    stand_ins, views, iterators, generators, seeds
        Whether any placeholder, view of a dict's values, iterator, random generator, sequence of seeds was met.
    suspects
        Objects whose pickles may forget something, and that were not compared.
    copies
        The memo of objects that are copied by themselves: what several of them hold stays one object.
    """

    def __init__(
        self,
        cache: SnapshotCache,
        *,
        comparing: bool = False,
        without_cached: bool = False,
        filled: Filled | None = None,
    ) -> None:
        self.cache = cache
        self.comparing = comparing
        self.without_cached = without_cached
        self.filled = filled or {}
        self.beside: list[Buffer | Held | int] = []
        self.futures: list[Future[Any]] = []
        self.shares: list[Share] = []
        self.searchable: list[object] = []
        self.placeholders = False
        self.views = False
        self.iterators = False
        self.generators = False
        self.seeds = False
        self.suspects: list[object] = []
        self.copies: dict[int, Any] = {}
        self._next: Held | int | None = None

    def reduced(self, item: Held | int) -> tuple[Callable[[Any], Any], tuple[pickle.PickleBuffer]]:
        """Reduce an object to what lies beside the stream."""
        self._next = item
        return given, (pickle.PickleBuffer(_MARK),)

    def meet_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Put a mark or a big buffer beside the stream; a small buffer goes into it."""
        if self._next is not None:
            self.beside.append(self._next)
            self._next = None
            return False
        view = buffer.raw()
        if view.nbytes < BIG:
            return True
        self.beside.append(self.cache.keep(view))
        return False


_MARK = bytearray(1)


# --- what is done with an object of each class ---


def _refer(record: Record, obj: Any) -> Any:
    return record.reduced(Held(obj))


def _refer_and_search(record: Record, obj: Any) -> Any:
    record.searchable.append(obj)
    return record.reduced(Held(obj))


def _refer_to_function(record: Record, obj: FunctionType) -> Any:
    if obj is given:
        return NotImplemented
    if obj.__closure__ or obj.__defaults__ or obj.__kwdefaults__ or obj.__dict__ or obj.__module__ == "__main__":
        record.searchable.append(obj)
    return record.reduced(Held(obj))


def _refer_to_builtin(record: Record, obj: Any) -> Any:
    owner = obj.__self__
    return _refer(record, obj) if owner is None or type(owner) is ModuleType else NotImplemented


def _bind_again(record: Record, obj: MethodType) -> Any:
    return MethodType, (obj.__func__, obj.__self__)


def _leave_slot(record: Record, obj: Future[Any]) -> Any:
    record.futures.append(obj)
    return record.reduced(len(record.futures) - 1)


def _pass_whole(record: Record, obj: Any) -> Any:
    record.placeholders = True
    return with_fields, obj._parman_pass()


def _share_value(record: Record, obj: Share) -> Any:
    record.shares.append(obj)
    return record.reduced(Held(obj.value))


def _share_token(record: Record, obj: Share) -> Any:
    record.shares.append(obj)
    return NotImplemented


def _make_without_preparing(record: Record, obj: Any) -> Any:
    return reduce_prepared_struct(obj)


def _note_iterator(record: Record, obj: Any) -> Any:
    record.iterators = True
    return NotImplemented


def _keys_of(keys: list[Any]) -> Any:
    return dict.fromkeys(keys).keys()


def _reduce_keys(record: Record, obj: Any) -> Any:
    """Write a view of keys without the values, among which futures may be."""
    return _keys_of, (list(obj),)


def _values_of(values: list[Any]) -> Any:
    return dict(enumerate(values)).values()


def _items_of(items: list[Any]) -> Any:
    return dict(items).items()


def _reduce_values(record: Record, obj: Any) -> Any:
    record.views = True
    return _values_of, (list(obj),)


def _reduce_items(record: Record, obj: Any) -> Any:
    record.views = True
    return _items_of, (list(obj),)


def _note_generator(record: Record, obj: Any) -> Any:
    record.generators = True
    return NotImplemented


def _note_seed(record: Record, obj: Any) -> Any:
    record.seeds = True
    return NotImplemented


def _reduce_ours(record: Record, obj: Any) -> Any:
    return type(obj).__parman_reduce__(obj)


def _cached_again(function: Any, parameters: dict[str, Any]) -> Any:
    return lru_cache(**parameters)(function)


def _reduce_cached_function(record: Record, obj: Any) -> Any:
    """Send a function of a script under `lru_cache` with an empty cache; it would go by name, which may be a task's."""
    if obj.__module__ != "__main__" and "<" not in obj.__qualname__:
        return NotImplemented
    return _cached_again, (obj.__wrapped__, obj.cache_parameters())


def _reduce_cached_property(record: Record, obj: Any) -> Any:
    """Send the cached property of a script's class without the lock that it has in Python 3.11."""
    return cached_property, (obj.func,), {"attrname": obj.attrname}


def _refuse_file(record: Record, obj: Any) -> Any:
    """Refuse a file, of which cloudpickle would send the text, but not the standard streams that every process has."""
    for name in ("stdout", "stderr"):
        if obj is getattr(sys, name):
            return getattr, (sys, name)
    raise TypeError(f"cannot pickle '{type(obj).__name__}' object")


def _reduce_array_here(record: Record, obj: Any) -> Any:
    if obj.base is not None and is_shared_map(obj):
        return _refer(record, obj)
    if (
        type(obj) is not sys.modules["numpy"].ndarray
        or obj.nbytes >= BIG
        or obj.dtype.hasobject
        or not obj.flags.writeable
    ):
        return _reduce_array(record, obj)
    return record.reduced(HeldArray(obj if record.comparing else obj.copy("K")))


def _reduce_array(record: Record, obj: Any) -> Any:
    if record.without_cached and "_fill_value" in getattr(obj, "__dict__", ()):
        obj.fill_value  # noqa: B018 (a masked array computes it when it is asked for the first time)
    reduced = reduce_array(obj)
    return _carry_the_rest(record, obj) if reduced is NotImplemented and may_forget(type(obj)) else reduced


def _carry_the_rest(record: Record, obj: Any) -> Any:
    """Carry what the pickle of a class forgets, as far as that is known."""
    forgotten = record.cache.forgotten
    if not forgotten.is_known(obj):
        record.suspects.append(obj)
    names = forgotten.carried.get(type(obj))
    if record.without_cached:
        return _as_usual(obj)
    return reduced_with(obj, names) if names else NotImplemented


def _copy_by_itself(record: Record, obj: Any) -> Any:
    """Hold a copy that the class of an object makes."""
    record.searchable.append(obj)
    if record.without_cached:
        return NotImplemented
    if record.comparing:
        return record.reduced(HeldObject(obj, {}))
    return record.reduced(HeldObject.of(obj, record.copies, _big_arrays(record, obj)))


def _big_arrays(record: Record, obj: Any) -> dict[int, tuple[Buffer, Any]]:
    """Hold the big arrays in an object as everywhere: once, and mapped by each copy."""
    arrays: list[Any] = [one for one in reachable(obj, 1000) if is_plain_array(one)]
    arrays = [one for one in arrays if one.nbytes >= BIG]
    return {id(one): (record.cache.keep(pickle.PickleBuffer(one).raw()), one) for one in arrays}


def _refer_to_value(record: Record, obj: AsItIs) -> Any:
    record.searchable.append(obj.value)
    return record.reduced(Held(obj.value))


def _reduce_proxy(record: Record, obj: Any) -> Any:
    cls: Any = type(obj)
    return reduce_proxy(obj, cached_names(cls) if record.without_cached else frozenset())


def _reduce_module(record: Record, obj: Any) -> Any:
    """Send a module of a class of its own, as lazy ones are, by its name, without having it loaded."""
    name = ModuleType.__getattribute__(obj, "__dict__").get("__name__")
    return (import_module, (name,)) if sys.modules.get(name) is obj else NotImplemented


def _as_usual(obj: Any) -> Any:
    """Reduce an object as pickle would; a calculator to its class."""
    if is_calculator(type(obj)):
        return type, (None,)
    reduce = copyreg.dispatch_table.get(type(obj))
    return obj.__reduce_ex__(5) if reduce is None else reduce(obj)


def _without_caches(obj: Any, reduced: Any, names: Collection[str]) -> Any:
    """Leave out of what an object is reduced to what it has computed from the rest and keeps."""
    if not isinstance(reduced, tuple) or len(reduced) < 3:
        return reduced
    cls: Any = type(obj)
    cached = cached_names(cls)

    def without(state: Any) -> Any:
        if type(state) is tuple:  # of attributes and slots, or with attributes somewhere, as a class likes it
            parts = [without(part) if type(part) is dict else part for part in state]
            while parts and parts[-1] is None:  # there is no dict or slots at all where none is set
                parts.pop()
            return tuple(parts) if len(parts) > 1 else parts[0] if parts else None
        if not isinstance(state, dict):
            return state
        return {
            name: value
            for name, value in state.items()
            if not (type(name) is str and (name in names or name in cached or is_cache(name)))
        } or None  # as if nothing had ever been set

    return (*reduced[:2], without(reduced[2]), *reduced[3:])


def _blank(cls: type) -> Any:
    return object.__new__(cls)


def _reduce_quantity(record: Record, obj: Any) -> Any:
    """Keep the class, and with it the registry of units; a pickle names that of the application."""
    return _blank, (type(obj),), attributes_of(obj), None, None, set_attributes


def _reduce_molecule(record: Record, obj: Any) -> Any:
    """Keep all properties, and coordinates in full."""
    chemistry: Any = sys.modules["rdkit.Chem.rdchem"]
    options = chemistry.PropertyPickleOptions
    kept = int(options.AllProps) | int(getattr(options, "CoordsAsDouble", 0))
    return type(obj), (obj.ToBinary(kept),), attributes_of(obj) or None, None, None, set_attributes


def _reduce_exception(record: Record, obj: Any) -> Any:
    return reduce_exception(obj)


def _reduce_variable(record: Record, obj: Any) -> Any:
    return reduce_variable(obj)


_VIEWS: dict[type, _Handler] = {
    type({}.keys()): _reduce_keys,
    type(OrderedDict().keys()): _reduce_keys,
    KeysView: _reduce_keys,
    type({}.values()): _reduce_values,
    type(OrderedDict().values()): _reduce_values,
    ValuesView: _reduce_values,
    type({}.items()): _reduce_items,
    type(OrderedDict().items()): _reduce_items,
    ItemsView: _reduce_items,
}
_CachedFunction = type(lru_cache(len))
_BY_REFERENCE = (type, ModuleType, CodeType, Enum)
_IMMUTABLE = (ATOMS - {slice}) | {object, PosixPath, WindowsPath, PurePosixPath, PureWindowsPath}


def _common_handler(cls: type) -> _Handler | None:
    if issubclass(cls, Future):
        return _leave_slot
    if issubclass(cls, Placeholder):
        return _pass_whole
    if is_prepared_struct(cls):
        return _make_without_preparing
    if cls in _VIEWS:
        return _VIEWS[cls]
    if is_generator(cls):
        return _note_generator
    if is_seed(cls):
        return _note_seed
    if is_iterator(cls):
        return _note_iterator
    return None


def _choose_in_process(cls: type) -> _Handler | None:
    """Return what is done with instances of a class; None is as usual, which most are."""
    if cls is FunctionType:
        return _refer_to_function
    if cls is BuiltinFunctionType:
        return _refer_to_builtin
    if cls is MethodType:
        return _bind_again
    if cls in _IMMUTABLE or issubclass(cls, _BY_REFERENCE) or is_scalar(cls) or is_variable(cls):
        return _refer
    if getattr(cls, "__parman_task__", False) or issubclass(cls, (ref, ProxyType, CallableProxyType, BaseException)):
        return _refer_and_search
    if getattr(cls, "__parman_share__", False):
        return _share_value
    common = _common_handler(cls)
    if common is not None:
        return common
    if is_array(cls) and not is_copied_by_itself(cls):
        return _reduce_array_here
    if cls is AsItIs:
        return _refer_to_value
    if is_quantity(cls):
        return _reduce_quantity
    if is_copied_by_itself(cls):
        return _copy_by_itself
    if is_proxy(cls):
        return _reduce_proxy
    return _carry_the_rest if may_forget(cls) else None


def _choose_pickled(cls: type) -> _Handler | None:
    """Return what is done with instances of a class; None leaves it to cloudpickle."""
    if hasattr(cls, "__parman_reduce__"):
        return _reduce_ours  # cloudpickle would take a task for the function that it wraps
    if getattr(cls, "__parman_share__", False):
        return _share_token
    if cls is _CachedFunction:
        return _reduce_cached_function
    if cls is cached_property:
        return _reduce_cached_property
    if issubclass(cls, TextIOWrapper):
        return _refuse_file
    if issubclass(cls, BaseException) and is_made_again(cls):
        return _reduce_exception
    if is_molecule(cls):
        return _reduce_molecule
    if is_variable(cls):
        return _reduce_variable
    if issubclass(cls, ModuleType) and cls is not ModuleType and cls.__reduce__ is object.__reduce__:
        return _reduce_module
    common = _common_handler(cls) or (_reduce_array if is_array(cls) else None)
    if common is None and is_proxy(cls):
        return _reduce_proxy
    return common or (_carry_the_rest if may_forget(cls) else None)


_handler_in_process: Callable[[type], _Handler | None] = lru_cache(maxsize=4096)(_choose_in_process)
_handler_pickled: Callable[[type], _Handler | None] = lru_cache(maxsize=4096)(_choose_pickled)


# --- the picklers ---


class InProcessPickler(pickle.Pickler):
    """Writes snapshots that are read in the same process."""

    def __init__(self, file: _Sink, record: Record) -> None:
        super().__init__(file, 5, buffer_callback=record.meet_buffer)
        self.record: Record = record

    def reducer_override(self, obj: Any) -> Any:
        """Return what an object becomes in the stream."""
        handler = _handler_in_process(type(obj))
        return NotImplemented if handler is None else handler(self.record, obj)


_NOT_FILLED: tuple[None, frozenset[str]] = (None, frozenset())


class _CarefulPickler(InProcessPickler):
    """Leaves caches out, if so told."""

    def reducer_override(self, obj: Any) -> Any:
        handler = _handler_in_process(type(obj))
        record = self.record
        reduced = NotImplemented if handler is None else handler(record, obj)
        if not record.without_cached:
            return reduced
        if reduced is NotImplemented and handler is not _refer_to_function and not is_array(type(obj)):
            reduced = _as_usual(obj)
        return _without_caches(obj, reduced, record.filled.get(id(obj), _NOT_FILLED)[1])


class PickledPickler(ScriptPickler):
    """Writes snapshots that can be read in other processes."""

    def __init__(self, file: _Sink, record: Record) -> None:
        super().__init__(file, 5, buffer_callback=record.meet_buffer)
        self.record = record

    def reducer_override(self, obj: Any) -> Any:
        """Return what an object becomes in the stream."""
        handler = _handler_pickled(type(obj))
        if handler is not None:
            reduced = handler(self.record, obj)
            if reduced is not NotImplemented or handler is not _carry_the_rest:
                return reduced
        return super().reducer_override(obj)


class _Persistent:
    """What both picklers do in a second attempt: big strings and chosen objects lie beside the stream."""

    record: Record
    as_they_are: Collection[int]
    strings_by_reference: bool

    def persistent_id(self, obj: Any) -> Any:
        cls = type(obj)
        if cls in _STRINGS and len(obj) >= BIG:
            return self.big_string(obj)
        if id(obj) in self.as_they_are:
            self.record.searchable.append(obj)
            return self.record.reduced(Held(obj))
        return None

    def big_string(self, obj: Any) -> Any:
        record = self.record
        if type(obj) is not bytearray and self.strings_by_reference:
            return record.reduced(record.cache.keep_string(obj))
        content = obj.encode("utf-8", "surrogatepass") if type(obj) is str else obj
        make = decoded if type(obj) is str else type(obj)
        return make, (pickle.PickleBuffer(content),)


_STRINGS = frozenset({str, bytes, bytearray})


class _PersistentInProcess(_Persistent, _CarefulPickler):
    strings_by_reference = True


class _PersistentPickled(_Persistent, PickledPickler):
    strings_by_reference = False


class _Sink:
    """A file that keeps what is written to it in pieces: a big string is a piece of its own."""

    def __init__(self) -> None:
        self.pieces: list[Any] = []  # bytes, or the memory of an array too small to lie beside the stream
        self.write = self.pieces.append

    def has_big_strings(self) -> bool:
        return len(self.pieces) > 1 and any(type(piece) in _STRINGS and len(piece) >= BIG for piece in self.pieces)


Writer: TypeAlias = "Callable[[object, SnapshotCache, Collection[int]], tuple[Snapshot, Record]]"
"""Writes a value; the objects with these identities are passed as they are."""


def write_in_process(
    value: object,
    cache: SnapshotCache,
    as_they_are: Collection[int] = (),
    *,
    comparing: bool = False,
    without_cached: bool = False,
    filled: Filled | None = None,
) -> tuple[Snapshot, Record]:
    """Make a snapshot for use in this process; see `Record` for the rest."""
    if not as_they_are:
        sink, record = _Sink(), Record(cache, comparing=comparing, without_cached=without_cached, filled=filled)
        (_CarefulPickler if without_cached else InProcessPickler)(sink, record).dump(value)
        if not sink.has_big_strings():
            return _snapshot(sink, record), record
    sink, record = _Sink(), Record(cache, comparing=comparing, without_cached=without_cached, filled=filled)
    return _second(_PersistentInProcess(sink, record), value, sink, as_they_are)


def write_pickled(value: object, cache: SnapshotCache, as_they_are: Collection[int] = ()) -> tuple[Snapshot, Record]:
    """Make a snapshot that can travel to other processes."""
    sink, record = _Sink(), Record(cache)
    PickledPickler(sink, record).dump(value)
    if not sink.has_big_strings():
        return _snapshot(sink, record), record
    sink, record = _Sink(), Record(cache)
    return _second(_PersistentPickled(sink, record), value, sink, as_they_are)


def _second(pickler: Any, value: object, sink: _Sink, as_they_are: Collection[int]) -> tuple[Snapshot, Record]:
    pickler.as_they_are = as_they_are
    pickler.dump(value)
    return _snapshot(sink, pickler.record, has_big_strings=True), pickler.record


def _snapshot(sink: _Sink, record: Record, *, has_big_strings: bool = False) -> Snapshot:
    stream = sink.pieces[0] if len(sink.pieces) == 1 else b"".join(sink.pieces)
    return Snapshot(stream, tuple(record.beside), tuple(record.futures), tuple(record.shares), has_big_strings)
