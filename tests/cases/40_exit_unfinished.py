# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND interpreter-exit
# RUNNERS threads:2 processes:2
# EXPECT fails or says=simulate
"""The same of a call that has not finished, and whose result is thereby lost."""

import sys
import time

from parman import task, workflow


@task
def simulate(seconds: float) -> float:
    time.sleep(seconds)
    raise ValueError("it did not converge")


w = workflow(sys.argv[1])
w.open()
energy = simulate(4.0)
time.sleep(1.0)
print("end of the script")
