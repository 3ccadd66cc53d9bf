# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parsl: threads, and its processes on this machine, set up so that nothing but the calls costs time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any, ClassVar

from ..functions import LISTED, spread
from ..peer import WORKERS, Dataflow

__all__ = ["HighThroughput", "ParslThreads"]

FIRST = """
import tempfile
import parsl
from parsl.config import Config
{imports}

@parsl.python_app
def first(x):
    return x + 1

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        executor = {executor}
        with parsl.load(Config([executor], run_dir=folder, strategy="none", initialize_logging=False)):
            done(first(0).result())
"""

THREADS = f"ThreadPoolExecutor(max_threads={WORKERS})"
PROCESSES = (
    f'HighThroughputExecutor(max_workers_per_node={WORKERS}, cores_per_worker=0.001, address="127.0.0.1", '
    "encrypted=False, provider=LocalProvider(init_blocks=1, max_blocks=1))"
)


class _Parsl(Dataflow):
    """Any of Parsl's executors."""

    packages = ("parsl",)
    _kernel: Any

    def load(self, stack: ExitStack, executor: Any) -> None:
        """Start Parsl's kernel."""
        from parsl.config import Config
        from parsl.dataflow.dflow import DataFlowKernel

        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        config = Config([executor], run_dir=folder, strategy="none", initialize_logging=False)
        self._kernel = stack.enter_context(DataFlowKernel(config))

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from parsl import python_app

        app: Callable[..., Any] = python_app(function, self._kernel)
        return app

    def values(self, futures: Sequence[Any]) -> Sequence[Any]:
        return [future.result() for future in futures]

    def leaves(self, x: int) -> list[Any]:
        tree = self.task(spread)(x)
        listed, named = tree[0], tree[1]
        return [*[listed[i] for i in range(LISTED)], named["low"], named["high"]]

    def gate(self) -> tuple[Any, Callable[[], object]]:
        future = Future[int]()
        return future, lambda: future.set_result(0)


class ParslThreads(_Parsl):
    """Parsl with threads."""

    label = "Parsl threads"
    kind = "threads"
    share = 0.5
    first: ClassVar[str] = FIRST.format(imports="from parsl.executors import ThreadPoolExecutor", executor=THREADS)

    def open(self, stack: ExitStack) -> None:
        from parsl.executors import ThreadPoolExecutor

        self.load(stack, ThreadPoolExecutor(max_threads=WORKERS))


class HighThroughput(_Parsl):
    """Parsl with processes; a worker for each CPU, however few there are, and without encryption."""

    label = "Parsl HighThroughput"
    kind = "processes"
    share = 0.25
    first: ClassVar[str] = FIRST.format(
        imports="from parsl.executors import HighThroughputExecutor\nfrom parsl.providers import LocalProvider",
        executor=PROCESSES,
    )

    def open(self, stack: ExitStack) -> None:
        from parsl.executors import HighThroughputExecutor
        from parsl.providers import LocalProvider

        executor = HighThroughputExecutor(
            max_workers_per_node=WORKERS,
            cores_per_worker=0.001,
            address="127.0.0.1",
            encrypted=False,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        self.load(stack, executor)
