# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Processes of this machine: which there are, and that they are gone."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import TIMEOUT

__all__ = ["MARK", "all_gone", "all_processes", "children", "ended", "kill_all", "marked", "until_gone"]

MARK = "PARMAN_TEST_MARK"
"""The environment variable by which the processes of a test are found, in whatever session they are."""


def all_processes() -> Iterator[tuple[int, int, int, str]]:
    """Give the number, parent, session and state of all processes."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended since
                continue
            yield int(folder.name), int(fields[1]), int(fields[3]), fields[0]


def children(of: int | None = None) -> list[int]:
    """Return the processes that a process, by default this one, has started and that have not been seen off."""
    # Not those of each of its threads: a child that passes from a thread that ends to another could be missed.
    wanted = os.getpid() if of is None else of
    return sorted(pid for pid, parent, _, _ in all_processes() if parent == wanted)


def until_gone(find: Callable[[], list[int]], timeout: float) -> bool:
    """Wait until no process is found any more, none of which need be a child [s]; tell whether that is so."""
    end = time.monotonic() + timeout
    while (left := find()) and time.monotonic() < end:
        try:
            fd = os.pidfd_open(left[0])
        except ProcessLookupError:
            continue
        with os.fdopen(fd):
            select.select([fd], [], [], max(0.0, end - time.monotonic()))
    return not left


def ended(pid: str) -> bool:
    """Wait until a process has ended, which need not be a child."""
    try:
        fd = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return True
    with os.fdopen(fd):
        return bool(select.select([fd], [], [], TIMEOUT)[0])


def marked(mark: str) -> list[int]:
    """Return the processes that carry the mark and are alive."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if f"{MARK}={mark}\0".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def all_gone(mark: str, timeout: float = TIMEOUT) -> bool:
    """Wait until no process carries the mark."""
    return until_gone(lambda: marked(mark), timeout)


def kill_all(mark: str) -> None:
    """Kill all processes that carry the mark, each with its group, so that none sees the end of another."""
    while left := marked(mark):
        for pid in left:
            try:
                group = os.getpgid(pid)
                os.kill(pid, signal.SIGKILL) if group == os.getpgrp() else os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                pass
