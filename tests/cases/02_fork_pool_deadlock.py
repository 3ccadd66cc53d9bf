# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND fork-pool-deadlock
# RUNNERS ppe
# EXPECT same
# LIMIT 100
"""Results that are dataclasses of the script, 20 calls on a new pool of the standard library; ten times."""

import contextlib
import dataclasses
import os
import sys
from concurrent.futures import ProcessPoolExecutor

from parman import resolve, task, workflow

QUANTITIES = ["Mass", "Length", "Time", "Charge", "Spin", "Energy", "Force", "Power", "Volume", "Pressure"]


def quantity(name):
    kind = dataclasses.make_dataclass(name, [("value", float), ("error", float)])
    kind.__module__ = "__main__"

    @task
    def measure(x: float) -> kind:
        return kind(x, x / 10)

    return measure


for _ in range(10):
    pool = None if sys.argv[1] == "plain" else ProcessPoolExecutor(2)
    with pool or contextlib.nullcontext(), workflow(pool) if pool else contextlib.nullcontext():
        measures = [quantity(name) for name in QUANTITIES]
        measured = [measure(x) for x in (1.0, 2.0) for measure in measures]
        try:
            print(sum(one.value for one in resolve(measured, timeout=15)), flush=True)
        except TimeoutError:
            print("not done after 15 s", flush=True)
            for process in pool._processes.values():
                process.kill()
            os._exit(1)
