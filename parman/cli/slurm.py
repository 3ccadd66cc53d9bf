# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What Slurm says of jobs: reading the output of `scontrol show job`, without running anything.

`scontrol` writes `Key=value` pairs, one job a line with `--oneliner`, else a paragraph; both are read. Names and
comments of users may hold anything, so the few keys that are needed are looked for behind the job's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

__all__ = [
    "Outcome",
    "Record",
    "exit_status",
    "has_ended",
    "of_job",
    "outcome",
    "parse_accounts",
    "parse_jobs",
    "parse_submitted",
    "status_of",
]

_ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "TIMEOUT",
    }
)
"""The states that a job does not leave. Any other, also one that is not known here, means: not finished."""

_SUBMITTED = re.compile(r"(\d+)(?:;([A-Za-z0-9_.-]+))?")


class Record(NamedTuple):
    """One job, one task of a job array, or one component of a heterogeneous job.

    Attributes
    ----------
    ids
        The numbers by which it may be called: its own and that of the array or heterogeneous job it belongs to.
    state
        As Slurm writes it, in capitals.
    status
        What its `ExitCode` amounts to as the exit status of a program.
    restarts
        How often it was requeued.
    submitted
        When [s since the epoch]; a requeued job may have a new time.
    session
        The number of the session in which `sbatch` was called.
    user
        Number of the user.
    folder
        The job's working directory.
    text
        All that Slurm says of it, in a line.
    """

    ids: tuple[int, ...]
    state: str
    status: int
    restarts: int
    submitted: float | None
    session: int | None
    user: int | None
    folder: str
    text: str


class Outcome(NamedTuple):
    """The state of a job with all its records; the exit status is `None` until all have ended."""

    state: str
    status: int | None


def parse_jobs(text: str) -> list[Record]:
    """Read the output of `scontrol show job`, for one job or for many."""
    return [_record(piece) for piece in _pieces(text)]


def parse_accounts(text: str) -> list[Record]:
    """Read lines `ID|STATE|EXIT:SIGNAL|SUBMITTED|FOLDER` as `sacct` writes them; other lines are left out.

    Its states may say more, such as `CANCELLED by 1000`. It does not tell whether a job was requeued, so any may be.
    """
    rows = [line.split("|", 4) for line in text.splitlines()]
    return [_account(*row) for row in rows if len(row) == 5 and row[0][:1].isdecimal()]


def _account(job: str, state: str, code: str, submitted: str, folder: str) -> Record:
    return Record(
        ids=tuple(int(number) for number in re.findall(r"^\d+", job)),
        state=state.partition(" ")[0],
        status=exit_status(code),
        restarts=1,
        submitted=_time(submitted),
        session=None,
        user=None,
        folder=folder,
        text="|".join((job, state, code, submitted, folder)),
    )


def _pieces(text: str) -> Iterator[str]:
    """Split at the lines that begin a job; any other line goes on with the job before it."""
    lines: list[str] = []
    for line in text.splitlines():
        if re.match(r"JobId=\d+(\s|$)", line):
            if lines:
                yield " ".join(lines)
            lines = []
        elif not lines:
            continue
        lines.append(line.strip())
    if lines:
        yield " ".join(lines)


def _record(text: str) -> Record:
    head, _, tail = text.partition(" JobName=")
    # The name ends where the user begins; whatever looks like a key before that is part of the name.
    body = tail[max(tail.find(" UserId="), 0) :] if tail else text
    ids = re.findall(r"(?:^|\s)(?:JobId|ArrayJobId|HetJobId|PackJobId)=(\d+)", head)
    folder = re.search(r"\sWorkDir=(.*?)(?=\s+\w+=|\s*$)", body)
    user = re.search(r"\((\d+)\)", _value(body, "UserId"))
    return Record(
        ids=tuple(int(number) for number in ids),
        state=_value(body, "JobState"),
        status=exit_status(_value(body, "ExitCode")),
        restarts=_number(_value(body, "Restarts")) or 0,
        submitted=_time(_value(body, "SubmitTime")),
        session=_number(_value(body, "AllocNode:Sid").rpartition(":")[2]),
        user=int(user[1]) if user else None,
        folder=folder[1] if folder else "",
        text=text,
    )


def _value(text: str, key: str) -> str:
    found = re.search(rf"(?:^|\s){key}=(\S*)", text)
    return found[1] if found else ""


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _time(text: str) -> float | None:
    """Read a time: seconds, as `SLURM_TIME_FORMAT=%s` asks for, or the standard format in local time."""
    try:
        return float(text) if text.isdecimal() else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def exit_status(code: str) -> int:
    """Make the exit status of a program of Slurm's `EXIT:SIGNAL`, as a shell does."""
    exit_code, _, signal = code.partition(":")
    if number := _number(signal):
        return 128 + (number & 0x7F)
    return min(_number(exit_code) or 0, 255)


def has_ended(state: str) -> bool:
    """Whether a job in this state will not go on; false for a state that is not known."""
    words = re.findall(r"[A-Z_]+", state)
    return bool(words) and _ENDED.issuperset(words)


def status_of(state: str, status: int) -> int:
    """Return the exit status for a state that ended; only `COMPLETED` can be a success."""
    return status or (0 if state == "COMPLETED" else 1)


def of_job(records: Iterable[Record], number: int) -> list[Record]:
    """Return the records of one job: several for a job array or a heterogeneous job."""
    return [record for record in records if number in record.ids]


def outcome(records: Iterable[Record]) -> Outcome:
    """Sum up the records of one job: finished when all have ended, the worst exit status counts."""
    records = list(records)
    going = [record.state for record in records if not has_ended(record.state)]
    if going:
        return Outcome("RUNNING" if "RUNNING" in going else going[0], None)
    worst = max(records, key=lambda record: status_of(record.state, record.status))
    return Outcome(worst.state, status_of(worst.state, worst.status))


def parse_submitted(text: str) -> tuple[int, str | None] | None:
    """Read what `sbatch --parsable` writes, `ID` or `ID;CLUSTER`: number and cluster, or nothing for another text."""
    found = _SUBMITTED.fullmatch(text)
    return (int(found[1]), found[2]) if found else None
