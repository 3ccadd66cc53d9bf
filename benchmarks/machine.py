# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What has to be known of a run to understand its figures: when, with what, and on which machine."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from parman.pool.threads import available_cpus

from .children import ROOT

__all__ = ["describe", "sentence"]

DEPENDENCIES = ("attrs", "cloudpickle", "numpy", "parman", "wrapt")


def describe(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Return date, versions and machine."""
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _version(name) for name in sorted({*DEPENDENCIES, *packages})},
        "machine": {
            "cpu": _cpu(),
            "cpus": available_cpus(),
            "memory [GB]": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "os": _system(),
            "load": [round(load, 2) for load in os.getloadavg()],
        },
    }


def sentence(found: dict[str, Any]) -> str:
    """Say it in one line."""
    machine = found["machine"]
    versions = [f"{name} {number}" for name, number in found["packages"].items() if number and name != "parman"]
    return (
        f"{found['date'][:10]}, Parman at {found['commit']}, {machine['cpus']} CPUs ({machine['cpu']}), "
        f"{machine['os']}, {found['python']}, {', '.join(versions)}"
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "an unknown commit"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)
    return f"{name}, {platform.system()} {platform.release()}"
