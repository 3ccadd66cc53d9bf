# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND as-resolved-growing
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Active learning with a dict from which items are taken as others are added, and with a list that grows."""

import contextlib
import sys

from parman import as_resolved, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def half(x: float) -> float:
    return x / 2


with block():
    todo, seen, count = {i: half(8.0 + i) for i in range(4)}, [], 4
    for key, value in as_resolved(todo):
        seen.append(value)
        del todo[key]
        if value > 1:
            todo[count] = half(value)
            count += 1
    print(sorted(seen), todo, count)
    row, seen = [half(16.0)], []
    for key, value in as_resolved(row):
        seen.append((key, value))
        if len(row) < 5:
            row += [half(8.0 + len(row)), half(9.0 + len(row))]
    print(sorted(seen))
    kept = {i: half(float(i)) for i in range(4)}
    for key, value in as_resolved(kept):
        kept[key] = round(value, 1)
    print(kept)
