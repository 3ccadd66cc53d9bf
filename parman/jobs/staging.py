# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Staging: where the results of jobs are kept, and how files get to where a script runs, and back.

Paths live in three places. In the user's script they are relative to the driver's directory, or absolute. In the files
of a job (`kwargs.json`, `result.json`) they are relative to its directory. On the disk of the machine where the script
runs they are below a directory that mirrors the tree around the job's own directory, as far as the script needs it: a
relative path means the same in both. So the first two are all that is ever written down, and a staging only has to
copy.

    the user's script            Place              kwargs.json, result.json
    data/in.xyz            ── inward, pull ──▶      ../../data/in.xyz
    results/g00/out.nc     ◀── outward, push ──     out.nc

With `InPlace`, jobs run in the directories in which their results are kept. With `Scratch`, they run in fresh
directories, and what they make is copied to the results root.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from ..errors import ArgumentError, JobError
from ..trees.walk import map_leaves
from .files import copy

__all__ = [
    "InPlace",
    "Place",
    "Scratch",
    "Staging",
    "WorkDirectory",
    "check_locator",
    "globalize",
    "localize",
    "user_paths",
]


class Staging(ABC):
    """Where the results of jobs are kept, and where their scripts run.

    A subclass says how a work directory is opened. The files of a job (`kwargs.json`, `result.json`, ...) are read and
    locked in its directory below the root, which has to be a local or shared directory.

    Parameters
    ----------
    root
        The results root: the directory that holds the directories of jobs. A relative one is meant as seen from the
        directory in which the staging was made.
    """

    def __init__(self, root: str | os.PathLike[str] = "results") -> None:
        self.root = _checked_directory(root)
        self.base = Path.cwd()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    @property
    def top(self) -> Path:
        """The results root as an absolute path without links."""
        return Path(os.path.realpath(self.base / self.root))  # unlike `resolve`, without an error for loops of links

    def home(self, locator: PurePosixPath) -> Path:
        """Return the absolute path of a job's directory.

        Raises
        ------
        JobError
            A link leads elsewhere.
        """
        home = self.top / locator
        real = Path(os.path.realpath(home))
        if real != home:
            raise JobError(
                f"the job {locator} would be kept in {real} rather than in {home}, since there is a link in "
                "this path: the results root may be a link, but what is in it may not"
            )
        return home

    @abstractmethod
    def open(self, home: Place) -> WorkDirectory:
        """Return a work directory in which the script of a job can run.

        It is made as `YourDirectory(self, home.locator, home.here, path)`. The path is that of an empty directory that
        is there, without links in it, and ends like the whole path of the job's directory: a fresh directory, followed
        by `home.path.parts[1:]`. So a relative path that leads from there to an input stays in the fresh directory.

        Parameters
        ----------
        home
            The job's directory below the results root, with `locator`, the job's path there.
        """

    def reopen(self, home: Place, path: Path) -> WorkDirectory | None:
        """Return a work directory that an earlier driver opened, if it is still there; None by default.

        The path was read from a file: one that `open` can't have made is to be refused, with None as well, since what
        is returned may be written to and removed.
        """
        return None


class Place:
    """A directory that holds, or stands for, the directory of a job: where paths are turned from one form to another.

    Parameters
    ----------
    staging
        Where results are kept.
    locator
        The path of the job below the results root.
    here
        The driver's directory, to which the user's paths are relative.
    path
        The absolute path of the directory, without links; by default where the job is kept. It ends like the locator.

    Attributes
    ----------
    home
        The absolute path of the directory where the job is kept.
    """

    def __init__(self, staging: Staging, locator: PurePosixPath, here: Path, path: Path | None = None) -> None:
        self.staging = staging
        self.locator = locator
        self.here = here
        self.home = staging.home(locator)
        self.path = path or self.home

    @property
    def is_home(self) -> bool:
        """Whether this is where the job is kept."""
        return self.path == self.home

    @property
    def top(self) -> Path:
        """What stands for the results root around this directory."""
        return self.path.parents[len(self.locator.parts) - 1]

    def source(self, path: Path) -> Path:
        """Return the absolute path of a file of the user's."""
        return self.here / path

    def inward(self, path: Path) -> Path:
        """Return a path of the user's as one that is relative to the job's directory.

        Raises
        ------
        ArgumentError
            It can't be the path of a file.
        """
        whole = Path(os.path.abspath(self.source(path)))  # noqa: PTH100 (`resolve` would follow a link to the file)
        try:
            parent = os.path.realpath(whole.parent)
            os.fsencode(_without_null(path))
        except ValueError as error:
            raise ArgumentError(f"{str(path)!r} can't be the path of a file: {error}") from None
        return Path(os.path.relpath(Path(parent, whole.name), self.home))

    def outward(self, path: Path) -> Path:
        """Return a path relative to the job's directory as one that the user can open.

        Raises
        ------
        JobError
            It leads out of the results root.
        """
        inside = Path(os.path.normpath(self.home / path)).is_relative_to(self.staging.top)
        if path.is_absolute() or not inside:
            raise self._leads_out(path)
        staging = self.staging
        root = staging.root if self.here == staging.base else staging.base / staging.root
        return root / os.path.normpath(self.locator / path)

    def found(self, path: Path) -> Path:
        """Return a path relative to the job's directory as an absolute one in this directory.

        Raises
        ------
        JobError
            It leads out of what stands for the results root, by itself or through a link.
        """
        found = self.path / path
        inside = Path(os.path.normpath(found)).is_relative_to(self.top)
        try:
            real = os.path.realpath(_without_null(found))
        except ValueError as error:
            text = f"the job {self.locator} names {str(path)!r} as a file of its own, which is no path: {error}"
            raise JobError(text) from None
        if path.is_absolute() or not inside or not Path(real).is_relative_to(self.top):
            raise self._leads_out(path)
        return found

    def check_links(self, path: Path) -> None:
        """Check that no link in a directory leads out of what stands for the results root.

        Raises
        ------
        JobError
            One does.
        """
        for folder, *names in os.walk(path):
            for name in itertools.chain(*names):
                entry = Path(folder, name)
                if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(self.top):
                    raise self._leads_out(entry.relative_to(self.path))

    def _leads_out(self, path: Path) -> JobError:
        return JobError(
            f"the job {self.locator} names {str(path)!r} as a file of its own, which is outside of the results root "
            f"{self.staging.top}: name files in the work directory, relative to it"
        )


class WorkDirectory(Place, ABC):
    """A directory in which the script of a job runs.

    A subclass says how a file is fetched to where the script needs it, and stored where results are kept. The path of
    the directory ends like that of the job's directory, and what is around it stands for what is around that one.
    """

    @abstractmethod
    def fetch(self, source: Path, target: Path) -> None:
        """Copy an input, a file or directory, to where the script needs it; the directory around may be missing."""

    @abstractmethod
    def store(self, source: Path, target: Path) -> None:
        """Copy an output, a file or directory, to where results are kept; the directory around may be missing.

        What is there already is replaced.
        """

    def close(self, succeeded: bool) -> None:
        """Release the directory, after the outputs were stored or the job failed."""

    def pull(self, path: Path) -> Path:
        """Bring an input to where the script needs it.

        Parameters
        ----------
        path
            As the user wrote it: relative to the driver's directory, or absolute.

        Returns
        -------
        Path
            Relative to the work directory.
        """
        relative = self.inward(path)
        if not self.is_home:
            self.fetch(self.source(path), Path(os.path.normpath(self.path / relative)))
        return relative

    def push(self, path: Path, apart: Collection[str] = ()) -> Path:
        """Bring an output to where results are kept.

        Parameters
        ----------
        path
            Relative to the work directory.
        apart
            Names of files in the work directory that are not brought along, even if it is the output as a whole.

        Returns
        -------
        Path
            As the user can open it.

        Raises
        ------
        JobError
            It leads out of the results root, is not there, or would be lost.
        """
        outward, found = self.outward(path), self.found(path)
        if not found.exists():
            raise JobError(f"the job {self.locator} names {str(path)!r} as a file of its own, but there is no {found}")
        if self.is_home:
            return outward
        home = Place(self.staging, self.locator, self.here)
        found = Path(os.path.normpath(found))
        if not found.is_relative_to(self.path):
            if not home.found(path).exists():  # no input, which would be there
                raise JobError(
                    f"the job {self.locator} names {str(path)!r} as a file of its own, which is beside its directory "
                    "and would be lost: write it in the work directory"
                )
            return outward
        self.check_links(found)
        for entry in self.parts(found, apart):
            relative = entry.relative_to(self.path)
            home.found(relative)  # a link that is there already may lead out, too
            self.store(entry, self.home / relative)
        return outward

    def parts(self, found: Path, apart: Collection[str]) -> list[Path]:
        """Return an output as it is to be kept: by itself, or piece by piece if it is the whole work directory."""
        entries = sorted(found.iterdir()) if found == self.path else [found]
        left = {*apart, *(f".{name}.new" for name in apart)}
        return [entry for entry in entries if not (entry.parent == self.path and entry.name in left)]


class InPlace(Staging):
    """Jobs run in the directories below the results root in which their results are kept.

    Parameters
    ----------
    root
        The results root. A relative one is meant as seen from the directory in which the staging was made.
    """

    def open(self, home: Place) -> WorkDirectory:
        """Return the directory itself."""
        return _ResultsDirectory(self, home.locator, home.here)

    def reopen(self, home: Place, path: Path) -> WorkDirectory | None:
        """Return the directory itself; None if the job ran elsewhere, with another staging."""
        return self.open(home) if path == home.path else None


class _ResultsDirectory(WorkDirectory):
    """A job's own directory, where all files are already."""

    def fetch(self, source: Path, target: Path) -> None:
        pass

    def store(self, source: Path, target: Path) -> None:
        pass


class Scratch(Staging):
    """Each job runs in a fresh directory; inputs are copied there before, and outputs to the results root after.

    The directory is removed when the job has succeeded. It is kept when the job failed, and the error says where.

    Parameters
    ----------
    root
        The results root. A relative one is meant as seen from the directory in which the staging was made.
    tmp
        The directory in which the fresh directories are made, such as a fast local disk; by default the system's
        directory for temporary files (`TMPDIR`).
    prefix, suffix
        How the names of the fresh directories begin and end.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = "results",
        tmp: str | os.PathLike[str] | None = None,
        prefix: str = "parman-",
        suffix: str = "",
    ) -> None:
        super().__init__(root)
        for name, part in (("prefix", prefix), ("suffix", suffix)):
            if "/" in part or "\0" in part:
                raise ArgumentError(f"Scratch({name}=...) is a part of the name of a directory, not {part!r}")
        self.tmp = None if tmp is None else self.base / _checked_directory(tmp)
        self.prefix = prefix
        self.suffix = suffix

    def open(self, home: Place) -> WorkDirectory:
        """Make a fresh directory."""
        if self.tmp is not None:
            self.tmp.mkdir(parents=True, exist_ok=True)
        fresh = Path(os.path.realpath(tempfile.mkdtemp(self.suffix, self.prefix, self.tmp)))
        # The whole path of the job's directory, so that any relative path out of it stays inside of the fresh one.
        path = fresh.joinpath(*home.home.parts[1:])
        path.mkdir(parents=True)
        return _ScratchDirectory(self, home.locator, home.here, path)

    def reopen(self, home: Place, path: Path) -> WorkDirectory | None:
        """Return a directory that was made before."""
        depth = len(home.home.parts) - 1
        if len(path.parents) <= depth:
            return None
        # The path was read from a file: only what has been made by `open` may be used, and removed in the end.
        fresh = path.parents[depth - 1]
        is_ours = fresh.name.startswith(self.prefix) and fresh.name.endswith(self.suffix)
        inside = fresh.parent == Path(os.path.realpath(self.tmp or tempfile.gettempdir()))
        fits = path == fresh.joinpath(*home.home.parts[1:]) == Path(os.path.realpath(path))
        if not (is_ours and inside and fits):
            return None
        return _ScratchDirectory(self, home.locator, home.here, path) if path.is_dir() else None


class _ScratchDirectory(WorkDirectory):
    """A directory of its own for one run of a script."""

    def fetch(self, source: Path, target: Path) -> None:
        copy(source, target)

    def store(self, source: Path, target: Path) -> None:
        copy(source, target, durable=True)  # what it was copied from is removed in the end

    def close(self, succeeded: bool) -> None:
        if succeeded:
            shutil.rmtree(self.path.parents[len(self.home.parts) - 2], ignore_errors=True)


# --- the paths of a tree ---


def localize(tree: Any, work: WorkDirectory) -> Any:
    """Return a tree of arguments as the script needs it, and bring the files in it to where it runs."""
    return map_leaves(lambda leaf: work.pull(leaf) if isinstance(leaf, Path) else leaf, tree)


def globalize(tree: Any, work: WorkDirectory, apart: Collection[str] = ()) -> Any:
    """Return a tree of results as the user needs it, and bring the files in it to where results are kept.

    `apart` has the names of files in the work directory that stay.
    """
    return map_leaves(lambda leaf: work.push(leaf, apart) if isinstance(leaf, Path) else leaf, tree)


def user_paths(tree: Any, place: Place) -> Any:
    """Return a tree of results as the user needs it; its files are where results are kept already."""

    def rename(leaf: Any) -> Any:
        if not isinstance(leaf, Path):
            return leaf
        found = place.found(leaf)
        if not found.exists():
            raise JobError(
                f"the job {place.locator} names {str(leaf)!r} as a file of its own, but there is no {found}: bring it "
                "back, or remove the directory of the job, so that it is run again"
            )
        return place.outward(leaf)

    return map_leaves(rename, tree)


# --- what paths may be ---


def check_locator(locator: object) -> PurePosixPath:
    """Return a locator as a path.

    Raises
    ------
    ArgumentError
        It can't be the path of a directory below the results root.
    """
    if not isinstance(locator, str | PurePath):
        raise ArgumentError(f"the locator of a job is a relative path such as 'g00/boot', not {locator!r}")
    path = PurePosixPath(locator)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in str(path):
        raise ArgumentError(
            f"the locator {str(locator)!r} does not name a directory below the results root: "
            "it is a relative path without '..', such as 'g00/boot'"
        )
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ArgumentError(f"the locator {str(locator)!r} can't be the path of a directory: it is not UTF-8") from None
    return path


def _checked_directory(path: str | os.PathLike[str]) -> Path:
    """Return the path of a directory that a staging uses.

    Raises
    ------
    ArgumentError
        It can't be the path of a directory.
    """
    found = Path(path)
    try:
        os.fsencode(_without_null(found))
    except ValueError as error:
        raise ArgumentError(f"{str(path)!r} can't be a directory of a staging: {error}") from None
    return found


def _without_null(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("it holds a null character")
    return path
