# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Blocks in generators, which are left when the generator ends: before, within or after other blocks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest
from helpers import TIMEOUT
from helpers.waiting import Told

from parman import resolve, task, workflow
from parman.context import in_force


@task
def same(x: int) -> int:
    return x


@task
def fail() -> int:
    raise ValueError("boom")


@task
def hold(runs: threading.Event, gate: threading.Event) -> int:
    runs.set()
    gate.wait(TIMEOUT)
    return 1


def scan(count: int) -> Iterator[Any]:
    """Make calls in a block, one after another."""
    with workflow("threads:2"):
        for i in range(count):
            yield same(i)


def test_a_generator_that_ends_within_another_block() -> None:
    """The block around stays in force when that of the generator is left, and is left itself as any other."""
    generator = scan(3)
    first = next(generator)
    with workflow("threads:2") as block:
        before = same(1)
        rest = list(generator)
        after = same(2)
        assert in_force.get() is block
        assert isinstance(after, Future)
    assert in_force.get() is None
    assert same(3) == 3
    assert resolve([first, *rest, before, after]) == [0, 1, 2, 1, 2]


def test_a_generator_that_ends_after_another_block() -> None:
    """The block of the generator is in force again when another one is left, until the generator ends."""
    generator = scan(2)
    next(generator)
    inside = in_force.get()
    with workflow("serial"):
        pass
    assert in_force.get() is inside
    assert len(list(generator)) == 1
    assert in_force.get() is None


def test_two_generators_in_turns() -> None:
    """However their blocks are entered and left, at the end none is in force."""
    generators = [scan(2), scan(3), scan(1)]
    for generator in generators:
        next(generator)
    with workflow("serial") as block:
        assert [len(list(generators[i])) for i in (1, 0)] == [2, 1]
        assert in_force.get() is block
    list(generators[2])
    assert in_force.get() is None
    assert same(1) == 1


def test_a_generator_within_a_block() -> None:
    """What was in force around the generator's block is so again, a block that was not left."""
    with workflow("threads:1") as outer:
        generator = scan(1)
        next(generator)
        with workflow("serial"):
            list(generator)
        assert in_force.get() is outer


def test_a_generator_that_is_closed_early() -> None:
    """Nobody sees what closing a generator raises: the calls that are dropped are named, and those that failed."""
    gate, runs = threading.Event(), threading.Event()

    def wide() -> Iterator[None]:
        with workflow("threads:1"):
            failed = fail()
            running = hold(runs, gate)
            dropped: Any = same(running)
            dropped.add_done_callback(lambda _: gate.set())
            wait([failed], TIMEOUT)  # type: ignore[list-item]
            assert runs.wait(TIMEOUT)
            yield

    generator = wide()
    next(generator)
    with Told("closing a generator ends a workflow") as told:
        generator.close()  # type: ignore[attr-defined]
    assert "1 unfinished call is dropped and 1 call failed" in told.message
    assert "dropped: same()" in told.message
    assert "failed: fail()" in told.message
    assert same(1) == 1


def test_a_generator_that_is_exhausted_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing to say of a generator that comes to its end."""
    assert resolve(list(scan(3))) == [0, 1, 2]
    assert not caplog.records
