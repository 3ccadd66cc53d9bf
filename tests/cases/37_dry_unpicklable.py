# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND dry-unpicklable
# RUNNERS dry
# EXPECT error contains=37_dry_unpicklable.py:27|lock
# EXIT 1
"""A dry run reports what processes refuse: a lock as an argument."""

import contextlib
import sys
import threading

from parman import task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def tally(lock, x: int) -> int:
    with lock:
        return x + 1


with block():
    counted = tally(threading.Lock(), 1)
