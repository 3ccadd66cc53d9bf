# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# ruff: noqa: PT012 (what raises is the end of the block)
"""How a block is left: normally, by an exception, by Ctrl-C, or not at all."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import copy_context

import pytest
from helpers import TIMEOUT
from helpers.scripts import BLOCK, LIMIT, script
from helpers.waiting import death, in_thread

from parman import ConcurrentRunner, SerialRunner, WorkflowError, WorkflowFailed, resolve, task, workflow
from parman.context import in_force, open_blocks


@task
def double(x: int) -> int:
    return 2 * x


@task
def fail() -> int:
    raise ValueError("boom")


@pytest.fixture(params=["serial", "threads", "processes"])
def name(request):
    return request.param


def test_leaving_waits_for_all_calls(name):
    """A block that is left normally has run all calls."""
    with workflow(name) as w:
        futures = [double(i) for i in range(5)]
        chained = [double(future) for future in futures]
    assert all(not isinstance(f, Future) or f.done() for f in futures + chained)
    assert resolve(chained) == [0, 4, 8, 12, 16]
    assert w._registry.pending() == []


def test_no_block_is_in_force_afterwards(name):
    """After a block, whatever its end, calls are plain calls."""
    with workflow(name):
        double(1)
    assert double(1) == 2
    with pytest.raises(KeyError), workflow(name):
        raise KeyError
    assert double(1) == 2
    with pytest.raises(WorkflowFailed), workflow(name):
        fail()
    assert double(1) == 2
    assert in_force.get() is None
    assert not open_blocks


def test_an_exception_in_the_body():
    """An exception in the body cancels what is pending, waits for what runs, and leaves no future open."""
    started, gate = threading.Event(), threading.Event()

    @task
    def hold() -> int:
        started.set()
        assert gate.wait(TIMEOUT)
        return 1

    def body():
        with workflow("threads:1"):
            running.append(hold())
            assert started.wait(TIMEOUT)
            pending.extend([double(running[0]), double(3), double(double(4))])
            pending[0].add_done_callback(lambda _: gate.set())
            raise KeyError("mine")

    running, pending = [], []
    with pytest.raises(KeyError, match="mine"):
        body()
    assert running[0].result(0) == 1
    assert all(future.cancelled() for future in pending)


def test_an_exception_in_the_body_on_processes(tmp_path):
    """The same on our own processes: running calls finish."""
    text = (
        BLOCK
        + """
error = None
try:
    with workflow("processes:1"):
        running = hold(0.3)
        pending = [after(running), after(2)]
        sys.stdin.readline()
        raise KeyError("mine")
except KeyError as exc:
    error = exc
left(error, running, *pending)
"""
    )
    with script(tmp_path, text) as running:
        running.wait_for("RUNNING")
        running.go()
        report = running.report()
        assert report == {"error": "KeyError", "futures": ["finished", "cancelled", "cancelled"]}
        assert "STARTED" not in running.seen
        assert running.end() == 0
        assert running.all_gone()


def test_exit_in_the_body():
    """`sys.exit()` in the body is an exception of the body."""
    outer: Future[int] = Future()
    with pytest.raises(SystemExit), workflow("threads:1"):
        pending = double(outer)
        raise SystemExit(3)
    assert pending.cancelled()


def test_an_inner_block_waits_for_its_own_calls():
    """An inner block on the runner of the outer one waits for its own calls only."""
    with ConcurrentRunner.threads(2) as runner, workflow(runner):
        outer: Future[int] = Future()
        waiting = double(outer)
        with workflow():
            inner = double(2)
        assert inner.done()
        assert not waiting.done()
        outer.set_result(4)
    assert waiting.result(0) == 8


def test_the_runner_of_the_user_stays_open():
    """Leaving a block shuts down neither a runner nor an executor that the user opened."""
    with ThreadPoolExecutor(1) as executor, ConcurrentRunner.threads(1) as runner:
        for wanted in (executor, runner, executor, runner):
            with workflow(wanted):
                future = double(1)
            assert future.result(0) == 2
        assert executor.submit(abs, -1).result(TIMEOUT) == 1


def test_a_pool_of_the_block_is_released():
    """The threads that a block opened end with it."""
    before = set(threading.enumerate())
    with workflow("threads:2"):
        resolve([double(i) for i in range(4)])
        pool = [t for t in set(threading.enumerate()) - before if "event-loop" not in t.name]
        assert pool
    assert not any(thread.is_alive() for thread in pool)


def test_a_block_serves_once():
    """A block can't be entered twice, nor closed if it is not open."""
    w = workflow("serial")
    with pytest.raises(WorkflowError, match="not open"):
        w.close()
    with w:
        pass
    with pytest.raises(WorkflowError, match="single block"):
        w.open()


def test_calls_in_a_block_that_was_left():
    """Who took the context of a block along can't make calls in it once it is left."""
    with workflow("threads:1"):
        context = copy_context()
    with pytest.raises(WorkflowError, match=r"double.*left"):
        context.run(double, 1)


def test_open_and_close():
    """Between `open` and `close` the block is in force in all threads; `close` waits and tells failures."""
    w = workflow("threads:1").open()
    try:
        made = []
        in_thread(lambda: made.append(double(4))).join(TIMEOUT)
        assert isinstance(made[0], Future)
        fail()
    finally:
        with pytest.raises(WorkflowFailed):
            w.close()
    assert made[0].result(0) == 8
    assert double(1) == 2


def test_a_running_call_finishes_under_fail_fast():
    """Under fail_fast what runs finishes before the block is left."""
    started, gate = threading.Event(), threading.Event()

    @task
    def hold() -> int:
        started.set()
        assert gate.wait(TIMEOUT)
        return 1

    with pytest.raises(WorkflowFailed), workflow("threads:2", fail_fast=True):
        running = hold()
        assert started.wait(TIMEOUT)
        broken = fail()
        broken.add_done_callback(lambda _: gate.set())
    assert running.result(0) == 1


def test_blocks_in_threads():
    """A block that is entered in a thread is left in that thread, whatever ends it."""
    ends = []

    def run():
        try:
            with workflow("threads:1"):
                future = double(2)
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            ends.append(future.done())

    in_thread(run).join(TIMEOUT)
    assert ends == [True]


@pytest.mark.parametrize("runner", ["serial", "threads:1"])
def test_open_closes_the_block_that_was_open(caplog, runner):
    """Of a cell that opens a block and is run twice, one block is open, and one `close` ends it; it is told."""
    w = workflow(runner).open()
    first = double(2)
    w = workflow(runner).open()
    assert "closes the block that was open" in caplog.text
    second = double(3)
    w.close()
    assert [resolve(first), resolve(second)] == [4, 6]
    assert double(1) == 2
    with pytest.raises(WorkflowError, match="not open"):
        w.close()


def test_open_tells_the_failures_of_the_block_that_was_open():
    """Failures that nobody saw are raised by the `open` that closes their block; the next `open` goes on."""
    workflow("threads:1").open()
    fail()
    w = workflow("threads:1")
    with pytest.raises(WorkflowFailed) as caught:
        w.open()
    assert "open() again" in str(caught.value.__notes__)
    assert double(1) == 2
    w.open()
    assert isinstance(double(1), Future)
    w.close()
    assert double(1) == 2


def test_open_twice():
    """The same block is not opened twice; it stays as it is, and `close` ends it."""
    w = workflow("threads:1").open()
    with pytest.raises(WorkflowError, match="open already"):
        w.open()
    assert isinstance(double(1), Future)
    w.close()
    assert double(1) == 2
    with pytest.raises(WorkflowError, match="single block"):
        w.open()


def test_open_in_a_block_leaves_it_alone():
    """A block that is opened within a `with` block closes neither that nor, from a task, that of the driver."""
    outer = workflow("threads:1").open()

    @task
    def inside(x: int) -> int:
        w = workflow("serial").open()
        w.close()
        return x

    value = inside(1)
    assert resolve(value) == 1
    assert isinstance(double(1), Future)
    outer.close()


# --- the end of the interpreter ---

FORGETFUL = {
    "open": "w = workflow({name!r}).open()",
    "entered": "workflow({name!r}).__enter__()",
    "runner": "r = runner({name!r}); r = r if isinstance(r, ConcurrentRunner) else ConcurrentRunner.{name}(2)\n"
    "w = workflow(r).open()",
}


@pytest.mark.parametrize("way", FORGETFUL)
@pytest.mark.parametrize("name", ["threads", "processes"])
def test_the_interpreter_ends_in_an_open_block(tmp_path, name, way):
    """A script that does not leave its block ends in 3 s with status 1, names what it drops, leaves no process."""
    text = (
        BLOCK
        + FORGETFUL[way].format(name=name)
        + """
first, second = hold(), hold()
rest = [after(first) for _ in range(5)]
sys.stdin.readline()
say("ENDING")
"""
    )
    with script(tmp_path, text) as running:
        for _ in range(2):
            running.wait_for("RUNNING")
        running.go()
        running.wait_for("ENDING")
        begin = time.monotonic()
        assert running.end() == 1
        assert time.monotonic() - begin < LIMIT
        assert running.errors.count("the interpreter ends in an open workflow") == 1
        assert "7 unfinished calls" in running.errors
        assert running.errors.count("dropped: hold(), called at") == 2
        assert running.errors.count("dropped: after(), called at") == 5
        assert "Traceback" not in running.errors
        assert running.all_gone()
        assert "STARTED" not in running.seen


def test_the_interpreter_ends_while_the_user_s_threads_run(tmp_path):
    """On a pool of the standard library, whose threads Python waits for, what is pending is dropped all the same."""
    text = (
        BLOCK
        + """
executor = ThreadPoolExecutor(1)
w = workflow(executor).open()
first = hold(0.3)
rest = [after(i) for i in range(5)]
sys.stdin.readline()
"""
    )
    with script(tmp_path, text) as running:
        running.wait_for("RUNNING")
        running.go()
        assert running.end() == 1
        assert "6 unfinished calls" in running.errors
        assert "Traceback" not in running.errors
        assert "STARTED" not in running.seen


def test_forgotten_runners_keep_nothing_alive(tmp_path):
    """Runners and pools with running calls, without any block, don't keep the interpreter."""
    text = (
        BLOCK
        + """
runners = [ConcurrentRunner.threads(1), ConcurrentRunner.processes(1)]
futures = [runner(Closure(hold)) for runner in runners]
pools = [ThreadPool(1), ProcessPool(1)]
futures += [pool.submit(hold) for pool in pools]
sys.stdin.readline()
"""
    )
    with script(tmp_path, text) as running:
        for _ in range(4):
            running.wait_for("RUNNING")
        running.go()
        assert running.end(TIMEOUT) == 0
        assert "Traceback" not in running.errors
        assert running.all_gone()


def test_an_unhandled_exception_in_an_open_block(tmp_path):
    """A script that dies of an exception between `open` and `close` ends likewise, with its own traceback."""
    text = (
        BLOCK
        + """
w = workflow("processes:1").open()
first = hold()
sys.stdin.readline()
raise KeyError("mine")
"""
    )
    with script(tmp_path, text) as running:
        running.wait_for("RUNNING")
        running.go()
        assert running.end() == 1
        assert "KeyError: 'mine'" in running.errors
        assert running.all_gone()


def test_leaving_after_a_cancelled_outer_future():
    """A call that waits for a future that never comes does not hold up a block that an exception ends."""
    never: Future[int] = Future()
    with pytest.raises(KeyError), workflow(SerialRunner()), workflow("threads:1"):
        waiting = double(never)
        raise KeyError
    with pytest.raises(CancelledError):
        waiting.result(0)


@task
def half(x: float) -> float:
    return x / 2


@pytest.mark.parametrize("runner", ["threads:1", "processes:1", "pool"])
def test_results_keep_no_thread(runner):
    """However many blocks have left results that somebody holds, no thread of them is left."""
    before = set(threading.enumerate())
    results = []
    with ThreadPoolExecutor(1) as pool:
        for number in range(3):
            with workflow(pool if runner == "pool" else runner) as block:
                results.append(half(number))
        pool.submit(int).result()
        for thread in set(threading.enumerate()) - before:
            if "parman" in thread.name:
                thread.join(TIMEOUT)
                assert not thread.is_alive()
    with workflow(block.runner if runner != "pool" else "threads:1"):
        results.append(half(results[-1]))
    assert resolve(results) == [0.0, 0.5, 1.0, 0.5]


@pytest.mark.parametrize(
    "make",
    [
        lambda executor: ConcurrentRunner.threads(2),
        lambda executor: ConcurrentRunner.processes(2),
        ConcurrentRunner,
        lambda executor: ConcurrentRunner(executor, where="unknown"),
    ],
    ids=["threads", "processes", "executor", "unknown"],
)
def test_a_runner_that_is_forgotten_is_gone(make):
    """It is gone with its last reference, without the garbage collector, so that its threads end."""
    with ThreadPoolExecutor(2) as executor:
        runner = make(executor)
        with workflow(runner):
            assert resolve([double(double(i)) for i in range(20)]) == [4 * i for i in range(20)]
        gone = death(runner)
        gc.collect()
        gc.disable()
        try:
            del runner
            assert gone.wait(TIMEOUT)
        finally:
            gc.enable()
