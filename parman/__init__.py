# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Turns a serial Python script into a parallel workflow.

Names are loaded when they are first used, so that a module of tasks costs little to import where no workflow runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .closures import Closure
    from .errors import (
        ArgumentError,
        DryRunErrors,
        Failure,
        FutureTypeError,
        FutureUseError,
        HiddenFutureError,
        Interrupted,
        JobError,
        JobFailed,
        MissingExtra,
        ParmanError,
        RemoteError,
        ResultError,
        StructureError,
        TaskError,
        TemplateError,
        WorkerDied,
        WorkflowError,
        WorkflowFailed,
    )
    from .executors import executor
    from .jobs.job import Job, job_template
    from .jobs.settings import JobSettings
    from .markers import Keys, Length, Whole
    from .resolving import as_future, as_resolved, cancel, resolve
    from .runners.base import Runner
    from .runners.concurrent import ConcurrentRunner
    from .runners.dry import DryRunner
    from .runners.parsl import ParslRunner
    from .runners.pools import ThreadPool
    from .runners.processes import ProcessPool
    from .runners.serial import SerialRunner
    from .scheduling import ScheduledFuture, Scheduler
    from .staging.base import Staging, WorkDirectory
    from .staging.inplace import InPlace
    from .staging.scratch import Scratch
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
    "InPlace",
    "Interrupted",
    "Job",
    "JobError",
    "JobFailed",
    "JobSettings",
    "Keys",
    "Length",
    "MissingExtra",
    "ParmanError",
    "ParslRunner",
    "ProcessPool",
    "RemoteError",
    "ResultError",
    "Runner",
    "ScheduledFuture",
    "Scheduler",
    "Scratch",
    "SerialRunner",
    "Staging",
    "StructureError",
    "TaskError",
    "TemplateError",
    "ThreadPool",
    "WaitFuture",
    "WaitGraph",
    "Whole",
    "WorkDirectory",
    "WorkerDied",
    "Workflow",
    "WorkflowError",
    "WorkflowFailed",
    "as_future",
    "as_resolved",
    "cancel",
    "executor",
    "job_template",
    "resolve",
    "share",
    "task",
    "workflow",
]

_MODULES = {
    ".closures": "Closure",
    ".errors": (
        "ArgumentError DryRunErrors Failure FutureTypeError FutureUseError HiddenFutureError Interrupted "
        "JobError JobFailed MissingExtra ParmanError RemoteError ResultError StructureError TaskError TemplateError "
        "WorkerDied WorkflowError WorkflowFailed"
    ),
    ".executors": "executor",
    ".jobs.job": "Job job_template",
    ".jobs.settings": "JobSettings",
    ".markers": "Keys Length Whole",
    ".resolving": "as_future as_resolved cancel resolve",
    ".runners.base": "Runner",
    ".runners.concurrent": "ConcurrentRunner",
    ".runners.dry": "DryRunner",
    ".runners.parsl": "ParslRunner",
    ".runners.pools": "ThreadPool",
    ".runners.processes": "ProcessPool",
    ".runners.serial": "SerialRunner",
    ".scheduling": "ScheduledFuture Scheduler",
    ".staging.base": "Staging WorkDirectory",
    ".staging.inplace": "InPlace",
    ".staging.scratch": "Scratch",
    ".tasks": "task",
    ".waiting": "WaitFuture WaitGraph",
    ".workflows": "Workflow share workflow",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
