# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Processes with a time limit, of which nothing is left afterwards.

Libraries start processes in sessions of their own. So each child has a mark in its environment, which all inherit, and
what bears the mark is killed with it (where `/proc` tells; elsewhere, its process group).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

__all__ = ["ROOT", "Child", "OverTime", "interpreter"]

ROOT = Path(__file__).parents[1]
MARK = "PARMAN_BENCHMARK"


class OverTime(Exception):
    """A child said nothing for too long."""


class Child:
    """A process that writes lines of JSON; a context manager whose exit kills it.

    Parameters
    ----------
    command
        Arguments of the Python interpreter.
    folder
        Where it runs.
    """

    def __init__(self, *command: str, folder: Path = ROOT) -> None:
        self._mark = uuid4().hex
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed on exit
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=_environment(self._mark),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pid in _marked(self._mark):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._errors.close()

    def line(self, limit: float) -> dict[str, Any] | None:
        """Return the next line; None if the process has ended.

        Raises
        ------
        OverTime
            There was none within the limit [s].
        """
        try:
            found = self._lines.get(timeout=limit)
        except Empty:
            raise OverTime from None
        return None if found is None else dict(json.loads(found))

    def complaint(self) -> str:
        """Return the last line of what was written to the standard error."""
        self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return lines[-1][:200] if lines else f"exit status {self._process.returncode}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)


@contextmanager
def interpreter(script: str) -> Iterator[Child]:
    """Run a script in a fresh interpreter, from a file as a user would."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "script.py"
        path.write_text(script)
        with Child(path.name, folder=Path(folder)) as child:
            yield child


def _environment(mark: str) -> dict[str, str]:
    """Let workers find these modules, libraries their programs, and nobody send statistics."""
    folder = str(Path(sys.executable).parent)
    return {
        **os.environ,
        MARK: mark,
        "PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _marked(mark: str) -> Sequence[int]:
    wanted = f"{MARK}={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
