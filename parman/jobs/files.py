# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files of jobs: written as a whole or not at all, read without following links, copied, and summed up."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..descriptors import lift

__all__ = [
    "copy",
    "escaped",
    "files_below",
    "folders_below",
    "read_sums",
    "read_whole",
    "sha256",
    "tail",
    "unescaped",
    "write_sums",
    "write_whole",
]

_SETTLED_AFTER = 2.0
"""How old the last change of a file has to be, so that its time tells it from the next one [s]."""
_MOST_SUMS = 100_000
"""How many sums are remembered."""
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


def tail(path: Path, size: int = 2000) -> str:
    """Return the end of a text file, from the beginning of a line on, without what would upset a terminal."""
    try:
        # no link, which the script may have put there
        with os.fdopen(lift(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)), "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - size))
            content = stream.read(size)
    except OSError:
        return ""
    text = re.sub(r"\r\n?", "\n", content.decode(errors="replace"))
    text = "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)
    if len(content) == size and "\n" in text[:-1]:
        text = text.partition("\n")[2]
    return text.strip("\n")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is seen as a whole or not at all, also after the machine has failed.

    Raises
    ------
    OSError
        With the name of the file, which is as it was before.
    """
    with _replacing(path) as temporary:
        descriptor = lift(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)


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
        with _replacing(copied) as temporary:
            shutil.copy2(file, temporary)
            if durable:
                with temporary.open("rb") as stream:
                    os.fsync(stream.fileno())
    for folder in folders_below(source):
        (target / folder.relative_to(source)).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path, whose file takes the place of `path` in the end; errors bear the name of `path`."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)  # what is there may be a link
        yield temporary
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


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
    if time.time() - max(before.st_mtime, before.st_ctime) > _SETTLED_AFTER:
        if len(_sums) >= _MOST_SUMS:
            _sums.clear()
        _sums[key] = found
    return found


def write_sums(path: Path, sums: Mapping[str, str]) -> None:
    """Write the sum of each path as `sha256sum` does, sorted by path."""
    lines = []
    for name, found in sorted(sums.items()):
        written = escaped(name)
        lines.append(f"{chr(92) if written != name else ''}{found}  {written}\n")
    write_whole(path, os.fsencode("".join(lines)))


def read_sums(path: Path) -> dict[str, str] | None:
    """Read what `write_sums` or `sha256sum` wrote: the sum of each path; None if the file is not there.

    Raises
    ------
    ValueError
        A line is not of this form.
    """
    try:
        content = read_whole(path)
    except FileNotFoundError:
        return None
    found = {}
    for line in os.fsdecode(content).split("\n"):
        match = re.fullmatch(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)", line, re.DOTALL)
        if match is not None:
            is_escaped, digits, name = match.groups()
            found[unescaped(name) if is_escaped else name] = digits.lower()
        elif line.strip():
            raise ValueError(f"{line!r} is no sum and path")
    return found


def escaped(path: str) -> str:
    """Return a path as it is written into a line of a file."""
    return "".join(_ESCAPES.get(character, character) for character in path)


def unescaped(path: str) -> str:
    """Return the path that was written so."""
    return re.sub(r"\\.", lambda match: _UNESCAPES.get(match[0], match[0]), path)
