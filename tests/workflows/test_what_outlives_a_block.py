# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What still uses the runner of a block that was left: executors, inner blocks, futures. All of it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any

import pytest
from helpers import TIMEOUT
from helpers.waiting import hasty_switches, in_thread

from parman import WorkflowError, as_future, executor, resolve, task, workflow


@task
def same(x: int) -> int:
    return x


@task
def wait_for(gate: threading.Event, x: int) -> int:
    gate.wait(TIMEOUT)
    return x


class Theirs(ThreadPoolExecutor):
    """An executor of others, to which each call is submitted."""


@pytest.fixture(params=["threads:2", Theirs, ThreadPoolExecutor])
def head(request: pytest.FixtureRequest) -> Iterator[str | Executor]:
    """Give what a block has in its head."""
    if isinstance(request.param, str):
        yield request.param
    else:
        with request.param(2) as pool:
            yield pool


def test_an_executor_that_outlives_its_block(head: str | Executor) -> None:
    """What was submitted to an executor in a block that was left meanwhile finishes."""
    gate = threading.Event()
    with workflow(head):
        pool = executor()
        futures = [pool.submit(gate.wait, TIMEOUT) for _ in range(6)]
        if isinstance(head, str):  # leaving that waits for its pool
            gate.set()
    gate.set()
    assert [future.result(TIMEOUT) for future in futures] == [True] * 6
    assert pool.submit(pow, 2, 3).result(TIMEOUT) == 8
    pool.shutdown()


def test_an_executor_that_is_cancelled_after_its_block(head: str | Executor) -> None:
    """What is cancelled after the block is done for who waits for it."""
    gate = threading.Event()
    with workflow(head):
        pool = executor()
        futures = [] if isinstance(head, str) else [pool.submit(gate.wait, TIMEOUT) for _ in range(12)]
    if isinstance(head, str):  # leaving that waits for its pool
        futures = [pool.submit(gate.wait, TIMEOUT) for _ in range(12)]
    assert futures[-1].cancel()
    assert not wait(futures[-1:], TIMEOUT).not_done
    gate.set()
    assert not wait(futures, TIMEOUT).not_done
    pool.shutdown()


def test_an_inner_block_that_outlives_the_block_around(head: str | Executor) -> None:
    """A thread that takes the context along may leave its block later."""
    gate, made = threading.Event(), threading.Event()
    found: list[Any] = []

    def inner() -> None:
        with workflow():
            futures = [wait_for(gate, i) for i in range(6)]
            made.set()
        found.append(resolve(futures))

    with workflow(head):
        thread = in_thread(partial(copy_context().run, inner))
        assert made.wait(TIMEOUT)
        if isinstance(head, str):
            gate.set()
    gate.set()
    thread.join(TIMEOUT)
    assert found == [list(range(6))]


def test_a_future_that_waits_for_something_else(head: str | Executor) -> None:
    """The future of a tree finishes after its last part, be that after the block."""
    other: Future[int] = Future()
    with workflow(head):
        tree = as_future([same(1), other])
    other.set_result(2)
    assert tree.result(TIMEOUT) == [1, 2]


def test_no_thread_is_left_of_what_outlived_a_block() -> None:
    """The thread that handles events, and the pool, end with the last who used the runner."""
    before = set(threading.enumerate())
    with workflow("threads:1") as block:
        pool = executor()
    assert pool.submit(pow, 2, 3).result(TIMEOUT) == 8
    pool.shutdown()
    for thread in set(threading.enumerate()) - before:
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    assert block.runner.workers == 1


@contextmanager
def calling(futures: list[Future[int]]) -> Iterator[Callable[[], None]]:
    """Call a task in several threads, until it is a plain call or refused."""
    is_over = threading.Event()
    begun = threading.Barrier(4)

    def call() -> None:
        begun.wait(TIMEOUT)
        while not is_over.is_set():
            try:
                result = same(1)
            except WorkflowError:
                return
            if not isinstance(result, Future):
                return
            futures.append(result)

    threads = [in_thread(call) for _ in range(3)]
    try:
        yield lambda: begun.wait(TIMEOUT) and None
    finally:
        is_over.set()
        for thread in threads:
            thread.join(TIMEOUT)


def test_calls_while_the_block_is_closed() -> None:
    """Whatever call of another thread comes while a block is closed, its future ends."""
    futures: list[Future[int]] = []
    with hasty_switches():
        for _ in range(40):
            block = workflow("threads:2").open()
            with calling(futures) as begin:
                begin()
                block.close()
    assert not wait(futures, TIMEOUT).not_done
