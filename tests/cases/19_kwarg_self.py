# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND kwarg-self
# RUNNERS plain serial threads:2 processes:2
# EXPECT out=['self=2', 'task=3', 'function=4', 'args=5 kwargs=6']
"""A task that takes any keyword takes any keyword."""

import contextlib
import sys

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def told(x: int, **more: int) -> str:
    return " ".join(f"{name}={value}" for name, value in more.items())


texts = []
for more in ({"self": 2}, {"task": 3}, {"function": 4}, {"args": 5, "kwargs": 6}):
    try:
        with block():
            texts.append(resolve(told(1, **more)))
    except TypeError as error:
        texts.append(str(error))
print(texts)
