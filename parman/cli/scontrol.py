# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Asking Slurm: calls of `scontrol`, and of `sacct` for what `scontrol` has forgotten."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple

from .slurm import Record, parse_accounts, parse_jobs

__all__ = ["Answer", "ask", "ask_accounts"]

_CALL_LIMIT = 120.0
"""After how long a call is given up [s]. A controller that is away is noticed by `scontrol` after some 20 s."""


class Answer(NamedTuple):
    """What `scontrol` said.

    Attributes
    ----------
    token
        Another for each call.
    failed
        The call ended with an error, whose text this is.
    text
        Without the jobs of other users.
    """

    token: int
    failed: bool
    text: str


def ask(cluster: str | None, number: int | None = None) -> Answer:
    """Call `scontrol show job`, for one job or for all that this user has."""
    command = ["scontrol", "-o", *(["-M", cluster] if cluster else []), "show", "job"]
    code, text = _run([*command, *([] if number is None else [str(number)])])
    return Answer(time.monotonic_ns(), code != 0, text if code or number is not None else _own(text))


def ask_accounts(cluster: str | None, number: int) -> list[Record]:
    """Look a job up in the accounts, if the cluster keeps them; they know of jobs that ended long ago."""
    command = ["sacct", "-n", "-P", "-X", *(["-M", cluster] if cluster else []), "-j", str(number)]
    code, text = _run([*command, "-o", "JobID,State,ExitCode,Submit,WorkDir"])
    return [] if code else parse_accounts(text)


def _run(command: Sequence[str]) -> tuple[int, str]:
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_CALL_LIMIT, env=environment
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {_CALL_LIMIT:.0f} s"
    except OSError as error:
        return 127, f"can't run {command[0]}: {error.strerror}"
    return done.returncode, (done.stderr if done.returncode else done.stdout).decode(errors="replace")


def _own(text: str) -> str:
    """Leave out the jobs of others: a big cluster has tens of thousands."""
    return "".join(f"{record.text}\n" for record in parse_jobs(text) if record.user in (None, os.getuid()))
