# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Executors of a runner's: what they open and close, what they keep, and how they end with a script or notebook."""

from __future__ import annotations

import doctest
import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from helpers import TIMEOUT, death, dispatcher_threads, run_script
from nbclient import NotebookClient

import parman
from parman import Interrupted, ProcessPool, ThreadPool, WorkflowError, executor, executors, workflow


class Failure(Exception):
    """An exception that can be referred to weakly, which a built-in one can't."""


class Thing:
    def fail(self) -> None:
        raise Failure


class Hold:
    """A call that goes on until it is let go."""

    def __init__(self) -> None:
        self.started, self.go = threading.Event(), threading.Event()

    def submit_to(self, pool: Executor) -> Future[bool]:
        """Start it."""

        def hold() -> bool:
            self.started.set()
            return self.go.wait(TIMEOUT)

        future = pool.submit(hold)
        assert self.started.wait(TIMEOUT)
        return future


@contextmanager
def no_collector() -> Iterator[None]:
    """Let nothing be freed by the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def threads_of_pools() -> list[threading.Thread]:
    """Return the threads that run calls."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("parman-thread")]


def test_what_it_opened_is_closed() -> None:
    """A pool that was made for the executor ends with it."""
    before = len(threads_of_pools())
    with executor("threads:2") as pool:
        assert pool.submit(threading.current_thread).result(TIMEOUT).name.startswith("parman-thread")
        assert len(threads_of_pools()) > before
    assert len(threads_of_pools()) == before
    with executor("processes:1") as pool:
        worker = pool.submit(os.getpid).result(TIMEOUT)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


@pytest.mark.parametrize("make", [ThreadPool, ProcessPool])
def test_the_executor_of_the_user_stays_open(make: type[ThreadPool | ProcessPool]) -> None:
    """An executor below is left as it is, with its workers."""
    with make(1) as below:
        first = below.submit(os.getpid).result(TIMEOUT)
        with executor(below) as pool:
            assert pool.submit(os.getpid).result(TIMEOUT) == first
        assert below.submit(os.getpid).result(TIMEOUT) == first


def test_the_runner_is_found_as_that_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it is that of the block around, else the one of the environment; an unknown one is an error."""
    monkeypatch.setenv("PARMAN_RUNNER", "serial")
    with executor() as pool:
        assert pool.submit(threading.get_ident).result() == threading.get_ident()
        assert "Serial" in repr(pool)
    with workflow("threads:1"), executor() as pool:
        assert pool.submit(threading.get_ident).result(TIMEOUT) != threading.get_ident()
    with pytest.raises(WorkflowError, match="colour"):
        executor("colour")


def test_an_executor_in_a_call_on_its_runner_is_an_error() -> None:
    """A call can't open an executor on the runner that runs it, which could wait for itself for ever."""
    with parman.ConcurrentRunner.threads(1) as runner, executor(runner) as pool:
        failure = pool.submit(lambda: executor(runner)).exception(TIMEOUT)
    assert isinstance(failure, WorkflowError)
    assert "same runner" in str(failure)


def test_nothing_is_kept_of_calls() -> None:
    """Functions, arguments, results and failures are freed with their futures, without the garbage collector."""
    with no_collector(), executor("threads:1") as pool:
        things = [Thing(), Thing()]
        gone = [death(thing) for thing in things]
        failing, working = pool.submit(things[0].fail), pool.submit(lambda thing: thing, things[1])
        gone += [death(failing.exception(TIMEOUT)), death(working.result(TIMEOUT))]
        del things, failing, working
        pool.submit(abs, 1).result(TIMEOUT)
        assert all(event.wait(TIMEOUT) for event in gone)


def test_no_thread_outlives_a_failure() -> None:
    """When an executor is gone, so is its dispatcher, also if calls failed, without the garbage collector."""
    before = set(dispatcher_threads())
    with no_collector():
        with executor("threads:1") as pool:
            pool.submit(Thing().fail).exception(TIMEOUT)
            (dispatcher,) = set(dispatcher_threads()) - before
        del pool
        dispatcher.join(TIMEOUT)
        assert not dispatcher.is_alive()


def test_an_executor_that_is_forgotten_finishes_its_calls() -> None:
    """Calls go on when nobody holds the executor any more, and its threads end after them."""
    hold, before = Hold(), set(threads_of_pools())
    future = hold.submit_to(executor("threads:1"))
    gc.collect()
    (thread,) = set(threads_of_pools()) - before
    hold.go.set()
    assert future.result(TIMEOUT) is True
    del future
    gc.collect()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_an_exception_in_the_block_waits_for_the_calls() -> None:
    """As with other executors, an exception of the body lets the calls finish."""
    futures = []

    def leave_block() -> None:
        with executor("threads:1") as pool:
            futures.extend(pool.submit(abs, -n) for n in range(20))
            raise LookupError

    with pytest.raises(LookupError):
        leave_block()
    assert [future.result(0) for future in futures] == list(range(20))


def test_ctrl_c_in_the_block_gives_the_calls_up() -> None:
    """Ctrl-C leaves the block at once: what runs is given up, what waits is cancelled."""
    hold, futures = Hold(), []

    def leave_block() -> None:
        with executor("threads:1") as pool:
            futures.extend([hold.submit_to(pool), pool.submit(abs, 1)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave_block()
    running, waiting = futures
    assert isinstance(running.exception(0), Interrupted)
    assert waiting.cancelled()
    hold.go.set()


def test_globals_are_those_of_each_call() -> None:
    """A function of a script sees its globals as they are when it is submitted, on processes, too."""
    script = """
import parman
def read():
    return value
with parman.executor("processes:1") as pool:
    for value in range(3):
        print(pool.submit(read).result())
"""
    result = run_script(script, "-W", "error")
    assert (result.stdout.split(), result.stderr) == (["0", "1", "2"], "")


def test_a_script_ends_without_a_shutdown() -> None:
    """An executor that is never shut down keeps no interpreter alive; calls that have not finished are told of."""
    script = """
import threading, parman
pool = parman.executor("threads:1")
print(pool.submit(abs, -1).result(), flush=True)
pool.submit(threading.Event().wait)
"""
    result = run_script(script)
    assert result.returncode == 0
    assert result.stdout == "1\n"
    assert "1 unfinished calls are dropped" in result.stderr


def test_a_shutdown_that_does_not_wait_closes_later() -> None:
    """`shutdown(wait=False)` returns while calls run, and what was opened is closed when they are done."""
    hold, before = Hold(), set(threads_of_pools())
    pool = executor("threads:1")
    future = hold.submit_to(pool)
    (thread,) = set(threads_of_pools()) - before
    pool.shutdown(wait=False)
    assert not future.done()
    hold.go.set()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert future.result(0) is True


def test_a_dry_run_runs_nothing() -> None:
    """In a dry run the futures stand for values, and who needs one ends the run."""
    with pytest.raises(SystemExit), workflow("dry"), executor() as pool:
        pool.submit(pytest.fail, "this ran").result()


def test_the_example_of_the_docstring_holds() -> None:
    """What `help(parman.executor)` shows is what happens."""
    results = doctest.testmod(executors, optionflags=doctest.ELLIPSIS)
    assert results.attempted
    assert not results.failed


def test_cells_of_notebooks_can_await(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`await` at the top of a cell works with the leaf futures of an open workflow, and with an executor."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    cells = [
        "import asyncio, parman\n@parman.task\ndef double(x: int) -> int:\n    return 2 * x",
        "w = parman.workflow('processes:1').open()\nleaf = double(double(3))",
        "print(await asyncio.wrap_future(leaf))",
        "w.close()\npool = parman.executor('processes:1')\nloop = asyncio.get_running_loop()",
        "print(await asyncio.gather(*(loop.run_in_executor(pool, lambda x: x + 1, n) for n in range(3))))",
        "pool.shutdown()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(
        notebook, timeout=50, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output.get("text") for cell in notebook.cells for output in cell.outputs]
    assert outputs == ["12\n", "[1, 2, 3]\n"]
