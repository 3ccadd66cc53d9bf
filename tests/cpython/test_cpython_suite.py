# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What holds for the futures and executors of the standard library holds for ours: CPython's own tests say so.

Which tests are left out, and why, stands in `helpers.cpython_suite.LEFT_OUT`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import ROOT
from helpers.cpython_suite import GROUPS, LEFT_OUT, find_tests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # whole groups of CPython's tests, which sleep a lot

AHEAD = 10
"""How many groups run at a time: they sleep, most of the time."""

RUNS = [(target, group) for target, groups in GROUPS.items() for group in groups]
RUNS.sort(key=lambda run: run[1] != "wait")  # those that take longest come first
Report = dict[str, Any]


@pytest.fixture(scope="module")
def report_of() -> Iterator[Callable[[tuple[str, str]], Report]]:
    """Run a group of tests in an interpreter of its own; start those that come next as well."""
    if find_tests() is None:
        pytest.skip("CPython's tests are not installed, as Debian's package libpython3.x-testsuite would do")
    started: dict[tuple[str, str], subprocess.Popen[str]] = {}

    def get(run: tuple[str, str]) -> Report:
        first = RUNS.index(run)
        for one in RUNS[first : first + AHEAD]:
            if one not in started:
                started[one] = start(*one)
        out, err = started[run].communicate()
        lines = out.splitlines()
        assert lines, err
        return {**json.loads(lines[-1]), "stderr": err}

    yield get
    for process in started.values():
        process.kill()
        process.communicate()


def start(target: str, group: str) -> subprocess.Popen[str]:
    """Start a group of tests."""
    command = [sys.executable, "-W", "error", str(ROOT / "tests" / "helpers" / "cpython_suite.py"), target, group]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("run", RUNS, ids=" ".join)
def test_cpythons_tests_hold(report_of: Callable[[tuple[str, str]], Report], run: tuple[str, str]) -> None:
    """CPython's tests pass with ours in place of its own, and no thread or process is left behind."""
    report = report_of(run)
    assert report["succeeded"], report["text"]
    assert report["ran"]
    assert not report["skipped"]
    assert not report["left behind"], report["stderr"]


def test_each_test_is_left_out_for_a_reason() -> None:
    """The table names targets that there are, and says why for each test."""
    assert LEFT_OUT.keys() <= {"", *GROUPS}
    assert all(reason for table in LEFT_OUT.values() for reason in table.values())
