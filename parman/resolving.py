# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a script does with results: wait for them, take them as they come, or give them up.

All of this works on plain values as well, at once, so that a script is the same on every runner and without a block.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, overload

from .dispatching import Dispatcher, exception_of
from .failures import shorten
from .following import Following, entries_of
from .frozen import with_fields
from .gathering import gather, map_gathered
from .lateness import too_late
from .promises import Promise
from .shares import any_shared, opened
from .signals import take
from .trees import StandIn, futures_in_row
from .waiting import WaitFuture

__all__ = ["as_future", "as_resolved", "cancel", "resolve"]

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
    gathered = gather(tree, "resolve")
    futures = gathered.futures
    if not futures:
        return map_gathered(opened, tree) if gathered.views or any_shared() else tree
    deadline = None if timeout is None else time.monotonic() + timeout

    def value_of(leaf: Any) -> Any:
        if isinstance(leaf, StandIn):
            return _whole(leaf, value_of)
        if not isinstance(leaf, Future):
            return opened(leaf)
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
        resolved: T = _map_row(value_of, tree) if futures_in_row(tree) else map_gathered(value_of, tree)
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
                if not isinstance(future, Promise):
                    break  # it may have failed, which ends all waiting; what comes after is waited for in order
                with self._lock:
                    self._left += 1
                told.append(future)
                if not future.tell(self):
                    self._end_of(future)
            self.add_result(None)
            take(self._bell, timeout)
        except Empty:
            pass
        finally:
            for future in told:
                if future.is_open():
                    future.tell_no_more(self)

    def _end_of(self, future: Promise) -> None:
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
    if isinstance(tree, StandIn) and len(futures) == 1:
        return futures[0]
    future = _TreeFuture(tree, futures)
    future._start(futures)
    return future


class _TreeFuture(WaitFuture[Any]):
    """The future of a tree: who asks how it ended has seen how the calls ended that it waits for."""

    def __init__(self, tree: Any, futures: list[Future[Any]]) -> None:
        super().__init__(_dispatcher_of(futures), lambda *_: resolve(tree))
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


def _dispatcher_of(futures: list[Future[Any]]) -> Dispatcher:
    """Return that of a runner, if there is one: a thread for each tree would be too many."""
    for future in futures:
        if isinstance(future, Promise):
            return future.dispatcher
    return Dispatcher()


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
    cancelled = [f.cancel_with_causes(end=False) if isinstance(f, Promise) else f.cancel() for f in futures]
    for future, is_cancelled in zip(futures, cancelled, strict=True):
        if not is_cancelled and isinstance(future, Promise):  # after the others, lest one of them starts in its place
            future.cancel_with_causes()
    return all(cancelled)
