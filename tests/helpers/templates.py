# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Templates of jobs: small ones in Python that tell how often they ran, and ones in shell that wait at a gate."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from parman import InPlace, JobSettings, Scratch, Staging, job_template
from parman.jobs.directory import JobDirectory

from .gates import ScriptGate, script_gate
from .processes import MARK, kill_all

__all__ = [
    "HOLD",
    "JOBINFO",
    "RESUMES",
    "SCRIPT",
    "Made",
    "contents",
    "held_up",
    "is_free",
    "job_directory",
    "job_with",
    "logged",
    "make",
    "old_directory",
    "staging",
    "staging_of",
    "write_template",
]

JOBINFO = """\
from pathlib import Path

def mock(x: int = 1, file: Path | None = None, more: list[Path] = []):
    return {"twice": 2, "made": Path("made.txt")}
"""

RESUMES = JOBINFO + "\ncan_resume = True\n"

SCRIPT = """\
if MODE == "fail":
    print("what went wrong", file=sys.stderr)
    sys.exit(3)
if MODE == "kill":  # what watches the script dies with it
    os.kill(os.getppid(), 9)
    sys.exit(0)
Path("made.txt").write_text(f"made from {kwargs['x']}")
if MODE != "nothing":
    answer({"twice": 2 * kwargs["x"], "made": "made.txt"})
if MODE == "late":
    sys.exit(4)
"""
"""The script that goes with JOBINFO: it does what the environment variable MODE says."""

_HEAD = """\
#!{python} -IS
import json, os, sys
from pathlib import Path

with open({ran!r}, "a") as stream:
    stream.write(json.dumps(os.getcwd()) + "\\n")
MODE = os.environ.get("MODE", "")
kwargs = json.loads(Path("kwargs.json").read_text())

def answer(result):
    Path("result.json").write_text(json.dumps(result))

"""


@dataclass
class Made:
    """A template that was made for a test."""

    path: Path
    ran: Path

    def job(self, **settings: Any) -> Any:
        """Return it as a job."""
        return job_template(self.path, JobSettings(**settings))

    def directories(self) -> list[str]:
        """Return where its script ran, once for each time."""
        return [json.loads(line) for line in self.ran.read_text().splitlines()] if self.ran.exists() else []

    def times(self) -> int:
        """Return how often its script ran."""
        return len(self.directories())


def make(
    folder: Path,
    name: str = "job",
    jobinfo: str | None = JOBINFO,
    script: str | None = SCRIPT,
    script_name: str = "run",
    **files: str,
) -> Made:
    """Make a template.

    Parameters
    ----------
    folder
        Where it is made.
    jobinfo
        The text of `jobinfo.py`; None for none.
    script
        What the script does in Python, with `kwargs`, `answer(result)` and `MODE` at hand; one that begins with `#!`
        is taken as it is; None for none.
    **files
        The texts of further files.
    """
    path = folder.absolute() / name
    path.mkdir(parents=True)
    ran = path.with_name(f"{name}.ran")
    if jobinfo is not None:
        (path / "jobinfo.py").write_text(dedent(jobinfo))
    if script is not None:
        head = "" if script.startswith("#!") else _HEAD.format(python=sys.executable, ran=str(ran))
        (path / script_name).write_text(head + dedent(script))
        (path / script_name).chmod(0o755)
    for file, text in files.items():
        (path / file).write_text(text)
    return Made(path, ran)


def staging_of(kind: type[InPlace] | type[Scratch], folder: Path) -> Any:
    """Return a staging with its results in `results`, and its fresh directories in `scratch`."""
    root = folder / "results"
    return InPlace(root) if kind is InPlace else Scratch(root, folder / "scratch")


def old_directory(directory: Path) -> None:
    """Let a directory look like one that Parman 0.4 made, which knew nothing of some of our files."""
    for name in ("job.status", "job.lock", "template.sha256"):
        (directory / name).unlink(missing_ok=True)


def contents(folder: Path, *without: str) -> dict[str, bytes | str]:
    """Return what is below a folder, without locks, which hold a time: each file's content, where each link leads."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name not in without and path.name != "job.lock":
            if path.is_symlink():
                found[name] = str(path.readlink())
            else:
                found[name] = path.read_bytes() if path.is_file() else "a directory"
    return found


# --- in shell ---

_SHELL_HEAD = """#!/bin/sh
say() { echo "$1 ${PWD##*/results/}" >>"$LOG"; }
number=$(sed -n 's/.*"number": \\([0-9]*\\).*/\\1/p' kwargs.json)
say start
"""


def write_template(path: Path, mock: str, script: str) -> Path:
    """Make a template with a shell script that has `say` and `$number` at hand, and logs its start."""
    path.mkdir(parents=True)
    (path / "jobinfo.py").write_text(f"from pathlib import Path\n\n{mock}\n")
    (path / "run").write_text(_SHELL_HEAD + script)
    (path / "run").chmod(0o755)
    return path


def logged(folder: Path, word: str = "start") -> list[str]:
    """Return the locators of the jobs whose scripts have logged the word, once for each time."""
    log = folder / "log"
    lines = log.read_text().split("\n") if log.exists() else []
    return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]


HOLD = """
echo begun
echo complaint >&2
echo $$ $PPID >"$GATE/here"
read -r _ <"$GATE/open"
echo "$number" >result.json
say end
"""
"""A script that stops at the gate, where it leaves its own number and that of the shell that watches it."""


@contextmanager
def held_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptGate]:
    """Make a template whose script stops at a gate; what it starts carries the name of the folder as its mark."""
    monkeypatch.chdir(folder)
    for name, value in ((MARK, str(folder)), ("LOG", str(folder / "log")), ("GATE", str(folder / "gate"))):
        monkeypatch.setenv(name, value)
    template = write_template(folder / "hold", "def mock(number: int = 7):\n    return 1", HOLD)
    with script_gate(folder / "gate") as gate:
        gate.template = template
        yield gate
    kill_all(str(folder))


def is_free(directory: Path) -> bool:
    """Tell whether nobody holds the lock of a job."""
    lock = JobDirectory(directory).lock()
    taken = lock.try_to_take()
    lock.release()
    return taken


def staging(kind: str) -> Staging:
    """Return a staging by its name."""
    return InPlace("results") if kind == "inplace" else Scratch("results", "scratch")


def job_directory(locator: str) -> Path:
    """Return where a job is kept."""
    return InPlace("results").top / locator


def job_with(gate: ScriptGate, kind: str, **settings: Any) -> Any:
    """Return the job at the gate with settings of its own."""
    return job_template(gate.template, JobSettings(staging=staging(kind), **settings))
