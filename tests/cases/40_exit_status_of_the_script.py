# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND interpreter-exit
# RUNNERS threads:2 processes:2
# EXPECT error contains=invert|the last words
# EXIT 3
"""A status that the script gives itself stays, in a block that was never closed and in which a call has failed."""

import atexit
import sys
import time

from parman import task, workflow

atexit.register(print, "the last words")


@task
def invert(x: float) -> float:
    return 1 / x


w = workflow(sys.argv[1])
w.open()
inverse = invert(0.0)
while not inverse.done():
    time.sleep(0.05)
sys.exit(3)
