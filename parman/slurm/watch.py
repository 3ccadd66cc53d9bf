# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Finding the job of a directory in what Slurm says, until it has ended or is gone."""

from __future__ import annotations

from collections.abc import Sequence

from .log import Log
from .program import ExitCode, ProgramExit, say, warn
from .scontrol import Answer, AnswerCache, JobRecord, of_job, parse_jobs, sacct, show_jobs
from .submit import CLOCK_SKEW, SubmissionMarker, is_same_folder

__all__ = ["SlurmJob", "Watcher"]


class SlurmJob:
    """The job of this directory, as it was submitted.

    Parameters
    ----------
    log
        With the number of the job.
    marker
        What is left of the submission, if anything is.
    """

    def __init__(self, log: Log, marker: SubmissionMarker | None) -> None:
        assert log.submitted is not None
        self.number, self.cluster = log.submitted
        self._logged = log.entries[0].time
        self._marker = marker
        self._folder = marker.folder if marker and marker.folder else str(log.path.parent.absolute())

    def __str__(self) -> str:
        return f"{self.number};{self.cluster}" if self.cluster else str(self.number)

    def among(self, records: Sequence[JobRecord]) -> list[JobRecord]:
        """Return the records of the job, but not of another that was given the same number."""
        return [record for record in of_job(records, self.number) if self._is_ours(record)]

    def _is_ours(self, record: JobRecord) -> bool:
        marker = self._marker
        if marker and marker.is_on(record):
            return True
        if record.submitted is None or self._logged is None:
            return True
        earliest = min(marker.time, self._logged) if marker and marker.time else self._logged
        if earliest - CLOCK_SKEW <= record.submitted <= self._logged + CLOCK_SKEW:
            return True
        # A requeued job has the time of that.
        return record.restarts > 0 and is_same_folder(record.folder, self._folder)


class Watcher:
    """Asks for the records of a job.

    A job that an answer lacks may have been submitted after the question. Two answers later than the one that was
    there in the beginning can't both be that old. Then the watcher asks for this one job, and only what `scontrol`
    does not know now is gone. How it ended may still stand in the accounts.

    Parameters
    ----------
    job
        The job.
    cache
        Gives the answers.
    """

    def __init__(self, job: SlurmJob, cache: AnswerCache) -> None:
        self._job = job
        self._cache = cache
        first = cache.peek()
        self._seen = {first.token} if first else set()
        self._misses = 0
        self._is_in_trouble = False

    def poll(self) -> list[JobRecord]:
        """Return what is known of the job now, which may be nothing."""
        try:
            answer = self._cache.read()
        except OSError as error:
            self._tell_trouble(f"can't use {error.filename}: {error.strerror}")
            return []
        if answer is None:
            return []
        if answer.failed:
            self._tell_failure(answer)
            return []
        if self._is_in_trouble:
            say("scontrol answers again")
            self._is_in_trouble = False
        if records := self._job.among(parse_jobs(answer.text)):
            self._misses = 0
            return records
        if answer.token not in self._seen:
            self._seen.add(answer.token)
            self._misses += 1
        return self._ask_for_this_job() if self._misses >= 2 else []

    def _ask_for_this_job(self) -> list[JobRecord]:
        self._misses = 0
        answer = show_jobs(self._job.cluster, self._job.number)
        if answer.failed and "invalid job id" not in answer.text.lower():
            self._tell_failure(answer)
            return []
        records = [] if answer.failed else self._job.among(parse_jobs(answer.text))
        records = records or self._job.among(sacct(self._job.cluster, self._job.number))
        if not records:
            other = "" if answer.failed else " (a later job has the same number)"
            raise ProgramExit(
                ExitCode.UNKNOWN,
                f"Slurm does not know job {self._job} any more{other}; how it ended is unknown. It is not submitted"
                " again. To do so: delete sbatchwait.log and call again.",
            )
        return records

    def _tell_failure(self, answer: Answer) -> None:
        self._tell_trouble(f"scontrol failed: {' '.join(answer.text.split())}")

    def _tell_trouble(self, text: str) -> None:
        if not self._is_in_trouble:
            warn(f"{text}. Going on to ask for job {self._job}")
        self._is_in_trouble = True
