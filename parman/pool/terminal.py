# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A worker process has no terminal and no standard input: who asks for these is told so, and what to do.

Without that `input()` says that the file has ended, a debugger quits by an exception of its own, and
`sys.stdin.read()` gives an empty text where the serial script would get what was piped into it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import UnsupportedOperation
from typing import Any, NoReturn

from ..errors import WorkflowError

__all__ = ["refuse_input", "refusing_input"]

_WHY = "a worker process has no terminal and no standard input: use the serial runner, workflow('serial')"


def _refuse(*args: object, **kwargs: object) -> NoReturn:
    raise WorkflowError(f"{_WHY}, or read in the script what the task needs, and pass that as an argument")


class _Nothing:
    """A standard input of which nothing can be read; what else may be asked of one is answered by another file."""

    read = read1 = readline = readlines = readinto = readinto1 = peek = __iter__ = __next__ = _refuse

    def __init__(self, file: Any) -> None:
        self._file = file

    @property
    def buffer(self) -> _Nothing:
        return _Nothing(getattr(self._file, "buffer", None))

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        number: int = self._file.fileno()
        if os.isatty(number):  # `input()` would read from it past this object
            raise UnsupportedOperation("fileno")
        return number

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_file"), name)


def _stop_here(*args: Any, **kwargs: Any) -> Any:
    """Stand for `breakpoint()`: debuggers that need no terminal work as they do elsewhere."""
    wanted = os.environ.get("PYTHONBREAKPOINT", "")
    if wanted and wanted.partition(".")[0] not in ("pdb", "ipdb", "IPython", "pudb"):
        return sys.__breakpointhook__(*args, **kwargs)
    raise WorkflowError(f"breakpoint() can't stop here, since {_WHY}, to debug")


def refuse_input() -> None:
    """Let this process, a worker, say so from now on."""
    sys.stdin = sys.__stdin__ = _Nothing(sys.stdin)  # type: ignore[assignment,misc]
    sys.breakpointhook = _stop_here


class _Refusing:
    """How many calls of a pool of others run in this process, and what there was before the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._before: tuple[Any, Any] = (None, None)

    def begin(self) -> None:
        with self._lock:
            self._calls += 1
            if self._calls == 1:
                self._before = sys.stdin, sys.breakpointhook
                sys.stdin = _Nothing(sys.stdin)
                if sys.breakpointhook is sys.__breakpointhook__:
                    sys.breakpointhook = _stop_here

    def end(self) -> None:
        with self._lock:
            self._calls -= 1
            if self._calls:
                return
            stdin, hook = self._before
            self._before = (None, None)
            if isinstance(sys.stdin, _Nothing):
                sys.stdin = stdin
            if sys.breakpointhook is _stop_here:
                sys.breakpointhook = hook


_refusing = _Refusing()


@contextmanager
def refusing_input() -> Iterator[None]:
    """Let this process, a worker of a pool of others, say so as long as calls run in it."""
    if isinstance(sys.stdin, _Nothing) and not _refusing._calls:  # a worker of ours
        yield
        return
    _refusing.begin()
    try:
        yield
    finally:
        _refusing.end()
