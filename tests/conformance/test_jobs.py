# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Template jobs: called like tasks, with futures in, futures out, and the same files on every runner."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from parman import (
    ArgumentError,
    FutureTypeError,
    InPlace,
    Job,
    JobFailed,
    JobSettings,
    Scratch,
    Staging,
    Workflow,
    as_resolved,
    job_template,
    resolve,
    task,
)

Block = Callable[..., Workflow]

SPLIT_INFO = '''
from pathlib import Path

def mock(*, text: str, count: int = 2) -> list[Path]:
    """Write a text into some files."""
    return [Path(f"part_{i}.txt") for i in range(count)]
'''
SPLIT_RUN = """#!/usr/bin/env python3
import json
from pathlib import Path

kwargs = json.loads(Path("kwargs.json").read_text())
names = [f"part_{i}.txt" for i in range(kwargs["count"])]
for i, name in enumerate(names):
    Path(name).write_text(f"{kwargs['text']} {i}\\n")
print("wrote", len(names))
Path("result.json").write_text(json.dumps(names))
"""
JOIN_INFO = """
from pathlib import Path

def mock(parts: list[Path], bonus: float = 0.0):
    return {"all": Path("all.txt"), "lines": 0, "score": (0.0, "good")}
"""
JOIN_RUN = """#!/bin/sh
set -e
cat $(sed -n 's/^ *"\\(.*txt\\)".*$/\\1/p' kwargs.json) > all.txt
printf '{"all": "all.txt", "lines": %d, "score": [1.5, "bad"]}' $(wc -l < all.txt) > result.json
"""
FAIL_INFO = "def mock(why: str) -> int:\n    return 0\n"
FAIL_RUN = "#!/bin/sh\ngrep why kwargs.json >&2\nexit 3\n"


def make(root: Path, name: str, info: str, script: str) -> Path:
    """Make a template directory."""
    directory = root / name
    directory.mkdir(parents=True)
    (directory / "jobinfo.py").write_text(info)
    run = directory / "run"
    run.write_text(script)
    run.chmod(0o755)
    return directory


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def split(here: Path) -> Job:
    """Make a job that writes some files."""
    return job_template(make(here / "templates", "split", SPLIT_INFO, SPLIT_RUN))


@pytest.fixture
def join(here: Path) -> Job:
    """Make a job that reads some files."""
    return job_template(make(here / "templates", "join", JOIN_INFO, JOIN_RUN))


@pytest.fixture
def fail(here: Path) -> Job:
    """Make a job whose script fails."""
    return job_template(make(here / "templates", "fail", FAIL_INFO, FAIL_RUN))


@pytest.fixture(params=["inplace", "scratch"])
def staging(request: pytest.FixtureRequest, here: Path) -> Staging:
    """Give each staging in turn."""
    return InPlace("results") if request.param == "inplace" else Scratch("results", here / "tmp")


@task
def first_line(path: Path) -> str:
    return path.read_text().splitlines()[0]


@task
def greeting(name: str) -> str:
    return f"hello {name}"


def tree(root: Path) -> dict[str, bytes]:
    """Return the contents of all files that hold no times and no absolute paths."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    skip = ("job.status", "job.lock", "jobenv.sh")
    return {str(path.relative_to(root)): path.read_bytes() for path in files if path.name not in skip}


@pytest.mark.core
@pytest.mark.needs("directory")
def test_a_chain_of_jobs_and_tasks(block: Block, split: Job, join: Job, staging: Staging, backend: Any) -> None:
    """Jobs take futures of tasks and of other jobs, and tasks take theirs: paths can be opened everywhere."""
    with block(jobs=JobSettings(staging=staging)):
        parts = split("g0/split", text=greeting("you"), count=3)
        assert isinstance(parts, list)
        assert len(parts) == 3
        if not backend.serial:
            assert all(isinstance(part, Future) for part in parts)
        joined = join("g0/join", parts=parts)
        line = first_line(joined["all"])
        found = resolve((parts, joined, line))
    assert found[0] == [Path(f"results/g0/split/part_{i}.txt") for i in range(3)]
    assert found[1] == {"all": Path("results/g0/join/all.txt"), "lines": 3, "score": (1.5, "bad")}
    assert found[2] == "hello you 0"
    assert Path("results/g0/split/run.out").read_text() == "wrote 3\n"


def test_the_files_are_the_same_on_every_runner(block: Block, split: Job, join: Job, staging: Staging) -> None:
    """What a workflow leaves in the results root does not depend on the runner, nor on the staging."""
    with block(jobs=JobSettings(staging=staging)):
        join("g0/join", parts=split("g0/split", text="a"))
    files = tree(Path("results"))
    assert files["g0/join/kwargs.json"] == (
        b'{\n  "parts": [\n    "../split/part_0.txt",\n    "../split/part_1.txt"\n  ],\n  "bonus": 0.0\n}\n'
    )
    assert files["g0/join/all.txt"] == b"a 0\na 1\n"
    assert sorted(files) == [
        *(f"g0/join/{name}" for name in ("all.txt", "jobinfo.py", "kwargs.json", "kwargs.sha256", "result.json")),
        *(f"g0/join/{name}" for name in ("run", "run.err", "run.out", "template.sha256")),
        *(f"g0/split/{name}" for name in ("jobinfo.py", "kwargs.json", "kwargs.sha256", "part_0.txt", "part_1.txt")),
        *(f"g0/split/{name}" for name in ("result.json", "run", "run.err", "run.out", "template.sha256")),
    ]


@pytest.mark.core
def test_a_finished_job_is_loaded(block: Block, split: Job, staging: Staging) -> None:
    """Called again, in another block, a job gives its result without running its script."""
    settings = JobSettings(staging=staging)
    with block(jobs=settings):
        before = resolve(split("s", text="a"))
    stamp = Path("results/s/run.out").stat().st_mtime_ns
    with block(jobs=settings):
        after = resolve(split("s", text="a"))
    assert before == after
    assert Path("results/s/run.out").stat().st_mtime_ns == stamp


@pytest.mark.core
def test_a_failed_job_fails_what_depends_on_it(block: Block, fail: Job, staging: Staging) -> None:
    """The error names the locator, the script and its exit status, and shows the end of its error messages."""
    with block(jobs=JobSettings(staging=staging)):
        number = fail("f/1", why="the moon")
        line = same(number)
        with pytest.raises(JobFailed, match=r"f/1.*'run'.*exit status 3(.|\n)*the moon") as caught:
            resolve(line)
    assert caught.value.status == 3
    assert caught.value.locator == "f/1"
    assert any("test_jobs.py" in note for note in caught.value.__notes__)


@task
def same(x: int) -> int:
    return x


def test_jobs_are_checked_at_the_call(block: Block, split: Job, join: Job) -> None:
    """Wrong arguments, types and futures are errors at the caller's line, before anything is written."""
    with block():
        with pytest.raises(TypeError, match=r"split\(\).*'text'"):
            split("s")
        with pytest.raises(TypeError, match=r"split\(\).*'colour'"):
            split("s", text="a", colour=3)
        with pytest.raises(ArgumentError, match=r"count is 'b'.*int"):
            split("s", text="a", count="b")
        with pytest.raises(ArgumentError, match=r"parts\[0\] is 'a.txt'.*Path"):
            join("j", parts=["a.txt"])
        with pytest.raises(ArgumentError, match=r"locator.*\.\."):
            split("../s", text="a")
        with pytest.raises(FutureTypeError, match=r"text.*future of int"):
            split("s", text=future_of(3))
    assert not Path("results").exists()


def future_of(value: int) -> Any:
    """Return a typed future of a number, also on the serial runner."""
    future: Any = Future()
    future.declared = int
    future.set_result(value)
    return future


def test_a_count_that_is_still_to_come(block: Block, split: Job, join: Job, backend: Any) -> None:
    """Where the mock needs the value of a future, the result is one future, with items of their own."""
    with block():
        parts = split("s", text="a", count=same(2))
        if not backend.serial:
            assert isinstance(parts, Future)
        joined = join("j", parts=[parts[0], parts[1]])
        assert resolve(joined["lines"]) == 2


def test_settings_of_a_template_go_before_those_of_the_block(block: Block, here: Path) -> None:
    """Script and variables are set per template and per block; a template without that script has `run`."""
    info = "def mock() -> str:\n    return ''\n"
    echo = '#!/bin/sh\nprintf \'"%s %s %s"\' "$0" "$A" "$B" > result.json\n'
    path = make(here / "templates", "echo", info, echo)
    (path / "submit.sh").write_text(echo)
    (path / "submit.sh").chmod(0o755)
    plain = job_template(path)
    own = job_template(path, JobSettings(script="run", env={"A": "mine"}))
    without = job_template(path, JobSettings(script="nothing.sh"))
    with block(jobs=JobSettings(script="submit.sh", env={"A": "a", "B": "b c"}, staging=InPlace("out"))):
        found = resolve([plain("1"), own("2"), without("3")])
    assert found == ["./submit.sh a b c", "./run mine b c", "./run a b c"]
    assert sorted(path.name for path in Path("out").iterdir()) == ["1", "2", "3"]


def test_without_a_block_a_job_runs_in_place(split: Job) -> None:
    """Called outside of a block a job runs like any task, with its own settings."""
    found = split("alone", text="a", count=1)
    assert found == [Path("results/alone/part_0.txt")]
    assert found[0].read_text() == "a 0\n"


def test_jobs_as_they_come(block: Block, split: Job) -> None:
    """Jobs can be looped over in the order in which they finish."""
    with block():
        found = dict(as_resolved([split(f"s{i}", text=str(i), count=1) for i in range(3)]))
    assert found == {i: [Path(f"results/s{i}/part_0.txt")] for i in range(3)}


def test_results_have_the_root_in_them(block: Block, split: Job, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths can be opened from the driver's directory, also if the staging was made in another one."""
    staging = InPlace("results")
    other = here / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    with block(jobs=JobSettings(staging=staging)):
        found = resolve(split("s", text="a", count=1))
    assert found == [here / "results/s/part_0.txt"]
    assert list(other.iterdir()) == []
