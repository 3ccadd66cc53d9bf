# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files that are there as a whole or not at all, and the sums that tell whether they changed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..descriptors import lift

__all__ = [
    "copy",
    "escaped",
    "files_below",
    "folders_below",
    "format_sums",
    "parse_sums",
    "read_whole",
    "sha256",
    "unescaped",
    "write_whole",
]

_SETTLED = 2.0
"""How old the last change of a file has to be, so that its time tells it from the next one [s]."""
_MANY = 100_000
"""Sums that are remembered."""
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}

_sums: dict[tuple[int, ...], str] = {}


def read_whole(path: Path, follow: bool = False) -> bytes:
    """Read a file that is kept with a job; a link is only followed on demand.

    Raises
    ------
    OSError
        With the name of the file: it is not there, can't be read, or is no file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe would have us wait for somebody who writes to it
    try:
        descriptor = lift(os.open(path, flags if follow else flags | os.O_NOFOLLOW))
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, "a link, where a file has to be", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no file", str(path))
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file so that it is seen as a whole or not at all, also after the machine has failed.

    Raises
    ------
    OSError
        With the name of the file, which is as it was before.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)  # what is there may be a link
        descriptor = lift(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def copy(source: Path, target: Path, durable: bool = False) -> None:
    """Copy a file or directory, each file as a whole, following links.

    Parameters
    ----------
    source, target
        From where to where; what is there already is replaced.
    durable
        Whether the copies are to outlast a failure of the machine, so that the source may be removed.

    Raises
    ------
    OSError
        The source is not there, can't be read, or is neither a file nor a directory; or the target can't be written.
    """
    for file in files_below(source):
        copied = target if file == source else target / file.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(file, copied, durable)
    for folder in folders_below(source):
        (target / folder.relative_to(source)).mkdir(parents=True, exist_ok=True)


def _copy_file(source: Path, target: Path, durable: bool) -> None:
    temporary = target.with_name(f".{target.name}.new")
    try:
        temporary.unlink(missing_ok=True)  # what is there may be a link
        shutil.copy2(source, temporary)
        if durable:
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
        temporary.rename(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(target)) from error


def files_below(path: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Yield the files of a directory and its subdirectories, sorted; a file is by itself.

    Raises
    ------
    OSError
        There is no such file or directory, something there is neither, or a link leads to a directory around it.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        here = (found.st_dev, found.st_ino)
        if here in above:
            raise OSError(errno.ELOOP, "a link to a directory in which it is", str(path))
        for entry in sorted(path.iterdir()):
            yield from files_below(entry, above | {here})
    elif stat.S_ISREG(found.st_mode):
        yield path
    else:
        raise OSError(errno.EINVAL, "neither a file nor a directory", str(path))


def folders_below(path: Path) -> Iterator[Path]:
    """Yield a directory and its subdirectories, sorted; nothing for a file. `files_below` finds links in circles."""
    if path.is_dir():
        yield path
        for entry in sorted(path.iterdir()):
            yield from folders_below(entry)


def sha256(path: Path) -> str:
    """Return the SHA-256 sum of a file as hexadecimal digits.

    Sums are remembered for as long as the file's times, size and place on the disk are the same.
    """
    with path.open("rb") as stream:
        before = os.fstat(stream.fileno())
        key = (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns)
        known = _sums.get(key)
        if known is not None:
            return known
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    # A file that was changed just now could change again within the same tick of its clock.
    if time.time() - max(before.st_mtime, before.st_ctime) > _SETTLED:
        if len(_sums) >= _MANY:
            _sums.clear()
        _sums[key] = found
    return found


def format_sums(sums: Iterable[tuple[str, str]]) -> bytes:
    """Write pairs of a path and its sum as `sha256sum` does, sorted by path."""
    return b"".join(_line(path, found) for path, found in sorted(sums))


def _line(path: str, found: str) -> bytes:
    written = escaped(path)
    return os.fsencode(f"{chr(92) if written != path else ''}{found}  {written}\n")


def parse_sums(content: bytes) -> dict[str, str]:
    """Read what `format_sums` or `sha256sum` wrote: the sum of each path.

    Raises
    ------
    ValueError
        A line is not of this form.
    """
    found = {}
    for line in os.fsdecode(content).split("\n"):
        match = re.fullmatch(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)", line, re.DOTALL)
        if match is not None:
            is_escaped, digits, path = match.groups()
            found[unescaped(path) if is_escaped else path] = digits.lower()
        elif line.strip():
            raise ValueError(f"{line!r} is no sum and path")
    return found


def escaped(path: str) -> str:
    """Return a path as it is written into a line of a file."""
    return "".join(_ESCAPES.get(character, character) for character in path)


def unescaped(path: str) -> str:
    """Return the path that was written so."""
    return re.sub(r"\\.", lambda match: _UNESCAPES.get(match[0], match[0]), path)
