# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Forks of this process beside its threads, as the standard library's pools make them.

A lock that another thread holds at that moment is held in the child for ever: by nobody. `logging` takes care of its
own locks, and each module of ours of those that it has. cloudpickle's is taken care of here. It is held by whatever
thread pickles a class of the script, and wanted by the first task in the child that returns an instance of one.

Of others (of libraries, of imports) nothing is known. So a pool that forks does that where a block is entered, on the
thread of the script, which holds none of them, rather than on a thread of ours beside the script.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import cloudpickle

__all__ = ["start_forks"]

_PATIENCE = 1.0
"""How long a fork waits for the thread that has the lock; it may be the one that forks, in a finalizer [s]."""


class _Held(threading.local):
    """Whether this thread took the lock for its fork."""

    lock: Any = None


_held = _Held()


def _the_lock() -> Any:
    return getattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_LOCK", None)


def _take() -> None:
    lock = _the_lock()
    _held.lock = lock if lock is not None and lock.acquire(timeout=_PATIENCE) else None


def _give_back() -> None:
    lock, _held.lock = _held.lock, None
    if lock is not None:
        lock.release()


def _renew_in_child() -> None:
    _held.lock = None
    if _the_lock() is not None:
        cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK = threading.Lock()


os.register_at_fork(before=_take, after_in_parent=_give_back, after_in_child=_renew_in_child)


_DEPTH = 5
"""How many executors around one another are looked into."""


def start_forks(executor: object) -> None:
    """Let the pools of forked processes in an executor start them, unless they have; on the thread of the script."""
    for pool in _forking(executor, _DEPTH):
        if getattr(pool, "_executor_manager_thread", None) is None:
            try:
                pool.submit(_nothing)  # which starts all of them
            except Exception:  # it is broken or shut down, as the first call will say
                continue


def _nothing() -> None:
    pass


def _forking(executor: object, depth: int) -> Iterator[Executor]:
    if isinstance(executor, _pools()):
        context: Any = getattr(executor, "_mp_context", None) or getattr(executor, "_context", None)
        if context is not None and context.get_start_method(allow_none=False) == "fork":
            yield executor
    elif depth:
        for value in list(getattr(executor, "__dict__", {}).values()):
            if isinstance(value, Executor):
                yield from _forking(value, depth - 1)


def _pools() -> tuple[type[Executor], ...]:
    """Return the classes of pools that may fork, as far as they were imported: there are instances of no others."""
    modules = [sys.modules.get(name) for name in ("concurrent.futures.process", "loky.process_executor")]
    return tuple(module.ProcessPoolExecutor for module in modules if module is not None)
