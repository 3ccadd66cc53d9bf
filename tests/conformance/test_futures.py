# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A future is not its value, and says so; as a future it serves wherever one does."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from typing import Any

import numpy as np
import pytest
from helpers.gates import Gate, pass_gate

from parman import ArgumentError, FutureUseError, Workflow, resolve, task

Block = Callable[..., Workflow]


@task
def number(x: float) -> float:
    return x


@task
def fail(text: str) -> float:
    raise ValueError(text)


@task
def held(place: str) -> int:
    pass_gate(place)
    return 1


@task
def total(numbers: list[float]) -> float:
    return sum(numbers)


def _in_place(x: Any, value: int) -> Any:
    x += value
    return x


USES: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "not": lambda x: not x,
    "== 1": lambda x: x == 1,
    "!= 1": lambda x: x != 1,
    "1 ==": lambda x: x == 1,
    "== None": lambda x: x == None,  # noqa: E711
    "<": lambda x: x < 1,
    "<=": lambda x: x <= 1,
    ">": lambda x: x > 1,
    ">=": lambda x: x >= x,
    "sorted": lambda x: sorted([x, x]),
    "max": lambda x: max(x, 1),
    "+": lambda x: x + 1,
    "1 +": lambda x: 1 + x,
    "+=": lambda x: _in_place(x, 1),
    "-": lambda x: x - x,
    "*": lambda x: 2 * x,
    "/": lambda x: x / 2,
    "//": lambda x: x // 2,
    "%": lambda x: x % 2,
    "divmod": lambda x: divmod(x, 2),
    "**": lambda x: x**2,
    "2 **": lambda x: 2**x,
    "@": lambda x: x @ x,
    "<<": lambda x: x << 1,
    "&": lambda x: x & 1,
    "|": lambda x: x | 1,
    "^": lambda x: x ^ 1,
    "negative": lambda x: -x,
    "positive": lambda x: +x,
    "invert": lambda x: ~x,
    "abs": abs,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
    "sum": lambda x: sum([x, x]),
    "len": len,
    "iter": iter,
    "unpack": lambda x: [*x],
    "for": lambda x: [i for i in x],  # noqa: C416
    "reversed": reversed,
    "in": lambda x: 1 in x,
    "float": float,
    "int": int,
    "complex": complex,
    "index": lambda x: [1, 2][x],
    "range": range,
    "sqrt": math.sqrt,
    "f-string": lambda x: f"{x}",
    "format": lambda x: f"{x:.3f}",
    "array": np.array,
    "asarray": np.asarray,
    "numpy sum": np.sum,
    "numpy +": lambda x: np.ones(3) + x,
    "float64 *": lambda x: np.float64(2) * x,
    "numpy ==": lambda x: np.ones(3) == x,
    "set item": lambda x: x.__setitem__(0, 1),
    "del item": lambda x: x.__delitem__(0),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_future_refuses_to_be_a_value(parallel: Block, use: Callable[[Any], Any]) -> None:
    """Whatever would take the future for its value raises a TypeError that names the call, its line and the cure."""
    with parallel():
        future = number(1.5)
        with pytest.raises(FutureUseError) as caught:
            use(future)
        text = str(caught.value)
        assert "number()" in text
        assert f"{__file__}:" in text
        assert "resolve()" in text
        assert isinstance(caught.value, TypeError)


def test_attributes_of_the_value_are_refused(parallel: Block) -> None:
    """An attribute that only the value has is an error with the same cure."""
    with parallel():
        with pytest.raises(AttributeError, match=r"number\(\).*resolve\(\)"):
            _ = number(1.5).real
        assert not hasattr(number(1.5), "shape")


@pytest.mark.core
def test_repr_and_str_show_the_state(parallel: Block, gate: Gate) -> None:
    """They tell the call, its line and the state, and never raise."""
    with parallel():
        running = held(gate.place)
        gate.wait_for()
        pending = number(running)
        broken = fail("x")
        done = number(1.5)
        wait([broken, done], 30)
        for future, state in [(pending, "pending"), (broken, "failed: ValueError"), (done, "finished")]:
            assert state in repr(future)
            assert state in str(future)
            assert f"{__file__}:" in repr(future)
        assert "pending" in str([pending])
        pending.cancel()
        assert "cancelled" in repr(pending)
        broken.exception()
        gate.open()


@pytest.mark.core
def test_wait_and_as_completed_take_them(parallel: Block, gate: Gate) -> None:
    """The functions of the standard library see them finish, in the order in which they do."""
    with parallel():
        last, first = held(gate.place), number(1.5)
        done, waiting = wait([last, first], 30, FIRST_COMPLETED)
        assert (done, waiting) == ({first}, {last})
        items = as_completed([last, first], 30)
        assert next(items) is first
        gate.open()
        assert next(items) is last
        broken = fail("x")
        assert wait([last, first, broken], 30, ALL_COMPLETED).not_done == set()
        with pytest.raises(ValueError, match="x"):
            broken.result()


@pytest.mark.core
def test_asyncio_wraps_them(parallel: Block) -> None:
    """`asyncio.wrap_future` gives the value, and the exception, to a coroutine."""

    async def main() -> list[Any]:
        wrapped = [asyncio.wrap_future(number(2.5)), asyncio.wrap_future(fail("x"))]
        return await asyncio.gather(*wrapped, return_exceptions=True)

    with parallel():
        value, exception = asyncio.run(main())
    assert value == 2.5
    assert isinstance(exception, ValueError)


def test_they_are_dict_keys_and_items_of_sets_and_lists(parallel: Block) -> None:
    """Futures are told apart by identity: as keys, in sets, lists and against other futures."""
    with parallel():
        one, two = number(1), number(1)
        names = {one: "one", two: "two"}
        assert names[two] == "two"
        assert len({one, two, one}) == 2
        assert one == one
        assert one != two
        assert one != Future()
        assert [one, two].index(two) == 1
        assert one is not None


@pytest.mark.core
def test_callbacks_run_once(parallel: Block, gate: Gate) -> None:
    """A callback is called when the future finishes, at once if it has; one that raises harms nobody."""
    called = threading.Event()
    with parallel():
        future = held(gate.place)
        future.add_done_callback(lambda f: 1 / 0)
        future.add_done_callback(lambda f: called.set())
        gate.open()
        assert called.wait(30)
        assert future.result() == 1
        again = threading.Event()
        future.add_done_callback(lambda f: again.set())
        assert again.is_set()


@pytest.mark.core
def test_running_is_seen(parallel: Block, gate: Gate) -> None:
    """`running()` and `done()` tell what the call does."""
    with parallel():
        future = held(gate.place)
        gate.wait_for()
        assert not future.done()
        gate.open()
        assert future.result(30) == 1
        assert future.done()
        assert not future.running()


@pytest.mark.core
def test_futures_of_a_bare_executor_are_dependencies(block: Block) -> None:
    """A future that some executor gave is replaced by its value, done or not, also where nothing runs parallel."""
    go = threading.Event()
    with ThreadPoolExecutor(2) as executor, block():
        done, later = executor.submit(float, 1), executor.submit(lambda: go.wait(30) and 2.0)
        done.result()
        threading.Timer(0.05, go.set).start()
        assert resolve(total([done, later, 4.0])) == 7.0


@pytest.mark.core
def test_a_failed_foreign_future_fails_its_dependents(block: Block) -> None:
    """The exception of a bare executor's call is that of the calls that need it."""
    with ThreadPoolExecutor(1) as executor, block():
        broken = executor.submit(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            resolve(number(broken))


def test_a_cancelled_foreign_future_cancels_its_dependents(parallel: Block) -> None:
    """What would need a cancelled call is cancelled."""
    foreign: Future[float] = Future()
    with parallel() as w:
        call = number(foreign)
        foreign.cancel()
        foreign.set_running_or_notify_cancel()
        assert wait([call], 30).done
        assert call.cancelled()
    assert w.failed == ()


@pytest.mark.parametrize("hide", [lambda f: {f: 1}, lambda f: {f}, lambda f: [(lambda: f)], lambda f: [{1: {f: 2}}]])
def test_hidden_futures_are_refused_at_the_call(parallel: Block, hide: Callable[[Any], Any]) -> None:
    """A future that can't be replaced is an error at the call that names the argument."""

    @task
    def take(x: Any) -> int:
        return 1

    with parallel():
        future = number(1)
        with pytest.raises(ArgumentError, match=r"x\b"):
            take(hide(future))
