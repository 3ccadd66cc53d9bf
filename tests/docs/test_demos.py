# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The small demos and the README's example: each is run, and prints exactly what it is said to print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

DEMOS = sorted((ROOT / "demos").glob("*.py"))
EXPECTED = ROOT / "demos" / "expected"


def run(script: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as a user would, from another directory, with warnings as errors; both streams are one."""
    command = [sys.executable, "-W", "error", str(script)]
    return subprocess.run(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=240
    )


def normalise(text: str) -> str:
    """Take out where the project lies."""
    return text.replace(f"{ROOT}/", "")


@pytest.mark.parametrize("demo", DEMOS, ids=lambda path: path.stem)
def test_demo_prints_what_is_expected(demo: Path, tmp_path: Path) -> None:
    """Each small demo prints its expected output to the letter, and leaves with the status that it should have."""
    result = run(demo, tmp_path)
    assert normalise(result.stdout) == (EXPECTED / f"{demo.stem}.txt").read_text()
    assert result.returncode == (1 if demo.stem == "dry_run" else 0)
    assert list(tmp_path.iterdir()) == []


def test_every_expected_output_has_its_demo() -> None:
    """No expected output is left over, and the demos that the documentation speaks of are there."""
    assert {path.stem for path in EXPECTED.glob("*.txt")} == {path.stem for path in DEMOS}
    assert {"wait_graph", "scheduler", "snapshots", "nested_results", "dry_run"} <= {path.stem for path in DEMOS}


@pytest.mark.parametrize("demo", DEMOS, ids=lambda path: path.stem)
def test_demo_is_short(demo: Path) -> None:
    """A small demo is read at one glance."""
    assert len(demo.read_text().splitlines()) < 40


def blocks(language: str) -> list[str]:
    """Return the code blocks of the README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def test_readme_example_prints_what_it_says(tmp_path: Path) -> None:
    """The README's example is a script of at most 15 lines whose output is the one below it."""
    script = tmp_path / "example.py"
    script.write_text(blocks("python")[0])
    lines = [line for line in script.read_text().splitlines() if line.strip()]
    assert len(lines) <= 15
    result = run(script, tmp_path)
    assert result.stdout == blocks("text")[0]
