# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Executors of a runner's: what they open and close, what they keep, and how they end with a script or notebook."""

from __future__ import annotations

import copy
import doctest
import gc
import math
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from helpers import TIMEOUT
from helpers.scripts import run_script
from helpers.waiting import death, event_loop_threads
from nbclient import NotebookClient

import parman
from parman import ConcurrentRunner, Interrupted, ProcessPool, ThreadPool, WorkflowError, executor, executors, workflow


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
    """When an executor is gone, so is its event_loop, also if calls failed, without the garbage collector."""
    before = set(event_loop_threads())
    with no_collector():
        with executor("threads:1") as pool:
            pool.submit(Thing().fail).exception(TIMEOUT)
            (event_loop,) = set(event_loop_threads()) - before
        del pool
        event_loop.join(TIMEOUT)
        assert not event_loop.is_alive()


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
    assert "1 unfinished call is dropped" in result.stderr


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


@pytest.mark.parametrize("name", ["threads:2", "processes:2"])
def test_futures_are_plain(name: str) -> None:
    """Futures can be used as those of the standard library are, before they are done and after."""
    hold = Hold()
    with executor("threads:1") as blocked:
        pending = hold.submit_to(blocked)
        with executor(name) as pool:
            done = pool.submit(pow, 2, 3)
            assert done.result(TIMEOUT) == 8
            for future in (done, pending):
                assert future
                assert future != 8
                assert future in [None, 1, future]
                assert not isinstance(future, Iterable)
                assert f"{future}" == str(future)
                assert copy.copy(future).done() == future.done()
                assert not any(hasattr(future, f"__{name}__") for name in ("len", "getitem", "array", "float", "add"))
                assert not hasattr(future, "attribute")
                with pytest.raises(TypeError):
                    copy.deepcopy(future)
        hold.go.set()


@pytest.mark.parametrize(("name", "workers"), [("serial", 1), ("threads:3", 3), ("processes:2", 2)])
def test_the_number_of_workers(name: str, workers: int) -> None:
    """Libraries find it where the standard library's pools have it."""
    with executor(name) as pool:
        assert pool._max_workers == workers


@pytest.mark.parametrize("name", ["serial", "threads:2", "processes:2"])
def test_chunks(name: str) -> None:
    """`map` gives the same results in chunks of any size, which are calls by themselves."""
    with executor(name) as pool:
        for size in (1, 3, 7, 100):
            assert list(pool.map(pow, range(7), [2] * 9, chunksize=size)) == [n**2 for n in range(7)]
        assert len(set(pool.map(lambda _: threading.get_ident(), range(4), chunksize=4))) == 1
        with pytest.raises(ValueError, match="chunksize"):
            pool.map(abs, [1], chunksize=0)
        with pytest.raises(TypeError) as caught:
            list(pool.map(abs, [1, "x"], chunksize=2))
        assert any("called at" in note for note in caught.value.__notes__)


def test_chunks_that_nobody_wants() -> None:
    """Chunks that have not started are cancelled when the time is over, or the results are given up."""
    hold, ran = Hold(), []
    with executor("threads:1") as pool:
        hold.submit_to(pool)
        with pytest.raises(TimeoutError):
            next(pool.map(ran.append, range(4), timeout=0.01, chunksize=2))
        results = pool.map(ran.append, [*range(4)], chunksize=2)
        pending = pool.map(abs, range(2), chunksize=2)
        del results
        hold.go.set()
        assert list(pending) == [0, 1]
    assert len(ran) in (0, 4)  # a generator that has not begun cancels nothing, as in the standard library


class TimedPool:
    """A pool whose calls have a limit of time, as Pebble's: it comes before the arguments."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner

    def submit(self, function: Any, timeout: float | None, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self.inner.submit(function, *args, **kwargs)

    def schedule(self, function: Any, args: Any = (), kwargs: Any = None) -> Future[Any]:
        return self.inner.submit(function, *args, **(kwargs or {}))


def test_another_kind_of_executor_is_refused() -> None:
    """A pool whose `submit` takes something else than the function's arguments is an error at the block's head."""
    with ThreadPool(1) as inner:
        pool: Any = TimedPool(inner)
        for head in (lambda: workflow(pool).__enter__(), lambda: executor(pool), lambda: parman.ConcurrentRunner(pool)):
            with pytest.raises(WorkflowError, match=r"submit\(function, timeout, \*args, \*\*kwargs\).*schedule"):
                head()

        class Adapted(Executor):
            def submit(self, function: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
                return pool.schedule(function, args=arguments, kwargs=keywords)

        with executor(Adapted()) as adapted:
            assert adapted.submit(abs, -1).result(TIMEOUT) == 1


@pytest.mark.parametrize("workers", [-1, 0, 1.5, "2"])
def test_an_impossible_number_of_workers_is_refused(workers: Any) -> None:
    """A number of workers with which no call would ever run is an error where it is given."""
    with ThreadPool(1) as pool, pytest.raises(WorkflowError, match="workers must be a whole number from 1 on"):
        ConcurrentRunner(pool, workers=workers)
    for make in (ConcurrentRunner.threads, ConcurrentRunner.processes, ThreadPool):
        with pytest.raises(ValueError, match="at least one worker"):
            make(workers)


def test_an_executor_that_says_it_has_no_workers() -> None:
    """What an executor says of itself is believed only if it can be."""

    class Odd(ThreadPoolExecutor):
        _max_workers = property(lambda self: -1, lambda self, value: None)

    with Odd() as pool:
        assert ConcurrentRunner(pool)._queue.slots == math.inf


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
