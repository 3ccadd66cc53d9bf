# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Arguments to JSON, and JSON to results.

    JobArguments ── jsonable, dump ──▶ kwargs.json ── script ──▶ result.json ── load_result ──▶ a tree like the mock's

Both ways use a converter of their own, so that nothing is registered for other users of cattrs. It is stricter than
theirs: a number is no text, 3.7 is no integer, and a text is no path unless a path is promised.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import cattrs
from cattrs.preconf.json import make_converter

from ..annotations.checkers import checker_for
from ..annotations.evaluate import describe, union_members
from ..annotations.spec import DictSpec, LeafSpec, ListSpec, RecordSpec, RepeatSpec, TreeSpec, TupleSpec
from ..errors import ArgumentError, JobError
from ..trees.nodes import Attr, Index, Key, format_path, kind_of, short_repr
from ..trees.nodes import Path as TreePath
from ..trees.walk import map_leaves, walk
from .files import files_below, read_whole, sha256
from .staging import Place, WorkDirectory

__all__ = [
    "JobArguments",
    "NotJson",
    "argument_place",
    "dump",
    "jsonable",
    "load_json",
    "load_result",
    "same_json",
]

_BIGGEST_RESULT = 100_000_000
"""The largest result that is read [bytes]."""
_BIGGEST_ARRAY = 100_000
"""The largest array that is written as numbers [items]."""
_DEEPEST = 100
"""How deep arguments may be nested."""
_LONGEST_INTEGER = 10_000
"""The longest integer that is written; more than about 14,000 are not read again [bits]."""
_REMEDY = "mend it by hand, or remove the directory of the job to run it again"


# --- arguments ---


class JobArguments:
    """The arguments of one call of a job.

    Parameters
    ----------
    kwargs
        All arguments of the mock by name.
    home
        The directory of the job.
    """

    def __init__(self, kwargs: Mapping[str, Any], home: Place) -> None:
        self._kwargs = dict(kwargs)
        self._home = home

    @cached_property
    def json(self) -> Any:
        """The arguments as JSON, with paths relative to the job's directory.

        Raises
        ------
        ArgumentError
            Something in them has no form in JSON.
        """
        home = self._home
        tree = map_leaves(lambda leaf: str(home.inward(leaf)) if isinstance(leaf, Path) else leaf, self._kwargs)
        try:
            return jsonable(tree)
        except NotJson as error:
            place = argument_place(error.path)
            raise ArgumentError(
                f"the job {home.locator}: argument {place} {error.why}; jobs get their arguments as JSON"
            ) from None

    @cached_property
    def sums(self) -> dict[str, str]:
        """The sum of each file among the arguments, by its path relative to the job's directory.

        Raises
        ------
        JobError
            A file is not there.
        """
        return {str(self._home.inward(file)): sha256(file) for file in self._files()}

    def _files(self) -> Iterator[Path]:
        for steps, leaf in walk(self._kwargs):
            if isinstance(leaf, Path):
                try:
                    yield from files_below(self._home.source(leaf))
                except (FileNotFoundError, ValueError):  # or no path at all, such as one with a null character
                    raise JobError(
                        f"the job {self._home.locator}: there is no file {str(leaf)!r}, which is its argument "
                        f"{argument_place(steps)}"
                    ) from None

    def bring(self, work: WorkDirectory) -> None:
        """Bring the files to where the script runs."""
        for _, leaf in walk(self._kwargs):
            if isinstance(leaf, Path):
                work.pull(leaf)


def argument_place(path: TreePath) -> str:
    """Return the way to a part of the arguments as messages show it, beginning with the name of the argument."""
    first = path[0]
    return format_path(str(first.key if isinstance(first, Key) else first), path[1:])


class NotJson(Exception):
    """A value can't be written as JSON: the way to it, and why."""

    def __init__(self, path: TreePath, why: str) -> None:
        super().__init__()
        self.path = path
        self.why = why


def jsonable(value: Any, path: TreePath = ()) -> Any:
    """Return an argument as JSON has it; the paths of files in it are texts already.

    Raises
    ------
    NotJson
        Something in it has no such form.
    """
    if len(path) > _DEEPEST:
        raise NotJson(path, "is nested too deeply, or holds itself")
    if value is None or type(value) is bool:
        return value
    if type(value) is str:
        return _checked_text(value, path)
    if isinstance(value, Enum):
        return jsonable(value.value, path)
    if isinstance(value, Path):
        raise NotJson(path, f"is the path {str(value)!r} where no files are looked for: pass it in a list or dict")
    if type(value) in (int, float):
        return _checked_number(value, path)
    if isinstance(value, Mapping):
        return _mapping(value, path)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [jsonable(item, (*path, Index(i))) for i, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        items = [jsonable(item, (*path, Key("..."))) for item in value]
        try:
            return sorted(items)
        except TypeError:
            why = "is a set whose items have no order, so that it is never written the same way twice"
            raise NotJson(path, why) from None
    kind = kind_of(type(value))
    if kind is not None:
        return {str(name): jsonable(item, (*path, Attr(str(name)))) for name, item in kind.items(value)}
    return _converted(value, path)


def _checked_text(text: str, path: TreePath) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotJson(path, f"is {text!r}, which is not UTF-8") from None
    return text


def _checked_number(number: float, path: TreePath) -> float:
    if isinstance(number, int) and number.bit_length() > _LONGEST_INTEGER:
        raise NotJson(path, f"is an integer of {number.bit_length()} bits, and at most {_LONGEST_INTEGER} are written")
    if isinstance(number, float) and not math.isfinite(number):
        raise NotJson(path, f"is {number}, which JSON does not have")
    return number


def _mapping(value: Mapping[Any, Any], path: TreePath) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise NotJson(path, f"has the key {short_repr(key)}, and in JSON keys are texts")
        found[_checked_text(key, path)] = jsonable(item, (*path, Key(key)))
    return found


def _converted(value: Any, path: TreePath) -> Any:
    """Return what numpy or cattrs make of a value."""
    numpy: Any = sys.modules.get("numpy")
    found = value
    if isinstance(value, bytes):  # cattrs would write them in base 85, as no script expects
        pass
    elif numpy is not None and isinstance(value, numpy.ndarray):
        if value.size > _BIGGEST_ARRAY:
            raise NotJson(path, f"is an array of {value.size} items; write it to a file, and pass its path")
        found = value.tolist()
    elif numpy is not None and isinstance(value, numpy.generic):
        item = value.item()
        found = value if isinstance(item, type(value)) else item
    else:
        with contextlib.suppress(Exception):  # of whatever kind: cattrs hands on what classes raise
            found = _converter().unstructure(value)
    if found is value:
        raise NotJson(path, f"is of the type {describe(type(value))}, which has no form in JSON: {short_repr(value)}")
    return jsonable(found, path)


def dump(content: Any) -> bytes:
    """Write JSON as it is kept in files."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def same_json(one: Any, other: Any) -> bool:
    """Tell whether two contents of JSON files mean the same: 1 and 1.0 do, 1 and true don't."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


# --- results ---


def load_result(path: Path, spec: TreeSpec, top: Path) -> Any:
    """Read a result, which has to fit this spec; it may be a link to a file in the results root.

    Returns
    -------
    The tree, with paths as they are in the file.

    Raises
    ------
    JobError
        It is no JSON, or does not fit; the message names the file, the place and both types.
    """
    if not Path(os.path.realpath(path)).is_relative_to(top):
        raise JobError(f"{path} is a link to a place outside of the results root")
    try:
        content = load_json(path, follow=True)
    except JobError as error:
        raise JobError(f"{error}; {_REMEDY}") from None
    try:
        return _fit(spec, content, ())
    except _Misfit as misfit:
        place = format_path("result", misfit.path)
        what = f"{place} should be {misfit.wanted}, but is {_described(misfit.value)}"
        raise JobError(f"{path} does not fit the mock of the job: {what}; {_REMEDY}") from None


def load_json(path: Path, follow: bool = False) -> Any:
    """Read a JSON file; a link is only followed on demand.

    Raises
    ------
    JobError
        It is no JSON, or too large; the message names the file and the place.
    """
    size = path.stat().st_size
    if size > _BIGGEST_RESULT:
        raise JobError(
            f"{path} has {size / 1e6:.0f} MB, and at most {_BIGGEST_RESULT / 1e6:.0f} MB are read: "
            "let the script write big data to a file of its own, and its path into the result"
        )
    try:
        text = read_whole(path, follow).decode()
        content = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_without_doubles)
        if "\\u" in text:  # the only way to write half of a character
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except UnicodeDecodeError as error:
        raise JobError(f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from None
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise JobError(f"{path} is no valid JSON: {half!r} is half of a character, without the other half") from None
    except json.JSONDecodeError as error:
        raise JobError(f"{path} is no valid JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise JobError(f"{path} is no valid JSON: {error}") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {double!r} twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number there; write null, or a text")


class _Misfit(Exception):
    """A part of a result is not what was promised."""

    def __init__(self, path: TreePath, wanted: str, value: object) -> None:
        super().__init__()
        self.path = path
        self.wanted = wanted
        self.value = value


_JSON_NAMES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a text",
    bool: "a truth value",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


def _described(value: object) -> str:
    length = f" of {len(value)}" if isinstance(value, dict | list) else ""
    name = _JSON_NAMES[type(value)]
    return name if value is None else f"{name}{length}: {short_repr(value)}"


def _fit(spec: TreeSpec, value: Any, path: TreePath) -> Any:
    match spec:
        case LeafSpec(declared=declared):
            return _fit_leaf(declared, value, path)
        case RepeatSpec(length=length, item=item, cls=cls):
            items = _checked_items(value, length, path)
            return cls(_fit(item, part, (*path, Index(i))) for i, part in enumerate(items))
        case ListSpec(items=items):
            return _fit_items(items, value, path)
        case TupleSpec(items=items, cls=cls):
            found = _items_of_named_tuple(value, cls, path) if cls is not None else value
            return tuple.__new__(cls or tuple, _fit_items(items, found, path))
        case DictSpec(items=items, keys=keys):
            return dict(zip(keys, _fit_fields(items, [_json_key(key) for key in keys], value, path), strict=True))
        case RecordSpec(items=items, names=names, cls=cls):
            return _construct(
                cls, dict(zip(names, _fit_fields(items, list(names), value, path), strict=True)), value, path
            )
    raise AssertionError(spec)


def _checked_items(value: Any, length: int, path: TreePath) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise _Misfit(path, f"an array of {length}", value)
    return value


def _fit_items(items: tuple[TreeSpec, ...], value: Any, path: TreePath) -> list[Any]:
    parts = _checked_items(value, len(items), path)
    return [_fit(item, part, (*path, Index(i))) for i, (item, part) in enumerate(zip(items, parts, strict=True))]


def _items_of_named_tuple(value: Any, cls: Any, path: TreePath) -> Any:
    """Return the items of a named tuple, which may be written as an object, too."""
    if not isinstance(value, dict):
        return value
    if set(value) != set(cls._fields):
        raise _Misfit(path, f"an object with the keys {', '.join(cls._fields)}", value)
    return [value[name] for name in cls._fields]


def _fit_fields(items: tuple[TreeSpec, ...], keys: list[str], value: Any, path: TreePath) -> list[Any]:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise _Misfit(path, f"an object with the keys {', '.join(keys)}", value)
    return [_fit(item, value[key], (*path, Key(key))) for key, item in zip(keys, items, strict=True)]


def _json_key(key: object) -> str:
    """Return a key as JSON has it."""
    return key if isinstance(key, str) else json.dumps(key) if isinstance(key, int | float | None) else str(key)


def _construct(cls: type, fields: dict[str, Any], value: Any, path: TreePath) -> Any:
    try:
        return cls(
            **{name.lstrip("_") if hasattr(cls, "__attrs_attrs__") else name: field for name, field in fields.items()}
        )
    except Exception as error:
        raise _Misfit(path, f"a {describe(cls)} ({error})", value) from None


def _fit_leaf(declared: Any, value: Any, path: TreePath) -> Any:
    if declared is Any:
        return value
    choices = list(union_members(declared) or [declared])
    for alternative in choices:
        try:
            return _converter().structure(value, alternative)
        except Exception:  # of whatever kind: cattrs hands on what classes raise
            continue
    unknown = [choice for choice in choices if choice not in (*_STRICT, PurePath, Path)]  # to the converter
    if any(checker_for(choice).find_mismatch(value) is None for choice in unknown):
        return value
    raise _Misfit(path, describe(declared), value)


# --- the converter ---


@functools.cache
def _converter() -> cattrs.Converter:
    converter = make_converter(forbid_extra_keys=True, detailed_validation=False)
    for cls, accepts in _STRICT.items():
        converter.register_structure_hook(cls, functools.partial(_strictly, accepts))
    for cls in (PurePath, Path):  # there is one of cattrs for `Path` itself
        converter.register_structure_hook(cls, _as_path)
    converter.register_unstructure_hook(PurePath, os.fspath)
    converter.register_structure_hook_func(_is_numpy, _as_numpy)
    return converter


def _as_integer(value: Any) -> Any:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _as_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)  # of an integer that is too large, an error
    return number if math.isfinite(number) else None  # 1e999 is none


_STRICT: dict[type, Callable[[Any], Any]] = {
    int: _as_integer,
    float: _as_number,
    bool: lambda value: value if isinstance(value, bool) else None,
    str: lambda value: value if isinstance(value, str) else None,
}


def _strictly(accepts: Callable[[Any], Any], value: Any, cls: Any) -> Any:
    found = accepts(value)
    if found is None:
        raise TypeError
    return found


def _as_path(value: Any, cls: Any) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise TypeError
    os.fsencode(value)
    return Path(value)


def _is_numpy(cls: Any) -> bool:
    numpy: Any = sys.modules.get("numpy")
    origin = getattr(cls, "__origin__", cls)
    return numpy is not None and isinstance(origin, type) and issubclass(origin, numpy.ndarray | numpy.generic)


def _as_numpy(value: Any, cls: Any) -> Any:
    import numpy as np  # there, since the type is one of its own

    origin = getattr(cls, "__origin__", cls)
    if issubclass(origin, np.generic):
        if not isinstance(value, bool | int | float | str):
            raise TypeError
        return origin(value)
    array = np.asarray(value)
    if array.dtype == object or isinstance(value, str):
        raise TypeError
    return array
