# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A real Slurm for tests.

It is the one that `SLURM_CONF` names, else one that `.ci/slurm` starts, for which the tests have to run as root on a
Debian. Where there is none the tests are skipped; with `PARMAN_TEST_SLURM=require` they fail, with
`PARMAN_TEST_SLURM=skip` they are skipped in any case.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parman.slurm.program import locked

from . import ROOT

__all__ = ["LIMIT", "call", "cluster", "until"]

LIMIT = 90
"""How long Slurm may take for anything [s]: it looks at time limits every 30 s."""


def until(condition: Callable[[], object], what: Callable[[], object]) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"in vain: {what()}"
        time.sleep(0.05)


def missing(reason: str) -> None:
    """Skip the tests, or fail if Slurm has to be there."""
    if os.environ.get("PARMAN_TEST_SLURM") == "require":
        pytest.fail(f"PARMAN_TEST_SLURM=require, but {reason}")
    pytest.skip(reason)


def call(*command: str, check: bool = True) -> str:
    """Run a program and return what it writes."""
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=LIMIT).stdout


def answers() -> bool:
    """Whether there is a Slurm for this process."""
    return bool(shutil.which("scontrol")) and "is UP" in call("timeout", "20", "scontrol", "ping", check=False)


@contextlib.contextmanager
def own_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start a Slurm, shared by the processes of this test run; the last that needs it takes it away."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"parman-slurm-{run[:12]}"
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PARMAN_SLURM_DIR": str(folder)}

    def slurm(what: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / ".ci" / "slurm", what], env=environment, capture_output=True, text=True, check=False
        )

    lock = folder.with_suffix(".lock")
    with contextlib.ExitStack() as use:
        with locked(lock):
            started = slurm("start")
            (folder / f"user.{os.getpid()}").touch()
        use.callback(leave, folder, lock, slurm)
        if started.returncode:
            missing(f"no Slurm can be started: {started.stderr.strip()}")
        monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield


def leave(folder: Path, lock: Path, slurm: Callable[[str], object]) -> None:
    """Take the Slurm away unless another process uses it."""
    with locked(lock):
        (folder / f"user.{os.getpid()}").unlink()
        users = [int(path.suffix[1:]) for path in folder.glob("user.*")]
        if not any(Path(f"/proc/{pid}").exists() for pid in users):
            slurm("wipe")
            lock.unlink()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """See that there is a Slurm."""
    if os.environ.get("PARMAN_TEST_SLURM") == "skip":
        pytest.skip("PARMAN_TEST_SLURM=skip")
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.ExitStack() as stack:
        if "SLURM_CONF" in os.environ:
            if not answers():
                missing("the Slurm of SLURM_CONF does not answer")
        elif os.getuid() != 0:
            missing("SLURM_CONF is not set, and only root can start a Slurm")
        else:
            stack.enter_context(own_cluster(monkeypatch))
        yield
