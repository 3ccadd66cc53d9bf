# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How a program ends before its job has, and what it says meanwhile.

Locks of files, which the system releases with the process that holds them.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TextIO

__all__ = ["Ending", "Status", "locked", "say", "warn"]


class Status(IntEnum):
    """Exit statuses of the program itself, rather than of the job.

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


class Ending(Exception):
    """The program ends here, with this exit status and this sentence for the user."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def say(text: str) -> None:
    """Tell what is done."""
    _write(sys.stdout, text)


def warn(text: str) -> None:
    """Tell what went wrong."""
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
    """Hold a lock; gives its file descriptor, or nothing if others hold it and `wait` is false.

    The lock is released when the last process that has the descriptor has closed it: a child to which it was passed
    holds the lock, too, and goes on doing so when this process is killed.
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
