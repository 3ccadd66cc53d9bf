# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One run of a script: in a directory and a session of its own, under a limit of time; and what it leaves behind."""

from __future__ import annotations

import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Run", "run"]

_MARK = "PARMAN_ORACLE"
"""The environment variable by which the processes of a run are found, in whatever session they are."""

_GRACE = 5.0
"""How long the processes of a script may take to end after it [s]."""


@dataclass(frozen=True)
class Run:
    """How a script ended.

    Attributes
    ----------
    status
        The exit status, negative for a signal; None if the limit of time was reached.
    out, err
        What was written to standard output and standard error.
    seconds
        How long it took [s].
    cpu
        What it and the processes that it has waited for used of the processors [s].
    left
        What was left behind, a line each.
    """

    status: int | None
    out: str
    err: str
    seconds: float
    cpu: float
    left: tuple[str, ...]


def run(
    path: Path,
    *arguments: str,
    limit: float,
    closed_input: bool = False,
    descriptors: int | None = None,
    python: str = sys.executable,
    variables: Mapping[str, str] | None = None,
) -> Run:
    """Run a script once.

    Parameters
    ----------
    path
        The script, which is copied into the directory.
    arguments
        What it gets on its command line.
    limit
        How long it may take [s].
    closed_input
        Start it without a standard input.
    descriptors
        How many files it may have open.
    python
        The interpreter.
    variables
        Of the environment, beside those that are there.
    """
    mark = uuid.uuid4().hex
    # The name is short since sockets below it have names of at most 108 bytes.
    place = Path(tempfile.mkdtemp(prefix="oracle-"))
    try:
        (work := place / "work").mkdir()
        (temporary := place / "tmp").mkdir()
        shutil.copy(path, work)
        with (place / "out").open("w+b") as out, (place / "err").open("w+b") as err:
            start = time.monotonic()
            process = subprocess.Popen(
                [python, path.name, *arguments],
                cwd=work,
                env=_environment(mark, temporary) | dict(variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_preparation(closed_input, descriptors),
            )
            ended = _wait(process.pid, limit)
            seconds = time.monotonic() - start
            left = [f"process {text}" for text in _lingering(mark)] if ended else []
            _kill_all(mark, process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            left += _files_left(temporary, process.pid) if ended else []
            texts = [_text(place / name) for name in ("out", "err")]
        cpu = usage.ru_utime + usage.ru_stime
        return Run(process.returncode if ended else None, *texts, seconds, cpu, tuple(left))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _environment(mark: str, temporary: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PARMAN", "PYTHON"))}
    return {**kept, _MARK: mark, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}


def _preparation(closed_input: bool, descriptors: int | None) -> Callable[[], None] | None:
    if not closed_input and descriptors is None:
        return None

    def prepare() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        if closed_input:
            os.close(0)

    return prepare


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


# --- what is left ---


def _wait(pid: int, timeout: float) -> bool:
    """Wait for the end of a process without seeing it off; tell whether it came in time."""
    fd = os.pidfd_open(pid)
    try:
        return bool(select.select([fd], [], [], timeout)[0])
    finally:
        os.close(fd)


def _alive(mark: str) -> dict[int, str]:
    """Return the processes that carry the mark and have not ended, with their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if f"{_MARK}={mark}\0".encode() in (folder / "environ").read_bytes():
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(folder.name)] = command[:200]
            except OSError:  # it has ended since, or is another user's
                continue
    return found


def _lingering(mark: str) -> list[str]:
    """Return the processes of a script that outlive it for long."""
    end = time.monotonic() + _GRACE
    while (alive := _alive(mark)) and (left := end - time.monotonic()) > 0:
        try:
            _wait(next(iter(alive)), left)
        except ProcessLookupError:
            continue
    return [f"{pid}: {command}" for pid, command in alive.items()]


def _kill_all(mark: str, group: int) -> None:
    """Kill all processes of a run; the script itself may have ended, but is not seen off, so the number is its."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
    while alive := _alive(mark):
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
                _wait(pid, _GRACE)
            except ProcessLookupError:
                continue


def _files_left(temporary: Path, pid: int) -> list[str]:
    """Return what is left of files in the directory for temporary ones, and in the memory that processes share."""
    # The number as a whole: another's may begin with it.
    shared = [path for path in Path("/dev/shm").iterdir() if str(pid) in re.findall(r"\d+", path.name)]
    return [f"file {path.relative_to(path.parents[0])}" for path in [*sorted(temporary.iterdir()), *shared]]
