# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which argument of a task can't be copied: where it is, of which class, and what to write there.

What pickle raises while it reads a stream is the exception of a class's `__new__` or `__setstate__`, with frames of
pickle's alone. So a stream that can't be read is read once more, by the slow reader in Python, with a mark in place of
what can't be made. Then the mark is looked for.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import ParmanError
from ..trees.nodes import ATOMS
from ..trees.walk import map_futures
from .hidden import Place, Trail, inside
from .snapshot import AtomSnapshot, HeldObject, Snapshot

__all__ = ["explain"]

_MOST = 1 << 25
"""Longer streams are not read again [bytes]."""
_OBJECTS = 100_000
"""How many are looked at for the mark."""


class _Broken:
    """Stands for an object that can't be made; takes all that is put into that."""

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Take an item of a list."""

    def extend(self, items: object) -> None:
        """Take items of a list."""

    def add(self, item: object) -> None:
        """Take an item of a set."""


class _Failures:
    """What can't be made: the first is to blame, the others may hold it."""

    def __init__(self) -> None:
        self.first: tuple[_Broken, object, Exception] | None = None

    def note(self, made_by: object, error: Exception) -> _Broken:
        """Return the mark for something that can't be made."""
        broken = _Broken()
        if self.first is None:
            self.first = broken, made_by, error
        return broken

    def of_values(self, values: Sequence[object]) -> list[Any]:
        """Return plain values, with marks in them."""
        copies: dict[int, Any] = {}
        for value in values:
            if isinstance(value, Snapshot) and id(value) not in copies:
                copies[id(value)] = self.of(value)
        return [copies[id(value)] if isinstance(value, Snapshot) else value for value in values]

    def of(self, snapshot: Snapshot, slots: Sequence[object] = ()) -> Any:
        """Return a copy of a value, with marks in it."""
        if isinstance(snapshot, AtomSnapshot):
            return snapshot.load(slots)
        snapshot = snapshot.ordinary
        if len(snapshot.stream) > _MOST:
            return None
        return _Reader(snapshot, self._beside(snapshot, slots), self).load()

    def _beside(self, snapshot: Snapshot, slots: Sequence[object]) -> Iterator[Any]:
        copies: dict[int, Any] = {}
        for item in snapshot.beside:
            if isinstance(item, HeldObject):
                try:
                    yield item.copied(copies)
                except Exception as error:  # from code of the user's class
                    yield self.note(type(item.value), error)
            elif isinstance(item, int):
                yield slots[item]
            else:
                yield from Snapshot(b"", (item,)).taken((), False, [])


class _Reader(pickle._Unpickler):
    """Puts a mark in place of what can't be made."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, snapshot: Snapshot, beside: Iterator[Any], failures: _Failures) -> None:
        super().__init__(io.BytesIO(bytes(snapshot.stream)), buffers=beside)
        self.failures = failures

    def persistent_load(self, pid: tuple[Callable[..., Any], tuple[Any]]) -> Any:
        make, content = pid
        return make(*content)


def _careful(opcode: bytes, operands: int) -> None:
    """Have an operation leave a mark on the stack if it fails.

    Parameters
    ----------
    opcode
        Makes an object, or fills one, which is the lowest of the operands.
    operands
        How many it takes from the stack; 0 for what is above the last mark, and one more.
    """
    usual = pickle._Unpickler.dispatch[opcode[0]]

    def read(reader: Any) -> None:
        whole, number = reader.stack, len(reader.stack)
        parts = whole[-operands:] if operands else [reader.metastack[-1][-1]]
        try:
            usual(reader)
        except Exception as error:  # from code of the user's class
            below = whole[: number - operands] if operands else reader.stack[:-1]
            reader.stack[:] = [*below, reader.failures.note(_maker(opcode, parts), error)]

    _Reader.dispatch[opcode[0]] = read


def _maker(opcode: bytes, parts: list[Any]) -> object:
    """Return the class of what should have been made, or the function that should have made it."""
    first = parts[0]
    if opcode == pickle.REDUCE:
        generic = first is getattr(copyreg, "_reconstructor", None) or first is copyreg.__newobj__  # type: ignore[attr-defined]
        return parts[1][0] if generic else first
    return first if opcode in (pickle.NEWOBJ, pickle.NEWOBJ_EX) else type(first)


for _opcode, _operands in {
    pickle.NEWOBJ: 2,
    pickle.NEWOBJ_EX: 3,
    pickle.REDUCE: 2,
    pickle.BUILD: 2,
    pickle.APPEND: 2,
    pickle.SETITEM: 3,
    pickle.APPENDS: 0,
    pickle.SETITEMS: 0,
}.items():
    _careful(_opcode, _operands)


def explain(
    error: Exception,
    name: str,
    snapshot: Snapshot,
    values: Sequence[object],
    given: Mapping[str, Any] | None = None,
    dependencies: Sequence[object] = (),
) -> None:
    """Raise an error that says which argument of a task can't be copied, and why; none if that can't be found out.

    Parameters
    ----------
    error
        What was raised when it was tried.
    name
        The task.
    snapshot
        The snapshot of its arguments by name.
    values
        The values of its futures, plain or snapshots.
    given
        Arguments beside the snapshot, with futures in them.
    dependencies
        These futures, in the order of the values.

    Raises
    ------
    ArgumentError
        The explanation.
    """
    if isinstance(error, ParmanError | MemoryError):
        return
    failures = _Failures()
    try:
        plain = failures.of_values(values)
        arguments = failures.of(snapshot, plain)
        if given:
            known = {id(future): value for future, value in zip(dependencies, plain, strict=True)}
            arguments |= map_futures(lambda future: known[id(future)], given)
        if failures.first is None:
            return
        broken, made_by, first = failures.first
        if str(getattr(made_by, "__module__", "")).partition(".")[0] == "parman":
            return  # as for a file of a map that is gone
        told = Place(arguments, f"{name}()").error(
            f"{_where(arguments, broken)} can't be copied for the task: {_reason(made_by, first)}"
        )
    except Exception:  # what can't be explained is told as it is
        return
    raise told from error


def _where(arguments: dict[str, Any], broken: _Broken) -> str:
    trail = _find(arguments, broken)
    if trail is None:
        return " or ".join(map(repr, arguments))
    return Place(arguments, "()").format(trail)


def _find(root: object, wanted: object) -> Trail | None:
    """Return the way to an object."""
    todo: deque[tuple[Trail, object]] = deque([((), root)])
    seen = {id(root): root}
    while todo and len(seen) < _OBJECTS:
        trail, one = todo.popleft()
        if one is wanted:
            return trail
        for step, part in inside(one):
            if type(part) not in ATOMS and id(part) not in seen:
                seen[id(part)] = part
                todo.append(((*trail, step), part))
    return None


def _reason(made_by: Any, error: Exception) -> str:
    said = f"{type(error).__qualname__}: {error}"
    name = getattr(made_by, "__qualname__", type(made_by).__qualname__)
    if not isinstance(made_by, type):
        return f"an object can't be made again by the function {name}, which its class's __reduce__ names: {said}"
    return (
        f"an instance of {name} can't be made again from what pickle keeps of it ({said}); write a __getnewargs__ or "
        f"a __reduce__ in {name} that says what instances are made from, or, for tasks in this process, a __deepcopy__"
    )
