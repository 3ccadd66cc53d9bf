# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Learn a potential from few computed energies: a committee of models says where the next ones are needed.

Read it as a serial script: every line that calls a template runs its script in a directory of its own below the results
root, and each later line goes on from what it left there. README.md in this directory tells the rest.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from committee import predict

from parman import InPlace, JobSettings, Scratch, Staging, job_template, resolve, task, workflow

TEMPLATES = Path(__file__).parent / "templates"
boot = job_template(TEMPLATES / "boot")
compute = job_template(TEMPLATES / "compute")
train = job_template(TEMPLATES / "train")
sample = job_template(TEMPLATES / "sample")

START, MORE = 12, 6
"""Energies computed in the first generation, and in each later one."""
MEMBERS = 4
TEST_POINTS = 300


class Row(NamedTuple):
    """One line of the table: energies computed so far, and how far the committee is from the test energies."""

    computed: int
    disagreement: float
    error: float


@task
def assess(committee: list[Path], computed: int, test: Path) -> Row:
    """Compare the committee with energies that it has not seen: root mean squares over all test points."""
    *points, energies = np.loadtxt(test).T
    predicted = predict(committee, np.stack(points, axis=1))
    disagreement, error = predicted.std(axis=0), predicted.mean(axis=0) - energies
    return Row(computed, *(float(np.sqrt(np.mean(values**2))) for values in (disagreement, error)))


@task
def summarise(rows: list[Row]) -> str:
    """Return the table as text."""
    lines = ["generation  energies  disagreement  error"]
    lines += [f"{i:10}{row.computed:10}{row.disagreement:14.2f}{row.error:7.2f}" for i, row in enumerate(rows)]
    return "\n".join(lines)


def main(runner: str | None, settings: JobSettings, generations: int) -> None:
    """Compute, learn, look where to compute next, and so on."""
    with workflow(runner, jobs=settings):
        test = compute("test/compute", config=boot("test/boot", boot_size=1, points=TEST_POINTS, first=1000)[0])
        committee: list[Path] = []
        energies, rows = [], []
        for generation in range(generations):
            home = f"g{generation:02}"
            if generation == 0:
                configs = boot(f"{home}/boot", boot_size=START)
            else:
                configs = sample(f"{home}/sample", committee=committee, size=MORE)
            energies += [compute(f"{home}/compute/{i:04}", config=config) for i, config in enumerate(configs)]
            committee = [train(f"{home}/train/{seed}", examples=energies, seed=seed) for seed in range(MEMBERS)]
            rows.append(assess(committee, len(energies), test))
        table = summarise(rows)
    print(resolve(table))


def settings_for(staging: Staging, script: str, pause: float) -> JobSettings:
    """Return how the jobs are to be run."""
    variables = {
        "PAUSE": pause,
        # The scripts' python3 is the one that runs this, also where its environment is not activated.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # These matrices are too small for threads, and the last digits would depend on their number.
        "OMP_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
        "PYTHONDONTWRITEBYTECODE": 1,  # one of the scripts imports what lies beside it
    }
    at_once = None if script == "run" else 100  # scripts that wait in a queue need no processor here
    return JobSettings(staging=staging, script=script, env=variables, at_once=at_once)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Active learning of a potential with template jobs.")
    parser.add_argument(
        "--runner", help="serial, dry, threads, processes, ... (default: PARMAN_RUNNER, else processes)"
    )
    parser.add_argument("--staging", choices=["inplace", "scratch"], default="inplace", help="where the scripts run")
    parser.add_argument("--script", default="run", help="run, or run-slurm, which two of the templates have")
    parser.add_argument("--pause", type=float, default=0.0, help="how long each script sleeps [s]")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the results root")
    parser.add_argument("--generations", type=int, default=3)
    given = parser.parse_args()
    staging = (InPlace if given.staging == "inplace" else Scratch)(given.results)
    start = time.perf_counter()
    main(given.runner, settings_for(staging, given.script, given.pause), given.generations)
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)
