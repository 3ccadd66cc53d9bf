# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dry run of jobs: their mistakes are found in seconds, no script runs, nothing is written."""

# ruff: noqa: PT012 (what raises is that the block is left)

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import TIMEOUT

from parman import DryRunErrors, DryRunner, InPlace, Job, JobSettings, job_template, task, workflow

INFO = """
from pathlib import Path

def mock(*, source: Path, scale: float = 1.0, options: dict | None = None):
    return {"table": Path("table.txt"), "rows": [0, 0]}
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Make a job in an empty directory, whose script tells that it ran."""
    monkeypatch.chdir(tmp_path)
    template = tmp_path / "templates" / "read"
    template.mkdir(parents=True)
    (template / "jobinfo.py").write_text(INFO)
    (template / "run").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (template / "run").chmod(0o755)
    Path("data.txt").write_text("1 2\n")
    return job_template("templates/read")


@task
def no_mock(table: Path) -> float:
    raise AssertionError("a task ran")


def written() -> Path:
    return Path("not-yet.txt")


@task(mock=written)
def write() -> Path:
    raise AssertionError("a task ran")


def mistakes(caught: pytest.ExceptionInfo[DryRunErrors]) -> list[str]:
    """Return the texts of what a dry run found."""
    return [str(error) for error in caught.value.exceptions]


def test_a_sound_workflow(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    """Jobs give what their mocks return, with paths as they will be; what jobs or tasks make need not be there."""
    with caplog.at_level(logging.WARNING, "parman"), workflow(DryRunner(proceed=True)):
        first = job("g0/first", source=Path("data.txt"))
        assert first == {"table": Path("results/g0/first/table.txt"), "rows": [0, 0]}
        job("g0/second", source=first["table"])
        job("g0/third", source=Path("results/g0/first/log.txt"))
        job("g0/fourth", source=write())
        no_mock(first["table"])
    assert "no mistakes found" in caplog.text
    assert "4 x read" in caplog.text
    assert "Longest chain: at least 2 calls" in caplog.text
    assert sorted(path.name for path in Path().iterdir()) == ["data.txt", "templates"]


def test_all_mistakes_at_once(job: Job, tmp_path: Path) -> None:
    """Arguments, JSON, files, locators, templates and scripts: each mistake is found, with its line."""
    empty = tmp_path / "templates" / "empty"
    empty.mkdir()
    (empty / "jobinfo.py").write_text("def mock() -> int:\n    return 0\n")
    idle = tmp_path / "templates" / "idle"
    idle.mkdir()
    (idle / "jobinfo.py").write_text("def mock() -> int:\n    return 0\n")
    (idle / "run").write_text("#!/bin/sh\n")
    with pytest.raises(DryRunErrors) as caught, workflow(DryRunner(proceed=True)):
        job("a", source=Path("data.txt"), scale="big")
        job("b", source=Path("data.txt"), options={"x": object()})
        job("c", source=Path("missing.txt"))
        job("d", source=Path("data.txt"))
        job("d", source=Path("data.txt"))
        job("../e", source=Path("data.txt"))
        job("f", source="data.txt")
        job("g")
        job_template(empty)("h")
        job_template(idle)("i")
        job("j", source=Path("data.txt"), scale=float("nan"))
    found = mistakes(caught)
    expected = [
        "scale is 'big'",
        "options['x'] is of the type object",
        "'missing.txt', which is not there",
        "'d' is that of the call at",
        "'../e' does not name a directory",
        "source is 'data.txt' (str)",
        "'source'",
        "no script 'run'",
        "chmod +x",
        "scale is nan, which JSON does not have",
    ]
    assert len(found) == len(expected), found
    for text, part in zip(found, expected, strict=True):
        assert part in text
    notes = [error.__notes__[-1] for error in caught.value.exceptions]
    assert all("test_jobs_in_a_dry_run.py" in note for note in notes)
    assert len(set(notes)) == len(expected)
    assert not Path("results").exists()


def test_what_is_left_of_an_earlier_run(job: Job) -> None:
    """Directories that would stop the run in the night are found now, unless the settings deal with them."""
    for name, files in {"unfinished": ["kwargs.json"], "broken": ["result.json"]}.items():
        Path("results", name).mkdir(parents=True)
        for file in files:
            Path("results", name, file).write_text("{}")
    with pytest.raises(DryRunErrors) as caught, workflow(DryRunner(proceed=True)):
        job("unfinished", source=Path("data.txt"))
        job("broken", source=Path("data.txt"))
    assert ["did not finish" in text or "no kwargs.json" in text for text in mistakes(caught)] == [True, True]
    again = JobSettings(rerun={"unfinished"}, staging=InPlace("results"))
    with workflow(DryRunner(proceed=True), jobs=again):
        job("unfinished", source=Path("data.txt"))


def test_a_broken_template_is_an_error_where_it_is_loaded(tmp_path: Path) -> None:
    """In a script, a template that can't be loaded ends it at that line, dry or not."""
    script = tmp_path / "script.py"
    script.write_text("from parman import *\nwith workflow('dry'):\n    job_template('nowhere')('a')\n")
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=TIMEOUT, cwd=tmp_path, check=False
    )
    assert ended.returncode == 1
    assert "there is no template directory" in ended.stderr
    assert "script.py:3" in ended.stderr


def test_all_mistakes_of_one_call(job: Job) -> None:
    """A file that is missing, a type, what is no JSON and an unknown keyword are told, each on its own."""
    with pytest.raises(DryRunErrors) as caught, workflow(DryRunner(proceed=True)):
        job("a", source=Path("missing.txt"), scale="big", options={"x": object(), "y": [object()]}, colour=1)
        job("../b", source=Path("missing.txt"))
        job(source=Path("missing.txt"), scale="big")
    found = mistakes(caught)
    expected = [
        "unexpected keyword argument 'colour'",
        "scale is 'big'",
        "options['x'] is of the type object",
        "options['y'][0] is of the type object",
        "source names the file 'missing.txt', which is not there",
        "'../b' does not name a directory",
        "source names the file 'missing.txt', which is not there",
        "missing 1 required positional argument: 'locator'",
        "scale is 'big'",
        "source names the file 'missing.txt', which is not there",
    ]
    assert len(found) == len(expected), found
    for text, part in zip(found, expected, strict=True):
        assert part in text
