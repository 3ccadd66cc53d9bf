# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND closed-stdin
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""The script is started with all its standard streams closed, and makes big arrays; another one shows its result."""

import subprocess
import sys
from pathlib import Path

if len(sys.argv) == 2:
    again = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', sys.executable, __file__, sys.argv[1], "inner"]
    status = subprocess.run(again).returncode
    print(Path("result").read_text())
    sys.exit(status)

import contextlib

import numpy as np

from parman import resolve, task, workflow


@task
def ramp(n: int) -> np.ndarray:
    print("not to be seen")
    return np.arange(n, dtype=float)


@task
def total(x: np.ndarray) -> float:
    return float(x.sum())


with contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1]):
    totals = [total(ramp(n)) for n in (10, 300_000, 1_000_000)]
    Path("result").write_text(str(resolve(totals)))
