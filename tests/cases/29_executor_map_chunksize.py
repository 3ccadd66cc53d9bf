# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND executor-map-chunksize
# RUNNERS processes:2
# EXPECT out=True
# LIMIT 60
"""Chunks make a map of many short calls much cheaper."""

import sys
import time

import parman


def same(x):
    return x


def seconds(pool, chunksize):
    start = time.perf_counter()
    assert list(pool.map(same, range(3000), chunksize=chunksize)) == list(range(3000))
    return time.perf_counter() - start


with parman.executor(sys.argv[1]) as pool:
    list(pool.map(same, range(10)))
    single = min(seconds(pool, 1) for _ in range(2))
    chunked = min(seconds(pool, 100) for _ in range(2))
print(single > 5 * chunked or f"{single:.2f} s one by one, {chunked:.2f} s in chunks")
