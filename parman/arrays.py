# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How numpy arrays are written into snapshots: with all that belongs to them, and big ones beside the stream.

The pickle of numpy knows memory, type and shape. It forgets the attributes of a subclass, whether a mask is hard or
shared, and mostly that an array can't be written.
"""

from __future__ import annotations

import sys
from typing import Any

from .attributes import attributes_of, set_attributes
from .ledgers import BIG
from .maps import file_place, opened_map

__all__ = ["reduce_array"]


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
