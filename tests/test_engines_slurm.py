# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls on executorlib's workers, which are jobs of a real Slurm."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from helpers import ROOT
from slurm import call

MISSING = [name for name in ("executorlib", "pysqa") if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@pytest.mark.usefixtures("cluster")
@pytest.mark.timeout(180)
def test_the_core_of_the_conformance_suite_in_a_queue() -> None:
    """The core of the suite holds where each worker is a job in the queue, and no job is left there."""
    tests = [
        "-m",
        "pytest",
        "-q",
        "--color=no",
        "-p",
        "no:cacheprovider",
        "tests/conformance",
        "-m",
        "core",
        "-k",
        "slurm",
    ]
    process = subprocess.run(
        [sys.executable, *tests],
        cwd=ROOT,
        env={**os.environ, "PARMAN_TEST_ENGINE": "slurm"},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert process.returncode == 0, process.stdout[-5000:] + process.stderr[-2000:]
    passed = re.search(r"^(\d+) passed", process.stdout, re.MULTILINE)
    assert passed is not None, process.stdout[-5000:]
    assert int(passed[1]) > 40
    assert call("squeue", "-h", "-n", "None", "-o", "%A") == ""
