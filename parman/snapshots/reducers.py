# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How arrays, memory maps, proxies and correlated variables are written into snapshots, with all that belongs to them.

*numpy arrays.* The pickle of numpy knows memory, type and shape. It forgets the attributes of a subclass, whether a
mask is hard or shared, and mostly that an array can't be written. Big ones lie beside the stream.

*Memory maps* travel as references to their file: what is opened is the same part of it, in the same mode. pickle and
deepcopy would read the file into memory. What numpy notes of a map (its offset and mode) belongs to the map and not to
a slice of it; the place of a slice in the file follows from its address. A copy-on-write map (mode "c") may differ from
its file. It is a reference only as long as it does not.

*Objects that answer for others*: those of classes with a `__getattr__` or `__getattribute__` of their own. pickle asks
the *object* for what it may have to say (`__getnewargs__`, `__setstate__`), also the empty one that it has just made. A
class that hands all attributes on to the object that it holds, `return getattr(self._inner, name)`, looks for `_inner`
in the empty one, does not find it, and so asks itself without end; one that answers everything
(`__getattr__ = dict.get`) answers for pickle. So such an object is written as pickle would write an ordinary one, from
what its *class* says, and filled behind the back of its methods.

*Variables of the library `uncertainties`.* Two results are correlated if they depend on the same variable, and the same
is the same object. A pickle makes an independent one of it. So a variable travels with a token, by which each process
knows the one that it has. The library's objects can't be referred to weakly; of very many variables only the last ones
are known.
"""

from __future__ import annotations

import copyreg
import mmap
import os
import sys
import uuid
from collections import OrderedDict
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from ..trees.nodes import c_base, class_attribute, member_descriptors, stored_attributes
from .attributes import attributes_of, set_attributes
from .cache import BIG

__all__ = [
    "FilePlace",
    "file_place",
    "is_proxy",
    "is_shared_map",
    "is_variable",
    "opened_map",
    "reduce_array",
    "reduce_proxy",
    "reduce_variable",
]


def _as_class(array: Any, cls: type) -> Any:
    return array.view(cls)


def _read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


def reduce_array(obj: Any) -> Any:
    """Return what an array becomes in a stream, as a `reducer_override`."""
    place = file_place(obj) if obj.base is not None else None
    if place is not None:
        return opened_map, (place,)
    numpy: Any = sys.modules["numpy"]
    cls = type(obj)
    if cls is not numpy.ndarray:
        return _reduce_subclass(obj, cls, numpy)
    if not obj.flags.writeable and (obj.dtype.hasobject or not obj.flags.forc):
        return _read_only, (obj.copy("K"),)
    if obj.nbytes < BIG or obj.dtype.hasobject or obj.flags.forc:
        return NotImplemented
    return numpy.ascontiguousarray(obj).__reduce_ex__(5)


def _reduce_subclass(obj: Any, cls: Any, numpy: Any) -> Any:
    masked: Any = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    if masked is not None and isinstance(obj, masked):
        if cls.__reduce__ is not masked.__reduce__:  # as for the constant `masked`
            return NotImplemented
    elif cls.__reduce__ is not numpy.ndarray.__reduce__ or cls.__setstate__ is not numpy.ndarray.__setstate__:
        return NotImplemented
    attributes = {} if issubclass(cls, numpy.memmap) else attributes_of(obj)
    if not attributes and obj.nbytes < BIG:
        return NotImplemented
    plain = numpy.ndarray.view(obj, numpy.ndarray)  # numpy copies the memory of a subclass into the stream
    return _as_class, (plain, cls), attributes or None, None, None, set_attributes


class FilePlace(NamedTuple):
    """A part of a file, seen as an array."""

    filename: str
    mode: str
    start: int
    """Where the part begins in the file [bytes]."""
    size: int
    """Length of the part [bytes]."""
    first: int
    """Where the first item of the array is in the part [bytes]."""
    dtype: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    cls: type


def _root(array: Any) -> Any:
    """Return the memory map that an array is a view of, None if it is none."""
    numpy: Any = sys.modules["numpy"]
    while isinstance(array, numpy.ndarray):
        if isinstance(array, numpy.memmap) and array._mmap is not None:
            return array
        array = array.base
    return None


def _address(memory: Any) -> int:
    numpy: Any = sys.modules["numpy"]
    address: int = numpy.frombuffer(memory, "u1").__array_interface__["data"][0]
    return address


def is_shared_map(array: Any) -> bool:
    """Tell whether an array is a view of a map that all views of the file have in common."""
    root = _root(array)
    return root is not None and root.mode != "c"


def file_place(array: Any) -> FilePlace | None:
    """Return which part of which file an array is; None if it is none, or differs from its file."""
    root = _root(array)
    if root is None or root.filename is None or array.size == 0 or array.dtype.hasobject:
        return None
    steps = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    below = -sum(step for step in steps if step < 0)
    size = below + sum(step for step in steps if step > 0) + array.itemsize
    address = array.__array_interface__["data"][0] - below
    # A map begins at a multiple of this, and numpy notes where the array begins.
    start = root.offset - root.offset % mmap.ALLOCATIONGRANULARITY + address - _address(root._mmap)
    mode = "r+" if root.mode == "w+" else root.mode
    cls = type(array) if type(array) is type(root) else sys.modules["numpy"].ndarray
    place = FilePlace(os.fspath(root.filename), mode, start, size, below, array.dtype, array.shape, array.strides, cls)
    return place if _is_there(place, array) else None


def _is_there(place: FilePlace, array: Any) -> bool:
    try:
        return Path(place.filename).stat().st_size >= place.start + place.size and (
            place.mode != "c" or opened_map(place._replace(mode="r")).tobytes() == array.tobytes()
        )
    except OSError:
        return False


def opened_map(place: FilePlace) -> Any:
    """Map the part of the file, and return the array that it is."""
    numpy: Any = sys.modules.get("numpy") or __import__("numpy")
    whole = numpy.memmap(place.filename, "u1", place.mode, place.start, (place.size,))
    array = numpy.ndarray.__new__(place.cls, place.shape, place.dtype, whole, place.first, place.strides)
    if isinstance(array, numpy.memmap):
        array._mmap, array.filename, array.offset, array.mode = whole._mmap, whole.filename, whole.offset, whole.mode
    return array


_BASES = (object, dict, list, tuple, str, bytes, int, float)
_OWN_WAYS = ("__reduce_ex__", "__reduce__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")


def is_proxy(cls: type) -> bool:
    """Tell whether instances of a class answer for other objects, and are pickled in the ordinary way."""
    answers = class_attribute(cls, "__getattr__") is not None
    if not answers and not isinstance(class_attribute(cls, "__getattribute__"), FunctionType):
        return False
    base = c_base(cls)
    if base not in _BASES or cls in copyreg.dispatch_table:
        return False
    return not any(name in vars(c) for c in cls.__mro__ if c not in (base, object) for name in _OWN_WAYS)


def reduce_proxy(obj: Any, without: frozenset[str]) -> tuple[Any, ...]:
    """Return what `__reduce__` of an ordinary object would, with what fills the new one.

    Parameters
    ----------
    obj
        An instance of a class for which `is_proxy` holds.
    without
        Attributes that are left out.
    """
    cls: Any = type(obj)
    base: Any = c_base(cls)
    arguments = base.__getnewargs__(obj) if hasattr(base, "__getnewargs__") else ()
    items: Any = dict(dict.items(obj)) if base is dict else list(list.__iter__(obj)) if base is list else None
    return _new, (cls, *arguments), (_state(obj, without), items), None, None, _fill


def _state(obj: Any, without: frozenset[str]) -> Any:
    own = class_attribute(type(obj), "__getstate__")
    if isinstance(own, FunctionType):
        return own(obj)
    stored = stored_attributes(obj)
    slots = {}
    for member in member_descriptors(type(obj)):
        try:
            slots[member.__name__] = member.__get__(obj)
        except AttributeError:  # not set
            continue
    return {name: value for name, value in (stored or {}).items() if name not in without}, slots


def _new(cls: Any, *arguments: Any) -> Any:
    return cls.__new__(cls, *arguments)


def _fill(obj: Any, content: tuple[Any, Any]) -> None:
    """Put attributes and items into an object that was just made."""
    state, items = content
    if isinstance(items, dict):
        dict.update(obj, items)
    elif items is not None:
        list.extend(obj, items)
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    stored = stored_attributes(obj)
    members = {member.__name__ for member in member_descriptors(type(obj))}
    # By name: a class that came to another process by value may have its slots in the dict there.
    for name, value in {**(attributes or {}), **(slots or {})}.items():
        if stored is None or name in members:
            object.__setattr__(obj, name, value)
        else:
            stored[name] = value


_MOST = 100_000

# What is done to either is one step in C, so that no lock is needed, which a fork could find held.
_by_token: OrderedDict[str, Any] = OrderedDict()
_tokens: dict[int, str] = {}


def is_variable(cls: type) -> bool:
    """Tell whether instances of a class are independent variables of `uncertainties`."""
    variable = getattr(sys.modules.get("uncertainties.core"), "Variable", None)
    return variable is not None and cls is variable


def reduce_variable(variable: Any) -> Any:
    """Return what a variable becomes in a stream."""
    token = _tokens.get(id(variable)) or _remember(uuid.uuid4().hex, variable)
    return _known, (token, type(variable), variable.nominal_value, variable.std_dev, variable.tag)


def _known(token: str, cls: type, *content: Any) -> Any:
    """Return the variable that this process knows by a token, unless that was changed, else a new one."""
    known = _by_token.get(token)
    if known is None:
        known = cls(*content)
        return _by_token[_remember(token, known)]
    same = repr(content) == repr((known.nominal_value, known.std_dev, known.tag))
    return known if same else cls(*content)


def _remember(token: str, variable: Any) -> str:
    """Remember a variable, unless another thread was faster; return its token."""
    held = _by_token.setdefault(token, variable)
    token = _tokens.setdefault(id(held), token)
    _by_token.setdefault(token, held)
    while len(_by_token) > _MOST:
        _, oldest = _by_token.popitem(last=False)
        _tokens.pop(id(oldest), None)
    return token
