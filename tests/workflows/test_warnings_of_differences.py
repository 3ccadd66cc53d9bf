# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the user is told where a block differs from the serial script, and what travels with a task."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import threading
import weakref
from concurrent.futures import Future
from typing import Any

import numpy
import pytest
from helpers.futures import succeeded
from helpers.scripts import run_script

from parman import ConcurrentRunner, DryRunner, HiddenFutureError, resolve, task, workflow

POOLS = ("threads:2", "processes:2")
RUNNERS = ("serial", *POOLS)


@pytest.fixture
def told(caplog):
    """Return what was told so far, each as it was logged."""

    def texts() -> list[str]:
        records = [record for record in caplog.records if record.name == "parman"]
        assert all(record.levelno == logging.WARNING for record in records)
        return [record.getMessage() for record in records]

    return texts


def here(offset: int = 0) -> str:
    """Return the caller's place, as messages name it."""
    frame = inspect.currentframe().f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno + offset}"


# --- arguments that are changed in place ---


class Model:
    """An object with state."""

    def __init__(self) -> None:
        self.fitted = False
        self.weights = [1.0, 2.0]

    @task
    def fit(self, number: int) -> float:
        self.fitted = True
        return float(number)

    @task
    def predict(self, number: int) -> float:
        return self.weights[0] * number

    @functools.cached_property
    def norm(self) -> float:
        return sum(self.weights)

    @task
    def normalized(self, number: int) -> float:
        return number / self.norm


@task
def append(items: list[int], item: int) -> int:
    items.append(item)
    return len(items)


@task
def scale(array: numpy.ndarray, by: float) -> float:
    array *= by
    return float(array.sum())


@task
def look(items: Any) -> int:
    return len(list(items))


@task
def add(x: int, y: int) -> int:
    return x + y


def test_changed_argument_is_told(told):
    """The serial runner says once, with the line, that a task changes its argument in place."""
    items = [1]
    with workflow("serial"):
        for item in range(3):
            place = here(1)
            assert append(items, item) == 2
    (text,) = told()
    assert text.startswith(f"{place}: append() changed its argument 'items' in place")
    assert "return the changed object" in text
    assert items == [1]


def test_changed_self_is_told(told):
    """So it says of a method that changes the object."""
    model = Model()
    with workflow("serial"):
        place = here(1)
        assert model.fit(1) == 1.0
    (text,) = told()
    assert text.startswith(place)
    assert "'self'" in text
    assert "fit" in text
    assert not model.fitted


@pytest.mark.parametrize("size", [3, 1_000_000])
def test_changed_array_is_told(told, size):
    """So it says of small and of big arrays."""
    with workflow("serial"):
        assert scale(numpy.ones(size), 2.0) == 2.0 * size
    (text,) = told()
    assert "'array'" in text


def test_changed_result_of_another_call_is_told(told):
    """So it says of an argument that came from another call."""
    with workflow("serial"):
        items = make_list(3)
        assert append(items, 1) == 4
    (text,) = told()
    assert "'items'" in text


@task
def make_list(n: int) -> list[int]:
    return list(range(n))


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        {"a": [1]},
        {1, 2, 3},
        numpy.ones(3),
        numpy.ones(1_000_000),
        "text" * 10,
        range(3),
        (numpy.float64(1.0), [numpy.ones(2)] * 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_reading_is_not_told(told, value):
    """Nothing is said of a task that only reads."""
    with workflow("serial"):
        look(value)
        Model().predict(3)
    assert told() == []


def test_cached_values_are_no_change(told):
    """An object that computes a cached property when it is asked is not changed."""
    with workflow("serial"):
        assert Model().normalized(3) == 1.0
    assert told() == []


def test_own_variables_are_no_change(told):
    """Giving a parameter another value is no change of the argument."""

    @task
    def rebind(items: list[int]) -> int:
        items = [*items, 1]
        return len(items)

    with workflow("serial"):
        assert rebind([1]) == 2
    assert told() == []


@pytest.mark.parametrize("runner", POOLS)
def test_changes_are_not_looked_for_elsewhere(told, runner):
    """Other runners don't pay for looking; the change is lost there just the same."""
    items = [1]
    with workflow(runner):
        assert resolve(append(items, 1)) == 2
    assert told() == []
    assert items == [1]


# --- tasks in tasks ---


@task
def outer(n: int) -> int:
    return sum(add(i, 1) for i in range(n))


@pytest.mark.parametrize("runner", RUNNERS)
def test_tasks_inside_tasks_are_told(told, runner):
    """That tasks ran one after another inside a task is told once, with the line of the call."""
    with workflow(runner):
        place = here(1)
        assert resolve([outer(3), outer(4)]) == [6, 10]
    (text,) = told()
    assert text.startswith(f"{place}: outer() called the tasks add ")
    assert "one after another" in text


def test_tasks_outside_of_blocks_are_not_told(told):
    """Without a block, tasks that call tasks are plain functions, and nothing is said."""
    assert outer(3) == 6
    assert told() == []


# --- globals ---

counter = 0
BIG = numpy.zeros(2_000_000)
MIDDLE = numpy.zeros(1_000_000)


def sum_of_big() -> float:
    """Read a big global."""
    return float(BIG.sum())


def local_tasks() -> dict[str, Any]:
    """Make tasks that can't be imported, so that they travel with their globals."""

    @task
    def count(n: int) -> int:
        global counter
        counter += n
        return counter

    @task
    def read_big(n: int) -> float:
        return float(BIG.sum()) + n

    @task
    def read_middle(n: int) -> float:
        return float(MIDDLE.sum()) + n

    @task
    def read_by_helper(n: int) -> float:
        return sum_of_big() + n

    array = numpy.zeros(2_000_000)

    @task
    def read_closure(n: int) -> float:
        return float(array.sum()) + n

    return dict(locals())


def test_assigned_global_is_told_on_processes(told):
    """A task that assigns to a global is told of when it is first called, with the line, once a block."""
    count = local_tasks()["count"]
    with workflow("processes:1"):
        place = here(1)
        results = [count(1) for _ in range(3)]
        resolve(results)
    (text,) = told()
    assert text.startswith(f"{place}: count() assigns to the global 'counter'")
    assert "return the value" in text
    assert counter == 0


def test_big_globals_are_told(told):
    """A global of more than 10 MB that travels with a task is told of by name, size and line."""
    with workflow("processes:1"):
        place = here(1)
        resolve([local_tasks()["read_big"](i) for i in range(3)])
    (text,) = told()
    assert text.startswith(f"{place}: ")
    assert "variable 'BIG'" in text
    assert "16 MB" in text
    assert "share()" in text


@pytest.mark.parametrize(("name", "said"), [("read_by_helper", "sum_of_big"), ("read_closure", "array")])
def test_big_values_of_helpers_and_closures_are_told(told, name, said):
    """So is one that a helper function brings along, or a variable of the function around."""
    with workflow("processes:1"):
        resolve(local_tasks()[name](1))
    if name == "read_by_helper":
        assert told() == []  # a helper that can be imported does not travel
    else:
        (text,) = told()
        assert f"'{said}'" in text


def test_other_globals_are_not_told(told):
    """Nothing is said of smaller ones, of those of importable tasks, and where nothing travels."""
    with workflow("processes:1"):
        resolve([local_tasks()["read_middle"](1), importable(1)])
    with workflow("threads:1"):
        resolve(local_tasks()["read_big"](1))
    assert told() == []


@task
def importable(n: int) -> float:
    return float(BIG.sum()) + n


# --- what is passed as it is ---


class Locked:
    """Something that can't be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


@task
def use(thing: Any, number: int) -> int:
    return number


@task
def use_otherwise(thing: Any) -> int:
    return 0


@pytest.mark.parametrize("runner", ["serial", "threads:2"])
def test_things_passed_as_they_are_are_told(told, runner):
    """What can't be copied is told of once for each type and task, with the place in the argument and the line."""
    with workflow(runner):
        place = here(1)
        resolve([use({"a": [threading.Lock()]}, i) for i in range(3)])
        resolve([use(threading.Event(), 1), use_otherwise(threading.Lock())])
        resolve([use(Locked(), i) for i in range(3)])
    first, *others = told()
    assert first.startswith(f"{place}: use() is given thing['a'][0] as it is, since a lock can't be copied")
    assert len(others) == 3


# --- what travels, and how often ---

_TRAVELS = """
import os
from parman import resolve, task, workflow

class Luggage:
    packed = 0
    def __reduce__(self):
        Luggage.packed += 1
        return unpack, ()

def unpack():
    unpacked.append(os.getpid())
    return Luggage()

unpacked = []
luggage = Luggage()
factor = 2

def helper(x):
    return x * factor

@task
def compute(x: int) -> tuple[int, int, int]:
    luggage
    return helper(x), os.getpid(), len(unpacked)

with workflow("processes:2"):
    first = compute(1)
    factor = 10
    others = [compute(i) for i in range(50)]
    results = [resolve(result) for result in [first, *others]]
assert [value for value, _, _ in results] == [2, *[2 * i for i in range(50)]], results
assert Luggage.packed == 1, Luggage.packed
print(sorted({count for _, _, count in results}))

with workflow("processes:2"):
    assert resolve(compute(1))[0] == 10
"""


def test_function_and_globals_travel_once(tmp_path):
    """A function of `__main__` sees its globals as at the block's first call, sent once to each worker."""
    done = run_script(_TRAVELS)
    assert done.returncode == 0, done.stderr
    assert done.stdout in ("[1]\n", "[0]\n")


_COPY = """
import os
from parman import resolve, task, workflow

seen = []

@task
def note(x: int) -> tuple[int, int]:
    seen.append(x)
    return os.getpid(), len(seen)

with workflow("processes:1"):
    counts = [resolve(note(i))[1] for i in range(3)]
assert counts == [1, 2, 3], counts
assert seen == []
"""


def test_one_copy_of_the_globals_a_worker():
    """The globals of a `__main__` function are one copy a worker, and the script's own are untouched."""
    done = run_script(_COPY)
    assert done.returncode == 0, done.stderr


# --- futures in a task's own variables ---


def test_future_in_a_closure_variable():
    """A future that a task's function refers to is an error at the call that names the variable."""
    future: Future[int] = succeeded(1)

    @task
    def careless(x: int) -> Any:
        return x, future

    with pytest.raises(HiddenFutureError, match=r"careless\(\) uses future"), workflow("threads:1"):
        careless(1)


def test_future_in_a_global(monkeypatch):
    """So is one in a global that the function loads, also inside of something."""
    monkeypatch.setitem(globals(), "table", {"a": [succeeded(1)]})
    with pytest.raises(HiddenFutureError, match=r"table\['a'\]\[0\]"), workflow("processes:1"):
        uses_table(1)


table: Any = None


@task
def uses_table(x: int) -> Any:
    return table, x


# --- threads of numerical libraries ---

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@task
def variables() -> list[str | None]:
    return [os.environ.get(name) for name in VARIABLES]


@pytest.fixture
def no_variables(monkeypatch):
    """Have an environment that says nothing of threads."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize(("choice", "expected"), [("auto", "1"), (3, "3"), (None, None)])
def test_threads_of_numerical_libraries(choice, expected):
    """Workers share the CPUs out among the numerical libraries, or give them a number, or leave them alone."""
    cpus = len(os.sched_getaffinity(0))
    with ConcurrentRunner.processes(cpus, inner_threads=choice) as runner, workflow(runner):
        assert resolve(variables()) == [expected] * 3
    assert variables() == [None] * 3


def test_the_users_number_of_threads_stays(monkeypatch):
    """A number of threads in the environment is the user's choice, which is left alone."""
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with workflow("processes:2"):
        assert resolve(variables())[0] == "5"


# --- what pickles forget ---


class Leaving:
    def __init__(self):
        self.kept, self.left = 1, threading.Lock()

    def __getstate__(self):
        return {"kept": self.kept}


@task
def take(x: Any) -> int:
    return 1


@task
def give() -> Any:
    return Leaving()


@pytest.mark.parametrize("runner", ["processes:1", "dry"])
def test_what_the_pickle_of_an_argument_forgets_is_told(runner, caplog):
    """An attribute that can't travel is told with its class and name and the line, once a block, in a dry run too."""
    with workflow(DryRunner(proceed=True) if runner == "dry" else runner):
        for _ in range(3):
            take([Leaving()])
    told = [r.getMessage() for r in caplog.records if "forgets" in r.getMessage()]
    assert len(told) == 1
    assert all(text in told[0] for text in (__file__, "take()", "Leaving", "'left'"))


def test_what_the_pickle_of_a_result_forgets_is_told(caplog):
    """So is one of a result, which a worker notices."""
    with workflow("processes:1"):
        resolve([give() for _ in range(3)])
    told = [r.getMessage() for r in caplog.records if "forgets" in r.getMessage()]
    assert len(told) == 1
    assert all(text in told[0] for text in (__file__, "give()", "Leaving", "'left'"))


class Weak:
    """Refers weakly to something, as the namespaces that pydantic keeps in its classes do."""

    def __init__(self, thing: object) -> None:
        self.reference = None if thing is None else weakref.ref(thing)

    def __reduce__(self) -> Any:
        return Weak, (self.reference() if self.reference else None,)


def test_a_weak_reference_to_what_is_gone_is_not_missed(caplog):
    """What a weak reference referred to is gone: nothing is lost on the way, and nothing is said."""
    weak = Weak(Leaving())
    with workflow("processes:1"):
        assert resolve(take(weak)) == 1
    assert "forgets" not in caplog.text


@pytest.mark.parametrize("runner", ["serial", "threads:1"])
def test_in_this_process_nothing_is_forgotten(runner, caplog):
    """On serial and threads nothing is lost and nothing is said."""

    @task
    def left(x: Any) -> Any:
        return x.left

    obj = Leaving()
    with workflow(runner):
        assert resolve(left(obj)) is obj.left
    assert not caplog.records
