# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Templates: directories with a script, a `jobinfo.py` that describes its interface, and whatever the script needs.

A `Template` is what the directory says. A `JobPlan` adds what its calls in one block have in common: the settings, the
staging and the driver's directory.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import sys
import types
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from inspect import Parameter
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
import cloudpickle  # type: ignore[import-untyped, unused-ignore]

from ..annotations.markers import is_pending
from ..errors import JobError, TemplateError
from ..snapshots.exceptions import safe_text
from ..snapshots.snapshot import Snapshot
from ..snapshots.take import pickled, take_snapshot
from ..trees.walk import map_leaves
from .directory import RESERVED
from .files import copy, files_below, folders_below, sha256
from .settings import JobSettings
from .staging import Place, Staging, check_locator

__all__ = ["JobPlan", "Template"]

logger = logging.getLogger("parman")

_KINDS = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_IGNORED = frozenset({"__pycache__"})
"""Names that jobs don't get, wherever in the template."""


class Template:
    """A directory that is called as a job.

    Parameters
    ----------
    path
        The directory.

    Attributes
    ----------
    mock
        Takes the arguments of a job, returns an example of its result.
    parameters
        Takes the same arguments, returns a tree of their types; None if the annotations say enough.
    resources
        What the runner should know.
    can_resume
        Whether the script knows how to pick up its own unfinished run.

    Raises
    ------
    TemplateError
        The directory can't be a template.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        jobinfo = _load_jobinfo(self.path)
        self.mock: Callable[..., Any] = self._function(jobinfo, "mock")
        self.parameters: Callable[..., Any] | None = None
        if hasattr(jobinfo, "parameters"):
            self.parameters = self._function(jobinfo, "parameters")
        self.resources = self._option(jobinfo, "resources", dict, None)
        self.can_resume = bool(self._option(jobinfo, "can_resume", bool, False))
        self.signature = self._signature()
        for name in sorted(RESERVED & {entry.name for entry in self.path.iterdir()}):
            logger.warning("%s is left out of jobs, which make this file themselves: remove it", self.path / name)

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.name

    def __parman_reduce__(self) -> Any:
        """Return what is pickled: the functions rather than the file, so that their classes are the same elsewhere."""
        return _from_state, (vars(self) | {"signature": None},)

    def __reduce__(self) -> Any:
        return _from_snapshot, (take_snapshot(self, pickled),)

    def __repr__(self) -> str:
        return f"Template({str(self.path)!r})"

    def _function(self, jobinfo: Any, name: str) -> Callable[..., Any]:
        found = getattr(jobinfo, name, None)
        if not inspect.isroutine(found):
            was = "is missing" if found is None else f"is a {type(found).__name__}"
            raise TemplateError(f"{jobinfo.__file__}: {name} {was}; it has to be a function with the job's parameters")
        return found

    def _option(self, jobinfo: Any, name: str, cls: type, default: Any) -> Any:
        value = getattr(jobinfo, name, default)
        if value is not default and not isinstance(value, cls):
            raise TemplateError(f"{jobinfo.__file__}: {name} has to be a {cls.__name__}, not {value!r}")
        return value

    def _signature(self) -> inspect.Signature:
        """Return the signature of the job: a locator, and the mock's parameters by keyword."""
        signature = inspect.signature(self.mock)
        parameters = [Parameter("locator", Parameter.POSITIONAL_ONLY, annotation=str | os.PathLike)]
        for parameter in signature.parameters.values():
            if parameter.kind not in _KINDS or parameter.name == "locator":
                raise TemplateError(
                    f"{self.path / 'jobinfo.py'}: the parameter {str(parameter)!r} of mock can't be given to a job, "
                    "which takes a locator and arguments by their names"
                )
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
        return signature.replace(parameters=parameters)

    # --- files ---

    def script(self, wanted: str | None) -> str:
        """Return the name of the script to run: the wanted one if the template has it, else `run`.

        Raises
        ------
        TemplateError
            There is no script, or it can't be executed.
        """
        name = wanted if wanted is not None and (self.path / wanted).is_file() else "run"
        script = self.path / name
        if name in RESERVED:
            raise TemplateError(f"{script} can't be a script, since each job makes a file of this name: rename it")
        if not script.is_file():
            said = f"neither a script {wanted!r} nor" if wanted not in (None, "run") else "no script"
            raise TemplateError(
                f"the template {self.path} has {said} 'run': make one, or name another with JobSettings(script=...)"
            )
        if not os.access(script, os.X_OK):
            raise TemplateError(f"{script} can't be executed; let the shell do: chmod +x {script}")
        return name

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield the files that a job gets, each with its path in the template."""
        for entry in self._entries():
            for file in files_below(entry):
                relative = file.relative_to(self.path)
                if _IGNORED.isdisjoint(relative.parts):
                    yield str(relative), file

    def folders(self) -> Iterator[Path]:
        """Yield the directories that a job gets, relative to its own; also those without files."""
        for entry in self._entries():
            for folder in folders_below(entry):
                relative = folder.relative_to(self.path)
                if _IGNORED.isdisjoint(relative.parts):
                    yield relative

    def _entries(self) -> Iterator[Path]:
        for entry in sorted(self.path.iterdir()):
            if entry.name not in RESERVED | _IGNORED:
                yield entry

    def sums(self) -> dict[str, str]:
        """Return the sum of each file."""
        return {name: sha256(file) for name, file in self.files()}

    def copy(self, target: Path) -> None:
        """Copy the template into a directory."""
        for name, file in self.files():
            copy(file, target / name)
        for folder in self.folders():
            (target / folder).mkdir(parents=True, exist_ok=True)


@attrs.frozen(eq=False, slots=False)
class JobPlan:
    """A template with all that its calls in one block have in common.

    Attributes
    ----------
    template
        The template.
    settings
        The template's own settings, over those of the block.
    staging
        The staging.
    here
        The driver's directory.
    limit_key
        Which jobs are counted together for `at_once`.
    """

    template: Template
    settings: JobSettings
    staging: Staging
    here: Path
    limit_key: Hashable = None

    @property
    def rerun(self) -> frozenset[str]:
        """Which jobs are run again."""
        return self.settings.rerun or frozenset()

    @property
    def on_change(self) -> str:
        """What it does when the template has changed."""
        return self.settings.on_change or "warn"

    def place(self, locator: PurePosixPath) -> Place:
        """Return the directory of a job."""
        return Place(self.staging, locator, self.here)

    @cached_property
    def mock(self) -> Callable[..., Any]:
        """The template's mock, with the parameters and the paths of a job."""

        def mock(locator: Any, /, **kwargs: Any) -> Any:
            result = self.template.mock(**kwargs)
            if is_pending(locator):
                return result
            place = self.place(check_locator(locator))

            def rename(leaf: Any) -> Any:
                try:
                    return place.outward(leaf) if isinstance(leaf, Path) else leaf
                except JobError as error:
                    jobinfo = self.template.path / "jobinfo.py"
                    raise TemplateError(f"{jobinfo}: mock() returns {str(leaf)!r}: {error}") from None

            return map_leaves(rename, result)

        mock.__signature__ = self.template.signature  # type: ignore[attr-defined]
        return mock


def _from_state(state: dict[str, Any]) -> Template:
    made = Template.__new__(Template)
    vars(made).update(state)
    made.signature = made._signature()
    return made


def _from_snapshot(snapshot: Snapshot) -> Any:
    return snapshot.load()


def _load_jobinfo(template: Path) -> types.ModuleType:
    """Run the `jobinfo.py` of a template as a module of its own."""
    if not template.is_dir():
        raise TemplateError(f"there is no template directory {template}")
    path = template / "jobinfo.py"
    if not path.is_file():
        raise TemplateError(
            f"the template {template} has no jobinfo.py: write one with a function mock(...), "
            "whose parameters are those of the job, and which returns an example of its result"
        )
    name = f"jobinfo_{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and type hints look there for the names in annotations
    try:
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)
    except (SystemExit, Exception) as error:
        line = _line_of(error, str(path))
        raise TemplateError(f"{path}{line} raised {safe_text(error)}") from error
    cloudpickle.register_pickle_by_value(module)  # nobody can import it
    return module


def _line_of(error: BaseException, file: str) -> str:
    """Return the line in a file where an exception was raised, as it stands behind the name of the file."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f":{lines[-1]}" if lines else ""
