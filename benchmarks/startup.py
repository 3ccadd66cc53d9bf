# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How long a script waits for its first result, and for the end of its block: processes, Parsl here, Parsl on Slurm.

`python -m benchmarks.startup [REPEATS]`; each time in an interpreter of its own. Slurm is measured if there is one:
`eval "$(.ci/slurm env)"` after `.ci/slurm start` makes the one of the tests that of a shell.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"

SCRIPT = """
import sys, tempfile, time
sys.path.insert(0, {tests!r})
from parman import resolve, task, workflow

@task
def first() -> int:
    return 1

def runner(name):
    if not name.startswith("slurm"):
        return name
    from parsl_slurm import configuration
    from parman import ParslRunner
    return ParslRunner(configuration(tempfile.mkdtemp(dir="."), nodes=int(name[-1])))

if __name__ == "__main__":
    start = time.perf_counter()
    with workflow(runner(sys.argv[1])):
        resolve(first())
        there = time.perf_counter()
    print(there - start, time.perf_counter() - there)
"""

RUNNERS = {
    "processes:2": "own processes",
    "parsl:2": "Parsl on this machine",
    "slurm-1": "Parsl on Slurm, a block of one node",
    "slurm-2": "Parsl on Slurm, a block of two nodes",
}


def measure(script: Path, runner: str) -> tuple[float, float]:
    """Return the times until the first result, and from there to the end of the block [s]."""
    command = [sys.executable, script.name, runner]
    ended = subprocess.run(command, cwd=script.parent, capture_output=True, text=True, timeout=120, check=True)
    first, end = map(float, ended.stdout.splitlines()[-1].split())
    return first, end


def main(repeats: int = 5) -> None:
    """Write a table of medians."""
    names = [name for name in RUNNERS if "slurm" not in name or shutil.which("sinfo")]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(SCRIPT.format(tests=str(TESTS)))
        for _ in range(repeats):
            for name in names:
                found[name].append(measure(script, name))
    sys.stdout.write("| runner | first result [s] | leaving the block [s] |\n| --- | ---: | ---: |\n")
    for name, times in found.items():
        first, end = (statistics.median(column) for column in zip(*times, strict=True))
        sys.stdout.write(f"| {RUNNERS[name]} | {first:.2f} | {end:.2f} |\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
