# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What several test modules need: futures in every state, gates, scripts in an interpreter of their own."""

from __future__ import annotations

import gc
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TIMEOUT = 60
"""How long a test waits for what should come at once [s]."""

ROOT = Path(__file__).parents[1]


def succeeded(result: Any = None) -> Future[Any]:
    """Make a future with a result."""
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def failed(exception: BaseException) -> Future[Any]:
    """Make a future with an exception."""
    future: Future[Any] = Future()
    future.set_exception(exception)
    return future


def running() -> Future[Any]:
    """Make a future whose call has started."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def cancelled() -> Future[Any]:
    """Make a future that was cancelled, of which its executor has not taken notice."""
    future: Future[Any] = Future()
    future.cancel()
    return future


def cancelled_and_notified() -> Future[Any]:
    """Make a future that was cancelled, as its executor knows."""
    future = cancelled()
    future.set_running_or_notify_cancel()
    return future


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
    """Wait until a event_loop has handled what was posted up to now."""
    event = threading.Event()
    post(event.set)
    return event.wait(TIMEOUT)


def dispatcher_threads() -> list[threading.Thread]:
    """Return the threads of all dispatchers."""
    return [thread for thread in threading.enumerate() if thread.name == "parman-event_loop"]


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


def run_script(text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter of its own."""
    command = [sys.executable, *options, "-c", text]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT)


def until_gone(find: Callable[[], list[int]], timeout: float) -> bool:
    """Wait until no process is found any more, none of which need be a child [s]; tell whether that is so."""
    end = time.monotonic() + timeout
    while (left := find()) and time.monotonic() < end:
        try:
            fd = os.pidfd_open(left[0])
        except ProcessLookupError:
            continue
        with os.fdopen(fd):
            select.select([fd], [], [], max(0.0, end - time.monotonic()))
    return not left


def all_processes() -> Iterator[tuple[int, int, int, str]]:
    """Give the number, parent, session and state of all processes."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended since
                continue
            yield int(folder.name), int(fields[1]), int(fields[3]), fields[0]


def children(of: int | None = None) -> list[int]:
    """Return the processes that a process, by default this one, has started and that have not been seen off."""
    # Not those of each of its threads: a child that passes from a thread that ends to another could be missed.
    wanted = os.getpid() if of is None else of
    return sorted(pid for pid, parent, _, _ in all_processes() if parent == wanted)
