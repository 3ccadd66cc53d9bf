# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A runner in the shape of an executor: what PEP 3148 promises, and what calls of tasks promise besides."""

from __future__ import annotations

import asyncio
import functools
import operator
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from typing import Any

import pytest
from helpers.gates import Gate, pass_gate

from parman import ResultError, Runner, Workflow, executor, task
from parman.executors import RunnerExecutor

Block = Callable[..., Workflow]
TIMEOUT = 60


class Counter:
    """Something with a method that changes it."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int) -> int:
        self.count += number
        return self.count


@task
def double(x: int) -> tuple[int, int]:
    return x, x


def broken(text: str) -> None:
    raise LookupError(text)


def held(place: str) -> str:
    pass_gate(place)
    return "let go"


@contextmanager
def pool_of(block: Block, gate: Gate) -> Iterator[RunnerExecutor]:
    """Make an executor, and open the gate before it is shut down, whatever happens."""
    with executor(runner_of(block)) as pool:
        try:
            yield pool
        finally:
            gate.open()


def runner_of(block: Block) -> Runner:
    """Return the runner of a block, which stays open after it."""
    with block() as w:
        return w.runner


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ((pow, 2, 8), 256),
        ((int,), 0),
        ((lambda x: x + 1, 2), 3),
        ((functools.partial(divmod, 7), 2), (3, 1)),
        ((operator.methodcaller("upper"), "a"), "A"),
        (("a-b".split, "-"), ["a", "b"]),
        ((Counter().add, 2), 2),
        ((double, 3), (3, 3)),
    ],
    ids=["builtin", "class", "lambda", "partial", "callable", "builtin method", "method", "task"],
)
def test_whatever_can_be_called_is_called(runner: Runner, call: tuple[Any, ...], result: object) -> None:
    """A call of anything is one future, whatever its annotations say, and its result is what it returns."""
    with executor(runner) as pool:
        future = pool.submit(*call)
        assert isinstance(future, Future)
        assert future.result(TIMEOUT) == result


def test_a_task_is_a_function_like_others(runner: Runner, caplog: pytest.LogCaptureFixture) -> None:
    """A task that is submitted is not taken for one that another task calls, of which the user would be told."""
    with executor(runner) as pool:
        assert pool.submit(double, 3).result(TIMEOUT) == (3, 3)
    assert not caplog.records


def test_all_names_serve_as_keywords(runner: Runner) -> None:
    """Keyword arguments reach the function, also those that are called like parameters of `submit`."""
    with executor(runner) as pool:
        assert pool.submit(dict, fn=1, self=2, args=3).result(TIMEOUT) == {"fn": 1, "self": 2, "args": 3}


def test_map_gives_results_in_order(runner: Runner) -> None:
    """`map` makes all calls at once and yields their results in the order of the arguments."""
    with executor(runner) as pool:
        assert list(pool.map(pow, range(20), [2] * 20)) == [n**2 for n in range(20)]


def test_arguments_are_as_they_were_at_the_call(runner: Runner) -> None:
    """What changes in an argument after the call, or in the call, is seen by nobody else."""
    numbers, counter = [1, 2], Counter()
    with executor(runner) as pool:
        total = pool.submit(sum, numbers)
        counted = pool.submit(counter.add, 1)
        numbers.append(3)
        assert (total.result(TIMEOUT), counted.result(TIMEOUT)) == (3, 1)
    assert counter.count == 0


def test_a_future_among_the_arguments_is_its_value(runner: Runner) -> None:
    """A call waits for the futures among its arguments, and fails as they do."""
    with executor(runner) as pool:
        assert pool.submit(sum, [pool.submit(abs, -1), pool.submit(abs, -2)]).result(TIMEOUT) == 3
        with pytest.raises(LookupError, match="why"):
            pool.submit(str, pool.submit(broken, "why")).result(TIMEOUT)


def test_a_failure_belongs_to_its_future(runner: Runner, caplog: pytest.LogCaptureFixture) -> None:
    """An exception comes with the user's line in its notes, and is neither logged nor raised by the shutdown."""
    with executor(runner) as pool:
        seen, _unseen, wrong = pool.submit(broken, "x"), pool.submit(broken, "y"), pool.submit(pow)
        with pytest.raises(LookupError, match="x") as caught:
            seen.result(TIMEOUT)
        assert "broken()" in repr(seen)
        assert any(f"called at {__file__}:" in note for note in caught.value.__notes__)
        assert isinstance(wrong.exception(TIMEOUT), TypeError)
        with pytest.raises(LookupError) as caught:
            next(pool.map(broken, ["z"]))
        assert any(f"called at {__file__}:" in note for note in caught.value.__notes__)
    assert not caplog.records


def test_what_has_not_started_can_be_cancelled(parallel: Block, gate: Gate) -> None:
    """`cancel()` is true for a call that waits, which then never runs, and false for one that runs."""
    with pool_of(parallel, gate) as pool:
        running = pool.submit(held, gate.place)
        gate.wait_for()
        waiting = pool.submit(abs, running)
        assert waiting.cancel()
        assert wait([waiting], TIMEOUT).done == {waiting}
        with pytest.raises(CancelledError):
            waiting.result()
        gate.open()
        assert running.result(TIMEOUT) == "let go"
        assert not running.cancel()


def test_shutting_down_can_cancel_what_waits(parallel: Block, gate: Gate) -> None:
    """`cancel_futures` drops what has not started; what runs goes on, and a later shutdown waits for it."""
    with pool_of(parallel, gate) as pool:
        running = pool.submit(held, gate.place)
        gate.wait_for()
        waiting = [pool.submit(abs, running) for _ in range(20)]
        pool.shutdown(wait=False, cancel_futures=True)
        assert all(future.cancelled() for future in waiting)
        assert not running.done()
    assert running.done()
    assert running.result() == "let go"


def test_no_call_after_the_shutdown(runner: Runner) -> None:
    """`submit` raises a RuntimeError after the shutdown, which may come more than once."""
    pool = executor(runner)
    pool.shutdown()
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(abs, 1)


def test_the_runner_of_the_user_stays_open(runner: Runner) -> None:
    """After the shutdown the runner serves blocks and other executors."""
    for _ in range(2):
        with executor(runner) as pool:
            assert pool.submit(abs, -1).result(TIMEOUT) == 1
    with Workflow(runner):
        assert executor().submit(abs, -1).result(TIMEOUT) == 1


def test_what_cannot_be_pickled_costs_its_own_call(remote: Block) -> None:
    """An argument that can't travel is a TypeError at the call that says where it is, such a result one of its call."""
    with executor(runner_of(remote)) as pool:
        with pytest.raises(TypeError, match=r"submit\(\): argument args\[0\]\[1\]"):
            pool.submit(len, [0, threading.Lock()])
        assert isinstance(pool.submit(threading.Lock).exception(TIMEOUT), ResultError)
        assert pool.submit(abs, -1).result(TIMEOUT) == 1


def test_calls_can_make_calls(local: Block) -> None:
    """A call in this process may make others on the executor that runs it."""
    with executor(runner_of(local)) as pool:
        assert pool.submit(lambda: pool.submit(abs, -1).result(TIMEOUT)).result(TIMEOUT) == 1


def test_a_call_cannot_shut_down_what_runs_it(local: Block) -> None:
    """Waiting in a call for all calls is an error, since it would never end."""
    with executor(runner_of(local)) as pool, pytest.raises(RuntimeError, match="wait=False"):
        pool.submit(lambda: pool.shutdown()).result(TIMEOUT)


def test_a_callback_cannot_wait_for_the_shutdown(parallel: Block, gate: Gate) -> None:
    """Waiting in a callback for all calls is an error, since it would never end."""
    found: list[BaseException] = []

    def shut_down(_: Future[Any]) -> None:
        try:
            pool.shutdown()
        except RuntimeError as error:
            found.append(error)

    with pool_of(parallel, gate) as pool:
        future = pool.submit(held, gate.place)
        future.add_done_callback(shut_down)
    (error,) = found
    assert "wait=False" in str(error)


def test_a_timeout_that_is_over_does_not_wait(parallel: Block, gate: Gate) -> None:
    """A call that goes on raises TimeoutError, also for the rest of a time that is less than nothing."""
    with pool_of(parallel, gate) as pool:
        future = pool.submit(held, gate.place)
        for timeout in (0, -1, 0.001):
            with pytest.raises(TimeoutError):
                future.result(timeout)
            with pytest.raises(TimeoutError):
                future.exception(timeout)
        with pytest.raises(TimeoutError):
            next(pool.map(held, [gate.place], timeout=-1))


def test_asyncio_runs_calls_on_it(runner: Runner) -> None:
    """`run_in_executor` gives results and exceptions to coroutines, with the user's line."""

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        with executor(runner) as pool:
            calls = [loop.run_in_executor(pool, pow, n, 2) for n in range(3)]
            failure = loop.run_in_executor(pool, broken, "x")
            wrapped = asyncio.wrap_future(pool.submit(abs, -7))
            return await asyncio.gather(*calls, wrapped, failure, return_exceptions=True)

    *numbers, failure = asyncio.run(main())
    assert numbers == [0, 1, 4, 7]
    assert isinstance(failure, LookupError)
    assert any(f"called at {__file__}:" in note for note in failure.__notes__)


def test_cancelling_what_is_awaited_cancels_the_call(parallel: Block, gate: Gate) -> None:
    """A task of asyncio that is cancelled while it awaits a call that waits cancels the call."""

    async def main() -> None:
        running = pool.submit(held, gate.place)
        waiting = pool.submit(abs, running)
        awaiting = asyncio.wrap_future(waiting)
        awaiting.cancel()
        await asyncio.sleep(0)
        assert waiting.cancelled()
        gate.open()
        assert await asyncio.wrap_future(running) == "let go"

    with pool_of(parallel, gate) as pool:
        asyncio.run(main())
