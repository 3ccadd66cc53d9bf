# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""File descriptors of ours, none of which is ever 0, 1 or 2.

The system gives the lowest number that is free. In a daemon, or under a batch system that closes the standard streams,
that may be 0, 1 or 2, which programs take for their standard streams whatever is there: a worker that is started with
its standard input from nowhere would lose the socket that has this number, and what a library in C prints would go into
a file of results. So whatever opens a descriptor passes it through `lift`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import sys
import threading
from typing import Any

__all__ = ["fill_standard", "inherited", "lift", "lift_socket", "map_file", "opener"]

_FIRST = 3

_filling = threading.RLock()
"""Held while standard streams that are closed are filled for a moment."""


def _renew_in_child() -> None:
    """Forget who held the lock in the process that was forked."""
    global _filling
    _filling = threading.RLock()


os.register_at_fork(after_in_child=_renew_in_child)


def lift(descriptor: int) -> int:
    """Return a descriptor for the same file that is none of the standard streams; the one given is not to be used."""
    if descriptor >= _FIRST or descriptor < 0:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    finally:
        os.close(descriptor)


def lift_socket(sock: socket.socket) -> socket.socket:
    """Return a socket for the same connection whose descriptor is none of the standard streams."""
    if sock.fileno() >= _FIRST:
        return sock
    return socket.socket(sock.family, sock.type, sock.proto, fileno=lift(sock.detach()))


def opener(path: str, flags: int) -> int:
    """Open a file for the function `open`, which takes this."""
    return lift(os.open(path, flags | os.O_CLOEXEC, 0o666))


def map_file(descriptor: int, size: int, *, flags: int, prot: int) -> mmap.mmap:
    """Map a file into memory; the map may have a descriptor of its own, which is none of the standard streams."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size, flags=flags, prot=prot, trackfd=False)
    with _filling:
        filled: list[int] = []
        try:
            for standard in range(_FIRST):
                if not _is_open(standard):
                    # One by one: what was filled is emptied also if a later one fails.
                    filled.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, standard))  # noqa: PERF401
            return mmap.mmap(descriptor, size, flags=flags, prot=prot)
        finally:
            for one in filled:
                os.close(one)


def fill_standard() -> None:
    """Let standard streams that are closed lead nowhere, in a process of ours, before it opens anything else."""
    for descriptor in range(_FIRST):
        if not _is_open(descriptor):
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            os.set_inheritable(descriptor, True)


def inherited(descriptor: int) -> int | None:
    """Say what a process of ours gets as its standard output (1) or error (2), in the words of `subprocess`.

    Returns
    -------
    None if it is that of this process. Nowhere if that is closed, or has become a file of another kind, which is the
    user's: what this process prints does not come there either.
    """
    streams = (sys.stdout, sys.__stdout__) if descriptor == 1 else (sys.stderr, sys.__stderr__)
    serves = any(_number(stream) == descriptor for stream in streams)
    if serves and _is_open(descriptor):
        return None
    from subprocess import DEVNULL  # not needed by those who start no processes

    return DEVNULL


def _number(stream: Any) -> int | None:
    try:
        number: int = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return number


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
