# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls on the ranks of an MPI program."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

MISSING = [
    reason
    for reason, there in [
        ("there is no mpirun (Debian's openmpi-bin)", shutil.which("mpirun")),
        ("mpi4py is not installed", importlib.util.find_spec("mpi4py")),
    ]
    if not there
]
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
MPI = ["mpirun", "-n", "3", "--oversubscribe", sys.executable, "-m", "mpi4py.futures"]


@pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING))
@pytest.mark.timeout(180)
def test_the_conformance_suite_on_ranks() -> None:
    """The whole suite holds on mpi4py's pool: the driver is one rank of three, the others run the calls."""
    tests = ["-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", "tests/conformance", "-k", "mpi"]
    process = subprocess.run(
        [*MPI, *tests],
        cwd=ROOT,
        env={**os.environ, **AS_ROOT, "PARMAN_TEST_ENGINE": "mpi"},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert process.returncode == 0, process.stdout[-5000:] + process.stderr[-2000:]
    passed = re.search(r"^(\d+) passed", process.stdout, re.MULTILINE)
    assert passed is not None, process.stdout[-5000:]
    assert int(passed[1]) > 150
