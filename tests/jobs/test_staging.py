# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Stagings: the same results wherever scripts run, and a staging that somebody else has written."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import cloudpickle
import pytest
from helpers.templates import RESUMES, SCRIPT, Made, contents, make

from parman import ArgumentError, InPlace, JobError, JobFailed, JobSettings, Scratch, resolve, workflow
from parman.jobs.directory import JobDirectory, State
from parman.jobs.staging import Place, Staging, WorkDirectory, globalize, localize


class Elsewhere(Staging):
    """A staging as a user would write it: scripts run on another machine, which is another directory tree here.

    What is on this machine is at the same path below a mirror of the whole tree there. Files get there and back through
    a depot, as with remote storage, never by the other tree reading this one.
    """

    def __init__(self, root: Path, machine: Path) -> None:
        super().__init__(root)
        self.machine = machine
        self.log: list[str] = []

    def open(self, home: Place) -> WorkDirectory:
        self.machine.mkdir(parents=True, exist_ok=True)
        tree = Path(tempfile.mkdtemp(dir=self.machine)).resolve()
        path = tree.joinpath(*home.path.parts[1:])
        path.mkdir(parents=True)
        return _There(self, home.locator, home.here, path)

    def reopen(self, home: Place, path: Path) -> WorkDirectory | None:
        is_ours = (
            path.is_relative_to(self.machine.resolve())
            and path.parts[-len(home.path.parts) + 1 :] == home.path.parts[1:]
        )
        return _There(self, home.locator, home.here, path) if is_ours and path.is_dir() else None


class _There(WorkDirectory):
    def fetch(self, source: Path, target: Path) -> None:
        assert isinstance(self.staging, Elsewhere)
        assert target.is_relative_to(self.staging.machine.resolve())
        self._send(source, target)

    def store(self, source: Path, target: Path) -> None:
        assert isinstance(self.staging, Elsewhere)
        assert target.is_relative_to(self.staging.top)
        self._send(source, target)

    def _send(self, source: Path, target: Path) -> None:
        with tempfile.TemporaryDirectory() as depot:
            parcel = Path(depot, "parcel")
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, parcel)
            target.parent.mkdir(parents=True, exist_ok=True)
            if parcel.is_dir():
                shutil.copytree(parcel, target, dirs_exist_ok=True)
            else:
                shutil.copy2(parcel, target)

    def close(self, succeeded: bool) -> None:
        if succeeded:
            shutil.rmtree(self.path)


MakeStaging = Callable[[Path], Any]


def _in_place(folder: Path) -> Any:
    return InPlace(folder / "results")


def _scratch(folder: Path) -> Any:
    return Scratch(folder / "results", folder / "tmp" / "deep", "pre-", "-suf")


def _elsewhere(folder: Path) -> Any:
    return Elsewhere(folder / "results", folder / "machine")


ALL = pytest.mark.parametrize("staging_of", [_in_place, _scratch, _elsewhere])
AWAY = pytest.mark.parametrize("staging_of", [_scratch, _elsewhere])


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


FILES_INFO = """\
from pathlib import Path

def mock(files: list[Path], name: str = "out"):
    return {"one": Path("one.txt"), "folder": Path("folder"), "text": "text"}
"""
FILES = """\
text = ""
for name in kwargs["files"]:
    path = Path(name)
    assert not path.is_absolute()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            text += file.name + ":" + file.read_text() + ";"
Path("folder/deep").mkdir(parents=True)
Path("folder/deep/two.txt").write_text(text)
Path("one.txt").write_text(kwargs["name"])
Path("extra.log").write_text("log")
Path("junk").write_text("junk")
Path("result.extra").write_text("extra.log\\n")
print("out")
print("err", file=sys.stderr)
answer({"one": "one.txt", "folder": "folder", "text": text})
"""


def _inputs() -> list[Path]:
    for name in ("data/a", "data/b/c", "d", "../beside"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(f"in {Path(name).name}")
    Path("link").symlink_to("d")
    return [Path("data"), Path("d").absolute(), Path("../beside"), Path("link"), Path("data/../d")]


@ALL
def test_inputs_and_outputs_get_where_they_belong(tmp_path: Path, staging_of: MakeStaging) -> None:
    """Files, directories, links and absolute paths reach the script; what it makes is below the results root."""
    folder = tmp_path / "work"
    folder.mkdir()
    os.chdir(folder)
    made = make(folder / "templates", jobinfo=FILES_INFO, script=FILES)
    found = made.job(staging=staging_of(folder))("a/b", files=_inputs(), name="x")
    home = folder / "results/a/b"
    assert found["text"] == "a:in a;c:in c;d:in d;beside:in beside;link:in d;d:in d;"
    assert found["one"] == home / "one.txt"
    assert found["folder"] == home / "folder"
    assert (home / "one.txt").read_text() == "x"
    assert (home / "folder/deep/two.txt").read_text() == found["text"]
    kept = set(contents(home))
    always = {"kwargs.json", "kwargs.sha256", "result.json", "job.status", "run", "run.out", "run.err", "jobinfo.py"}
    assert always | {"one.txt", "folder/deep/two.txt", "result.extra", "extra.log"} <= kept
    assert ("junk" in kept) == (staging_of is _in_place)
    assert made.job(staging=staging_of(folder))("a/b", files=_inputs_again(), name="x") == found
    assert made.times() == 1


def _inputs_again() -> list[Path]:
    return [Path("data"), Path("d"), Path("../beside").absolute(), Path("link"), Path("d")]


@ALL
def test_outputs_of_one_job_are_inputs_of_another(tmp_path: Path, staging_of: MakeStaging) -> None:
    """A file that a job has made reaches the next one, by a path that is relative to its work directory."""
    made = make(tmp_path / "templates", jobinfo=FILES_INFO, script=FILES)
    (tmp_path / "in.txt").write_text("in")
    staging = staging_of(tmp_path)
    with workflow("threads", jobs=JobSettings(staging=staging)):
        job = made.job()
        first = job("g00/a", files=[tmp_path / "in.txt"])
        second = job("g00/b", files=[first["one"], first["folder"]])
    assert second["text"].result() == "one.txt:out;two.txt:in.txt:in;;"
    assert '"../a/one.txt"' in Path("results/g00/b/kwargs.json").read_text()


@ALL
def test_stagings_leave_the_same_record(tmp_path: Path, staging_of: MakeStaging) -> None:
    """A job that was made with one staging is loaded with any other."""
    made = make(tmp_path / "templates", jobinfo=FILES_INFO, script=FILES)
    (tmp_path / "in.txt").write_text("in")
    first = made.job(staging=staging_of(tmp_path))("a", files=[Path("in.txt")])
    for other in (_in_place, _scratch, _elsewhere):
        assert made.job(staging=other(tmp_path))("a", files=[Path("in.txt")]) == first
    assert made.times() == 1


@AWAY
def test_the_work_directory_is_removed_on_success(tmp_path: Path, staging_of: MakeStaging) -> None:
    """Nothing of a job that went well is left where it ran."""
    made = make(tmp_path / "templates")
    made.job(staging=staging_of(tmp_path))("a")
    (where,) = made.directories()
    assert not Path(where).exists()
    assert not Path(where).is_relative_to(tmp_path / "results")


def test_scratch_leaves_nothing_at_all(tmp_path: Path) -> None:
    """The fresh directory of a job is removed with all the directories around it."""
    make(tmp_path / "templates").job(staging=_scratch(tmp_path))("a/b/c")
    assert contents(tmp_path / "tmp") == {"deep": "a directory"}


@AWAY
@pytest.mark.parametrize("mode", ["fail", "nothing", "late", "kill"])
def test_the_work_directory_is_kept_on_failure(tmp_path: Path, staging_of: MakeStaging, mode: str) -> None:
    """Where a job failed, all is left as it is, and the error says where; its traces are with the results."""
    made = make(tmp_path / "templates")
    with pytest.raises(JobFailed) as caught:
        made.job(staging=staging_of(tmp_path), env={"MODE": mode})("a")
    (where,) = made.directories()
    assert caught.value.directory == where
    assert where in str(caught.value)
    assert (Path(where) / "kwargs.json").exists()
    kept = set(contents(tmp_path / "results/a"))
    assert {"kwargs.json", "kwargs.sha256", "run", "run.out", "run.err", "jobinfo.py"} <= kept
    assert "result.json" not in kept
    with pytest.raises(JobError) as caught_again:
        made.job(staging=staging_of(tmp_path))("a")
    assert where in str(caught_again.value)


@AWAY
def test_a_work_directory_is_gone_back_to(tmp_path: Path, staging_of: MakeStaging) -> None:
    """A job that can resume goes on in the directory in which it failed, which is removed when it has succeeded."""
    made = make(tmp_path / "templates", jobinfo=RESUMES)
    staging = staging_of(tmp_path)
    with pytest.raises(JobFailed):
        made.job(staging=staging, env={"MODE": "fail"})("a")
    assert made.job(staging=staging)("a")["twice"] == 2
    first, second = made.directories()
    assert first == second
    assert not Path(first).exists()
    assert made.job(staging=staging)("a")["twice"] == 2
    assert made.times() == 2


def test_scratch_directories_are_named_as_asked(tmp_path: Path) -> None:
    """Fresh directories are made below `tmp`, with prefix and suffix."""
    made = make(tmp_path / "templates")
    made.job(staging=_scratch(tmp_path))("a")
    (where,) = made.directories()
    name = Path(where).relative_to(tmp_path / "tmp/deep").parts[0]
    assert name.startswith("pre-")
    assert name.endswith("-suf")


def test_scratch_uses_the_directory_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `tmp`, fresh directories are made where the system has its temporary files."""
    (tmp_path / "system").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "system"))
    made = make(tmp_path / "templates")
    made.job(staging=Scratch(tmp_path / "results"))("a")
    assert Path(made.directories()[0]).is_relative_to(tmp_path / "system")
    assert contents(tmp_path / "system") == {}


def test_a_relative_scratch_directory_works(tmp_path: Path) -> None:
    """A relative `tmp` is meant as seen from the directory in which the staging was made."""
    made = make(tmp_path / "templates")
    staging = Scratch("results", "scratch")
    (tmp_path / "other").mkdir()
    os.chdir(tmp_path / "other")
    made.job(staging=staging)("a")
    assert Path(made.directories()[0]).is_relative_to(tmp_path / "scratch")
    assert (tmp_path / "results/a/result.json").exists()
    assert contents(tmp_path / "other") == {}


@ALL
def test_a_staging_belongs_to_where_it_was_made(tmp_path: Path, staging_of: MakeStaging) -> None:
    """Stagings can be compared, printed and pickled, also those of others."""
    staging = staging_of(tmp_path)
    assert staging == staging_of(tmp_path)
    assert staging != staging_of(tmp_path / "other")
    assert repr(staging) == f"{type(staging).__name__}({str(tmp_path / 'results')!r})"
    assert pickle.loads(pickle.dumps(staging)) == staging
    assert cloudpickle.loads(cloudpickle.dumps(staging)) == staging


def test_stagings_with_other_directories_differ(tmp_path: Path) -> None:
    """What makes two stagings different is all that they were made with."""
    assert InPlace("a") != InPlace("b")
    assert InPlace("a") != Scratch("a")
    assert Scratch("a", "b") != Scratch("a", "c")
    assert Scratch("a", prefix="x") != Scratch("a", prefix="y")
    here = InPlace("a")
    (tmp_path / "sub").mkdir()
    os.chdir(tmp_path / "sub")
    assert InPlace("a") != here


def test_what_is_no_staging_is_refused() -> None:
    """A path, or a class, where a staging should be is an error that shows one."""
    for wrong in ("results", Path("results"), InPlace):
        with pytest.raises(ArgumentError, match=r"a staging such as InPlace\('results'\)"):
            JobSettings(staging=wrong)  # type: ignore[arg-type]


def test_a_staging_has_to_say_how_it_opens() -> None:
    """A staging, or work directory, that lacks what the base class asks for can't be made."""

    class Half(Staging):
        pass

    class HalfDirectory(WorkDirectory):
        pass

    with pytest.raises(TypeError, match="open"):
        Half()  # type: ignore[abstract]
    with pytest.raises(TypeError, match=r"fetch.*store"):
        HalfDirectory(InPlace(), PurePosixPath("a"), Path())  # type: ignore[abstract]


@ALL
def test_trees_are_localized_and_globalized(tmp_path: Path, staging_of: MakeStaging) -> None:
    """`localize` and `globalize` rewrite all paths of a tree, and bring the files; texts stay as they are."""
    staging = staging_of(tmp_path)
    Path("in.txt").write_text("in")
    home = Place(staging, PurePosixPath("a/b"), tmp_path)
    home.path.mkdir(parents=True)
    work = staging.open(home)
    tree = {"x": [Path("in.txt"), "in.txt"], "y": (tmp_path / "in.txt", 1)}
    relative = Path("../../../in.txt")
    assert localize(tree, work) == {"x": [relative, "in.txt"], "y": (relative, 1)}
    assert (work.path / relative).read_text() == "in"
    (work.path / "out.txt").write_text("out")
    out = home.path / "out.txt"
    assert globalize([Path("out.txt"), {"z": Path("./out.txt")}, "out.txt"], work) == [out, {"z": out}, "out.txt"]
    assert out.read_text() == "out"
    work.close(True)


class Minimal(Staging):
    """The least that a staging has to say: no `reopen`, no `close`."""

    def open(self, home: Place) -> WorkDirectory:
        path = Path(tempfile.mkdtemp(dir=self.base)).resolve().joinpath(*home.path.parts[1:])
        path.mkdir(parents=True)
        return _Plain(self, home.locator, home.here, path)


class _Plain(WorkDirectory):
    def fetch(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)

    def store(self, source: Path, target: Path) -> None:
        shutil.copy(source, target)


def test_the_least_that_a_staging_says_is_enough(tmp_path: Path) -> None:
    """A staging with `open`, `fetch` and `store` alone runs jobs; what failed there can't go on, and is told so."""
    Path("in.txt").write_text("in")
    made = make(tmp_path / "templates", jobinfo=RESUMES)
    staging = Minimal(tmp_path / "results")
    assert made.job(staging=staging)("a", x=2, file=Path("in.txt")) == {
        "twice": 4,
        "made": tmp_path / "results/a/made.txt",
    }
    with pytest.raises(JobFailed):
        made.job(staging=staging, env={"MODE": "fail"})("b")
    with pytest.raises(JobError, match=r"can't go on in .*parman-clean-results"):
        made.job(staging=staging)("b")


class Broken(Elsewhere):
    """A staging whose storage fails."""

    def open(self, home: Place) -> WorkDirectory:
        work = super().open(home)
        work.__class__ = _Failing
        return work


class _Failing(_There):
    def _send(self, source: Path, target: Path) -> None:
        raise ConnectionError(5, "the storage does not answer", str(source))


def test_a_storage_that_fails_fails_the_job(tmp_path: Path) -> None:
    """An error of somebody's storage fails the job and names the file; the next call brings the result home."""
    made = make(tmp_path / "templates")
    with pytest.raises(JobError, match=r"the storage does not answer: \S*/made\.txt"):
        made.job(staging=Broken(tmp_path / "results", tmp_path / "machine"))("a")
    assert not (tmp_path / "results/a/result.json").exists()
    assert made.job(staging=_elsewhere(tmp_path))("a")["twice"] == 2
    assert made.times() == 1  # it had ended well where it ran


@pytest.mark.parametrize("runner", ["serial", "threads:2", "processes:2"])
@ALL
def test_all_runners_and_stagings_give_the_same(tmp_path: Path, staging_of: MakeStaging, runner: str) -> None:
    """The same calls give the same files, byte for byte, on each runner with each staging."""
    made = make(tmp_path / "templates", script=SCRIPT)
    with workflow(runner, jobs=JobSettings(staging=staging_of(tmp_path))):
        futures = [made.job()(f"g/{x}", x=x) for x in range(3)]
    assert [result["twice"] for result in resolve(futures)] == [0, 2, 4]
    assert [_result_files(tmp_path / "results/g" / str(x)) for x in range(3)] == [_expected(x, made) for x in range(3)]


def _result_files(home: Path) -> dict[str, Any]:
    names = ("kwargs.json", "kwargs.sha256", "result.json", "made.txt", "run.out", "run.err", "run")
    return {name: (home / name).read_bytes() for name in names}


def _expected(x: int, made: Made) -> dict[str, Any]:
    return {
        "kwargs.json": f'{{\n  "x": {x},\n  "file": null,\n  "more": []\n}}\n'.encode(),
        "kwargs.sha256": b"",
        "result.json": f'{{"twice": {2 * x}, "made": "made.txt"}}'.encode(),
        "made.txt": f"made from {x}".encode(),
        "run.out": b"",
        "run.err": b"",
        "run": (made.path / "run").read_bytes(),
    }


def test_a_failure_that_nobody_noted_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that failed in scratch after its driver was killed has failed: it is not run again unasked."""
    monkeypatch.chdir(tmp_path)
    made = make(Path("templates"), "t")
    settings: dict[str, Any] = {"staging": Scratch("results", "tmp"), "env": {"MODE": "fail"}}
    with pytest.raises(JobFailed):
        made.job(**settings)("a")
    (scratch,) = made.directories()
    for path in Path("results/a").iterdir():
        path.unlink()
    JobDirectory(Path("results/a")).write_prepared(Path(scratch))  # all that there was when the driver was killed
    with pytest.raises(JobFailed, match=r"exit status 3(.|\n)*what went wrong"):
        made.job(**settings)("a")
    assert made.times() == 1
    assert JobDirectory(Path("results/a")).state() is State.FAILED
    settings["env"] = {"MODE": ""}
    assert made.job(**settings, rerun="failed")("a")["twice"] == 2
