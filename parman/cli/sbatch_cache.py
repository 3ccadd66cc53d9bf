# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `scontrol show job` says, asked once for all waiting programs of a user.

The newest answer is in a file that they share, and beside it a lock: whoever holds it may ask again when the answer is
older than the timeout; the others don't wait, they use what there is. A failed call is an answer, too: it is not
repeated sooner.

How old the answer is comes from the file's time of modification, compared with that of the lock, which has just been
touched: both are times of the same file server, whatever the clocks of the machines say. After a jump of that clock
the age makes no sense and the answer counts as old, once. In addition no program asks twice within the timeout by
its own monotonic clock, so that even a clock which jumps all the time makes no storm.

The first line is that of Parman 0.4, whose programs may share the file.
"""

from __future__ import annotations

import os
import re
import time
from datetime import datetime
from pathlib import Path

from .locks import locked
from .scontrol import Answer, ask

__all__ = ["SharedAnswer"]

_PATIENCE = 240.0
"""For how long others may hold the lock [s]: longer than a call can last."""


class SharedAnswer:
    """The newest answer for one cluster.

    Parameters
    ----------
    cluster
        Its name, unless it is the one that `scontrol` asks by itself.
    timeout
        The least time between two calls [s].
    """

    def __init__(self, cluster: str | None, timeout: float) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._path = Path.home() / ".cache" / "parman" / f"sbatch_wait{f'.{cluster}' if cluster else ''}.out"
        self._lock = self._path.with_suffix(".lock")
        self._asked = -float("inf")
        self._busy_since: float | None = None
        self._unshared: Answer | None = None

    def prepare(self) -> None:
        """Make the directory and the lock; raises `OSError` where that can't be."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.touch()

    def peek(self) -> Answer | None:
        """Return what is there, however old."""
        try:
            return self._load()[0]
        except OSError:
            return None

    def read(self) -> Answer | None:
        """Return an answer no older than the timeout, or an older one (or none) while another program asks."""
        self.prepare()
        with locked(self._lock, wait=False) as lock:
            answer, modified = self._load()
            age = self._lock.stat().st_mtime - modified
            if lock is not None or 0 <= age < self._timeout:
                self._busy_since = None
            if time.monotonic() < self._asked + self._timeout and (self._unshared or answer):
                return self._unshared or answer
            if 0 <= age < self._timeout or (lock is None and self._others_ask()):
                return answer
            return self._ask_anew(share=lock is not None)

    def _others_ask(self) -> bool:
        """Whether it is plausible that another program has been asking all the time; it may have been stopped."""
        now = time.monotonic()
        if self._busy_since is None:
            self._busy_since = now
        return now < self._busy_since + self._timeout + _PATIENCE

    def _load(self) -> tuple[Answer | None, float]:
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                head, _, body = file.read().decode(errors="replace").partition("\n")
        except FileNotFoundError:
            return None, -float("inf")
        code = re.fullmatch(r"v1 datetime=\S+ returncode=([+-]\d+)", head)
        if not code:
            return None, -float("inf")
        return Answer(status.st_mtime_ns, int(code[1]) != 0, body), status.st_mtime

    def _ask_anew(self, share: bool) -> Answer:
        answer = ask(self._cluster)
        self._asked = time.monotonic()
        self._unshared = answer
        if share:
            self._store(answer)
            shared = self.peek()
            if shared is not None and shared.text == answer.text:
                self._unshared = None
                return shared
        return answer

    def _store(self, answer: Answer) -> None:
        temporary = self._path.with_suffix(".tmp")
        now = datetime.now().isoformat(timespec="microseconds")
        try:
            temporary.write_text(f"v1 datetime={now} returncode={int(answer.failed):+04d}\n{answer.text}")
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)  # a full disk: this program goes on by itself
