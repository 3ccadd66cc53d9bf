# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND many-big-results
# RUNNERS serial threads:2 processes:2
# EXPECT same
# LIMIT 120
"""A thousand pending calls, each with an array of its own, and all of them with one that they share."""

import contextlib
import resource
import sys

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


@task
def difference(own: np.ndarray, common: np.ndarray) -> float:
    return float((own - common).sum())


common = np.arange(150_000.0)
with block():
    differences = [difference(common + number, common) for number in range(1000)]
    print(resolve(differences)[::100])
