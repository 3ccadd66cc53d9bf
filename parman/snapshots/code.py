# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Functions of scripts and notebooks that travel, and the lines of their files.

cloudpickle pickles what cannot be imported elsewhere; here is what it gets wrong or leaves out. Every pickler of the
library is derived from `ScriptPickler`.

A traceback, a warning, a log record and `inspect` take the name of the file from the code object, and the lines from
`linecache`. In a worker the lines on the disk may be others (the user has edited the script meanwhile), or there is no
such file (a notebook cell). So a task brings along the lines that the driver knows, once to each worker; the lines of
what is no file go along with any code.
"""

from __future__ import annotations

import io
import linecache
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped, unused-ignore]

from .classes import TYPES, reduce_class, reduce_parametrised, reduce_type, subscription

__all__ = ["ScriptPickler", "Source", "dumps", "file_sources", "learn_sources", "reduce_code"]

_MOST_WRAPPERS = 100
_OURS = "parman."
_LONGEST = 4_000_000
"""Files whose text is longer stay at home [characters]."""


class Source(NamedTuple):
    """The lines of a file, or of what has the name of one.

    Attributes
    ----------
    name
        The name that code objects have for it.
    content
        The text, compressed.
    is_file
        Whether there is such a file.
    process
        The number of the process that sends it.
    """

    name: str
    content: bytes
    is_file: bool
    process: int


_known: dict[str, tuple[list[str], Source]] = {}
"""What was sent from here, with the lines as `linecache` had them."""
_learned: dict[str, tuple[list[str], Source]] = {}
"""What came from elsewhere, with the lines as they were given to `linecache`."""


def reduce_code(code: CodeType, usual: tuple[Any, tuple[Any, ...]]) -> tuple[Any, tuple[Any, ...]]:
    """Return what a code object becomes in a stream: what is usual, and the name of its file beside it.

    Some releases of cloudpickle leave the name out. The code objects of functions inside are written one by one, so
    that a function and the one that made it share them still.
    """
    source = _source_of(code.co_filename)
    return _code_again, (usual, code.co_filename, None if source is None or source.is_file else source)


def _code_again(usual: tuple[Any, tuple[Any, ...]], name: str, source: Source | None) -> CodeType:
    make, args = usual
    if source is not None:
        learn_sources([source])
    code: CodeType = make(*args)
    return code.replace(co_filename=name)


def file_sources(function: Any) -> list[Source]:
    """Return the lines of the files in which a function stands, and those that are wrapped in it."""
    found: dict[str, Source] = {}
    for one in _wrapped(function):
        code = getattr(one, "__code__", None)
        if not isinstance(code, CodeType) or str(one.__module__).startswith(_OURS):
            continue
        source = _source_of(code.co_filename, one.__globals__)
        if source is not None and source.is_file:
            found[source.name] = source
    return list(found.values())


def _wrapped(function: Any) -> Iterator[Any]:
    """Yield a callable, and what is wrapped in it by `functools.wraps`, `partial` and the like."""
    for _ in range(_MOST_WRAPPERS):
        yield function
        if not isinstance(function, FunctionType | type):
            yield getattr(type(function), "__call__", None)  # noqa: B004
        attributes = getattr(function, "__dict__", {})
        inner = attributes.get("__wrapped__") or getattr(function, "__func__", None) or getattr(function, "func", None)
        if inner is None:
            return
        function = inner


def _source_of(name: str, variables: dict[str, Any] | None = None) -> Source | None:
    try:
        lines = linecache.getlines(name, variables)
    except Exception:  # from a loader of modules
        return None
    if not lines:
        return None
    known = _known.get(name) or _learned.get(name)
    if known is not None and known[0] is lines:
        return known[1]
    text = "".join(lines)
    if len(text) > _LONGEST:
        return None
    content = zlib.compress(text.encode("utf-8", "surrogatepass"), 1)
    source = Source(name, content, Path(name).is_file(), os.getpid())
    _known[name] = (lines, source)
    return source


def learn_sources(sources: Iterable[Source]) -> None:
    """Take over lines that came from another process; those of a file here are not asked for any more."""
    for source in sources:
        there = linecache.cache.get(source.name)
        ours = _learned.get(source.name)
        if source.process == os.getpid() or (ours is not None and ours[1] == source and _is(there, ours[0])):
            continue
        if there is None or source.is_file or (ours is not None and _is(there, ours[0])):
            text = zlib.decompress(source.content).decode("utf-8", "surrogatepass")
            lines = list(io.StringIO(text))  # as files are read; `splitlines` knows more ends of lines
            # Without a time of change: such entries are not compared with the disk.
            linecache.cache[source.name] = (len(text), None, lines, source.name)
            _learned[source.name] = (lines, source)


def _is(entry: Any, lines: list[str]) -> bool:
    return entry is not None and len(entry) == 4 and entry[2] is lines


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
        if isinstance(obj, type) and "[" in obj.__name__:
            return reduce_parametrised(obj) or reduced
        return reduce_type(obj) if type(obj) in TYPES else reduced


def dumps(value: object) -> bytes:
    """Pickle a value."""
    file = io.BytesIO()
    ScriptPickler(file, protocol=5).dump(value)
    return file.getvalue()
