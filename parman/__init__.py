# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Turns a serial Python script into a parallel workflow.

Names are loaded when they are first used, so that a module of tasks costs little to import where no workflow runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .annotations.markers import Keys, Length, Whole
    from .closures import Closure
    from .engine.runner import Runner
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
    from .futures.scheduler import ScheduledFuture, Scheduler
    from .futures.wait_graph import WaitFuture, WaitGraph
    from .jobs.job import Job, job_template
    from .jobs.settings import JobSettings
    from .jobs.staging import InPlace, Scratch, Staging, WorkDirectory
    from .pool.processes import ProcessPool
    from .pool.threads import ThreadPool
    from .resolving import as_future, as_resolved, cancel, resolve
    from .runners.concurrent import ConcurrentRunner
    from .runners.dry import DryRunner
    from .runners.parsl import ParslRunner
    from .runners.serial import SerialRunner
    from .tasks import task
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
    ".annotations.markers": "Keys Length Whole",
    ".resolving": "as_future as_resolved cancel resolve",
    ".engine.runner": "Runner",
    ".runners.concurrent": "ConcurrentRunner",
    ".runners.dry": "DryRunner",
    ".runners.parsl": "ParslRunner",
    ".pool.threads": "ThreadPool",
    ".pool.processes": "ProcessPool",
    ".runners.serial": "SerialRunner",
    ".futures.scheduler": "ScheduledFuture Scheduler",
    ".jobs.staging": "InPlace Scratch Staging WorkDirectory",
    ".tasks": "task",
    ".futures.wait_graph": "WaitFuture WaitGraph",
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
