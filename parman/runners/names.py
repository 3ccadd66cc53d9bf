# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runners by name: what stands in the head of a block, or in the environment."""

from __future__ import annotations

from concurrent.futures import Executor

from ..engine.runner import Runner
from ..errors import WorkflowError
from ..trees.nodes import short_repr

__all__ = ["check_name", "make_runner"]

_NAMES = ("serial", "dry", "threads", "processes", "parsl")
_CHOICE = (
    f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}, where it makes sense with a number of workers as in 'processes:4', "
    "or pass a Runner or an executor"
)


def check_name(wanted: str, where: str = "") -> tuple[str, int | None]:
    """Take apart the name of a runner and the number of workers after a colon.

    Parameters
    ----------
    wanted
        The name.
    where
        Where it was given, if not in the script.

    Raises
    ------
    WorkflowError
        There is no such runner.
    """
    name, colon, number = wanted.partition(":")
    workers = int(number) if number.isdecimal() and int(number) > 0 else None
    if name not in _NAMES or (colon and (workers is None or name in ("serial", "dry"))):
        raise WorkflowError(f"there is no runner {wanted!r}{where}: take {_CHOICE}")
    return name, workers


def make_runner(wanted: Executor | str, where: str = "") -> Runner:
    """Make a runner from an executor, or from a name; see `check_name`."""
    # Each with the modules that it needs, and no others: what is imported counts in the time to the first result.
    if not isinstance(wanted, str):
        from .concurrent import ConcurrentRunner

        if isinstance(wanted, type):
            raise WorkflowError(f"{wanted.__name__} is a class, no runner: pass what it makes, {wanted.__name__}(...)")
        if not callable(getattr(wanted, "submit", None)):
            raise WorkflowError(f"{short_repr(wanted)} is no runner: take {_CHOICE}")
        return ConcurrentRunner(wanted)
    name, workers = check_name(wanted, where)
    if name == "serial":
        from .serial import SerialRunner

        return SerialRunner()
    if name == "dry":
        from .dry import DryRunner

        return DryRunner()
    if name == "parsl":
        from .parsl import ParslRunner  # it needs an optional dependency

        return ParslRunner(workers=workers)
    from .concurrent import ConcurrentRunner

    return ConcurrentRunner.threads(workers) if name == "threads" else ConcurrentRunner.processes(workers)
