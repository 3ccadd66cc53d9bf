# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The settings of jobs: for all jobs of a block, or for one template."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import attrs

from ..errors import ArgumentError
from .directory import is_shell_name
from .staging import Staging

__all__ = ["JobSettings", "OnChange", "Rerun"]

Rerun = Literal["failed", "unfinished", "changed"]
OnChange = Literal["warn", "error", "rerun"]
_RERUN = get_args(Rerun)
_ON_CHANGE = get_args(OnChange)


def _as_environment(env: Mapping[str, Any] | None) -> dict[str, str]:
    found = {}
    for name, value in (env or {}).items():
        if not isinstance(name, str) or not is_shell_name(name):
            raise ArgumentError(
                f"JobSettings(env=...): {name!r} can't be the name of a variable, since a shell would not take it: "
                "letters, digits and underscores, no digit first"
            )
        if name == "PARMAN_WORKDIR":
            raise ArgumentError("JobSettings(env=...): PARMAN_WORKDIR is set for each job, to its work directory")
        if isinstance(value, bool) or not isinstance(value, str | int | float | os.PathLike):
            raise ArgumentError(
                f"JobSettings(env=...): the value of {name} is a text, a number or a path, not {value!r}"
            )
        text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
        if "\0" in text:
            raise ArgumentError(f"JobSettings(env=...): the value of {name} holds a null character")
        try:
            os.fsencode(text)
        except UnicodeEncodeError:
            raise ArgumentError(f"JobSettings(env=...): the value of {name} is {text!r}, which is not UTF-8") from None
        found[name] = text
    return found


def _as_rerun(rerun: Collection[str] | None) -> frozenset[str] | None:
    if rerun is None:
        return None
    names = frozenset((rerun,) if isinstance(rerun, str) else rerun)
    if not names <= set(_RERUN):
        raise ArgumentError(f"JobSettings(rerun=...) holds any of {', '.join(_RERUN)}, not {sorted(names)}")
    return names


@attrs.frozen(kw_only=True)
class JobSettings:
    """How jobs are run; what is not said here is left to the block around, and then to the default.

    Parameters
    ----------
    staging
        Where results are kept and where scripts run. Default: `InPlace("results")`.
    script
        The name of the script in the template. Default: `run`, which is also taken where a template has no script
        of this name.
    env
        Environment variables for the scripts, besides those of this process. Those of a template are added to those of
        the block.
    rerun
        Which jobs are run again, after their directory was moved aside, rather than being an error: "failed",
        "unfinished", "changed" (other arguments, or other contents of the files among them). Default: none.
    on_change
        What it does when the template is not what a finished job was made from: "warn", "error", or "rerun".
        Default: "warn".
    at_once
        How many of these scripts run at a time. By default as many as the runner has workers, which suits scripts that
        compute on this machine; those that wait for a queue can be many more.

    Raises
    ------
    ArgumentError
        A setting makes no sense.
    """

    staging: Staging | None = attrs.field(default=None)
    script: str | None = attrs.field(default=None, converter=attrs.converters.optional(os.fspath))
    env: Mapping[str, str] = attrs.field(default=None, converter=_as_environment)
    rerun: frozenset[str] | None = attrs.field(default=None, converter=_as_rerun)
    on_change: OnChange | None = attrs.field(default=None)
    at_once: int | None = attrs.field(default=None)

    @staging.validator
    def _check_staging(self, _: object, staging: Staging | None) -> None:
        if staging is not None and not isinstance(staging, Staging):
            raise ArgumentError(f"JobSettings(staging=...) is a staging such as InPlace('results'), not {staging!r}")

    @script.validator
    def _check_script(self, _: object, script: str | None) -> None:
        if script is None:
            return
        path = Path(script)
        if path.is_absolute() or not path.parts or ".." in path.parts or re.search(r"[\0\n\r]", script):
            raise ArgumentError(f"JobSettings(script=...) is the name of a file in the template, not {script!r}")

    @on_change.validator
    def _check_on_change(self, _: object, on_change: object) -> None:
        if on_change not in (None, *_ON_CHANGE):
            raise ArgumentError(f"JobSettings(on_change=...) is one of {', '.join(_ON_CHANGE)}, not {on_change!r}")

    @at_once.validator
    def _check_at_once(self, _: object, at_once: int | None) -> None:
        if at_once is not None and (isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1):
            raise ArgumentError(f"JobSettings(at_once=...) is a number of scripts, at least 1, not {at_once!r}")

    def over(self, other: JobSettings | None) -> JobSettings:
        """Return these settings, with those of another where nothing is said here."""
        if other is None:
            return self
        own = {name: value for name, value in attrs.asdict(self, recurse=False).items() if value is not None}
        return attrs.evolve(other, **own | {"env": {**other.env, **self.env}})
