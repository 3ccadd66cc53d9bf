# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND cancel-structure
# RUNNERS threads:2 processes:2
# EXPECT out=True True []
"""Results with fields are cancelled as a whole while their calls wait: they must not run."""

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from parman import cancel, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@dataclass
class Fit:
    slope: float
    error: float


class Limits(NamedTuple):
    low: float
    high: float


@task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task
def fit(start: float) -> Fit:
    Path("fit.ran").touch()
    return Fit(start, 0.0)


@task
def limits(start: float) -> Limits:
    Path("limits.ran").touch()
    return Limits(start, start)


with block():
    answers = cancel(fit(nap(1.0))), cancel(limits(nap(1.0)))
    time.sleep(1.5)
print(*answers, sorted(path.name for path in Path().glob("*.ran")))
