# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One call of a job: what is found in its directory decides what happens.

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

A dry run looks at the same files, and changes nothing: `check_job`.
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
from ..trees.walk import walk
from .directory import JobDirectory, State
from .files import write_sums, write_whole
from .jsonio import JobArguments, argument_place, dump, load_result
from .locking import Lock
from .run import Inspection, Run
from .staging import check_locator, user_paths
from .template import JobPlan

__all__ = ["JobCall", "check_job"]

logger = logging.getLogger("parman")

_OF_A_JOB = frozenset({JobDirectory(Path()).kwargs.name, JobDirectory(Path()).lock_file.name})
"""Files by which the directory of a job is known."""
_AGAIN = "to run the job again, say JobSettings(rerun={'changed'}), or remove the directory"


class JobCall:
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
        self._directory = JobDirectory(self._home.path)
        self._arguments = JobArguments(kwargs, self._home)
        self._spec = schema.result_spec({"locator": locator, **kwargs}).tree

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
            return self._load_result() if self._inspect().is_complete else self._result_under_lock()
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            text = f"the job {self._home.locator} can't be run: {error.strerror or error}{where}"
            raise JobError(text) from error

    def _inspect(self) -> Inspection:
        return Inspection(self._directory, self._arguments, self._plan.template)

    def _load_result(self) -> Any:
        return user_paths(load_result(self._directory.result, self._spec, self._home.top), self._home)

    def _result_under_lock(self) -> Any:
        """Take the lock, look again, and do what the picture above says."""
        self._check_surroundings()
        while True:
            lock = self._take_lock()
            try:
                found = self._inspect()
                if not self._is_to_rerun(found):
                    return self._decide(found, lock)
                self._move_aside()
            finally:
                lock.release()

    def _check_surroundings(self) -> None:
        """Refuse a job inside of its template, or inside of or around other jobs, with which it would be removed."""
        template = self._plan.template.path
        if self._home.path.is_relative_to(os.path.realpath(template)):
            raise JobError(
                f"the job {self._home.locator} would be kept inside of its template {template}, all of which is copied "
                "for each job: choose another results root"
            )
        for parent in list(self._home.locator.parents)[:-1]:
            if JobDirectory(self._plan.staging.home(parent)).kwargs.exists():
                raise JobError(f"the job {self._home.locator} would be inside of the directory of the job {parent}")
        if self._directory.state() is not State.NEW:
            return
        for folder, names, files in os.walk(self._directory.path):
            names.sort()
            inner = Path(folder)
            if inner != self._directory.path and not _OF_A_JOB.isdisjoint(files):
                inside = inner.relative_to(self._plan.staging.top)
                raise JobError(
                    f"the job {self._home.locator} would be around the directory of the job {inside}, which would be "
                    "moved and removed with it: choose another locator"
                )

    def _take_lock(self) -> Lock:
        while True:
            self._directory.path.mkdir(parents=True, exist_ok=True)
            lock = self._directory.lock()
            try:
                lock.take(self._stop, self._tell_of_holder)
            except FileNotFoundError:  # the directory was moved aside or removed just now
                continue
            return lock

    def _tell_of_holder(self, holder: str) -> None:
        status = self._directory.read_status()
        if status.directory is not None and (work := self._plan.staging.reopen(self._home, status.directory)):
            status = JobDirectory(work.path).read_status()
        is_running = status.script is not None and status.exit is None
        what = f"its script {status.script!r} is still running" if is_running else "another driver is at it"
        logger.warning("waiting for the job %s: %s (%s)", self._home.locator, what, holder)

    def _is_to_rerun(self, found: Inspection) -> bool:
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

    def _move_aside(self) -> None:
        directory = self._directory.path
        aside = next(path for number in itertools.count(1) if not (path := Path(f"{directory}.old.{number}")).exists())
        directory.rename(aside)
        logger.warning("the job %s is run again; what was there is in %s now", self._home.locator, aside)

    def _decide(self, found: Inspection, lock: Lock) -> Any:
        if found.state is State.BROKEN:
            self._refuse(f"{found.state.value}: remove the one, or bring back the other")
        run = Run(self._plan, self._home, self._arguments, self._spec, self._stop)
        if found.state in (State.NEW, State.PREPARED):
            return run.start(lock)
        self._refuse_changes(found)
        if found.state is not State.FINISHED and not self._plan.template.can_resume:
            self._refuse_unfinished(found.state)
        self._check_template(found)
        self._bring_up_to_date(found)
        return self._load_result() if found.state is State.FINISHED else run.resume(lock)

    def _refuse_changes(self, found: Inspection) -> None:
        directory = self._directory
        if found.other_arguments:
            write_whole(directory.new_kwargs, dump(self._arguments.json))
            self._refuse(
                f"holds a job that was made with other arguments: {', '.join(found.other_arguments)}. Compare "
                f"{directory.kwargs.name} with {directory.new_kwargs.name}, which holds those of this call. To keep "
                f"the result, write null into {directory.kwargs.name}; {_AGAIN}"
            )
        if found.other_files:
            write_sums(directory.new_sums, self._arguments.sums)
            self._refuse(
                f"holds a job that was made with other contents of these files: {', '.join(found.other_files)}. "
                f"Compare {directory.sums.name} with {directory.new_sums.name}, which holds the present sums. To keep "
                f"the result, remove {directory.sums.name}; {_AGAIN}"
            )

    def _check_template(self, found: Inspection) -> None:
        if not found.other_template_files:
            return
        names = ", ".join(found.other_template_files)
        text = f"holds a job that was made from other files of the template {self._plan.template.path}: {names}"
        if self._plan.on_change == "error":
            self._refuse(f"{text}. To run it again, say JobSettings(on_change='rerun'), or remove the directory")
        used = "its result is used" if found.state is State.FINISHED else "it goes on with its own copies"
        logger.warning("%s %s; %s all the same", self._home.outward(Path()), text, used)

    def _bring_up_to_date(self, found: Inspection) -> None:
        """Write what the user has removed to say that the result still holds, and remove what is out of date."""
        directory = self._directory
        if found.kwargs is None:
            write_whole(directory.kwargs, dump(self._arguments.json))
        if found.sums is None:
            write_sums(directory.sums, self._arguments.sums)
        directory.new_kwargs.unlink(missing_ok=True)
        directory.new_sums.unlink(missing_ok=True)

    def _refuse_unfinished(self, state: State) -> NoReturn:
        status = self._directory.read_status()
        how = f" (exit status {status.exit})" if status.exit else ""
        where = "" if status.directory is None else f" What is left of it is in {status.directory}."
        self._refuse(
            f"{state.value}{how}, and its template does not say can_resume.{where} To run it again, remove it with "
            f"'parman-clean-results {self._plan.staging.root}', or let it be moved aside with "
            f"JobSettings(rerun={{{state.name.lower()!r}}})"
        )

    def _refuse(self, text: str) -> NoReturn:
        where = self._home.outward(Path())
        raise JobError(f"the job {self._home.locator}: {where} {text}")


def check_job(
    plan: JobPlan,
    name: str,
    arguments: Mapping[str, Any],
    is_made: Callable[[Any], bool],
    site: Site,
    seen: dict[Any, Any],
) -> Iterator[ParmanError]:
    """Yield what a dry run finds wrong with a call of a job: its directory, and the files among its arguments.

    Parameters
    ----------
    plan
        The template, the settings and the places.
    name
        The name of the job, for messages.
    arguments
        By name. They have been checked, may be wrong, and may hold futures.
    is_made
        Tells whether a value stands for what another call is going to make.
    site
        Where the call is made.
    seen
        The directories of the jobs that were called before, with the places of these calls; this one is added.
    """
    locator = arguments.get("locator")
    if locator is not None and not is_pending(locator):
        try:
            home = plan.staging.home(check_locator(locator))
        except (ArgumentError, JobError):  # the check of the arguments has reported it
            pass
        else:
            yield from _check_directory(plan, name, str(locator), home, site, seen)
    for path, leaf in walk({key: value for key, value in arguments.items() if key != "locator"}):
        if not isinstance(leaf, Path) or is_made(leaf):
            continue
        source = Path(os.path.abspath(plan.here / leaf))  # noqa: PTH100 (links are left as they are)
        if not source.exists() and not any(parent in seen for parent in source.parents):
            yield ArgumentError(
                f"{name}(): argument {argument_place(path)} names the file {str(leaf)!r}, which is not there"
            )


def _check_directory(
    plan: JobPlan, name: str, locator: str, home: Path, site: Site, seen: dict[Any, Any]
) -> Iterator[ParmanError]:
    if home in seen:
        yield JobError(
            f"{name}(): the locator {locator!r} is that of the call at {seen[home]}, "
            "too; each job needs a directory of its own"
        )
    seen.setdefault(home, site)
    state = JobDirectory(home).state()
    again = state.name.lower() in plan.rerun or plan.template.can_resume
    if state is State.BROKEN or (state in (State.FAILED, State.UNFINISHED) and not again):
        yield JobError(
            f"{name}(): {home} {state.value}; remove it ('parman-clean-results {plan.staging.root}' "
            "removes all that did not finish)"
        )
