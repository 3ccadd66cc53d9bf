# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What becomes of a job, as the log and the user are told.

The program `parman-sbatch-wait`: submit a job to Slurm once, and wait until it has ended.

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
from .program import Ending, Status, locked, say, warn
from .scontrol import Outcome, Record, SharedAnswer, has_ended, outcome, status_of
from .submit import Files, read_mark, submit_once
from .watch import Job, Watch

__all__ = ["Story", "main"]


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

    def wait(self) -> None:
        """Wait for a random time, so that many programs don't look all at once."""
        time.sleep(random.uniform(self.polling_interval, self.polling_interval + self.time_margin))


def _seconds(name: str, default: str, least: float) -> float:
    text = os.environ.get(name, default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= 1e6:
        raise Ending(Status.TROUBLE, f"{name} should be a number of seconds from {least:g} to 1000000, not {text!r}")
    return value


class Stopped(BaseException):
    """A signal asks the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
    """Let signals that ask the program to end raise `Stopped`, once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

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


def _submit_and_wait(args: Sequence[str]) -> int:
    settings = Settings.from_environment()
    files = Files.of(Path())
    log = submit_once(files, args)
    if log.status is not None:
        say(f"job {log.steps[0].text.partition(' ')[2]} ended as {log.state} before")
        return log.status
    mark = read_mark(files.job)
    job = Job(log, mark)
    say(f"waiting for job {job}")
    watch = Watch(job, SharedAnswer(job.cluster, settings.cache_timeout))
    story = Story(job, files, log, dict(mark.failed) if mark else {})
    while True:
        records = watch.look()
        status = story.tell(records) if records else None
        if status is not None:
            say(f"job {job} ended with exit status {status}")
            return status
        settings.wait()


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
        with _stopping():
            return _submit_and_wait(args)
    except Ending as ending:
        warn(ending.message)
        return int(ending.status)
    except Stopped as stopped:
        warn(f"stopped by {signal.Signals(stopped.number).name}; a job that was submitted goes on")
        return 128 + stopped.number
