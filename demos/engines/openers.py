# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How each engine is opened, with two workers; this is all that a script has to know of it."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from typing import Any, NamedTuple

from parman import ConcurrentRunner, ParslRunner, Runner, SerialRunner

WORKERS = 2


class Engine(NamedTuple):
    """A runner, and how the same engine is used by hand, if it can be."""

    runner: Runner
    submit: Callable[..., Future[Any]] | None


def serial(stack: ExitStack) -> Engine:
    """One call after another, in place."""
    return Engine(SerialRunner(), None)


def threads(stack: ExitStack) -> Engine:
    """Parman's own threads."""
    return own(stack.enter_context(ConcurrentRunner.threads(WORKERS)))


def processes(stack: ExitStack) -> Engine:
    """Parman's own processes."""
    return own(stack.enter_context(ConcurrentRunner.processes(WORKERS)))


def own(runner: ConcurrentRunner) -> Engine:
    """Use by hand what the runner uses."""
    return Engine(runner, runner.executor.submit)


def executor(stack: ExitStack, found: Executor) -> Engine:
    """Parman keeps what is ready, gives the executor one call for each worker, and can cancel the others."""
    stack.enter_context(found)
    return Engine(ConcurrentRunner(found, workers=WORKERS), found.submit)


def stdlib_threads(stack: ExitStack) -> Engine:
    """Take the threads of the standard library."""
    return executor(stack, ThreadPoolExecutor(WORKERS))


def stdlib_processes(stack: ExitStack) -> Engine:
    """Take the processes of the standard library, started anew."""
    return executor(stack, ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")))


def loky(stack: ExitStack) -> Engine:
    """Take the processes that joblib uses."""
    from loky import ProcessPoolExecutor

    return executor(stack, ProcessPoolExecutor(WORKERS))


def parsl(stack: ExitStack) -> Engine:
    """Parsl with processes on this machine."""
    from parsl import python_app

    runner = stack.enter_context(ParslRunner(workers=WORKERS))
    kernel = runner.executor.dfk  # type: ignore[attr-defined]

    @cache
    def app(function: Callable[..., Any]) -> Any:
        return python_app(function, kernel)

    return Engine(runner, lambda function, *args: app(function)(*args))


def parsl_threads(stack: ExitStack) -> Engine:
    """Parsl with threads."""
    from parsl.config import Config
    from parsl.executors import ThreadPoolExecutor

    folder = stack.enter_context(tempfile.TemporaryDirectory())
    config = Config(
        [ThreadPoolExecutor(max_threads=WORKERS)], run_dir=folder, strategy="none", initialize_logging=False
    )
    return own(stack.enter_context(ParslRunner(config)))


def dask(stack: ExitStack) -> Engine:
    """Dask with a cluster on this machine; `pure` would make equal calls one."""
    from distributed import Client, LocalCluster

    folder = stack.enter_context(tempfile.TemporaryDirectory())
    cluster = LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, dashboard_address="127.0.0.1:0", local_directory=folder
    )
    client = stack.enter_context(Client(stack.enter_context(cluster)))
    return executor(stack, client.get_executor(pure=False))


def executorlib(stack: ExitStack) -> Engine:
    """Workers on this machine; without blocks each call would start an interpreter."""
    from executorlib import SingleNodeExecutor

    # Parman knows of dependencies; looking for them costs executorlib some milliseconds a call.
    return executor(stack, SingleNodeExecutor(max_workers=WORKERS, block_allocation=True, disable_dependencies=True))


def mpi(stack: ExitStack) -> Engine:
    """Take the other ranks of an MPI program."""
    from mpi4py.futures import MPIPoolExecutor

    return executor(stack, MPIPoolExecutor(WORKERS))


ENGINES: dict[str, Callable[[ExitStack], Engine]] = {
    "serial": serial,
    "threads": threads,
    "processes": processes,
    "stdlib threads": stdlib_threads,
    "stdlib spawn": stdlib_processes,
    "loky": loky,
    "parsl": parsl,
    "parsl threads": parsl_threads,
    "dask": dask,
    "executorlib": executorlib,
    "mpi4py": mpi,
}

NEEDS = {
    "loky": ["loky"],
    "parsl": ["parsl"],
    "parsl threads": ["parsl"],
    "dask": ["distributed"],
    "executorlib": ["executorlib"],
    "mpi4py": ["mpi4py", "mpirun"],
}
"""Packages and programs."""

LAUNCHERS = {"mpi4py": ["mpirun", "-n", str(WORKERS + 1), "--oversubscribe", sys.executable, "-m", "mpi4py.futures"]}
"""What starts the script, if not Python alone: the driver is one rank, the workers are the others."""
