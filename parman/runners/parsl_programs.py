# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parsl's programs on this machine, run so that they end: `python -m parman.runners.parsl_programs NAME ARGUMENTS`.

The interchange, between the driver and the workers, outlives a driver that is killed. The pool, which starts the
workers, ends when it has missed the interchange for a while; but one of its threads may then wait for ever, and the
process with it.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time

__all__: list[str] = []

_PACKAGE = "parsl.executors.high_throughput"
_PERIOD = 1.0
"""How often the interchange looks whether the driver is there [s]."""
_GRACE = 2.0
"""How long the threads of a pool have that has come to its end [s]."""


def _follow(driver: int) -> None:
    """End this process with the driver, its parent."""
    while os.getppid() == driver:
        time.sleep(_PERIOD)
    os._exit(1)


def _end_after_main() -> None:
    """End this process when its main thread has ended, whatever its other threads wait for."""
    threading.main_thread().join()
    time.sleep(_GRACE)
    os._exit(0)


def _main() -> None:
    name = sys.argv[1]
    if name == "interchange":
        os.setsid()  # out of reach of a terminal's Ctrl-C
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    else:
        threading.Thread(target=_end_after_main, daemon=True).start()
    del sys.argv[1]
    runpy.run_module(f"{_PACKAGE}.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
