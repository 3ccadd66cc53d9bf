# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Running a job: from the template and the arguments to the result, in a work directory.

    prepare      the template's files, sums, variables, kwargs.json         a job that is new
    run script   `Script`, which inherits the lock of the directory
    collect      read the result, store what belongs to it where results are kept

What a driver that was killed has left is made use of: each of the three may have been done before.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from ..annotations.spec import TreeSpec
from ..errors import Interrupted, JobError, JobFailed
from ..lifecycle import Stop
from ..snapshots.exceptions import annotate
from .directory import RESERVED, JobDirectory, State
from .files import read_sums, read_whole, sha256, tail, write_sums, write_whole
from .jsonio import JobArguments, dump, load_json, load_result, same_json
from .locking import Lock
from .script import Script
from .staging import Place, WorkDirectory, globalize
from .template import JobPlan, Template

__all__ = ["Inspection", "Run"]

logger = logging.getLogger("parman")


class Run:
    """One run of a job, by whoever holds its lock.

    Parameters
    ----------
    plan
        The template, the settings and the places.
    home
        The directory where the job is kept.
    arguments
        What it is called with.
    spec
        The tree that its result has to be.
    stop
        Asks to end the script.
    """

    def __init__(self, plan: JobPlan, home: Place, arguments: JobArguments, spec: TreeSpec, stop: Stop) -> None:
        self._plan = plan
        self._home = home
        self._arguments = arguments
        self._spec = spec
        self._stop = stop
        self._kept = JobDirectory(home.path)
        self._script = plan.template.script(plan.settings.script)

    def start(self, lock: Lock) -> Any:
        """Run a job of which nothing is kept yet, and return its result.

        What a driver that was killed has left elsewhere is made use of.
        """
        left = self._left_behind()
        if left is None:
            return self._finish(self._plan.staging.open(self._home), lock, prepare=True)
        if JobDirectory(left.path).state() is State.FINISHED:
            return self._finish(left, None)
        return self._go_on(left, lock)

    def resume(self, lock: Lock) -> Any:
        """Run the script of an unfinished job again, where it ran before, and return its result."""
        path = self._kept.read_status().directory or self._home.path
        work = self._plan.staging.reopen(self._home, path)
        if work is None:
            raise JobError(
                f"the job {self._home.locator} can't go on in {path}, where it ran: that is not there any more, "
                "or not for this staging. To run it from the start, remove it with "
                f"'parman-clean-results {self._plan.staging.root}'"
            )
        return self._go_on(work, lock)

    def _go_on(self, work: WorkDirectory, lock: Lock) -> Any:
        directory = JobDirectory(work.path)
        # A result that came after the failure, or of a script that was not seen to end, may be the work of a job in a
        # queue, which goes on while nobody waits for it.
        has_failed = directory.read_status().exit is not None and directory.result.exists()
        if has_failed and directory.result.stat().st_mtime_ns <= directory.status.stat().st_mtime_ns:
            self._set_result_aside(directory)
        directory.write_environment(self._variables(work))
        if not same_json(load_json(directory.kwargs), self._arguments.json):  # the user said that it holds all the same
            write_whole(directory.kwargs, dump(self._arguments.json))
        logger.warning("the job %s was started before, and goes on in %s", self._home.locator, work.path)
        return self._finish(work, lock)

    @staticmethod
    def _set_result_aside(directory: JobDirectory) -> None:
        """See to it that what is there at the end is the result of this run."""
        if os.path.lexists(directory.result):
            directory.result.replace(directory.old_result)

    def _left_behind(self) -> WorkDirectory | None:
        """Return the directory of a driver that was killed, if the script has ended well there, or can go on there."""
        path = self._kept.read_status().directory
        work = None if path is None else self._plan.staging.reopen(self._home, path)
        if work is None:
            return None
        directory = JobDirectory(work.path)
        state = directory.state()
        wanted = {State.FINISHED, *([State.UNFINISHED, State.FAILED] if self._plan.template.can_resume else [])}
        if state in wanted:
            return work if self._is_of_this_call(work, directory) else None
        is_ours = directory.kwargs.exists() and same_json(load_json(directory.kwargs), self._arguments.json)
        if state is State.FAILED and is_ours and "failed" not in self._plan.rerun:  # and nobody has noted that
            self._keep_failure(work, directory)
            self._fail(work, directory, directory.read_status().exit or 0)
        work.close(True)  # of no use any more; nobody is there, since the lock is ours
        return None

    def _is_of_this_call(self, work: WorkDirectory, directory: JobDirectory) -> bool:
        """Tell whether what was left behind is what this call asks for, as far as the settings care.

        Raises
        ------
        JobError
            It is not, and the settings don't say what to do.
        """
        found = Inspection(directory, self._arguments, self._plan.template)
        what = f"the job {self._home.locator}: a driver that was killed has left it in {work.path}, made"
        again = f"remove {work.path}, or say JobSettings"
        if found.has_changed:
            names = ", ".join([*found.other_arguments, *found.other_files])
            if "changed" not in self._plan.rerun:
                raise JobError(
                    f"{what} with other arguments or files: {names}. To run it anew, {again}(rerun={{'changed'}})"
                )
            logger.warning("%s with other arguments or files: %s; it is run anew", what, names)
            return False
        if found.other_template_files:
            names = ", ".join(found.other_template_files)
            if self._plan.on_change == "error":
                raise JobError(
                    f"{what} from other files of the template: {names}. To run it anew, {again}(on_change='rerun')"
                )
            used = "it is run anew" if self._plan.on_change == "rerun" else "it is used all the same"
            logger.warning("%s from other files of the template: %s; %s", what, names, used)
            return self._plan.on_change != "rerun"
        return True

    def _finish(self, work: WorkDirectory, lock: Lock | None, prepare: bool = False) -> Any:
        """Prepare and run what is not done yet, and collect the result."""
        directory = JobDirectory(work.path)
        succeeded = False
        try:
            if prepare:
                self._prepare(work, directory)
            if lock is not None:
                self._run_script(work, directory, lock, append=not prepare)
            result = self._collect(work, directory)
            succeeded = True
        finally:
            work.close(succeeded)
        return result

    # --- before ---

    def _prepare(self, work: WorkDirectory, directory: JobDirectory) -> None:
        """Write all that the script needs; `kwargs.json` when it is known that the script has not run."""
        template, arguments = self._plan.template, self._arguments
        sums, content = arguments.sums, dump(arguments.json)
        self._set_result_aside(directory)
        arguments.bring(work)
        for name, _ in template.files():
            work.found(Path(name).parent)
        for folder in template.folders():
            work.found(folder)
        template.copy(work.path)
        write_sums(directory.template_sums, {name: sha256(work.path / name) for name, _ in template.files()})
        directory.write_environment(self._variables(work))
        if not work.is_home:
            self._kept.write_prepared(work.path)
        directory.write_prepared()
        write_whole(directory.kwargs, content)
        write_sums(directory.sums, sums)

    def _variables(self, work: WorkDirectory) -> dict[str, str]:
        return {**self._plan.settings.env, "PARMAN_WORKDIR": str(work.path)}

    # --- the script ---

    def _run_script(self, work: WorkDirectory, directory: JobDirectory, lock: Lock, append: bool) -> None:
        environment = {**os.environ, **self._variables(work)}
        if self._stop.is_asked():
            raise Interrupted(f"the job {self._home.locator} was told to end before its script started")
        script = Script(directory, self._script, environment, self._stop)
        try:
            status = script.run(lock.descriptor, append)
        finally:
            if script.is_running:  # after a second Ctrl-C: it has the lock until it has ended
                lock.leave()
        if directory.state() is State.FINISHED:
            return
        if self._stop.is_asked():
            raise Interrupted(f"the job {self._home.locator} was told to end while its script ran")
        said = directory.read_status()
        status = status if said.exit is None else said.exit
        if said.script is None or (said.exit is None and status >= 0):
            end = _end_of_output(directory, self._script)
            raise JobError(f"the job {self._home.locator}: {directory.status} could not be written. {end}")
        if not work.is_home:
            self._keep_failure(work, directory)
        self._fail(work, directory, status)

    def _keep_failure(self, work: WorkDirectory, directory: JobDirectory) -> None:
        """Note a failure where results are kept, with what tells its cause."""
        self._store(work, [directory.kwargs, directory.sums, *self._files_that_tell(directory)])
        self._kept.write_failed(directory.read_status()._replace(directory=work.path))

    def _fail(self, work: WorkDirectory, directory: JobDirectory, status: int) -> NoReturn:
        locator, script = self._home.locator, self._script
        what = _how_it_ended(status) if status else f"ended well, but left no {directory.result.name}"
        state = self._kept.state().name.lower()
        where = "" if work.is_home else f"It ran in {work.path}, which is kept. "
        raise JobFailed(
            f"the job {locator} failed: its script {script!r} {what}. {where}{_end_of_output(directory, script)}\n"
            f"All of it: {directory.errors(script)} and {directory.output(script)}. When the cause is mended, "
            f"'parman-clean-results {self._plan.staging.root}' or JobSettings(rerun={{{state!r}}}) lets it run again.",
            str(locator),
            script,
            status or None,
            str(work.path),
        )

    # --- after ---

    def _collect(self, work: WorkDirectory, directory: JobDirectory) -> Any:
        """Read the result, and bring all that belongs to it to where results are kept; the result comes last."""
        try:
            tree = load_result(directory.result, self._spec, work.top)
            result = globalize(tree, work, RESERVED)  # what tells of the job is kept last
            extra = self._extra_files(work, directory)
        except JobError as error:
            annotate(
                error,
                f"The script {self._script!r} ended well. {_end_of_output(directory, self._script)}\n"
                f"When the cause is mended, remove {directory.path}, so that the job is run again.",
            )
            raise
        if not work.is_home:
            last = [directory.sums, directory.kwargs, directory.result, directory.status]
            self._store(work, [*extra, *self._files_that_tell(directory), *last])
        return result

    def _extra_files(self, work: WorkDirectory, directory: JobDirectory) -> list[Path]:
        """Return the further files that the script wants to be kept."""
        if not directory.extra.exists():
            return []
        found = []
        for line in os.fsdecode(read_whole(directory.extra)).split("\n"):
            name = line.strip()
            if name and not name.startswith("#"):
                path = work.found(Path(name))
                if not Path(os.path.realpath(path)).is_relative_to(work.path) or not path.exists():
                    why = "is not there" if not path.exists() else "is outside of the job's directory"
                    raise JobError(f"the job {self._home.locator}: {directory.extra} names {name!r}, which {why}")
                work.check_links(path)
                found += work.parts(Path(os.path.normpath(path)), RESERVED)
        return [*found, directory.extra]

    def _files_that_tell(self, directory: JobDirectory) -> list[Path]:
        """Return the files that tell how the job was run, but no links that the script has put in their place."""
        script = self._script
        names = [directory.path / script, directory.jobinfo, directory.template_sums]
        return [path for path in [*names, directory.output(script), directory.errors(script)] if not path.is_symlink()]

    def _store(self, work: WorkDirectory, paths: list[Path]) -> None:
        for path in paths:
            if path.exists():
                relative = path.relative_to(work.path)
                work.found(relative)  # the script may have put a link in its place
                self._home.found(relative.parent)
                work.store(path, work.home / relative)


def _how_it_ended(status: int) -> str:
    if status < 0:
        return f"was killed ({_signal_name(-status)}), together with the shell that watches it"
    stands_for = f", which stands for {_signal_name(status - 128)}" if status > 128 else ""
    if status == 127:
        stands_for = ", as if a program is not there: one that it calls, or the one in its first line"
    return f"ended with exit status {status}{stands_for}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end_of_output(directory: JobDirectory, script: str) -> str:
    """Return the end of what the script wrote."""
    for path in (directory.errors(script), directory.output(script)):
        text = tail(path)
        if text:
            lines = "\n".join(f"    {line}" for line in text.splitlines()[-20:])
            return f"The end of {path.name}:\n{lines}"
    return "It wrote nothing."


# --- what was there before ---


class Inspection:
    """One look at the directory of a job, from the point of view of one call.

    Parameters
    ----------
    directory
        The directory.
    arguments
        What the job is called with.
    template
        What it would be made from.

    Attributes
    ----------
    state
        What the files say.
    """

    def __init__(self, directory: JobDirectory, arguments: JobArguments, template: Template) -> None:
        self._directory = directory
        self._arguments = arguments
        self._template = template
        self.state = directory.state()

    @cached_property
    def kwargs(self) -> Any:
        """The arguments that the job was made with; None if the user says that the result holds for any."""
        return load_json(self._directory.kwargs)

    @cached_property
    def sums(self) -> dict[str, str] | None:
        """The sums of the files that it was made with; None if the user says that the result holds for any."""
        return _read_sums(self._directory.sums)

    @cached_property
    def other_arguments(self) -> list[str]:
        """The names of the arguments that were others."""
        if self.kwargs is None:
            return []
        if not isinstance(self.kwargs, dict):
            raise JobError(f"{self._directory.kwargs} holds no object with arguments")
        return _differing(self.kwargs, self._arguments.json, same_json)

    @cached_property
    def other_files(self) -> list[str]:
        """The files among the arguments whose contents were others."""
        return [] if self.sums is None else _differing(self.sums, self._arguments.sums)

    @property
    def has_changed(self) -> bool:
        """Whether the job was made with other arguments, or other files among them."""
        return bool(self.other_arguments or self.other_files)

    @cached_property
    def other_template_files(self) -> list[str]:
        """The files of the template that were others."""
        made_from = _read_sums(self._directory.template_sums)
        return [] if made_from is None else _differing(made_from, self._template.sums())

    @property
    def is_complete(self) -> bool:
        """Whether there is a result, and nothing to write, to remove or to tell."""
        if self.state is not State.FINISHED or self.has_changed or self.other_template_files:
            return False
        old = self._directory.new_kwargs.exists() or self._directory.new_sums.exists()
        return self.kwargs is not None and self.sums is not None and not old


def _read_sums(path: Path) -> dict[str, str] | None:
    try:
        return read_sums(path)
    except ValueError as error:
        raise JobError(f"{path} is not what sha256sum writes: {error}") from None


def _differing(one: Mapping[str, Any], other: Mapping[str, Any], same: Any = lambda a, b: a == b) -> list[str]:
    names = sorted({*one, *other})
    return [name for name in names if name not in one or name not in other or not same(one[name], other[name])]
