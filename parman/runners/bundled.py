# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Bundles as a worker sees them: several calls in one message, which are begun one after another.

Before each call the worker takes a token; when there is none left, the driver has taken back the rest. Each outcome is
sent at once, so that it waits in the system rather than here, where the next call may be long, or the last one of this
process. The results that later calls of the bundle need are kept until the last of those has run.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..buffers import Buffer
from ..failures import PackedException
from ..frozen import Frozen, FrozenAtoms
from ..lessons import Lesson
from ..memfiles import Traces, drop_spares
from ..schemas import Structure
from ..work import perform
from .channel import Kind, Message, pack
from .remote import Missing, Reply, lessons_for, not_loaded, reply_of

__all__ = ["Bundle", "Item", "Result", "item_arguments", "run_bundle"]


class Result(NamedTuple):
    """A result that a call needs of one that is before it in the same bundle."""

    call: int
    leaf: int


class Item(NamedTuple):
    """One call.

    Attributes
    ----------
    task, site
        Numbers of those in the bundle.
    arguments
        The snapshot; or the arguments themselves, if these are plain.
    values
        For each dependency its value, plain or frozen, or which result it is.
    structure
        Its digest if it is the same for all calls of the task.
    """

    task: int
    site: int
    arguments: Frozen | dict[str, Any]
    values: list[Any]
    structure: Structure | str
    late: tuple[str, ...]
    check: str


class Bundle(NamedTuple):
    """Calls that are sent together.

    Attributes
    ----------
    state, tasks, shares
        Tokens of what the worker has to know.
    assets
        What it may not know, by token.
    sites
        The lines in the user's files that made the calls.
    spares
        Memory files to be filled with results.
    """

    state: str | None
    tasks: tuple[str, ...]
    shares: tuple[str, ...]
    sites: tuple[str, ...]
    items: list[Item]
    assets: Mapping[str, Frozen] | None = None
    spares: list[Buffer] | None = None


def run_bundle(
    bundle: Bundle,
    traces: list[Traces],
    take: Callable[[], bool],
    ask: Callable[[list[str]], Mapping[str, Frozen]],
    send: Callable[[Message], None],
) -> None:
    """Run the calls of a bundle, in a worker.

    Parameters
    ----------
    bundle
        The calls; it is emptied.
    traces
        What tells whether the memory files that came with it are still used.
    take
        Takes a token; false if there is none left.
    ask
        Asks the driver for what is not known here.
    send
        Sends a message to the driver.
    """
    trouble: BaseException | None = None
    if not take():  # before anything is loaded: if this process dies of that, it was this call
        send(pack(Kind.OVER, None))
        return
    try:
        lessons = _lessons_for(bundle, ask)
    except BaseException as exception:
        trouble, lessons = exception, []
    results = _Results(bundle.items)
    is_alone = len(bundle.items) == 1
    with _spares_of(bundle):
        for number, item in _emptying(bundle.items):
            if number and not take():
                send(pack(Kind.OVER, None))
                return
            where = bundle.sites[item.site]
            if trouble is not None:
                send(_message(0.0, not_loaded(trouble, where)))
            elif results.put_into(item.values):
                start = time.perf_counter()
                reply = _run(item, lessons[item.task], where)
                duration = time.perf_counter() - start
                del item  # with the memory files in it
                send(_message(duration, reply, is_alone and not any(one.are_left() for one in traces)))
                results.note(number, reply)
            else:
                send(_SKIPPED)


def _lessons_for(bundle: Bundle, ask: Callable[[list[str]], Mapping[str, Frozen]]) -> list[Lesson]:
    found = lessons_for(bundle)
    if isinstance(found, Missing):
        # Once: who asked again and again would keep the driver busy for ever.
        found = lessons_for(bundle._replace(assets=ask(found.tokens)))
    if isinstance(found, Missing):
        raise RuntimeError("the driver did not send what this worker asked for; this is a mistake in Parman")
    return found


@contextmanager
def _spares_of(bundle: Bundle) -> Iterator[None]:
    """Let results be written to the spare files that came with a bundle."""
    if not bundle.spares:
        yield
        return
    while bundle.spares:
        bundle.spares.pop().surrender()
    try:
        yield
    finally:
        drop_spares()


def _emptying(items: list[Item]) -> Iterator[tuple[int, Item]]:
    items.reverse()
    number = 0
    while items:
        yield number, items.pop()
        number += 1


def _run(item: Item, lesson: Lesson, where: str) -> Reply:
    definition = lesson.definition
    try:
        structure = lesson.structure_of(item.structure)
    except BaseException as exception:
        return not_loaded(exception, where)
    outcome = perform(
        definition,
        lambda: _take_arguments(item),
        structure,
        where,
        late=item.late,
        check=item.check,
    )
    return reply_of(outcome, definition.name)


def _take_arguments(item: Item) -> dict[str, Any]:
    if type(item.arguments) is dict:
        return item.arguments
    values = [value.load() if isinstance(value, PackedException) else value for value in item.values]
    item.values.clear()
    arguments: dict[str, Any] = item.arguments.thaw(values)  # type: ignore[union-attr]
    return arguments


class _Results:
    """The results that later calls of a bundle need."""

    def __init__(self, items: list[Item]) -> None:
        self._last: dict[int, int] = {}
        for number, item in enumerate(items):
            for value in item.values:
                if type(value) is Result:
                    self._last[value.call] = number
        self._known: dict[int, list[Any]] = {}

    def put_into(self, values: list[Any]) -> bool:
        """Replace the numbers of results by what they are; false if one of them failed."""
        for i, value in enumerate(values):
            if type(value) is Result:
                if value.call not in self._known:
                    return False
                values[i] = self._known[value.call][value.leaf]
        return True

    def note(self, number: int, reply: Reply) -> None:
        """Keep what is needed, and forget what no call needs any more."""
        if not self._last:
            return
        if number in self._last and reply.values is not None:
            self._known[number] = reply.values
        for call in [call for call in self._known if self._last[call] <= number]:
            del self._known[call]


def _message(duration: float, reply: Reply, lets_go: bool = False) -> Message:
    """Make the message that tells how a call ended.

    Parameters
    ----------
    duration
        How long it took [s].
    reply
        How it ended.
    lets_go
        Whether this process uses none of the memory files any more that the bundle brought; and none of those in the
        reply, once this is sent.
    """
    content = (duration, *reply, lets_go)
    if any(isinstance(value, Frozen) and value.beside for value in reply.values or ()):
        return pack(Kind.OUTCOME, content)
    return Message(Kind.OUTCOME, pickle.dumps(content, protocol=5), [])


_SKIPPED = Message(Kind.OUTCOME, pickle.dumps(None, protocol=5), [])


def item_arguments(frozen: Frozen) -> Frozen | dict[str, Any]:
    """Return the arguments in the form in which they go into an item."""
    return frozen.value if type(frozen) is FrozenAtoms and not frozen.places else frozen  # type: ignore[return-value]
