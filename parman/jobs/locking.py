# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The lock of a job directory: who prepares and runs the job, on any machine that shares the file system.

It is a lock of `flock`, which the kernel drops when the last process that holds it has ended. The script of a job
inherits it: as long as it runs, the lock is held, also when the driver that started it is gone. So no lock is ever
left behind, and one that is held means that something really runs.

On NFS, Linux turns these locks into byte-range locks of the server: they hold between machines if the mount does
(`local_lock=none`, which is the default), and are dropped some time after a machine has crashed. On a file system
without locks a warning says once that the user has to see to it that there is one driver only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from ..descriptors import lift
from ..errors import Interrupted
from ..lifecycle import Stop

__all__ = ["Lock"]

logger = logging.getLogger("parman")

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""The shortest and the longest time between two looks at a lock that somebody else holds [s]."""


class Lock:
    """The lock of a job directory, held from `take` on until it is released, or all holders have ended.

    Parameters
    ----------
    path
        The lock's file, which stays where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        _locks.add(self)

    @property
    def descriptor(self) -> int | None:
        """What the script of a job inherits; None unless the lock is held."""
        return self._descriptor

    def take(self, stop: Stop, tell: Callable[[str], None]) -> None:
        """Wait until nobody else holds the lock.

        Parameters
        ----------
        stop
            Asks to give up waiting.
        tell
            Is told once who holds it, if somebody does.

        Raises
        ------
        Interrupted
            The wait was given up.
        OSError
            The directory can't be used.
        """
        pause = _FIRST_PAUSE
        while not self.try_to_take():
            if pause == _FIRST_PAUSE:
                tell(self._holder())
            if stop.wait(pause):
                raise Interrupted(f"waiting for {self._path} was given up")
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def try_to_take(self) -> bool:
        """Take the lock if nobody else holds it."""
        while True:
            descriptor = lift(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
            try:
                if not self._lock(descriptor):
                    os.close(descriptor)
                    return False
                if self._is_current(descriptor):
                    self._write_holder(descriptor)
                    self._descriptor = descriptor
                    return True
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def is_held(self) -> bool:
        """Tell whether somebody holds the lock, and change nothing: not the file, nor whether it is there."""
        try:
            descriptor = lift(os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC))
        except FileNotFoundError:
            return False
        try:
            return not self._lock(descriptor)
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise OSError(error.errno, error.strerror, str(self._path)) from error
            _warn_once(self._path)
        return True

    def _is_current(self, descriptor: int) -> bool:
        """Tell whether the file is still the one in the directory, which may have been moved or removed meanwhile."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _write_holder(self, descriptor: int) -> None:
        text = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
        with contextlib.suppress(OSError):  # a full disk: it serves the messages only
            os.ftruncate(descriptor, 0)
            os.write(descriptor, text.encode())

    def _holder(self) -> str:
        try:
            return self._path.read_text(errors="replace").strip() or "another process"
        except OSError:
            return "another process"

    def release(self) -> None:
        """Release the lock, also for processes that inherited it."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # there are no locks
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.leave()

    def leave(self) -> None:
        """Leave the lock to the processes that inherited it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _leave_all() -> None:
    """Hold no locks in a copy of this process, such as a worker, which may outlive it."""
    for lock in list(_locks):
        lock.leave()


os.register_at_fork(after_in_child=_leave_all)

_warned: set[int] = set()


def _warn_once(path: Path) -> None:
    device = path.stat().st_dev
    if device not in _warned:
        _warned.add(device)
        logger.warning(
            "the file system of %s has no locks: see to it that only one driver uses these results at a time", path
        )
