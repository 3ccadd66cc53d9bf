# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Scripts with closed standard streams: daemons, batch systems. No descriptor of ours is one of those."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, TIMEOUT

from parman.descriptors import inherited, lift, map_file

SCRIPT = """
import contextlib, json, os, stat, sys, threading
from pathlib import Path
import numpy as np
{opening}
from parman import JobSettings, job_template, resolve, task, workflow

def standard():
    found = {{}}
    for fd in range(3):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{{fd}}")
        except OSError:
            pass
    return found

@task
def half(x: float) -> float:
    print("printed by a task", flush=True)
    print("told by a task", file=sys.stderr, flush=True)
    os.write(1, b"written") if 1 in standard() else None
    return x / 2

@task
def big(n: int) -> np.ndarray:
    return np.ones(n)

@task
def total(x: np.ndarray) -> float:
    return float(x.sum())

@task
def streams(x: float) -> dict[int, str]:
    return standard()

before, during, values = standard(), [], []
for _ in range(2):
    {closing}
    with workflow({runner!r}):
        halves = [half(float(x)) for x in range(4)]
        totals = [total(big(300_000)) for _ in range(3)]
        values.append([resolve(halves), resolve(totals)])
        theirs = resolve(streams(halves[0]))
        during.append(standard())
report = {{"before": before, "during": during, "values": values, "theirs": theirs, "after": standard()}}
Path("report.json").write_text(json.dumps(report))
"""

CLOSED = ["<&-", ">&-", "<&- 2>&-", "<&- >&- 2>&-"]


def run(folder: Path, runner: str, redirections: str, opening: str = "", closing: str = "pass") -> dict[str, object]:
    """Run the script in a shell with these redirections, and return what it found."""
    path = folder / "script.py"
    path.write_text(SCRIPT.format(runner=runner, opening=opening, closing=closing))
    subprocess.run(
        ["sh", "-c", f'exec "$0" "$1" {redirections}', sys.executable, path],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=TIMEOUT,
    )
    report: dict[str, object] = json.loads((folder / "report.json").read_text())
    assert report["values"] == [[[0.0, 0.5, 1.0, 1.5], [300_000.0] * 3]] * 2
    return report


@pytest.mark.parametrize("redirections", CLOSED)
@pytest.mark.parametrize("runner", ["threads:2", "processes:2"])
def test_closed_streams_stay_closed(tmp_path: Path, runner: str, redirections: str) -> None:
    """A script with closed streams has its values, and no descriptor of ours takes their places; workers have all."""
    report = run(tmp_path, runner, redirections)
    assert report["during"] == [report["before"]] * 2
    assert report["after"] == report["before"]
    assert len(report["before"]) < 3
    if runner == "processes:2":
        assert report["theirs"] == dict.fromkeys("012", "/dev/null")


@pytest.mark.parametrize("runner", ["threads:2", "processes:2"])
@pytest.mark.parametrize("redirections", [">&-", "<&- >&- 2>&-"])
def test_nothing_comes_into_a_file_of_the_user(tmp_path: Path, runner: str, redirections: str) -> None:
    """A file of the script that has got the number of a standard stream holds only what the script writes."""
    opening = "data = [os.open(f'data{i}', os.O_CREAT | os.O_WRONLY) for i in range(3)]"
    run(tmp_path, runner, redirections, opening.replace("range(3)", f"range({redirections.count('&')})"))
    contents = [path.read_text() for path in sorted(tmp_path.glob("data*"))]
    written = "" if runner == "processes:2" else "written" * 8  # by `os.write`, which means what it says on threads
    assert contents.count("") >= len(contents) - 1
    assert all(content in ("", written) for content in contents)


@pytest.mark.parametrize("runner", ["threads:2", "processes:2"])
def test_streams_that_are_closed_later(tmp_path: Path, runner: str) -> None:
    """A script may close its streams at any time, between blocks too."""
    closing = "sys.stdout = sys.__stdout__ = None; [os.close(fd) for fd in range(2) if fd in standard()]"
    report = run(tmp_path, runner, "", closing=closing)
    assert set(report["after"]) == {"2"}
    assert report["during"] == [report["after"]] * 2


def test_a_job_with_closed_streams(tmp_path: Path) -> None:
    """The script of a job has its streams also where the driver has none."""
    (tmp_path / "template").mkdir()
    (tmp_path / "template" / "run").write_text(
        '#!/bin/sh\nset -e\nfor fd in 0 1 2; do readlink /proc/self/fd/$fd >/dev/null; done\nprintf "3" >result.json\n'
    )
    (tmp_path / "template" / "run").chmod(0o755)
    (tmp_path / "template" / "jobinfo.py").write_text("def mock(number: int) -> int:\n    return 3\n")
    text = """
import json, os
from pathlib import Path
from parman import job_template, resolve, workflow
job = job_template("template")
with workflow("threads:2"):
    Path("found.json").write_text(json.dumps(resolve(job("results/a", number=1))))
"""
    (tmp_path / "script.py").write_text(text)
    subprocess.run(
        ["sh", "-c", 'exec "$0" script.py <&- >&- 2>err', sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=TIMEOUT,
    )
    assert (tmp_path / "err").read_text() == ""
    assert json.loads((tmp_path / "found.json").read_text()) == 3


def test_lifted_descriptors_are_the_same_file(tmp_path: Path) -> None:
    """`lift` leaves other descriptors alone, and closes the one that it replaces."""
    text = """
import os
from parman.descriptors import fill_standard, lift
os.close(0)
fd = os.open("file", os.O_CREAT | os.O_RDWR)
assert fd == 0
lifted = lift(fd)
assert lifted > 2 and not os.get_inheritable(lifted)
os.write(lifted, b"x")
try:
    os.fstat(0)
except OSError:
    pass
else:
    raise SystemExit("0 is open")
fill_standard()
assert os.readlink("/proc/self/fd/0") == os.devnull and os.get_inheritable(0)
"""
    subprocess.run(
        [sys.executable, "-c", text],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=TIMEOUT,
    )
    assert (tmp_path / "file").read_text() == "x"
    with (tmp_path / "file").open() as file:
        assert lift(file.fileno()) == file.fileno()
        assert map_file(file.fileno(), 1, flags=2, prot=1)[:] == b"x"


def test_streams_of_this_process_are_handed_on(capfd: pytest.CaptureFixture[str]) -> None:
    """A worker has the driver's output, as long as that is the driver's own."""
    assert inherited(1) is None
    assert inherited(2) is None
