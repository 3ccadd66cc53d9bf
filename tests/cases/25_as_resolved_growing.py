# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND as-resolved-growing
# RUNNERS serial threads:2 processes:2
# EXPECT out=ok
"""What is added to the dict during the loop comes in the loop, or is refused."""

import contextlib
import sys

from parman import as_resolved, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def half(x: float) -> float:
    return x / 2


with block():
    todo, seen = {0: half(8.0)}, []
    try:
        for key, value in as_resolved(todo):
            seen.append(key)
            if value > 1:
                todo[len(todo)] = half(value)
        print("ok" if len(seen) == len(todo) > 1 else f"{len(seen)} of {len(todo)} were seen")
    except RuntimeError as error:
        print("ok", file=sys.stdout)
        print(error, file=sys.stderr)
