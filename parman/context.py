# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a call is made: the block in force, the running task around it, the place in the user's file.

The block in force is a context variable, so that threads and coroutines have their own. A block that was opened with
`open()` has to be seen from other notebook cells and threads as well, which context variables do not reach:
it stands in a list of this module instead, looked at when the context variable says nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from .lifecycle import Stop

__all__ = ["Block", "InsideTask", "Site", "call", "call_site", "current_workflow", "in_force", "is_ours", "open_blocks"]


class InsideTask:
    """The mark of a running task: calls made under it are plain calls.

    Attributes
    ----------
    enclosing
        The runners of this task and of those around it, as far as they are in this process: a block that used one of
        them again could wait for itself.
    called
        The names of the tasks that it called, which ran one after another, if it did.
    stop
        Asks the task to end, where the runner may want that.
    """

    __slots__ = ("_around", "_runner", "called", "stop")

    def __init__(
        self, runner: object = None, around: frozenset[object] = frozenset(), stop: Stop | None = None
    ) -> None:
        self._runner = runner
        self._around = around
        self.stop = stop
        self.called: set[str] | None = None

    @property
    def enclosing(self) -> frozenset[object]:
        """The runners that are at work around this task; put together here, since hardly any task asks."""
        return self._around if self._runner is None else self._around | {self._runner}

    def note(self, name: str) -> None:
        """Note that the task called another one."""
        self.called = self.called or set()
        self.called.add(name)


class Block(Protocol):
    """A block, as far as calls and jobs have to know it; `workflows` has the class."""

    @property
    def jobs(self) -> Any:
        """The settings of jobs, if any."""

    @property
    def enclosing(self) -> frozenset[object]:
        """The runners of the tasks around it."""

    def call(self, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Make a call of a task in this block."""


in_force: ContextVar[Block | InsideTask | None] = ContextVar("parman", default=None)
open_blocks: list[Block] = []
"""Blocks between `open()` and `close()`; the last one is in force in the whole process."""


class Site(NamedTuple):
    """A place in the user's file."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        cell = _cell(self.file)
        return f"{self.file}:{self.line}" if cell is None else f"cell {cell}, line {self.line}"


def _cell(file: str) -> int | None:
    """Return the number of the notebook cell that was compiled under this name."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    names = getattr(getattr(shell, "compile", None), "_filename_map", None)
    number = names.get(file) if isinstance(names, dict) else None
    return number if isinstance(number, int) else None


_HERE = str(Path(__file__).parent) + os.sep


def is_ours(frame: FrameType) -> bool:
    """Tell whether a frame runs code of Parman."""
    return frame.f_code.co_filename.startswith(_HERE)


_MANY_SITES = 10_000
_sites: dict[tuple[int, int], tuple[CodeType, Site]] = {}
"""The places met so far, by code object (which is held, so that its identity stays its own) and instruction."""


def call_site(above: int = 0) -> Site:
    """Return the innermost place outside Parman on the stack of this thread; the same object for the same place.

    Parameters
    ----------
    above
        How many frames above the caller's are known to be Parman's.
    """
    frame: FrameType | None = sys._getframe(1 + above)
    while frame is not None and is_ours(frame):
        frame = frame.f_back
    if frame is None:
        return Site("<unknown>", 0, "")
    code = frame.f_code
    key = (id(code), frame.f_lasti)
    known = _sites.get(key)
    if known is not None and known[0] is code:
        return known[1]
    if len(_sites) >= _MANY_SITES:
        _sites.clear()
    site = Site(code.co_filename, frame.f_lineno, code.co_name)
    _sites[key] = (code, site)
    return site


def current_workflow() -> Block | None:
    """Return the block in force, if calls are made in one here."""
    block = in_force.get()
    if isinstance(block, InsideTask):
        return None
    return block if block is not None else _last_opened()


def _last_opened() -> Block | None:
    last = open_blocks[-1:]  # in one step, since another thread may close the block
    return last[0] if last else None


def call(task: Any, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Make a call of a task: in the block in force, or in place if there is none."""
    block = in_force.get()
    if block is None:
        block = _last_opened()
    if block is None:
        return function(*args, **kwargs)
    if isinstance(block, InsideTask):
        block.note(task.__parman_task__.name)
        return function(*args, **kwargs)
    return block.call(task, args, kwargs)
