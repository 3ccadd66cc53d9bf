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
from typing import TextIO

from .directory import Record, State

__all__ = ["main", "unfinished"]

_TEXT = """\
Remove the directories of jobs that were started and did not finish, or failed, so that they are run again. Those of
finished and of running jobs stay, and so does everything that is no job.
"""


def unfinished(root: Path) -> Iterator[Path]:
    """Yield the directories of jobs below a results root that did not finish; links are not followed.

    Those of which that can't be told are among them.
    """
    for path, names, files in os.walk(root):
        names.sort()
        if "kwargs.json" in files:
            try:
                found = _is_unfinished(Record(Path(path)))
            except OSError:  # told when it is its turn
                found = True
            if found:
                yield Path(path)


def _is_unfinished(record: Record) -> bool:
    state, elsewhere = record.state(), record.read_status().directory
    if state is State.PREPARED and elsewhere is not None:  # where the job may have ended, but for the copying
        state = Record(elsewhere).state()
    return state is not State.FINISHED


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
    record = Record(directory)
    lock = record.lock()
    try:
        if lock.is_held() if only_list else not lock.try_to_take():
            return _say(directory, "is running, and stays")
        try:
            return _clean_unused(record, only_list)
        finally:
            lock.release()
    except OSError as error:
        if not directory.exists():  # somebody else was faster
            return True
        where = "" if error.filename in (None, str(directory)) else f" ({error.filename})"
        _write(sys.stderr, f"parman-clean-results: {directory}: {error.strerror or error}{where}")
        return False


def _clean_unused(record: Record, only_list: bool) -> bool:
    directory = record.directory
    if not _is_unfinished(record):  # any more
        return True
    if any(Record(Path(path)).kwargs.exists() for path, _, _ in os.walk(directory) if path != str(directory)):
        return _say(directory, "holds the directory of another job, and stays")
    if only_list:
        return _say(directory)
    _remove(directory)
    return _say(directory, "removed")


def _remove(directory: Path) -> None:
    """Remove a directory; at whatever point this is cut off, what is left is no result, and can be removed.

    The lock's file goes last: as long as it is there, no driver puts anything new here.
    """
    record = Record(directory)
    last = [record.kwargs, record.lock_file]
    record.result.unlink(missing_ok=True)
    for path in directory.iterdir():
        if path not in last:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in last:
        path.unlink(missing_ok=True)
    try:
        directory.rmdir()
    except OSError:
        if not record.lock_file.exists():
            raise
        # A driver that waited has it now.


def _say(directory: Path, what: str = "") -> bool:
    _write(sys.stdout, f"{directory}{': ' if what else ''}{what}")
    return True


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
