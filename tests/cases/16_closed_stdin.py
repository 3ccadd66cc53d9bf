# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND closed-stdin
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""The script is started with its standard input closed."""

import subprocess
import sys

if len(sys.argv) == 2:
    again = ["sh", "-c", 'exec "$0" "$@" <&-', sys.executable, __file__, sys.argv[1], "inner"]
    sys.exit(subprocess.run(again).returncode)

import contextlib

from parman import resolve, task, workflow


@task
def half(x: float) -> float:
    return x / 2


with contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1]):
    halves = [half(float(x)) for x in range(4)]
    print(resolve(halves))
