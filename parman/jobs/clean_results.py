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

from .directory import JobDirectory, State

__all__ = ["main", "unfinished"]

_TEXT = """\
Remove the directories of jobs that were started and did not finish, or failed, so that they are run again. Those of
finished and of running jobs stay, and so does everything that is no job.
"""


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
    for path in list(unfinished(given.results)):
        failed |= not _clean(path, only_list=given.dry_run)
    return int(failed)


def unfinished(root: Path) -> Iterator[Path]:
    """Yield the directories of jobs below a results root that did not finish; links are not followed.

    A directory whose files can't be read is among them.
    """
    for path, names, files in os.walk(root):
        names.sort()
        if "kwargs.json" in files:
            try:
                found = _is_unfinished(JobDirectory(Path(path)))
            except OSError:  # the error is reported when it is its turn
                found = True
            if found:
                yield Path(path)


def _is_unfinished(directory: JobDirectory) -> bool:
    state, elsewhere = directory.state(), directory.read_status().directory
    if state is State.PREPARED and elsewhere is not None:  # where the job may have ended, but for the copying
        state = JobDirectory(elsewhere).state()
    return state is not State.FINISHED


def _clean(path: Path, only_list: bool) -> bool:
    """Remove a directory, unless its job is running or it holds another job; tell whether that went well."""
    directory = JobDirectory(path)
    lock = directory.lock()
    try:
        if lock.is_held() if only_list else not lock.try_to_take():
            _write(sys.stdout, f"{path}: is running, and stays")
            return True
        try:
            _clean_idle(directory, only_list)
        finally:
            lock.release()
    except OSError as error:
        if not path.exists():  # somebody else was faster
            return True
        where = "" if error.filename in (None, str(path)) else f" ({error.filename})"
        _write(sys.stderr, f"parman-clean-results: {path}: {error.strerror or error}{where}")
        return False
    return True


def _clean_idle(directory: JobDirectory, only_list: bool) -> None:
    """Remove the directory of a job that is not running, unless it holds another job."""
    if not _is_unfinished(directory):  # any more
        return
    inside = (Path(path) for path, _, _ in os.walk(directory.path) if path != str(directory.path))
    if any(JobDirectory(path).kwargs.exists() for path in inside):
        _write(sys.stdout, f"{directory.path}: holds the directory of another job, and stays")
    elif only_list:
        _write(sys.stdout, str(directory.path))
    else:
        _remove(directory)
        _write(sys.stdout, f"{directory.path}: removed")


def _remove(directory: JobDirectory) -> None:
    """Remove a directory; at whatever point this is cut off, what is left is no result, and can be removed.

    The lock's file goes last: as long as it is there, no driver puts anything new here.
    """
    last = [directory.kwargs, directory.lock_file]
    directory.result.unlink(missing_ok=True)
    for path in directory.path.iterdir():
        if path not in last:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in last:
        path.unlink(missing_ok=True)
    try:
        directory.path.rmdir()
    except OSError:
        if not directory.lock_file.exists():
            raise
        # A driver that waited has it now.


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
