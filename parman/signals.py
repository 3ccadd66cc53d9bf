# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Waiting in the main thread so that no Ctrl-C is overlooked.

CPython notes a signal in a flag, looks at its flags between instructions, and goes to sleep on a lock. A signal that
arrives after the last look and before the sleep wakes nobody: the thread sleeps on, for ever if the lock is not
released. On a busy machine the gap is as long as another process has the CPU. The same holds for a signal that the
system gives to another thread. So nothing here sleeps for long without a look.
"""

from __future__ import annotations

import threading
import time
from _thread import get_ident
from queue import Empty, SimpleQueue
from typing import TypeVar

__all__ = ["take"]

T = TypeVar("T")

_PERIOD = 0.5
"""How long an overlooked Ctrl-C goes unnoticed [s]."""


def take(queue: SimpleQueue[T], timeout: float | None = None) -> T:
    """Take something from a queue, as its `get` does.

    Parameters
    ----------
    queue
        The queue.
    timeout
        How long to wait [s]; without it, as long as it takes.

    Raises
    ------
    queue.Empty
        There was nothing in time.
    KeyboardInterrupt
        In the main thread, within half a second, also if CPython did not wake it.
    """
    if get_ident() != threading.main_thread().ident:  # signals are not for it
        return queue.get(timeout=None if timeout is None else max(0.0, timeout))
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _PERIOD if deadline is None else deadline - time.monotonic()
        try:
            return queue.get(timeout=max(0.0, min(_PERIOD, left)))
        except Empty:
            if left <= _PERIOD and deadline is not None:
                raise
