# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The mark of a submission: how a job is found that was submitted just before everything went down.

Before `sbatch` runs, `sbatchwait.mark` is written: a name that exists once in the world, the time, the directory and,
as `sbatch` is about to be started in a session of its own, the number of that session. What `sbatch` writes goes to
the end of the same file, so that it is there even if nobody is left to read it. When the log has the job's number, the
file is renamed to `sbatchwait.job`. So a mark that is still there tells of a submission whose end is not known, and
whoever deletes the log to submit a job again needs to know nothing of marks.

Of what a job can carry, the comment is what a mark can be put into, and `scontrol` shows it. But an option of the
command line hides the one in the script, so the user's own comments come first. The session needs no option: Slurm
notes it with each job, as `AllocNode:Sid`. Since its number comes again one day, directory and time have to fit, too.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .sbatch_log import sync_folder
from .slurm import Record, parse_submitted

__all__ = ["CLOCKS", "Mark", "comment_option", "found_by", "read_mark", "same_folder", "write_mark"]

CLOCKS = 300.0
"""By how much the clocks of a cluster may differ [s]; with more, its credentials are not accepted."""

_FIRST_LINE = "Parman sbatch wait mark format version 1"
_END = "\n"


class Mark(NamedTuple):
    """What is known of a submission.

    Attributes
    ----------
    name
        What the job's comment holds, unless the user has a comment.
    time
        When it began [s since the epoch].
    folder
        Where.
    session
        The session of `sbatch`; without one it was not started.
    submitted
        What `sbatch` wrote, if that is the number of a job.
    failed
        The exit statuses of array tasks that failed, by their numbers.
    """

    name: str
    time: float
    folder: str
    session: int | None = None
    submitted: str | None = None
    failed: Mapping[int, int] = MappingProxyType({})


def write_mark(path: Path) -> Mark:
    """Make a mark, which is on the disk when this returns."""
    mark = Mark(f"parman-{uuid.uuid4().hex}", datetime.now().timestamp(), str(path.parent.absolute()))
    when = datetime.fromtimestamp(mark.time).astimezone().isoformat()
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", errors="surrogateescape") as file:
        file.write(f"{_FIRST_LINE}\nmark {mark.name}\ntime {when}\nfolder {mark.folder.replace(_END, ' ')}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)
    return mark


def read_mark(path: Path) -> Mark | None:
    """Read a mark; lines that are not whole, or not understood, don't count."""
    try:
        lines = path.read_bytes().decode(errors="surrogateescape").split("\n")[:-1]
    except FileNotFoundError:
        return None
    pairs = dict(line.partition(" ")[::2] for line in reversed(lines))
    failed = [line.split()[1:] for line in lines if re.fullmatch(r"failed \d+ \d+", line)]
    session = pairs.get("session", "")
    return Mark(
        pairs.get("mark", ""),
        _time(pairs.get("time", "")),
        pairs.get("folder", ""),
        int(session) if session.isdecimal() else None,
        next((line.strip() for line in reversed(lines) if parse_submitted(line.strip())), None),
        {int(number): int(status) for number, status in failed},
    )


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def found_by(mark: Mark, records: Iterable[Record]) -> list[Record]:
    """Return the records of jobs that bear a mark."""
    return [record for record in records if _bears(record, mark)]


def _bears(record: Record, mark: Mark) -> bool:
    if mark.name and mark.name in record.text:
        return True
    if mark.session is None or record.session != mark.session or record.submitted is None:
        return False
    return record.submitted >= mark.time - CLOCKS and same_folder(record.folder, mark.folder)


def same_folder(one: str, other: str) -> bool:
    """Whether two paths name the same directory, perhaps by way of symbolic links."""
    return bool(one) and os.path.realpath(one) == os.path.realpath(other)


def comment_option(mark: Mark, args: Sequence[str]) -> list[str]:
    """Return the option that gives the mark to the job: none if the user may have set a comment, or in doubt."""
    if any(arg.startswith("--com") for arg in args):
        return []
    wrapped = any(arg.startswith("--wr") for arg in args)
    texts = [_beginning(arg) for arg in args if Path(arg).is_file()]
    if not (texts or wrapped) or any(re.search(rb"^#SBATCH.*--com", text, re.MULTILINE) for text in texts):
        return []
    return [f"--comment={mark.name}"]


def _beginning(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b"#SBATCH --comment"
