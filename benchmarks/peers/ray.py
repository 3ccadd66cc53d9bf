# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Ray on this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from ..functions import LEAVES, spread
from ..peer import WORKERS, Dataflow

__all__ = ["Ray"]

SETTINGS = f"num_cpus={WORKERS}, include_dashboard=False, log_to_driver=False"


class Ray(Dataflow):
    """Remote functions; a call with many results says how many there are."""

    label = "Ray"
    kind = "processes"
    packages = ("ray",)
    share = 0.25
    delay = 0.2
    first: ClassVar[str] = f"""
import ray

@ray.remote
def first(x):
    return x + 1

if __name__ == "__main__":
    ray.init({SETTINGS}, logging_level="ERROR")
    done(ray.get(first.remote(0)))
"""
    _ray: Any

    def open(self, stack: ExitStack) -> None:
        import ray

        self._ray = ray
        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        stack.callback(ray.shutdown)

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        remote: Callable[..., Any] = self._ray.remote(function).remote
        return remote

    def values(self, futures: Sequence[Any]) -> Sequence[Any]:
        found: Sequence[Any] = self._ray.get(list(futures))
        return found

    def leaves(self, x: int) -> list[Any]:
        key = spread_flat
        if key not in self._tasks:
            self._tasks[key] = self._ray.remote(num_returns=LEAVES)(key).remote
        return list(self._tasks[key](x))

    def gate(self) -> tuple[Any, Callable[[], object]]:
        """Let a call wait for a file."""
        path = Path(tempfile.mkdtemp()) / "gate"
        return self._ray.remote(_wait_for).remote(str(path)), path.touch


def spread_flat(x: int) -> tuple[int, ...]:
    """Return all leaves in one row."""
    listed, named = spread(x)
    return (*listed, *named.values())


def _wait_for(path: str) -> int:
    while not Path(path).exists():
        time.sleep(0.005)
    return 0
