# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a script does with results: wait for them, take them as they come, or give them up.

All of this works on plain values as well, at once, so that a script is the same on every runner and without a block.

`as_resolved` gives the items of a list or dict in the order in which they finish, while the script goes on changing it:
active learning adds an item for each that comes. Python's own loop over a list follows what is appended, and its loop
over a dict that changes is an error; nothing is ever left out. So here as well: after each step the end of the list or
dict is looked at, which costs nothing; whenever nothing has finished for a while, and before the loop ends, all of it.
The time between two such looks grows with what they cost.

What a loop waits for it gives up when it is left, however that happens: nothing of it stays with a call that runs for
long, and no thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MutableSequence, Sequence, Sized
from concurrent.futures import CancelledError, Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, overload

from .errors import HiddenFutureError
from .futures.future import CallFuture, too_late
from .futures.gather import gather, map_gathered
from .futures.loop import EventLoop, exception_of
from .futures.wait_graph import WaitFuture, refuse_to_wait
from .lifecycle import interruptible_get
from .snapshots.exceptions import shorten
from .snapshots.share import any_shared, unshared
from .snapshots.snapshot import with_fields
from .trees.nodes import Placeholder, short_repr
from .trees.walk import futures_if_flat

__all__ = ["Entries", "Following", "as_future", "as_resolved", "cancel", "entries_of", "resolve"]

_GONE: Any = object()
_LOOK_AGAIN = 0.1
"""How long nothing has to finish until everything is looked at again [s]."""
_SHARE = 50
"""How much longer than such a look the time is until the next one."""

_ATTEMPTS = 100
"""How often a dict to which other threads add is read until it holds still."""


class Entries:
    """A collection by its keys, as it is at any time."""

    def get(self, key: Any) -> Any:
        """Return what is there, `_GONE` if nothing is."""
        raise NotImplementedError

    def at_end(self, known: Mapping[Any, Any]) -> list[tuple[Hashable, Any]]:
        """Return what is at the end and not known, as far as that is seen at a glance."""
        raise NotImplementedError

    def all(self) -> list[tuple[Hashable, Any]]:
        """Return all that is there now."""
        raise NotImplementedError


class _InList(Entries):
    def __init__(self, items: MutableSequence[Any]) -> None:
        self.items = items

    def get(self, key: Any) -> Any:
        try:
            return self.items[key]
        except IndexError:
            raise self.error("became shorter") from None

    def error(self, what: str) -> RuntimeError:
        kind = type(self.items).__name__
        return RuntimeError(f"the {kind} {what} while as_resolved() went on: give it a dict, whose items have names")

    def at_end(self, known: Mapping[Any, Any]) -> list[tuple[Hashable, Any]]:
        count = len(self.items)
        if count < len(known):
            raise self.error("became shorter")
        return [(position, self.items[position]) for position in range(len(known), count)]

    def all(self) -> list[tuple[Hashable, Any]]:
        return list(enumerate(list(self.items)))


class _InMapping(Entries):
    def __init__(self, items: Mapping[Any, Any]) -> None:
        self.items = items

    def get(self, key: Any) -> Any:
        return dict.get(self.items, key, _GONE) if isinstance(self.items, dict) else self.items.get(key, _GONE)

    def at_end(self, known: Mapping[Any, Any]) -> list[tuple[Hashable, Any]]:
        if not isinstance(self.items, dict):
            return [(key, tree) for key, tree in self.all() if key not in known] if len(self.items) > len(known) else []
        added: list[tuple[Hashable, Any]] = []
        try:
            for key in dict.__reversed__(self.items):  # new keys are at the end
                if key in known:
                    break
                added.append((key, dict.__getitem__(self.items, key)))
        except (RuntimeError, KeyError):  # another thread is adding
            return [(key, tree) for key, tree in self.all() if key not in known]
        return added[::-1]

    def all(self) -> list[tuple[Hashable, Any]]:
        for _ in range(_ATTEMPTS):
            try:
                return list(self.items.items())
            except RuntimeError:  # another thread has added a key meanwhile
                continue
        return list(self.items.items())


class _Fixed(Entries):
    """A collection that can't be followed: a change of its size is an error, as in a loop over it."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = items
        self.first = list(items)
        self.size = len(items) if isinstance(items, Sized) else 0

    def get(self, key: Any) -> Any:
        return self.first[key]

    def at_end(self, known: Mapping[Any, Any]) -> list[tuple[Hashable, Any]]:
        if isinstance(self.items, Sized) and len(self.items) != self.size:
            kind = type(self.items).__name__
            raise RuntimeError(f"the {kind} changed while as_resolved() went on: give it a list or dict, to add to")
        return []

    def all(self) -> list[tuple[Hashable, Any]]:
        return list(enumerate(self.first))


def entries_of(trees: Any) -> Entries:
    """Return a list or dict, or anything that can be looped over, by its keys."""
    if isinstance(trees, Mapping):
        return _InMapping(trees)
    return _InList(trees) if isinstance(trees, MutableSequence) else _Fixed(trees)


class Following:
    """One loop over the items of a collection as they finish.

    Parameters
    ----------
    entries
        The collection.
    """

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.event_loop = EventLoop()
        self.finished: SimpleQueue[tuple[Hashable, object]] = SimpleQueue()
        # What was met, by key, and that of it which has not come yet.
        self.known: dict[Hashable, Any] = {}
        self.waiting: dict[Hashable, Any] = {}
        # What puts a key into the queue, as long as it is waited for.
        self.waits: dict[Hashable, object] = {}
        self.patience = _LOOK_AGAIN
        self.add(entries.all())

    def add(self, entries: Iterable[tuple[Hashable, Any]]) -> None:
        """Wait for these."""
        for key, tree in entries:
            if isinstance(key, Future):
                raise HiddenFutureError(
                    "as_resolved() is given a dict whose keys are futures, and waits for its values: give it a dict "
                    "with the futures as values"
                )
            self.known[key] = tree
            self.wait_for(key, tree)

    def wait_for(self, key: Hashable, tree: Any) -> None:
        """Put a key into the queue when its tree is done."""
        self.give_up(key)
        futures = gather(tree, "as_resolved").futures
        if all(future.done() for future in futures):
            wait = object()
            self.finished.put((key, wait))
        else:
            refuse_to_wait(futures)
            wait = WaitFuture(_event_loop_of(futures) or self.event_loop, None)
            # Nothing that a call holds refers to this loop, which has to end when the user drops it.
            wait.add_done_callback(partial(_put, self.finished, key))
            wait._start(futures)
        self.waiting[key], self.waits[key] = tree, wait

    def give_up(self, key: Hashable) -> None:
        """Wait no more for what has this key."""
        self.waiting.pop(key, None)
        wait = self.waits.pop(key, None)
        if isinstance(wait, WaitFuture):
            wait.cancel_soon()

    def stop(self) -> None:
        """Wait for nothing any more."""
        for key in list(self.waits):
            self.give_up(key)
        self.event_loop = EventLoop()  # the thread of the other one ends, though an error may keep this

    __del__ = stop  # of an iterator that nobody ever looked at

    def run(self, timeout: float | None, value_of: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the items with their values, until all that is there has come; at most for so long [s]."""
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                self.add(self.entries.at_end(self.known))
                if not self.waiting and not self.look_again():
                    return
                key = self.next_finished(deadline, timeout)
                if key is not _GONE:
                    tree = self.waiting[key]
                    self.give_up(key)
                    yield key, value_of(tree)
                    self.check(key, tree)
        finally:
            self.stop()

    def next_finished(self, deadline: float | None, timeout: float | None) -> Any:
        """Return a key whose tree is done and still there; `_GONE` if one has to look again."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            key, wait = interruptible_get(self.finished, self.patience if left is None else min(left, self.patience))
        except Empty:
            if left is not None and left <= self.patience:
                raise self.too_late(timeout) from None
            self.look_again()
            return _GONE
        if self.waits.get(key) is not wait:
            return _GONE  # it was replaced or removed
        return key if self.is_there(key, self.waiting[key]) else _GONE

    def too_late(self, timeout: float | None) -> TimeoutError:
        """Make the error that says what was waited for."""
        futures = [future for tree in self.known.values() for future in gather(tree, "as_resolved").futures]
        return too_late(futures, timeout, (len(self.waiting), len(self.known)))

    def is_there(self, key: Hashable, tree: Any) -> bool:
        """Tell whether an item is as it was; else wait for what has taken its place, or for nothing."""
        there = self.entries.get(key)
        if there is tree:
            return True
        if there is _GONE:
            self.give_up(key)
            del self.known[key]
        else:
            self.check_moved(there)
            self.known[key] = there
            self.wait_for(key, there)
        return False

    def check_moved(self, tree: Any) -> None:
        """Raise an error if an item of a list with futures has another position than before."""
        if isinstance(self.entries, _InList) and any(tree is known for known in self.known.values()) and _waits(tree):
            raise self.entries.error("was reordered")

    def check(self, key: Hashable, tree: Any) -> None:
        """Raise an error if what has come was replaced by what has to be waited for; forget it if it was removed."""
        there = self.entries.get(key)
        if there is _GONE:
            del self.known[key]
        elif there is not tree:
            if _waits(there):
                self.check_moved(there)
                raise RuntimeError(
                    f"the item {short_repr(key)} has come in as_resolved(), and was replaced by another one that has "
                    "to be waited for: add it with a key of its own, so that it comes as well"
                )
            self.known[key] = there  # so that what was there can go

    def look_again(self) -> bool:
        """Look at everything that is there; tell whether anything has to be waited for."""
        start = time.monotonic()
        there = dict(self.entries.all())
        for key, tree in list(self.waiting.items()):
            if there.get(key, _GONE) is not tree:
                self.is_there(key, tree)
        for key, tree in there.items():
            if key not in self.known:
                self.add([(key, tree)])
            elif key not in self.waiting and tree is not self.known[key]:
                self.check(key, self.known[key])
        self.patience = max(_LOOK_AGAIN, _SHARE * (time.monotonic() - start))
        return bool(self.waiting)


def _put(finished: SimpleQueue[tuple[Hashable, object]], key: Hashable, wait: object) -> None:
    finished.put((key, wait))


def _waits(tree: Any) -> bool:
    """Tell whether there are futures in a tree."""
    return bool(gather(tree, "as_resolved").futures)


T = TypeVar("T")


def resolve(tree: T, timeout: float | None = None, return_exceptions: bool = False) -> T:
    """Wait for all futures in a tree and return the tree with their values.

    Parameters
    ----------
    tree
        Nested lists, tuples, dicts, deques, sets, arrays of objects, ... with futures. A view of a dict becomes a list.
        Anything else is returned as it is.
    timeout
        How long to wait for all of them together [s]; without it, as long as it takes.
    return_exceptions
        Put exceptions in place of the values of failed and cancelled calls, rather than to raise the first one.

    Returns
    -------
    The tree with plain values. If there are no futures in it, the very tree.

    Raises
    ------
    TypeError
        There is an iterator in the tree, or a future where it can't be replaced by its value.
    TimeoutError
        Not everything was done in time.
    Exception
        That of the first failed future in the tree, from left to right.
    """
    if isinstance(tree, Future):
        futures: list[Future[Any]] = [tree]
    else:
        gathered = gather(tree, "resolve")
        futures = gathered.futures
        if not futures:
            return map_gathered(unshared, tree) if gathered.views or any_shared() else tree
    deadline = None if timeout is None else time.monotonic() + timeout

    def value_of(leaf: Any) -> Any:
        if isinstance(leaf, Placeholder):
            return _whole(leaf, value_of)
        if not isinstance(leaf, Future):
            return unshared(leaf)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return _outcome(leaf, left) if return_exceptions else leaf.result(left)
        except TimeoutError as error:
            if left is None or _is_of_task(error, leaf):
                raise
        raise _Late  # this function, which knows itself, must not hold the futures

    try:
        if len(futures) > 1:
            _Countdown(return_exceptions).wait(futures, timeout)
        if isinstance(tree, Future):
            resolved: T = value_of(tree)
        else:
            resolved = _map_row(value_of, tree) if futures_if_flat(tree) else map_gathered(value_of, tree)
    except _Late:
        raise too_late(futures, timeout) from None
    except Exception as error:
        shorten(error)
        raise
    return resolved


class _Late(Exception):
    """Something is not done in time."""


def _is_of_task(error: TimeoutError, future: Future[Any]) -> bool:
    """Tell whether a future has failed with this error, rather than to say by it that it takes too long."""
    return future.done() and not future.cancelled() and exception_of(future) is error


def _map_row(value_of: Callable[[Any], Any], tree: Any) -> Any:
    """Do as `map_leaves` for a list or tuple of futures, numbers and the like."""
    items = [value_of(item) if isinstance(item, Future) else item for item in tree]
    return items if type(tree) is list else tuple(items)


class _Countdown:
    """Wakes who waits for many futures once: when all have succeeded, or one has not.

    To wait for one after another would wake the waiting thread for each, which costs as much as a short call.

    Parameters
    ----------
    any_end
        A failure is as good as a success.
    """

    def __init__(self, any_end: bool) -> None:
        self._any_end = any_end
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.RLock()
        # The number of futures that have not succeeded, and one more as long as not all of them are known.
        self._left = 1

    def wait(self, futures: list[Future[Any]], timeout: float | None) -> None:
        """Wait until nobody need wait for those of ours that come first, or one has failed; at most `timeout` [s]."""
        told = []
        try:
            for future in futures:
                if not isinstance(future, CallFuture):
                    break  # it may have failed, which ends all waiting; what comes after is waited for in order
                with self._lock:
                    self._left += 1
                told.append(future)
                if not future.add_waiter(self):
                    self._end_of(future)
            self.add_result(None)
            interruptible_get(self._bell, timeout)
        except Empty:
            pass
        finally:
            for future in told:
                if future.is_open():
                    future.remove_waiter(self)

    def _end_of(self, future: CallFuture) -> None:
        if future.cancelled() or future.failure is not None:
            self.add_exception(future)
        else:
            self.add_result(future)

    # --- what futures call, under their condition ---

    def add_result(self, _future: object) -> None:
        """Count a success."""
        with self._lock:
            self._left -= 1
            is_over = self._left == 0
        if is_over:
            self._bell.put(None)

    def add_exception(self, future: object) -> None:
        """Count a failure, or ring at once."""
        if self._any_end:
            self.add_result(future)
        else:
            self._bell.put(None)

    def add_cancelled(self, future: object) -> None:
        """Count a cancellation, or ring at once."""
        self.add_exception(future)


def _outcome(future: Future[Any], timeout: float | None) -> Any:
    """Return the value, or the exception, whatever its type; of a call that takes too long, raise `TimeoutError`."""
    try:
        exception = future.exception(timeout)
    except CancelledError as cancelled:
        return cancelled
    return future.result() if exception is None else exception


def _whole(leaf: Any, value_of: Callable[[Any], Any]) -> Any:
    whole, changes = leaf._parman_pass()
    value = value_of(whole)
    if isinstance(value, BaseException):
        return value
    return with_fields(value, {name: map_gathered(value_of, change) for name, change in changes.items()})


def as_resolved(
    trees: Sequence[Any] | Mapping[Any, Any], timeout: float | None = None, return_exceptions: bool = False
) -> Iterator[tuple[Any, Any]]:
    """Yield the items of a list or dict of results in the order in which they finish.

    Parameters
    ----------
    trees
        A list (or tuple) or a dict, each item of which is a tree with futures. What is added to it while the loop goes
        on comes in the loop, too. An item that is replaced before it has come comes as what is there instead; a key
        that is removed before does not come.
    timeout
        How long to wait for all of them together [s].
    return_exceptions
        As for `resolve`.

    Yields
    ------
    key : int or any key of the dict
        Which item it is.
    value
        Its plain value.

    Raises
    ------
    TimeoutError
        Not everything was done in time.
    RuntimeError
        An item that has come was replaced by what has to be waited for (give it a new key), items of a list were moved
        or removed, or a collection of another kind, such as a set, has changed.
    Exception
        That of an item that failed; the iterator can't go on after it.
    """
    return Following(entries_of(trees)).run(timeout, lambda tree: resolve(tree, return_exceptions=return_exceptions))


@overload
def as_future(tree: Future[T]) -> Future[T]: ...


@overload
def as_future(tree: T) -> Future[T]: ...


def as_future(tree: Any) -> Future[Any]:
    """Return a future of a tree: itself if it is one, a finished one for a plain value.

    Parameters
    ----------
    tree
        A future, a tree with futures, or a plain value.
    """
    if isinstance(tree, Future):
        return tree
    gathered = gather(tree, "as_future")
    futures = gathered.futures
    if gathered.views:
        tree = map_gathered(lambda leaf: leaf, tree)  # the dict of a view may change until then
    if isinstance(tree, Placeholder) and len(futures) == 1:
        return futures[0]
    future = _TreeFuture(tree, futures)
    future._start(futures)
    return future


class _TreeFuture(WaitFuture[Any]):
    """The future of a tree: who asks how it ended has seen how the calls ended that it waits for."""

    def __init__(self, tree: Any, futures: list[Future[Any]]) -> None:
        super().__init__(_event_loop_of(futures) or EventLoop(), lambda *_: resolve(tree))
        self._sources = futures

    @property
    def needs(self) -> list[Future[Any]]:
        """The futures of the tree."""
        return self._sources

    def _retrieve(self) -> None:
        for source in self._sources:
            if source.done() and not source.cancelled():
                source.exception()

    def result(self, timeout: float | None = None) -> Any:
        """Return the tree with plain values."""
        try:
            result = super().result(timeout)
        except TimeoutError as error:
            if not _is_of_task(error, self):
                raise too_late(self._sources, timeout) from None
            self._retrieve()
            raise
        except BaseException:
            if self.done():
                self._retrieve()
            raise
        self._sources = []
        return result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception of the first failed future of the tree."""
        try:
            exception = super().exception(timeout)
        except TimeoutError:
            raise too_late(self._sources, timeout) from None
        self._retrieve()
        return exception


def _event_loop_of(futures: list[Future[Any]]) -> EventLoop | None:
    """Return that of the runner that all of them are of, if they are: a thread for each tree would be too many.

    None if some are of others: these may end when the runner is closed, and its thread with it.
    """
    found: EventLoop | None = None
    for future in futures:
        if not isinstance(future, CallFuture) or found not in (None, future.event_loop):
            return None
        found = future.event_loop
    return found


def cancel(tree: Any) -> bool:
    """Cancel the calls that the futures in a tree belong to, and the calls before them that no other call needs.

    Parameters
    ----------
    tree
        Anything with futures in it; plain values are passed over.

    Returns
    -------
    bool
        Whether all futures in the tree are cancelled. Calls that have started go on; the scripts of jobs are ended.
    """
    futures = gather(tree, "cancel").futures
    cancelled = [f.cancel_with_causes(end=False) if isinstance(f, CallFuture) else f.cancel() for f in futures]
    for future, is_cancelled in zip(futures, cancelled, strict=True):
        if not is_cancelled and isinstance(
            future, CallFuture
        ):  # after the others, lest one of them starts in its place
            future.cancel_with_causes()
    return all(cancelled)
