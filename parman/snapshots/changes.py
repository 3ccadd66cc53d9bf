# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which arguments a task changed in place, in its own copy: a change that is lost, so the user wants to know.

After the task has run, its arguments are pickled again and compared with the snapshot that they were made from: in
order, piece by piece. So a task that changes nothing, as most do, costs one more pickling. Big arrays are not copied
for that, and not read either where the system tells that no page of them was written.

Only if something differs is it looked at more closely: against a fresh copy, argument by argument, without the values
of caches, and then without what its objects fill in when they are asked. What the task gave back is not lost: neither
an argument that can be reached from the result, nor a part of it, nor an array that shares its memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..trees.nodes import ATOMS, is_array
from .attributes import cached_names, is_cache
from .buffers import Buffer
from .cache import SnapshotCache
from .hidden import inside, reachable
from .lazy_attributes import Filled, filled_names, rewritten_names
from .memory import address_of, is_untouched
from .pickling import write_in_process
from .snapshot import AtomSnapshot, Held, HeldArray, HeldObject, Row, RowSnapshot, Snapshot, loaded

__all__ = ["Watched"]


class Watched:
    """The arguments of a call, which are copies, and what of them the task changes in place.

    Parameters
    ----------
    snapshot
        The snapshot of the arguments by name.
    values
        The values of its futures, plain or snapshots.

    Attributes
    ----------
    arguments
        The copies.
    """

    arguments: dict[str, Any]

    def __init__(self, snapshot: Snapshot, values: Sequence[object]) -> None:
        self._snapshot = snapshot
        self._values = values
        self._slots = loaded(values)
        self._memories: list[object] = []
        self.arguments = snapshot.load(self._slots, memories=self._memories)
        self._before: Snapshot | None = snapshot
        if type(snapshot) not in (AtomSnapshot, RowSnapshot) and (snapshot.futures or snapshot.shares):
            self._before = _written(self.arguments, snapshot)

    def changed(self, result: object) -> list[str]:
        """Return the names of arguments that were changed, and not given back; never raises."""
        try:
            names = [name for name in self._suspects() if type(self.arguments[name]) not in ATOMS]
        except Exception:  # from code of the user's classes, or since it can't be pickled any more
            names = [name for name, value in self.arguments.items() if type(value) not in ATOMS]
        try:
            return self._lost(names, result) if names else []
        except Exception:  # what can't be compared is not told
            return []

    # --- whether anything changed ---

    def _suspects(self) -> list[str]:
        snapshot = self._snapshot
        if type(snapshot) not in (AtomSnapshot, RowSnapshot):
            before = self._before
            same = before is not None and _is_same(before, self.arguments, self._memories)
            return [] if same else list(self.arguments)
        places = snapshot.places  # type: ignore[attr-defined]
        slots = {name: number for name, number in places if self._has_changed(number)}
        rows = snapshot.rows if isinstance(snapshot, RowSnapshot) else ()
        return [*slots, *(row[0] for row in rows if self._has_row_changed(row))]

    def _has_changed(self, number: int) -> bool:
        value = self._values[number]
        return isinstance(value, Snapshot) and not _is_same(value.ordinary, self._slots[number], None)

    def _has_row_changed(self, written: Row) -> bool:
        name, _, template, places = written
        row, slots = self.arguments[name], dict(places)
        if len(row) != len(template):
            return True
        if any(item is not (self._slots[slots[i]] if i in slots else template[i]) for i, item in enumerate(row)):
            return True
        return any(self._has_changed(number) for number in slots.values())

    # --- what changed, and whether it is lost ---

    def _lost(self, names: list[str], result: object) -> list[str]:
        given_back = _GivenBack(result)
        kept = {name for name in names if given_back.holds(self.arguments[name])}
        names = [name for name in names if name not in kept]
        if not names:
            return []
        first, second = self._again(), self._again()
        references = _references(self._snapshot)
        lost = []
        for name in names:
            old, new = first[name], self.arguments[name]
            if (
                _differ(old, new, references) is True
                and _differ(old, second[name], references) is False  # else the order depends on identities
                and (filled := _differ_beyond(old, new, references)) is not None
                and _Comparison(given_back, filled).tells_loss(old, new)
            ):
                lost.append(name)
        return lost

    def _again(self) -> dict[str, Any]:
        arguments: dict[str, Any] = self._snapshot.load(loaded(self._values))
        return arguments


# --- comparing with a snapshot ---


class _Memory:
    """The memory of a big array, which lies beside a stream that is not kept."""

    __slots__ = ("view",)

    def __init__(self, view: memoryview) -> None:
        self.view = view


class _Comparing(SnapshotCache):
    """Refers to memory instead of copying it."""

    def keep(self, view: memoryview) -> Any:
        return _Memory(view)


def _written(value: object, like: Snapshot) -> Snapshot | None:
    """Take a snapshot of a copy, to compare it with the one of which it is a copy; None if that fails."""
    try:
        return write_in_process(value, SnapshotCache(), _references(like))[0]
    except Exception:
        return None


def _references(snapshot: Snapshot) -> set[int]:
    """Return the identities of what is passed as it is, if there may be plain containers among that."""
    return set(map(id, snapshot.references)) if snapshot.has_big_strings or snapshot.shares else set()


def _is_same(before: Snapshot, value: object, memories: Sequence[object] | None) -> bool:
    if type(before) is not Snapshot:
        return bool(before.value == value)  # type: ignore[attr-defined]
    after, _ = write_in_process(value, _Comparing(), _references(before), comparing=True)
    if before.stream != after.stream or len(before.beside) != len(after.beside):
        return False
    known = iter(memories or ())
    for old, new in zip(before.beside, after.beside, strict=True):
        memory = next(known, None) if isinstance(old, Buffer) else None
        if old is not new and not _is_same_item(old, new, memory):
            return False
    return True


def _is_same_item(old: object, new: Any, memory: object) -> bool:
    if isinstance(old, Buffer):
        if not isinstance(new, _Memory):
            return False
        view: memoryview = new.view
        return (memory is not None and _is_as_mapped(view, memory)) or old.equals(view)
    if isinstance(old, HeldArray):
        return isinstance(new, HeldArray) and _are_same_arrays(old.value, new.value)
    if isinstance(old, HeldObject):
        return isinstance(new, HeldObject) and _differ(old.value, new.value, set()) is False
    if isinstance(old, Held):
        same = isinstance(new, Held) and type(new) is not HeldArray
        return same and (old.value is new.value or (isinstance(old.value, str | bytes) and old.value == new.value))
    return type(new) is int and old == new


def _is_as_mapped(view: memoryview, memory: object) -> bool:
    """Tell whether this is the private map of a file, none of whose pages was written."""
    address = address_of(view)
    return address is not None and address == address_of(memory) and is_untouched(address, view.nbytes)


def _are_same_arrays(old: Any, new: Any) -> bool:
    return bool(
        old.shape == new.shape
        and old.strides == new.strides
        and old.dtype == new.dtype
        and old.tobytes("A") == new.tobytes("A")
    )


# --- comparing with a fresh copy ---


def _differ(old: object, new: object, references: set[int], filled: Filled | None = None) -> bool | None:
    """Tell whether two copies differ, apart from the values of caches; None if that can't be told."""
    try:
        first, second = (
            write_in_process(one, _Comparing(), references, comparing=True, without_cached=True, filled=filled)[0]
            for one in (old, new)
        )
    except Exception:  # from code of the user's classes
        return None
    if first.stream != second.stream or len(first.beside) != len(second.beside):
        return True
    return not all(map(_is_same_memory, first.beside, second.beside))


def _differ_beyond(old: object, new: object, references: set[int]) -> Filled | None:
    """Return what objects filled in since, if two copies that differ do so in something else too; None if not."""
    filled: Filled = {}

    def is_rewritten(one: object, other: object) -> bool:
        return _differ(one, other, references, filled) is True

    for find in (filled_names, lambda one, other: rewritten_names(one, other, is_rewritten)):
        known = len(filled)
        for one, other in _pairs(old, new, filled):
            names = find(one, other)
            if names:
                for obj in (one, other):
                    filled[id(obj)] = (obj, names | filled.get(id(obj), (obj, frozenset()))[1])
        if len(filled) > known and _differ(old, new, references, filled) is False:
            return None
    return filled


def _pairs(old: object, new: object, filled: Filled) -> Iterator[tuple[object, object]]:
    """Yield the objects of classes, other than containers, in a value as it was and as it is, as far as these agree."""
    todo = deque([(old, new)])
    seen: set[int] = set()
    while todo and len(seen) < _BUDGET:
        one, other = todo.popleft()
        if one is other or type(one) is not type(other) or type(one) in ATOMS or id(other) in seen:
            continue
        seen.add(id(other))
        yield one, other
        before, after = _parts(one, filled), _parts(other, filled)
        todo.extend((before[step], after[step]) for step in before if step in after)


def _is_same_memory(old: Any, new: Any) -> bool:
    if isinstance(old, _Memory):
        return isinstance(new, _Memory) and Buffer.of(old.view).equals(new.view)
    return _is_same_item(old, new, None)


class _GivenBack:
    """What can be reached from the result of a task, found as far as it is asked for."""

    def __init__(self, result: object) -> None:
        self._found = reachable(result)
        self._seen: dict[int, object] = {}

    def holds(self, obj: object) -> bool:
        """Tell whether the result holds an object, or an array with the memory of this one."""
        wanted = {id(obj), *map(id, _bases(obj))}
        if not wanted.isdisjoint(self._seen):
            return True
        for one in self._found:
            for part in (one, *_bases(one)):
                self._seen[id(part)] = part
            if not wanted.isdisjoint(self._seen):
                return True
        return False


def _bases(obj: Any) -> Iterable[object]:
    """Yield the objects whose memory an array or a view of memory shows."""
    while True:
        if is_array(type(obj)):
            obj = obj.base
        elif isinstance(obj, memoryview):
            obj = obj.obj
        else:
            return
        if obj is None:
            return
        yield obj


_BUDGET = 10_000


class _Comparison:
    """A walk through an argument as it was and as it is, around what was given back."""

    def __init__(self, given_back: _GivenBack, filled: Filled) -> None:
        self._given_back = given_back
        self._filled = filled
        self._met = False

    def tells_loss(self, old: object, new: object) -> bool:
        """Tell whether two objects that differ do so in what was not given back."""
        lost = self._differ(old, new)
        return lost or not self._met

    def _differ(self, old: object, new: object) -> bool:
        todo = deque([(old, new)])
        seen: set[int] = set()
        budget = _BUDGET
        while todo and budget:
            budget -= 1
            one, other = todo.popleft()
            if type(other) not in ATOMS and self._given_back.holds(other):
                self._met = True
            elif one is other or id(other) in seen:
                continue
            elif type(one) is not type(other) or not _is_equal_in_itself(one, other):
                return True
            else:
                seen.add(id(other))
                before, after = _parts(one, self._filled), _parts(other, self._filled)
                if list(before) != list(after):
                    return True
                todo.extend((before[step], after[step]) for step in before)
        return False


def _is_equal_in_itself(one: Any, other: Any) -> bool:
    """Compare what is not among the parts of two objects of one class."""
    cls = type(one)
    if cls in ATOMS or isinstance(one, str | bytes | bytearray):
        return repr(one) == repr(other)
    if is_array(cls):
        same = one.dtype == other.dtype and one.shape == other.shape
        return bool(same and (one.dtype.hasobject or one.tobytes() == other.tobytes()))
    if isinstance(one, list | tuple | dict | set | frozenset | deque):
        if len(one) != len(other):
            return False
        items = one.values() if isinstance(one, dict) else one
        return not ATOMS.issuperset(map(type, items)) or repr(one) == repr(other)
    return True


def _parts(obj: Any, filled: Filled) -> Mapping[str, object]:
    cls: Any = type(obj)
    left_out = cached_names(cls) | filled.get(id(obj), (obj, frozenset()))[1]
    parts = ((str(step), part) for step, part in inside(obj))
    return {step: part for step, part in parts if step[1:] not in left_out and not is_cache(step[1:])}
