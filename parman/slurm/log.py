# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The log of a job, `sbatchwait.log`: what the user reads, and what the next call goes on from.

The first line names the format. Each other line is an entry, `ISO-TIME TEXT`. The first entry is `Submitted ID` or
`Submitted ID;CLUSTER`. The others are states of the job, written when they change; the last is a state that ended.
Unless that is a success, an entry `Exit STATUS` stands before it, so that a state that ended always comes with its
exit status. Logs of Parman 0.4 lack this entry; there the state alone tells. The programs of 0.4 take a line that they
don't know for the end of the job, and meet this one only after the job has ended.

A line counts once its end is there. Nothing is believed that was cut off when a machine went down.
"""

from __future__ import annotations

import errno
import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from .program import ExitCode, ProgramExit
from .scontrol import has_ended, parse_submitted, status_of

__all__ = ["Log", "LogEntry", "sync_folder"]

_FIRST_LINE = "Parman sbatch wait log format version 1\n"


class LogEntry(NamedTuple):
    """A line of a log: when it was written [s since the epoch, if that can be read], and what it says."""

    time: float | None
    text: str


class Log:
    """The log in one directory. Whoever writes to it holds the lock of the directory.

    Parameters
    ----------
    path
        The file, which need not be there.

    Attributes
    ----------
    entries
        The whole lines after the first.
    cut_off
        Whether the last line lacks its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[LogEntry] = []
        self.cut_off = False
        self.read()

    def read(self) -> None:
        """Read the file (again)."""
        try:
            text = self.path.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            text = ""
        except OSError as error:
            raise ProgramExit(ExitCode.TROUBLE, f"can't read {self.path}: {error.strerror}") from None
        if not (text.startswith(_FIRST_LINE) or _FIRST_LINE.startswith(text)):
            raise ProgramExit(
                ExitCode.TROUBLE,
                f"{self.path} is no log that this program can read: its first line is not"
                f" {_FIRST_LINE.strip()!r}. Move the file away if it is something else.",
            )
        *whole, rest = text.split("\n")
        self.entries = [_parsed(line) for line in whole[1:] if line.strip()]
        self.cut_off = bool(whole and rest)

    @property
    def submitted(self) -> tuple[int, str | None] | None:
        """Number and cluster of the job, if one was submitted."""
        if not self.entries:
            return None
        word, _, job = self.entries[0].text.partition(" ")
        found = parse_submitted(job)
        if word != "Submitted" or found is None:
            raise ProgramExit(
                ExitCode.TROUBLE,
                f"the second line of {self.path} should end in 'Submitted' and the number of a job, and is"
                f" {self.entries[0].text!r}. Mend it; or delete the file to submit the job (again).",
            )
        return found

    @property
    def state(self) -> str:
        """What the last line says."""
        return self.entries[-1].text if self.entries else ""

    @property
    def status(self) -> int | None:
        """The exit status of the job, if the log says that it has ended."""
        if len(self.entries) < 2 or not has_ended(self.state):
            return None
        word, _, number = self.entries[-2].text.partition(" ")
        return status_of(self.state, int(number) if word == "Exit" and number.isdecimal() else 0)

    def add(self, *texts: str) -> None:
        """Append entries, unless another process did or has noted the end; on return they are on the disk."""
        before = len(self.entries)
        self.read()
        if before and not self.entries:
            raise FileNotFoundError(errno.ENOENT, "it was taken away", str(self.path))
        if self.state == texts[-1] or self.status is not None:
            return
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if _cut_unfinished_line(fd) == 0:
                _write(fd, _FIRST_LINE)
                sync_folder(self.path.parent)
            for text in texts:
                line = f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}"
                _write(fd, f"{line}\n")
                self.entries.append(_parsed(line))  # not read, since somebody may take the file away right now
        finally:
            os.close(fd)


def _parsed(line: str) -> LogEntry:
    time, _, text = line.strip().partition(" ")
    try:
        return LogEntry(datetime.fromisoformat(time).timestamp(), text.strip())
    except (ValueError, OverflowError):
        return LogEntry(None, text.strip())


def _write(fd: int, line: str) -> None:
    """Write a line in one go, and make sure that it is on the disk."""
    data = line.encode()
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(fd)


def _cut_unfinished_line(fd: int) -> int:
    """Remove a last line that has no end, and return how long the file is now [bytes]."""
    size = os.fstat(fd).st_size
    whole = os.pread(fd, size, 0).rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(fd, whole)
    return whole


def sync_folder(folder: Path) -> None:
    """Make sure that the names of new files are on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError:
        pass  # some file systems can't do this for directories
    finally:
        os.close(fd)
