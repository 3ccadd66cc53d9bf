# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The runners that the same tests run on: another one is one more line in `BACKENDS`.

`PARMAN_TEST_ENGINE` names one of the engines, which is then the only runner; see `test_conformance_of_engines.py`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import attrs
import loky
import numpy.random  # noqa: F401  # forked workers have to inherit its state, so that not seeding them anew shows

from parman import ConcurrentRunner, ParslRunner, ProcessPool, Runner, SerialRunner, ThreadPool

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
    foreign
        Whether it is a pool of the standard library or of loky, as any user may have one.
    lacks
        What it can't have, so that tests that need it are left out. "quiet": the engine itself draws from the driver's
        `random`. "directory": directory and filters of warnings of the block; "environment": its environment, too.
    """

    name: str
    open: Callable[[ExitStack], Runner]
    processes: bool = False
    foreign: bool = False
    lacks: frozenset[str] = frozenset()

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


def _parsl(stack: ExitStack) -> Runner:
    return stack.enter_context(ParslRunner(workers=WORKERS))


def _parsl_threads(stack: ExitStack) -> Runner:
    from parsl.config import Config
    from parsl.executors import ThreadPoolExecutor as ParslThreads

    folder = stack.enter_context(tempfile.TemporaryDirectory())
    threads = ParslThreads(label="threads", max_threads=WORKERS)
    config = Config(executors=[threads], run_dir=folder, strategy="none", usage_tracking=0, initialize_logging=False)
    return stack.enter_context(ParslRunner(config))


def _parsl_pool(stack: ExitStack) -> Runner:
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    modules = f"{sys.executable} -m parsl.executors.high_throughput"
    executor = HighThroughputExecutor(
        label="pool",
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        max_workers_per_node=WORKERS,
        cores_per_worker=0.001,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        # Parsl looks for these on PATH, where they need not be in a test.
        interchange_launch_cmd=f"{modules}.interchange".split(),
    )
    executor.launch_cmd = executor.launch_cmd.replace("process_worker_pool.py", f"{modules}.process_worker_pool", 1)
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    config = Config(executors=[executor], run_dir=folder, strategy="none", usage_tracking=0, initialize_logging=False)
    return ConcurrentRunner(stack.enter_context(ParslPoolExecutor(config=config)), workers=WORKERS)


def _dask(stack: ExitStack) -> Runner:
    from distributed import Client, LocalCluster

    folder = stack.enter_context(tempfile.TemporaryDirectory())
    cluster = LocalCluster(
        n_workers=WORKERS,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        local_directory=folder,
        silence_logs=logging.CRITICAL,
    )
    client = stack.enter_context(Client(stack.enter_context(cluster)))
    return ConcurrentRunner(client.get_executor(), workers=WORKERS, where="machine")


def _import_executorlib() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it uses names that pydantic will drop
        import executorlib
    return executorlib


def _executorlib(stack: ExitStack) -> Runner:
    executor: Any = _import_executorlib().SingleNodeExecutor(
        max_workers=WORKERS, block_allocation=True, disable_dependencies=True
    )
    return ConcurrentRunner(stack.enter_context(executor), workers=WORKERS)


def _mpi(stack: ExitStack) -> Runner:
    from mpi4py.futures import MPIPoolExecutor

    return ConcurrentRunner(stack.enter_context(MPIPoolExecutor(WORKERS)), workers=WORKERS)


def _slurm(stack: ExitStack) -> Runner:
    executorlib = _import_executorlib()
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it can't validate the partition, which it needs
        executor: Any = executorlib.SlurmClusterExecutor(
            max_workers=WORKERS,
            block_allocation=True,
            resource_dict={"partition": "main"},
            cache_directory=folder,
            hostname_localhost=True,
        )
    return ConcurrentRunner(stack.enter_context(executor), workers=WORKERS)


def _parsl_slurm(nodes: int, stack: ExitStack) -> Runner:
    from helpers.cluster_parsl import configuration

    folder = stack.enter_context(tempfile.TemporaryDirectory())
    return stack.enter_context(ParslRunner(configuration(folder, nodes), workers=WORKERS))


_LOUD = frozenset({"quiet"})
_REMOTE = frozenset({"environment"})
_UNKNOWN = frozenset({"environment", "directory"})

BACKENDS = [
    Backend("serial", lambda stack: stack.enter_context(SerialRunner())),
    Backend("threads", _on(lambda: ThreadPool(WORKERS))),
    Backend("stdlib-threads", _on(lambda: ThreadPoolExecutor(WORKERS)), foreign=True),
    Backend("processes", _on(lambda: ProcessPool(WORKERS)), processes=True),
    Backend("fork", _on(lambda: _stdlib_pool("fork")), processes=True, foreign=True),
    Backend("spawn", _on(lambda: _stdlib_pool("spawn")), processes=True, foreign=True),
    Backend("forkserver", _on(lambda: _stdlib_pool("forkserver")), processes=True, foreign=True),
    Backend("loky", _on(_loky), processes=True, foreign=True),
]

_ENGINES = [
    Backend("parsl", _parsl, processes=True),
    Backend("parsl-threads", _parsl_threads),
    Backend("parsl-pool", _parsl_pool, processes=True, lacks=_UNKNOWN | _LOUD),
    Backend("dask", _dask, processes=True, lacks=_LOUD),
    Backend("executorlib", _executorlib, processes=True, lacks=_REMOTE),
    Backend("mpi", _mpi, processes=True, lacks=_REMOTE),
    Backend("parsl-slurm-1", partial(_parsl_slurm, 1), processes=True, lacks=_REMOTE),
    Backend("parsl-slurm-2", partial(_parsl_slurm, 2), processes=True, lacks=_REMOTE),
    Backend("executorlib-slurm", _slurm, processes=True, lacks=_REMOTE),
]
if "PARMAN_TEST_ENGINE" in os.environ:
    BACKENDS = [backend for backend in _ENGINES if backend.name == os.environ["PARMAN_TEST_ENGINE"]]
