# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all parts of `parman-sbatch-wait` need: its exit codes, its messages, and locks of files."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TextIO

__all__ = ["ExitCode", "ProgramExit", "locked", "say", "warn"]


class ExitCode(IntEnum):
    """Exit codes of the program itself, rather than of the job.

    Attributes
    ----------
    TROUBLE
        Something has to be mended first.
    UNKNOWN
        What became of the job can't be found out now. A later call may ask again.
    NOT_FOUND
        There is no `sbatch`; the number is that of a shell.
    """

    TROUBLE = 2
    UNKNOWN = 75
    NOT_FOUND = 127


class ProgramExit(Exception):
    """The program ends here, with this exit code and this sentence for the user."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def say(text: str) -> None:
    """Tell the user what the program does."""
    _write(sys.stdout, text)


def warn(text: str) -> None:
    """Tell the user what went wrong."""
    _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(f"parman-sbatch-wait: {text}\n")
        stream.flush()
    except OSError:
        # Whoever read this is gone, or the disk is full: no reason to leave the job alone. What is still in the
        # buffer must not fail at the end of the interpreter, which would change the exit status.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[int | None]:
    """Hold the lock of a file; give its descriptor, or None if another process holds it and `wait` is false.

    The system releases the lock when the last process that has the descriptor has closed it. So a child to which it
    was passed holds the lock, too, and goes on doing so when this process is killed.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
        else:
            yield fd
    finally:
        os.close(fd)
