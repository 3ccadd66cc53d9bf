# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND dry-headline
# RUNNERS dry
# EXPECT error contains=exit status 3 at 38_dry_exit_status.py:28|Not checked: 38_dry_exit_status.py:29-30
# WITHOUT no mistakes found
# EXIT 3
"""A script that ends itself in a dry block keeps its status, and the report says that the rest was not checked."""

import contextlib
import sys

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def area(width: float) -> float:
    return width * width


with block():
    areas = [area(width) for width in (1.0, 2.0)]
    if len(areas) < 3:
        sys.exit(3)
    areas.append(area(3.0))
total = sum(resolve(areas))
