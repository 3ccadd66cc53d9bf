# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND executor-futures
# RUNNERS serial threads:2 processes:2
# EXPECT out=True False False text 2
"""Futures of an executor can be used as those of the standard library are."""

import sys
from collections.abc import Iterable

import parman


def attempt(use):
    try:
        return use()
    except Exception as error:
        return type(error).__name__


with parman.executor(sys.argv[1].replace("serial", "threads:2")) as pool:
    future = pool.submit(pow, 2, 3)
    answers = [
        attempt(lambda: bool(future)),
        attempt(lambda: future == None),  # noqa: E711
        attempt(lambda: isinstance(future, Iterable)),
        attempt(lambda: f"{future}" and "text"),
        attempt(lambda: pool._max_workers),
    ]
print(*answers)
