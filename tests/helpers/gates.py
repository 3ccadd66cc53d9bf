# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Gates that hold tasks and job scripts up in any process: two named pipes, so that nobody has to sleep and look."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from . import TIMEOUT

__all__ = ["Gate", "ScriptGate", "pass_gate", "script_gate"]

_MANY = 1000


class Gate:
    """A gate that is closed at first.

    Both pipes are held open for reading and writing, so that opening them blocks nobody.

    Parameters
    ----------
    folder
        Where the pipes are made; its name is what tasks need to know.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.place = str(folder)
        for name in ("here", "open"):
            os.mkfifo(folder / name)
        self._here = os.open(folder / "here", os.O_RDWR)
        self._open = os.open(folder / "open", os.O_RDWR)

    def wait_for(self, count: int = 1) -> None:
        """Wait until so many tasks, of those not yet waited for, are at the gate."""
        for _ in range(count):
            os.read(self._here, 1)

    def open(self, count: int = _MANY) -> None:
        """Let so many tasks pass."""
        os.write(self._open, b"." * count)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()
        os.close(self._here)
        os.close(self._open)


def pass_gate(place: str) -> None:
    """Say that this task is at the gate, and wait until it may pass."""
    for name, flags, act in (("here", os.O_WRONLY, lambda fd: os.write(fd, b".")), ("open", os.O_RDONLY, _take)):
        fd = os.open(os.path.join(place, name), flags)  # noqa: PTH118
        try:
            act(fd)
        finally:
            os.close(fd)


def _take(fd: int) -> int:
    return len(os.read(fd, 1))


class ScriptGate:
    """A gate for scripts: they write a line into one pipe, and read one from another.

    Both pipes are held open for reading and writing, so that opening them blocks nobody.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.template = folder
        for name in ("here", "open"):
            os.mkfifo(folder / name)
        self._here = os.open(folder / "here", os.O_RDWR)
        self._open = os.open(folder / "open", os.O_RDWR)
        self._unread = b""

    def arrival(self, timeout: float = TIMEOUT) -> list[str]:
        """Wait for a line, and return its words."""
        end = time.monotonic() + timeout
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._here], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"nobody came to the gate in time; before: {self._unread!r}"
            self._unread += os.read(self._here, 4096)
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode().split()

    def is_quiet(self) -> bool:
        """Tell whether nobody has come whose arrival was not asked for."""
        return not self._unread and not select.select([self._here], [], [], 0)[0]

    def open(self, count: int = 100) -> None:
        """Let so many scripts pass."""
        os.write(self._open, b"go\n" * count)

    def close(self) -> None:
        """Close both pipes, after letting everybody pass."""
        self.open()
        os.close(self._here)
        os.close(self._open)


@contextmanager
def script_gate(folder: Path) -> Iterator[ScriptGate]:
    """Make a gate, which is opened at the end."""
    gate = ScriptGate(folder)
    try:
        yield gate
    finally:
        gate.close()
