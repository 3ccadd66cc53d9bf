# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Why the arguments of a call are snapshots: one list, grown in place, in calls that run later."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from parman import resolve, task, workflow


@task
def total(numbers: list[int]) -> int:
    """Add up the numbers."""
    return sum(numbers)


numbers: list[int] = []
busy = Event()
with ThreadPoolExecutor(1) as pool:
    pool.submit(busy.wait)  # the pool is busy: the calls below start after the loop
    futures = []
    for number in (1, 2, 3, 4):
        numbers.append(number)
        futures.append(pool.submit(sum, numbers))
    busy.set()
print("plain executor:", [future.result() for future in futures])

for runner in ("serial", "threads", "processes"):
    numbers = []
    totals = []
    with workflow(runner):
        for number in (1, 2, 3, 4):
            numbers.append(number)
            totals.append(total(numbers))
    print(f"{runner + ':':<15} {resolve(totals)}")
