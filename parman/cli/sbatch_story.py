# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What becomes of a job, as the log and the user are told."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from .endings import say, warn
from .locks import locked
from .sbatch_log import Log
from .sbatch_submit import Files
from .sbatch_watch import Job
from .slurm import Outcome, Record, has_ended, outcome, status_of

__all__ = ["Story"]


class Story:
    """What the log and the user are told of a job.

    Parameters
    ----------
    job
        The job.
    files
        The files of the directory.
    log
        The log so far.
    failed
        Array tasks that are known to have failed, with their exit statuses: Slurm forgets them before the others end.
    """

    def __init__(self, job: Job, files: Files, log: Log, failed: dict[int, int]) -> None:
        self._job = job
        self._files = files
        self._log = log
        self._failed = failed
        self._full = False

    def tell(self, records: Sequence[Record]) -> int | None:
        """Log the state if it has changed; returns the job's exit status if it has ended."""
        now = outcome(records)
        if now.status is None:
            self._remember(records)
        else:
            now = self._with_forgotten(now, records)
        if now.state != self._log.state:
            self._add(now)
        return now.status

    def _add(self, now: Outcome) -> None:
        steps = (f"Exit {now.status}", now.state) if now.status else (now.state,)
        if self._write(steps):
            say(f"job {self._job} is {now.state}")

    def _write(self, steps: tuple[str, ...]) -> bool:
        try:
            with locked(self._files.lock):
                self._log.add(*steps)
        except OSError as error:
            if not self._full:
                warn(f"can't write {self._log.path}: {error.strerror}. Going on without")
            self._full = True
            return False
        return True

    def _remember(self, records: Sequence[Record]) -> None:
        for record in records:
            status = status_of(record.state, record.status) if has_ended(record.state) else 0
            if status and record.ids[0] not in self._failed:
                self._failed[record.ids[0]] = status
                with contextlib.suppress(OSError), self._files.job.open("a") as file:
                    file.write(f"failed {record.ids[0]} {status}\n")

    def _with_forgotten(self, now: Outcome, records: Sequence[Record]) -> Outcome:
        known = {record.ids[0] for record in records}
        worst = max((status for number, status in self._failed.items() if number not in known), default=0)
        assert now.status is not None
        return Outcome("FAILED", worst) if worst > now.status else now
