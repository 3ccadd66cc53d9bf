# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND reopen
# RUNNERS serial threads:2 processes:2
# EXPECT out=2.0 3.0 0.5 [1.5] 2.5
"""Cells run again in any order: opened twice by two objects, closed twice, opened after a failure."""

import sys

from parman import WorkflowError, WorkflowFailed, resolve, task, workflow


@task
def half(x: float) -> float:
    if x < 0:
        raise ValueError(x)
    return x / 2


w = workflow(sys.argv[1])
w.open()
first = half(4.0)
w = workflow(sys.argv[1])
w.open()
second = half(6.0)
w.close()
try:
    w.close()
except WorkflowError:
    pass
third = half(1.0)
workflow(sys.argv[1]).open()
half(-1.0)
w = workflow(sys.argv[1])
try:
    w.open()
except WorkflowFailed:
    w.open()
fourth = [half(3.0)]
w.close()
print(resolve(first), resolve(second), third, resolve(fourth), half(5.0))
