# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND dry-unpicklable
# RUNNERS dry
# EXPECT error contains=37_dry_function.py:38|the variable DB can't be|the default of lock can't be
# EXIT 1
"""A dry run tells of all that keeps a function from going to a process: a connection outside, a lock as a default."""

import contextlib
import sqlite3
import sys
import threading

from parman import task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


DB = sqlite3.connect(":memory:")


def store(x):
    DB.execute("create table if not exists t (x)")
    DB.execute("insert into t values (?)", (x,))


@task
def insert(x: int, lock=threading.Lock()) -> int:  # noqa: B008
    with lock:
        DB.execute("select 1")
        store(x)
    return x


with block():
    done = [insert(i) for i in range(3)]
