# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What holds for numbers holds for what scientists pass on: big arrays, dicts of them, records with them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from helpers.gates import Gate, pass_gate

import parman
from parman import Runner, Workflow, as_resolved, cancel, resolve, share, task

Block = Callable[..., Workflow]

LENGTH = 1 << 20
"""How long an array is: 8 MiB."""

TIMEOUT = 60

# The advice is meant for those who use Dask directly.
pytestmark = pytest.mark.filterwarnings("ignore:Sending large graph:UserWarning")


@dataclass
class Field:
    """A record with something big and something small."""

    values: np.ndarray
    name: str


def array(number: float) -> np.ndarray:
    """Make an array that is as big as those of users."""
    values = np.full(LENGTH, number)
    values[:: LENGTH // 7] += 0.5
    return values


@task
def make_array(number: float) -> np.ndarray:
    return array(number)


@task
def make_arrays(number: float) -> dict[str, np.ndarray]:
    return {"first": array(number), "second": array(number + 1)[: LENGTH // 2]}


@task
def make_field(number: float) -> Field:
    return Field(array(number), f"number {number}")


@task
def make_text(number: float) -> str:
    return f"number {number}\n" * 500_000


def arrays_of(value: Any) -> list[np.ndarray]:
    """Return the arrays that something consists of."""
    if isinstance(value, Field):
        return [value.values]
    if isinstance(value, str):
        return [np.frombuffer(value.encode(), np.uint8)]
    return list(value.values()) if isinstance(value, dict) else [value]


def same(a: Any, b: Any) -> bool:
    """Tell whether two payloads are equal, to the last item."""
    pairs = zip(arrays_of(a), arrays_of(b), strict=True)
    return type(a) is type(b) and all(np.array_equal(one, other) for one, other in pairs)


@task
def weigh(payload: Any, number: float = 0.0) -> float:
    return sum(float(each.sum(dtype=float)) for each in arrays_of(payload)) + number


@task
def twice(number: float) -> float:
    return 2 * number


@task
def pass_on(payload: Any) -> Any:
    return payload


@task
def spoil(payload: Any) -> float:
    """Change what it gets, and say what it has got."""
    before: float = weigh(payload)
    for each in arrays_of(payload):
        if each.flags.writeable:
            each[:] = -1
    return before


@task
def gather(payloads: list[Any]) -> float:
    return sum(weigh(payload) for payload in payloads)


@task
def fail_with(payload: Any) -> None:
    raise ValueError("too big", payload)


@task
def hold(payload: Any, place: str) -> Any:
    pass_gate(place)
    return payload


Make = Callable[[float], Any]


@pytest.fixture(params=[make_array, make_arrays, make_field, make_text], ids=["array", "arrays", "field", "text"])
def make(request: pytest.FixtureRequest) -> Make:
    """Give each task that makes something big."""
    found: Make = request.param
    return found


def test_chains_of_big_values_and_numbers(block: Block, make: Make) -> None:
    """Something big, a number of it, a number of that: many times side by side."""
    with block():
        numbers = [twice(weigh(make(float(i)))) for i in range(8)]
        got = resolve(numbers, timeout=TIMEOUT)
    assert got == [2 * weigh(make(float(i))) for i in range(8)]


def test_big_values_come_back_whole(block: Block, make: Make) -> None:
    """Each result is what the plain call gives, and an ordinary array that can be written to."""
    with block():
        results = resolve([make(float(i)) for i in range(3)], timeout=TIMEOUT)
    for i, result in enumerate(results):
        assert same(result, make(float(i)))
        assert not isinstance(result, np.ndarray) or result.flags.writeable


def test_big_values_pass_through_tasks(block: Block, make: Make) -> None:
    """What is handed on from task to task is unchanged, also where it is handed on twice."""
    value = make(3.0)
    weight = weigh(value)
    with block():
        first = make(3.0)
        last = pass_on(pass_on(pass_on(first)))
        numbers = [weigh(last), weigh(first)]
        assert same(resolve(last, timeout=TIMEOUT), value)
        assert resolve(numbers, timeout=TIMEOUT) == [weight, weight]


def test_one_big_value_goes_to_many_calls(block: Block, make: Make) -> None:
    """A fan-out of something big, as a result, as a plain value and as a share, gives each call the whole of it."""
    plain = make(5.0)
    with block():
        result, once = make(5.0), share(plain)
        numbers = [weigh(each, float(i)) for i in range(5) for each in (result, plain, once)]
        got = resolve(numbers, timeout=TIMEOUT)
    assert got == [weigh(plain, float(i)) for i in range(5) for _ in range(3)]


def test_many_big_values_go_to_one_call(block: Block, make: Make) -> None:
    """A fan-in of results and plain values, some of them twice."""
    plain = make(9.0)
    with block():
        results = [make(float(i)) for i in range(4)]
        total = gather([*results, plain, results[0], plain])
        got = resolve(total, timeout=TIMEOUT)
    assert got == gather([*(make(float(i)) for i in range(4)), plain, make(0.0), plain])


def test_a_call_that_changes_a_big_value_changes_it_for_nobody(block: Block, make: Make) -> None:
    """Each call gets the value as it was returned, whoever else has changed it."""
    value = make(2.0)
    weight = weigh(value)
    with block():
        result = make(2.0)
        kept = pass_on(result)
        spoilt = [spoil(kept) for _ in range(2)]
        got = resolve([spoil(result), spoil(result), weigh(result), spoil(result), *spoilt], timeout=TIMEOUT)
        assert got == [weight] * 6
        assert same(resolve(result), value)


def test_what_the_user_changes_afterwards_is_not_seen(block: Block) -> None:
    """An array is seen as it was at the call, however big, and whether the call runs soon or late."""
    values = array(1.0)
    before, first_weight = weigh(values), weigh(array(0.0))
    with block():
        first = make_array(0.0)
        numbers = [weigh(values), gather([first, values])]
        values[:] = -1.0
        assert resolve(numbers, timeout=TIMEOUT) == [before, first_weight + before]


def test_a_failure_may_hold_a_big_value(block: Block, make: Make) -> None:
    """An exception comes back with what is in it, and the next calls find a whole engine."""
    value = make(4.0)
    weight = weigh(value)
    with block():
        failed = fail_with(make(4.0))
        with pytest.raises(ValueError, match="too big") as caught:
            resolve(failed, timeout=TIMEOUT)
        assert resolve(weigh(make(4.0)), timeout=TIMEOUT) == weight
    assert same(caught.value.args[1], value)


def test_big_values_come_as_they_finish(block: Block, make: Make) -> None:
    """`as_resolved` gives each value whole, under its own key, and calls can be made of it at once."""
    with block():
        results = {i: make(float(i)) for i in range(4)}
        numbers = {i: weigh(value) for i, value in as_resolved(results, timeout=TIMEOUT)}
        got = resolve(numbers, timeout=TIMEOUT)
    assert got == {i: weigh(make(float(i))) for i in range(4)}


def test_calls_of_big_values_can_be_cancelled(parallel: Block, make: Make, gate: Gate) -> None:
    """What waits for something big is cancelled as a whole, and what has it is not."""
    values = [make(float(i)) for i in range(2)]
    with parallel():
        held = [hold(make(float(i)), gate.place) for i in range(2)]
        gate.wait_for(2)
        waiting = make_field(weigh(held[0]))
        assert cancel(waiting)
        gate.open()
        assert all(map(same, resolve(held, timeout=TIMEOUT), values))
        assert waiting.values.cancelled()
        assert waiting.name.cancelled()


def test_an_executor_takes_and_gives_big_values(runner: Runner, make: Make) -> None:
    """Plain calls and maps have the values that plain Python has."""
    values = [make(float(i)) for i in range(3)]
    with parman.executor(runner) as pool:
        assert list(pool.map(weigh, values, timeout=TIMEOUT)) == [weigh(value) for value in values]
        assert same(pool.submit(pass_on, values[2]).result(TIMEOUT), values[2])


def test_two_blocks_pass_big_values_on(runner: Runner, make: Make) -> None:
    """Results of one block are arguments in the next, also when both are used at the same time."""
    values = [make(float(i)) for i in range(3)]
    weights = [weigh(value) for value in values]
    with parman.workflow(runner):
        results = [make(float(i)) for i in range(3)]
    with parman.workflow(runner):
        numbers = [weigh(result) for result in results]
        got: list[Any] = []
        other = threading.Thread(target=lambda: got.extend(resolve(results, timeout=TIMEOUT)))
        other.start()
        assert resolve(numbers, timeout=TIMEOUT) == weights
        other.join(TIMEOUT)
    assert all(map(same, got, values))
    assert len(got) == len(values)
