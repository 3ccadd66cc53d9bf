# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Stand-ins for worker processes: one thread answers for hundreds of them, and runs nothing.

What the driver does for very many workers can be seen with them, on a small machine, and in a second.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import threading
from collections.abc import Collection
from typing import Any

from parman.pool.channel import Channel, Kind, Message, pack
from parman.pool.claims import ClaimPipe, take_claim

__all__ = ["Peers"]


class Peers:
    """All the workers: each takes its tokens, and answers that each call took a microsecond and returned 1.

    Attributes
    ----------
    batches
        How many they were sent.
    """

    def __init__(self) -> None:
        self.batches = 0
        self._poll = select.poll()
        self._channels: dict[int, tuple[Channel, int]] = {}
        self._wake, self._bell = os.pipe()
        self._poll.register(self._wake, select.POLLIN)
        self._outcome = Message(Kind.OUTCOME, pickle.dumps((1e-6, [1], None, (), False), protocol=5), [])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def make(self, environ: dict[str, str]) -> Any:
        """Make a worker, as `processes._Process` would."""
        ours, theirs = socket.socketpair()
        process = _Process(ours)
        channel = Channel(theirs, None)
        self._channels[theirs.fileno()] = channel, process.claims.theirs
        channel.send(pack(Kind.READY, None))
        self._poll.register(theirs, select.POLLIN)
        os.write(self._bell, b"+")
        return process

    def close(self) -> None:
        """End the thread."""
        os.write(self._bell, b"-")
        self._thread.join()
        for channel, _ in self._channels.values():
            channel.close()
        os.close(self._wake)
        os.close(self._bell)

    def _serve(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._wake:
                    self._answer(fd)
                elif b"-" in os.read(fd, 1 << 12):
                    return

    def _answer(self, fd: int) -> None:
        channel, tokens = self._channels[fd]
        try:
            batch = channel.receive().load()
        except EOFError:
            self._poll.unregister(fd)
            self._channels.pop(fd)[0].close()
            return
        self.batches += 1
        for _ in batch.items:
            if not take_claim(tokens):
                channel.send(pack(Kind.OVER, None))
                return
            channel.send(self._outcome)


class _Process:
    """A worker, seen from the driver."""

    def __init__(self, ours: socket.socket) -> None:
        self.claims = ClaimPipe()
        self.known: set[str] = set()
        self.channel = Channel(ours, None)

    def note_sent(self, tokens: Collection[str]) -> None:
        self.known.update(tokens)

    def take_ended(self) -> tuple[str, ...]:
        return ()

    def alive(self) -> bool:
        return True

    def kill(self) -> None:
        pass

    def bury(self) -> str:
        return "the stand-in is gone"

    def end(self) -> None:
        self.channel.close()
        self.claims.close()
