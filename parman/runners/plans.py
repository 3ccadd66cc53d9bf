# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a dry run has found in a block: the mistakes, the calls, how they depend on each other; and the report of it.

How long the chains are is seen from the futures that are passed on. The values of mocks carry no mark, so those that
can be told apart (lists, arrays, objects) are remembered by their identity; numbers and texts can't be followed.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..context import Site
from ..failures import safe_text
from ..nodes import ATOMS, kind_of

if TYPE_CHECKING:
    from ..definitions import Definition
    from .extents import Extent

__all__ = ["Mistake", "Plan", "count", "readable"]

_MOST_AT_A_LINE = 5
"""Different mistakes that are shown for one line of the script, which may be in a loop; of its first call, all."""


class Mistake(NamedTuple):
    """Something that the user has to mend."""

    site: Site
    error: Exception
    call: int
    """Which call of the run it belongs to, or comes after."""


class Plan:
    """What a dry run has found in a block, and in the blocks within it.

    Attributes
    ----------
    mistakes
        In the order in which they were met.
    end
        A sentence that says why the run ended before the end of the block.
    end_place
        The place of that.
    failed
        What the script itself failed with, so that nobody can say that it is without mistakes.
    extent
        Where the block stands in the script.
    last
        The last line of the block that was reached, if not its end.
    depth
        How many blocks are open.
    seen
        What tasks note of their calls, to compare them with later ones.
    """

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self.end: str | None = None
        self.end_place: str | None = None
        self.failed: str | None = None
        self.extent: Extent | None = None
        self.last: int | None = None
        self.depth = 0
        self.seen: dict[Any, Any] = {}
        self._calls: Counter[str] = Counter()
        self._width: Counter[int] = Counter()
        self._levels: dict[int, tuple[object, int]] = {}
        self._exact = True
        self._lock = threading.Lock()
        self._functions: set[Definition] = set()

    # --- what was found ---

    def add_mistake(self, site: Site, error: Exception) -> None:
        """Note a mistake; its traceback is of no use, since it was met in the library."""
        error.add_note(f"Found by the dry run at {site}.")
        self.mistakes.append(Mistake(site, error.with_traceback(None), self._calls.total()))

    def add_mistakes_of_function(self, definition: Definition, site: Site, errors: Iterable[Exception]) -> None:
        """Note what is wrong with a function, at the first of its calls."""
        if definition not in self._functions:
            for error in errors:
                self._functions.add(definition)
                self.add_mistake(site, error)

    def add_call(self, name: str, level: int) -> None:
        """Note a call that comes after `level - 1` others."""
        with self._lock:
            self._calls[name] += 1
            self._width[level] += 1

    def remember(self, result: object, level: int) -> None:
        """Note that what a mock returned comes from a call of this level."""
        for part in _parts(result):
            if type(part) not in ATOMS:
                self._levels[id(part)] = (part, level)  # held, so that the id stays that of this object
            elif part is not None:
                self._exact = False

    def level_of_values(self, tree: object) -> int:
        """Return the highest level of the calls whose mocks made the values in a tree; 0 if there are none."""
        if not self._levels:
            return 0
        return max((self._levels[id(part)][1] for part in _parts(tree) if id(part) in self._levels), default=0)

    # --- what the user is told ---

    def report(self, goes_on: bool = False) -> str:
        """Write down what was found, and how far the run came.

        Parameters
        ----------
        goes_on
            The script goes on after the block.
        """
        ends = [] if self.end is None else [self.end]
        left = None if goes_on or self.extent is None else self.extent.not_reached(self.last)
        if left is not None:
            ends.append(f"Not checked: {left}" + ("" if self.end else ", after the block"))
        return readable("\n".join([self._head(), *self._mistake_lines(), *ends, *self._call_lines()]))

    def _head(self) -> str:
        place = "" if self.end_place is None else f" up to {self.end_place}"
        if self.mistakes:
            return f"Dry run: {count(len(self.mistakes), 'mistake')}{place}"
        if self.failed is not None:
            return f"Dry run: not finished: {self.failed}, after {count(self._calls.total(), 'call')} without a mistake"
        return f"Dry run: no mistakes found{place}"

    def _mistake_lines(self) -> Iterator[str]:
        by_line: dict[tuple[str, int], list[Mistake]] = {}
        for mistake in self.mistakes:
            by_line.setdefault(mistake.site[:2], []).append(mistake)
        for (file, line), mistakes in by_line.items():
            texts = Counter(_text(mistake.error) for mistake in mistakes)
            of_first_call = {_text(mistake.error) for mistake in mistakes if mistake.call == mistakes[0].call}
            shown = list(texts)[: max(_MOST_AT_A_LINE, len(of_first_call))]
            for text in shown:
                times = f" ({texts[text]} times)" if texts[text] > 1 else ""
                yield f"  {Site(file, line, '')}: {text}{times}"
            more = texts.total() - sum(texts[text] for text in shown)
            if more:
                yield f"  {Site(file, line, '')}: and {count(more, 'more mistake')}"

    def _call_lines(self) -> list[str]:
        if not self._calls:
            return ["No task would be called"]
        lines = [f"{count(sum(self._calls.values()), 'call')} would run:"]
        digits = len(str(max(self._calls.values())))
        lines += [f"  {number:{digits}} x {name}" for name, number in self._calls.items()]
        at_least = "" if self._exact else "at least "
        longest, widest = max(self._width), max(self._width.values())
        return [*lines, f"Longest chain: {at_least}{count(longest, 'call')}; width: {widest}"]


def _parts(tree: object) -> Iterable[object]:
    """Yield a tree, the nodes in it and its leaves; of items that are all numbers or texts only the first."""
    seen: set[int] = set()
    todo = [tree]
    while todo:
        part = todo.pop()
        yield part
        kind = kind_of(type(part))
        if kind is None or id(part) in seen:
            continue
        seen.add(id(part))
        values = list(kind.values(part))
        todo.extend(values[:1] if ATOMS.issuperset(map(type, values)) else values)


def count(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _text(error: Exception) -> str:
    known = isinstance(error, TypeError) or type(error).__module__.startswith("parman.")
    return (str(error) if known else safe_text(error)).replace("\n", "\n    ")


def readable(text: str) -> str:
    """Write places as short as they can be: relative to the current directory."""
    here = re.escape(str(Path.cwd()) + os.sep)
    return re.sub(rf"{here}([^\s:]+:\d+)", r"\1", text)
