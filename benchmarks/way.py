# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How far one goes who follows a call through the sources: `python -m benchmarks.way`.

One warm `resolve(f(1))` is followed by `sys.setprofile`, in all threads of this process. What is counted: the files of
Parman in which a function was called, how often a call or a return led from one file into another, in each thread, and
the calls of functions. The standard library's pool is followed for comparison, in its own files.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, thread
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import parman
from parman import ConcurrentRunner, resolve, task, workflow

__all__ = ["Way", "follow", "follow_runner"]

_OURS = str(Path(parman.__file__).parent)
_FUTURES = str(Path(thread.__file__).parent)


@task
def same(x: int) -> int:
    """Return a number, as it is."""
    return x


class Way(NamedTuple):
    """What was crossed: files, changes from one to another, functions called."""

    files: list[str]
    changes: int
    calls: int


def follow(function: Callable[[], Any], folder: str = _OURS) -> Way:
    """Follow what a function does in all threads, in the files of a folder.

    Parameters
    ----------
    function
        What to do; its threads have begun since `threading.setprofile_all_threads` or are told by it.
    folder
        Whose files count.
    """
    events: list[tuple[int, str]] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            events.append((threading.get_ident(), frame.f_code.co_filename))

    _set_profile(note)
    try:
        function()
    finally:
        _set_profile(None)
    last: dict[int, str] = {}
    ours = [(ident, name) for ident, name in events if name.startswith(folder)]
    changes = 0
    for ident, name in ours:
        changes += last.get(ident, name) != name
        last[ident] = name
    return Way(sorted({str(Path(name).relative_to(folder)) for _, name in ours}), changes, len(ours))


def _set_profile(function: Any) -> None:
    # From Python 3.12 on, it reaches the threads that run already. Before, only those to come: so the pool's threads
    # have to be started while it is set.
    everywhere = getattr(threading, "setprofile_all_threads", None)
    if everywhere is not None:
        everywhere(function)
    else:
        threading.setprofile(function)
        sys.setprofile(function)


def follow_runner(kind: str) -> Way:
    """Follow a warm `resolve(same(1))` on "threads" or "processes"."""
    make = ConcurrentRunner.threads if kind == "threads" else ConcurrentRunner.processes
    with make(1) as runner, workflow(runner):
        for i in range(30):
            resolve(same(i))
        return follow(lambda: resolve(same(1)))


def _follow_library() -> Way:
    with ThreadPoolExecutor(1) as pool:
        for i in range(30):
            pool.submit(abs, i).result()
        return follow(lambda: pool.submit(abs, 1).result(), _FUTURES)


def main() -> None:
    """Print what was counted."""
    if sys.version_info < (3, 12):
        sys.exit("This takes Python 3.12 or later, which can follow threads that run already.")
    for name, way in (
        ("threads", follow_runner("threads")),
        ("processes (driver)", follow_runner("processes")),
        ("ThreadPoolExecutor", _follow_library()),
    ):
        sys.stdout.write(f"{name}: {len(way.files)} files, {way.changes} changes, {way.calls} calls\n")
        sys.stdout.write(f"    {' '.join(way.files)}\n")


if __name__ == "__main__":
    main()
