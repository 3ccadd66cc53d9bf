# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The record of a job: the files that are kept in its directory, and the state that they tell of.

    template.sha256    sums of the template's files          written before the job is prepared
    jobenv.sh          variables, for shells                 |
    job.status         "prepared ..."                        |  from here on it is known that the script did not run
    kwargs.json        the arguments                         |
    kwargs.sha256      sums of the files among them          v
    job.status         + "started ..."                       by the shell that starts the script
    SCRIPT.out, .err   what it wrote                         by the script
    result.json        its result                            by the script
    job.status         + "exited ... STATUS"                 by the same shell, when the script has ended

Each of ours but the first start line is written as a whole or not at all, and each state below is told from what a
crash can leave at any point between them. The last line is not written by the driver, so it is there also when the
driver was killed while the script ran.
"""

from __future__ import annotations

import enum
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .files import escaped, format_sums, parse_sums, read_whole, unescaped, write_whole
from .locking import Lock

__all__ = ["RESERVED", "Record", "State", "Status"]


class State(enum.Enum):
    """What the files of a job directory say. The value is a sentence about the directory."""

    NEW = "holds no job yet"
    PREPARED = "holds a job whose script was never started"
    UNFINISHED = "holds a job that was started before and did not finish"
    FAILED = "holds a job that failed"
    FINISHED = "holds a job with its result"
    BROKEN = "holds a result.json, but no kwargs.json, so that nobody knows what it is the result of"


class Status(NamedTuple):
    """What the status file says.

    Attributes
    ----------
    directory
        Where the script runs, if that is not the job directory.
    script
        The script that was started last; None if none was.
    exit
        Its exit status; None if it has not ended, or was killed together with all that watched it.
    """

    directory: Path | None = None
    script: str | None = None
    exit: int | None = None


class Record:
    """The files that are kept in the directory of a job.

    Parameters
    ----------
    directory
        The directory; it need not be there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.jobinfo = directory / "jobinfo.py"
        self.environment = directory / "jobenv.sh"
        self.kwargs = directory / "kwargs.json"
        self.new_kwargs = directory / "kwargs-new.json"
        self.sums = directory / "kwargs.sha256"
        self.new_sums = directory / "kwargs-new.sha256"
        self.template_sums = directory / "template.sha256"
        self.result = directory / "result.json"
        self.old_result = directory / "result-old.json"
        self.extra = directory / "result.extra"
        self.status = directory / "job.status"
        self.lock_file = directory / "job.lock"

    def output(self, script: str) -> Path:
        """Return the file that the script's output goes to."""
        return self.directory / f"{script}.out"

    def errors(self, script: str) -> Path:
        """Return the file that the script's error messages go to."""
        return self.directory / f"{script}.err"

    # --- state ---

    def state(self) -> State:
        """Tell what the files say; whether a script is running is told by the lock, not by this."""
        has_result = self.result.exists()
        if not self.kwargs.exists():
            return State.BROKEN if has_result else State.NEW
        if not self._has_status():  # made by a version without it
            return State.FINISHED if has_result else State.UNFINISHED
        status = self.read_status()
        if status.script is None:
            return State.PREPARED
        if status.exit is None:
            return State.UNFINISHED
        return State.FINISHED if status.exit == 0 and has_result else State.FAILED

    def _has_status(self) -> bool:
        try:
            return bool(read_whole(self.status).strip())
        except FileNotFoundError:
            return False

    def read_status(self) -> Status:
        """Read the status file; a line that was cut off counts as far as it goes."""
        status = Status()
        try:
            text = os.fsdecode(read_whole(self.status))
        except FileNotFoundError:
            return status
        for line in text.split("\n"):
            word, _, rest = line.partition(" ")
            _, _, said = rest.partition(" ")
            if word == "prepared":
                status = Status(Path(unescaped(said.removeprefix("in "))) if said else None)
            elif word == "exited" and re.fullmatch(r"\d+", said):
                status = status._replace(exit=int(said))
            elif word:
                status = status._replace(script=said, exit=None)
        return status

    def write_prepared(self, directory: Path | None = None) -> None:
        """Note that the script has not run yet, and where it will if not in this directory."""
        write_whole(self.status, _line("prepared", "" if directory is None else f"in {escaped(str(directory))}"))

    def write_failed(self, status: Status) -> None:
        """Note that the script has failed elsewhere."""
        lines = [_line("prepared", f"in {escaped(str(status.directory))}"), _line("started", str(status.script))]
        if status.exit is not None:
            lines.append(_line("exited", str(status.exit)))
        write_whole(self.status, b"".join(lines))

    def lock(self) -> Lock:
        """Return the lock of the directory."""
        return Lock(self.lock_file)

    # --- content ---

    def write_environment(self, variables: Mapping[str, str]) -> None:
        """Write the variables so that a shell can read them, whatever they hold."""
        lines = [f'export {name}="{_quoted(value)}"\n' for name, value in variables.items()]
        write_whole(self.environment, os.fsencode("".join(lines)))

    def read_sums(self, path: Path) -> dict[str, str] | None:
        """Read a file of sums; None if it is not there.

        Raises
        ------
        ValueError
            It is no such file.
        """
        try:
            return parse_sums(read_whole(path))
        except FileNotFoundError:
            return None

    def write_sums(self, path: Path, sums: Mapping[str, str]) -> None:
        """Write a file of sums."""
        write_whole(path, format_sums(sums.items()))


RESERVED = frozenset(
    path.name for path in vars(Record(Path())).values() if path.name not in ("", "jobinfo.py", "result.extra")
)
"""Files that a call makes, and that a template can't bring along."""


def _line(word: str, said: str) -> bytes:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return os.fsencode(f"{word} {now}{' ' if said else ''}{said}\n")


def _quoted(value: str) -> str:
    return re.sub(r'([\\"$`])', r"\\\1", value)
