# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The program `parman-sbatch-wait`: submit a job to Slurm once, and wait until it has ended.

It is meant for scripts of template jobs. All that it knows is in files, so that it can be killed at any time; started
again in the same directory it goes on waiting.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from .log import Log
from .program import ExitCode, ProgramExit, locked, say, warn
from .scontrol import AnswerCache, JobRecord, JobSummary, has_ended, status_of, summarize
from .submit import Files, read_marker, submit_once
from .watch import SlurmJob, Watcher

__all__ = ["Reporter", "Settings", "main"]

_HELP = """usage: parman-sbatch-wait ARGS...

Submit a job with `sbatch --parsable ARGS...` and wait until it has ended. The exit status is the job's own.
Called again in the same directory, it does not submit but goes on waiting. What it knows is in sbatchwait.log.

exit status
  0         the job has ended as COMPLETED
  N, 128+N  its script has ended with status N, or by signal N; 1 for ends without a status of their own
  75        what became of the job can't be found out; a later call may ask again
  2         something else is wrong and has to be mended first, as it says
  127       there is no sbatch
  any       sbatch has failed with this status

environment variables
  PARMAN_SBATCH_CACHE_TIMEOUT      least time between two calls of scontrol, for all jobs of a user [s] (30)
  PARMAN_SBATCH_POLLING_INTERVAL   least time between two looks at what scontrol said [s] (10)
  PARMAN_SBATCH_TIME_MARGIN        a random time up to this is added to it [s] (5)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    argv
        The arguments, by default those of the command line.

    Returns
    -------
    int
        The exit status.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] in (["-h"], ["--help"]):
        sys.stdout.write(_HELP)
        return 0
    try:
        with _signals_raise():
            return _submit_and_wait(args)
    except ProgramExit as end:
        warn(end.message)
        return int(end.code)
    except StoppedBySignal as stopped:
        warn(f"stopped by {signal.Signals(stopped.number).name}; a job that was submitted goes on")
        return 128 + stopped.number


def _submit_and_wait(args: Sequence[str]) -> int:
    settings = Settings.from_environment()
    files = Files.of(Path())
    log = submit_once(files, args)
    if log.status is not None:
        say(f"job {log.entries[0].text.partition(' ')[2]} ended as {log.state} before")
        return log.status
    marker = read_marker(files.job)
    job = SlurmJob(log, marker)
    say(f"waiting for job {job}")
    watcher = Watcher(job, AnswerCache(job.cluster, settings.cache_timeout))
    reporter = Reporter(job, files, log, dict(marker.failed) if marker else {})
    while True:
        records = watcher.poll()
        status = reporter.report(records) if records else None
        if status is not None:
            say(f"job {job} ended with exit status {status}")
            return status
        settings.sleep()


class Settings(NamedTuple):
    """Times of waiting [s]."""

    cache_timeout: float
    polling_interval: float
    time_margin: float

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the environment variables."""
        return cls(
            _seconds("PARMAN_SBATCH_CACHE_TIMEOUT", "30", least=0.0),
            _seconds("PARMAN_SBATCH_POLLING_INTERVAL", "10", least=0.001),
            _seconds("PARMAN_SBATCH_TIME_MARGIN", "5", least=0.0),
        )

    def sleep(self) -> None:
        """Sleep for a random time, so that many programs don't look all at once."""
        time.sleep(random.uniform(self.polling_interval, self.polling_interval + self.time_margin))


def _seconds(name: str, default: str, least: float) -> float:
    text = os.environ.get(name, default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= 1e6:
        raise ProgramExit(
            ExitCode.TROUBLE, f"{name} should be a number of seconds from {least:g} to 1000000, not {text!r}"
        )
    return value


class Reporter:
    """Tells the log and the user what becomes of a job.

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

    def __init__(self, job: SlurmJob, files: Files, log: Log, failed: dict[int, int]) -> None:
        self._job = job
        self._files = files
        self._log = log
        self._failed = failed
        self._is_log_failing = False

    def report(self, records: Sequence[JobRecord]) -> int | None:
        """Log the state if it has changed; return the job's exit status if it has ended."""
        now = summarize(records)
        if now.status is None:
            self._remember_failures(records)
        else:
            known = {record.ids[0] for record in records}
            forgotten = max((status for number, status in self._failed.items() if number not in known), default=0)
            if forgotten > now.status:
                now = JobSummary("FAILED", forgotten)
        if now.state != self._log.state:
            self._log_state(now)
        return now.status

    def _remember_failures(self, records: Sequence[JobRecord]) -> None:
        for record in records:
            status = status_of(record.state, record.status) if has_ended(record.state) else 0
            if status and record.ids[0] not in self._failed:
                self._failed[record.ids[0]] = status
                with contextlib.suppress(OSError), self._files.job.open("a") as file:
                    file.write(f"failed {record.ids[0]} {status}\n")

    def _log_state(self, now: JobSummary) -> None:
        try:
            with locked(self._files.lock):
                self._log.add(*([f"Exit {now.status}"] if now.status else []), now.state)
        except OSError as error:
            if not self._is_log_failing:
                warn(f"can't write {self._log.path}: {error.strerror}. Going on without")
            self._is_log_failing = True
        else:
            say(f"job {self._job} is {now.state}")


class StoppedBySignal(BaseException):
    """A signal asks the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Let signals that ask the program to end raise `StoppedBySignal`, once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise StoppedBySignal(number)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
