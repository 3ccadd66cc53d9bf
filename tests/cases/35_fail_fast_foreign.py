# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND fail-fast-foreign
# RUNNERS threads:2 processes:2
# EXPECT out=ValueError from elsewhere
"""Under `fail_fast` a call whose argument is a failed future of another library ends with that failure."""

import sys
from concurrent.futures import Future

from parman import WorkflowFailed, task, workflow


@task
def use(x: float) -> float:
    return x


foreign = Future()
try:
    with workflow(sys.argv[1], fail_fast=True):
        used = use(foreign)
        foreign.set_exception(ValueError("from elsewhere"))
except WorkflowFailed:
    pass
try:
    print(used.result(10))
except BaseException as error:
    print(type(error).__name__, error)
