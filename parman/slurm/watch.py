# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Finding the job of a directory in what Slurm says, until it has ended or is gone."""

from __future__ import annotations

from collections.abc import Sequence

from .log import Log
from .program import Ending, Status, say, warn
from .scontrol import Record, SharedAnswer, ask, ask_accounts, of_job, parse_jobs
from .submit import CLOCKS, Mark, found_by, same_folder

__all__ = ["Job", "Watch"]


class Job:
    """The job of this directory, as it was submitted.

    Parameters
    ----------
    log
        With the number of the job.
    mark
        What the submission left, if anything is left of it.
    """

    def __init__(self, log: Log, mark: Mark | None) -> None:
        assert log.submitted is not None
        self.number, self.cluster = log.submitted
        self._logged = log.steps[0].time
        self._mark = mark
        self.folder = mark.folder if mark and mark.folder else str(log.path.parent.absolute())

    def among(self, records: Sequence[Record]) -> list[Record]:
        """Return the records of the job, but not of another that was given the same number."""
        return [record for record in of_job(records, self.number) if self._is_ours(record)]

    def _is_ours(self, record: Record) -> bool:
        if self._mark and found_by(self._mark, [record]):
            return True
        if record.submitted is None or self._logged is None:
            return True
        earliest = min(self._mark.time, self._logged) if self._mark and self._mark.time else self._logged
        if earliest - CLOCKS <= record.submitted <= self._logged + CLOCKS:
            return True
        # A requeued job has the time of that.
        return record.restarts > 0 and same_folder(record.folder, self.folder)

    def __str__(self) -> str:
        return f"{self.number};{self.cluster}" if self.cluster else str(self.number)


class Watch:
    """Asks for the records of a job.

    A job that an answer lacks may have been submitted after the question. Two answers later than the one that was
    there in the beginning can't both be that old. Then this one job is asked for, and only what `scontrol` does not
    know now is gone. How it ended may still stand in the accounts.

    Parameters
    ----------
    job
        The job.
    cache
        Gives the answers.
    """

    def __init__(self, job: Job, cache: SharedAnswer) -> None:
        self._job = job
        self._cache = cache
        first = cache.peek()
        self._seen = {first.token} if first else set()
        self._misses = 0
        self._trouble = False

    def look(self) -> list[Record]:
        """Return what is known of the job now, which may be nothing."""
        try:
            answer = self._cache.read()
        except OSError as error:
            self._tell_trouble(f"can't use {error.filename}: {error.strerror}")
            return []
        if answer is None:
            return []
        if answer.failed:
            self._tell_trouble(f"scontrol failed: {' '.join(answer.text.split())}")
            return []
        self._tell_end_of_trouble()
        if records := self._job.among(parse_jobs(answer.text)):
            self._misses = 0
            return records
        if answer.token not in self._seen:
            self._seen.add(answer.token)
            self._misses += 1
        return self._look_closer() if self._misses >= 2 else []

    def _look_closer(self) -> list[Record]:
        self._misses = 0
        answer = ask(self._job.cluster, self._job.number)
        if answer.failed and "invalid job id" not in answer.text.lower():
            self._tell_trouble(f"scontrol failed: {' '.join(answer.text.split())}")
            return []
        records = [] if answer.failed else self._job.among(parse_jobs(answer.text))
        records = records or self._job.among(ask_accounts(self._job.cluster, self._job.number))
        if not records:
            other = "" if answer.failed else " (a later job has the same number)"
            raise Ending(
                Status.UNKNOWN,
                f"Slurm does not know job {self._job} any more{other}; how it ended is unknown. It is not submitted"
                " again. To do so: delete sbatchwait.log and call again.",
            )
        return records

    def _tell_trouble(self, text: str) -> None:
        if not self._trouble:
            warn(f"{text}. Going on to ask for job {self._job}")
        self._trouble = True

    def _tell_end_of_trouble(self) -> None:
        if self._trouble:
            say("scontrol answers again")
        self._trouble = False
