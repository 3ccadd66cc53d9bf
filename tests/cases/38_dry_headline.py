# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND dry-headline
# RUNNERS dry
# EXPECT error contains=ZeroDivisionError
# WITHOUT no mistakes found
# EXIT 1
"""A dry run that the script itself ends with an error does not say that it found no mistakes."""

import contextlib
import sys

from parman import task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def area(width: float) -> float:
    return width * width


with block():
    areas = [area(width) for width in (1.0, 2.0)]
    scale = 1 / (len(areas) - 2)
