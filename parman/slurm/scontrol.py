# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What Slurm says of jobs: asking it, keeping the answer for all programs of a user, and reading it.

    AnswerCache.read ──▶ show_jobs, at most once per timeout ──▶ scontrol show job
            │
            ▼ Answer
       parse_jobs ──▶ JobRecord ... ──▶ of_job ──▶ summarize ──▶ JobSummary

The newest answer is in a file, and beside it is a lock. Whoever holds the lock may ask again when the answer is older
than the timeout. The others don't wait: they use what is there. A failed call is an answer, too, and is not repeated
sooner.

How old the answer is comes from the file's time of modification, compared with that of the lock, which has just been
touched: both are times of the same file server, whatever the clocks of the machines say. After a jump of that clock
the age makes no sense and the answer counts as old, once. In addition no program asks twice within the timeout by
its own monotonic clock, so that even a clock which jumps all the time makes no storm. The first line of the file is
that of Parman 0.4, whose programs may share it.

`scontrol` writes `Key=value` pairs, one job a line with `--oneliner`, else a paragraph; both are read. Names and
comments of users may hold anything, so the few keys that are needed are looked for behind the job's name. What
`scontrol` has forgotten may be in the accounts, which `sacct` reads.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from .program import locked

__all__ = [
    "Answer",
    "AnswerCache",
    "JobRecord",
    "JobSummary",
    "exit_status",
    "has_ended",
    "of_job",
    "parse_jobs",
    "parse_submitted",
    "sacct",
    "show_jobs",
    "status_of",
    "summarize",
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

_CALL_LIMIT = 120.0
"""After how long a call is given up [s]. A controller that is away is noticed by `scontrol` after some 20 s."""
_LONGEST_ASKING = 2 * _CALL_LIMIT
"""For how long others may hold the lock of the cache [s]: longer than a call can last."""


class JobRecord(NamedTuple):
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
        How often it was put into the queue again.
    submitted
        When [s since the epoch]; a requeued job may have a new time.
    session
        The number of the session in which `sbatch` was called.
    user
        The number of the user.
    folder
        The job's working directory.
    text
        All that Slurm says of it, in one line.
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


class JobSummary(NamedTuple):
    """The state of a job with all its records; the exit status is `None` until all have ended."""

    state: str
    status: int | None


class Answer(NamedTuple):
    """What `scontrol` said.

    Attributes
    ----------
    token
        Another for each call.
    failed
        The call ended with an error, whose text this is.
    text
        Without the jobs of other users.
    """

    token: int
    failed: bool
    text: str


class AnswerCache:
    """The newest answer about all jobs of the user on one cluster, in a file that the user's programs share.

    Parameters
    ----------
    cluster
        Its name, unless it is the one that `scontrol` asks by itself.
    timeout
        The least time between two calls [s].
    """

    def __init__(self, cluster: str | None, timeout: float) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._path = Path.home() / ".cache" / "parman" / f"sbatch_wait{f'.{cluster}' if cluster else ''}.out"
        self._lock = self._path.with_suffix(".lock")
        self._last_asked = -float("inf")
        self._busy_since: float | None = None
        self._unshared: Answer | None = None

    def prepare(self) -> None:
        """Make the directory and the lock; raises `OSError` where that can't be."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.touch()

    def peek(self) -> Answer | None:
        """Return what is there, however old."""
        try:
            return self._load()[0]
        except OSError:
            return None

    def read(self) -> Answer | None:
        """Return an answer no older than the timeout, or an older one (or none) while another program asks."""
        self.prepare()
        with locked(self._lock, wait=False) as lock:
            answer, modified = self._load()
            age = self._lock.stat().st_mtime - modified
            if lock is not None or 0 <= age < self._timeout:
                self._busy_since = None
            if time.monotonic() < self._last_asked + self._timeout and (self._unshared or answer):
                return self._unshared or answer
            if 0 <= age < self._timeout or (lock is None and self._others_ask()):
                return answer
            return self._ask_anew(share=lock is not None)

    def _others_ask(self) -> bool:
        """Tell whether another program may still be asking; one that holds the lock for longer has been stopped."""
        now = time.monotonic()
        if self._busy_since is None:
            self._busy_since = now
        return now < self._busy_since + self._timeout + _LONGEST_ASKING

    def _load(self) -> tuple[Answer | None, float]:
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                head, _, body = file.read().decode(errors="replace").partition("\n")
        except FileNotFoundError:
            return None, -float("inf")
        code = re.fullmatch(r"v1 datetime=\S+ returncode=([+-]\d+)", head)
        if not code:
            return None, -float("inf")
        return Answer(status.st_mtime_ns, int(code[1]) != 0, body), status.st_mtime

    def _ask_anew(self, share: bool) -> Answer:
        answer = show_jobs(self._cluster)
        self._last_asked = time.monotonic()
        self._unshared = answer
        if share:
            self._store(answer)
            shared = self.peek()
            if shared is not None and shared.text == answer.text:
                self._unshared = None
                return shared
        return answer

    def _store(self, answer: Answer) -> None:
        temporary = self._path.with_suffix(".tmp")
        now = datetime.now().isoformat(timespec="microseconds")
        try:
            temporary.write_text(f"v1 datetime={now} returncode={int(answer.failed):+04d}\n{answer.text}")
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)  # a full disk: this program goes on by itself


# --- asking ---


def show_jobs(cluster: str | None, number: int | None = None) -> Answer:
    """Call `scontrol show job`, for one job or for all that this user has."""
    command = ["scontrol", "-o", *(["-M", cluster] if cluster else []), "show", "job"]
    code, text = _run([*command, *([] if number is None else [str(number)])])
    if code == 0 and number is None:  # leave out the jobs of others: a big cluster has tens of thousands
        text = "".join(f"{record.text}\n" for record in parse_jobs(text) if record.user in (None, os.getuid()))
    return Answer(time.monotonic_ns(), code != 0, text)


def sacct(cluster: str | None, number: int) -> list[JobRecord]:
    """Look a job up in the accounts, if the cluster keeps them; they know of jobs that ended long ago.

    Their states may say more, such as `CANCELLED by 1000`. They don't tell whether a job was requeued, so any may be.
    """
    command = ["sacct", "-n", "-P", "-X", *(["-M", cluster] if cluster else []), "-j", str(number)]
    code, text = _run([*command, "-o", "JobID,State,ExitCode,Submit,WorkDir"])
    rows = [] if code else [line.split("|", 4) for line in text.splitlines()]
    return [_account(*row) for row in rows if len(row) == 5 and row[0][:1].isdecimal()]


def _run(command: Sequence[str]) -> tuple[int, str]:
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_CALL_LIMIT, env=environment
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {_CALL_LIMIT:.0f} s"
    except OSError as error:
        return 127, f"can't run {command[0]}: {error.strerror}"
    return done.returncode, (done.stderr if done.returncode else done.stdout).decode(errors="replace")


# --- reading ---


def parse_jobs(text: str) -> list[JobRecord]:
    """Read the output of `scontrol show job`, for one job or for many."""
    return [_record(piece) for piece in _pieces(text)]


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


def _record(text: str) -> JobRecord:
    head, _, tail = text.partition(" JobName=")
    # The name ends where the user begins; whatever looks like a key before that is part of the name.
    body = tail[max(tail.find(" UserId="), 0) :] if tail else text
    ids = re.findall(r"(?:^|\s)(?:JobId|ArrayJobId|HetJobId|PackJobId)=(\d+)", head)
    folder = re.search(r"\sWorkDir=(.*?)(?=\s+\w+=|\s*$)", body)
    user = re.search(r"\((\d+)\)", _value(body, "UserId"))
    return JobRecord(
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


def _account(job: str, state: str, code: str, submitted: str, folder: str) -> JobRecord:
    return JobRecord(
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


def parse_submitted(text: str) -> tuple[int, str | None] | None:
    """Read what `sbatch --parsable` writes, `ID` or `ID;CLUSTER`: number and cluster, or nothing for another text."""
    found = re.fullmatch(r"(\d+)(?:;([A-Za-z0-9_.-]+))?", text)
    return (int(found[1]), found[2]) if found else None


# --- states ---


def of_job(records: Iterable[JobRecord], number: int) -> list[JobRecord]:
    """Return the records of one job: several for a job array or a heterogeneous job."""
    return [record for record in records if number in record.ids]


def summarize(records: Iterable[JobRecord]) -> JobSummary:
    """Sum up the records of one job: it has ended when all have, and then the worst exit status counts."""
    records = list(records)
    going = [record.state for record in records if not has_ended(record.state)]
    if going:
        return JobSummary("RUNNING" if "RUNNING" in going else going[0], None)
    worst = max(records, key=lambda record: status_of(record.state, record.status))
    return JobSummary(worst.state, status_of(worst.state, worst.status))


def has_ended(state: str) -> bool:
    """Tell whether a job in this state will not go on; false for a state that is not known."""
    words = re.findall(r"[A-Z_]+", state)
    return bool(words) and _ENDED.issuperset(words)


def status_of(state: str, status: int) -> int:
    """Return the exit status for a state that ended; only `COMPLETED` can be a success."""
    return status or (0 if state == "COMPLETED" else 1)


def exit_status(code: str) -> int:
    """Make the exit status of a program of Slurm's `EXIT:SIGNAL`, as a shell does."""
    exit_code, _, signal = code.partition(":")
    if number := _number(signal):
        return 128 + (number & 0x7F)
    return min(_number(exit_code) or 0, 255)
