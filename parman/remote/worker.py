# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The worker process: receive a call, run it, answer; until the driver is gone.

Calls run on the main thread, where signals and graphical libraries expect them. Beside it one daemon thread waits for
the end of the driver. If that comes while a call runs, the worker and all that the call started are killed, since
nobody wants the result; a worker without a call sees the end itself and leaves in good order.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from pickle import PicklingError, UnpicklingError
from typing import Any

from ..descriptors import fill_standard
from ..pool.channel import Channel, Kind, Message, Parcel, name_of, open_pidfd, pack
from ..pool.claims import take_claim
from ..pool.terminal import refuse_input
from ..snapshots.exceptions import PackedException, annotate, traceback_text

__all__ = ["main"]

_EXIT_WITHIN = 3.0
"""How long an idle worker may take to end, with the threads and exit hooks that tasks left behind [s]."""


def main(fd: int, claims: int, driver: int) -> None:
    """Serve the driver, whose process id is `driver`, over the socket `fd`, with `claims` for calls from a pipe."""
    fill_standard()
    # A handler rather than SIG_IGN: what a task starts inherits that something is ignored, but no handlers.
    signal.signal(signal.SIGINT, lambda signum, frame: None)
    os.set_inheritable(fd, False)
    os.set_inheritable(claims, False)
    # Where the interpreter is started by a wrapper, the parent is not the driver, and only the socket is watched.
    peer = open_pidfd(driver) if os.getppid() == driver else None
    refuse_input()
    worker = _Worker(Channel(socket.socket(fileno=fd), peer), claims)
    threading.Thread(target=worker.watch, name="parman-watch", daemon=True).start()
    try:
        worker.serve()
    except EOFError:
        pass


class _Worker:
    def __init__(self, channel: Channel, claims: int) -> None:
        self._channel = channel
        self._claims = claims
        self._busy = False

    def serve(self) -> None:
        """Answer calls. Nothing of a call is held while the next is waited for."""
        self._channel.send(pack(Kind.READY, None))
        begun = pack(Kind.BEGUN, None)
        while True:
            parcel = self._channel.receive()
            self._busy = True
            if parcel.kind == Kind.BATCH:
                self._run_batch(parcel)
            else:
                self._channel.send(begun)
                answer = _answer(parcel)
                self._send_last(answer)
                del answer
            del parcel

    def _send_last(self, answer: Message) -> None:
        """Send what the driver waits for. As soon as it has that it may end this worker, which is not a sudden end."""
        _flush()
        self._busy = False
        self._channel.send(answer)

    def _run_batch(self, parcel: Parcel) -> None:
        # For tasks alone, and loaded with what they need; most programs that use a pool have none.
        from .batch import run_batch

        try:
            batch = parcel.load()
        except BaseException as error:
            text = f"calls could not be rebuilt in the worker process: {type(error).__qualname__}: {error}"
            self._send_last(_failure(UnpicklingError(text), traceback_text(error, 1)))
            return
        left = len(batch.items)

        def send(message: Message) -> None:
            nonlocal left
            left -= 1
            if message.kind == Kind.OUTCOME and left:
                _flush()
                self._channel.send(message)
            else:
                self._send_last(message)

        run_batch(batch, parcel.traces, partial(take_claim, self._claims), self._ask, send)

    def _ask(self, tokens: list[str]) -> Any:
        """Ask the driver for what is missing here."""
        self._channel.send(pack(Kind.MISSING, tokens))
        return self._channel.receive().load()

    def watch(self) -> None:
        """Wait for the end of the driver, and see to it that this process ends too."""
        self._channel.wait_for_end()
        if not self._busy:
            time.sleep(_EXIT_WITHIN)
        _kill_group()


def _kill_group() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _answer(parcel: Parcel) -> Message:
    try:
        function, args, kwargs = parcel.load()
    except BaseException as error:
        text = f"a call could not be rebuilt in the worker process: {type(error).__qualname__}: {error}"
        return _failure(UnpicklingError(text), traceback_text(error, 1))
    try:
        value = function(*args, **kwargs)
    except BaseException as error:
        return _failure(error, traceback_text(error, 1))
    del args, kwargs
    try:
        return pack(Kind.VALUE, value)
    except BaseException as error:
        text = (
            f"the result of {name_of(function)}, of type {type(value).__qualname__}, can't be sent back from the "
            f"worker process: {type(error).__qualname__}: {error}. Return something that can be pickled"
        )
        return _failure(PicklingError(text), traceback_text(error, 1))


def _failure(error: BaseException, text: str) -> Message:
    annotate(error, f"In worker process {os.getpid()}:\n{text}")
    return pack(Kind.FAILURE, PackedException(error, text))


def _flush() -> None:
    """Write out what the call printed: a worker may be killed at any time after it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
