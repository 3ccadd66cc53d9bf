# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The runners that the same tests run on: another one is one more line in `BACKENDS`."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack

import attrs
import loky
import numpy.random  # noqa: F401  # forked workers have to inherit its state, so that not seeding them anew shows

from parman import ConcurrentRunner, ProcessPool, Runner, SerialRunner, ThreadPool

__all__ = ["BACKENDS", "Backend"]

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
