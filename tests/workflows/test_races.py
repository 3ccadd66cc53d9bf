# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Orders of events that are rare, made to happen: between the end of a call and what hears of it, between threads."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Executor, Future

import pytest
from helpers import TIMEOUT
from helpers.scripts import run_script
from helpers.waiting import hasty_switches, in_thread

from parman import ConcurrentRunner, ProcessPool, WorkflowError, as_future, resolve, share, task, workflow
from parman.engine.calls import Call


@task
def table(gate: threading.Event) -> list[list[int]]:
    assert gate.wait(TIMEOUT)
    return [[1]]


@task
def copied(x: list) -> list:
    return x


@task
def wait_for(gate: threading.Event, number: int) -> int:
    assert gate.wait(TIMEOUT)
    return number


@task
def numbered(number: int) -> int:
    return number


@task
def total(xs: list[list[int]]) -> int:
    return sum(map(sum, xs))


def test_a_result_changed_before_its_dependents_hear_of_it():
    """A call that was made before gets the result as it came, even if the user was faster to change it."""
    gate = threading.Event()
    with workflow("threads:1"):
        result = table(gate)
        result.add_done_callback(lambda future: future.result().append("late"))
        after = copied(result)
        gate.set()
        assert resolve(after) == [[1]]
        assert resolve(result) == [[1], "late"]


def test_an_item_changed_before_its_dependents_hear_of_it():
    """The same holds for an item: changes of the whole after the call are not in it."""
    gate = threading.Event()
    with workflow("threads:1"):
        result = table(gate)
        result.add_done_callback(lambda future: future.result()[0].append("late"))
        after = copied(result[0])
        gate.set()
        assert resolve(after) == [1]


def test_a_callback_that_waits_is_told_so():
    """A callback can't wait for a future of the same runner: an error says so, and the other calls go on."""
    gate, told = threading.Event(), []
    with workflow("threads:1"):
        first, second = wait_for(gate, 1), wait_for(gate, 2)

        def callback(future):
            with pytest.raises(WorkflowError, match="a callback can't wait"):
                second.result(TIMEOUT)
            told.append(future.result())

        first.add_done_callback(callback)
        gate.set()
        assert resolve(second) == 2
    assert told == [1]


def test_trees_as_futures_share_a_thread():
    """However many trees are asked for as futures, there is no thread for each of them."""
    gate = threading.Event()
    with workflow("threads:1"):
        calls = [wait_for(gate, 1), wait_for(gate, 2)]
        before = threading.active_count()
        trees = [as_future(calls) for _ in range(50)]
        assert threading.active_count() <= before + 1
        gate.set()
        assert [tree.result(TIMEOUT) for tree in trees] == [[1, 2]] * 50


def test_a_runner_closed_by_one_thread_while_another_uses_it():
    """Blocks in several threads may enter and close the same runner: no call meets a pool that was just closed."""
    runner, errors = ConcurrentRunner.threads(2), []

    def work():
        try:
            for _ in range(100):
                with runner, workflow(runner):
                    assert resolve([total([[i]]) for i in range(3)]) == [0, 1, 2]
        except BaseException as error:
            errors.append(error)

    with hasty_switches():
        threads = [in_thread(work) for _ in range(3)]
        for thread in threads:
            thread.join(TIMEOUT)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)


class Steered(Executor):
    """Workers of which a script says who gets the next call."""

    def __init__(self, pools, order):
        self.workers = 1
        self.pools = pools
        self.order = order
        self.calls = 0

    def submit(self, fn, /, *args, **kwargs):
        self.calls += 1
        assert self.calls < 20, "the call goes to and fro"
        return self.pools[next(self.order)].submit(fn, *args, **kwargs)


def test_a_call_between_workers_each_of_which_lacks_something():
    """A call that lands in turn on workers that know different shares is run, rather than passed to and fro."""
    with ProcessPool(1) as one, ProcessPool(1) as other:
        executor = Steered([one, other], itertools.chain([0, 0, 1, 1], itertools.cycle([0, 1])))
        with workflow(executor):
            x, y = share([1]), share([2])
            assert resolve(total([x])) == 1
            assert resolve(total([y])) == 2
            assert resolve(total([x, y])) == 3
    assert executor.calls == 7


class Unstoppable(Future):
    """A future that can't be cancelled and does not say that it runs."""

    def cancel(self):
        return False


class Silent(Executor):
    """Takes calls and never runs them."""

    def __init__(self):
        self.asked = threading.Event()

    def submit(self, fn, /, *args, **kwargs):
        self.asked.set()
        return Unstoppable()


def test_ctrl_c_gives_up_what_an_executor_can_not_stop():
    """After Ctrl-C every future is done, whatever the executor's own futures say."""
    executor = Silent()
    with pytest.raises(KeyboardInterrupt), workflow(executor):  # noqa: PT012
        future = total([[1]])
        assert executor.asked.wait(TIMEOUT)
        raise KeyboardInterrupt
    assert future.done()


FORKED_BY_HAND = """
import os, signal, sys, threading
from parman import task, workflow

gate = threading.Event()

@task
def hold() -> None:
    gate.wait(30)

with workflow("threads:1"):
    hold()
    if os.fork() == 0:
        signal.alarm(10)
        sys.exit(3)
    status = os.wait()[1]
    gate.set()
print(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_leaves_the_block_at_once():
    """A child that was forked by hand does not wait for the calls of its parent when it leaves the block."""
    assert run_script(FORKED_BY_HAND, "-W", "ignore").stdout == "3\n"


FORKED_BY_EXECUTOR = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from parman import resolve, task, workflow

@task
def double(x: int) -> int:
    return 2 * x

with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
    with workflow(executor):
        print(resolve(double(2)))
"""


def test_forked_workers_end_without_a_word():
    """Workers that were forked inside the block don't take themselves for an interpreter that leaves it open."""
    done = run_script(FORKED_BY_EXECUTOR, "-W", "ignore")
    assert (done.stdout, done.stderr) == ("4\n", "")


@task
def outer(first: ConcurrentRunner, second: ConcurrentRunner) -> int:
    with workflow(second):
        return resolve(inner(first))


@task
def inner(first: ConcurrentRunner) -> int:
    with workflow(first):
        return 1


def test_a_block_on_a_runner_further_out_is_refused():
    """A task that would wait, by way of another runner, for the one that runs it fails, rather than to hang."""
    one, other = ConcurrentRunner.threads(1), ConcurrentRunner.threads(1)
    with one, other, workflow(one), pytest.raises(WorkflowError, match="could wait for itself"):
        resolve(outer(one, other), timeout=TIMEOUT)


FORKED_IN_THE_MIDDLE = """
import os, signal, sys, threading
from parman import resolve, task, workflow
from parman.engine import calls

@task
def step(x: int) -> int:
    return x + 1

held, go = threading.Event(), threading.Event()

def hold():
    with calls._moving:
        held.set()
        go.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if not child:
    signal.alarm(10)
    with workflow("threads:2"):
        sys.exit(resolve(step(step(1))))
status = os.waitpid(child, 0)[1]
go.set()
print(os.waitstatus_to_exitcode(status))
"""


def test_a_fork_while_a_call_changes_its_state():
    """A child that was forked just then can run calls of its own."""
    assert run_script(FORKED_IN_THE_MIDDLE, "-W", "ignore").stdout == "3\n"


def test_a_call_that_cannot_begin_to_wait_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch):
    """Whatever goes wrong with one of several calls that were made, the others run."""
    enter = Call.enter

    def sometimes(call: Call) -> None:
        if call.closure.snapshot.value["number"] == 3:
            raise RuntimeError("can't start new thread")
        enter(call)

    monkeypatch.setattr(Call, "enter", sometimes)
    with workflow("threads:2"):
        futures = [numbered(i) for i in range(10)]
        ended = resolve(futures, TIMEOUT, return_exceptions=True)
    assert isinstance(ended[3], RuntimeError)
    assert ended[:3] + ended[4:] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
