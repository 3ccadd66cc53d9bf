# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Asking something to end that runs or waits on a thread, and can't be interrupted there."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Stop"]


class Stop:
    """A request to end, for one call.

    The request is made once and never taken back. Invariant, under the lock: an action is called exactly once if the
    request was made while it was registered, or before; by whoever makes the request, or by who registers it too late.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._asked = threading.Event()
        self._actions: list[Callable[[], None]] = []

    def ask(self) -> None:
        """Make the request, in any thread."""
        with self._lock:
            self._asked.set()
            actions, self._actions = self._actions, []
        for action in actions:
            action()

    def is_asked(self) -> bool:
        """Tell whether the request was made."""
        return self._asked.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait for the request, at most `timeout` seconds; tell whether it was made."""
        return self._asked.wait(timeout)

    def on_ask(self, action: Callable[[], None]) -> None:
        """Call an action when the request is made, at once if it was."""
        with self._lock:
            if not self._asked.is_set():
                self._actions.append(action)
                return
        action()

    def forget(self, action: Callable[[], None]) -> None:
        """Call an action no more."""
        with self._lock:
            if action in self._actions:
                self._actions.remove(action)
