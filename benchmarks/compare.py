# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure all peers one after another, each in a process of its own that is ended when it takes too long."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from . import fresh
from .children import Child, OverTime
from .machine import describe
from .peers import PEERS
from .workloads import WORKLOADS

__all__ = ["CHOICES", "Settings", "compare"]

FIRST, IMPORT, PLAIN_CALL = "first", "import", "plain-call"
CHOICES = [*WORKLOADS, FIRST, IMPORT, PLAIN_CALL]

Found = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes
    ----------
    peers, workloads
        Their names.
    calls
        How many calls a workload makes; slow peers make fewer.
    repeats
        How often each is measured.
    limit
        How long one workload of one peer may take, all repeats together [s].
    """

    peers: list[str]
    workloads: list[str]
    calls: int
    repeats: int
    limit: float


def compare(settings: Settings) -> Found:
    """Return everything that was found, in the form in which it is kept as JSON."""
    packages = [package for name in settings.peers for package in PEERS[name].packages]
    found: Found = {**describe(packages), "settings": asdict(settings), "peers": {}, "parman": {}}
    for name in settings.peers:
        _say(f"{PEERS[name].label} ...")
        found["peers"][name] = _with_first(name, settings)
    if IMPORT in settings.workloads:
        _say("import ...")
        pairs = fresh.imports(settings.repeats, settings.limit)
        found["parman"] |= {statement: {"samples": samples} for statement, samples in pairs.items()}
    if PLAIN_CALL in settings.workloads:
        _say("plain call ...")
        found["parman"]["plain call"] = {"samples": fresh.plain_calls(settings.repeats, settings.limit)}
    found["load at the end"] = describe()["machine"]["load"]
    return found


def _with_first(name: str, settings: Settings) -> Found:
    found = _peer(name, [workload for workload in settings.workloads if workload in WORKLOADS], settings)
    if FIRST in settings.workloads and "left out" not in found:
        found[FIRST] = _guarded(
            lambda: {"samples": fresh.first_results(PEERS[name], settings.repeats, settings.limit)}, settings.limit
        )
    return found


def _guarded(run: Callable[[], Found], limit: float) -> Found:
    try:
        return run()
    except OverTime:
        return {"over": limit}
    except RuntimeError as error:
        return {"failed": str(error)}


def _peer(name: str, workloads: list[str], settings: Settings) -> Found:
    """Measure a peer; after a workload that took too long or broke everything, start anew with the next."""
    found: Found = {}
    while left := [workload for workload in workloads if workload not in found]:
        wanted = {"peer": name, "workloads": left, "calls": settings.calls, "repeats": settings.repeats}
        with Child("-m", "benchmarks.measure", json.dumps(wanted)) as child:
            reason, ended = _listen(child, found, settings.limit)
        if "left out" in found:
            return found
        missing = [workload for workload in left if workload not in found]
        # Without a beginning it is the library that does not start, and would not the next time.
        for workload in missing[:1] if ended else missing:
            found[workload] = reason
    return found


def _listen(child: Child, found: Found, limit: float) -> tuple[Found, bool]:
    """Take what a child finds; return what to say of a workload that is missing, and whether any began."""
    begun = False
    while True:
        try:
            line = child.line(limit)
        except OverTime:
            return {"over": limit}, begun
        if line is None:
            return {"failed": child.complaint()}, begun
        if "left out" in line:
            found.update(line)
            return {}, begun
        if "end" in line:
            return {"failed": "it ended without a result"}, begun
        begun = True
        if "workload" in line:
            found[line.pop("workload")] = line


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
