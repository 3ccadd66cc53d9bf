# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is found in the directory of a job, compared with what a call wants.

Running a job: from the template and the arguments to the result, in a work directory.
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
from ..snapshots.failures import annotate
from .directory import RESERVED, Record, State
from .files import read_whole, sha256, write_whole
from .jsonio import Arguments, dump, load_json, load_result, same_json
from .locking import Lock
from .script import Script, tail
from .staging import Place, WorkDirectory, globalize
from .template import JobPlan, Template

__all__ = ["Findings", "Run"]


class Findings:
    """One look at the directory of a job, from the point of view of one call.

    Parameters
    ----------
    record
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

    def __init__(self, record: Record, arguments: Arguments, template: Template) -> None:
        self._record = record
        self._arguments = arguments
        self._template = template
        self.state = record.state()

    @cached_property
    def kwargs(self) -> Any:
        """The arguments that the job was made with; None if the user says that the result holds for any."""
        return load_json(self._record.kwargs)

    @cached_property
    def sums(self) -> dict[str, str] | None:
        """The sums of the files that it was made with; None if the user says that the result holds for any."""
        return self._read(self._record.sums)

    @cached_property
    def other_arguments(self) -> list[str]:
        """The names of the arguments that were others."""
        if self.kwargs is None:
            return []
        if not isinstance(self.kwargs, dict):
            raise JobError(f"{self._record.kwargs} holds no object with arguments")
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
        made_from = self._read(self._record.template_sums)
        return [] if made_from is None else _differing(made_from, self._template.sums())

    @property
    def is_complete(self) -> bool:
        """Whether there is a result, and nothing to write, to remove or to tell."""
        if self.state is not State.FINISHED or self.has_changed or self.other_template_files:
            return False
        old = self._record.new_kwargs.exists() or self._record.new_sums.exists()
        return self.kwargs is not None and self.sums is not None and not old

    def _read(self, path: Path) -> dict[str, str] | None:
        try:
            return self._record.read_sums(path)
        except ValueError as error:
            raise JobError(f"{path} is not what sha256sum writes: {error}") from None


def _differing(one: Mapping[str, Any], other: Mapping[str, Any], same: Any = lambda a, b: a == b) -> list[str]:
    names = sorted({*one, *other})
    return [name for name in names if name not in one or name not in other or not same(one[name], other[name])]


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
    form
        The form of its result.
    stop
        Asks to end the script.
    """

    def __init__(self, plan: JobPlan, home: Place, arguments: Arguments, form: TreeSpec, stop: Stop) -> None:
        self._plan = plan
        self._home = home
        self._arguments = arguments
        self._form = form
        self._stop = stop
        self._kept = Record(home.path)
        self._script = plan.template.script(plan.settings.script)

    def start(self, lock: Lock) -> Any:
        """Run a job of which nothing is kept yet, and return its result.

        What a driver that was killed has left elsewhere is made use of.
        """
        left = self._left_behind()
        if left is None:
            return self._see_through(self._plan.staging.open(self._home), lock, prepare=True)
        if Record(left.path).state() is State.FINISHED:
            return self._see_through(left, None)
        return self._go_on(left, lock)

    def resume(self, lock: Lock) -> Any:
        """Run the script of an unfinished job again, where it ran before, and return its result."""
        directory = self._kept.read_status().directory or self._home.path
        work = self._plan.staging.reopen(self._home, directory)
        if work is None:
            raise JobError(
                f"the job {self._home.locator} can't go on in {directory}, where it ran: that is not there any more, "
                "or not for this staging. To run it from the start, remove it with "
                f"'parman-clean-results {self._plan.staging.root}'"
            )
        return self._go_on(work, lock)

    def _go_on(self, work: WorkDirectory, lock: Lock) -> Any:
        record = Record(work.path)
        if self._has_failed_with_result(record):
            self._set_result_aside(record)
        record.write_environment(self._variables(work))
        if not same_json(load_json(record.kwargs), self._arguments.json):  # the user said that it holds all the same
            write_whole(record.kwargs, dump(self._arguments.json))
        logger.warning("the job %s was started before, and goes on in %s", self._home.locator, work.path)
        return self._see_through(work, lock)

    @staticmethod
    def _has_failed_with_result(record: Record) -> bool:
        """Tell whether the result was there when the script failed.

        One that came later, or of a script that was not seen to end, may be the work of a job in a queue, which goes on
        while nobody waits for it.
        """
        if record.read_status().exit is None or not record.result.exists():
            return False
        return record.result.stat().st_mtime_ns <= record.status.stat().st_mtime_ns

    @staticmethod
    def _set_result_aside(record: Record) -> None:
        """See to it that what is there at the end is the result of this run."""
        if os.path.lexists(record.result):
            record.result.replace(record.old_result)

    def _left_behind(self) -> WorkDirectory | None:
        """Return the directory of a driver that was killed, if the script has ended well there, or can go on there."""
        directory = self._kept.read_status().directory
        work = None if directory is None else self._plan.staging.reopen(self._home, directory)
        if work is None:
            return None
        record = Record(work.path)
        state = record.state()
        wanted = {State.FINISHED, *([State.UNFINISHED, State.FAILED] if self._plan.template.can_resume else [])}
        if state in wanted:
            return work if self._is_of_this_call(work, record) else None
        is_ours = record.kwargs.exists() and same_json(load_json(record.kwargs), self._arguments.json)
        if state is State.FAILED and is_ours and "failed" not in self._plan.rerun:  # and nobody has noted that
            self._keep_failure(work, record)
            self._fail(work, record, record.read_status().exit or 0)
        work.close(True)  # of no use any more; nobody is there, since the lock is ours
        return None

    def _is_of_this_call(self, work: WorkDirectory, record: Record) -> bool:
        """Tell whether what was left behind is what this call asks for, as far as the settings care.

        Raises
        ------
        JobError
            It is not, and the settings don't say what to do.
        """
        found = Findings(record, self._arguments, self._plan.template)
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

    def _see_through(self, work: WorkDirectory, lock: Lock | None, prepare: bool = False) -> Any:
        """Prepare and run what is not done yet, and collect the result."""
        record = Record(work.path)
        succeeded = False
        try:
            if prepare:
                self._prepare(work, record)
            if lock is not None:
                self._run_script(work, record, lock, append=not prepare)
            result = self._collect(work, record)
            succeeded = True
        finally:
            work.close(succeeded)
        return result

    # --- before ---

    def _prepare(self, work: WorkDirectory, record: Record) -> None:
        """Write all that the script needs; `kwargs.json` when it is known that the script has not run."""
        template, arguments = self._plan.template, self._arguments
        sums, content = arguments.sums, dump(arguments.json)
        self._set_result_aside(record)
        arguments.bring(work)
        for name, _ in template.files():
            work.found(Path(name).parent)
        for folder in template.folders():
            work.found(folder)
        template.copy(work.path)
        record.write_sums(record.template_sums, {name: sha256(work.path / name) for name, _ in template.files()})
        record.write_environment(self._variables(work))
        if not work.is_home:
            self._kept.write_prepared(work.path)
        record.write_prepared()
        write_whole(record.kwargs, content)
        record.write_sums(record.sums, sums)

    def _variables(self, work: WorkDirectory) -> dict[str, str]:
        return {**self._plan.settings.env, "PARMAN_WORKDIR": str(work.path)}

    # --- the script ---

    def _run_script(self, work: WorkDirectory, record: Record, lock: Lock, append: bool) -> None:
        environment = {**os.environ, **self._variables(work)}
        if self._stop.is_asked():
            raise Interrupted(f"the job {self._home.locator} was told to end before its script started")
        script = Script(record, self._script, environment, self._stop)
        try:
            status = script.run(lock.descriptor, append)
        finally:
            if script.is_running:  # after a second Ctrl-C: it has the lock until it has ended
                lock.leave()
        if record.state() is State.FINISHED:
            return
        if self._stop.is_asked():
            raise Interrupted(f"the job {self._home.locator} was told to end while its script ran")
        said = record.read_status()
        status = status if said.exit is None else said.exit
        if said.script is None or (said.exit is None and status >= 0):
            raise JobError(
                f"the job {self._home.locator}: {record.status} could not be written. {_quoted(record, self._script)}"
            )
        if not work.is_home:
            self._keep_failure(work, record)
        self._fail(work, record, status)

    def _keep_failure(self, work: WorkDirectory, record: Record) -> None:
        """Note a failure where results are kept, with what tells its cause."""
        self._store(work, [record.kwargs, record.sums, *self._traces(record)])
        self._kept.write_failed(record.read_status()._replace(directory=work.path))

    def _fail(self, work: WorkDirectory, record: Record, status: int) -> NoReturn:
        locator, script = self._home.locator, self._script
        what = _how(status) if status else f"ended well, but left no {record.result.name}"
        state = self._kept.state().name.lower()
        where = "" if work.is_home else f"It ran in {work.path}, which is kept. "
        raise JobFailed(
            f"the job {locator} failed: its script {script!r} {what}. {where}{_quoted(record, script)}\n"
            f"All of it: {record.errors(script)} and {record.output(script)}. When the cause is mended, "
            f"'parman-clean-results {self._plan.staging.root}' or JobSettings(rerun={{{state!r}}}) lets it run again.",
            str(locator),
            script,
            status or None,
            str(work.path),
        )

    # --- after ---

    def _collect(self, work: WorkDirectory, record: Record) -> Any:
        """Read the result, and bring all that belongs to it to where results are kept; the result comes last."""
        try:
            tree = load_result(record.result, self._form, work.top)
            result = globalize(tree, work, RESERVED)  # what tells of the job is kept last
            extra = self._extra(work, record)
        except JobError as error:
            annotate(
                error,
                f"The script {self._script!r} ended well. {_quoted(record, self._script)}\n"
                f"When the cause is mended, remove {record.directory}, so that the job is run again.",
            )
            raise
        if not work.is_home:
            self._store(work, [*extra, *self._traces(record), record.sums, record.kwargs, record.result, record.status])
        return result

    def _extra(self, work: WorkDirectory, record: Record) -> list[Path]:
        """Return the further files that the script wants to be kept."""
        if not record.extra.exists():
            return []
        found = []
        for line in os.fsdecode(read_whole(record.extra)).split("\n"):
            name = line.strip()
            if name and not name.startswith("#"):
                path = work.found(Path(name))
                if not Path(os.path.realpath(path)).is_relative_to(work.path) or not path.exists():
                    why = "is not there" if not path.exists() else "is outside of the job's directory"
                    raise JobError(f"the job {self._home.locator}: {record.extra} names {name!r}, which {why}")
                work.check_links(path)
                found += work.parts(Path(os.path.normpath(path)), RESERVED)
        return [*found, record.extra]

    def _traces(self, record: Record) -> list[Path]:
        """Return the files that tell how the job was run, but no links that the script has put in their place."""
        script = self._script
        names = [record.directory / script, record.jobinfo, record.template_sums]
        return [path for path in [*names, record.output(script), record.errors(script)] if not path.is_symlink()]

    def _store(self, work: WorkDirectory, paths: list[Path]) -> None:
        for path in paths:
            if path.exists():
                relative = path.relative_to(work.path)
                work.found(relative)  # the script may have put a link in its place
                self._home.found(relative.parent)
                work.store(path, work.home / relative)


def _how(status: int) -> str:
    if status < 0:
        return f"was killed ({_signal(-status)}), together with the shell that watches it"
    stands_for = f", which stands for {_signal(status - 128)}" if status > 128 else ""
    if status == 127:
        stands_for = ", as if a program is not there: one that it calls, or the one in its first line"
    return f"ended with exit status {status}{stands_for}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _quoted(record: Record, script: str) -> str:
    """Return the end of what the script wrote."""
    for path in (record.errors(script), record.output(script)):
        text = tail(path)
        if text:
            lines = "\n".join(f"    {line}" for line in text.splitlines()[-20:])
            return f"The end of {path.name}:\n{lines}"
    return "It wrote nothing."
