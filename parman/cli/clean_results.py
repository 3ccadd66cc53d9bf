# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`parman-clean-results`: remove the directories of jobs that did not finish."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..jobs.record import Record, State

__all__ = ["main", "unfinished"]

_TEXT = """\
Remove the directories of jobs that were started and did not finish, or failed, so that they are run again. Those of
finished and of running jobs stay, and so does everything that is no job.
"""


def unfinished(root: Path) -> Iterator[Path]:
    """Yield the directories of jobs below a results root that did not finish; links are not followed."""
    for path, names, files in os.walk(root):
        names.sort()
        if "kwargs.json" in files and Record(Path(path)).state() is not State.FINISHED:
            yield Path(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(prog="parman-clean-results", description=_TEXT)
    parser.add_argument("-n", "--dry-run", action="store_true", help="only list the directories")
    parser.add_argument("results", type=Path, help="the results root")
    given = parser.parse_args(arguments)
    if not given.results.is_dir():
        sys.stderr.write(f"parman-clean-results: there is no directory {given.results}\n")
        return 2
    failed = False
    for directory in list(unfinished(given.results)):
        failed |= not _clean(directory, only_list=given.dry_run)
    return int(failed)


def _clean(directory: Path, only_list: bool) -> bool:
    """Remove a directory, unless its job is running or it holds another job; tell whether that went well."""
    lock = Record(directory).lock()
    try:
        if not lock.try_to_take():
            return _say(directory, "is running, and stays")
        try:
            if any(Record(Path(path)).kwargs.exists() for path, _, _ in os.walk(directory) if path != str(directory)):
                return _say(directory, "holds the directory of another job, and stays")
            if only_list:
                return _say(directory)
            shutil.rmtree(directory)
        finally:
            lock.release()
    except OSError as error:
        sys.stderr.write(f"parman-clean-results: {directory}: {error.strerror or error}\n")
        return False
    return _say(directory, "removed")


def _say(directory: Path, what: str = "") -> bool:
    sys.stdout.write(f"{directory}{': ' if what else ''}{what}\n")
    return True
