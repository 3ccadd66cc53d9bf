# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND reopen
# RUNNERS threads:2 processes:2
# EXPECT out=ok
"""The cell that opens a block is run twice, the one that closes it once: then calls are plain, or it was said."""

import sys
import warnings

from parman import task, workflow


@task
def half(x: float) -> float:
    return x / 2


said = []
for _ in range(2):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            w = workflow(sys.argv[1])
            w.open()
        except Exception as error:
            said.append(str(error))
    said += [str(one.message) for one in caught]
try:
    w.close()
except Exception as error:
    said.append(str(error))
print("ok" if isinstance(half(1.0), float) or any("open" in text for text in said) else "still a block")
