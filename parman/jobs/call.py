# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a dry run looks at before a job is run: its files, its directory, other jobs in the same place.

One call of a job: what is found in its directory decides what happens.

    lock ─▶ state ─┬─ NEW, PREPARED ──────────────────────────▶ run
                   ├─ UNFINISHED, FAILED ─┬─ rerun ───────────▶ move aside, from the start
                   │                      ├─ can_resume ──────▶ run again in place (UNFINISHED: before rerun)
                   │                      └─ else ────────────▶ error
                   ├─ FINISHED ─┬─ nothing changed ───────────▶ load the result
                   │            ├─ rerun ─────────────────────▶ move aside, from the start
                   │            └─ else ──────────────────────▶ error
                   └─ BROKEN ─────────────────────────────────▶ error

Invariant: between the look at the state and the end of the script, the lock of the job's directory is held, by this
process or by the script. A job that has its result is read without the lock, since nothing changes there any more.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..annotations.markers import is_pending
from ..annotations.signature import Schema
from ..context import Site
from ..errors import ArgumentError, JobError, ParmanError
from ..lifecycle import Stop
from ..trees.nodes import Key, format_path
from ..trees.walk import walk
from .directory import Record, State
from .files import write_whole
from .jsonio import Arguments, dump, load_result
from .locking import Lock
from .run import Findings, Run
from .staging import check_locator, named
from .template import JobPlan

__all__ = ["Execution", "Rehearsal"]


class Rehearsal:
    """One call of a job in a dry run; its arguments have been checked, and may be wrong.

    Parameters
    ----------
    plan
        The template, the settings and the places.
    name
        The name of the job, for messages.
    arguments
        By name; they may hold futures.
    is_made
        Tells whether a value stands for what another call is going to make.
    """

    def __init__(self, plan: JobPlan, name: str, arguments: Mapping[str, Any], is_made: Callable[[Any], bool]) -> None:
        self._plan = plan
        self._name = name
        self._arguments = arguments
        self._is_made = is_made

    def problems(self, site: Site, seen: dict[Any, Any]) -> list[ParmanError]:
        """Return what is wrong; the directory of the job is noted among those that were seen."""
        found: list[ParmanError] = []
        home = self._home()
        if home is not None:
            found += self._directory_problems(home, site, seen)
        found += self._file_problems(seen)
        return found

    def _home(self) -> Path | None:
        """Return the directory of the job; None if it is still to come, or if the locator is a mistake."""
        locator = self._arguments.get("locator")
        if locator is None or is_pending(locator):
            return None
        try:
            return self._plan.staging.home(check_locator(locator))
        except (ArgumentError, JobError):
            return None

    def _directory_problems(self, home: Path, site: Site, seen: dict[Any, Any]) -> Iterator[ParmanError]:
        if home in seen:
            yield JobError(
                f"{self._name}(): the locator {str(self._arguments['locator'])!r} is that of the call at {seen[home]}, "
                "too; each job needs a directory of its own"
            )
        seen.setdefault(home, site)
        state = Record(home).state()
        again = state.name.lower() in self._plan.rerun or self._plan.template.can_resume
        if state is State.BROKEN or (state in (State.FAILED, State.UNFINISHED) and not again):
            yield JobError(
                f"{self._name}(): {home} {state.value}; remove it ('parman-clean-results {self._plan.staging.root}' "
                "removes all that did not finish)"
            )

    def _file_problems(self, seen: dict[Any, Any]) -> Iterator[ParmanError]:
        for steps, leaf in walk({name: value for name, value in self._arguments.items() if name != "locator"}):
            if not isinstance(leaf, Path) or self._is_made(leaf):
                continue
            source = Path(os.path.abspath(self._plan.here / leaf))  # noqa: PTH100 (links are left as they are)
            if not source.exists() and not any(parent in seen for parent in source.parents):
                first = steps[0]
                place = format_path(str(first.key) if isinstance(first, Key) else "", steps[1:])
                yield ArgumentError(
                    f"{self._name}(): argument {place} names the file {str(leaf)!r}, which is not there"
                )


logger = logging.getLogger("parman")


class Execution:
    """One call of a job.

    Parameters
    ----------
    plan
        The template, the settings and the places.
    schema
        What the template says of arguments and result.
    locator
        Where the results of the job live below the results root.
    kwargs
        All arguments of the mock by name.
    stop
        Asks to end the script, or to give up waiting.
    """

    def __init__(self, plan: JobPlan, schema: Schema, locator: object, kwargs: Mapping[str, Any], stop: Stop) -> None:
        self._plan = plan
        self._stop = stop
        self._home = plan.place(check_locator(locator))
        self._record = Record(self._home.path)
        self._arguments = Arguments(kwargs, self._home)
        self._form = schema.result_spec({"locator": locator, **kwargs}).tree

    def result(self) -> Any:
        """Return the result of the job; its script is run if it has none.

        Raises
        ------
        JobError
            What is in the directory does not allow to go on, or the script failed.
        Interrupted
            It was told to end.
        """
        try:
            return self._load() if self._look().is_complete else self._settle()
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            text = f"the job {self._home.locator} can't be run: {error.strerror or error}{where}"
            raise JobError(text) from error

    def _look(self) -> Findings:
        return Findings(self._record, self._arguments, self._plan.template)

    def _load(self) -> Any:
        return named(load_result(self._record.result, self._form, self._home.top), self._home)

    def _settle(self) -> Any:
        self._check_surroundings()
        while True:
            lock = self._take_lock()
            try:
                found = self._look()
                if not self._is_to_rerun(found):
                    return self._decide(found, lock)
                self._move_aside()
            finally:
                lock.release()

    # --- the directory ---

    def _check_surroundings(self) -> None:
        """Refuse a job inside of the directory of another one, with which it would be removed, or of its template."""
        template = self._plan.template.path
        if self._home.path.is_relative_to(os.path.realpath(template)):
            raise JobError(
                f"the job {self._home.locator} would be kept inside of its template {template}, all of which is copied "
                "for each job: choose another results root"
            )
        for parent in list(self._home.locator.parents)[:-1]:
            if Record(self._plan.staging.home(parent)).kwargs.exists():
                raise JobError(f"the job {self._home.locator} would be inside of the directory of the job {parent}")
        if self._record.state() is State.NEW:
            self._refuse_to_be_around()

    def _take_lock(self) -> Lock:
        while True:
            self._record.directory.mkdir(parents=True, exist_ok=True)
            lock = self._record.lock()
            try:
                lock.take(self._stop, self._tell_of_holder)
            except FileNotFoundError:  # the directory was moved aside or removed just now
                continue
            return lock

    def _tell_of_holder(self, holder: str) -> None:
        status = self._record.read_status()
        if status.directory is not None and (work := self._plan.staging.reopen(self._home, status.directory)):
            status = Record(work.path).read_status()
        is_running = status.script is not None and status.exit is None
        what = f"its script {status.script!r} is still running" if is_running else "another driver is at it"
        logger.warning("waiting for the job %s: %s (%s)", self._home.locator, what, holder)

    def _is_to_rerun(self, found: Findings) -> bool:
        """Tell whether the settings say that what was found is not to be used."""
        rerun = self._plan.rerun
        if found.state in (State.FAILED, State.UNFINISHED):
            resumes = found.state is State.UNFINISHED and self._plan.template.can_resume
            if found.state.name.lower() in rerun and not resumes:
                return True
        elif found.state is not State.FINISHED:
            return False
        elif self._plan.on_change == "rerun" and found.other_template_files:
            return True
        return "changed" in rerun and found.has_changed

    def _refuse_to_be_around(self) -> None:
        """Refuse a directory that holds those of other jobs, which would share its fate."""
        for folder, names, files in os.walk(self._record.directory):
            names.sort()
            inner = Path(folder)
            if inner != self._record.directory and not _OF_A_JOB.isdisjoint(files):
                inside = inner.relative_to(self._plan.staging.top)
                raise JobError(
                    f"the job {self._home.locator} would be around the directory of the job {inside}, which would be "
                    "moved and removed with it: choose another locator"
                )

    def _move_aside(self) -> None:
        directory = self._record.directory
        aside = next(path for number in itertools.count(1) if not (path := Path(f"{directory}.old.{number}")).exists())
        directory.rename(aside)
        logger.warning("the job %s is run again; what was there is in %s now", self._home.locator, aside)

    # --- decisions ---

    def _decide(self, found: Findings, lock: Lock) -> Any:
        if found.state is State.BROKEN:
            self._refuse(f"{found.state.value}: remove the one, or bring back the other")
        run = Run(self._plan, self._home, self._arguments, self._form, self._stop)
        if found.state in (State.NEW, State.PREPARED):
            return run.start(lock)
        self._refuse_changes(found)
        if found.state is State.FINISHED:
            self._heed_template(found)
            self._complete(found)
            return self._load()
        if not self._plan.template.can_resume:
            self._refuse_unfinished(found.state)
        self._heed_template(found)
        self._complete(found)
        return run.resume(lock)

    def _refuse(self, text: str) -> NoReturn:
        directory = self._home.outward(Path())
        raise JobError(f"the job {self._home.locator}: {directory} {text}")

    def _refuse_unfinished(self, state: State) -> NoReturn:
        status = self._record.read_status()
        how = f" (exit status {status.exit})" if status.exit else ""
        where = "" if status.directory is None else f" What is left of it is in {status.directory}."
        self._refuse(
            f"{state.value}{how}, and its template does not say can_resume.{where} To run it again, remove it with "
            f"'parman-clean-results {self._plan.staging.root}', or let it be moved aside with "
            f"JobSettings(rerun={{{state.name.lower()!r}}})"
        )

    def _refuse_changes(self, found: Findings) -> None:
        record = self._record
        if found.other_arguments:
            write_whole(record.new_kwargs, dump(self._arguments.json))
            self._refuse(
                f"holds a job that was made with other arguments: {', '.join(found.other_arguments)}. Compare "
                f"{record.kwargs.name} with {record.new_kwargs.name}, which holds those of this call. To keep the "
                f"result, write null into {record.kwargs.name}; {_AGAIN}"
            )
        if found.other_files:
            record.write_sums(record.new_sums, self._arguments.sums)
            self._refuse(
                f"holds a job that was made with other contents of these files: {', '.join(found.other_files)}. "
                f"Compare {record.sums.name} with {record.new_sums.name}, which holds the present sums. To keep the "
                f"result, remove {record.sums.name}; {_AGAIN}"
            )

    def _heed_template(self, found: Findings) -> None:
        if not found.other_template_files:
            return
        names = ", ".join(found.other_template_files)
        text = f"holds a job that was made from other files of the template {self._plan.template.path}: {names}"
        if self._plan.on_change == "error":
            self._refuse(f"{text}. To run it again, say JobSettings(on_change='rerun'), or remove the directory")
        used = "its result is used" if found.state is State.FINISHED else "it goes on with its own copies"
        logger.warning("%s %s; %s all the same", self._home.outward(Path()), text, used)

    def _complete(self, found: Findings) -> None:
        """Write what the user has removed to say that the result still holds, and remove what is out of date."""
        record = self._record
        if found.kwargs is None:
            write_whole(record.kwargs, dump(self._arguments.json))
        if found.sums is None:
            record.write_sums(record.sums, self._arguments.sums)
        record.new_kwargs.unlink(missing_ok=True)
        record.new_sums.unlink(missing_ok=True)


_OF_A_JOB = frozenset({Record(Path()).kwargs.name, Record(Path()).lock_file.name})
"""Files by which the directory of a job is known."""
_AGAIN = "to run the job again, say JobSettings(rerun={'changed'}), or remove the directory"
