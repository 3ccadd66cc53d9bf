# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calling a job whose directory holds something already: nothing that is done is done again, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.templates import JOBINFO, RESUMES, SCRIPT, Made, contents, make, old_directory, staging_of

from parman import InPlace, JobError, JobFailed, JobSettings, Scratch, job_template, resolve, workflow
from parman.jobs.directory import JobDirectory, State
from parman.jobs.run import Run

STAGINGS = [InPlace, Scratch]


class Bench:
    """A template, a staging, and the directory of the job `a/b` that is made with them."""

    def __init__(self, folder: Path, kind: Any, jobinfo: str = JOBINFO, script: str = SCRIPT) -> None:
        self.made = make(folder / "templates", jobinfo=jobinfo, script=script)
        self.staging = staging_of(kind, folder)
        self.home = folder / "results" / "a" / "b"

    def call(self, *, mode: str = "", settings: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Call the job without a block, as a driver would that was just started."""
        job = self.made.job(staging=self.staging, env={"MODE": mode}, **settings or {})
        return job("a/b", **kwargs)

    def fails(self, mode: str, **kwargs: Any) -> None:
        """Let the script fail: by its exit status, by being killed, without a result, or with one."""
        with pytest.raises(JobFailed):
            self.call(mode=mode, **kwargs)

    def refused(self, text: str, **kwargs: Any) -> None:
        """Check that a call is refused with a message that says so, and that no script runs."""
        before = self.made.times()
        with pytest.raises(JobError, match=text) as caught:
            self.call(**kwargs)
        assert not isinstance(caught.value, JobFailed)
        assert str(self.home) in str(caught.value)
        assert self.made.times() == before

    def asides(self) -> list[str]:
        """Return the directories that were moved aside."""
        return sorted(path.name for path in self.home.parent.glob("b.old.*"))

    def json(self, name: str) -> Any:
        """Read a file of the job."""
        return json.loads((self.home / name).read_text())


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=STAGINGS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(tmp_path, request.param)


@pytest.fixture(params=STAGINGS)
def resuming(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(tmp_path, request.param, RESUMES)


# --- nothing changed ---


def test_a_finished_job_is_not_run_again(bench: Bench) -> None:
    """The same call again gives the same result from the files, and changes none of them."""
    first = bench.call(x=3)
    assert first == {"twice": 6, "made": bench.home / "made.txt"}
    before = contents(bench.home)
    assert bench.call(x=3) == first
    assert bench.made.times() == 1
    assert contents(bench.home) == before


def test_a_directory_of_parman_04_is_taken_as_it_is(bench: Bench) -> None:
    """A directory without the files that Parman 0.4 did not know of is a finished job, and stays as it is."""
    first = bench.call(x=3)
    old_directory(bench.home)
    (bench.home / "jobenv.sh").unlink(missing_ok=True)
    before = contents(bench.home)
    assert bench.call(x=3) == first
    assert bench.made.times() == 1
    assert contents(bench.home) == before


def test_an_old_directory_written_by_hand_is_taken() -> None:
    """Indented kwargs.json, kwargs.sha256 in any order and a result.json are all that a finished job needs."""
    made = make(Path("templates"))
    for name in ("in 1.txt", "in 2.txt"):
        Path(name).write_text(name)
    home = Path("results/g00/boot")
    home.mkdir(parents=True)
    paths = ["../../../in 1.txt", "../../../in 2.txt"]
    (home / "kwargs.json").write_text(json.dumps({"x": 2.0, "more": paths, "file": None}, indent=4))
    sums = subprocess.run(["sha256sum", *reversed(paths)], cwd=home, check=True, capture_output=True).stdout
    (home / "kwargs.sha256").write_bytes(sums)
    (home / "made.txt").touch()
    (home / "result.json").write_text('{"twice": 4, "made": "made.txt"}')
    before = contents(home)
    result = made.job()("g00/boot", x=2, more=[Path("in 1.txt"), Path("in 2.txt")])
    assert result == {"twice": 4, "made": home / "made.txt"}
    assert contents(home) == before
    assert made.times() == 0


def test_defaults_count_as_if_they_were_given(bench: Bench) -> None:
    """Arguments are compared with the defaults of the mock filled in."""
    bench.call()
    assert bench.json("kwargs.json") == {"x": 1, "file": None, "more": []}
    bench.call(x=1, file=None, more=[])
    assert bench.made.times() == 1


def test_the_order_of_arguments_does_not_count(bench: Bench) -> None:
    """A kwargs.json with its keys in another order is the same."""
    bench.call()
    (bench.home / "kwargs.json").write_text('{"more": [], "file": null, "x": 1}')
    bench.call()
    assert bench.made.times() == 1


# --- what the user says still holds ---


def test_null_for_arguments_says_that_the_result_holds(bench: Bench) -> None:
    """With null in kwargs.json, the result is taken for other arguments, which are written anew."""
    first = bench.call(x=3)
    (bench.home / "kwargs.json").write_text("null\n")
    assert bench.call(x=4) == first
    assert bench.json("kwargs.json") == {"x": 4, "file": None, "more": []}
    assert bench.call(x=4) == first
    assert bench.made.times() == 1
    bench.refused("other arguments: x", x=3)


def test_null_for_arguments_does_not_say_that_files_hold(bench: Bench) -> None:
    """With null in kwargs.json, a file that has changed is still an error."""
    Path("in.txt").write_text("one")
    bench.call(file=Path("in.txt"))
    (bench.home / "kwargs.json").write_text("null")
    Path("in.txt").write_text("two")
    bench.refused("other contents of these files: .*in.txt", file=Path("in.txt"))


def test_missing_sums_say_that_the_result_holds(bench: Bench) -> None:
    """Without kwargs.sha256, the result is taken for changed files, whose sums are written anew."""
    Path("in.txt").write_text("one")
    first = bench.call(file=Path("in.txt"))
    before = (bench.home / "kwargs.sha256").read_bytes()
    Path("in.txt").write_text("two")
    (bench.home / "kwargs.sha256").unlink()
    assert bench.call(file=Path("in.txt")) == first
    after = (bench.home / "kwargs.sha256").read_bytes()
    assert after != before
    assert after.split()[1] == before.split()[1]
    assert bench.made.times() == 1
    Path("in.txt").write_text("one")
    bench.refused("other contents", file=Path("in.txt"))


def test_both_can_be_said_at_once(bench: Bench) -> None:
    """With null in kwargs.json and without kwargs.sha256, the result is taken whatever has changed."""
    Path("in.txt").write_text("one")
    Path("other.txt").write_text("two")
    first = bench.call(file=Path("in.txt"))
    (bench.home / "kwargs.json").write_text("null")
    (bench.home / "kwargs.sha256").unlink()
    assert bench.call(file=Path("other.txt"), x=2) == first | {"twice": 2}
    assert bench.json("kwargs.json")["file"] == "../../../other.txt"


# --- what has changed ---


def test_other_arguments_are_refused(bench: Bench) -> None:
    """Other arguments are an error that names them; kwargs-new.json is written beside, and nothing else changes."""
    bench.call(x=3)
    before = contents(bench.home)
    bench.refused("other arguments: more, x", x=4, more=[Path("templates/job/run")])
    after = contents(bench.home)
    assert json.loads(after.pop("kwargs-new.json")) == {
        "x": 4,
        "file": None,
        "more": ["../../../templates/job/run"],
    }
    assert after == before
    bench.call(x=3)
    assert contents(bench.home) == before  # what is out of date is gone again
    assert bench.made.times() == 1


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, "1"), (0, None), (1, [1]), ([1, 2], [2, 1]), ({}, [])])
def test_arguments_of_another_type_are_others(tmp_path: Path, one: Any, other: Any) -> None:
    """What JSON writes in another way is another argument."""
    bench = Bench(tmp_path, InPlace, "def mock(x): return 1\n", "answer(1)\n")
    bench.call(x=one)
    bench.refused("other arguments: x", x=other)


def test_a_changed_file_is_refused(bench: Bench) -> None:
    """A changed file is an error that names it; kwargs-new.sha256 is written beside, and nothing else changes."""
    Path("in.txt").write_text("one")
    bench.call(file=Path("in.txt"))
    before = contents(bench.home)
    Path("in.txt").write_text("two")
    bench.refused(r"other contents of these files: \.\./\.\./\.\./in\.txt\.", file=Path("in.txt"))
    after = contents(bench.home)
    new = after.pop("kwargs-new.sha256")
    assert after == before
    assert new != before["kwargs.sha256"]
    Path("in.txt").write_text("one")
    bench.call(file=Path("in.txt"))
    assert contents(bench.home) == before


def test_a_file_that_is_gone_is_refused(bench: Bench) -> None:
    """A file among the arguments that is not there is an error that names it, also when there is a result."""
    Path("in.txt").write_text("one")
    bench.call(file=Path("in.txt"))
    Path("in.txt").unlink()
    with pytest.raises(JobError, match=r"there is no file 'in\.txt', which is its argument file"):
        bench.call(file=Path("in.txt"))


def test_files_of_a_directory_count_one_by_one(bench: Bench) -> None:
    """For a directory among the arguments, a changed, a new and a missing file in it are noticed by name."""
    Path("in/deep").mkdir(parents=True)
    for name in ("in/a", "in/deep/b", "in/deep/c"):
        Path(name).write_text(name)
    bench.call(file=Path("in"))
    Path("in/a").write_text("changed")
    Path("in/deep/c").unlink()
    Path("in/new").touch()
    bench.refused(r"/in/a, \S*/in/deep/c, \S*/in/new\.", file=Path("in"))


def _as_list(path: Path) -> Any:
    return [[path]]


def _as_dict(path: Path) -> Any:
    return {"a": {"b": path}}


@dataclass
class Inputs:
    path: Path
    number: int = 1


@pytest.mark.parametrize("wrap", [_as_list, _as_dict, Inputs, lambda path: (1, {"a": Inputs(path)})])
@pytest.mark.parametrize("kind", STAGINGS)
def test_files_are_found_in_trees(tmp_path: Path, kind: Any, wrap: Callable[[Path], Any]) -> None:
    """Files in lists, dicts, tuples and dataclasses are brought to the script, and their changes are noticed."""
    script = """\
    def texts(tree):
        if isinstance(tree, str):
            return [Path(tree).read_text()]
        items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []
        return [text for item in items for text in texts(item)]
    answer(texts(kwargs["x"]))
    """
    bench = Bench(tmp_path, kind, "def mock(x): return ['text']\n", script)
    Path("in.txt").write_text("one")
    assert bench.call(x=wrap(Path("in.txt"))) == ["one"]
    assert len((bench.home / "kwargs.sha256").read_text().splitlines()) == 1
    assert bench.call(x=wrap(Path("in.txt"))) == ["one"]
    Path("in.txt").write_text("two")
    bench.refused("other contents", x=wrap(Path("in.txt")))


ODD = [
    "with space",
    "back\\slash",
    "new\nline",
    "re\rturn",
    "grüße 日本",
    "-n",
    "#x",
    "*",
    "'\"$(x)`",
    " lead",
    "\\\n\\n",
    "a",
]


@pytest.mark.parametrize("kind", STAGINGS)
def test_sums_are_those_of_sha256sum(tmp_path: Path, kind: Any) -> None:
    """The real sha256sum checks kwargs.sha256 in the job's directory, whatever the names of the files."""
    bench = Bench(tmp_path, kind)
    for name in ODD:
        Path(name).write_text(f"in {name}")
    bench.call(more=[Path(name) for name in ODD])
    checked = subprocess.run(["sha256sum", "-c", "--strict", "kwargs.sha256"], cwd=bench.home, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    assert len((bench.home / "kwargs.sha256").read_text().split("\n")) == len(ODD) + 1
    Path(ODD[0]).write_text("changed")
    checked = subprocess.run(["sha256sum", "-c", "kwargs.sha256"], cwd=bench.home, capture_output=True)
    assert checked.returncode == 1
    bench.refused("other contents of these files: .*with space", more=[Path(name) for name in ODD])


def test_sums_that_sha256sum_wrote_are_read(tmp_path: Path) -> None:
    """What the real sha256sum writes for files with odd names is what the job was made with."""
    bench = Bench(tmp_path, InPlace)
    for name in ODD:
        Path(name).write_text(f"in {name}")
    bench.call(more=[Path(name) for name in ODD])
    paths = [f"../../../{name}" for name in ODD]
    sums = subprocess.run(["sha256sum", "--", *paths], cwd=bench.home, check=True, capture_output=True).stdout
    assert sorted(sums.splitlines()) == sorted((bench.home / "kwargs.sha256").read_bytes().splitlines())
    (bench.home / "kwargs.sha256").write_bytes(sums)
    bench.call(more=[Path(name) for name in ODD])
    assert bench.made.times() == 1


def test_sums_are_sorted_by_path(bench: Bench) -> None:
    """kwargs.sha256 has one line a file, sorted by path, also for one that is named twice."""
    for name in "cab":
        Path(name).write_text(name)
    bench.call(more=[Path(name) for name in "cabca"])
    paths = [line.split("  ")[1] for line in (bench.home / "kwargs.sha256").read_text().splitlines()]
    assert paths == ["../../../a", "../../../b", "../../../c"]


# --- unfinished and failed ---


@pytest.mark.parametrize(
    ("mode", "said"), [("fail", "failed"), ("late", "failed"), ("nothing", "failed"), ("kill", "did not finish")]
)
def test_what_did_not_finish_is_refused(bench: Bench, mode: str, said: str) -> None:
    """A job that failed or did not finish is not run again; the error says so, and how to clean up."""
    bench.fails(mode)
    before = contents(bench.home)
    bench.refused(f"{said}.*parman-clean-results .*rerun=")
    assert contents(bench.home) == before


def test_a_result_of_a_failed_script_is_none(tmp_path: Path) -> None:
    """A result.json that was left by a script that ended with a failure does not count."""
    bench = Bench(tmp_path, InPlace)
    bench.fails("late")
    assert (bench.home / "result.json").exists()
    assert JobDirectory(bench.home).state() is State.FAILED
    bench.refused("failed")


def test_an_old_directory_without_a_result_is_unfinished(bench: Bench) -> None:
    """A directory of Parman 0.4 with kwargs.json but without result.json was started before and did not finish."""
    bench.fails("nothing")
    old_directory(bench.home)
    bench.refused("was started before and did not finish.*parman-clean-results")


def test_an_unfinished_job_with_other_arguments_is_refused(bench: Bench) -> None:
    """Other arguments than those of an unfinished job are what is told, since they come first."""
    bench.fails("kill")
    bench.refused("other arguments: x", x=7)


def leave(bench: Bench, monkeypatch: pytest.MonkeyPatch, **kwargs: Any) -> None:
    """Call the job from a driver that dies when the script has ended."""
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_collect", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            bench.call(**kwargs)


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Have a job whose script ended well in a scratch directory, and whose driver was killed before it saw that."""
    bench = Bench(tmp_path, Scratch)
    leave(bench, monkeypatch, x=3)
    assert JobDirectory(bench.home).state() is State.NEW
    return bench


def test_what_a_killed_driver_left_is_used(left: Bench) -> None:
    """A script that has ended well is not run again."""
    assert left.call(x=3)["twice"] == 6
    assert left.made.times() == 1


def test_what_a_killed_driver_left_is_not_thrown_away(left: Bench) -> None:
    """Other arguments are an error, unless the settings say what is to be done."""
    left.refused("other arguments or files: x.*rerun=", x=4)
    assert left.call(x=4, settings={"rerun": {"changed"}})["twice"] == 8
    assert left.made.times() == 2


def test_what_a_killed_driver_left_was_made_with_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file among the arguments that was changed since is an error, rather than a result that is out of date."""
    bench, file = Bench(tmp_path, Scratch), Path("input")
    file.write_text("1")
    leave(bench, monkeypatch, file=file)
    file.write_text("2")
    bench.refused("other arguments or files: .*input", file=file)


@pytest.mark.parametrize(("on_change", "times"), [("error", 1), (None, 1), ("rerun", 2)])
def test_the_template_of_what_a_killed_driver_left(left: Bench, on_change: Any, times: int) -> None:
    """A template that was changed since is heeded as for a job that has finished."""
    script = left.made.path / "run"
    script.write_text(script.read_text() + "\n")
    if on_change == "error":
        with pytest.raises(JobError, match=r"other files of the template: run.*on_change='rerun'"):
            left.call(x=3, settings={"on_change": on_change})
    else:
        assert left.call(x=3, settings={"on_change": on_change})["twice"] == 6
    assert left.made.times() == times


@pytest.mark.parametrize("mode", ["fail", "late", "kill", "nothing"])
def test_what_can_resume_runs_again_in_place(resuming: Bench, mode: str) -> None:
    """With can_resume the script is run again where it ran, with what it had left there."""
    resuming.fails(mode)
    where = resuming.made.directories()[0]
    Path(where, "left behind").touch()
    assert resuming.call()["twice"] == 2
    assert resuming.made.directories() == [where, where]
    assert resuming.asides() == []
    assert resuming.call()["twice"] == 2
    assert resuming.made.times() == 2


def test_an_old_directory_resumes_in_place(tmp_path: Path) -> None:
    """With can_resume an unfinished directory of Parman 0.4 goes on, and what the script wrote is kept."""
    bench = Bench(tmp_path, InPlace, RESUMES)
    bench.fails("fail")
    old_directory(bench.home)
    assert bench.call()["twice"] == 2
    assert "what went wrong" in (bench.home / "run.err").read_text()
    assert bench.made.times() == 2


def test_resuming_heeds_null_and_missing_sums(resuming: Bench) -> None:
    """With null in kwargs.json and without sums, an unfinished job goes on with the arguments of the call."""
    resuming.fails("kill", x=3)
    (resuming.home / "kwargs.json").write_text("null")
    (resuming.home / "kwargs.sha256").unlink()
    assert resuming.call(x=5)["twice"] == 10
    assert resuming.json("kwargs.json")["x"] == 5
    assert (resuming.home / "kwargs.sha256").read_bytes() == b""


def test_resuming_writes_missing_sums_before_the_script_runs(tmp_path: Path) -> None:
    """Sums that the user removed are there again when an unfinished job goes on, whether or not it succeeds."""
    bench = Bench(tmp_path, InPlace, RESUMES)
    Path("in.txt").write_text("one")
    bench.fails("kill", file=Path("in.txt"))
    before = (bench.home / "kwargs.sha256").read_bytes()
    (bench.home / "kwargs.sha256").unlink()
    bench.fails("kill", file=Path("in.txt"))
    assert (bench.home / "kwargs.sha256").read_bytes() == before


def test_resuming_has_the_variables_of_now(tmp_path: Path) -> None:
    """A job that goes on finds the present variables in jobenv.sh, as in its environment."""
    bench = Bench(tmp_path, InPlace, RESUMES)
    bench.fails("kill")
    bench.call(settings={"script": "run"})
    assert 'MODE=""' in (bench.home / "jobenv.sh").read_text()


def test_a_result_of_an_earlier_run_is_not_that_of_a_resumed_one(tmp_path: Path) -> None:
    """A script that goes on and ends well without a result has failed, whatever an earlier run left."""
    bench = Bench(tmp_path, InPlace, RESUMES)
    bench.fails("late")
    bench.fails("nothing")


def test_a_scratch_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    """A job can't go on in a fresh directory that somebody has removed; the error names it and what to do."""
    bench = Bench(tmp_path, Scratch, RESUMES)
    bench.fails("fail")
    where = Path(bench.made.directories()[0])
    where.rename(tmp_path / "elsewhere")
    with pytest.raises(JobError, match=r"can't go on in .*parman-clean-results") as caught:
        bench.call()
    assert str(where) in str(caught.value)


# --- broken ---


def test_a_result_without_arguments_is_broken(bench: Bench) -> None:
    """A result.json without kwargs.json is an error that says so, and nothing is changed."""
    bench.call()
    (bench.home / "kwargs.json").unlink()
    before = contents(bench.home)
    bench.refused(r"result\.json, but no kwargs\.json")
    assert contents(bench.home) == before


@pytest.mark.parametrize("rerun", ["failed", "unfinished", "changed"])
def test_a_broken_directory_is_never_moved(bench: Bench, rerun: str) -> None:
    """What is broken is for the user to look at, whatever is run again."""
    bench.call()
    (bench.home / "kwargs.json").unlink()
    bench.refused(r"no kwargs\.json", settings={"rerun": rerun})
    assert bench.asides() == []


@pytest.mark.parametrize("text", ['{"twice": 2', "", '{"twice": 2}', '{"twice": "2", "made": "made.txt"}', "[]"])
def test_a_result_that_does_not_fit_is_left_as_it_is(bench: Bench, text: str) -> None:
    """An invalid result.json is an error that names the file, in the first run and later; nobody touches the file."""
    bench.call()
    (bench.home / "result.json").write_text(text)
    before = contents(bench.home)
    for settings in ({}, {"rerun": ["failed", "unfinished", "changed"]}):
        bench.refused(r"result\.json (is no valid JSON|does not fit the mock)", settings=settings)
    assert contents(bench.home) == before


def test_a_misfit_names_the_place_and_both_types(bench: Bench) -> None:
    """The error for a result that does not fit says where in it, what should be there and what is."""
    bench.call()
    (bench.home / "result.json").write_text('{"twice": "two", "made": "made.txt"}')
    bench.refused(r"result\['twice'\] should be int, but is a text: 'two'")


def test_a_file_of_the_result_that_is_gone_is_told(bench: Bench) -> None:
    """A result that names a file that is not there any more is an error, as it was when the script ended."""
    bench.call()
    (bench.home / "made.txt").unlink()
    bench.refused(r"names 'made\.txt' as a file of its own, but there is no")


# --- rerun ---


@pytest.mark.parametrize(
    ("mode", "right"), [("fail", "failed"), ("late", "failed"), ("nothing", "failed"), ("kill", "unfinished")]
)
@pytest.mark.parametrize("rerun", ["failed", "unfinished", "changed"])
def test_rerun_moves_aside_and_runs_again(bench: Bench, mode: str, right: str, rerun: str) -> None:
    """What failed or did not finish is run again if the settings say so: anew, with the old directory kept."""
    bench.fails(mode)
    before = contents(bench.home)
    if rerun != right:
        bench.refused("can_resume", settings={"rerun": rerun})
        return
    assert bench.call(settings={"rerun": rerun})["twice"] == 2
    assert bench.asides() == ["b.old.1"]
    assert contents(bench.home.with_name("b.old.1")) == before
    assert bench.made.times() == 2


@pytest.mark.parametrize("what", ["arguments", "file"])
def test_rerun_of_what_has_changed(bench: Bench, what: str) -> None:
    """With rerun "changed", other arguments or files let a finished job run again, once."""
    Path("in.txt").write_text("one")
    bench.call(x=1, file=Path("in.txt"))
    x = 1
    if what == "arguments":
        x = 2
    else:
        Path("in.txt").write_text("two")
    for _ in range(2):
        assert bench.call(x=x, file=Path("in.txt"), settings={"rerun": {"changed"}})["twice"] == 2 * x
    assert bench.made.times() == 2
    assert bench.asides() == ["b.old.1"]


def test_rerun_leaves_what_is_finished(bench: Bench) -> None:
    """All of rerun together let nothing run again that is finished and unchanged."""
    bench.call()
    bench.call(settings={"rerun": ["failed", "unfinished", "changed"]})
    assert bench.made.times() == 1
    assert bench.asides() == []


def test_directories_moved_aside_are_numbered(bench: Bench) -> None:
    """Each directory that is moved aside gets a name of its own."""
    bench.fails("fail")
    for _ in range(2):
        bench.fails("fail", settings={"rerun": "failed"})
    bench.call(settings={"rerun": "failed"})
    assert bench.asides() == ["b.old.1", "b.old.2", "b.old.3"]


# --- the template ---


def test_a_changed_template_is_a_warning(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A template that is not what the job was made from is told with its files; the result is used all the same."""
    first = bench.call()
    (bench.made.path / "new.txt").touch()
    with (bench.made.path / "run").open("a") as stream:
        stream.write("# more\n")
    assert bench.call() == first
    assert bench.made.times() == 1
    (record,) = caplog.records
    assert record.getMessage().count(str(bench.made.path)) == 1
    assert "new.txt, run" in record.getMessage()


def test_a_changed_template_can_be_an_error(bench: Bench) -> None:
    """With on_change="error" a changed template is an error that names its files."""
    bench.call()
    (bench.made.path / "new.txt").touch()
    bench.refused("other files of the template .*: new.txt", settings={"on_change": "error"})


def test_a_changed_template_can_run_again(bench: Bench) -> None:
    """With on_change="rerun" a changed template lets the job run again, once."""
    bench.call()
    (bench.made.path / "new.txt").touch()
    for _ in range(2):
        bench.call(settings={"on_change": "rerun"})
    assert bench.made.times() == 2
    assert bench.asides() == ["b.old.1"]


@pytest.mark.parametrize("on_change", ["warn", "error", "rerun"])
def test_old_directories_know_of_no_template(bench: Bench, on_change: str, caplog: pytest.LogCaptureFixture) -> None:
    """For a directory of Parman 0.4 nobody can tell whether the template has changed: nothing is said or done."""
    bench.call()
    old_directory(bench.home)
    (bench.made.path / "new.txt").touch()
    bench.call(settings={"on_change": on_change})
    assert bench.made.times() == 1
    assert caplog.records == []


# --- states ---

SENTENCES = {
    State.NEW: "holds no job yet",
    State.PREPARED: "never started",
    State.UNFINISHED: "started before and did not finish",
    State.FAILED: "failed",
    State.FINISHED: "with its result",
    State.BROKEN: "result.json, but no kwargs.json",
}


@pytest.mark.parametrize("state", State)
def test_each_state_has_a_sentence(state: State) -> None:
    """The value of each state is a sentence that goes on behind the name of the directory."""
    assert SENTENCES[state] in state.value
    assert state.value.startswith("holds ")


KWARGS, RESULT = ("kwargs.json", "{}"), ("result.json", "1")
PREPARED, STARTED, ENDED, FAILED = "prepared T\n", "started T run\n", "exited T 0\n", "exited T 1\n"


@pytest.mark.parametrize(
    ("files", "status", "state"),
    [
        ([], None, State.NEW),
        ([], PREPARED, State.NEW),
        ([KWARGS], None, State.UNFINISHED),
        ([KWARGS], "", State.UNFINISHED),
        ([KWARGS], PREPARED, State.PREPARED),
        ([KWARGS], PREPARED + STARTED, State.UNFINISHED),
        ([KWARGS], STARTED, State.UNFINISHED),
        ([KWARGS], PREPARED + "sta", State.UNFINISHED),
        ([KWARGS, RESULT], PREPARED + STARTED, State.UNFINISHED),
        ([KWARGS, RESULT], PREPARED + STARTED + FAILED, State.FAILED),
        ([KWARGS], PREPARED + STARTED + ENDED, State.FAILED),
        ([KWARGS, RESULT], PREPARED + STARTED + ENDED, State.FINISHED),
        ([KWARGS, RESULT], PREPARED + STARTED + FAILED + STARTED, State.UNFINISHED),
        ([KWARGS, RESULT], PREPARED + STARTED + FAILED + STARTED + ENDED, State.FINISHED),
        ([KWARGS, RESULT], None, State.FINISHED),
        ([KWARGS, RESULT], "", State.FINISHED),
        ([RESULT], None, State.BROKEN),
        ([RESULT], PREPARED + STARTED + ENDED, State.BROKEN),
    ],
)
def test_states_are_told_from_the_files(
    tmp_path: Path, files: list[tuple[str, str]], status: str | None, state: State
) -> None:
    """The files of a directory tell its state, also when they were written by somebody who knows no status file."""
    for name, text in files:
        (tmp_path / name).write_text(text)
    if status is not None:
        (tmp_path / "job.status").write_text(status)
    assert JobDirectory(tmp_path).state() is state


def test_what_was_only_prepared_is_run(bench: Bench) -> None:
    """A job of which it is known that its script never started is run, whatever an earlier driver prepared."""
    bench.call(x=3)
    (bench.home / "result.json").unlink()
    (bench.home / "job.status").write_text(PREPARED)
    assert bench.call(x=4)["twice"] == 8
    assert bench.made.times() == 2


def test_a_stale_result_is_not_that_of_a_new_run(bench: Bench) -> None:
    """A result.json beside a status file that knows of no script is not taken for the result of the next run."""
    bench.call()
    (bench.home / "job.status").write_text(PREPARED)
    bench.fails("nothing")


# --- several blocks ---

BOOT_INFO = """\
from pathlib import Path

def mock(pause: float = 0.0, boot_size: int = 3) -> list[Path]:
    return [Path(f"config-{i}.txt") for i in range(boot_size)]
"""
BOOT = """\
names = [f"config-{i}.txt" for i in range(kwargs["boot_size"])]
for i, name in enumerate(names):
    Path(name).write_text(str(i))
answer(names)
"""
COMPUTE_INFO = """\
from pathlib import Path

def mock(config: Path, pause: float = 0.0):
    return Path("result.txt")
"""
COMPUTE = """\
Path("result.txt").write_text(str(10 * int(Path(kwargs["config"]).read_text())))
answer("result.txt")
"""
TRAIN_INFO = """\
from pathlib import Path

def mock(examples: list[Path], seed: int, pause: float = 0.0):
    return Path("model.txt"), 1.5
"""
TRAIN = """\
total = sum(int(Path(name).read_text()) for name in kwargs["examples"])
Path("model.txt").write_text(str(total + kwargs["seed"]))
answer(["model.txt", total])
"""


def _generation(jobs: list[Made], upto: int = 3) -> Any:
    boot, compute, train = (job_template(made.path) for made in jobs)
    configs = boot("g00/boot", boot_size=4)
    if upto == 1:
        return configs
    examples = [compute(f"g00/compute/{i:04d}", config=config) for i, config in enumerate(configs)]
    return examples if upto == 2 else [train(f"g00/train/{i}", examples=examples, seed=i) for i in range(2)]


@pytest.mark.parametrize("kind", STAGINGS)
@pytest.mark.parametrize("runner", ["serial", "threads:2"])
def test_a_workflow_goes_on_from_block_to_block(tmp_path: Path, kind: Any, runner: str) -> None:
    """A workflow that is written block by block, as a user does, runs each job once, and gives the same each time."""
    made = [
        make(tmp_path / "templates", *args)
        for args in (
            ("boot", BOOT_INFO, BOOT),
            ("compute", COMPUTE_INFO, COMPUTE),
            ("train", TRAIN_INFO, TRAIN),
        )
    ]
    settings = JobSettings(staging=staging_of(kind, tmp_path))
    for upto, counts in [(1, [1, 0, 0]), (2, [1, 4, 0]), (3, [1, 4, 2]), (3, [1, 4, 2])]:
        with workflow(runner, jobs=settings):
            results = _generation(made, upto)
        results = resolve(results)
        assert [one.times() for one in made] == counts
    root = tmp_path / "results"
    assert results == [(root / f"g00/train/{i}/model.txt", 60.0) for i in range(2)]
    assert [path.read_text() for path, _ in results] == ["60", "61"]
    assert results == _outside_a_block(made, settings)


def _outside_a_block(made: list[Made], settings: JobSettings) -> Any:
    boot, compute, train = (job_template(one.path, settings) for one in made)
    configs = boot("g00/boot", boot_size=4)
    examples = [compute(f"g00/compute/{i:04d}", config=config) for i, config in enumerate(configs)]
    return [train(f"g00/train/{i}", examples=examples, seed=i) for i in range(2)]


@pytest.mark.parametrize("kind", STAGINGS)
def test_a_relative_root_gives_relative_paths(tmp_path: Path, kind: Any) -> None:
    """Paths in results hold the results root as the user wrote it, and can be opened by a plain task."""
    made = make(tmp_path / "templates", jobinfo=BOOT_INFO, script=BOOT)
    staging = InPlace("out") if kind is InPlace else Scratch("out", tmp_path / "scratch")
    with workflow("threads", jobs=JobSettings(staging=staging)):
        configs = resolve(made.job()("boot"))
    assert configs == [Path(f"out/boot/config-{i}.txt") for i in range(3)]
    assert [path.read_text() for path in configs] == ["0", "1", "2"]


def test_kwargs_json_is_for_people(bench: Bench) -> None:
    """kwargs.json is indented, and says paths relative to the work directory."""
    Path("in.txt").touch()
    bench.call(file=Path("in.txt"), x=2)
    assert (bench.home / "kwargs.json").read_text() == textwrap.dedent("""\
    {
      "x": 2,
      "file": "../../../in.txt",
      "more": []
    }
    """)
