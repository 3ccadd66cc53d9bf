# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND traceback-file
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""The text of a failure shows the file and the line of the script where the task failed."""

import contextlib
import re
import sys
import traceback
from pathlib import Path

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def invert(divisor: float) -> float:
    return 1 / divisor


try:
    with block():
        resolve(invert(0.0))
except ZeroDivisionError as error:
    text = "".join(traceback.format_exception(error))
    script = re.escape(Path(__file__).name)
    print("file and line:", bool(re.search(script + r'", line \d+, in invert', text)))
    print("source:", "return 1 / divisor" in text)
