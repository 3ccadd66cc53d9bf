# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What tests wait for in their own process: threads, event loops, the end of an object, a line of the log."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from . import TIMEOUT

__all__ = ["Told", "death", "died", "event_loop_threads", "handled", "hasty_switches", "in_thread", "interrupt_at"]


def death(thing: object) -> threading.Event:
    """Return an event that is set when the object is freed."""
    event = threading.Event()
    weakref.finalize(thing, event.set).atexit = False
    return event


def died(event: threading.Event) -> bool:
    """Whether the object of `death` is freed, by the garbage collector at the latest."""
    gc.collect()
    return event.wait(TIMEOUT)


def handled(post: Callable[[Callable[[], object]], None]) -> bool:
    """Wait until an event loop has handled what was posted up to now."""
    event = threading.Event()
    post(event.set)
    return event.wait(TIMEOUT)


def event_loop_threads() -> list[threading.Thread]:
    """Return the threads of all event loops."""
    return [thread for thread in threading.enumerate() if thread.name == "parman-event-loop"]


def in_thread(function: Callable[[], object]) -> threading.Thread:
    """Start a thread."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


@contextmanager
def hasty_switches() -> Iterator[None]:
    """Let the interpreter switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def interrupt_at(count: int, function: Callable[[], object]) -> bool:
    """Call a function, and raise KeyboardInterrupt at the given one of the points where Ctrl-C would be noticed.

    These are where a Python function is entered, and after a call in C. Those in `threading` are left out: a Ctrl-C
    there loses the lock of a `Condition` for ever, whoever uses it.

    Returns
    -------
    bool
        Whether the function got that far.
    """
    seen = 0

    def profile(frame: Any, event: str, _arg: object) -> None:
        nonlocal seen
        if event in ("call", "c_return") and frame.f_code.co_filename != threading.__file__:
            seen += 1
            if seen == count:
                raise KeyboardInterrupt

    try:
        sys.setprofile(profile)
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


class Told(logging.Handler):
    """Waits for a record of the logger `parman`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.event = threading.Event()
        self.message = ""

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.message = record.getMessage()
            self.event.set()

    def __enter__(self) -> Self:
        logging.getLogger("parman").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("parman").removeHandler(self)
