# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND interpreter-exit
# RUNNERS threads:2 processes:2
# EXPECT fails or says=invert
"""A block is opened and never closed, and a call in it has failed: the script does not end as if all were well."""

import sys
import time

from parman import task, workflow


@task
def invert(x: float) -> float:
    return 1 / x


w = workflow(sys.argv[1])
w.open()
inverse = invert(0.0)
while not inverse.done():
    time.sleep(0.05)
print("end of the script")
