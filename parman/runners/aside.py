# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls that wait for something outside, such as the script of a job: they run beside the workers.

They run on threads of the driver, so that a workflow with a hundred jobs in a queue still computes with all its
workers. Each has a stop that asks it to end: a thread can't be killed, but what it waits for can.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .calls import Call
from .pools import ThreadPool

__all__ = ["Aside"]

_MANY = 100_000
"""More threads than there will ever be: how many calls run at a time is for the queues to say."""


class Aside:
    """Runs calls that wait, on threads beside the workers.

    Under the lock: a call that begins is among the running ones, and is asked to end if its pool was stopped. So who
    stops them misses none: those that wait for a thread are given up by the pool, the others are asked.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pool: ThreadPool | None = None
        self._running: set[Call] = set()

    def submit(self, function: Callable[[Call], Any], call: Call) -> Future[Any]:
        """Run a call on a thread."""
        with self._lock:
            pool = self._pool = self._pool or ThreadPool(_MANY)
        return pool.submit(self._run, pool, function, call)

    def _run(self, pool: ThreadPool, function: Callable[[Call], Any], call: Call) -> Any:
        with self._lock:
            self._running.add(call)
            is_stopped = pool is not self._pool
        if is_stopped and call.stop is not None:
            call.stop.ask()
        try:
            return function(call)
        finally:
            with self._lock:
                self._running.discard(call)

    def stop(self) -> None:
        """Ask all calls to end, and give them up; in any thread."""
        with self._lock:
            running, pool, self._pool = list(self._running), self._pool, None
        for call in running:
            if call.stop is not None:
                call.stop.ask()
        if pool is not None:
            pool.abandon()

    def wait(self, timeout: float) -> None:
        """Wait until what was asked to end has ended, at most so long [s]."""
        deadline = time.monotonic() + timeout
        while self._running and time.monotonic() < deadline:
            time.sleep(0.01)

    def shutdown(self) -> None:
        """Let the threads end; no call is running."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
