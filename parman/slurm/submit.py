# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Submitting the job of a directory, once: whoever calls again finds the job, also after everything went down.

All of it happens under the lock of the directory, which `sbatch` holds, too. What a call finds there:

    log with a number           the job was submitted
    no marker                   nothing was submitted: submit
    marker without a session    `sbatch` was not started: submit
    marker with a number        submitted, and stopped before the log was written: write it
    marker with a session       `sbatch` was started, and stopped: ask Slurm for the job with this marker
        found                   write the log
        not found               unknown. Not submitted again, since the job may be gone already, or still come

The marker, `sbatchwait.mark`, is written before `sbatch` runs: a name that exists once in the world, the time, the
directory and, as `sbatch` is about to be started in a session of its own, the number of that session. What `sbatch`
writes goes to the end of the same file, so that it is there even if nobody is left to read it. When the log has the
job's number, the file is renamed to `sbatchwait.job`. So a marker that is still there tells of a submission whose end
is not known, and whoever deletes the log to submit a job again needs to know nothing of markers.

A job carries the name of the marker in its comment, and `scontrol` shows that. But an option of the command line hides
the one in the script, so the user's own comments come first. The session needs no option: Slurm notes it with each
job, as `AllocNode:Sid`. Since its number comes again one day, directory and time have to fit, too.
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .log import Log, sync_folder
from .program import ExitCode, ProgramExit, locked, say, warn
from .scontrol import AnswerCache, JobRecord, parse_jobs, parse_submitted, show_jobs

__all__ = [
    "CLOCK_SKEW",
    "Files",
    "SubmissionMarker",
    "comment_option",
    "is_same_folder",
    "read_marker",
    "submit_once",
    "write_marker",
]

CLOCK_SKEW = 300.0
"""By how much the clocks of a cluster may differ [s]; with more, its credentials are not accepted."""
_LOST_ANSWER = re.compile(rb"timed out|zero bytes|(send|receive|shutdown) failure|reset by peer|broken pipe", re.I)
"""What `sbatch` says when the controller may have taken the job all the same."""


class Files(NamedTuple):
    """Every file of a directory in which a job was submitted.

    Attributes
    ----------
    log
        What the user reads, and what makes the next call wait instead of submit.
    lock
        Held while a job is submitted, and while the log is written.
    marker
        There while a submission is under way, or when its end is not known.
    job
        What the marker becomes when the log has the job's number.
    """

    log: Path
    lock: Path
    marker: Path
    job: Path

    @classmethod
    def of(cls, folder: Path) -> Files:
        """Name the files of a directory."""
        return cls(*(folder / f"sbatchwait.{suffix}" for suffix in ("log", "lock", "mark", "job")))


def submit_once(files: Files, args: Sequence[str]) -> Log:
    """Submit the job unless that was done before; return the log, which has its number."""
    log = Log(files.log)
    if log.submitted is not None and log.status is not None:
        return log
    try:
        with locked(files.lock) as lock:
            assert lock is not None
            log.read()
            if log.submitted is None:
                job = _find_or_submit(files, log, args, lock)
                try:
                    log.add(f"Submitted {job}")
                except OSError as error:
                    raise ProgramExit(
                        ExitCode.TROUBLE,
                        f"job {job} is submitted, but can't write {log.path}: {error.strerror}."
                        " Mend that and call again.",
                    ) from None
            if files.marker.exists():
                files.marker.replace(files.job)
            return log
    except OSError as error:
        place = error.filename or files.log.parent.absolute()
        raise ProgramExit(ExitCode.TROUBLE, f"can't write {place}: {error.strerror}") from None


def _find_or_submit(files: Files, log: Log, args: Sequence[str], lock: int) -> str:
    marker = read_marker(files.marker)
    if marker is None and log.cut_off:
        raise ProgramExit(
            ExitCode.UNKNOWN,
            f"the line of {files.log} that should name the job is cut off, so one may have been submitted."
            " Look for it with squeue and complete the line; or delete the file to submit the job (again).",
        )
    if marker is None or marker.session is None:
        return _submit(files, args, lock)
    job = marker.submitted or _look_for(marker, args)
    say(f"found job {job}, which was submitted before")
    return job


def _submit(files: Files, args: Sequence[str], lock: int) -> str:
    AnswerCache(None, 0.0).prepare()
    written = write_marker(files.marker)
    code, errors = _run(files.marker, ["sbatch", "--parsable", *comment_option(written, args), *args], lock)
    marker = read_marker(files.marker) or written
    if marker.submitted:
        say(f"submitted job {marker.submitted}")
        return marker.submitted
    if code > 0 and not _LOST_ANSWER.search(errors):
        files.marker.unlink()
        raise ProgramExit(code, f"sbatch failed with exit status {code}; nothing was submitted")
    warn(f"sbatch ended with status {code} and named no job; looking whether there is one")
    try:
        return _look_for(marker, args)
    except ProgramExit as end:
        status = code if code >= 0 else 128 - code
        raise ProgramExit(status or ExitCode.UNKNOWN, end.message) from None


def _run(path: Path, command: Sequence[str], lock: int) -> tuple[int, bytes]:
    """Run `sbatch`, which writes to the marker, in a session of its own: it is not killed with this program."""
    with path.open("ab", buffering=0) as output, os.fdopen(os.memfd_create("sbatch"), "w+b") as errors:

        def begin() -> None:
            # In the child, just before `sbatch` starts, so that the marker tells whether it may have started.
            os.write(output.fileno(), f"session {os.getpid()}\n".encode())
            os.fsync(output.fileno())

        try:
            process = subprocess.Popen(
                command, stdout=output, stderr=errors, pass_fds=(lock,), start_new_session=True, preexec_fn=begin
            )
        except (OSError, subprocess.SubprocessError) as error:
            path.unlink()
            reason = error.strerror if isinstance(error, OSError) else f"can't write {path}"
            raise ProgramExit(ExitCode.NOT_FOUND, f"can't run sbatch: {reason}; nothing was submitted") from None
        code = process.wait()
        errors.seek(0)
        text = errors.read()
    for line in text.decode(errors="replace").splitlines():
        warn(line)
    return code, text


def _look_for(marker: SubmissionMarker, args: Sequence[str]) -> str:
    """Ask Slurm for the job that bears the marker."""
    for cluster in _clusters(args):
        answer = show_jobs(cluster)
        if answer.failed:
            raise ProgramExit(
                ExitCode.UNKNOWN,
                "a job may have been submitted here before, and Slurm can't be asked for it now:"
                f" {answer.text.strip()}. Call again later.",
            )
        found = [record for record in parse_jobs(answer.text) if marker.is_on(record)]
        if found:
            # That of an array or heterogeneous job, which all its records have.
            number = min(min(record.ids) for record in found)
            return f"{number};{cluster}" if cluster else str(number)
    raise ProgramExit(
        ExitCode.UNKNOWN,
        "a submission was begun here and not finished, and Slurm does not know its job (any more), so it is not"
        " submitted again. If you are sure that there is no such job (squeue), delete sbatchwait.mark and call again.",
    )


def _clusters(args: Sequence[str]) -> list[str | None]:
    """Return the clusters that the job may have gone to; without one, `scontrol` knows by itself."""
    names = os.environ.get("SBATCH_CLUSTERS", "")
    for number, arg in enumerate(args):
        if arg in ("-M", "--clusters", "--cluster") and number + 1 < len(args):
            names = args[number + 1]
        elif found := re.match(r"(?:-M|--clusters?=)(.+)", arg):
            names = found[1]
    return [name for name in names.split(",") if re.fullmatch(r"[\w.-]+", name)] or [None]


# --- the marker ---

_FIRST_LINE = "Parman sbatch wait mark format version 1"
_END = "\n"


class SubmissionMarker(NamedTuple):
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

    def is_on(self, record: JobRecord) -> bool:
        """Tell whether a job bears this marker."""
        if self.name and self.name in record.text:
            return True
        if self.session is None or record.session != self.session or record.submitted is None:
            return False
        return record.submitted >= self.time - CLOCK_SKEW and is_same_folder(record.folder, self.folder)


def is_same_folder(one: str, other: str) -> bool:
    """Tell whether two paths name the same directory, perhaps by way of symbolic links."""
    return bool(one) and os.path.realpath(one) == os.path.realpath(other)


def write_marker(path: Path) -> SubmissionMarker:
    """Make a marker, which is on the disk when this returns."""
    folder, now = str(path.parent.absolute()), datetime.now().astimezone()
    marker = SubmissionMarker(f"parman-{uuid.uuid4().hex}", now.timestamp(), folder)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", errors="surrogateescape") as file:
        file.write(f"{_FIRST_LINE}\nmark {marker.name}\ntime {now.isoformat()}\nfolder {folder.replace(_END, ' ')}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)
    return marker


def read_marker(path: Path) -> SubmissionMarker | None:
    """Read a marker; lines that are not whole, or not understood, don't count."""
    try:
        lines = path.read_bytes().decode(errors="surrogateescape").split("\n")[:-1]
    except FileNotFoundError:
        return None
    pairs = dict(line.partition(" ")[::2] for line in reversed(lines))
    failed = [line.split()[1:] for line in lines if re.fullmatch(r"failed \d+ \d+", line)]
    session = pairs.get("session", "")
    try:
        time = datetime.fromisoformat(pairs.get("time", "")).timestamp()
    except ValueError:
        time = 0.0
    return SubmissionMarker(
        pairs.get("mark", ""),
        time,
        pairs.get("folder", ""),
        int(session) if session.isdecimal() else None,
        next((line.strip() for line in reversed(lines) if parse_submitted(line.strip())), None),
        {int(number): int(status) for number, status in failed},
    )


def comment_option(marker: SubmissionMarker, args: Sequence[str]) -> list[str]:
    """Return the option that gives the marker to the job: none if the user may have set a comment, or in doubt."""
    if any(arg.startswith("--com") for arg in args):
        return []
    wrapped = any(arg.startswith("--wr") for arg in args)
    texts = [_beginning(arg) for arg in args if Path(arg).is_file()]
    if not (texts or wrapped) or any(re.search(rb"^#SBATCH.*--com", text, re.MULTILINE) for text in texts):
        return []
    return [f"--comment={marker.name}"]


def _beginning(path: str) -> bytes:
    """Return the beginning of a script; one that can't be read may have a comment."""
    try:
        with Path(path).open("rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b"#SBATCH --comment"
