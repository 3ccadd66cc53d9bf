# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The log of a job: `sbatchwait.log`.

The first line names the format, the others are `ISO-TIME STEP`. The first step is `Submitted ID` or
`Submitted ID;CLUSTER`, the others are states of the job, written when they change. The last is a state that ended.
Unless that is a success, `Exit STATUS` stands before it, so that a state which ended always comes with its exit
status. Logs of Parman 0.4 lack it; there the state alone tells. Its programs, reading a log of ours, meet that line
only after the job has ended, when any line that they don't know means the end to them.

A line counts once its end is there: of what was cut off when a machine went down, nothing is believed.
"""

from __future__ import annotations

import errno
import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from .program import Ending, Status
from .scontrol import has_ended, parse_submitted, status_of

__all__ = ["Log", "Step", "sync_folder"]

_FIRST_LINE = "Parman sbatch wait log format version 1\n"


class Step(NamedTuple):
    """A line of a log: when it was written [s since the epoch, if that can be read], and what it says."""

    time: float | None
    text: str


class Log:
    """The log in one directory. Whoever writes to it holds the lock of the directory.

    Parameters
    ----------
    path
        The file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: list[Step] = []
        self.cut_off = False
        self.read()

    def read(self) -> None:
        """Read the file (again)."""
        whole, rest = self._lines()
        self.steps = [_step(line) for line in whole[1:] if line.strip()]
        self.cut_off = bool(whole and rest)

    def _lines(self) -> tuple[list[str], str]:
        """Return the whole lines, and what there is of another."""
        try:
            text = self.path.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return [], ""
        except OSError as error:
            raise Ending(Status.TROUBLE, f"can't read {self.path}: {error.strerror}") from None
        if not (text.startswith(_FIRST_LINE) or _FIRST_LINE.startswith(text)):
            raise Ending(
                Status.TROUBLE,
                f"{self.path} is no log that this program can read: its first line is not"
                f" {_FIRST_LINE.strip()!r}. Move the file away if it is something else.",
            )
        *whole, rest = text.split("\n")
        return whole, rest

    @property
    def submitted(self) -> tuple[int, str | None] | None:
        """Number and cluster of the job, if one was submitted."""
        if not self.steps:
            return None
        word, _, job = self.steps[0].text.partition(" ")
        found = parse_submitted(job)
        if word != "Submitted" or found is None:
            raise Ending(
                Status.TROUBLE,
                f"the second line of {self.path} should end in 'Submitted' and the number of a job, and is"
                f" {self.steps[0].text!r}. Mend it; or delete the file to submit the job (again).",
            )
        return found

    @property
    def state(self) -> str:
        """What the last line says."""
        return self.steps[-1].text if self.steps else ""

    @property
    def status(self) -> int | None:
        """The exit status of the job, if the log says that it has ended."""
        if len(self.steps) < 2 or not has_ended(self.state):
            return None
        word, _, number = self.steps[-2].text.partition(" ")
        return status_of(self.state, int(number) if word == "Exit" and number.isdecimal() else 0)

    def add(self, *texts: str) -> None:
        """Append steps, unless somebody else did, or has noted the end; each is on the disk in the end."""
        before = len(self.steps)
        self.read()
        if before and not self.steps:
            raise FileNotFoundError(errno.ENOENT, "it was taken away", str(self.path))
        if self.state == texts[-1] or self.status is not None:
            return
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if _cut(fd) == 0:
                _write(fd, _FIRST_LINE)
                sync_folder(self.path.parent)
            for text in texts:
                line = f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}"
                _write(fd, f"{line}\n")
                self.steps.append(_step(line))  # not read, since somebody may take the file away right now
        finally:
            os.close(fd)


def _step(line: str) -> Step:
    time, _, text = line.strip().partition(" ")
    try:
        return Step(datetime.fromisoformat(time).timestamp(), text.strip())
    except (ValueError, OverflowError):
        return Step(None, text.strip())


def _write(fd: int, line: str) -> None:
    """Write a line in one go, and see that it is on the disk."""
    data = line.encode()
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(fd)


def _cut(fd: int) -> int:
    """Take away a line that has no end, and return how long the file is now."""
    size = os.fstat(fd).st_size
    whole = os.pread(fd, size, 0).rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(fd, whole)
    return whole


def sync_folder(folder: Path) -> None:
    """See that the names of new files are on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError:
        pass  # some file systems can't do this for directories
    finally:
        os.close(fd)
