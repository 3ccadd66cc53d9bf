# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND worker-killed-arguments
# RUNNERS processes:2
# EXPECT error contains=WorkerDied|crash|name='b'
"""The error of a call whose process was killed says which call it was."""

import contextlib
import os
import signal
import sys
import traceback

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def crash(name: str, temperature: float) -> float:
    if name == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return temperature


with block():
    done = [crash(name, 300.0) for name in "abc"]
    try:
        resolve(done)
    except Exception as error:
        print("".join(traceback.format_exception(error)))
