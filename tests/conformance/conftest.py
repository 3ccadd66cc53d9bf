# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The runners that the same tests run on: another one is one more line in `BACKENDS`.

Each is opened once, when a test first asks for it, and stays warm to the end of the session. That also shows whether
a test leaves something behind that the next one stumbles over.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import numpy.random  # noqa: F401  # forked workers have to inherit its state, so that not seeding them anew shows
import pytest
from gates import Gate

from parman import ConcurrentRunner, ProcessPool, Runner, SerialRunner, ThreadPool, Workflow, workflow

WORKERS = 2


@attrs.frozen
class Backend:
    """One runner of the suite.

    Attributes
    ----------
    name
        What it is called in the names of tests.
    open
        Makes the runner; what has to be closed at the end is entered in the stack.
    processes
        Whether tasks run in other processes.
    """

    name: str
    open: Callable[[ExitStack], Runner]
    processes: bool = False

    @property
    def serial(self) -> bool:
        """Whether a call runs where it is made."""
        return self.name == "serial"


def _on(make: Callable[[], Executor]) -> Callable[[ExitStack], Runner]:
    return lambda stack: ConcurrentRunner(stack.enter_context(make()))


def _stdlib_pool(method: str) -> Executor:
    pool = ProcessPoolExecutor(WORKERS, multiprocessing.get_context(method))
    with warnings.catch_warnings():
        # a fork beside threads is deprecated; that this pool does so is not ours to judge
        warnings.simplefilter("ignore", DeprecationWarning)
        pool.submit(abs, 0).result()
    return pool


def _loky() -> Executor:
    loky = pytest.importorskip("loky")
    executor: Executor = loky.ProcessPoolExecutor(WORKERS)
    return executor


BACKENDS = [
    Backend("serial", lambda stack: stack.enter_context(SerialRunner())),
    Backend("threads", _on(lambda: ThreadPool(WORKERS))),
    Backend("stdlib-threads", _on(lambda: ThreadPoolExecutor(WORKERS))),
    Backend("processes", _on(lambda: ProcessPool(WORKERS)), processes=True),
    Backend("fork", _on(lambda: _stdlib_pool("fork")), processes=True),
    Backend("spawn", _on(lambda: _stdlib_pool("spawn")), processes=True),
    Backend("forkserver", _on(lambda: _stdlib_pool("forkserver")), processes=True),
    Backend("loky", _on(_loky), processes=True),
]


def _params(backends: list[Backend]) -> list[Any]:
    return [pytest.param(backend, id=backend.name) for backend in backends]


@pytest.fixture(scope="session")
def opened_runners() -> Iterator[Callable[[Backend], Runner]]:
    """Open runners when they are first asked for."""
    runners: dict[str, Runner] = {}
    with ExitStack() as stack:

        def get(backend: Backend) -> Runner:
            if backend.name not in runners:
                runners[backend.name] = backend.open(stack)
            return runners[backend.name]

        yield get


@pytest.fixture(params=_params(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    """Give each backend in turn."""
    found: Backend = request.param
    return found


@pytest.fixture
def runner(backend: Backend, opened_runners: Callable[[Backend], Runner]) -> Runner:
    """Give the runner of the backend."""
    return opened_runners(backend)


@pytest.fixture
def block(runner: Runner) -> Callable[..., Workflow]:
    """Make a block on the runner."""
    return lambda **options: workflow(runner, **options)


@pytest.fixture(params=_params([b for b in BACKENDS if not b.serial]))
def parallel(request: pytest.FixtureRequest, opened_runners: Callable[[Backend], Runner]) -> Callable[..., Workflow]:
    """Make a block on each runner that goes on while a call runs."""
    runner = opened_runners(request.param)
    return lambda **options: workflow(runner, **options)


@pytest.fixture(params=_params([b for b in BACKENDS if b.processes]))
def remote(request: pytest.FixtureRequest, opened_runners: Callable[[Backend], Runner]) -> Callable[..., Workflow]:
    """Make a block on each runner whose tasks run in other processes."""
    runner = opened_runners(request.param)
    return lambda **options: workflow(runner, **options)


@pytest.fixture(params=_params([b for b in BACKENDS if not b.processes]))
def local(request: pytest.FixtureRequest, opened_runners: Callable[[Backend], Runner]) -> Callable[..., Workflow]:
    """Make a block on each runner whose tasks run in this process."""
    runner = opened_runners(request.param)
    return lambda **options: workflow(runner, **options)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Give a gate that is open at the end, whatever happens."""
    with Gate(tmp_path / "gate") as gate:
        yield gate
