# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND dry-unpicklable
# RUNNERS dry
# EXPECT error contains=values[1] is 'b'|values[3] is None|weight is 'x'|missing 1 required
# EXIT 1
"""A dry run tells each wrong item of a list, the other argument, and the one that is missing."""

import contextlib
import sys

from parman import task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def mean(values: list[float], name: str, weight: float = 1.0) -> float:
    return weight * sum(values)


with block():
    found = mean([1.0, "b", 2.0, None], weight="x")
