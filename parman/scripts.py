# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pickling what cannot be imported elsewhere: the functions and classes of scripts and notebooks.

cloudpickle does it; here is what it gets wrong or leaves out. Every pickler of the library is derived from this one.
"""

from __future__ import annotations

import io
from types import CodeType
from typing import Any

import cloudpickle  # type: ignore[import-untyped, unused-ignore]

from .classes import reduce_class
from .codes import reduce_code
from .typing_objects import TYPES, reduce_type, subscription

__all__ = ["ScriptPickler", "dumps"]

_SUBSCRIPTION = subscription() or object()


class ScriptPickler(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
    """cloudpickle's, with code that knows its file and classes that are the same on both sides."""

    def reducer_override(self, obj: Any) -> Any:
        """Return what an object becomes in the stream."""
        if type(obj) is CodeType:
            return reduce_code(obj, self.dispatch_table[CodeType](obj))
        if obj is _SUBSCRIPTION:
            return subscription, ()
        reduced = super().reducer_override(obj)
        if reduced is not NotImplemented:
            return reduce_class(obj, reduced) if isinstance(obj, type) else reduced
        return reduce_type(obj) if type(obj) in TYPES else reduced


def dumps(value: object) -> bytes:
    """Pickle a value."""
    file = io.BytesIO()
    ScriptPickler(file, protocol=5).dump(value)
    return file.getvalue()
