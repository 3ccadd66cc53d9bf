# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND dry-headline
# RUNNERS dry
# EXPECT error contains=no mistakes found up to 38_dry_value.py:26|give `fit` a mock|Not checked: 38_dry_value.py:27-28
# EXIT 0
"""A dry run that needs a value says up to where it found no mistakes, and which lines it has not seen."""

import contextlib
import sys

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def fit(steps: int) -> float:
    return 1 / steps


with block():
    quality = fit(10)
    if resolve(quality) > 0.01:
        quality = fit(100)
final = resolve(quality)
