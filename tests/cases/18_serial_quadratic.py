# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND serial-quadratic
# RUNNERS serial
# EXPECT out=True
# LIMIT 120
"""Eight times as many arrays in a list cost about eight times as much."""

import contextlib
import sys
import time

import numpy as np

from parman import task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def corners(fields: list) -> float:
    return float(sum(field[0] for field in fields))


def seconds(count):
    fields = [np.full(200_000, float(number)) for number in range(count)]
    start = time.process_time()
    with block():
        corners(fields)
    return time.process_time() - start


few = min(seconds(40) for _ in range(3))
many = seconds(320)
print(many < 14 * few or f"40 arrays: {few:.2f} s, 320 arrays: {many:.2f} s")
