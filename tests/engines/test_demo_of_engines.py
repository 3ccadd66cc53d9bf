# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The demo of engines: one script, a table, and the same numbers on all of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

pytestmark = pytest.mark.engines

DEMO = ROOT / "demos" / "engines"
ROW = re.compile(r"^\| (\w[\w ]*?) +\| +([\d.]+) \| +(\d+) \| +(\d*) \| +([\d.]*) \|$", re.MULTILINE)


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as a user does, from another directory."""
    command = [sys.executable, "-W", "error", str(DEMO / "engines.py"), *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=240)


def test_each_engine_has_a_row(tmp_path: Path) -> None:
    """The engines that are asked for are measured, with and without Parman, and nothing is left behind."""
    done = run(tmp_path, "threads", "stdlib threads", "--calls", "20")
    assert (done.returncode, done.stderr) == (0, "")
    rows = ROW.findall(done.stdout)
    assert [row[0] for row in rows] == ["threads", "stdlib threads"]
    for _, first, call, hand, ratio in rows:
        assert 0 <= float(first) < 50
        assert int(hand) > 0
        assert int(call) > 0
        assert float(ratio) > 0
    assert "walks go as the power 0.594 of their length" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_takes_too_long_fails_alone(tmp_path: Path) -> None:
    """One that exceeds the limit has a row that says so, and the exit status tells."""
    done = run(tmp_path, "serial", "--limit", "0.01")
    assert done.returncode == 1
    assert re.search(r"^\| serial +\| took more than 0.01 s \|$", done.stdout, re.MULTILINE)


def test_an_unknown_engine_is_an_error(tmp_path: Path) -> None:
    """The error lists the engines that there are."""
    done = run(tmp_path, "abacus")
    assert done.returncode == 2
    assert "'abacus'" in done.stderr
    assert "executorlib" in done.stderr


def test_the_readme_shows_every_engine() -> None:
    """The table of the README has a row for each engine that the demo knows."""
    known = re.findall(r'^    "([\w ]+)": \w+,$', (DEMO / "openers.py").read_text(), re.MULTILINE)
    assert len(known) > 8
    assert [row[0] for row in ROW.findall((DEMO / "README.md").read_text())] == known
