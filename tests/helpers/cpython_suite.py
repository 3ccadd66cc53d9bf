# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""CPython's own tests of `concurrent.futures`, run against futures and executors of ours.

They come with the interpreter, or with Debian's package libpython3.x-testsuite; `PARMAN_TEST_CPYTHON` names a directory
with them, if they are elsewhere. Run as a script, in an interpreter of its own, since they reap all child processes,
count all threads, and wait for many a second: `python cpython_suite.py TARGET GROUP` prints a report in JSON.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import sys
import threading
import unittest
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from parman import Scheduler, WaitGraph, WorkflowFailed, executor, task, workflow

__all__ = ["GROUPS", "LEFT_OUT", "find_tests"]

NAME = "test_concurrent_futures"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
PARTS = ("util", "executor", "test_thread_pool", "test_wait", "test_as_completed", "test_shutdown", "test_future")
WORKERS = 3
PATIENCE = 30
"""How long to wait for what should come at once [s]."""

# --- which tests, against what ---

EXECUTOR = {
    "wait": "WaitTests",
    "completed": "AsCompletedTests",
    "calls": "ExecutorTest",
    "end": "ExecutorShutdownTest",
}
INSIDE = {**EXECUTOR, "wait": "ThreadPoolWaitTests", "calls": "ThreadPoolExecutorTest"}
"""With the tests that CPython runs on threads only, since they need a common memory."""
FUTURE = {"future": "FutureTests"}

GROUPS = {
    "threads": INSIDE,
    "processes": EXECUTOR,
    "serial": EXECUTOR,
    "Scheduler": INSIDE,
    "WaitGraph": {name: INSIDE[name] for name in ("wait", "completed")},
    "ScheduledFuture": FUTURE,
    "WaitFuture": FUTURE,
    "leaves": FUTURE,
}
"""For each target the names of the classes that hold the tests."""

_IMPORTS = "its script imports the executor from concurrent.futures"
_THREADS = "looks at the threads that ThreadPoolExecutor has"
_STATE = "sets or compares the private state of a future"
_DONE = "a serial call is done when submit returns"

LEFT_OUT = {
    "": {
        "test_interpreter_shutdown": _IMPORTS,
        "test_submit_after_interpreter_shutdown": _IMPORTS,
        "test_hang_gh83386": _IMPORTS,
        "test_cancel_futures": "counts on calls that were submitted a moment ago to run already",
        "test_max_workers_negative": "the number of workers is that of the runner, which checks it",
        "test_default_workers": _THREADS,
        "test_saturation": _THREADS,
        "test_idle_thread_reuse": _THREADS,
        "test_hang_global_shutdown_lock": "is about a lock of ThreadPoolExecutor alone",
        "test_repr": "the text is ours, and tells of the call",
        "test_cancel": _STATE,
        "test_exception_with_success": _STATE,
        "test_multiple_set_result": "only the library finishes a future",
        "test_multiple_set_exception": "only the library finishes a future",
    },
    "serial": {
        "test_first_completed": _DONE,
        "test_first_completed_some_already_completed": _DONE,
        "test_first_exception": _DONE,
        "test_first_exception_some_already_complete": _DONE,
        "test_first_exception_one_already_failed": _DONE,
        "test_timeout": _DONE,
        "test_zero_timeout": _DONE,
        "test_future_times_out": _DONE,
        "test_map_timeout": _DONE,
    },
}
"""For each target, and for all, the tests that can't apply, and why."""


def find_tests() -> str | None:
    """Return the name under which CPython's tests can be imported, if they are there; see to it that they can."""
    with suppress(ImportError):
        if importlib.util.find_spec(f"test.{NAME}") is not None:
            return f"test.{NAME}"
    for folder in (os.environ.get("PARMAN_TEST_CPYTHON"), f"/usr/lib/{VERSION}/test"):
        if folder and any((Path(folder) / name).exists() for name in (NAME, f"{NAME}.py")):
            sys.path.append(folder)  # which reaches workers
            return NAME
    return None


def load(tests: str, name: str) -> Any:
    """Return the module of CPython's tests that holds a class: there is only one up to Python 3.11."""
    for module in ("", *(f".{part}" for part in PARTS)):
        with suppress(ModuleNotFoundError):
            found = importlib.import_module(tests + module)
            if hasattr(found, name):
                return found
    raise LookupError(f"CPython's tests have no {name}")


# --- executors ---


class Scheduled(Executor):
    """An executor whose futures are those of a `Scheduler`."""

    def __init__(self, max_workers: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers)
        self._scheduler = Scheduler(self._pool.submit)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule a call that waits for nothing."""
        return self._scheduler.submit((fn, *args), kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down the pool, whose futures the scheduler follows, and the scheduler."""
        self._scheduler.shutdown(wait=False)
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)
        self._scheduler.shutdown(wait=wait)


class Waiting(Executor):
    """An executor whose futures are those of a `WaitGraph`."""

    def __init__(self, max_workers: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers)
        self._graph = WaitGraph()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a future that waits for a call."""
        return self._graph.submit([self._pool.submit(fn, *args, **kwargs)], lambda result: result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down the pool."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)


EXECUTORS: dict[str, Callable[..., Executor]] = {
    "threads": lambda max_workers=2: executor(f"threads:{max_workers}"),
    "processes": lambda max_workers=2: executor(f"processes:{max_workers}"),
    "serial": lambda max_workers=1: executor("serial"),
    "Scheduler": Scheduled,
    "WaitGraph": Waiting,
}


def executor_tests(tests: str, target: str, name: str) -> type[unittest.TestCase]:
    """Make a class of tests for an executor of ours."""
    mixin, tools = getattr(load(tests, name), name), load(tests, "ExecutorMixin")
    bases = (mixin,) if issubclass(mixin, unittest.TestCase) else (mixin, tools.ExecutorMixin, tools.BaseTestCase)
    content = {"executor_type": staticmethod(EXECUTORS[target]), "worker_count": WORKERS}
    return type(f"{target}_{name}", bases, content)


# --- futures ---


class Steered:
    """A future of ours that follows a bare one: what is done to it is done to that one, and it changes as it does.

    So it takes its own way into each state. Its callbacks run on a thread of ours: what changes it returns after them.
    """

    def __init__(self, bare: Future[Any], future: Future[Any]) -> None:
        self._bare = bare
        self._future = future

    def __getattr__(self, name: str) -> Any:
        return getattr(self._future, name)

    def set_result(self, result: object) -> None:
        """Finish it."""
        self._settle(self._bare.set_result, result)

    def set_exception(self, exception: BaseException) -> None:
        """Let it fail."""
        self._settle(self._bare.set_exception, exception)

    def cancel(self) -> bool | None:
        """Cancel it."""
        return self._settle(self._future.cancel)

    def _settle(self, act: Callable[..., bool | None], *args: Any) -> bool | None:
        over = threading.Event()
        self._future.add_done_callback(lambda _: over.set())
        answer = act(*args)
        assert answer is False or over.wait(PATIENCE)
        return answer


class Kind:
    """Makes futures of one kind, in any state."""

    def __init__(self, follow: Callable[[Future[Any]], Future[Any]], run: Callable[[], Future[Any]]) -> None:
        self._follow = follow
        self._run = run
        self._bare: list[Future[Any]] = []

    def pending(self) -> Steered:
        """Make one that can be set and cancelled."""
        bare: Future[Any] = Future()
        self._bare.append(bare)
        return Steered(bare, self._follow(bare))

    def create(self, state: str = PENDING, exception: BaseException | None = None, result: Any = None) -> Any:
        """Make one in a state."""
        if state == RUNNING:
            return self._run()
        future = self.pending()
        if state in (CANCELLED, CANCELLED_AND_NOTIFIED):
            assert future.cancel()
        elif state == FINISHED and exception is not None:
            future.set_exception(exception)
        elif state == FINISHED:
            future.set_result(result)
        return future

    def end(self) -> None:
        """Cancel what was left pending."""
        for bare in self._bare:
            bare.cancel()


class Held:
    """Something that runs until the end of the tests."""

    def __init__(self) -> None:
        self.has_started = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, *_: object) -> None:
        self.has_started.set()
        self.may_end.wait(PATIENCE)

    def until_started(self, future: Future[Any]) -> Future[Any]:
        """Return the future when it runs."""
        assert self.has_started.wait(PATIENCE)
        return future


held = Held()


@task
def hold() -> None:
    """Run until the end."""
    held()


@task
def same(value: object) -> object:
    """Return the argument."""
    return value


def _kind_of_wait_future(_: ExitStack) -> Kind:
    def run() -> Future[Any]:
        bare: Future[Any] = Future()
        future = WaitGraph().submit([bare], held)
        bare.set_result(None)
        return held.until_started(future)

    graph = WaitGraph()
    return Kind(lambda bare: graph.submit([bare], lambda result: result), run)


def _kind_of_scheduled_future(stack: ExitStack) -> Kind:
    pool = stack.enter_context(ThreadPoolExecutor(1))
    follower: Scheduler[Any] = Scheduler(lambda bare: bare)
    scheduler = Scheduler(pool.submit)
    return Kind(lambda bare: follower.submit([bare]), lambda: held.until_started(scheduler.submit([held])))


def _kind_of_leaf(stack: ExitStack) -> Kind:
    stack.enter_context(suppress(WorkflowFailed))
    stack.enter_context(workflow("threads:2"))
    return Kind(lambda bare: same(bare), lambda: held.until_started(hold()))  # type: ignore[arg-type,return-value,func-returns-value]


KINDS = {"WaitFuture": _kind_of_wait_future, "ScheduledFuture": _kind_of_scheduled_future, "leaves": _kind_of_leaf}


def future_tests(tests: str, target: str, name: str, stack: ExitStack) -> type[unittest.TestCase]:
    """Let the tests of futures make ours in place of bare ones."""
    module = load(tests, name)
    kind = KINDS[target](stack)
    stack.callback(held.may_end.set)
    stack.callback(kind.end)
    module.Future, module.create_future = kind.pending, kind.create
    for state in (PENDING, RUNNING, CANCELLED, CANCELLED_AND_NOTIFIED):
        setattr(module, f"{state}_FUTURE", kind.create(state))
    module.EXCEPTION_FUTURE = kind.create(FINISHED, exception=OSError())
    module.SUCCESSFUL_FUTURE = kind.create(FINISHED, result=42)
    return type(f"{target}_{name}", (getattr(module, name),), {})


# --- the run ---


def alive() -> set[threading.Thread]:
    """Return the threads that are there before a test."""
    return set(threading.enumerate())


def see_off(*before: threading.Thread) -> None:
    """Wait for the threads of a test to end, and note it if they don't.

    In place of CPython's own look, which in some versions allows no time: a thread of ours ends when nobody refers to
    what it serves.
    """
    support: Any = importlib.import_module("test.support")
    for thread in alive().difference(before):
        thread.join(PATIENCE)
        if thread.is_alive():
            support.environment_altered = True
            print(f"{thread} is left behind", file=sys.stderr)  # noqa: T201


def run(tests: str, target: str, group: str) -> dict[str, Any]:
    """Run a group of tests, and return what came of it."""
    name = GROUPS[target][group]
    left_out = LEFT_OUT[""] | LEFT_OUT.get(target, {})
    with ExitStack() as stack:
        if GROUPS[target] is FUTURE:
            case = future_tests(tests, target, name, stack)
        else:
            case = executor_tests(tests, target, name)
        support: Any = importlib.import_module("test.support")
        support.verbose = False
        helper: Any = importlib.import_module("test.support.threading_helper")
        helper.threading_setup, helper.threading_cleanup = alive, see_off
        names = [test for test in unittest.TestLoader().getTestCaseNames(case) if test not in left_out]
        stream = io.StringIO()
        result = unittest.TextTestRunner(stream, verbosity=2).run(unittest.TestSuite(map(case, names)))
    return {
        "ran": names,
        "skipped": [reason for _, reason in result.skipped],
        "succeeded": result.wasSuccessful(),
        "left behind": support.environment_altered,
        "text": stream.getvalue(),
    }


if __name__ == "__main__":
    place = find_tests()
    assert place is not None
    print(json.dumps(run(place, *sys.argv[1:])))  # noqa: T201
