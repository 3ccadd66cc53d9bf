# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The demo of template jobs: the same files on every runner, with both stagings, and after a kill and restart."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import ROOT, TIMEOUT

pytestmark = pytest.mark.slow

DEMO = ROOT / "demos" / "activelearning"
OWN = {"job.lock", "job.status", "jobenv.sh"}
"""Files that hold times, or absolute paths: not two runs have the same ones."""
EVERY_JOB = OWN | {
    *("jobinfo.py", "kwargs.json", "kwargs.sha256", "result.json"),
    *("run", "run.err", "run.out", "template.sha256"),
}


def command(*options: str) -> list[str]:
    """Return the command of the demo."""
    return [sys.executable, str(DEMO / "activelearning.py"), *options]


def environment(directory: Path, **variables: str) -> dict[str, str]:
    """Return the variables for a run in a directory, with a directory for temporary files of its own."""
    scratch = directory.with_name(f"{directory.name}-tmp")
    scratch.mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(scratch), **variables}


def run(directory: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as a user does, in a directory."""
    directory.mkdir(exist_ok=True)
    return subprocess.run(
        command(*options),
        cwd=directory,
        env=environment(directory, **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def files(directory: Path) -> dict[str, bytes]:
    """Return the contents of all files of the results, apart from those that no two runs have in common."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in (directory / "results").rglob("*")
        if path.is_file() and path.name not in OWN
    }


class Undisturbed:
    """What a serial run prints and writes, in one directory."""

    def __init__(self, directory: Path, *options: str) -> None:
        result = run(directory, "--runner", "serial", *options)
        assert result.returncode == 0, result.stderr
        self.directory = directory
        self.table = result.stdout
        self.files = files(directory)


@pytest.fixture(scope="module")
def inplace(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Run the demo serially, in place."""
    return Undisturbed(tmp_path_factory.mktemp("inplace"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Run the demo serially, in scratch directories."""
    return Undisturbed(tmp_path_factory.mktemp("scratch"), "--staging", "scratch")


@pytest.fixture(params=["inplace", "scratch"])
def staged(request: pytest.FixtureRequest) -> tuple[str, Undisturbed]:
    """Name a staging, with what comes out undisturbed."""
    return request.param, request.getfixturevalue(request.param)


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_files_are_the_same_on_every_runner(runner: str, staged: tuple[str, Undisturbed], tmp_path: Path) -> None:
    """What is printed and all files, byte for byte, do not depend on the runner."""
    staging, expected = staged
    result = run(tmp_path, "--runner", runner, "--staging", staging)
    assert result.returncode == 0, result.stderr
    assert result.stdout == expected.table
    assert files(tmp_path) == expected.files


def test_files_are_the_same_with_both_stagings(inplace: Undisturbed, scratch: Undisturbed) -> None:
    """What is kept of scratch directories is what jobs leave in place, without the template; they are removed."""
    assert scratch.table == inplace.table
    assert scratch.files.items() <= inplace.files.items()
    only_inplace = {Path(name).name for name in inplace.files.keys() - scratch.files.keys()}
    assert only_inplace == {"committee.py", "run-slurm", "threehole.awk"}
    assert list(Path(environment(scratch.directory)["TMPDIR"]).iterdir()) == []


def test_error_falls_from_generation_to_generation(inplace: Undisturbed) -> None:
    """The committee learns: its error on energies that it has not seen is less in each generation."""
    _, *lines = inplace.table.splitlines()
    errors = [float(line.split()[-1]) for line in lines]
    assert len(errors) == 3
    assert all(later < 0.75 * earlier for earlier, later in itertools.pairwise(errors))


# --- stopping and going on ---


@contextmanager
def started(directory: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the demo, and see to it that it has ended."""
    with subprocess.Popen(
        command(*options),
        cwd=directory,
        env=environment(directory),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def statuses(directory: Path) -> dict[Path, bytes]:
    """Return the contents of all status files."""
    return {path: path.read_bytes() for path in (directory / "results").rglob("job.status")}


def wait_for(directory: Path, word: bytes, locator: str) -> None:
    """Wait until a word stands in the status file of a job."""
    wait_for_file(directory / "results" / locator / "job.status", word)


def wait_for_file(path: Path, word: bytes = b"") -> None:
    """Wait until a file is there, and a word in it."""
    deadline = time.monotonic() + TIMEOUT
    while not (path.exists() and word in path.read_bytes()):
        assert time.monotonic() < deadline, f"{path} does not say {word!r}"
        time.sleep(0.005)


def test_killed_driver_is_started_again(staged: tuple[str, Undisturbed], tmp_path: Path) -> None:
    """After SIGKILL and a restart all files are those of an undisturbed run, and no finished job has run twice."""
    staging, expected = staged
    with started(tmp_path, "--staging", staging, "--pause", "0.2") as driver:
        wait_for(tmp_path, b"exited", "g00/compute/0003")
        driver.kill()
        driver.wait()
    before = {path: status for path, status in statuses(tmp_path).items() if b"exited" in status}
    assert tmp_path / "results/g00/boot/job.status" in before
    result = run(tmp_path, "--staging", staging)
    assert result.returncode == 0, result.stderr
    assert result.stdout == expected.table
    assert files(tmp_path) == expected.files
    assert before.items() <= statuses(tmp_path).items()


def clean(directory: Path) -> str:
    """Remove the directories of jobs that did not finish; return what the program says."""
    script = "import sys; from parman.jobs.clean_results import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", script, "results"], cwd=directory, capture_output=True, text=True, check=True
    )
    return result.stdout


def test_ctrl_c_then_clean_then_restart(inplace: Undisturbed, tmp_path: Path) -> None:
    """Ctrl-C ends a sleeping script; a restart names the program that cleans up; after that all is as undisturbed."""
    with started(tmp_path, "--runner", "threads:2", "--pause", "1000") as driver:
        wait_for(tmp_path, b"started", "g00/boot")
        wait_for(tmp_path, b"started", "test/boot")
        driver.send_signal(signal.SIGINT)
        assert driver.wait(TIMEOUT) != 0
    result = run(tmp_path)
    assert result.returncode != 0
    assert "parman-clean-results results" in result.stderr
    assert clean(tmp_path) == "results/g00/boot: removed\nresults/test/boot: removed\n"
    result = run(tmp_path)
    assert result.stdout == inplace.table, result.stderr
    assert files(tmp_path) == inplace.files


def test_more_generations_go_on_from_the_last(inplace: Undisturbed, tmp_path: Path) -> None:
    """A run with one more generation runs the jobs of that one only."""
    shutil.copytree(inplace.directory / "results", tmp_path / "results")
    before = statuses(tmp_path)
    result = run(tmp_path, "--generations", "4")
    assert result.stdout.startswith(inplace.table)
    new = statuses(tmp_path).items() - before.items()
    assert {path.relative_to(tmp_path / "results").parts[0] for path, _ in new} == {"g03"}
    assert len(new) == 11
    assert before.items() <= statuses(tmp_path).items()


# --- other ways to run it ---


@pytest.mark.parametrize("how", ["option", "variable"])
def test_dry_run_says_what_would_run_and_writes_nothing(how: str, tmp_path: Path) -> None:
    """On the dry runner, also when the environment names it, jobs and tasks are counted, and no file appears."""
    result = run(tmp_path, "--runner", "dry") if how == "option" else run(tmp_path, PARMAN_RUNNER="dry")
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.iterdir()) == []
    assert "generation" not in result.stdout
    report = result.stdout + result.stderr
    for task, calls in {"boot": 2, "compute": 25, "train": 12, "sample": 2, "assess": 3, "summarise": 1}.items():
        assert re.search(rf"\b{calls} x {task}\b", report), report


QUEUE = """\
#!/bin/bash
# Stands for a cluster: what was submitted goes on when nobody waits for it, but not before the gate is open.
job='
    date >>submissions
    for ((i = 0; i < 600; i++)); do [ ! -e "$GATE" ] || break; sleep 0.05; done
    ./run
    echo $? >ended
'
if [ ! -e submissions ]; then
    (
        for file in /proc/self/fd/*; do number=${file##*/}; [ "$number" -le 2 ] || eval "exec $number>&-"; done
        exec setsid bash -c "$job" >/dev/null 2>&1
    ) &
fi
for ((i = 0; i < 600; i++)); do [ ! -s ended ] || exit "$(cat ended)"; sleep 0.05; done
exit 1
"""

ELSEWHERE = """\
import runpy, sys
sys.executable, script = sys.argv.pop(1), sys.argv.pop(1)
sys.argv[0] = script
sys.path.insert(0, script.rpartition("/")[0])
runpy.run_path(script, run_name="__main__")
"""
"""Runs a script as if another interpreter did, beside which the scripts of jobs look for their programs."""


class Cluster:
    """Programs of a cluster that is none, and the demo that uses them."""

    def __init__(self, directory: Path) -> None:
        self.gate = directory / "gate"
        programs = directory / "programs"
        programs.mkdir()
        for name, text in {"python3": f'#!/bin/sh\nexec {sys.executable} "$@"\n', "parman-sbatch-wait": QUEUE}.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        demo = [str(programs / "python3"), str(DEMO / "activelearning.py"), "--script", "run-slurm"]
        self.command = [sys.executable, "-c", ELSEWHERE, *demo]
        self.environment = environment(directory, GATE=str(self.gate))


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Make a cluster that is none."""
    return Cluster(tmp_path)


def used_scripts(directory: Path) -> set[tuple[str, str]]:
    """Return which templates have run which script."""
    outputs = (path.relative_to(directory / "results") for path in directory.rglob("run*.out"))
    return {(path.parts[1], path.name.removesuffix(".out")) for path in outputs}


def test_stopped_with_jobs_in_the_queue(inplace: Undisturbed, cluster: Cluster, tmp_path: Path) -> None:
    """What the cluster has computed while nobody waited is used: submitted once, and the results are the same.

    Templates that have no `run-slurm` use `run`.
    """
    with subprocess.Popen(
        cluster.command, cwd=tmp_path, env=cluster.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        queued = [tmp_path / "results/test/compute", *(tmp_path / f"results/g00/compute/{i:04}" for i in range(12))]
        for directory in queued:
            wait_for_file(directory / "submissions", b"\n")
        driver.send_signal(signal.SIGINT)
        assert driver.wait(TIMEOUT) != 0
    assert not list(tmp_path.rglob("ended"))
    cluster.gate.touch()
    for directory in queued:
        wait_for_file(directory / "ended", b"0\n")
    result = subprocess.run(
        cluster.command, cwd=tmp_path, env=cluster.environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert result.stdout == inplace.table, result.stderr
    assert used_scripts(tmp_path) == {
        *(("boot", "run"), ("sample", "run")),
        *(("compute", "run-slurm"), ("train", "run-slurm")),
    }
    submissions = [path.read_text() for path in tmp_path.rglob("submissions")]
    assert len(submissions) == 37
    assert all(text.count("\n") == 1 for text in submissions)


# --- the README ---


def tree(directory: Path, indent: str = "") -> list[str]:
    """Draw a directory: of entries that differ in numbers only the first is drawn, and the last is named."""
    entries = [path for path in sorted(directory.iterdir()) if is_shown(path)]
    groups = [list(group) for _, group in itertools.groupby(entries, shape)]
    lines = []
    for group in groups:
        is_last = group is groups[-1]
        first, rest = group[0], f" ... {group[-1].name}" if len(group) > 1 else ""
        lines.append(f"{indent}{'└── ' if is_last else '├── '}{first.name}{rest}")
        if first.is_dir():
            lines += tree(first, indent + ("    " if is_last else "│   "))
    return lines


def is_shown(path: Path) -> bool:
    """Tell whether a file is drawn: those that every job has are in one job only."""
    return path.name not in EVERY_JOB or path.parent.match("results/g00/boot")


def shape(path: Path) -> tuple[str, ...]:
    """Return what entries have in common that are drawn as one."""
    below = sorted(child.relative_to(path).as_posix() for child in path.rglob("*")) if path.is_dir() else []
    # Later generations compute less than the first, but do the same; so how many of a kind there are is not looked at.
    return tuple(sorted({re.sub(r"\d+", "#", name) for name in (path.name, *below)}))


def test_readme_shows_the_tree(inplace: Undisturbed) -> None:
    """The README shows the directories that come out, and each job has the files that it says every job has."""
    drawn = "\n".join(["results", *tree(inplace.directory / "results")])
    assert f"```\n{drawn}\n```" in (DEMO / "README.md").read_text(), drawn
    for status in statuses(inplace.directory):
        assert {path.name for path in status.parent.iterdir()} >= EVERY_JOB


def test_readme_shows_the_table(inplace: Undisturbed) -> None:
    """The README shows the table that the demo prints."""
    assert f"```\n{inplace.table}```" in (DEMO / "README.md").read_text()
