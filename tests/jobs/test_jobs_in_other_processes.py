# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs that leave the driver: pickled, called in other processes, run by executors on other machines."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from parman import (
    ConcurrentRunner,
    InPlace,
    Job,
    JobFailed,
    JobSettings,
    ProcessPool,
    Scratch,
    Staging,
    job_template,
    resolve,
    task,
    workflow,
)

INFO = """
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Point:
    x: float
    y: float

def mock(*, x: float, source: Path | None = None) -> dict:
    return {"point": Point(0.0, 0.0), "file": Path("out.txt")}
"""
RUN = """#!/usr/bin/env python3
import json, os
from pathlib import Path
kwargs = json.loads(Path("kwargs.json").read_text())
if kwargs["x"] < 0:
    raise SystemExit("negative")
source = kwargs["source"]
Path("out.txt").write_text(f"{os.getppid()} {Path(source).read_text() if source else ''}")
Path("result.json").write_text(json.dumps({"point": {"x": kwargs["x"], "y": 2}, "file": "out.txt"}))
"""


class Elsewhere(Executor):
    """Stands for an executor on other machines: it says nothing of where its workers are, and they are elsewhere."""

    def __init__(self, directory: Path) -> None:
        self._pool = ProcessPoolExecutor(2, get_context("spawn"), initializer=go_to, initargs=(directory,))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


def go_to(directory: Path) -> None:
    """Make a worker work in another directory than the driver."""
    os.chdir(directory)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a directory, with a template, and with another directory beside it."""
    template = tmp_path / "here" / "templates" / "point"
    template.mkdir(parents=True)
    (template / "jobinfo.py").write_text(INFO)
    (template / "run").write_text(RUN)
    (template / "run").chmod(0o755)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture(params=["inplace", "scratch"])
def staging(request: pytest.FixtureRequest, here: Path) -> Staging:
    """Give each staging in turn."""
    return InPlace("results") if request.param == "inplace" else Scratch("results", "tmp")


def call(content: bytes, locator: str, x: float) -> Any:
    """Load a job in another process, and call it there."""
    job: Job = pickle.loads(content)
    found = job(locator, x=x)
    return found["point"].x, found["file"]


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_a_pickled_job_runs_in_a_process_with_another_directory(
    here: Path, staging: Staging, dumps: Callable[[Any], bytes]
) -> None:
    """A job knows its template and its results root wherever it is called; its paths can be opened there and here."""
    job = job_template("templates/point", JobSettings(staging=staging))
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=go_to, initargs=(here.parent / "there",)) as pool:
        found = pool.submit(call, dumps(job), "p", 1.5).result()
    assert found == (1.5, here / "results/p/out.txt")
    assert found[1].exists()
    assert list((here.parent / "there").iterdir()) == []
    assert job("p", x=1.5)["file"] == Path("results/p/out.txt")


def test_a_job_of_no_settings_keeps_its_root(here: Path) -> None:
    """The default results root is in the directory in which the job was made, also in another process."""
    job = job_template("templates/point")
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=go_to, initargs=(here.parent / "there",)) as pool:
        pool.submit(call, pickle.dumps(job), "p", 1.5).result()
    assert (here / "results/p/result.json").exists()


@task
def write(text: str) -> Path:
    path = Path("written.txt").absolute()
    path.write_text(text)
    return path


def test_an_executor_on_other_machines_runs_the_scripts(here: Path, staging: Staging) -> None:
    """There a job is run by a worker, whose directory is not the driver's; paths are those of the driver."""
    job = job_template("templates/point")
    with Elsewhere(here.parent / "there") as executor, workflow(executor, jobs=JobSettings(staging=staging)):
        first = job("a/1", x=1.0)
        second = job("a/2", x=2.0, source=first["file"])
        third = job("a/3", x=3.0, source=write("hello"))
        found = resolve([first, second, third])
    assert [one["point"].x for one in found] == [1.0, 2.0, 3.0]
    assert found[1]["file"] == Path("results/a/2/out.txt")
    first_text, second_text, third_text = (one["file"].read_text() for one in found)
    assert second_text.endswith(first_text)
    assert third_text.endswith("hello")
    assert [path.name for path in (here.parent / "there").iterdir()] == ["written.txt"]


def test_a_failure_comes_back_from_other_machines(here: Path) -> None:
    """The error of a script that failed there is the same error here."""
    job = job_template("templates/point")
    with (
        Elsewhere(here.parent / "there") as executor,
        workflow(executor),
        pytest.raises(JobFailed, match="negative") as caught,
    ):
        resolve(job("a/1", x=-1.0))
    assert caught.value.status == 1
    assert caught.value.locator == "a/1"


def test_local_pools_have_their_scripts_started_by_the_driver(here: Path) -> None:
    """On this machine the driver runs the scripts: they take no worker, and end with the driver's block."""
    job = job_template("templates/point")
    for executor in (ProcessPool(1), ProcessPoolExecutor(1, get_context("spawn"))):
        with executor, workflow(ConcurrentRunner(executor)):
            found = resolve(job(f"{type(executor).__name__}", x=1.0))
        shell = int(found["file"].read_text())
        assert shell > 0
        lock = Path("results", type(executor).__name__, "job.lock").read_text()
        assert lock.startswith(f"process {os.getpid()} on ")
