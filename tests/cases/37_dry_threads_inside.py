# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND dry-unpicklable
# RUNNERS dry
# EXPECT error contains=no mistakes found
# WITHOUT pickled
# EXIT 0
"""A dry run of a block on threads takes a lock, as threads do."""

import sys
import threading

from parman import task, workflow


@task
def tally(lock, x: int) -> int:
    with lock:
        return x + 1


with workflow(sys.argv[1]), workflow("threads:2"):
    counted = [tally(threading.Lock(), i) for i in range(3)]
