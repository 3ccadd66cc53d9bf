# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND executor-map-chunksize
# RUNNERS serial threads:2 processes:2
# EXPECT out=True True [0, 1, 8, 27, 64]
"""Chunks of any size give what a plain map gives."""

import sys

import parman


def cube(x):
    return x**3


with parman.executor(sys.argv[1]) as pool:
    same = [list(pool.map(cube, range(50), chunksize=size)) == [cube(x) for x in range(50)] for size in (7, 1000)]
    print(*same, list(pool.map(cube, iter(range(5)), chunksize=2)))
