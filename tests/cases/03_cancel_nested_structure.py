# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND cancel-structure
# RUNNERS threads:2 processes:2
# EXPECT out=True []
"""A list of results with fields in fields, some of them assigned to, is cancelled while its calls wait."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from parman import Length, as_future, cancel, task, workflow


@dataclass
class Fit:
    slope: float
    error: float


@dataclass
class Study:
    best: Fit
    all: tuple[Fit, float]


@task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task
def studies(n: int, start: float) -> Annotated[list[Study], Length("n")]:
    Path("studies.ran").touch()
    return [Study(Fit(start, 0.0), (Fit(start, 0.0), 1.0)) for _ in range(n)]


@task
def fit(start: float) -> Fit:
    Path("fit.ran").touch()
    return Fit(start, 0.0)


with workflow(sys.argv[1]):
    many, one, other = studies(3, nap(1.0)), fit(nap(1.0)), fit(nap(1.0))
    one.slope = 3.0
    answers = cancel({"many": many, "one": one}), as_future(other).cancel()
    time.sleep(1.5)
print(all(answers), sorted(path.name for path in Path().glob("*.ran")))
