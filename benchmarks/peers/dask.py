# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Dask: delayed functions on threads, and a cluster on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, ClassVar

from ..functions import LISTED, nap, spread
from ..peer import WORKERS, Dataflow, NotOffered

__all__ = ["Distributed", "Threaded"]


class Threaded(Dataflow):
    """`dask.delayed`: a graph is made, then computed as a whole."""

    label = "Dask threaded"
    kind = "threads"
    packages = ("dask",)
    share = 0.5
    first: ClassVar[str] = f"""
from dask import delayed

@delayed
def first(x):
    return x + 1

if __name__ == "__main__":
    done(first(0).compute(scheduler="threads", num_workers={WORKERS}))
"""
    _dask: Any

    def open(self, stack: ExitStack) -> None:
        import dask

        self._dask = dask

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        delayed: Callable[..., Any] = self._dask.delayed(function)
        return delayed

    def values(self, futures: Sequence[Any]) -> Sequence[Any]:
        found: Sequence[Any] = self._dask.compute(*futures, scheduler="threads", num_workers=WORKERS)
        return found

    def leaves(self, x: int) -> list[Any]:
        tree = self.task(spread)(x)
        listed, named = tree[0], tree[1]
        return [*[listed[i] for i in range(LISTED)], named["low"], named["high"]]

    def gate(self) -> tuple[Any, Callable[[], object]]:
        """All calls are pending until the graph is computed."""
        return self.task(nap)(0), lambda: None

    def fairness(self, slow: float, fast: float, n: int) -> float:
        """Nothing is there before all is."""
        raise NotOffered


class Distributed(Dataflow):
    """`Client.submit`; `pure` would make equal calls one."""

    label = "Dask distributed"
    kind = "processes"
    packages = ("dask", "distributed")
    share = 0.1
    delay = 1.0
    first: ClassVar[str] = f"""
from distributed import Client, LocalCluster

def first(x):
    return x + 1

if __name__ == "__main__":
    cluster = LocalCluster(n_workers={WORKERS}, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        done(client.submit(first, 0).result())
"""
    _client: Any

    def open(self, stack: ExitStack) -> None:
        from distributed import Client, LocalCluster

        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        cluster = LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, local_directory=folder, silence_logs=50
        )
        self._client = stack.enter_context(Client(stack.enter_context(cluster)))

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return partial(self._client.submit, function, pure=False)

    def values(self, futures: Sequence[Any]) -> Sequence[Any]:
        found: Sequence[Any] = self._client.gather(list(futures))
        return found

    def gate(self) -> tuple[Any, Callable[[], object]]:
        """Let a call on a worker wait for an event of the cluster."""
        from distributed import Event

        name = f"gate-{id(self)}"
        event = Event(name, client=self._client)
        event.clear()
        return self._client.submit(_wait_for, name, pure=False), event.set


def _wait_for(name: str) -> int:
    from distributed import Event

    Event(name).wait()
    return 0
