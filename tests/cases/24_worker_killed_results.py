# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND worker-killed-arguments
# RUNNERS processes:2
# EXPECT error contains=WorkerDied|relax|Cell(name='b'|energies=[2.0, 4.0]
"""The arguments that are told are instances of the script's classes and results of other calls as well."""

import contextlib
import dataclasses
import os
import signal
import sys
import traceback

from parman import resolve, task, workflow


@dataclasses.dataclass
class Cell:
    name: str
    size: float


@task
def double(x: float) -> float:
    return 2 * x


@task
def relax(cell: Cell, energies: list[float]) -> float:
    if cell.name == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return cell.size


with contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1]):
    done = [relax(Cell(name, 1.0), [double(1.0), double(2.0)]) for name in "abc"]
    try:
        resolve(done)
    except Exception as error:
        print("".join(traceback.format_exception(error)))
