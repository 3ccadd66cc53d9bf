# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later

"""Random workflows against a simple model: which calls succeed, fail and are cancelled, and that all of them end."""

from __future__ import annotations

import random
import threading
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, wait

import pytest
from helpers import TIMEOUT
from helpers.seeds import seeds
from helpers.waiting import hasty_switches, in_thread

from parman import ConcurrentRunner, SerialRunner, WorkflowFailed, cancel, resolve, task, workflow

# A value is a number, the number of the call that failed at the root, or "cancelled".


class Failed(Exception):
    pass


@task
def total(number: int, fails: bool, xs: list[int]) -> int:
    if fails:
        raise Failed(number)
    return number + sum(xs)


@task
def split(number: int, fails: bool, xs: list[int]) -> tuple[int, int]:
    if fails:
        raise Failed(number)
    return number + sum(xs), number - sum(xs)


@task
def admit(number: int, fails: bool, xs: list[int | Exception]) -> int:
    if fails:
        raise Failed(number)
    return number + sum(-x.args[0] if isinstance(x, Exception) else x for x in xs)


@task
def listed(number: int, fails: bool, xs: list[int]) -> list[int]:
    if fails:
        raise Failed(number)
    return [number + sum(xs), number]


class Anonymous(Executor):
    """Threads that don't say how many there are."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(2)

    def submit(self, fn, /, *args, **kwargs):
        return self.pool.submit(fn, *args, **kwargs)


@pytest.fixture(scope="module")
def runners():
    anonymous = Anonymous()
    with SerialRunner() as serial, ConcurrentRunner.threads(2) as threads, ConcurrentRunner.processes(2) as processes:
        yield {
            "serial": serial,
            "threads": threads,
            "unknown": ConcurrentRunner(anonymous, where="inside"),
            "processes": processes,
        }
    anonymous.pool.shutdown()


class Model:
    """What a leaf ends with, given what the leaves that it depends on ended with."""

    def __init__(self, kind, number, fails, sources, position):
        self.kind = kind
        self.number = number
        self.fails = fails
        self.sources = sources
        self.position = position

    def expected(self, outcomes):
        given = [outcomes[source] for source in self.sources]
        broken = [one for one in given if isinstance(one, Failed)]
        if broken and self.kind is not admit:
            return broken[0]
        if "cancelled" in given:
            return "cancelled"
        if self.fails:
            return Failed(self.number)
        plain = [-one.args[0] if isinstance(one, Failed) else one for one in given]
        both = {total: [0], admit: [0], split: [0, 1], listed: [0, 1]}[self.kind]
        values = {0: self.number + sum(plain), 1: self.number - sum(plain) if self.kind is split else self.number}
        return values[both[self.position]]


def make_graph(rng, size, futures, models, wholes):
    for number in range(1, size + 1):
        kind = rng.choice([total, total, split, admit, listed])
        fails = rng.random() < 0.12
        sources = rng.sample(range(len(futures)), min(len(futures), rng.choice([0, 1, 1, 2, 3])))
        result = kind(number, fails, [futures[source] for source in sources])
        wholes.append(result)
        if kind is listed:
            result = (result[0], result[1])
        elif kind is not split:
            result = (result,)
        for position, leaf in enumerate(result):
            futures.append(leaf)
            models.append(Model(kind, number, fails, sources, position))


def outcome(future):
    if not isinstance(future, Future):
        return future
    try:
        return future.result(TIMEOUT)
    except Failed as failure:
        return failure
    except CancelledError:
        return "cancelled"


def same(one, other):
    return one.args == other.args if isinstance(one, Failed) and isinstance(other, Failed) else one == other


def check(futures, models):
    """Compare with the model, which is told what was cancelled: whether that is right follows from `agreed`."""
    outcomes = [outcome(future) for future in futures]
    for got, model in zip(outcomes, models, strict=True):
        if got != "cancelled":
            assert same(got, model.expected(outcomes)), (got, model.expected(outcomes), model.number)
    return outcomes


@pytest.mark.parametrize("seed", seeds(8))
@pytest.mark.parametrize("name", ["serial", "threads", "unknown", "processes"])
def test_random_graphs(runners, name, seed):
    """Each call of a random graph ends as the model says, and the block tells exactly the root failures."""
    rng, futures, models = random.Random(seed), [], []
    with hasty_switches(), workflow(runners[name]) as w:
        make_graph(rng, 60, futures, models, [])
        outcomes = check(futures, models)
    assert "cancelled" not in outcomes
    roots = {m.number for m, o in zip(models, outcomes, strict=True) if isinstance(o, Failed) and o.args[0] == m.number}
    assert {failure.exception.args[0] for failure in w.failed} == roots


@pytest.mark.parametrize("seed", seeds(8))
@pytest.mark.parametrize("name", ["threads", "unknown", "processes"])
def test_random_graphs_with_racing_cancels(runners, name, seed):
    """While two threads cancel at random, every future ends, in the way that `cancel()` told."""
    rng, futures, models = random.Random(seed), [], []
    stop, agreed, refused, wholes = threading.Event(), [], [], []

    def canceller(number):
        dice = random.Random(1000 * seed + number)
        while not stop.is_set():
            if not futures:
                continue
            future = dice.choice(futures[-12:])
            way = dice.random()
            if way < 0.02:
                (agreed if cancel(future) else refused).append(future)
            elif way < 0.05:
                (agreed if future.cancel() else refused).append(future)

    with hasty_switches(), workflow(runners[name]) as w:
        threads = [in_thread(lambda number=number: canceller(number)) for number in range(2)]
        make_graph(rng, 60, futures, models, wholes)
        _, pending = wait(futures, TIMEOUT)
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT)
        assert not pending
        check(futures, models)
        assert all(future.cancelled() for future in agreed)
        resolve(wholes, TIMEOUT, return_exceptions=True)  # those of which both items were cancelled
    assert w._registry.pending() == []
    assert all(call.state in ("finished", "failed", "cancelled") for call in w.calls)


@pytest.mark.parametrize("seed", seeds(4))
@pytest.mark.parametrize("name", ["threads", "unknown", "processes"])
def test_random_graphs_left_by_an_exception(runners, name, seed):
    """When the body raises, every future is done when the block is left."""
    rng, futures, models = random.Random(seed), [], []
    outer: Future[int] = Future()

    def body():
        with workflow(runners[name]):
            futures.append(total(0, False, [outer]))
            models.append(Model(total, 0, False, [], 0))
            make_graph(rng, 40, futures, models, [])
            raise KeyError("leave")

    with pytest.raises(KeyError):
        body()
    assert all(future.done() for future in futures)
    assert futures[0].cancelled()
    outer.set_result(1)


@pytest.mark.parametrize("seed", seeds(4))
@pytest.mark.parametrize("name", ["threads", "unknown", "processes"])
def test_random_graphs_that_fail_fast(runners, name, seed):
    """Under fail_fast every future is done in the end, and only calls that ran have failed."""
    rng, futures, models = random.Random(seed), [], []
    try:
        with workflow(runners[name], fail_fast=True):
            make_graph(rng, 60, futures, models, [])
    except WorkflowFailed:
        pass
    assert all(future.done() for future in futures)
    check(futures, models)


def test_wide_and_deep(runners):
    """A long chain behind a failure, and a wide one behind a cancellation, end without recursion."""
    with workflow(runners["threads"]):
        outer: Future[int] = Future()
        chain = [total(0, False, [outer])]
        for i in range(3000):
            chain.append(total(i, False, [chain[-1]]))
        wide = [total(i, False, [outer]) for i in range(3000)]
        outer.set_exception(Failed(5))
        assert {resolve(f, TIMEOUT, return_exceptions=True).args for f in (chain[-1], *wide)} == {(5,)}
