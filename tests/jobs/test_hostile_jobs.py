# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Hostile and broken input of jobs: a clear error that names the file, and nothing outside is read or written."""

# ruff: noqa: PT012, PT017 (a block that is left, and calls that may succeed as well)

from __future__ import annotations

import datetime
import decimal
import enum
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from helpers.templates import RESUMES, contents, make, staging_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parman import (
    ArgumentError,
    InPlace,
    JobError,
    JobFailed,
    JobSettings,
    ParmanError,
    Scratch,
    StructureError,
    TemplateError,
    job_template,
    workflow,
)
from parman.jobs import staging as scratch
from parman.jobs.directory import JobDirectory, State, Status
from parman.jobs.files import copy

SECRET = "the secret of somebody else"
BOTH = pytest.mark.parametrize("kind", [InPlace, Scratch])
HEAD = """\
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from typing import *
import attrs, datetime, enum
import numpy as np
"""


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make the current directory a folder beside which there are files that nobody may touch, read or copy."""
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    for name in ("secret", "deep/secret", "result.json", "made.txt"):
        (folder / name).write_text(SECRET)
    before = contents(folder)
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    names = _names(tmp_path)
    yield folder
    assert contents(folder) == before
    assert _names(tmp_path) == names
    copied = [name for name, text in contents(inside).items() if isinstance(text, bytes) and SECRET.encode() in text]
    assert copied == []


def call(jobinfo: str, script: str, kind: Any = InPlace, locator: Any = "job", name: str = "t", **kwargs: Any) -> Any:
    """Make a template and call it, in place."""
    made = make(Path("templates"), name, HEAD + jobinfo, script)
    return made.job(staging=staging_of(kind, Path.cwd()))(locator, **kwargs)


def writing(text: str) -> str:
    """Return a script that writes this as its result."""
    return f"Path('result.json').write_bytes({text.encode('utf-8', 'surrogatepass')!r})\n"


ONE = "def mock(): return 1\n"
FILE = "def mock(): return Path('made.txt')\n"

# --- locators ---

BAD_LOCATORS = ["../x", "a/../../x", "..", "a/..", "/abs", "", ".", "a\0b", "\ud800", 3, None, b"x", ["a"], 1.5]


@pytest.mark.parametrize("locator", BAD_LOCATORS, ids=repr)
def test_a_locator_that_leaves_the_root_is_refused(locator: Any) -> None:
    """A locator that is no relative path without '..' is an error of the argument, without a block and in one."""
    job = make(Path("templates"), "t", ONE, "answer(1)\n").job()
    before = contents(Path())
    with pytest.raises(ArgumentError, match="locator"):
        job(locator)
    with pytest.raises(ArgumentError, match="locator"), workflow("serial"):
        job(locator)
    with pytest.raises(ArgumentError, match="locator"), workflow("threads"):
        job(locator)
    assert contents(Path()) == before


ODD_LOCATORS = [
    "a b",
    " a",
    "a ",
    "grüße/日本",
    "new\nline/x",
    "a\nexited T 0",
    "re\rturn",
    "-rf",
    "$(touch pwned)",
    "`touch pwned`",
    "'\"",
    "#",
    "*",
    "\\n",
    "%s",
    "{x}",
    "x" * 200,
    "\udcff",
]


@BOTH
@pytest.mark.parametrize("locator", ODD_LOCATORS, ids=ascii)
def test_odd_locators_work(locator: str, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A locator of any characters is a directory of this name: the job runs once, and failures can go on there."""
    caplog.set_level(logging.CRITICAL, "parman")  # pytest-xdist can't send a report with half of a character in it
    script = "Path('made.txt').touch()\nif len(open({!r}).readlines()) == 1: sys.exit(1)\nanswer('made.txt')\n"
    ran = str(Path("templates/t.ran").absolute())
    made = make(Path("templates"), "t", HEAD + FILE + "can_resume = True\n", script.format(ran))
    job = made.job(staging=staging_of(kind, Path.cwd()))
    with pytest.raises(JobFailed):
        job(locator)
    wanted = Path.cwd() / "results" / locator / "made.txt"
    assert job(locator) == wanted
    assert job(locator) == wanted
    assert len(set(made.directories())) == 1
    assert made.times() == 2
    assert not list(Path().rglob("pwned"))
    assert list(Path("scratch").glob("*")) == []


@pytest.mark.parametrize("name", ODD_LOCATORS, ids=ascii)
def test_odd_directories_are_read_from_the_status(name: str) -> None:
    """Where a script runs is read from the status file as it was written, whatever the name of the directory."""
    record = JobDirectory(Path())
    record.write_prepared(Path("/somewhere", name))
    assert record.read_status() == (Path("/somewhere", name), None, None)
    record.write_failed(Status(Path("/somewhere", name), "run", 3))
    assert record.read_status() == (Path("/somewhere", name), "run", 3)
    record.write_failed(Status(Path("/somewhere", name), "run", None))
    assert record.read_status() == (Path("/somewhere", name), "run", None)


@BOTH
@pytest.mark.parametrize("locator", ["x" * 300, "x/" * 3000], ids=["name", "path"])
def test_a_locator_that_is_too_long_is_told(locator: str, kind: Any) -> None:
    """A locator that the file system does not take is an error that says so."""
    with pytest.raises(JobError, match="File name too long"):
        call(ONE, "answer(1)\n", kind, locator)


@BOTH
@pytest.mark.parametrize("target", ["../../outside", "../elsewhere", "../../outside/nothing", "loop"])
@pytest.mark.parametrize("locator", ["loop", "loop/b/c"])
def test_a_locator_through_a_link_is_refused(locator: str, target: str, kind: Any) -> None:
    """A link below the results root leads no job elsewhere."""
    Path("results").mkdir()
    Path("results/loop").symlink_to(target)
    with pytest.raises(ParmanError, match=r"link|Too many levels|File exists"):
        call(ONE, "answer(1)\n", kind, locator)
    assert _names(Path("results")) == {"loop"}


@BOTH
def test_the_root_may_be_a_link(kind: Any) -> None:
    """The results root itself may be a link to a directory; results are named as the user wrote the root."""
    Path("real").mkdir()
    Path("results").symlink_to("real")
    made = make(Path("templates"), "t", HEAD + FILE, "Path('made.txt').touch(); answer('made.txt')\n")
    job = made.job(staging=staging_of(kind, Path.cwd()))
    for _ in range(2):
        assert job("a/b") == Path.cwd() / "results/a/b/made.txt"
    assert Path("real/a/b/result.json").exists()
    assert made.times() == 1


@BOTH
@pytest.mark.parametrize("name", ["results", "results/a", "results/a/b"])
def test_a_file_in_the_place_of_a_directory_is_told(name: str, kind: Any) -> None:
    """A file where the root, or the directory of the job, should be is an error that names it; it stays."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("mine")
    with pytest.raises(JobError, match=name):
        call(ONE, "answer(1)\n", kind, "a/b")
    assert Path(name).read_text() == "mine"


@pytest.mark.parametrize("name", ["results", "results/a", "results/a/b"])
def test_a_pipe_in_the_place_of_a_directory_is_told(name: str) -> None:
    """A named pipe where a directory should be is an error that names it, and nobody waits for it."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(name)
    with pytest.raises(JobError, match=name):
        call(ONE, "answer(1)\n", InPlace, "a/b")


def test_a_job_inside_of_a_job_is_refused() -> None:
    """A job can't be kept in the directory of another one, with which it would be removed."""
    call(ONE, "answer(1)\n", InPlace, "a")
    with pytest.raises(JobError, match="inside of the directory of the job a"):
        call(ONE, "answer(1)\n", InPlace, "a/b", "other")


# --- paths in results ---

BAD_PATHS = [
    "/etc/passwd",
    "../../../outside/secret",
    "../..",
    "x/../../../y",
    "",
    "a\0b",
    "../made.txt",
    "missing",
    "~",
    "-",
]


@BOTH
@pytest.mark.parametrize("path", BAD_PATHS, ids=repr)
def test_a_result_path_that_leaves_the_root_is_refused(path: str, kind: Any) -> None:
    """A path in a result that leads out of the results root, or to nothing, is an error that names it, each time."""
    made = make(Path("templates"), "t", HEAD + FILE, f"answer({path!r})\n")
    job = made.job(staging=staging_of(kind, Path.cwd()))
    for _ in range(2):
        with pytest.raises(JobError) as caught:
            job("job")
        assert repr(path) in str(caught.value)
    assert made.times() == 1


@BOTH
@pytest.mark.parametrize("path", BAD_PATHS, ids=repr)
def test_a_result_path_is_looked_at_when_it_is_loaded(path: str, kind: Any) -> None:
    """A result.json that was changed to lead out is an error, too."""
    made = make(Path("templates"), "t", HEAD + FILE, "Path('made.txt').touch(); answer('made.txt')\n")
    job = made.job(staging=staging_of(kind, Path.cwd()))
    job("job")
    Path("results/job/result.json").write_text(json.dumps(path))
    with pytest.raises(JobError) as caught:
        job("job")
    assert repr(path) in str(caught.value)


LINKS = {
    "file": "os.symlink(OUT + '/secret', 'made.txt')",
    "folder": "os.symlink(OUT, 'made.txt')",
    "through a folder": "os.symlink(OUT, 'sub'); os.symlink('sub/secret', 'made.txt')",
    "loop": "os.symlink('made.txt', 'made.txt')",
}
IN_FOLDERS = {
    "file in a folder": "os.mkdir('made.txt'); os.symlink(OUT + '/secret', 'made.txt/x')",
    "folder in a folder": "os.makedirs('made.txt/deep'); os.symlink(OUT, 'made.txt/deep/x')",
}


@pytest.mark.parametrize(
    ("how", "kind"),
    [*((how, kind) for how in LINKS for kind in (InPlace, Scratch)), *((how, Scratch) for how in IN_FOLDERS)],
)
def test_a_result_through_a_link_is_refused(how: str, kind: Any, outside: Path) -> None:
    """A result that leads out of the results root through a link is an error; what is there is not copied."""
    script = f"OUT = {str(outside)!r}\n{(LINKS | IN_FOLDERS)[how]}\nanswer('made.txt')\n"
    with pytest.raises(JobError, match=r"made\.txt") as caught:
        call(FILE, script, kind)
    assert SECRET not in str(caught.value)


def test_a_folder_that_holds_itself_is_told() -> None:
    """A folder with a link to itself can't be copied; the error names the link."""
    with pytest.raises(JobError, match=r"a link to a directory in which it is.*made\.txt/x"):
        call(FILE, "os.mkdir('made.txt'); os.symlink('.', 'made.txt/x'); answer('made.txt')\n", Scratch)


@BOTH
def test_a_pipe_in_a_result_is_not_waited_for(kind: Any) -> None:
    """A named pipe as the result.json of a job is an error that names it."""
    with pytest.raises(JobError, match=r"result\.json"):
        call(ONE, "os.mkfifo('result.json')\n", kind)


@BOTH
def test_a_result_that_is_a_link_out_is_not_read(kind: Any, outside: Path) -> None:
    """A result.json that leads out of the results root is an error, not the result."""
    with pytest.raises(JobError, match=r"result\.json is a link to a place outside") as caught:
        call(ONE, f"os.symlink({str(outside / 'result.json')!r}, 'result.json')\n", kind)
    assert SECRET not in str(caught.value)


@BOTH
def test_a_result_that_is_a_link_within_is_read(kind: Any) -> None:
    """A script may write its result elsewhere in its directory, and make result.json a link to it."""
    script = "Path('out.json').write_text('1'); os.symlink('out.json', 'result.json')\n"
    made = make(Path("templates"), "t", ONE, script)
    job = made.job(staging=staging_of(kind, Path.cwd()))
    assert [job("job"), job("job")] == [1, 1]
    assert made.times() == 1


# --- result.extra ---


@BOTH
@pytest.mark.parametrize(
    "line",
    [
        "/etc/passwd",
        "../x",
        "../../../outside/secret",
        "x/../../y",
        "link",
        "link/secret",
        "sub",
        "a\0b",
        "missing",
        "loop",
        "~",
    ],
    ids=repr,
)
def test_extra_files_outside_of_the_job_are_refused(line: str, kind: Any, outside: Path) -> None:
    """A line of result.extra that leads out of the job's directory, or to nothing, is an error; nothing is copied."""
    script = f"""
    os.symlink({str(outside)!r}, "link"); os.mkdir("sub"); os.symlink({str(outside)!r}, "sub/link")
    os.symlink("loop", "loop")
    Path("result.extra").write_text("# these\\n\\n" + {line!r} + "\\n")
    answer(1)
    """
    with pytest.raises(JobError) as caught:
        call(ONE, script, kind)
    assert repr(line) in str(caught.value) or "'sub/link'" in str(caught.value)


@BOTH
def test_extra_files_are_kept(kind: Any) -> None:
    """Files and directories that result.extra names are kept; comments and empty lines are passed over."""
    script = """
    for name in ("a b", "grüße", "sub/x", "sub/y", "only here"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("result.extra").write_text("# these\\n a b\\n\\ngrüße\\r\\nsub\\n#only here")
    answer(1)
    """
    assert call(ONE, script, kind) == 1
    kept = set(contents(Path("results/job")))
    assert {"a b", "grüße", "sub/x", "sub/y", "result.extra"} <= kept
    assert ("only here" in kept) == (kind is InPlace)


@pytest.mark.parametrize(
    "make_it", ["os.mkdir('result.extra')", "os.mkfifo('result.extra')", "os.symlink(OUT, 'result.extra')"]
)
@BOTH
def test_a_strange_result_extra_is_told(make_it: str, kind: Any, outside: Path) -> None:
    """A result.extra that is no file is an error that names it."""
    with pytest.raises(JobError, match=r"result\.extra"):
        call(ONE, f"OUT = {str(outside / 'secret')!r}; {make_it}; answer(1)\n", kind)


# --- variables ---


@pytest.mark.parametrize(
    "name",
    ["", "1a", "a b", "a-b", "a=b", "a;touch x", "$(x)", "ä", "a\n", "a\nb", "a.b", "\0", 3, None, "PARMAN_WORKDIR"],
)
def test_names_that_no_shell_takes_are_refused(name: Any) -> None:
    """The name of a variable that is no identifier of a shell is an error that names it."""
    with pytest.raises(ArgumentError, match="JobSettings") as caught:
        JobSettings(env={name: "x"})
    assert (name if name == "PARMAN_WORKDIR" else repr(name)) in str(caught.value)


@pytest.mark.parametrize(
    "value", ["a\0b", "\ud800", None, ["a"], b"a", True, object()], ids=lambda value: type(value).__name__
)
def test_values_that_can_be_no_variable_are_refused(value: Any) -> None:
    """A value that an environment can't hold is an error that names the variable."""
    with pytest.raises(ArgumentError, match="the value of NAME"):
        JobSettings(env={"NAME": value})


def test_numbers_and_paths_are_values(tmp_path: Path) -> None:
    """Numbers and whatever is a path are written as a shell has them."""
    Path("file").touch()
    (entry,) = [entry for entry in os.scandir() if entry.name == "file"]
    env = JobSettings(env={"A": 1, "B": 0.5, "C": Path("x y"), "D": entry}).env
    assert env == {"A": "1", "B": "0.5", "C": "x y", "D": "./file"}


SHELLS = [["bash"], ["dash"], ["sh", "-u"], ["bash", "--posix", "-eu"]]
NASTY = [
    "",
    " ",
    "$(touch pwned)",
    "`touch pwned`",
    '"',
    "'",
    "\\",
    "\\\\",
    "\\n",
    "a\nb",
    "\n",
    "a\n",
    "\\\n",
    "\r\n",
    "$HOME",
    "${X:-y}",
    "$",
    "!",
    "!!",
    '";touch pwned;"',
    "#x",
    "~",
    "*",
    "$'\\n'",
    "%s",
    "-n",
    "\x1b[0m",
    "\x7f",
    "grüße 日本 \U0001f600",
    "\udc80\udcff",
    "&&||;<>|",
    "a" * 100_000,
]


def _sourced(folder: Path, shell: list[str], names: list[str]) -> list[str]:
    text = ". ./jobenv.sh; printf '%s\\000' " + " ".join(f'"${name}"' for name in names)
    done = subprocess.run(
        [*shell, "-c", text], cwd=folder, capture_output=True, env={"PATH": os.environ["PATH"]}, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return [os.fsdecode(value) for value in done.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_nasty_values_come_back_from_a_shell(shell: list[str]) -> None:
    """Metacharacters, quotes and newlines in values do nothing and come back as they are from jobenv.sh."""
    env = JobSettings(env={f"V{i}": value for i, value in enumerate(NASTY)}).env
    JobDirectory(Path()).write_environment(env)
    assert _sourced(Path(), shell, list(env)) == NASTY
    assert _names(Path()) == {"jobenv.sh"}


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_from_a_shell(values: list[str]) -> None:
    """Whatever text a variable holds comes back as it is from jobenv.sh."""
    env = JobSettings(env={f"V{i}": value for i, value in enumerate(values)}).env
    JobDirectory(Path()).write_environment(env)
    for shell in SHELLS[:3]:
        assert _sourced(Path(), shell, list(env)) == values
    assert _names(Path()) == {"jobenv.sh"}


@BOTH
def test_scripts_see_values_as_they_are(kind: Any) -> None:
    """The environment of a script and its jobenv.sh hold the same values, PARMAN_WORKDIR among them."""
    values = {f"V{i}": value for i, value in enumerate(NASTY) if value.isprintable() or "\n" in value}
    script = "answer({name: os.environ[name] for name in os.environ if name[0] == 'V' or name == 'PARMAN_WORKDIR'})\n"
    made = make(Path("templates"), "t", HEAD + "def mock() -> Any: return object()\n", script)
    found = made.job(staging=staging_of(kind, Path.cwd()), env=values)("job")
    assert found.pop("PARMAN_WORKDIR") == made.directories()[0]
    assert {name: found[name] for name in values} == values
    assert not list(Path().rglob("pwned"))


# --- names of scripts ---


@BOTH
@pytest.mark.parametrize(
    "name", ["with space", "-leading", "--", "$(touch pwned)", "grüße.sh", "a'b\"c", "%s", "sub/run", "*", "\\n"]
)
def test_odd_names_of_scripts_work(name: str, kind: Any) -> None:
    """A script of any name is run, and its output is in files of that name."""
    made = make(Path("templates"), "t", ONE, None)
    (made.path / name).parent.mkdir(exist_ok=True)
    (made.path / name).write_text("#!/bin/sh\necho out; echo err >&2; echo 1 >result.json\n")
    (made.path / name).chmod(0o755)
    job = made.job(staging=staging_of(kind, Path.cwd()), script=name)
    assert [job("job"), job("job")] == [1, 1]
    assert Path(f"results/job/{name}.out").read_text() == "out\n"
    assert Path(f"results/job/{name}.err").read_text() == "err\n"
    assert JobDirectory(Path("results/job")).read_status().script == name
    assert not list(Path().rglob("pwned"))


@pytest.mark.parametrize("name", ["", ".", "..", "../run", "/bin/true", "a/../../run", "a\nb", "a\0b", "a\rb", 3])
def test_names_that_are_no_scripts_are_refused(name: Any) -> None:
    """A script that would be outside of the template, or that has no name, is an error."""
    with pytest.raises((ArgumentError, TypeError), match=r"JobSettings\(script|str, bytes or os.PathLike"):
        JobSettings(script=name)


@pytest.mark.parametrize("name", ["kwargs.json", "job.status", "jobenv.sh"])
def test_files_of_ours_are_no_scripts(name: str) -> None:
    """A script with the name of a file that each job makes is an error that names it."""
    with pytest.raises(TemplateError, match=rf"{name} can't be a script") as caught:
        _with_script(name)("job")
    assert "templates/t" in str(caught.value)


def _with_script(name: str) -> Any:
    made = make(Path("templates"), "t", ONE, "answer(1)\n", name)
    return made.job(script=name)


@pytest.mark.parametrize("path", ["a\0b", "\ud800"], ids=ascii)
def test_directories_of_stagings_are_paths(path: str) -> None:
    """A root or `tmp` that is no path, or a prefix that is none of a name, is an error when the staging is made."""
    for wrong in (lambda: InPlace(path), lambda: Scratch(path), lambda: Scratch("results", path)):
        with pytest.raises(ArgumentError, match="can't be a directory of a staging"):
            wrong()
    for name in ("prefix", "suffix"):
        with pytest.raises(ArgumentError, match=rf"Scratch\({name}=...\)"):
            Scratch("results", **{name: "a/b"})


# --- result.json ---

BROKEN_JSON = {
    "truncated": b'{"a": [1, 2',
    "empty": b"",
    "spaces": b" \n",
    "two": b"1 2",
    "nan": b"NaN",
    "infinite": b"-Infinity",
    "not utf-8": b'"\xff"',
    "latin-1": '"ü"'.encode("latin-1"),
    "utf-16": '"a"'.encode("utf-16"),
    "mark": b"\xef\xbb\xbf1",
    "deep": b"[" * 200_000,
    "deep and closed": b"[" * 200_000 + b"]" * 200_000,
    "long": b"9" * 5000,
    "half": rb'"\ud800"',
    "half a key": rb'{"\udc00": 1}',
    "doubled": b'{"a": 1, "b": {"c": 1, "c": 1}}',
    "python": b"{'a': 1}",
    "comma": b"[1,]",
    "null bytes": b"\0\0\0\0",
    "control": b'"a\nb"',
}


@pytest.mark.parametrize("name", BROKEN_JSON)
def test_broken_json_is_told_with_its_file(name: str) -> None:
    """A result.json that is no valid JSON is an error that names the file, whatever the job promised."""
    with pytest.raises(JobError, match=rf"{Path.cwd()}/results/job/result\.json is (no valid JSON|not UTF-8)"):
        call("def mock() -> Any: return object()\n", f"Path('result.json').write_bytes({BROKEN_JSON[name]!r})\n")


@BOTH
def test_a_huge_result_is_not_read(kind: Any) -> None:
    """A result.json of gigabytes is an error that says how big data is to be passed, before it is read."""
    with pytest.raises(JobError, match=r"result\.json has 5000 MB, and at most 100 MB are read: let the script"):
        call(ONE, "open('result.json', 'w').truncate(5_000_000_000)\n", kind)
    for huge in Path().rglob("result.json"):
        huge.unlink()


def test_many_escapes_are_no_trouble() -> None:
    """Characters that are written as two halves are whole."""
    assert call("def mock() -> Any: return object()\n", writing(r'["\ud83d\ude00", "\u00e4"]')) == ["\U0001f600", "ä"]


MISFITS = [
    ("def mock(): return 1\n", "true", "should be int, but is a truth value: True"),
    ("def mock(): return 1\n", "1.0", "should be int, but is a number: 1.0"),
    ("def mock(): return 1\n", "null", "should be int, but is null"),
    ("def mock(): return 1.5\n", '"1.5"', "should be float, but is a text: '1.5'"),
    ("def mock(): return 1.5\n", "1" + "0" * 400, "should be float, but is an integer"),
    ("def mock(): return True\n", "1", "should be bool, but is an integer: 1"),
    ("def mock(): return 'a'\n", "1", "should be str, but is an integer: 1"),
    ("def mock(): return [1, 2]\n", "[1]", "should be an array of 2, but is an array of 1"),
    ("def mock(): return [1, 2]\n", '[1, "a"]', r"result\[1\] should be int, but is a text"),
    ("def mock(): return {'a': 1}\n", '{"b": 1}', "should be an object with the keys a, but is an object of 1"),
    ("def mock(): return (1, {'a': [Path('x')]})\n", '[1, {"a": [2]}]', r"result\[1\]\['a'\]\[0\] should be Path"),
    ("def mock() -> int | str: return 1\n", "1.5", r"should be int \| str, but is a number"),
    ("def mock() -> Path | None: return None\n", '""', "but is a text"),
    ("def mock(): return np.eye(2)\n", "[[1, 2], [3]]", "should be ndarray, but is an array of 2"),
    ("def mock(): return np.eye(2)\n", '"a"', "should be ndarray, but is a text"),
    ("def mock(): return datetime.datetime(2020, 1, 1)\n", '"today"', "should be datetime, but is a text: 'today'"),
]


@pytest.mark.parametrize(("jobinfo", "text", "said"), MISFITS)
def test_a_result_of_another_structure_is_told(jobinfo: str, text: str, said: str) -> None:
    """A result that does not fit the mock is an error that names file, place and both types."""
    with pytest.raises(JobError, match=rf"results/job/result\.json does not fit the mock of the job: .*{said}"):
        call(jobinfo, writing(text))


TYPES = """
class Pair(NamedTuple):
    left: int
    right: Path

@dataclass
class Data:
    number: float
    file: Path
    maybe: Optional[int] = None

@attrs.define
class Record:
    name: str
    _hidden: list[int]

class Color(enum.Enum):
    RED = "red"

"""

DATA = '{"number": 2, "file": "made.txt", "maybe": null}'


@pytest.mark.parametrize(
    ("mock", "text", "said"),
    [
        ("Pair(1, Path('made.txt'))", '[2, "made.txt"]', "Pair(left=2, right=PosixPath('MADE'))"),
        ("Pair(1, Path('made.txt'))", '{"right": "made.txt", "left": 2}', "Pair(left=2, right=PosixPath('MADE'))"),
        ("Data(1.0, Path('x'))", DATA, "Data(number=2.0, file=PosixPath('MADE'), maybe=None)"),
        ("Record('a', [1])", '{"name": "b", "_hidden": [3]}', "Record(name='b', _hidden=[3])"),
        ("Color.RED", '"red"', "<Color.RED: 'red'>"),
        ("[Color.RED, None]", '["red", null]', "[<Color.RED: 'red'>, None]"),
        ("(1, 'a', [2.0])", '[2, "b", [3]]', "(2, 'b', [3.0])"),
        ("{1: 'a', 2: 'b'}", '{"1": "x", "2": "y"}', "{1: 'x', 2: 'y'}"),
        ("np.zeros(2)", "[1.5, 2.5]", "array([1.5, 2.5])"),
        ("[]", "[]", "[]"),
        ("{}", "{}", "{}"),
        ("datetime.date(2020, 1, 1)", '"2021-02-03"', "datetime.date(2021, 2, 3)"),
    ],
)  # fmt: skip
@BOTH
def test_results_have_the_types_of_the_mock(mock: str, text: str, said: str, kind: Any) -> None:
    """Results are what the mock promises: classes, enums, arrays, keys that are numbers; from the files as well."""
    script = f"Path('made.txt').touch()\n{writing(text)}"
    made = make(Path("templates"), "t", f"{HEAD}{TYPES}def mock(): return {mock}\n", script)
    job = made.job(staging=staging_of(kind, Path.cwd()))
    wanted = said.replace("MADE", str(Path.cwd() / "results/job/made.txt"))
    assert [repr(job("job")), repr(job("job"))] == [wanted, wanted]
    assert made.times() == 1


@pytest.mark.parametrize(("text", "result"), [("null", None), ("1", 1)])
def test_results_may_be_optional(text: str, result: Any) -> None:
    """A result that may be missing is what the script says."""
    assert call("def mock() -> Optional[int]: return 1\n", writing(text)) == result


# --- arguments ---


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: float


@dataclass
class Box:
    name: str
    inner: Any = None


@attrs.define
class Item:
    number: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float64(1.5), 1.5),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.arange(3), [0, 1, 2]),
        (np.eye(2), [[1.0, 0.0], [0.0, 1.0]]),
        ([np.int64(1), {"a": np.float32(0.5)}], [1, {"a": 0.5}]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset("ba"), ["a", "b"]),
        (Box("a", Box("b")), {"name": "a", "inner": {"name": "b", "inner": None}}),
        (Item(1), {"number": 1}),
        (Point(1, 2.0), {"x": 1, "y": 2.0}),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Word.YES, "yes"),
        ({Word.YES: 1}, {"yes": 1}),
        (datetime.datetime(2020, 1, 2, 3), "2020-01-02T03:00:00"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        ("with \0 and \n and \"'\\", "with \0 and \n and \"'\\"),
        ("grüße 日本", "grüße 日本"),
        (10**1000, 10**1000),
        (-0.0, 0.0),
        ((), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arguments_become_json(value: Any, text: Any) -> None:
    """Numpy scalars, small arrays, sets, records, enums and dates are arguments, and are the same the next time."""
    made = make(Path("templates"), "t", "def mock(x): return 1\n", "answer(1)\n")
    job = made.job()
    job("job", x=value)
    assert json.loads(Path("results/job/kwargs.json").read_bytes()) == {"x": text}
    job("job", x=value)
    assert made.times() == 1


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _cyclic() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


REFUSED = [
    (float("nan"), "is nan"),
    ([1, {"a": float("inf")}], r"\[1\]\['a'\] is inf"),
    (np.array([1, np.nan]), r"\[1\] is nan"),
    (b"a", "bytes"),
    (bytearray(b"a"), "bytearray"),
    (decimal.Decimal("1.5"), "Decimal"),
    (1j, "complex"),
    (np.longdouble(1), "longdouble"),
    (datetime.timedelta(1), "timedelta"),
    ({1: 2}, "has the key 1, and in JSON keys are texts"),
    ({"a": {None: 1}}, r"\['a'\] has the key None"),
    ({1, "a"}, "no order"),
    ("\ud800", "not UTF-8"),
    ({"\ud800": 1}, "not UTF-8"),
    (10**5000, "is an integer of 16610 bits"),
    (np.zeros(200_000), "array of 200000 items; write it to a file"),
    (object(), "no form in JSON"),
    (print, "no form in JSON"),
    (range(3), "no form in JSON"),
    (_nested(1000), "nested too deeply"),
    (_cyclic(), "nested too deeply, or holds itself"),
    ({Path("x")}, "where no files are looked for"),
    (np.array([Path("x")]), "where no files are looked for"),
]


@pytest.mark.parametrize(("value", "said"), REFUSED, ids=[said for _, said in REFUSED])
@pytest.mark.parametrize("runner", [None, "serial", "threads"])
def test_arguments_without_a_form_in_json_are_refused(value: Any, said: str, runner: str | None) -> None:
    """What JSON does not have is an error that names the argument and the place in it; in a block at the call."""
    Path("x").touch()
    job = make(Path("templates"), "t", "def mock(x): return 1\n", "answer(1)\n").job()
    if runner is None:
        with pytest.raises(ArgumentError, match=f"argument x.*{said}"):
            job("job", x=value)
        return
    with workflow(runner), pytest.raises(ArgumentError, match=f"argument x.*{said}"):
        job("job", x=value)


@BOTH
@pytest.mark.parametrize("path", ["missing", "a\0b", "\ud800", "loop", "file/x"], ids=ascii)
def test_files_that_are_not_there_are_told(path: str, kind: Any) -> None:
    """A path among the arguments that is no file is an error that names it."""
    Path("file").touch()
    Path("loop").symlink_to("loop")
    with pytest.raises((JobError, ArgumentError)) as caught:
        call("def mock(x): return 1\n", "answer(1)\n", kind, x=Path(path))
    assert repr(path)[1:-1] in str(caught.value)


@BOTH
def test_a_pipe_among_the_arguments_is_not_waited_for(kind: Any) -> None:
    """A named pipe among the arguments is an error that names it."""
    os.mkfifo("pipe")
    with pytest.raises(JobError, match=r"no.* file.*pipe|neither a file nor a directory.*pipe"):
        call("def mock(x): return 1\n", "answer(1)\n", kind, x=Path("pipe"))


@BOTH
def test_a_plain_text_is_never_a_file(kind: Any) -> None:
    """A text that happens to be the name of a file is passed on as it is."""
    Path("in.txt").write_text("content")
    script = "answer([kwargs['x'], os.path.exists(kwargs['x'])])\n"
    assert call("def mock(x): return ['a', False]\n", script, kind, x="in.txt") == ["in.txt", False]
    assert Path("results/job/kwargs.sha256").read_text() == ""


# --- templates ---

TEMPLATES = {
    "no jobinfo": (None, "has no jobinfo.py"),
    "raises": ("x = 1\n1 / 0\n", r"jobinfo\.py:2 raised ZeroDivisionError"),
    "exits": ("import sys; sys.exit(3)\n", r"jobinfo\.py:1 raised SystemExit"),
    "syntax": ("def mock(:\n", r"jobinfo\.py:1 raised SyntaxError"),
    "null": ("x = 1\0\n", r"jobinfo\.py.* raised (SyntaxError|ValueError)"),
    "no mock": ("x = 1\n", r"jobinfo\.py: mock is missing"),
    "mock is a number": ("mock = 1\n", r"jobinfo\.py: mock is an? int"),
    "parameters is a number": ("parameters = 1\ndef mock(): pass\n", r"jobinfo\.py: parameters is an? int"),
    "resources": ("resources = 1\ndef mock(): pass\n", r"jobinfo\.py: resources has to be a dict, not 1"),
    "can_resume": ("can_resume = 1\ndef mock(): pass\n", r"jobinfo\.py: can_resume has to be a bool, not 1"),
    "args": ("def mock(*args): pass\n", r"the parameter '\*args' of mock"),
    "kwargs": ("def mock(**kwargs): pass\n", r"the parameter '\*\*kwargs' of mock"),
    "locator": ("def mock(locator): pass\n", "the parameter 'locator' of mock"),
    "positional": ("def mock(a, /): pass\n", "the parameter 'a' of mock"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_directory_that_is_no_template_is_told(name: str) -> None:
    """A template without a jobinfo.py, or with one that fails or describes no job, is an error that names the file."""
    jobinfo, said = TEMPLATES[name]
    made = make(Path("templates"), "t", jobinfo)
    with pytest.raises(TemplateError, match=said) as caught:
        made.job()
    assert str(made.path) in str(caught.value)


@pytest.mark.parametrize("path", ["missing", "file", "", "a\0b"])
def test_a_template_that_is_no_directory_is_told(path: str) -> None:
    """A template that is not there is an error that names it."""
    Path("file").touch()
    with pytest.raises(TemplateError):
        job_template(path)


@pytest.mark.parametrize("runner", [None, "serial", "threads"])
@pytest.mark.parametrize(
    ("script", "mode", "said"), [(None, 0, "has no script 'run'"), ("#!/bin/sh\n", 0o644, "can't be executed.*chmod")]
)
def test_a_script_that_can_not_run_is_told(runner: str | None, script: str | None, mode: int, said: str) -> None:
    """A template whose script is missing or can't be executed is an error at the call, which names the file."""
    made = make(Path("templates"), "t", ONE, script)
    if script is not None:
        (made.path / "run").chmod(mode)
    with pytest.raises(TemplateError, match=said) as caught:
        if runner is None:
            made.job()("job")
        else:
            with workflow(runner):
                made.job()("job")
    assert str(made.path) in str(caught.value)


WHOLE = """#!/bin/sh
mkdir deep; echo 1 > deep/a; echo 2 > weights.bin; {more}
echo '"."' > result.json
"""


@pytest.mark.parametrize("more", ["", "ls -A > result.extra", "echo . > result.extra"], ids=["", "ls", "dot"])
def test_a_result_that_is_the_directory_itself(monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    """What tells of a job comes last where results are kept, so that half of a copy is never taken for the whole."""
    order = []

    def copy_and_note(source: Path, target: Path, **options: Any) -> None:
        if "results" in target.parts[len(Path.cwd().parts) :][:1]:
            order.append(target.name)
        copy(source, target, **options)

    monkeypatch.setattr(scratch, "copy", copy_and_note)
    made = make(Path("templates"), "t", HEAD + "def mock(): return Path('.')\n", WHOLE.replace("{more}", more))
    assert made.job(staging=Scratch("results", "scratch"))("job") == Path("results/job")
    assert order[-4:] == ["kwargs.sha256", "kwargs.json", "result.json", "job.status"]
    assert [order.count(name) for name in order[-4:]] == [1] * 4
    assert "job" not in order
    assert Path("results/job/deep/a").read_text() == "1\n"
    assert Path("results/job/weights.bin").read_text() == "2\n"


def test_a_file_beside_the_directory_is_not_lost(tmp_path: Path) -> None:
    """A script that writes beside its scratch directory is told, before that is removed."""
    script = "#!/bin/sh\nmkdir -p ../shared; echo 1 > ../shared/x; echo '\"../shared/x\"' > result.json\n"
    made = make(Path("templates"), "t", HEAD + "def mock(): return Path('x')\n", script)
    with pytest.raises(JobError, match="beside its directory and would be lost"):
        made.job(staging=Scratch("results", "scratch"))("job")
    assert [path.read_text() for path in Path("scratch").rglob("shared/x")] == ["1\n"]


@BOTH
def test_an_output_that_is_a_link_is_not_followed(outside: Path, kind: Any) -> None:
    """A script that puts a link in the place of its own output has nothing read or copied through it."""
    script = f"#!/bin/sh\nln -sf {outside}/secret run.out; ln -sf {outside}/secret run.err; echo 1 > result.json\n"
    made = make(Path("templates"), "t", ONE, script)
    try:
        made.job(staging=kind("results"))("job")
    except JobError as error:
        assert SECRET not in "".join([str(error), *getattr(error, "__notes__", [])])
    kept = [path for path in Path("results").rglob("run.*") if not path.is_symlink()]
    assert not any(SECRET in path.read_text() for path in kept)
    (made.path / "run").write_text(script.replace("echo 1", "exit 3"))
    with pytest.raises(JobFailed) as caught:
        made.job(staging=kind("results"))("job2")
    assert SECRET not in str(caught.value)


@BOTH
def test_directories_without_files_are_copied(kind: Any) -> None:
    """The whole template is copied, and so are directories among the outputs."""
    made = make(
        Path("templates"),
        "t",
        HEAD + "def mock(): return Path('out')\n",
        "#!/bin/sh\nmkdir out/b\necho hi > out/deep/x; echo '\"out\"' > result.json\n",
    )
    (made.path / "out" / "deep").mkdir(parents=True)
    found = made.job(staging=kind("results"))("job")
    assert sorted(path.name for path in found.rglob("*")) == ["b", "deep", "x"]


def test_a_job_around_another_is_refused() -> None:
    """The directories of jobs don't hold each other, in whichever order they are made."""
    job = make(Path("templates"), "t", ONE, "answer(1)\n").job()
    job("a/b")
    with pytest.raises(JobError, match="the job a would be around the directory of the job a/b"):
        job("a")
    assert job("a/b") == 1
    job("c")
    with pytest.raises(JobError, match="inside of the directory of the job c"):
        job("c/d")


ENVIRONMENT = {
    "signal": "3.5",
    "told": "x",
    "started": "y",
    "status": "z",
    "_parman_none": "kept",
    "odd%%": "() { :; }",
    "a.b": "two\nlines",
}


def test_the_environment_reaches_the_script_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell that watches a script takes nothing away, adds nothing, and needs no PATH."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", "/nowhere")
    script = "#!/usr/bin/python3 -IS\nimport json, os\njson.dump(dict(os.environ), open('result.json', 'w'))\n"
    made = make(Path("templates"), "t", "def mock(): return {}\n", script)
    found = made.job(env={"OWN": "1"})("job")
    assert {name: found[name] for name in ENVIRONMENT} == ENVIRONMENT
    added = found.keys() - os.environ.keys()
    assert added <= {"OWN", "PARMAN_WORKDIR", "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}


SLOPPY = """#!/bin/sh
echo "compute: not found" >&2
echo '"made.txt"' > result.json
"""


@BOTH
def test_a_script_that_ends_well_without_what_it_promised(kind: Any) -> None:
    """The error shows what the script wrote besides, and says what lets the job run again; and that is so."""
    made = make(Path("templates"), "t", HEAD + FILE, SLOPPY)
    with pytest.raises(JobError, match="there is no") as caught:
        made.job(staging=kind("results"))("job")
    (note,) = caught.value.__notes__
    assert "    compute: not found" in note
    directory = re.search(r"remove (\S+), so that", note)
    assert directory is not None
    shutil.rmtree(directory[1])
    (made.path / "run").write_text(SLOPPY.replace("compute: not found", "").replace("echo '", "touch made.txt; echo '"))
    assert made.job(staging=kind("results"))("job").exists()


@pytest.mark.parametrize("first", ["#!/no/such/interpreter", "#!/bin/sh\nno_such_program"])
def test_a_program_that_is_not_there_is_told(first: str) -> None:
    """An exit status of 127 says what it stands for, since the shell's words about it can mislead."""
    made = make(Path("templates"), "t", ONE, f"{first}\n")
    with pytest.raises(JobFailed, match=r"127, as if a program is not there: .* its first line"):
        made.job()("job")


def test_a_script_that_is_not_there_falls_back() -> None:
    """A template without the script of the settings runs `run`; with neither, the error names both."""
    made = make(Path("templates"), "t", ONE, "answer(1)\n")
    assert made.job(script="submit.sh")("job") == 1
    (made.path / "run").unlink()
    with pytest.raises(TemplateError, match=r"neither a script 'submit\.sh' nor 'run'"):
        made.job(script="submit.sh")("other")


@pytest.mark.parametrize("first", ["#!/nowhere/interpreter", "\x7fELF", "#!/bin/sh -c 'exit"])
def test_a_script_that_does_not_start_has_failed(first: str) -> None:
    """A script that the system can't start is a failure with an exit status, not one that hangs."""
    made = make(Path("templates"), "t", ONE, None)
    (made.path / "run").write_text(f"{first}\n")
    (made.path / "run").chmod(0o755)
    with pytest.raises(JobFailed) as caught:
        made.job()("job")
    assert caught.value.status


MOCKS = {
    "raises": ("def mock(): 1 / 0\n", "ZeroDivisionError"),
    "absolute": ("def mock(): return Path('/etc/passwd')\n", r"jobinfo\.py: mock\(\) returns '/etc/passwd'"),
    "leads out": ("def mock(): return [Path('../../../x')]\n", r"jobinfo\.py: mock\(\) returns '\.\./\.\./\.\./x'"),
}


@pytest.mark.parametrize("name", MOCKS)
@pytest.mark.parametrize("runner", [None, "serial", "threads"])
def test_a_mock_that_promises_nonsense_is_told(name: str, runner: str | None) -> None:
    """A mock that fails, or returns a path that leads out, is an error at the call that names jobinfo.py."""
    jobinfo, said = MOCKS[name]
    made = make(Path("templates"), "t", HEAD + jobinfo)
    with pytest.raises((StructureError, TemplateError), match=said) as caught:
        if runner is None:
            made.job()("job")
        else:
            with workflow(runner):
                made.job()("job")
    assert str(made.path / "jobinfo.py") in str(caught.value)
    assert made.times() == 0


# --- hostile files of ours ---

GARBAGE = {
    "random": bytes(range(256)),
    "empty": b"",
    "lines": b"\n" * 1000,
    "other paths": b"0" * 64 + b"  ../../../outside/secret\n",
    "absolute": b"0" * 64 + b"  /etc/passwd\n",
    "deep": b"[" * 100_000,
}


def _finished(kind: Any) -> Any:
    made = make(Path("templates"), "t")
    job = made.job(staging=staging_of(kind, Path.cwd()))
    job("job")
    return made, job


@BOTH
@pytest.mark.parametrize(
    "name", ["kwargs.json", "kwargs.sha256", "template.sha256", "job.status", "job.lock", "jobenv.sh"]
)
@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_in_our_files_is_told_or_ignored(name: str, content: str, kind: Any) -> None:
    """Garbage in a file of ours never lets a finished job run again; the error names the file or the directory."""
    made, job = _finished(kind)
    home = Path.cwd() / "results/job"
    (home / name).write_bytes(GARBAGE[content])
    result = (home / "result.json").read_bytes()
    try:
        assert job("job") == {"twice": 2, "made": home / "made.txt"}
    except JobError as error:
        assert str(home) in str(error)
    assert made.times() == 1
    assert (home / "result.json").read_bytes() == result


@BOTH
@pytest.mark.parametrize(
    "name",
    ["kwargs.json", "kwargs.sha256", "template.sha256", "job.status", "result.json", "job.lock", "kwargs-new.json"],
)
@pytest.mark.parametrize("what", ["a pipe", "a directory", "a link out"])
def test_what_is_no_file_of_ours_is_told(name: str, what: str, kind: Any, outside: Path) -> None:
    """A pipe, a directory or a link in the place of a file of ours is not read, written or waited for."""
    made, job = _finished(kind)
    path = Path.cwd() / "results/job" / name
    path.unlink(missing_ok=True)
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a directory":
        path.mkdir()
    else:
        path.symlink_to(outside / "secret")
    for x in (1, 2):
        try:
            job("job", x=x)
        except JobError as error:
            assert str(path.parent) in str(error)
            assert SECRET not in str(error)
    assert made.times() == 1


WRITTEN = [
    "kwargs.json",
    "kwargs.sha256",
    "job.status",
    "template.sha256",
    "run",
    "jobenv.sh",
    "made.txt",
    "result.json",
]
WAITING = ["run.out", "run.err", "job.lock", "jobenv.sh", "made.txt", "run", *(f".{name}.new" for name in WRITTEN)]


@BOTH
@pytest.mark.parametrize("name", WAITING)
def test_links_that_wait_for_us_are_not_followed(name: str, kind: Any, outside: Path) -> None:
    """A link that waits in a directory in the place of a file that we write leads nothing outside."""
    home = Path("results/job")
    home.mkdir(parents=True)
    (home / name).symlink_to(outside / "secret")
    script = "os.path.islink('made.txt') and os.unlink('made.txt')\nPath('made.txt').touch(); answer('made.txt')\n"
    try:
        call(FILE, script, kind)
    except JobError as error:
        assert name in str(error)


@BOTH
def test_folders_that_are_links_are_not_followed(kind: Any, outside: Path) -> None:
    """A link in the place of a folder of the template, or of the result, leads nothing outside."""
    made = make(
        Path("templates"), "t", HEAD + "def mock(): return Path('deep/made.txt')\n", "answer('deep/made.txt')\n"
    )
    (made.path / "deep").mkdir()
    (made.path / "deep/made.txt").write_text("mine")
    Path("results/job").mkdir(parents=True)
    Path("results/job/deep").symlink_to(outside / "deep")
    with pytest.raises(JobError, match="outside"):
        made.job(staging=staging_of(kind, Path.cwd()))("job")
    assert not (outside / "deep/made.txt").exists()


@BOTH
@pytest.mark.parametrize("rest", ["", "started T run\n", "started T run\nexited T 0\n", "started T run\nexited T 1\n"])
@pytest.mark.parametrize("with_kwargs", [False, True])
@pytest.mark.parametrize(
    "where", ["outside", "inside/mine", "inside/scratch/mine", "inside/scratch/parman-x", "inside/results"]
)
def test_a_status_that_names_another_directory_removes_nothing(
    kind: Any, rest: str, with_kwargs: bool, where: str, outside: Path
) -> None:
    """A status file that names a directory that is not ours leads to nothing being written, run or removed there."""
    mine = outside.parent / where / "deep"
    mine.mkdir(parents=True, exist_ok=True)
    for name in ("kwargs.json", "result.json", "run", "made.txt"):
        if not (mine / name).exists() and "outside" not in where:
            (mine / name).write_text('{"x": 1, "file": null, "more": []}')
    before = contents(mine)
    made = make(Path("templates"), "t", RESUMES)
    job = made.job(staging=staging_of(kind, Path.cwd()))
    home = Path("results/job")
    home.mkdir(parents=True, exist_ok=True)
    if with_kwargs:
        (home / "kwargs.json").write_text('{"x": 1, "file": null, "more": []}')
    (home / "job.status").write_text(f"prepared T in {mine}\n{rest}")
    try:
        job("job")
    except JobError as error:
        assert "job" in str(error)
    assert contents(mine) == before
    assert str(mine) not in made.directories()


def test_a_template_around_the_results_is_refused() -> None:
    """A results root inside of the template is an error, rather than a copy of copies; nothing is written there."""
    made = make(Path("templates"), "t", ONE, "answer(1)\n")
    staging = InPlace(made.path / "results")
    before = contents(made.path)
    with pytest.raises(JobError, match=r"inside of its template .*choose another results root"):
        made.job(staging=staging)("job")
    assert contents(made.path) == before


# --- disks ---


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Any]:
    """Give a function that makes a small disk, with so many pages [4 kB] and files."""
    folder = tmp_path / "inside" / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"needs a small disk of its own, which can't be had here: {done.stderr.decode().strip()}")
        return folder

    if shutil.which("mount") is None:
        pytest.skip("needs a small disk of its own, and there is no program to mount one")
    yield mount
    subprocess.run(["umount", folder], capture_output=True, check=False)


def _try_on_a_full_disk(kind: Any, folder: Path, locator: str, fill: Path) -> None:
    """Call a job on a disk that is full, and once more when there is room again."""
    made = make(Path("templates"), locator, script=f"MODE = ''\n{SCRIPT_OF_A_PAGE}")
    staging = InPlace(folder / "results") if kind is InPlace else Scratch(folder / "results", folder / "scratch")
    home = folder / "results" / locator
    wanted = {"twice": 2, "made": home / "made.txt"}
    try:
        assert made.job(staging=staging)(locator) == wanted
        done = True
    except JobError as error:
        assert str(folder) in str(error) or "run.err" in str(error)
        done = False
    state = JobDirectory(home).state()
    assert (state is State.FINISHED) >= done
    fill.unlink()
    if not done and state is State.FINISHED:  # the script has left half a result, and did not notice
        shutil.rmtree(home)
    before = made.times()
    assert made.job(staging=staging, rerun=["failed", "unfinished"])(locator) == wanted
    assert made.times() == before + (state is not State.FINISHED or not done) or kind is Scratch
    assert made.times() <= 2


SCRIPT_OF_A_PAGE = """\
Path("made.txt").write_text("made")
answer({"twice": 2 * kwargs["x"], "made": "made.txt"})
"""


@BOTH
@pytest.mark.parametrize("free", range(26))
def test_a_full_disk_is_told(kind: Any, free: int, disk: Any) -> None:
    """Whichever write meets a full disk: a clear error, nothing half is taken for whole, and it goes on when mended."""
    folder = disk("size=400k")
    fill = folder / "fill"
    fill.write_bytes(bytes(400 * 1024 - 4096 * free))
    _try_on_a_full_disk(kind, folder, "job", fill)


@BOTH
@pytest.mark.parametrize("free", range(0, 40, 2))
def test_a_disk_without_room_for_files_is_told(kind: Any, free: int, disk: Any) -> None:
    """The same where there is room for bytes, but for no more files."""
    folder = disk("nr_inodes=60")
    fill = folder / "fill"
    fill.mkdir()
    (folder / "one").touch()
    made = 0
    while os.statvfs(folder).f_ffree > free:
        (fill / str(made)).touch()
        made += 1
    (folder / "one").rename(folder / "gone")
    target = folder / "gone"

    class Fill:
        def unlink(self) -> None:
            shutil.rmtree(fill)
            target.unlink()

    _try_on_a_full_disk(kind, folder, "job", Fill())  # type: ignore[arg-type]


@BOTH
def test_a_disk_that_can_not_be_written(kind: Any, disk: Any) -> None:
    """On a results root that can't be written, a finished job is loaded, and any other is an error that names it."""
    folder = disk("size=4m")
    made = make(Path("templates"))
    staging = InPlace(folder / "results") if kind is InPlace else Scratch(folder / "results", Path("scratch"))
    job = made.job(staging=staging)
    first = job("done")
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    assert job("done") == first
    with pytest.raises(JobError, match=f"Read-only file system: {folder}/results/other"):
        job("other")
    with pytest.raises(JobError, match=f"Read-only file system: {folder}/results/done"):
        job("done", x=2)
    assert made.times() == 1


def test_output_that_is_no_text_is_quoted() -> None:
    """The end of run.err stands in the error, whatever bytes the script wrote, and not all of it."""
    script = "sys.stderr.buffer.write(b'line\\n' * 100_000 + bytes(range(256)) + b'the end'); sys.exit(1)\n"
    with pytest.raises(JobFailed, match="the end") as caught:
        call(ONE, script)
    assert len(str(caught.value)) < 5000
    assert sys.getsizeof(str(caught.value).encode()) > 0
