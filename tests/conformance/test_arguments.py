# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a task receives: trees with values for futures, as they were at the call, checked at the caller's line."""

from __future__ import annotations

import logging
import random
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from shapes import Fit, nested

from parman import (
    ArgumentError,
    ConcurrentRunner,
    FutureTypeError,
    SerialRunner,
    ThreadPool,
    Workflow,
    resolve,
    task,
    workflow,
)

Block = Callable[..., Workflow]


@task
def number(x: int) -> int:
    return x


@task
def text(x: int) -> str:
    return str(x)


@task
def fail(message: str) -> int:
    raise ValueError(message)


@task
def same(x: Any) -> Any:
    return x


@task
def kinds(x: Any) -> str:
    return repr(x)


@task
def root(x: float) -> float:
    return x**0.5


@task
def longest(x: Sequence[str]) -> int:
    return len(x)


@task
def change(items: list[int], table: dict[str, int], array: np.ndarray) -> tuple[list[int], dict[str, int], float]:
    items.append(9)
    table["new"] = 9
    array[:] = 9
    return items, table, float(array.sum())


@task
def names(*args: int, sep: str = ",", **kwargs: int) -> str:
    return sep.join([*map(str, args), *(f"{k}={v}" for k, v in kwargs.items())])


@task
def default(x: int, seen: list[int] = []) -> list[int]:  # noqa: B006
    seen.append(x)
    return seen


# --- trees ---


@pytest.mark.core
def test_futures_are_found_in_every_kind_of_container(block: Block) -> None:
    """Lists, tuples, dicts, named tuples, dataclasses and attrs instances in each other come with values inside."""
    with block():
        result = same(nested(number(3)))
        shown = kinds(nested(number(3)))
        assert resolve(result) == nested(3)
        assert resolve(shown) == repr(nested(3))


@pytest.mark.core
def test_containers_keep_their_classes(block: Block) -> None:
    """What the task gets is of the class that was passed, with its order and its default factory."""
    with block():
        found = resolve(same([OrderedDict(b=number(1), a=number(2)), defaultdict(list, x=number(3))]))
        assert type(found[0]) is OrderedDict
        assert list(found[0]) == ["b", "a"]
        assert found[1].default_factory is list


def test_shared_and_cyclic_containers_keep_their_form(block: Block) -> None:
    """A list that occurs twice is one list in the task; one that holds itself comes as such."""
    shared = [1]
    cyclic: list[Any] = [1]
    cyclic.append(cyclic)
    with block():

        @task
        def look(pair: Any, ring: Any) -> tuple[bool, bool]:
            return pair[0] is pair[1], ring[1] is ring

        assert resolve(look([shared, shared], cyclic)) == (True, True)
        assert resolve(look([same([2])] * 2, cyclic))[1]


def test_one_future_in_two_places_is_one_object(block: Block) -> None:
    """The value of a future that is passed twice in one call is the same object in both places, as in plain Python."""

    @task
    def identical(x: list[int], y: list[list[int]]) -> bool:
        return x is y[0]

    with block():
        x = same([1])
        assert resolve(identical(x, [x]))


def test_variadic_and_keyword_arguments(block: Block) -> None:
    """`*args`, keyword-only arguments and `**kwargs` come as in a plain call, futures among them."""
    with block():
        assert resolve(names(1, number(2), sep="-", a=number(3))) == "1-2-a=3"
        assert resolve(names()) == ""


def test_wrong_arguments_are_type_errors_at_the_call(block: Block) -> None:
    """A missing, unknown or double argument raises where the call is made, with Python's words."""
    with block():
        with pytest.raises(TypeError, match=r"number\(\) missing 1 required positional argument: 'x'"):
            number()
        with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
            number(1, y=2)
        with pytest.raises(TypeError, match="multiple values for argument 'x'"):
            number(1, x=2)


# --- snapshots ---


@pytest.mark.core
def test_changes_after_the_call_are_not_seen(block: Block) -> None:
    """The task sees its arguments as they were at the call."""
    go = threading.Event()
    waiting: Future[int] = Future()

    @task
    def take(first: int, items: list[Any], array: np.ndarray, fit: Fit) -> tuple[list[Any], float, Fit]:
        return items, float(array.sum()), fit

    items: list[Any] = [1, [2]]
    array, fit = np.ones(5), Fit(1.0)
    with block():
        threading.Thread(target=lambda: (go.wait(30), waiting.set_result(0))).start()
        if not isinstance(number(1), Future):
            go.set()
        result = take(waiting, items, array, fit)
        items[1].append(3)
        array[:] = 0
        fit.slope = 0.0
        go.set()
        assert resolve(result) == ([1, [2]], 5.0, Fit(1.0))


@pytest.mark.core
def test_what_a_task_changes_is_seen_by_nobody(block: Block) -> None:
    """Arguments stay as they were, for the caller and for other calls that got the same objects."""
    items, table, array = [1], {"a": 1}, np.zeros(100_000)
    with block():
        results = [change(items, table, array) for _ in range(3)]
        assert resolve(results) == [([1, 9], {"a": 1, "new": 9}, 900_000.0)] * 3
    assert items == [1]
    assert table == {"a": 1}
    assert not array.any()


@pytest.mark.core
def test_results_are_passed_on_as_they_were_returned(block: Block) -> None:
    """A result that two calls receive and change is a copy of its own for each, and stays what the user resolves."""

    @task
    def grow(x: list[int]) -> list[int]:
        x.append(len(x))
        return x

    with block():
        start = same([0])
        one, two = grow(start), grow(start)
        three = grow(one)
        assert resolve([start, one, two, three]) == [[0], [0, 1], [0, 1], [0, 1, 2]]


def test_a_mutable_default_is_fresh_for_each_call(block: Block) -> None:
    """A list as default is copied like any argument: no call sees what another one did to it."""
    with block():
        assert resolve([default(1), default(2)]) == [[1], [2]]


def test_the_user_is_told_of_changes_that_are_lost(caplog: pytest.LogCaptureFixture) -> None:
    """The serial runner notices that a task changed an argument, and did not return it, and says so once."""
    with workflow("serial"):
        for _ in range(3):
            change([1], {}, np.zeros(3))
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == 1
    assert "'array'" in told[0]
    assert __file__ in told[0]
    assert "return" in told[0]


def test_iterators_are_refused(block: Block) -> None:
    """An iterator would be used up by the first call: an error that says what to pass instead."""
    with block():
        for iterator in (iter([1]), (i for i in range(3)), map(str, [1]), zip([1], [2], strict=True)):
            with pytest.raises(ArgumentError, match=r"\bx\b.*list"):
                same(iterator)
        with pytest.raises(ArgumentError, match=r"x\['a'\]\[1\]"):
            same({"a": [0, iter([1])]})


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.random.default_rng(1),
        lambda: random.Random(1),
        lambda: np.random.RandomState(1),
        lambda: np.random.PCG64(1),
        lambda: pytest.importorskip("scipy.stats", reason="SciPy comes with the demos: make test-all has it").qmc.Sobol(
            2
        ),
    ],
)
def test_one_generator_in_two_calls_is_refused(block: Block, make: Callable[[], Any]) -> None:
    """A random generator serves one call: two would see the same numbers; another one for each is fine."""
    with block():
        generator = make()
        resolve(kinds(generator))
        with pytest.raises(ArgumentError, match="same numbers"):
            kinds(generator)
        resolve([kinds(make()), kinds([make()])])


class Forgetful:
    """Has an attribute that its pickle leaves out."""

    def __init__(self, x: int) -> None:
        self.x, self.label = x, "none"

    def __reduce__(self) -> Any:
        return Forgetful, (self.x,)


class Unit(np.ndarray):
    """An array with an attribute."""

    unit: str


@task
def attributes(x: Any) -> tuple[Any, Any]:
    return type(x).__name__, vars(x)


@pytest.mark.needs("quiet")
def test_what_a_pickle_forgets_comes_along(block: Block, caplog: pytest.LogCaptureFixture) -> None:
    """Attributes that the pickle of a class leaves out are seen by tasks, and are there in results; nothing is said."""
    forgetful, array, big = Forgetful(3), np.ones(3).view(Unit), np.ones(200_000).view(Unit)
    forgetful.label, array.unit, big.unit = "mine", "m", "kg"
    with block():
        for obj in (forgetful, array, big):
            assert resolve(attributes(obj)) == (type(obj).__name__, vars(obj))
            result = same(obj)
            assert resolve(attributes(result)) == (type(obj).__name__, vars(obj))
            assert vars(resolve(result)) == vars(obj)
    assert not caplog.records


def test_spawned_generators_give_the_same_numbers_everywhere(block: Block) -> None:
    """With a generator of its own each call draws what the serial script would draw."""

    @task
    def draw(rng: np.random.Generator) -> float:
        return float(rng.random())

    expected = [rng.random() for rng in np.random.default_rng(7).spawn(4)]
    with block():
        assert resolve([draw(rng) for rng in np.random.default_rng(7).spawn(4)]) == expected


# --- options ---


@task(snapshot=False)
def keep(items: list[Any]) -> int:
    items.append(1)
    return len(items)


@task(snapshot="box")
def keep_one(box: list[int], other: list[int]) -> int:
    box.append(1)
    other.append(1)
    return 0


@task(snapshot=["box"], resources={"cpus": 2})
def with_resources(box: list[int]) -> int:
    return len(box)


def test_without_snapshot_the_task_gets_the_objects(local: Block) -> None:
    """`snapshot=False`, or for parameters by name, passes the very objects where that can be."""
    items: list[Any] = []
    box: list[int] = []
    other: list[int] = []
    with local():
        assert resolve(keep(items)) == 1
        resolve(keep_one(box, other))
    assert (items, box, other) == ([1], [1], [])


@pytest.mark.core
def test_options_mean_no_harm_elsewhere(block: Block) -> None:
    """`snapshot` and `resources` are accepted on every runner, with futures among the arguments too."""
    with block():
        assert resolve(keep([number(1), 2])) == 3
        assert resolve(keep_one([number(1)], [number(2)])) == 0
        assert resolve(with_resources([1, 2])) == 2


# --- exceptions as values ---


@task
def outcome(x: int | Exception) -> str:
    return f"{type(x).__name__}"


@task
def good(xs: list[int | Exception]) -> int:
    return sum(x for x in xs if isinstance(x, int))


@task
def only(xs: list[int | ValueError], y: int = 0) -> int:
    return len(xs)


@pytest.mark.core
def test_parameters_may_admit_exceptions(block: Block) -> None:
    """Where the annotation admits exceptions the task receives them, and the failure counts as seen."""
    with block() as w:
        assert resolve([outcome(fail("x")), outcome(number(1))]) == ["ValueError", "int"]
        assert resolve(good([fail("y"), number(2), number(3)])) == 5
        assert len(w.failed) == 2


def test_elsewhere_a_failure_fails_what_needs_it(block: Block) -> None:
    """A failed call in a place that admits no exception fails the call, although another place admits some."""
    with block(), pytest.raises(ValueError, match="z"):
        resolve(only([1], fail("z")))


def test_an_exception_of_another_type_is_not_admitted(block: Block) -> None:
    """The annotation says which exceptions: others fail the call as ever."""

    @task
    def divide(x: int) -> int:
        return 1 // x

    with block():
        assert resolve(only([fail("x"), 1])) == 2
        with pytest.raises(ZeroDivisionError):
            resolve(only([divide(0), 1]))


# --- checks ---


def line_of(error: BaseException) -> str:
    trace = error.__traceback__
    assert trace is not None
    return trace.tb_frame.f_code.co_name


@pytest.mark.core
def test_a_wrong_value_is_an_error_at_the_call(block: Block) -> None:
    """The error names task, parameter, path, value and annotation, and nothing runs."""
    with block() as w:
        with pytest.raises(ArgumentError, match=r"longest\(\): argument x\[1\] is 2 \(int\).*str") as caught:
            longest(["a", 2])  # type: ignore[list-item]
        assert line_of(caught.value) == "test_a_wrong_value_is_an_error_at_the_call"
        assert w.calls == []


def test_a_future_of_a_wrong_type_is_an_error_at_the_call(parallel: Block) -> None:
    """A future whose declared type can't fit the parameter is refused before anything runs; a wider one is fine."""
    with parallel():
        with pytest.raises(FutureTypeError, match=r"root\(\): argument x is a future of str .*text\(\).*float"):
            root(text(1))
        with pytest.raises(FutureTypeError, match=r"x\[0\]"):
            longest([number(1)])
        assert resolve(root(number(4))) == 2.0


@pytest.mark.core
def test_a_late_value_is_checked_in_the_task(parallel: Block) -> None:
    """A value that was not known at the call is checked before the task starts."""
    with parallel(), pytest.raises(ArgumentError, match=r"number\(\): argument x"):
        resolve(number(same("no number")))


def test_check_warn_and_off(block: Block, caplog: pytest.LogCaptureFixture) -> None:
    """A block may warn, or not look; what a task says of itself counts more."""
    caplog.set_level(logging.WARNING)
    with block(check="warn"):
        assert resolve(number("a")) == "a"  # type: ignore[arg-type]
        assert [r for r in caplog.records if "'a'" in r.getMessage() and __file__ in r.getMessage()]
        with pytest.raises(ArgumentError):
            strict("a")  # type: ignore[arg-type]
    caplog.clear()
    with block(check="off"):
        assert resolve(number("b")) == "b"  # type: ignore[arg-type]
    with block():
        assert resolve(lax("c")) == "c"  # type: ignore[arg-type]
    assert caplog.records == []


@task(check="error")
def strict(x: int) -> int:
    return x


@task(check="off")
def lax(x: int) -> int:
    return x


@task
def liar(x: int) -> int:
    return str(x)  # type: ignore[return-value]


def test_a_result_of_another_type_is_a_warning(block: Block, caplog: pytest.LogCaptureFixture) -> None:
    """The value is kept, and the user is told with the line of the call."""
    with block():
        assert resolve(liar(5)) == "5"
    told = [r.getMessage() for r in caplog.records if "liar()" in r.getMessage()]
    assert len(told) == 1
    assert "declared int" in told[0]
    assert __file__ in told[0]


# --- results of other runners ---


@pytest.mark.core
def test_futures_of_one_runner_serve_on_another(block: Block) -> None:
    """A pending future, record and item of one runner are arguments on another one."""

    @task
    def fit(x: float) -> Fit:
        return Fit(x)

    @task
    def make_list(n: int) -> list[int]:
        return list(range(n))

    with ConcurrentRunner(ThreadPool(1)) as other, workflow(other):
        foreign, record, item = number(5), fit(2.0), make_list(4)[3]
        with block():
            assert resolve([same(foreign), same([record]), number(item)]) == [5, [Fit(2.0)], 3]
        with block():
            inner = number(7)
        assert resolve(same([inner, foreign])) == [7, 5]


def test_serial_inside_parallel_waits_for_what_it_needs(parallel: Block) -> None:
    """A serial block inside a parallel one waits for the futures that its calls use, and gives plain values."""
    with parallel():
        x = number(3)
        with workflow(SerialRunner()):
            assert same([x, 1]) == [3, 1]


@pytest.mark.core
def test_failures_cross_runners(block: Block) -> None:
    """A failure of one runner fails what depends on it on another; once it is seen there, it is seen."""
    with workflow("threads:1"):
        broken = fail("far")
        with block(), pytest.raises(ValueError, match="far"):
            resolve(number(broken))
