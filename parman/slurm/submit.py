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

Submitting the job of a directory, once.

All of it happens under the lock of the directory, which `sbatch` holds, too. What a call finds there:

    log with a number           the job was submitted
    no mark                     nothing was submitted: submit
    mark without a session      `sbatch` was not started: submit
    mark with a number          submitted, and stopped before the log was written: write it
    mark with a session         `sbatch` was started, and stopped: ask Slurm for the job with this mark
        found                   write the log
        not found               unknown. Not submitted again, since the job may be gone already, or still come
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .log import Log, sync_folder
from .program import Ending, Status, locked, say, warn
from .scontrol import Record, SharedAnswer, ask, parse_jobs, parse_submitted

__all__ = [
    "CLOCKS",
    "Files",
    "Mark",
    "comment_option",
    "found_by",
    "read_mark",
    "same_folder",
    "submit_once",
    "write_mark",
]

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
    mark
        There while a submission is under way, or when its end is not known.
    job
        What the mark becomes when the log has the job's number.
    """

    log: Path
    lock: Path
    mark: Path
    job: Path

    @classmethod
    def of(cls, folder: Path) -> Files:
        """Name the files of a directory."""
        return cls(*(folder / f"sbatchwait.{suffix}" for suffix in ("log", "lock", "mark", "job")))


def submit_once(files: Files, args: Sequence[str]) -> Log:
    """Submit the job unless that was done before; returns the log, which has its number."""
    log = Log(files.log)
    if log.submitted is not None and log.status is not None:
        return log
    try:
        with locked(files.lock) as lock:
            assert lock is not None
            log.read()
            if log.submitted is None:
                _note(log, _find_or_submit(files, log, args, lock))
            if files.mark.exists():
                files.mark.replace(files.job)
            return log
    except OSError as error:
        place = error.filename or files.log.parent.absolute()
        raise Ending(Status.TROUBLE, f"can't write {place}: {error.strerror}") from None


def _note(log: Log, job: str) -> None:
    try:
        log.add(f"Submitted {job}")
    except OSError as error:
        raise Ending(
            Status.TROUBLE,
            f"job {job} is submitted, but can't write {log.path}: {error.strerror}. Mend that and call again.",
        ) from None


def _find_or_submit(files: Files, log: Log, args: Sequence[str], lock: int) -> str:
    mark = read_mark(files.mark)
    if mark is None and log.cut_off:
        raise Ending(
            Status.UNKNOWN,
            f"the line of {files.log} that should name the job is cut off, so one may have been submitted."
            " Look for it with squeue and complete the line; or delete the file to submit the job (again).",
        )
    if mark is None or mark.session is None:
        return _submit(files, args, lock)
    job = mark.submitted or _look_for(mark, args)
    say(f"found job {job}, which was submitted before")
    return job


def _look_for(mark: Mark, args: Sequence[str]) -> str:
    """Ask Slurm for the job with the mark."""
    for cluster in _clusters(args):
        answer = ask(cluster)
        if answer.failed:
            raise Ending(
                Status.UNKNOWN,
                "a job may have been submitted here before, and Slurm can't be asked for it now:"
                f" {answer.text.strip()}. Call again later.",
            )
        found = found_by(mark, parse_jobs(answer.text))
        if found:
            # That of an array or heterogeneous job, which all its records have.
            number = min(min(record.ids) for record in found)
            return f"{number};{cluster}" if cluster else str(number)
    raise Ending(
        Status.UNKNOWN,
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


def _submit(files: Files, args: Sequence[str], lock: int) -> str:
    SharedAnswer(None, 0.0).prepare()
    mark = write_mark(files.mark)
    command = ["sbatch", "--parsable", *comment_option(mark, args), *args]
    code, errors = _run(files.mark, command, lock)
    began = read_mark(files.mark)
    if began is not None and began.submitted:
        say(f"submitted job {began.submitted}")
        return began.submitted
    if code > 0 and not _LOST_ANSWER.search(errors):
        files.mark.unlink()
        raise Ending(code, f"sbatch failed with exit status {code}; nothing was submitted")
    warn(f"sbatch ended with status {code} and named no job; looking whether there is one")
    try:
        return _look_for(began or mark, args)
    except Ending as ending:
        status = code if code >= 0 else 128 - code
        raise Ending(status or Status.UNKNOWN, ending.message) from None


def _run(path: Path, command: Sequence[str], lock: int) -> tuple[int, bytes]:
    """Run `sbatch`, which writes to the mark, in a session of its own: it is not killed with this program."""
    with path.open("ab", buffering=0) as output, os.fdopen(os.memfd_create("sbatch"), "w+b") as errors:

        def begin() -> None:
            # In the child, just before `sbatch` starts, so that the mark tells whether it may have started.
            os.write(output.fileno(), f"session {os.getpid()}\n".encode())
            os.fsync(output.fileno())

        try:
            process = subprocess.Popen(
                command, stdout=output, stderr=errors, pass_fds=(lock,), start_new_session=True, preexec_fn=begin
            )
        except (OSError, subprocess.SubprocessError) as error:
            path.unlink()
            reason = error.strerror if isinstance(error, OSError) else f"can't write {path}"
            raise Ending(Status.NOT_FOUND, f"can't run sbatch: {reason}; nothing was submitted") from None
        code = process.wait()
        errors.seek(0)
        text = errors.read()
    for line in text.decode(errors="replace").splitlines():
        warn(line)
    return code, text
