# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Scripts in an interpreter of their own, which can be sent signals and leave no process behind unnoticed."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import ROOT, TIMEOUT
from .processes import all_processes, until_gone
from .waiting import in_thread

__all__ = ["BLOCK", "LIMIT", "Script", "filled", "run_script", "script"]

LIMIT = 20.0
"""Within what time a block is left after Ctrl-C [s]: the promise is 3 s, on a machine that does nothing else."""

BLOCK = """
import json, os, sys, threading, time, warnings
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from parman import ConcurrentRunner, Closure, ThreadPool, ProcessPool, as_future, cancel, resolve, task, workflow

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def idle():
    while True:  # for CPython may overlook a Ctrl-C that comes just before a sleep
        threading.Event().wait(0.5)

@task
def hold(seconds=1000):
    say("RUNNING", os.getpid())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    return 1

@task
def quick(x):
    return x

@task
def after(x):
    say("STARTED")
    return x

def how(future):
    if not isinstance(future, Future):
        return "plain"
    if not future.done():
        return "open"
    if future.cancelled():
        return "cancelled"
    return type(future.exception()).__name__ if future.exception() else "finished"

def left(error, *futures, **more):
    say("LEFT", json.dumps({"error": type(error).__name__, "futures": [how(f) for f in futures], **more}))

def runner(name):
    if name == "user-threads":
        return ThreadPoolExecutor(2)
    if name == "user-processes":
        warnings.simplefilter("ignore")
        import multiprocessing
        pool = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
        pool.submit(abs, 0).result()
        return pool
    if name == "unknown":
        pool = ThreadPoolExecutor(2)
        class Unknown:
            submit = pool.submit
        return ConcurrentRunner(Unknown(), where="inside")
    return name
"""
"""What scripts begin with that leave a block in some way: tasks that hold on, and how futures are told in the end."""


def run_script(text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter of its own."""
    command = [sys.executable, *options, "-c", text]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT)


class Script:
    """A running script, and the lines that it, or a worker, has written."""

    def __init__(self, path: Path) -> None:
        self._file = path.with_suffix(".err").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._file,
            text=True,
            cwd=ROOT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.seen: list[str] = []
        self._unread: list[str] = []
        self._reader = in_thread(self._read)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.strip())

    def wait_for(self, word: str, timeout: float = TIMEOUT) -> str:
        """Wait for a line that begins with the word, and return what follows."""
        end = time.monotonic() + timeout
        while (found := next((line for line in self._unread if line.startswith(word)), None)) is None:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {word} in time, but {self.seen}\n{self.errors}") from None
            self.seen.append(line)
            self._unread.append(line)
        self._unread.remove(found)
        return found.removeprefix(word).strip()

    def go(self) -> None:
        """Let the script go on that reads a line."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def report(self, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Wait for what the script says in the end."""
        report: dict[str, Any] = json.loads(self.wait_for("LEFT", timeout))
        return report

    def interrupt(self, group: bool = False) -> None:
        """Send a Ctrl-C: to the script alone, or as a terminal does."""
        (os.killpg if group else os.kill)(self.process.pid, signal.SIGINT)

    def end(self, timeout: float = TIMEOUT) -> int:
        """Wait for the end of the script and return its exit status."""
        return self.process.wait(timeout)

    @property
    def errors(self) -> str:
        """What was written to stderr."""
        self._file.flush()
        return Path(self._file.name).read_text()

    def processes(self) -> list[int]:
        """Return the processes of its session that are alive, but for zombies."""
        return [pid for pid, _, session, state in all_processes() if session == self.process.pid and state != "Z"]

    def all_gone(self, timeout: float = TIMEOUT) -> bool:
        """Wait until no process of its session is left."""
        return until_gone(self.processes, timeout)

    def close(self) -> None:
        """Kill what is left."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self._reader.join(TIMEOUT)
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._file.close()


@contextmanager
def script(folder: Path, text: str) -> Iterator[Script]:
    """Run a script; what it leaves behind is killed."""
    path = folder / "script.py"
    path.write_text(text)
    running = Script(path)
    try:
        yield running
    finally:
        running.close()


def filled(text: str, **values: object) -> str:
    """Put values in their places in the text of a script."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", repr(value))
    return text
