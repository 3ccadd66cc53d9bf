# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""loky: the pool of processes beneath joblib, with the code that is written by hand for the standard library's."""

from __future__ import annotations

from contextlib import ExitStack
from typing import ClassVar

from ..floor import ByHand
from ..peer import WORKERS

__all__ = ["Loky"]


class Loky(ByHand):
    """An executor as any other."""

    label = "by hand, loky"
    kind = "processes"
    packages = ("loky",)
    first: ClassVar[str] = f"""
from loky import ProcessPoolExecutor

def first(x):
    return x + 1

if __name__ == "__main__":
    with ProcessPoolExecutor({WORKERS}) as pool:
        done(pool.submit(first, 0).result())
"""

    def open(self, stack: ExitStack) -> None:
        from loky import ProcessPoolExecutor

        self.executor = stack.enter_context(ProcessPoolExecutor(WORKERS))
