# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How many CPUs this process may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path

__all__ = ["available_cpus"]


def available_cpus(*, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> int:
    """Count the CPUs that this process may use, which on a shared machine are fewer than it has.

    Parameters
    ----------
    root
        Where the file system with `proc` and `sys` starts.
    environ
        The environment, asked for `SLURM_CPUS_PER_TASK`.

    Returns
    -------
    int
        The least of the CPU affinity, the CPU quota of the control groups (version 1 and 2, rounded up) and
        `SLURM_CPUS_PER_TASK`; at least 1.
    """
    counts = [_affinity(), *_quotas(root)]
    with contextlib.suppress(KeyError, ValueError):
        counts.append(int(environ["SLURM_CPUS_PER_TASK"]))
    return max(1, min(counts))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[int]:
    """Give the quota [CPUs] of each control group above this process that has one."""
    for folder in _groups(root):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = _read_quota(folder)
            if quota > 0:
                yield ceil(quota / period)


def _groups(root: Path) -> Iterator[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            yield from _upwards(mount / controllers, path)
        if "cpu" in controllers.split(","):
            yield from _upwards(mount / "cpu", path)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Give a group's folder and those above it: a container often sees its own group at the mount point."""
    folder = mount / path.lstrip("/")
    while folder != mount:
        yield folder
        folder = folder.parent
    yield mount


def _read_quota(folder: Path) -> tuple[float, float]:
    """Read quota and period [us]; a group without a limit has no number, or a negative one."""
    both = folder / "cpu.max"
    if both.exists():
        quota, period = both.read_text().split()
        return float(quota), float(period)
    return float((folder / "cpu.cfs_quota_us").read_text()), float((folder / "cpu.cfs_period_us").read_text())
