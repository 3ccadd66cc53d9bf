# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a user is told who has waited too long: for what, how much of it is running, and which lines made those calls.

This is looked at after the time was over, so that a wait in time costs nothing; some of it may have ended meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

__all__ = ["too_late"]

_MOST_CALLS = 1000
"""Calls that are looked at: who polls may do so very often, and a workflow may have a million."""
_MOST_LINES = 5


class _Found(NamedTuple):
    """The calls that are still to come, by what they are called."""

    running: Counter[str]
    pending: Counter[str]
    is_cut: bool


def too_late(
    futures: Sequence[Future[Any]], timeout: float | None, items: tuple[int, int] | None = None
) -> TimeoutError:
    """Make the error for futures that were not done in time.

    Parameters
    ----------
    futures
        What was waited for.
    timeout
        How long [s].
    items
        How many items are not done, and how many there are, if these are no single futures.
    """
    found = _look(futures)
    after = "" if timeout is None else f" after {max(0.0, timeout):g} s"
    running, pending = found.running.total(), found.pending.total()
    if items is not None:
        head = f"{_of(*items, 'item')} not done{after}"
    elif len(futures) == 1 and hasattr(futures[0], "_origin"):
        head = f"{_name(futures[0])}, is not done{after}"
        if running + pending <= 1:
            return TimeoutError(f"{head}: it is {'pending' if pending else 'running'}")
    else:
        head = f"{_of(sum(not future.done() for future in futures), len(futures), 'result')} not done{after}"
    more = "at least " if found.is_cut else ""
    counts = _counts(running, pending)
    return TimeoutError(f"{head}; with the calls before, {more}{counts}:{_lines(found)}")


def _look(futures: Sequence[Future[Any]]) -> _Found:
    """Go from futures to the calls that make them, and on to those that these wait for."""
    found = _Found(Counter(), Counter(), False)
    seen: set[int] = set()
    todo = list(reversed(futures))
    held = []  # so that an identity stays that of its object
    while todo:
        future = todo.pop()
        origin = getattr(future, "_origin", future)
        if id(origin) in seen or future.done():
            continue
        if len(seen) >= _MOST_CALLS:
            return found._replace(is_cut=True)
        seen.add(id(origin))
        held.append(origin)
        is_running = future.running()
        if origin is not future or not hasattr(future, "needs"):  # else it is no call, but waits for some
            (found.running if is_running else found.pending)[_name(future)] += 1
        if not is_running:
            todo.extend(reversed(getattr(origin, "needs", ())))
    return found


def _name(future: Future[Any]) -> str:
    origin = getattr(future, "_origin", None)
    return f"a {type(future).__name__}" if origin is None else str(origin)


def _of(left: int, total: int, noun: str) -> str:
    return f"{left} of {total} {noun}{'' if total == 1 else 's'} {'is' if left == 1 else 'are'}"


def _counts(running: int, pending: int) -> str:
    return ", ".join(f"{number} {what}" for number, what in ((running, "running"), (pending, "pending")) if number)


def _lines(found: _Found) -> str:
    names = list(dict.fromkeys([*found.running, *found.pending]))
    lines = [f"\n  {name}: {_counts(found.running[name], found.pending[name])}" for name in names[:_MOST_LINES]]
    if len(names) > _MOST_LINES:
        lines.append(f"\n  and calls at {len(names) - _MOST_LINES} more lines")
    return "".join(lines)
