# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
from __future__ import annotations

import collections
import enum
import functools
import io
import pickle
import random
import subprocess
import sys
import textwrap
import threading
import types
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parman.errors import ArgumentError, HiddenFutureError
from parman.snapshots import memory as pages
from parman.snapshots.buffers import Buffer
from parman.snapshots.cache import BIG, SnapshotCache
from parman.snapshots.changes import Watched
from parman.snapshots.share import Share, install_share, shared_value
from parman.snapshots.snapshot import AtomSnapshot, Snapshot
from parman.snapshots.take import in_process, pickled, take_snapshot
from parman.trees.nodes import Placeholder


@pytest.fixture(params=[in_process, pickled], ids=["in process", "pickled"])
def serializer(request):
    """Both ways to make a snapshot."""
    return request.param


def travelled(snapshot: Snapshot) -> Snapshot:
    """Send a snapshot to another process, and take it for one from there."""
    return snapshot if snapshot.references else pickle.loads(pickle.dumps(snapshot, 5))


def copy(value: Any, serializer: Any, slots: tuple[Any, ...] = (), **options: Any) -> Any:
    snapshot = take_snapshot(value, serializer, **options)
    return travelled(snapshot).load(slots)


def big(value: float = 1.0) -> np.ndarray:
    return np.full(BIG // 8 + 1, value)


class Plain:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def method(self):
        return self.__dict__


class Point(NamedTuple):
    x: Any
    y: Any


class Record(TypedDict):
    a: Any


class Colour(enum.Enum):
    RED = 1


@dataclass
class Data:
    a: Any
    b: list[Any] = field(default_factory=list)

    def __post_init__(self):
        assert not hasattr(self, "checked"), "made by __init__ again"
        self.checked = isinstance(self.a, Future | int)


@dataclass(frozen=True, slots=True)
class Frost:
    a: Any
    b: Any = None

    def __post_init__(self):
        assert not isinstance(self.a, str), "made by __init__ again"


@attrs.frozen
class Attrs:
    a: Any = attrs.field(converter=lambda x: x)
    b: Any = attrs.field(default=None, validator=lambda _, __, value: value != "never" or 1 / 0)


# --- values ---

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5)
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Attrs, inner, inner)
        | st.builds(collections.deque, st.lists(inner, max_size=3))
        | st.sets(st.integers(), max_size=1)
    ),
    max_leaves=12,
)


@given(trees)
def test_round_trip(tree):
    """Whatever the tree, the copy equals it, and has the same types."""
    for serializer in (in_process, pickled):
        result = copy(tree, serializer)
        assert result == tree
        assert repr(result) == repr(tree)


@pytest.mark.parametrize(
    "value",
    [
        Fraction(1, 3),
        Path("/tmp/x"),
        range(3),
        slice(1, 2),
        1j,
        ...,
        Colour.RED,
        np.float64(3),
        np.dtype("f4"),
        bytearray(b"abc"),
        collections.OrderedDict(a=1),
        Record(a=1),
        frozenset({1, 2}),
        Frost(1, "x"),
    ],
    ids=repr,
)
def test_values(value, serializer):
    """The copy of a value is equal to it and of its type."""
    result = copy({"x": [value]}, serializer)["x"][0]
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("cls", [Data, Frost, Attrs])
def test_records(cls, serializer):
    """Records are copied without their `__init__`, and futures in their fields become values."""
    future: Future[int] = Future()
    result = copy({"x": cls(future, [1])}, serializer, ("value",))["x"]
    assert type(result) is cls
    assert result.a == "value"
    assert result.b == [1]


def test_containers_with_futures(serializer):
    """Futures in all kinds of containers become values, and the containers keep their class."""
    future: Future[int] = Future()
    value = {
        "a": Point(future, 1),
        "b": collections.OrderedDict(k=future),
        "c": Record(a=future),
        "d": collections.defaultdict(lambda: 5, k=future),
        "e": (future, [future]),
    }
    result = copy(value, serializer, (7,), label="f()")
    assert result["a"] == Point(7, 1)
    assert result["b"] == collections.OrderedDict(k=7)
    assert result["c"] == {"a": 7}
    assert result["d"]["k"] == 7
    assert result["d"]["new"] == 5
    assert result["e"] == (7, [7])


def test_snapshot_is_taken_at_once(serializer):
    """What is changed after the call is not seen, and what is changed in a copy is seen by nobody else."""
    value = {"x": [1, {"a": np.zeros(3)}], "y": Plain(a=[1]), "z": big()}
    snapshot = take_snapshot(value, serializer)
    value["x"][1]["a"][0] = 5
    value["y"].a.append(2)
    value["z"][0] = 5
    first, second = snapshot.load(), snapshot.load()
    first["x"].append(3)
    first["x"][1]["a"][1] = 7
    first["z"][1] = 7
    for result in (second, snapshot.load()):
        assert len(result["x"]) == 2
        assert result["x"][1]["a"].tolist() == [0, 0, 0]
        assert result["y"].a == [1]
        assert set(result["z"]) == {1.0}


def test_sharing_and_cycles(serializer):
    """What is one object in the arguments is one object in the copy, cycles included."""
    cycle: list[Any] = [1]
    cycle.append(cycle)
    array = np.arange(3)
    future: Future[list[int]] = Future()
    result = copy({"x": cycle, "y": [cycle, array], "z": array, "f": [future, future]}, serializer, ([1],))
    assert result["x"][1] is result["x"]
    assert result["y"][0] is result["x"]
    assert result["y"][1] is result["z"]
    assert result["f"][0] is result["f"][1]


def test_atoms_cost_nothing(serializer):
    """Arguments that are numbers and strings are not pickled, and the dict that is given out is a new one."""
    snapshot = take_snapshot({"a": 1, "b": "x"}, serializer)
    assert isinstance(snapshot, AtomSnapshot)
    snapshot.load()["a"] = 2
    assert travelled(snapshot).load() == {"a": 1, "b": "x"}
    assert travelled(take_snapshot(3.5, serializer)).load() == 3.5


def test_slots_may_be_snapshots(serializer):
    """The value of a future may be given as a snapshot: it is loaded once, each time anew."""
    first: Future[Any] = Future()
    second: Future[Any] = Future()
    snapshot = take_snapshot({"x": first, "y": [second]}, serializer)
    assert snapshot.futures == (first, second)
    value = take_snapshot([[1]], serializer)
    result = snapshot.load((value, value))
    assert result["x"] is result["y"][0]
    assert snapshot.load((value, 3))["x"] is not result["x"]


def test_threads(serializer):
    """Many threads may load the same snapshot at once, one in the middle of another."""
    snapshot = take_snapshot(
        {"x": [Future(), Nested(take_snapshot({"y": [big(2.0), Plain(a=1)]}, serializer)), big(3.0)]}, serializer
    )
    gate = threading.Barrier(4)

    def work(i):
        gate.wait()
        return [snapshot.load((i,))["x"] for _ in range(20)]

    with ThreadPoolExecutor(4) as executor:
        for i, results in enumerate(executor.map(work, range(4))):
            for slot, nested, array in results:
                assert slot == i
                assert nested["y"][0][0] == 2.0
                assert array[0] == 3.0


class Nested:
    """Becomes a loaded snapshot when it is unpickled."""

    def __init__(self, snapshot):
        self.snapshot = snapshot

    def __reduce__(self):
        return _load, (travelled(self.snapshot),) if not self.snapshot.references else (_Keep(self.snapshot),)


class _Keep:
    known: dict[int, Snapshot] = {}

    def __init__(self, snapshot):
        self.key = id(snapshot)
        self.known[self.key] = snapshot


def _load(snapshot):
    return (_Keep.known[snapshot.key] if isinstance(snapshot, _Keep) else snapshot).load()


# --- by reference ---


def test_by_reference_in_process():
    """Within a process functions, classes, modules, sentinels, weak references, exceptions are passed as they are."""
    plain = Plain()
    values = [lambda: 1, print, Plain, types, object(), weakref.ref(plain), ValueError("x"), Colour.RED]
    result = copy({"x": values}, in_process)["x"]
    for old, new in zip(values, result, strict=True):
        assert new is old


def test_bound_method(serializer):
    """A bound method is copied with its object."""
    plain = Plain(a=[1])
    result = copy({"x": [plain.method, plain]}, serializer)["x"]
    assert result[0]() is result[1].__dict__
    assert result[1] is not plain


def test_partial(serializer):
    """A partial is copied with its arguments."""
    items = [3, 1]
    result = copy({"x": functools.partial(sorted, items)}, serializer)["x"]
    items.append(0)
    assert result() == [1, 3]


def test_nested_functions_and_local_classes():
    """Functions and classes that can't be imported travel to other processes."""

    class Local:
        def value(self):
            return offset + 1

    offset = 41
    result = copy({"x": [lambda: offset, Local()]}, pickled)["x"]
    assert result[0]() == 41
    assert result[1].value() == 42


def test_classes_of_main():
    """Instances of classes of `__main__` can be read in a process that has none."""
    script = """
        import sys, pickle
        from dataclasses import dataclass
        from parman.snapshots.take import pickled, take_snapshot

        @dataclass
        class Mine:
            a: int

        sys.stdout.buffer.write(pickle.dumps(take_snapshot({"x": Mine(3)}, pickled)))
    """
    stream = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, check=True).stdout
    assert pickle.loads(stream).load()["x"].a == 3


def test_not_picklable_passed_as_it_is():
    """What can't be copied is passed as it is, the rest is copied, and the caller is told the place."""
    told = []
    lock, holder = threading.Lock(), Plain(deep=Plain(lock=threading.Lock()))
    value = {"x": [1, {"a": lock}], "y": holder, "z": [[1]]}
    result = copy(value, in_process, label="f()", as_is=lambda path, leaf: told.append((path, leaf)))
    assert result["x"][1]["a"] is lock
    assert result["y"] is holder
    assert result["x"][1] is not value["x"][1]
    assert result["z"] == [[1]]
    assert result["z"][0] is not value["z"][0]
    assert told == [("x[1]['a']", lock), ("y", holder)]


def test_set_of_locks_passed_as_it_is():
    """A set is a leaf: one that holds a lock is passed as it is; so is a dict with a key that can't be copied."""
    locks = {threading.Lock()}
    keyed = {threading.Lock(): [1]}
    result = copy({"x": [locks, keyed]}, in_process)["x"]
    assert result[0] is locks
    assert result[1] is keyed


def test_not_picklable_named():
    """For other processes, what can't be pickled is an error that names the argument and the path to it."""
    data = {"x": [0, 1, Plain(inner={"k": Plain(lock=threading.Lock())})]}
    with pytest.raises(
        ArgumentError, match=r"^fit\(\): argument data\['x'\]\[2\]\.inner\['k'\]\.lock can't be pickled"
    ):
        take_snapshot({"a": 1, "data": data}, pickled, label="fit()")
    expected = pytest.raises(ArgumentError, match=r"argument file can't be pickled.*TextIOWrapper.*inside the task")
    with Path(__file__).open() as file, expected:
        take_snapshot({"file": file}, pickled, label="fit()")


def test_standard_streams():
    """The standard streams are those of the process where the copy is made."""
    assert copy([sys.stdout, sys.stderr], pickled) == [sys.stdout, sys.stderr]


def test_object_that_refuses(serializer):
    """An object whose own pickling raises is treated as any that can't be pickled."""

    class Refusing:
        def __reduce__(self):
            raise RuntimeError("not me")

    refusing = Refusing()
    if serializer is in_process:
        assert copy([refusing], serializer)[0] is refusing
    else:
        with pytest.raises(ArgumentError, match=r"value\[0\] can't be pickled.*not me"):
            take_snapshot([refusing], serializer)


@pytest.mark.slow
def test_too_deep():
    """Nesting that is too deep for pickle is an error for other processes, never a crash."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ArgumentError, match=r"x can't be pickled.*recursion"):
        take_snapshot({"x": deep}, pickled, label="f()")
    assert take_snapshot({"x": deep, "y": [1]}, in_process, label="f()").load()["y"] == [1]


# --- big things ---


def test_big_array_is_held_once(serializer):
    """A big array of which another snapshot is taken unchanged is held once; a changed one is held anew."""
    cache = SnapshotCache()
    array = big()
    first = take_snapshot({"x": array}, serializer, cache=cache)
    again = take_snapshot({"y": [array], "z": array.copy()}, serializer, cache=cache)
    assert set(again.buffers) == set(first.buffers)
    array[array.size // 2 + 1] = 5
    changed = take_snapshot({"x": array}, serializer, cache=cache)
    assert changed.buffers != first.buffers
    assert first.load()["x"].max() == 1
    assert changed.load()["x"].max() == 5


def test_cache_holds_nothing(serializer):
    """What no snapshot holds any more is not held."""
    cache = SnapshotCache()
    snapshot = take_snapshot({"x": big(), "s": ["y" * BIG]}, serializer, cache=cache)
    buffer = weakref.ref(snapshot.buffers[0])
    del snapshot
    assert buffer() is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(2 * BIG).reshape(2, -1)[:, ::2],
        lambda: np.asfortranarray(np.arange(BIG).reshape(4, -1)),
        lambda: np.arange(BIG).reshape(4, 8, -1).transpose(1, 0, 2),
        lambda: np.zeros(BIG, dtype="i4,f8"),
        lambda: np.zeros(BIG, dtype="f8").view(np.recarray),
        lambda: np.matrix(np.arange(BIG)),
        lambda: np.ma.masked_array(np.arange(BIG), np.arange(BIG) % 3 == 0),
        lambda: np.arange(BIG)[::-1],
        lambda: np.arange(10)[::-1],
        lambda: np.array(["a", None, 3], dtype=object),
        lambda: np.array(3.0),
        lambda: np.zeros((0, 3)),
    ],
)
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_arrays(make, serializer):
    """Arrays of any layout, class and type are copied, and the copies can be written."""
    array = make()
    cache = SnapshotCache()
    snapshot = take_snapshot({"x": array}, serializer, cache=cache)
    again = take_snapshot({"x": array}, serializer, cache=cache)
    assert snapshot.buffers == again.buffers
    assert len(snapshot.stream) < 20_000
    result = travelled(snapshot).load()["x"]
    assert type(result) is type(array)
    assert result.dtype == array.dtype
    assert result.shape == array.shape
    assert (result == array).all() or array.size == 0
    assert result.flags.writeable
    assert not np.shares_memory(result, array)


class Unit(np.ndarray):
    """An array with an attribute, which it pickles in a way of its own."""

    unit = None

    def __reduce__(self):
        make, args, state = super().__reduce__()
        return make, args, (state, self.unit)

    def __setstate__(self, state):
        super().__setstate__(state[0])
        self.unit = state[1]


@pytest.mark.parametrize("size", [3, BIG])
def test_arrays_with_attributes(size, serializer):
    """An array that pickles itself in a way of its own is copied that way, and held once nevertheless."""
    array = np.arange(size).view(Unit)
    array.unit = ["eV"]
    cache = SnapshotCache()
    snapshot = take_snapshot({"x": array}, serializer, cache=cache)
    again = take_snapshot({"x": array}, serializer, cache=cache)
    result = travelled(snapshot).load()["x"]
    assert result.unit == ["eV"]
    assert result.unit is not array.unit
    assert np.array_equal(result, array)
    if size == BIG:
        assert {id(item) for item in snapshot.beside} & {id(item) for item in again.beside}


def test_read_only_arrays_stay_so(serializer):
    """An array that can't be written is copied to one that can't."""
    for array in (np.arange(3), big()):
        array.flags.writeable = False
        assert not copy({"x": array}, serializer)["x"].flags.writeable


def test_load_readonly(serializer):
    """Copies that can't be written refer to the memory itself."""
    assert not take_snapshot({"x": big()}, serializer).load(readonly=True)["x"].flags.writeable


@pytest.mark.parametrize("make", [lambda: "ä\ud800" + "x" * BIG, lambda: b"x" * BIG, lambda: bytearray(BIG)])
def test_big_strings(make, serializer):
    """Big strings are held once beside the stream."""
    cache = SnapshotCache()
    string = make()
    alone = take_snapshot({"x": string}, serializer, cache=cache)
    assert isinstance(alone, AtomSnapshot) == (serializer is in_process and type(string) is not bytearray)
    snapshot = take_snapshot({"x": string, "y": [string, {"k": 1}]}, serializer, cache=cache)
    again = take_snapshot({"x": string}, serializer, cache=cache)
    assert len(snapshot.stream) < 1000
    assert set(again.beside[-1:]) <= set(snapshot.beside)
    result = travelled(snapshot).load()
    assert result["x"] == result["y"][0] == string
    assert (result["x"] is string) == (serializer is in_process and type(string) is not bytearray)


MEMORY = """
    import resource, sys
    import numpy as np
    from parman.snapshots.cache import SnapshotCache
    from parman.snapshots.take import in_process, pickled, take_snapshot
    serializer = {"in_process": in_process, "pickled": pickled}[sys.argv[1]]

    def used():
        with open("/proc/self/smaps_rollup") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith(("Pss:", "Swap:"))) / 1024

    array = np.ones(25_000_000)
    base, cache = used(), SnapshotCache()
    snapshots = [take_snapshot({"x": array, "i": i}, serializer, cache=cache) for i in range(int(sys.argv[2]))]
    assert len({buffer for item in snapshots for buffer in item.buffers}) == 1
    del array
    copies = [item.load() for item in snapshots[:50]]
    assert {copy["x"][::4000].sum() for copy in copies} == {6250.0}
    held = used() - base
    assert -100 < held < 60, held
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "calls"), [("in_process", 100), ("pickled", 50)])
def test_memory(name, calls):
    """200 MB in a hundred snapshots, fifty of them loaded and read, are 200 MB in all."""
    subprocess.run([sys.executable, "-c", textwrap.dedent(MEMORY), name, str(calls)], check=True)


# --- memory maps ---


@pytest.fixture
def mapped(tmp_path):
    """Write a file of a million numbers."""
    path = tmp_path / "numbers"
    np.arange(1_000_000.0).tofile(path)
    return path


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a[10:20],
        lambda a: a[123456::7],
        lambda a: a[::-3],
        lambda a: a[:999_000].reshape(999, 1000)[5:, ::2].T,
        np.asarray,
        lambda a: np.asarray(a)[5:10],
    ],
)
@pytest.mark.parametrize("offset", [0, 80])
def test_map_is_a_reference(mapped, view, offset, serializer):
    """A memory map, or part of one, travels as a reference to the file, in which the task's writes are seen."""
    array = view(np.memmap(mapped, float, "r+", offset=offset))
    snapshot = take_snapshot({"x": array}, serializer)
    assert snapshot.nbytes < 1500
    result = travelled(snapshot).load()["x"]
    assert type(result) is type(array)
    assert np.array_equal(result, array)
    result[...] = -1
    assert (array == -1).all()
    again = copy({"x": result[:2]}, pickled)["x"]
    assert np.array_equal(again, result[:2])


def test_map_modes(mapped, serializer):
    """A map that can't be written gives one that can't; a private one gives a private one."""
    assert not copy({"x": np.memmap(mapped, float, "r")}, serializer)["x"].flags.writeable
    private = np.memmap(mapped, float, "c")
    snapshot = take_snapshot({"x": private}, serializer)
    assert snapshot.nbytes < 1500
    snapshot.load()["x"][0] = 5
    assert private[0] == 0
    assert np.fromfile(mapped)[0] == 0


def test_changed_private_map(mapped, serializer):
    """A private map that differs from its file is copied."""
    private = np.memmap(mapped, float, "c")
    private[3] = -1
    assert copy({"x": private}, serializer)["x"][3] == -1


def test_lost_map(mapped):
    """A map whose file has gone is copied for other processes."""
    array = np.memmap(mapped, float, "r")
    mapped.unlink()
    assert np.array_equal(copy({"x": array}, pickled)["x"], array)


# --- hidden futures ---

HIDDEN: Future[int] = Future()


def _objects():
    array = np.empty((2, 2), object)
    array[1, 0] = HIDDEN
    return array


def _closure():
    y = [HIDDEN]
    return lambda: y


def _slots():
    class Slots:
        __slots__ = ("a",)

    obj = Slots()
    obj.a = HIDDEN
    return obj


HIDING = [
    (lambda: {HIDDEN: 1}, "x.<key>"),
    (lambda: [{1, HIDDEN}], "x[0].<item>"),
    (_objects, "x[1, 0]"),
    (lambda: functools.partial(print, HIDDEN), "x.args[0]"),
    (lambda: Plain(a=HIDDEN).method, "x.__self__.a"),
    (_closure, "x.<closure>.y[0]"),
    (lambda: Plain(f=_closure()), "x.f.<closure>.y[0]"),
    (_slots, "x.a"),
    (lambda: {"io": [0, Plain(cell=HIDDEN)]}, "x['io'][1].cell"),
    (lambda: [collections.UserList([HIDDEN])], "x[0].data[0]"),
    (lambda: ValueError(HIDDEN), "x.args[0]"),
    (lambda: Data(Plain(a=HIDDEN)), "x.a.a"),
]


@pytest.mark.parametrize("beside", [None, HIDDEN, Future()], ids=["alone", "same beside", "other beside"])
@pytest.mark.parametrize(("make", "place"), HIDING, ids=[place for _, place in HIDING])
def test_hidden_future(make, place, beside, serializer):
    """A future where it can't be replaced is an error that names the place, whatever futures are beside it."""
    with pytest.raises(HiddenFutureError) as caught:
        take_snapshot({"a": beside, "x": make()}, serializer, label="fit()")
    assert str(caught.value).startswith(f"fit(): argument {place} is a future where it can't")


def test_hidden_behind_a_weak_reference():
    """A weak reference to a future is an error too."""
    with pytest.raises(HiddenFutureError, match=r"argument x\.ref\(\) is a future"):
        take_snapshot({"x": Plain(ref=weakref.ref(HIDDEN))}, in_process, label="fit()")


def test_hidden_in_what_is_passed_as_it_is():
    """A future in an object that can't be copied is found too."""
    with pytest.raises(HiddenFutureError, match=r"argument x\.future is a future"):
        take_snapshot({"x": Plain(lock=threading.Lock(), future=HIDDEN)}, in_process, label="fit()")


class Inventive:
    """Makes a future when it is pickled, so that no search can find it."""

    def __reduce__(self):
        return list, ((Future(),),)


def test_hidden_out_of_nowhere(serializer):
    """A future that the copying meets and no search finds is an error all the same."""
    with pytest.raises(HiddenFutureError, match="holds a future somewhere"):
        take_snapshot({"x": Inventive()}, serializer, label="fit()")


# --- placeholders ---


class Whole(Placeholder):
    def __init__(self, future, changes):
        self.future, self.changes = future, changes

    def _parman_pass(self):
        return self.future, self.changes


def test_placeholder(serializer):
    """A placeholder becomes the whole object, or a copy of it with the assigned fields."""
    future: Future[Any] = Future()
    other: Future[Any] = Future()
    whole = Whole(future, {})
    value = {"x": [whole, whole], "y": Whole(future, {"b": [other, 1]})}
    snapshot = take_snapshot(value, serializer, label="f()")
    assert snapshot.futures == (future, other)
    result = travelled(snapshot).load((Frost(1, 2), 3))
    assert result["x"] == [Frost(1, 2)] * 2
    assert result["x"][0] is result["x"][1]
    assert result["y"] == Frost(1, [3, 1])


def test_hidden_placeholder(serializer):
    """A placeholder that is hidden is an error, as a future is."""
    with pytest.raises(HiddenFutureError, match=r"x\.a is a future"):
        take_snapshot({"x": Plain(a=Whole(Future(), {}))}, serializer, label="f()")


# --- iterators and random generators ---


@pytest.mark.parametrize(
    "make",
    [lambda: iter([1]), lambda: (i for i in "a"), lambda: map(str, [1]), lambda: zip([1], [2], strict=True)],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_iterators(make, serializer):
    """An iterator is an error that says to pass a list."""
    with pytest.raises(ArgumentError, match=r"^f\(\): argument x\[0\] is an? .*pass a list"):
        take_snapshot({"x": [make()]}, serializer, label="f()")


def test_files_are_no_iterators():
    """A file can be read line by line, but is passed as any other object."""
    assert copy({"x": [io.StringIO("text")]}, in_process)["x"][0].read() == "text"


GENERATORS = [
    lambda: np.random.default_rng(1),
    lambda: np.random.RandomState(1),
    lambda: np.random.PCG64(1),
    lambda: random.Random(1),
]


@pytest.mark.parametrize("make", GENERATORS)
def test_generator_in_two_calls(make, serializer):
    """A random generator may be given to one call only; others like it may be given to others."""
    cache = SnapshotCache()
    generator = make()
    take_snapshot({"rng": generator, "again": [generator]}, serializer, cache=cache, label="f()")
    for _ in range(50):
        take_snapshot({"rng": make()}, serializer, cache=cache, label="f()")
    with pytest.raises(ArgumentError, match=r"^f\(\): argument rngs\[0\] is a random generator.*one of its own"):
        take_snapshot({"rngs": [generator]}, serializer, cache=cache, label="f()")
    take_snapshot({"rng": generator}, serializer, cache=SnapshotCache(), label="f()")


def test_generator_and_its_bits(serializer):
    """A numpy generator and the source of its bits are the same numbers; the cure is named."""
    cache = SnapshotCache()
    generator = np.random.default_rng(1)
    take_snapshot({"rng": generator.bit_generator}, serializer, cache=cache)
    with pytest.raises(ArgumentError, match=r"rng\.spawn\(n\)"):
        take_snapshot({"rng": generator}, serializer, cache=cache)


def test_system_random(serializer):
    """The system's random numbers have no state that two calls could share."""
    if serializer is in_process:
        cache = SnapshotCache()
        for _ in range(2):
            take_snapshot({"rng": random.SystemRandom()}, serializer, cache=cache)


def test_generator_inside_an_object(serializer):
    """A counter or generator that belongs to an object is copied with it."""
    cache = SnapshotCache()
    model = Plain(rng=np.random.default_rng(1))
    for _ in range(2):
        snapshot = take_snapshot({"x": model}, serializer, cache=cache)
        assert snapshot.load()["x"].rng.random() == np.random.default_rng(1).random()


# --- shares ---


def test_share_in_process():
    """Within a process tasks are given the one value of a share, whose arrays can't be written."""
    share = Share(take_snapshot({"a": big(), "b": [np.arange(3)]}, in_process))
    snapshot = take_snapshot({"x": [share]}, in_process)
    assert snapshot.shares == (share,)
    value = snapshot.load()["x"][0]
    assert value is share.value
    for array in (value["a"], value["b"][0]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_share_pickled():
    """Between processes a share travels as its token; a worker loads it once."""
    share = Share(take_snapshot({"a": big()}, pickled))
    snapshot = take_snapshot({"x": [share], "y": share}, pickled)
    assert snapshot.shares == (share,)
    assert snapshot.nbytes < 500
    token, stream = share.token, pickle.dumps(snapshot)
    assert pickle.loads(stream).load()["y"] is share.value
    asset = travelled(share.snapshot)
    del share, snapshot
    with pytest.raises(LookupError, match="did not reach"):
        shared_value(token)
    installed = install_share(token, asset)
    result = pickle.loads(stream).load()
    assert result["x"][0] is result["y"] is pickle.loads(stream).load()["y"]
    assert not result["y"]["a"].flags.writeable
    del installed
    with pytest.raises(LookupError, match="did not reach"):
        shared_value(token)


def test_share_of_futures(serializer):
    """Futures can't be shared."""
    with pytest.raises(ArgumentError, match="resolve"):
        Share(take_snapshot([Future()], serializer))


def test_snapshot_of_this_process_does_not_travel():
    """A snapshot that refers to objects of this process can't be pickled."""
    with pytest.raises(TypeError, match="one process"):
        pickle.dumps(take_snapshot([lambda: 1], in_process))


# --- changes in place ---


def watched(value):
    return Watched(take_snapshot(value, in_process), ())


def test_changes():
    """What a task changed in its arguments is told by name, whatever it is."""
    value = {
        "same": [1, {"k": np.arange(3)}, {1, 2}, big(), big()[::2], print, "x" * BIG],
        "atom": 3,
        "list": [1],
        "small": np.arange(3),
        "large": big(),
        "deep": Plain(a={"k": [1]}),
        "function": [print],
        "lock": [threading.Lock()],
    }
    watch = watched(value)
    arguments = watch.arguments
    assert watch.changed(None) == []
    arguments["list"].append(2)
    arguments["small"][1] = 5
    arguments["large"][77777] = 5
    arguments["deep"].a["k"][0] = 2
    arguments["function"][0] = len
    arguments["lock"].append(1)
    assert watch.changed(None) == ["list", "small", "large", "deep", "function", "lock"]


GIVEN_BACK = {
    "itself": lambda x: x,
    "in a tuple": lambda x: (1, x),
    "in a dict": lambda x: {"a": [x]},
    "in an object": lambda x: Plain(a=x),
    "a part": lambda x: x["fields"],
    "another part": lambda x: [x["fields"]["a"], x["fields"]["b"]],
    "views": lambda x: (x["fields"]["a"][1:], x["fields"]["b"].T),
    "memory": lambda x: (memoryview(x["fields"]["a"]), x["fields"]["b"]),
}


@pytest.mark.parametrize("way", GIVEN_BACK)
def test_what_is_given_back_is_not_lost(way):
    """A changed argument that is reached from the result, or whose changed parts are, is not told."""
    watch = watched({"x": {"fields": {"a": np.ones(3), "b": big()}, "more": [1, np.ones(2)]}})
    x = watch.arguments["x"]
    x["fields"]["a"] *= 2
    x["fields"]["b"] += 1
    assert watch.changed(GIVEN_BACK[way](x)) == []


@pytest.mark.parametrize("way", ["a part", "another part", "views"])
def test_what_is_changed_beside_the_part_that_is_given_back_is_lost(way):
    """The rest of an argument is told, if it was changed as well."""
    for change in (lambda x: x["more"].append(2), lambda x: x["more"][1].fill(3), lambda x: x.update(new=1)):
        watch = watched({"x": {"fields": {"a": np.ones(3), "b": big()}, "more": [1, np.ones(2)]}})
        x = watch.arguments["x"]
        x["fields"]["a"] *= 2
        change(x)
        assert watch.changed(GIVEN_BACK[way](x)) == ["x"]


class Lazy:
    def __init__(self):
        self.x, self._cache = [1], {}

    @functools.cached_property
    def total(self):
        return sum(self.x)


def test_what_is_computed_again_is_no_change():
    """The values of caches are not looked at: cached properties, and attributes named so."""
    watch = watched({"x": [Lazy()]})
    lazy = watch.arguments["x"][0]
    lazy._cache[1] = lazy.total
    assert watch.changed(None) == []
    lazy.x.append(2)
    assert watch.changed(None) == ["x"]


def test_the_look_for_changes_reads_no_big_array():
    """A page that nobody wrote is not compared; one that was is, whatever is in it."""
    count = 0

    def equals(self, content, _equals=Buffer.equals):
        nonlocal count
        count += 1
        return _equals(self, content)

    with pytest.MonkeyPatch.context() as patch:
        watch = watched({"x": [big(i) for i in range(8)]})
        patch.setattr(Buffer, "equals", equals)
        assert watch.changed(None) == []
        assert count == (0 if is_untouched_known() else 8)
        watch.arguments["x"][3][5] = watch.arguments["x"][3][5]
        assert watch.changed(None) == []
        assert count == (1 if is_untouched_known() else 16)
        watch.arguments["x"][3] = watch.arguments["x"][3].copy()
        assert watch.changed(None) == []
        watch.arguments["x"][3][-1] += 1
        assert watch.changed(None) == ["x"]


def is_untouched_known():
    return sys.platform == "linux" and pages._tells()


def test_the_look_for_changes_never_raises():
    """An argument that can't be pickled any more is not said to have changed."""
    watch = watched({"x": [1]})
    watch.arguments["x"].append(threading.Lock())
    assert watch.changed(None) == []


# --- what pickles forget ---


class Noted(np.ndarray):
    pass


class Constructed:
    def __init__(self, x):
        self.x, self.label, self.numbers = x, None, [0]

    def __reduce__(self):
        return Constructed, (self.x,)


class Dropping:
    """Leaves out a cache, something private and something public."""

    def __init__(self):
        self.a, self.lock, self._private, self._cache = 1, threading.Lock(), [2], {1: 2}

    def __getstate__(self):
        return {"a": self.a}


class CopiesItself:
    def __init__(self, x):
        self.x, self.copies, self.big = x, 0, big()

    def __deepcopy__(self, memo):
        new = object.__new__(CopiesItself)
        new.x, new.big, new.copies = deepcopy(self.x, memo), deepcopy(self.big, memo), self.copies + 1
        return new

    def __reduce__(self):
        raise TypeError("only copied")


class NotCopied:
    def __deepcopy__(self, memo):
        raise RuntimeError("only leaves can be copied")


def told_of(value, serializer, cache=None):
    found: list[tuple[type, list[str]]] = []
    snapshot = take_snapshot(value, serializer, cache=cache, forgets=lambda *one: found.append(one))
    return snapshot, found


@pytest.mark.parametrize("size", [3, BIG])
def test_attributes_of_array_subclasses(serializer, size):
    """What was set on an instance of a subclass of arrays comes along, also where the class does nothing for it."""
    array = np.arange(float(size)).view(Noted)
    array.note = {"a": [1]}
    result = copy({"x": array, "note": array.note}, serializer)
    assert type(result["x"]) is Noted
    assert result["x"].note is result["note"]
    assert result["x"].note is not array.note
    assert (np.asarray(result["x"]) == np.asarray(array)).all()


@pytest.mark.parametrize("size", [3, BIG])
def test_masks(serializer, size):
    """A masked array keeps a hard mask, its fill value, attributes, and a mask that is shared or none."""
    hard = np.ma.masked_array(np.arange(float(size)), mask=np.arange(size) % 2, hard_mask=True, fill_value=-1)
    hard.note = "n"
    hard, view, bare = copy([hard, hard[1:], np.ma.masked_array(np.ones(size))], serializer)
    assert (hard.hardmask, hard.fill_value, hard.note, view.hardmask, view.sharedmask) == (True, -1, "n", True, True)
    hard[:] = 9
    assert hard.data[:3].tolist() == [9, 1, 9]
    assert bare.mask is np.ma.nomask
    assert copy(np.ma.masked, serializer) is np.ma.masked


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(6.0).reshape(2, 3),
        lambda: np.arange(6.0).reshape(2, 3)[:, ::2],
        lambda: np.ones((BIG // 8, 2))[:, ::2],
        lambda: np.array([1, "a", None], object),
    ],
)
def test_arrays_that_cannot_be_written(serializer, make):
    """An array that can't be written is one for the task too."""
    array = make()
    array.flags.writeable = False
    result = copy(array, serializer)
    assert not result.flags.writeable
    assert result.tolist() == array.tolist()


def test_what_a_pickle_forgets_is_carried(serializer):
    """Attributes that a class leaves out of its pickle come along, from the first instance on, as do later ones."""
    first, second = Constructed(1), Constructed(2)
    first.label, second.label, second.numbers, second.more = "a", "b", [1], 5
    cache = SnapshotCache()
    for obj in (first, second, first):
        snapshot, told = told_of([obj], serializer, cache)
        assert not told
        result = travelled(snapshot).load()[0]
        assert vars(result) == vars(obj)
    assert result.numbers is not first.numbers


def test_what_cannot_be_carried_is_told_once():
    """What is left out and can't be pickled is told with its name, once a block; private things are left out."""
    cache = SnapshotCache()
    for _ in range(2):
        snapshot, told = told_of({"x": [Dropping()]}, pickled, cache)
        assert told == ([(Dropping, ["lock"])] if _ == 0 else [])
        assert vars(snapshot.load()["x"][0]) == {"a": 1}


def test_in_this_process_nothing_is_lost():
    """What is left out of a pickle, and can't be copied, is passed by reference, and nothing is said, but of caches."""
    obj = Dropping()
    snapshot, told = told_of(obj, in_process)
    assert not told
    result = snapshot.load()
    assert result.lock is obj.lock
    assert result._private == [2]
    assert result._private is not obj._private
    assert not hasattr(result, "_cache")


def test_what_is_carried_may_become_impossible():
    """An attribute that was carried, and can't be pickled in a later instance, is no error."""
    cache, first, second = SnapshotCache(), Constructed(1), Constructed(2)
    first.label, second.label = "a", threading.Lock()
    told_of(first, pickled, cache)
    snapshot, _ = told_of(second, pickled, cache)
    assert snapshot.load().x == 2


def test_a_class_copies_itself():
    """In this process an object is copied as its class says; what several hold stays one, big arrays are held once."""
    obj = CopiesItself([1])
    other = CopiesItself(obj.x)
    cache = SnapshotCache()
    snapshot = take_snapshot({"x": [obj], "y": other, "z": obj}, in_process, cache=cache)
    obj.x.append(2)
    obj.big[0] = 7
    first, second = snapshot.load(), snapshot.load()
    assert first["x"][0] is first["z"]
    assert first["x"][0] is not second["x"][0]
    assert first["y"].x is first["z"].x
    assert first["z"].x == [1]
    assert first["z"].copies == 2
    first["z"].big[1] = 8
    assert second["z"].big[:2].tolist() == [1, 1]
    assert first["z"].big is not first["y"].big


def test_what_refuses_to_be_copied_is_passed_as_it_is():
    """An object whose `__deepcopy__` raises is passed as it is, and told."""
    told: list[str] = []
    obj = NotCopied()
    snapshot = take_snapshot({"x": [obj]}, in_process, label="f()", as_is=lambda place, _: told.append(place))
    assert snapshot.load()["x"][0] is obj
    assert told == ["x[0]"]


def test_a_future_in_what_copies_itself_is_found():
    """A hidden future is an error, also where a class copies itself."""
    with pytest.raises(HiddenFutureError, match=r"x\.x"):
        take_snapshot({"x": CopiesItself([Future()])}, in_process, label="f()")


def test_variables_of_uncertainties_stay_the_same():
    """A variable is the same in all that depends on it, wherever that was computed."""
    import uncertainties

    x = uncertainties.ufloat(1, 0.1)
    for serializer in (in_process, pickled):
        assert (2 * x - copy({"y": 2 * x}, serializer)["y"]).std_dev == 0
        assert copy([x], serializer)[0] is x
    changed = take_snapshot(x, pickled)
    x.std_dev = 0.2
    assert changed.load().std_dev == 0.1


def test_quantities_keep_their_registry():
    """In this process a quantity belongs to the registry of the user; elsewhere it is told that it does not."""
    import pint

    quantity = pint.UnitRegistry().Quantity(2.0, "km")
    assert type(copy(quantity, in_process)) is type(quantity)
    assert copy(quantity, in_process) == quantity
    _, told = told_of(quantity, pickled)
    assert told == [(type(quantity), ["__class__"])]


def test_generators_of_other_libraries():
    """Generators are known by their name and module, or by what they can do."""
    called = type("Generator", (), {"__module__": "torch._C"})
    able = type("Congruential", (), {"random": lambda self: 1, "seed": lambda self, seed: None})
    for cls in (called, able):
        cache, obj = SnapshotCache(), cls()
        take_snapshot({"x": obj}, in_process, cache=cache, label="f()")
        with pytest.raises(ArgumentError, match="the same numbers"):
            take_snapshot({"x": obj}, in_process, cache=cache, label="g()")
    other = type("Generator", (), {"__module__": "pages"})()
    for _ in range(2):
        take_snapshot({"x": other}, in_process, cache=cache)


def test_seeds_that_are_passed_twice_are_told(serializer):
    """A sequence of seeds gives the same generator twice, as it should; what it spawns would differ, so it is told."""
    cache, told, seeds = SnapshotCache(), [], np.random.SeedSequence(1)
    for _ in range(2):
        take_snapshot({"x": [seeds]}, serializer, cache=cache, label="f()", seeds=told.append)
    assert told == ["x[0]"]
