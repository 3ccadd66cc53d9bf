# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Decisions inside a block: the same on every runner, and on plain values."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait

import numpy as np
import pytest
from backends import Backend
from helpers.gates import Gate, pass_gate

from parman import Runner, Workflow, as_future, as_resolved, cancel, resolve, share, task, workflow

Block = Callable[..., Workflow]


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def pair(a: int) -> tuple[int, str]:
    return a, str(a)


@task
def fail(text: str) -> int:
    raise ValueError(text)


@task
def held(place: str, value: int = 0) -> int:
    pass_gate(place)
    return value


@task
def total(numbers: np.ndarray) -> float:
    return float(numbers.sum())


@task
def first_writes(numbers: np.ndarray) -> str:
    try:
        numbers[0] = 5
    except ValueError as error:
        return str(error)
    return "written"


# --- resolve ---


@pytest.mark.core
def test_resolve_gives_values_in_the_tree_they_were_in(block: Block) -> None:
    """`resolve` returns the same tree with plain values, inside and after the block."""
    with block():
        tree = {"a": [add(1, 2), 5], "b": (pair(3), "x")}
        inside = resolve(tree)
    assert inside == resolve(tree) == {"a": [3, 5], "b": ((3, "3"), "x")}


def test_resolve_raises_the_first_failure_from_left_to_right(block: Block) -> None:
    """Of several failures the leftmost one is raised, as the type that the task raised."""
    with block() as w:
        failures = [add(1, 1), fail("left"), fail("right")]
        with pytest.raises(ValueError, match="left"):
            resolve(failures)
        assert isinstance(resolve(failures[2:], return_exceptions=True)[0], ValueError)
    assert len(w.failed) == 2


@pytest.mark.core
def test_resolve_returns_exceptions_in_their_places(block: Block) -> None:
    """With `return_exceptions` the tree has exceptions where calls failed, and nothing is raised at the end."""
    with block():
        one, two = resolve((add(1, 1), fail("x")), return_exceptions=True)
        assert one == 2
        assert isinstance(two, ValueError)
        assert two.args == ("x",)


def test_resolve_gives_up_after_the_timeout(parallel: Block, gate: Gate) -> None:
    """`resolve` with a timeout raises TimeoutError while a call runs, and the call goes on."""
    with parallel():
        value = held(gate.place, 7)
        gate.wait_for()
        with pytest.raises(TimeoutError):
            resolve([value], timeout=0.01)
        gate.open()
        assert resolve(value, timeout=30) == 7


def test_who_waited_too_long_is_told_for_what(parallel: Block, gate: Gate) -> None:
    """However one waits, the error names the calls with their lines, and says how many run and how many do not."""
    with parallel():
        both = add(held(gate.place, 7), 1)
        gate.wait_for()
        waits: list[Callable[[], object]] = [
            lambda: resolve(both, timeout=0.01),
            lambda: resolve([both, 1], 0.01, return_exceptions=True),
            lambda: list(as_resolved([1, both], timeout=0.01))[1:],
            lambda: as_future([both]).result(0.01),
            lambda: as_future([both]).exception(0.01),
            lambda: as_future(both).result(0.01),
            lambda: both.result(0.01),  # type: ignore[attr-defined]
            lambda: both.exception(0.01),  # type: ignore[attr-defined]
        ]
        texts = []
        for wait in waits:
            with pytest.raises(TimeoutError) as late:
                wait()
            assert type(late.value) is TimeoutError
            texts.append(str(late.value))
        gate.open()
        assert resolve(both) == 8
    for text in texts:
        assert "after 0.01 s; with the calls before, 1 running, 1 pending:\n" in text
        assert re.search(r"^  held\(\), called at .*test_decisions\.py:\d+: 1 running$", text, re.MULTILINE)
        assert re.search(r"^  add\(\), called at .*test_decisions\.py:\d+: 1 pending$", text, re.MULTILINE)


def test_the_timeout_is_told_from_a_timeout_in_the_task(block: Block) -> None:
    """A task's own TimeoutError is its failure: returned as such, and no sign that the wait was too long."""
    with block():
        (found,) = resolve([time_out()], timeout=30, return_exceptions=True)
        assert isinstance(found, TimeoutError)
        assert found.args == ("in the task",)


@task
def time_out() -> int:
    raise TimeoutError("in the task")


def test_resolve_of_plain_values_is_the_very_object() -> None:
    """Without futures `resolve` does nothing at all, without a block too."""
    tree = [{"a": (1, [2])}, np.zeros(3)]
    assert resolve(tree) is tree
    assert resolve(tree, timeout=0, return_exceptions=True) is tree


def test_resolve_keeps_what_is_plain_in_a_mixed_tree(block: Block) -> None:
    """Containers without futures are not copied."""
    plain = [1, 2]
    with block():
        assert resolve([plain, add(1, 1)])[0] is plain


# --- as_resolved ---


@pytest.mark.core
def test_as_resolved_yields_in_the_order_of_finishing(parallel: Block, gate: Gate) -> None:
    """What is done comes first, with its index, whatever its place in the list."""
    with parallel():
        calls = [held(gate.place, 1), add(1, 1)]
        items = as_resolved(calls)
        assert next(items) == (1, 2)
        gate.open()
        assert list(items) == [(0, 1)]


def test_as_resolved_takes_lists_and_dicts_of_trees(block: Block) -> None:
    """The keys of a dict or the indices of a list come with the values of whole trees."""
    with block():
        assert dict(as_resolved([pair(1), [pair(2)], 3])) == {0: (1, "1"), 1: [(2, "2")], 2: 3}
        assert dict(as_resolved({"a": add(1, 1), "b": "plain"})) == {"a": 2, "b": "plain"}
    assert list(as_resolved([])) == []
    assert list(as_resolved({"a": 1})) == [("a", 1)]


def test_as_resolved_raises_or_returns_failures(block: Block) -> None:
    """A failed item raises, unless exceptions are asked for; either way it has been seen."""
    with block():
        with pytest.raises(ValueError, match="x"):
            list(as_resolved([fail("x")]))
        ((key, found),) = as_resolved({"k": fail("y")}, return_exceptions=True)
        assert (key, type(found)) == ("k", ValueError)


def test_as_resolved_gives_up_after_the_timeout(parallel: Block, gate: Gate) -> None:
    """The timeout is for all items together."""
    with parallel():
        with pytest.raises(TimeoutError, match="2 items"):
            list(as_resolved([add(1, 1), held(gate.place)], timeout=0.1))
        gate.open()


# --- as_future ---


def test_as_future_is_a_future_on_every_runner(block: Block) -> None:
    """`as_future` of a result, a tree of results or a plain value is a real future with that value."""
    with block():
        for tree, value in [(add(1, 1), 2), (pair(1), (1, "1")), ([add(1, 1), 3], [2, 3]), (5, 5), (None, None)]:
            future = as_future(tree)
            assert isinstance(future, Future)
            assert future.result(30) == value


def test_as_future_is_the_future_itself(parallel: Block) -> None:
    """Nothing is put around a future, and a plain value gives a finished one."""
    with parallel():
        future = add(1, 1)
        assert as_future(future) is future
    assert as_future(3).done()


def test_as_future_of_a_failure_has_the_exception(block: Block) -> None:
    """A failed call gives a failed future, whose exception counts as seen once it is asked for."""
    with block():
        assert isinstance(as_future(fail("x")).exception(30), ValueError)
        assert isinstance(as_future([fail("x")]).exception(30), ValueError)


# --- cancel ---


@pytest.mark.core
def test_cancel_stops_what_has_not_started(parallel: Block, gate: Gate) -> None:
    """A call that waits is cancelled, what depends on it too, and nothing counts as failed."""
    with parallel() as w:
        first = held(gate.place)
        second = add(first, 1)
        third = add(second, 1)
        assert cancel([second])
        assert wait([third], 30).done == {third}
        assert second.cancelled()
        assert third.cancelled()
        with pytest.raises(CancelledError):
            resolve(third)
        gate.open()
    assert first.result() == 0
    assert w.failed == ()


def test_cancel_goes_back_to_what_nobody_else_needs(parallel: Block, gate: Gate) -> None:
    """The calls before are cancelled with it, except those that another call needs."""
    with parallel():
        start = held(gate.place)
        gate.wait_for()
        shared, own = add(start, 1), add(start, 2)
        kept = add(shared, 0)
        dropped = add(own, shared)
        assert cancel({"x": dropped})
        assert wait([own], 30).done == {own}
        gate.open()
        assert own.cancelled()
        assert resolve(kept) == 1
    assert not start.cancelled()


@pytest.mark.core
def test_what_has_started_is_not_cancelled(parallel: Block, gate: Gate) -> None:
    """`cancel` of a running call is false and changes nothing."""
    with parallel():
        call = held(gate.place, 3)
        gate.wait_for()
        assert not cancel(call)
        assert not call.cancel()
        gate.open()
        assert resolve(call) == 3


def test_cancel_passes_over_plain_values(block: Block) -> None:
    """On plain values and finished calls there is nothing to cancel, and nothing is changed."""
    assert cancel([1, "x", {}])
    with block():
        done = add(1, 1)
        resolve(done)
        cancel(done)
        assert resolve(done) == 2


@pytest.mark.core
def test_the_block_cancels_all_that_is_pending(parallel: Block, gate: Gate) -> None:
    """`w.cancel()` cancels pending calls; running ones finish, later ones are made as ever."""
    with parallel() as w:
        running = held(gate.place, 1)
        gate.wait_for()
        pending = [add(running, i) for i in range(5)]
        w.cancel()
        assert all(call.cancelled() for call in pending)
        later = add(1, 1)
        gate.open()
        assert resolve([running, later]) == [1, 2]
    assert w.failed == ()


# --- share ---


@pytest.mark.core
def test_share_gives_all_calls_the_value(block: Block) -> None:
    """A shared array reaches each call as it was when it was shared."""
    numbers = np.ones(200_000)
    with block():
        shared = share(numbers)
        numbers[:] = 0
        assert resolve([total(shared) for _ in range(4)]) == [200_000.0] * 4
        assert "read-only" in resolve(first_writes(shared))
        np.testing.assert_array_equal(resolve(shared), np.ones(200_000))


def test_share_outside_a_block_is_the_value() -> None:
    """Without a block there is nothing to share."""
    numbers = np.ones(3)
    assert share(numbers) is numbers


def test_a_share_serves_in_containers(block: Block) -> None:
    """A share may stand anywhere in a tree."""

    @task
    def both(x: dict[str, list[np.ndarray]]) -> float:
        return float(x["a"][0].sum())

    with block():
        assert resolve(both({"a": [share(np.arange(4.0))]})) == 6.0


def test_a_share_is_its_value_in_decisions(block: Block) -> None:
    """`resolve` and `as_future` take a share for the value, also beside futures."""
    with block():
        shared = share([1, 2])
        assert resolve([shared, add(1, 1)]) == [[1, 2], 2]
        assert resolve([shared]) == [[1, 2]]
        assert as_future(shared).result(30) == [1, 2]
        assert dict(as_resolved([shared])) == {0: [1, 2]}


# --- what the block knows ---


@pytest.mark.core
def test_calls_lists_what_matters(parallel: Block, gate: Gate) -> None:
    """`w.calls` has the pending, running and failed calls, and those whose results are held; no others."""
    with parallel() as w:
        held_result = add(1, 1)
        forgotten = add(2, 2)
        broken = fail("x")
        resolve([held_result, forgotten, broken], return_exceptions=True)
        del forgotten
        running = held(gate.place)
        gate.wait_for()
        pending = add(running, 1)
        states = [(call.closure.name, call.state) for call in w.calls]
        assert states == [("add", "finished"), ("fail", "failed"), ("held", "running"), ("add", "pending")]
        gate.open()
    assert resolve(pending) == 1


def test_calls_keeps_everything_if_asked(block: Block) -> None:
    """With `keep=True` finished calls stay in the list although nobody holds their results."""
    with block(keep=True) as w:
        for i in range(3):
            add(i, i)
    assert [call.state for call in w.calls] == ["finished"] * 3


@pytest.mark.core
def test_failed_has_closures_and_exceptions(block: Block) -> None:
    """`w.failed` has each root failure with its call, which tells where in this file it was made."""
    with block() as w:
        broken = fail("x")
        after = add(broken, 1)
        resolve([broken, after], return_exceptions=True)
        ((closure, exception),) = w.failed
    assert closure.name == "fail"
    assert closure.site.file == __file__
    assert isinstance(exception, ValueError)


def test_an_opened_block_is_left_by_close(block: Block) -> None:
    """Between `open()` and `close()` calls are made in the block; afterwards they are plain calls."""
    w = block()
    assert w.open() is w
    try:
        value = add(1, 2)
    finally:
        w.close()
    assert resolve(value) == 3
    assert add(1, 2) == 3
    assert len(w.failed) == 0


def test_serial_results_are_plain_values(runner: Runner, backend: Backend) -> None:
    """The serial runner returns values, the others futures."""
    with workflow(runner):
        assert isinstance(add(1, 2), int if backend.serial else Future)
