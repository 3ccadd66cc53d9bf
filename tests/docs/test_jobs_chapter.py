# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The chapter on template jobs: its files are made from the page, and its commands print what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import attrs
import pytest
from helpers import ROOT

from parman import JobSettings

PAGE = ROOT / "docs" / "jobs.md"

FENCE = re.compile(r"(?:`(?P<name>[^`\n]+)`:\n\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)

PLACEHOLDER = """\
#!/bin/sh
# Runs at once what would be submitted, as Slurm does: a copy that lies elsewhere.
cp "$1" "$0.$$" && exec "$0.$$"
"""


class Block(NamedTuple):
    """A code block: the file that it is, if the text before names one."""

    name: str | None
    language: str
    text: str


def blocks() -> list[Block]:
    """Return the code blocks of the page, in order."""
    return [Block(*match.group("name", "language", "text")) for match in FENCE.finditer(PAGE.read_text())]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a console block, each with what it is to print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def pattern(output: str) -> str:
    """Return a pattern for an output, in which a line of dots stands for any lines, and … for anything in a line."""
    lines = [re.escape(line).replace("…", ".*") + "\n" for line in output.splitlines()]
    return "".join(r"(?:.*\n)*?" if line == re.escape("...") + "\n" else line for line in lines)


class Reader:
    """Does what the page says, in an empty directory."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory = directory
        make_placeholder = programs / "parman-sbatch-wait"
        make_placeholder.write_text(PLACEHOLDER)
        make_placeholder.chmod(0o755)
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": "error", "TMPDIR": str(programs)}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command; both streams are one."""
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=240,
        )

    def follow(self, block: Block) -> None:
        """Write a file, type commands, or run a snippet."""
        if block.language == "console":
            for command, output in commands(block.text):
                self.type(command, output)
        elif block.name is not None:
            self.write(block.name, block.text)
        else:
            result = self.run("python", "-c", block.text)
            assert result.returncode == 0, f"{block.text}\n{result.stdout}"

    def write(self, name: str, text: str) -> None:
        """Write a file, as executable as it was."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def type(self, command: str, output: str) -> None:
        """Run a command in a shell, and compare what it prints."""
        result = self.run("bash", "-c", command)
        assert re.fullmatch(pattern(output), result.stdout), f"$ {command}\n{result.stdout}\nrather than\n{output}"
        assert output or result.returncode == 0, command


@pytest.mark.slow
def test_page_holds_when_it_is_followed(tmp_path: Path) -> None:
    """Whoever writes the files of the page and types its commands sees what it shows, from the first to the last.

    One test, since following the page takes a while: what it leaves is what the page says, too.
    """
    (directory := tmp_path / "reader").mkdir()
    (programs := tmp_path / "programs").mkdir()
    reader = Reader(directory, programs)
    for block in blocks():
        reader.follow(block)
    check_scripts(directory / "results-cluster")
    check_files(directory / "results" / "T0.5" / "walk")
    assert list((directory / "fast-disk").iterdir()) == []
    assert list(programs.glob("parman-*/**")) == []


def check_scripts(root: Path) -> None:
    """See that the template with `run-slurm` has used it, and the other one `run`."""
    outputs = {path.parent.name: path.name for path in root.rglob("run*.out")}
    assert outputs == {"walk": "run-slurm.out", "radius": "run.out"}


def check_files(job: Path) -> None:
    """Compare the table of the files of a job with those that one has, and that the template did not bring along."""
    other = {"run", "walk.py", "jobinfo.py", "trajectory.txt", "kwargs-new.json"}
    made = {path.name for path in job.iterdir()} - other
    assert first_column("## The files of a job") == made | {"result.extra"}


def test_every_block_is_followed() -> None:
    """Each block of the page is a file, commands or a Python snippet, so that none goes untested."""
    found = blocks()
    assert len(found) == len(re.findall(r"^```\w*$", PAGE.read_text(), re.MULTILINE)) / 2
    assert [block for block in found if block.name is None and block.language not in ("console", "python")] == []
    assert len([block for block in found if block.name is not None]) > 8


def first_column(heading: str) -> set[str]:
    """Return the names in the first column of the table below a heading."""
    section = PAGE.read_text().partition(f"\n{heading}\n")[2].partition("\n#")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([\w.]+)`", row[1])}


def test_settings_are_all_there() -> None:
    """The table of settings names each that there is."""
    assert first_column("## Settings") == {field.name for field in attrs.fields(JobSettings)}
