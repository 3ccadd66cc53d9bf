# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls of a submit function that wait for futures first.

    waiting ── dependencies done ──> submitting ── user_submit returned ──> following ── inner future done ──> done
       │                                                                        │
     cancel(): at once               cancel(): False                          cancel(): what the inner future says

Both waits are those of one `Gate`: first for the dependencies, then for the future that `user_submit` returned. As in
`wait_graph`, the steps are taken by one thread, which only ever looks at the next event.

A scheduler keeps the set of its unfinished futures, so that leaving it can wait for those too that the user dropped,
and cancel those that wait for something that never comes. A future leaves the set when its callbacks have run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures._base import PENDING, RUNNING
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Generic, Self, TypeVar

from .loop import EventLoop, LoopFuture, SlimCondition, exception_of, result_of
from .wait_graph import Gate, Node, check_dependencies

__all__ = ["ScheduledFuture", "Scheduler"]

T = TypeVar("T")

_NO_KWARGS: Mapping[str, Any] = MappingProxyType({})
_CLOSED = "this Scheduler was shut down: submit inside its with block, or before shutdown()"
_OWN_THREAD = "a callback, digest or user_submit of this Scheduler can't wait for its end: use shutdown(wait=False)"


class _Unfinished(Generic[T]):
    """The futures of a scheduler that are not done, and who waits for the last of them."""

    __slots__ = ("_changed", "_closed", "_futures")

    def __init__(self) -> None:
        self._changed = SlimCondition()
        self._futures: set[ScheduledFuture[T]] = set()
        self._closed = False

    def add(self, future: ScheduledFuture[T]) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeError(_CLOSED)
            self._futures.add(future)

    def discard(self, future: ScheduledFuture[T]) -> None:
        with self._changed:
            self._futures.discard(future)
            if not self._futures:
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True

    def cancel(self) -> None:
        with self._changed:
            futures = list(self._futures)
        for future in futures:
            future._cancel_unsubmitted()

    def wait(self) -> None:
        with self._changed:
            while self._futures:
                self._changed.wait()


class _Submission(Gate):
    """A `ScheduledFuture` that waits for its dependencies."""

    __slots__ = ("_call",)
    future: ScheduledFuture[Any] | None

    def __init__(self, event_loop: EventLoop, future: ScheduledFuture[Any], call: Callable[[], Future[Any]]) -> None:
        super().__init__(event_loop, future)
        self._call: Callable[[], Future[Any]] | None = call

    def go_on(self) -> None:
        call, self._call = self._call, None
        assert call is not None
        try:
            inner = call()
        finally:
            del call  # an exception may keep this frame
        if not isinstance(inner, Future):
            raise TypeError(f"user_submit must return a concurrent.futures.Future, but returned {_kind(inner)}")
        if self.future is not None:
            self.future._follow(inner)

    def close(self) -> None:
        super().close()
        self._call = None


class _Following(Node):
    """A `ScheduledFuture` that takes over what the future of its call becomes."""

    __slots__ = ("_future", "_inner")

    def __init__(self, event_loop: EventLoop, future: ScheduledFuture[Any], inner: Future[Any]) -> None:
        super().__init__(event_loop)
        self._future: ScheduledFuture[Any] | None = future
        self._inner: Future[Any] | None = inner

    def ready(self) -> None:
        future, inner = self._future, self._inner
        if future is None or inner is None:
            return
        if inner.cancelled():
            future._drop()
        elif (exception := exception_of(inner)) is not None:
            future._fail(exception)
        else:
            future._succeed(result_of(inner))

    def failed(self, exception: BaseException) -> None:
        if self._future is not None:
            self._future._fail(exception)

    def close(self) -> None:
        self.unwatch()
        self._future = self._inner = None


class ScheduledFuture(LoopFuture[T]):
    """The future of a call that is submitted after its dependencies; made by `Scheduler.submit`.

    Callbacks run on the thread of the scheduler, one after another: they must be short, and must not wait for a future
    of the same scheduler.
    """

    __slots__ = ("_claimed", "_inner", "_node", "_unfinished")

    def __init__(self, event_loop: EventLoop, unfinished: _Unfinished[T], call: Callable[[], Future[T]]) -> None:
        super().__init__(event_loop)
        self._node: _Submission | _Following | None = _Submission(event_loop, self, call)
        self._unfinished: _Unfinished[T] | None = unfinished
        self._inner: Future[T] | None = None
        self._claimed = False

    def cancel(self) -> bool:
        """Cancel, and return whether the future is cancelled now.

        Before the submission this always succeeds. After it the future that `user_submit` returned is asked, which
        refuses when it runs already; then nothing changes. During the submission it is too late.
        """
        with self._condition:
            if not self._claimed:
                return super().cancel()
            inner, node = self._inner, self._node
        if inner is None or node is None:
            return self.cancelled()
        try:
            agreed = _ask_to_cancel(inner)
        finally:
            # A Ctrl-C in there may have cut off the callback that would tell us.
            node.event_loop.post(node.advance)
        if agreed:
            self._give_up()
        return self.cancelled()

    def running(self) -> bool:
        """Return whether the submitted call is known to run."""
        inner = self._inner
        if inner is not None and inner.running():
            with self._condition:
                if self._state == PENDING:
                    self._state = RUNNING
        return super().running()

    def _give_up(self) -> None:
        with self._condition:
            if self._state in (PENDING, RUNNING):
                self._cancel_now()

    def _claim(self) -> bool:
        with self._condition:
            if self._state != PENDING:
                return False
            self._claimed = True
            return True

    def _start(self, dependencies: list[Future[Any]]) -> None:
        node, unfinished = self._node, self._unfinished
        assert node is not None
        assert unfinished is not None
        try:
            unfinished.add(self)
            node.watch(dependencies)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        inner = self._inner
        self._drop()
        self._release()
        if inner is not None:
            _ask_to_cancel(inner)

    def _follow(self, inner: Future[T]) -> None:
        event_loop = self._event_loop
        assert event_loop is not None
        node = _Following(event_loop, self, inner)
        with self._condition:
            self._node, self._inner = node, inner
        self.running()
        node.watch([inner])

    def _cancel_unsubmitted(self) -> None:
        with self._condition:
            event_loop = self._event_loop
            if event_loop is not None and not self._claimed:
                event_loop.start()  # `submit` may not have come to it yet
                super().cancel()

    def _release(self) -> None:
        super()._release()
        # Each reference is dropped after its use: a Ctrl-C in `submit` may come between, and then this is called again.
        node, unfinished = self._node, self._unfinished
        if node is not None:
            node.close()
        if unfinished is not None:
            unfinished.discard(self)
        self._node = self._unfinished = self._inner = None


class Scheduler(Generic[T]):
    """Calls a submit function, such as that of an executor, for each call whose dependencies are done.

    A scheduler is a context manager. Leaving it waits until all its futures are done, and raises nothing of theirs; an
    exception in the body first cancels those that are not submitted. A scheduler that is never left does no harm.

    Parameters
    ----------
    user_submit
        Called with the arguments of a call when its dependencies are done; returns a future. It must be short: it runs
        on the thread of the scheduler, or in `submit` if the dependencies are done already.

    Raises
    ------
    TypeError
        If `user_submit` can't be called.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from parman import Scheduler
    >>> with ThreadPoolExecutor() as executor, Scheduler(executor.submit) as scheduler:
    ...     first = scheduler.submit([print, "first"])
    ...     second = scheduler.submit([print, "second"], dependencies=[first])
    first
    second
    """

    def __init__(self, user_submit: Callable[..., Future[T]]) -> None:
        if not callable(user_submit):
            raise TypeError(f"user_submit must be a function that returns a future, not {_kind(user_submit)}")
        self._user_submit = user_submit
        self._event_loop: EventLoop | None = EventLoop()
        self._on_own_thread = self._event_loop.is_current
        self._unfinished = _Unfinished[T]()

    def submit(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] = _NO_KWARGS,
        dependencies: Iterable[Future[Any]] = (),
    ) -> ScheduledFuture[T]:
        """Return the future of `user_submit(*args, **kwargs)`, called when all dependencies are done; never wait.

        Parameters
        ----------
        args, kwargs
            The arguments of `user_submit`, passed on as they are. A future among them is not replaced by its result.
        dependencies
            Futures, from any iterable, which is consumed here; the same one may be in it several times.

        Returns
        -------
        future
            If dependencies failed it has the exception of the first of them, in their order, else if some were
            cancelled it is cancelled, else it becomes what the future that `user_submit` returns becomes, or has the
            exception that `user_submit` raised.

        Raises
        ------
        TypeError
            If a dependency is no `concurrent.futures.Future`.
        RuntimeError
            After `shutdown`.
        """
        futures = check_dependencies(dependencies)
        call = partial(self._user_submit, *args, **kwargs)
        event_loop = self._event_loop
        if event_loop is None:
            raise RuntimeError(_CLOSED)
        future = ScheduledFuture(event_loop, self._unfinished, call)
        future._start(futures)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls. May be called again.

        Parameters
        ----------
        wait
            Return when all futures are done and their callbacks have run. Ctrl-C cancels what is not submitted, and
            ends the waiting.
        cancel_futures
            Cancel what is not submitted.

        Raises
        ------
        RuntimeError
            For waiting on the scheduler's own thread, in a callback, digest or `user_submit`: it would never end.
        """
        if wait and self._on_own_thread():
            raise RuntimeError(_OWN_THREAD)
        self._unfinished.close()
        self._event_loop = None  # its thread ends when the last future is done
        if cancel_futures:
            self._unfinished.cancel()
        if wait:
            self._wait()

    def _wait(self) -> None:
        try:
            self._unfinished.wait()
        except BaseException:
            self._unfinished.cancel()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=exception is not None)


def _ask_to_cancel(future: Future[Any]) -> bool:
    try:
        return future.cancel()
    except NotImplementedError:  # futures of some engines can't
        return False


def _kind(value: object) -> str:
    return type(value).__qualname__
