# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Asking something to end that runs or waits on a thread, and can't be interrupted there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from .signals import take

__all__ = ["Stop"]


class Stop:
    """A request to end, for one call.

    The request is made once and never taken back. Invariant, under the lock: an action is called if the request was
    made while it was registered, or before; by whoever makes the request, or by who registers it too late. It is called
    once, or again if Ctrl-C came in between. The locks are those of C, since Ctrl-C can lose a `Condition` for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_asked = False
        self._asked: SimpleQueue[None] = SimpleQueue()
        self._actions: list[Callable[[], None]] = []

    def ask(self) -> None:
        """Make the request, in any thread."""
        with self._lock:
            self._is_asked = True
            self._asked.put(None)
            actions = list(self._actions)
        for action in actions:
            action()
            self.forget(action)

    def is_asked(self) -> bool:
        """Tell whether the request was made."""
        return self._is_asked

    def wait(self, timeout: float) -> bool:
        """Wait for the request, at most `timeout` seconds; tell whether it was made."""
        if not self._is_asked:
            try:
                take(self._asked, timeout)
            except Empty:
                return False
        self._asked.put(None)  # for others who wait
        return True

    def on_ask(self, action: Callable[[], None]) -> None:
        """Call an action when the request is made, at once if it was."""
        with self._lock:
            if not self._is_asked:
                self._actions.append(action)
                return
        action()

    def forget(self, action: Callable[[], None]) -> None:
        """Call an action no more."""
        with self._lock:
            if action in self._actions:
                self._actions.remove(action)
