# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a runner has to know of an executor: where its workers are, and how many."""

from __future__ import annotations

import math
import sys
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, get_args

import attrs

from .pools import ThreadPool

if TYPE_CHECKING:
    from .processes import ProcessPool

__all__ = ["PLACES", "Traits", "Where", "is_process_pool", "tells_of_death", "traits_of"]

Where = Literal["inside", "machine", "cluster", "unknown"]
PLACES: tuple[str, ...] = get_args(Where)

_CLUSTERS = ("executorlib", "mpi4py")
"""Packages whose executors always have processes of their own, on machines with the same files."""


_DEATHS = (("executorlib", "ExecutorlibSocketError"), ("distributed", "KilledWorker"))
"""Packages, and what they raise for a call whose worker has died."""


@attrs.frozen
class Traits:
    """What a runner has to know of an executor.

    Attributes
    ----------
    where
        Where functions run. "inside" of this very process, so that nothing has to be pickled. In other processes of
        this "machine", which get the whole state of the block (directory, environment, ...), and leave scripts of jobs
        to the driver. On a "cluster", that is on machines with the same files, which get the block's directory and
        import path. Or "unknown": such workers get the import path.
    workers
        How many calls run at a time; infinity if that is not known.
    """

    where: Where
    workers: float = math.inf


def traits_of(executor: Executor, where: Where | None = None, workers: int | None = None) -> Traits:
    """Find out what can be known of an executor.

    Parameters
    ----------
    executor
        The executor.
    where
        Where its workers are, if the user says so.
    workers
        How many workers it has, if the user says so.
    """
    known = workers or getattr(executor, "workers", None) or getattr(executor, "_max_workers", None)
    return Traits(where or _where(executor), known if isinstance(known, int) else math.inf)


def _where(executor: Executor) -> Where:
    if isinstance(executor, ThreadPool | ThreadPoolExecutor):
        return "inside"
    if is_process_pool(executor) or "loky" in type(executor).__module__:
        return "machine"
    if isinstance(executor, _class("concurrent.futures.process", "ProcessPoolExecutor")):
        return "machine"
    return "cluster" if type(executor).__module__.partition(".")[0] in _CLUSTERS else "unknown"


def is_process_pool(executor: object) -> TypeGuard[ProcessPool]:
    """Tell whether this is a pool of our own processes."""
    return isinstance(executor, _class(f"{__package__}.processes", "ProcessPool"))


def _class(module: str, name: str) -> Any:
    """Return a class, or nothing if its module was not imported: then there are no instances of it."""
    return getattr(sys.modules.get(module), name, ())


def tells_of_death(exception: BaseException) -> bool:
    """Tell whether an executor says by this exception that workers of it have died."""
    kind = type(exception)
    return isinstance(exception, BrokenExecutor) or (kind.__module__.partition(".")[0], kind.__name__) in _DEATHS
