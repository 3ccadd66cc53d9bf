# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Claims: who may have the next call of a batch, the worker that it was sent to or the driver that takes it back.

There is a claim for each call that nobody has begun: a byte in a pipe of which both sides hold the reading end. The
worker takes one before it begins a call, the driver one for each call that it wants back, from the end of the batch.
The system gives each byte to one of them. So the driver learns at once, and for certain, what the worker has not begun
and never will, whatever that is doing: it may compute in C without letting other threads run, be stopped, or be dead.

A lock in shared memory would be lost with a worker that dies while it holds it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from ..descriptors import lift

__all__ = ["ClaimPipe", "take_claim"]

_CHUNK = 1 << 12


class ClaimPipe:
    """The driver's side.

    Attributes
    ----------
    theirs
        The descriptor for the worker, which takes claims with `take_claim`.
    """

    def __init__(self) -> None:
        self.theirs, self._writing = map(lift, os.pipe())
        os.set_blocking(self.theirs, False)

    def put(self, count: int) -> None:
        """Put claims in, at most some thousand at a time: a pipe holds 65536 bytes, on some systems 16384."""
        os.write(self._writing, bytes(count))

    def reclaim(self, keep: int = 0) -> int:
        """Take all that are left but some, and return how many those were.

        Parameters
        ----------
        keep
            How many are left to the worker, unless it takes them meanwhile.
        """
        count = 0
        while True:
            wanted = self.left() - keep if keep else _CHUNK
            if wanted <= 0:
                return count
            try:
                taken = len(os.read(self.theirs, wanted))
            except BlockingIOError:
                return count
            count += taken

    def left(self) -> int:
        """Return how many are left."""
        (count,) = struct.unpack("i", fcntl.ioctl(self.theirs, termios.FIONREAD, bytes(4)))
        return int(count)

    def close(self) -> None:
        """Let go of the pipe."""
        for fd in (self.theirs, self._writing):
            os.close(fd)


def take_claim(fd: int) -> bool:
    """Take a claim in the worker; false if there is none left."""
    try:
        return len(os.read(fd, 1)) == 1
    except BlockingIOError:
        return False
