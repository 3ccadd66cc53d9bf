# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND dry-unpicklable
# RUNNERS dry
# EXPECT error contains=37_dry_all_mistakes.py:25|'w'|argument x is 'a'
# EXIT 1
"""A dry run reports all mistakes of one call: a keyword that is not there, and an argument of another type."""

import contextlib
import sys

from parman import task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def loaded(x: int, y: float) -> float:
    return x + y


with block():
    total = loaded("a", 1.0, w=3)
