# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The directory of a job: the files that are kept in it, and the state that they tell of.

    template.sha256    sums of the template's files          written before the job is prepared
    jobenv.sh          variables, for shells                 |
    job.status         "prepared ..."                        |  from here on it is known that the script did not run
    kwargs.json        the arguments                         |
    kwargs.sha256      sums of the files among them          v
    job.status         + "started ..."                       by the shell that starts the script
    SCRIPT.out, .err   what it wrote                         by the script
    result.json        its result                            by the script
    job.status         + "exited ... STATUS"                 by the same shell, when the script has ended

Invariant: whatever a crash leaves, at any point of this sequence, is one of the states below. For that, each file that
we write is there as a whole or not at all; only the line "started" is appended. The shell writes the last line, not the
driver: it is there also when the driver was killed while the script ran.
"""

from __future__ import annotations

import enum
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .files import escaped, read_whole, unescaped, write_whole
from .locking import Lock

__all__ = ["RESERVED", "JobDirectory", "State", "Status", "is_shell_name"]


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


class JobDirectory:
    """The directory of a job: its own, or a work directory in which its script runs.

    Parameters
    ----------
    path
        The directory; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.jobinfo = path / "jobinfo.py"
        self.environment = path / "jobenv.sh"
        self.kwargs = path / "kwargs.json"
        self.new_kwargs = path / "kwargs-new.json"
        self.sums = path / "kwargs.sha256"
        self.new_sums = path / "kwargs-new.sha256"
        self.template_sums = path / "template.sha256"
        self.result = path / "result.json"
        self.old_result = path / "result-old.json"
        self.extra = path / "result.extra"
        self.status = path / "job.status"
        self.lock_file = path / "job.lock"

    def output(self, script: str) -> Path:
        """Return the file that the script's output goes to."""
        return self.path / f"{script}.out"

    def errors(self, script: str) -> Path:
        """Return the file that the script's error messages go to."""
        return self.path / f"{script}.err"

    # --- state ---

    def state(self) -> State:
        """Return what the files say. They don't say whether a script is running: the lock does."""
        has_result = self.result.exists()
        if not self.kwargs.exists():
            return State.BROKEN if has_result else State.NEW
        status = self._parse_status()
        if status is None:  # made by a version without it
            return State.FINISHED if has_result else State.UNFINISHED
        if status.script is None:
            return State.PREPARED
        if status.exit is None:
            return State.UNFINISHED
        return State.FINISHED if status.exit == 0 and has_result else State.FAILED

    def read_status(self) -> Status:
        """Read the status file; a line that was cut off counts as far as it goes."""
        return self._parse_status() or Status()

    def _parse_status(self) -> Status | None:
        """Return what the status file says; None if it is not there, or empty."""
        try:
            content = read_whole(self.status)
        except FileNotFoundError:
            return None
        if not content.strip():
            return None
        status = Status()
        for line in os.fsdecode(content).split("\n"):
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
        """Note that the script has not run yet, and where it will run if not in this directory."""
        write_whole(self.status, _status_line("prepared", "" if directory is None else f"in {escaped(str(directory))}"))

    def write_failed(self, status: Status) -> None:
        """Note that the script has failed elsewhere."""
        lines = [
            _status_line("prepared", f"in {escaped(str(status.directory))}"),
            _status_line("started", str(status.script)),
        ]
        if status.exit is not None:
            lines.append(_status_line("exited", str(status.exit)))
        write_whole(self.status, b"".join(lines))

    def lock(self) -> Lock:
        """Return the lock of the directory."""
        return Lock(self.lock_file)

    # --- content ---

    def write_environment(self, variables: Mapping[str, str]) -> None:
        """Write the variables so that a shell can read them, whatever they hold."""
        quoted = {name: re.sub(r'([\\"$`])', r"\\\1", value) for name, value in variables.items()}
        lines = [f'export {name}="{value}"\n' for name, value in quoted.items()]
        write_whole(self.environment, os.fsencode("".join(lines)))


RESERVED = frozenset(
    path.name for path in vars(JobDirectory(Path())).values() if path.name not in ("", "jobinfo.py", "result.extra")
)
"""Files that a call makes, and that a template can't bring along."""


def is_shell_name(name: str) -> bool:
    """Tell whether shells take this as the name of a variable."""
    return name.isascii() and name.isidentifier()


def _status_line(word: str, said: str) -> bytes:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return os.fsencode(f"{word} {now}{' ' if said else ''}{said}\n")
