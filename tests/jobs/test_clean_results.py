# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`parman-clean-results`: what did not finish is removed, and nothing else, so that a workflow can be completed."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.templates import RESUMES, Made, contents, make, old_directory

from parman import InPlace, JobFailed, Scratch
from parman.jobs.clean_results import main, unfinished
from parman.jobs.directory import JobDirectory

STATES = [
    "finished",
    "failed",
    "late",
    "killed",
    "nothing",
    "prepared",
    "old",
    "old unfinished",
    "broken",
    "moved aside",
]
REMOVED = ["failed", "killed", "late", "nothing", "old unfinished", "prepared"]

PROGRAM = "import sys; from parman.jobs.clean_results import main; sys.exit(main())"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.chdir(tmp_path)
    return make(tmp_path / "templates")


def _fill(made: Made) -> None:
    """Make a results root with a job in each state, and with what is no job."""
    for name, mode in [("failed", "fail"), ("late", "late"), ("killed", "kill"), ("nothing", "nothing")]:
        _fail(made, f"g00/{name}", mode)
    _fail(made, "g00/old unfinished", "fail")
    old_directory(Path("results/g00/old unfinished"))
    for name in ("finished", "old", "broken", "prepared"):
        made.job()(f"g00/{name}")
    old_directory(Path("results/g00/old"))
    Path("results/g00/broken/kwargs.json").unlink()
    Path("results/g00/prepared/result.json").unlink()
    Path("results/g00/prepared/job.status").write_text("prepared T\n")
    Path("results/plots/deep").mkdir(parents=True)
    Path("results/plots/deep/plot.pdf").touch()
    Path("results/README").touch()


def _fail(made: Made, locator: str, mode: str) -> None:
    with pytest.raises(JobFailed):
        made.job(env={"MODE": mode})(locator)


def test_what_did_not_finish_is_removed(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """Directories of jobs without a valid result are removed, and named; all else stays as it is, byte for byte."""
    _fill(made)
    before = contents(Path("results"))
    assert main(["results"]) == 0
    removed = {f"g00/{name}" for name in REMOVED}
    wanted = {
        name: what for name, what in before.items() if not any(name == r or name.startswith(f"{r}/") for r in removed)
    }
    assert contents(Path("results")) == wanted
    assert capsys.readouterr().out.splitlines() == [f"results/{name}: removed" for name in sorted(removed)]


def test_a_dry_run_only_lists(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """With -n or --dry-run the same directories are named, and nothing is removed, changed or made."""
    _fill(made)
    before = contents(Path("results"))
    listed = [f"results/g00/{name}" for name in REMOVED]
    for option in ("-n", "--dry-run"):
        assert main([option, "results"]) == 0
        assert capsys.readouterr().out.splitlines() == listed
    assert contents(Path("results")) == before
    assert list(map(str, unfinished(Path("results")))) == listed


def test_what_was_removed_can_be_completed(made: Made) -> None:
    """After cleaning, each job that was removed runs again, and no finished one does."""
    _fill(made)
    main(["results"])
    before = made.times()
    for name in ("finished", "old", *REMOVED):
        assert made.job()(f"g00/{name}")["twice"] == 2
    assert made.times() == before + len(REMOVED)


def test_a_directory_can_be_deleted_job_by_job(made: Made) -> None:
    """Results that are deleted one by one, by hand and by the program, are completed with what was there."""
    for x in range(3):
        made.job()(f"g00/{x}", x=x)
    finished = contents(Path("results/g00/0"))
    Path("results/g00/1/result.json").unlink()
    _fail(made, "g00/3", "kill")
    assert main(["results"]) == 0
    assert {path.name for path in Path("results/g00").iterdir()} == {"0", "2"}
    before = made.times()
    assert [made.job()(f"g00/{x}", x=x)["twice"] for x in range(4)] == [0, 2, 4, 6]
    assert made.times() == before + 2
    assert contents(Path("results/g00/0")) == finished


def test_a_running_job_stays(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that somebody runs, as its lock tells, is not touched, and that is said."""
    _fail(made, "a", "kill")
    before = contents(Path("results"))
    descriptor = os.open("results/a/job.lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert main(["results"]) == 0
        assert contents(Path("results")) == before
        assert capsys.readouterr().out == "results/a: is running, and stays\n"
    finally:
        os.close(descriptor)
    assert main(["results"]) == 0
    assert not Path("results/a").exists()


def test_a_job_that_finishes_meanwhile_stays(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has finished between the look at it and its turn is not removed."""
    _fail(made, "a", "fail")
    found = list(unfinished(Path("results")))
    made.job(rerun="failed")("a")
    monkeypatch.setattr("parman.jobs.clean_results.unfinished", lambda root: found)
    assert main(["results"]) == 0
    assert Path("results/a/result.json").exists()


def test_the_other_directory_of_a_failed_job_is_left(made: Made) -> None:
    """What a failed job left in its fresh directory is nobody's result; only the results root is cleaned."""
    with pytest.raises(JobFailed) as caught:
        made.job(staging=Scratch("results", "scratch"), env={"MODE": "fail"})("a")
    before = contents(Path("scratch"))
    assert main(["results"]) == 0
    assert not Path("results/a").exists()
    assert contents(Path("scratch")) == before
    assert Path(caught.value.directory).exists()


def test_links_are_not_followed(made: Made, tmp_path: Path) -> None:
    """A link to a directory elsewhere is not entered, whatever is there; nor is one in a job followed when it goes."""
    other = tmp_path / "other"
    (other / "job").mkdir(parents=True)
    (other / "job/kwargs.json").write_text("{}")
    before = contents(other)
    _fail(made, "a", "fail")
    Path("results/link").symlink_to(other)
    Path("results/a/link").symlink_to(other)
    assert main(["results"]) == 0
    assert contents(other) == before
    assert {path.name for path in Path("results").iterdir()} == {"link"}


def test_the_root_may_be_a_link(made: Made) -> None:
    """A results root that is a link is cleaned."""
    _fail(made, "a", "fail")
    Path("there").symlink_to("results")
    assert main(["there"]) == 0
    assert list(Path("results").iterdir()) == []


def test_a_job_around_a_finished_one_stays(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """The directory of an unfinished job that holds that of another one is not removed, and that is said."""
    made.job()("b")
    _fail(made, "a", "fail")
    Path("results/b").rename("results/a/b")  # a driver refuses to make one around the other
    assert main(["results"]) == 0
    assert Path("results/a/b/result.json").exists()
    assert capsys.readouterr().out == "results/a: holds the directory of another job, and stays\n"


def test_directories_moved_aside_are_cleaned_by_their_state(made: Made) -> None:
    """What was moved aside is a job like any other: removed if it did not finish."""
    _fail(made, "a", "fail")
    made.job(rerun="failed")("a")
    made.job(rerun="changed")("a", x=2)
    assert main(["results"]) == 0
    assert len(list(Path("results").iterdir())) == 2
    assert all(JobDirectory(path).result.exists() for path in Path("results").iterdir())


def test_jobs_that_can_resume_are_removed_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program removes what did not finish, whatever the template says of resuming."""
    monkeypatch.chdir(tmp_path)
    _fail(make(tmp_path / "templates", jobinfo=RESUMES), "a", "kill")
    assert main(["results"]) == 0
    assert not Path("results/a").exists()


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_root_that_is_no_directory_is_told(name: str, made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """A results root that is not there is an error with exit status 2, which names it."""
    Path("file").touch()
    assert main([name]) == 2
    assert capsys.readouterr().err == f"parman-clean-results: there is no directory {name}\n"


def test_no_arguments_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a results root nothing is cleaned, not even the present directory."""
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "results" in capsys.readouterr().err


def test_what_can_not_be_read_is_told(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that can't be cleaned is named on stderr and in the exit status; the others are cleaned."""
    _fail(made, "a", "fail")
    _fail(made, "b", "fail")
    Path("results/a/job.status").unlink()
    Path("results/a/job.status").mkdir()
    assert main(["results"]) == 1
    assert "parman-clean-results: results/a" in capsys.readouterr().err
    assert Path("results/a").exists()
    assert not Path("results/b").exists()


def test_odd_names_are_no_trouble(made: Made) -> None:
    """Directories with any names are listed and removed, on a terminal that knows ASCII only, too."""
    for name in ("a b", "-rf", "grüße", "new\nline", "\udcff"):
        _fail(made, name, "fail")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, "results"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(Path("results").iterdir()) == []


def test_it_tells_how_it_is_called(made: Made) -> None:
    """The program has a help that says how it is called."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "usage: parman-clean-results [-h] [-n] results" in done.stdout


def test_two_at_once_are_no_trouble(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another one has removed meanwhile is no error."""
    _fail(made, "a", "fail")
    found = list(unfinished(Path("results")))
    main(["results"])
    monkeypatch.setattr("parman.jobs.clean_results.unfinished", lambda root: found)
    assert main(["results"]) == 0


def test_a_staging_elsewhere_is_no_trouble(made: Made) -> None:
    """Any directory can be a results root; only what is below it is looked at."""
    with pytest.raises(JobFailed):
        made.job(staging=InPlace("other"), env={"MODE": "fail"})("a")
    _fail(made, "a", "fail")
    main(["other"])
    assert Path("results/a").exists()
    assert list(Path("other").iterdir()) == []
