# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Turns a serial Python script into a parallel workflow."""

from .closures import Closure
from .errors import (
    ArgumentError,
    DryRunErrors,
    Failure,
    FutureTypeError,
    FutureUseError,
    HiddenFutureError,
    Interrupted,
    MissingExtra,
    ParmanError,
    RemoteError,
    ResultError,
    StructureError,
    TaskError,
    WorkerDied,
    WorkflowError,
    WorkflowFailed,
)
from .markers import Keys, Length, Whole
from .resolving import as_future, as_resolved, cancel, resolve
from .runners.base import Runner
from .runners.concurrent import ConcurrentRunner
from .runners.dry import DryRunner
from .runners.pools import ThreadPool
from .runners.processes import ProcessPool
from .runners.serial import SerialRunner
from .scheduling import ScheduledFuture, Scheduler
from .tasks import task
from .waiting import WaitFuture, WaitGraph
from .workflows import Workflow, share, workflow

__all__ = [
    "ArgumentError",
    "Closure",
    "ConcurrentRunner",
    "DryRunErrors",
    "DryRunner",
    "Failure",
    "FutureTypeError",
    "FutureUseError",
    "HiddenFutureError",
    "Interrupted",
    "Keys",
    "Length",
    "MissingExtra",
    "ParmanError",
    "ProcessPool",
    "RemoteError",
    "ResultError",
    "Runner",
    "ScheduledFuture",
    "Scheduler",
    "SerialRunner",
    "StructureError",
    "TaskError",
    "ThreadPool",
    "WaitFuture",
    "WaitGraph",
    "Whole",
    "WorkerDied",
    "Workflow",
    "WorkflowError",
    "WorkflowFailed",
    "as_future",
    "as_resolved",
    "cancel",
    "resolve",
    "share",
    "task",
    "workflow",
]
