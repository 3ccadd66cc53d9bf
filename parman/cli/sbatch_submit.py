# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Submitting the job of a directory, once.

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
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .endings import Ending, Status, say, warn
from .locks import locked
from .sbatch_cache import SharedAnswer
from .sbatch_log import Log
from .sbatch_mark import Mark, comment_option, found_by, read_mark, write_mark
from .scontrol import ask
from .slurm import parse_jobs

__all__ = ["Files", "submit_once"]

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
