# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runners by name: what stands in the head of a block, or in the environment."""

from __future__ import annotations

from concurrent.futures import Executor

from ..errors import MissingExtra, WorkflowError
from .base import Runner
from .concurrent import ConcurrentRunner
from .dry import DryRunner
from .serial import SerialRunner

__all__ = ["make_runner"]

_NAMES = ("serial", "dry", "threads", "processes", "parsl")


def make_runner(wanted: Executor | str) -> Runner:
    """Make a runner from an executor, or from a name, with a number of workers after a colon."""
    if not isinstance(wanted, str):
        return ConcurrentRunner(wanted)
    name, colon, number = wanted.partition(":")
    workers = int(number) if number.isdecimal() and int(number) > 0 else None
    if name not in _NAMES or (colon and (workers is None or name in ("serial", "dry"))):
        raise WorkflowError(
            f"there is no runner {wanted!r}: take {', '.join(_NAMES[:-1])} or {_NAMES[-1]}, where it makes sense "
            "with a number of workers as in 'processes:4', or pass a Runner or an executor"
        )
    if name == "serial":
        return SerialRunner()
    if name == "dry":
        return DryRunner()
    if name == "threads":
        return ConcurrentRunner.threads(workers)
    if name == "processes":
        return ConcurrentRunner.processes(workers)
    raise MissingExtra("this version of Parman has no runner for Parsl yet; pass one of Parsl's executors instead")
