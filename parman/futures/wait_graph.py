# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Futures that wait for other futures, without threads that wait and without recursion.

    any thread                                        one daemon thread
    ----------                                        -----------------
    a dependency finishes -> Link ──post──┐
    submit (something is unfinished) ─────┼─> queue ──> Node: look at the next dependency
    cancel() sets the state ──────────────┘                   ├ unfinished: ask it to call the Link
                                                              └ none left: ready() -> result, exception, cancellation

A callback only posts an event to the event loop. Everything else is done by its thread, one event after another:
chains of any length need no stack, and what waits needs hardly a lock.

A node attends to one dependency at a time, in their order, since it has to outlast all of them anyway. So it owns one
callback at most, however wide it is, and events may come twice without harm: there is nothing to count.

A callback can't be taken back. So a node that is cancelled leaves an empty link with its dependency, and those are
cleared out whenever the callbacks there have doubled in number: a script that polls, or looks again and again at what
has finished first, piles up nothing on the one call that takes long.

The alternative, a digest that runs in the callback of the last dependency, overflows the stack after a few hundred
futures that finish each other, and leaves it to chance which thread runs what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from types import FrameType
from typing import Any, TypeVar, overload

from .loop import EventLoop, LoopFuture, exception_of, result_of

__all__ = [
    "Clearable",
    "Gate",
    "Node",
    "WaitFuture",
    "WaitGraph",
    "check_dependencies",
    "clear_out",
    "refuse_to_wait",
    "wait_for",
]

T = TypeVar("T")

_FEW = 8
"""Callbacks among which nobody looks for empty links."""


def check_dependencies(dependencies: Iterable[Future[Any]]) -> list[Future[Any]]:
    """Return the dependencies as a list.

    Raises
    ------
    TypeError
        If they can't be iterated over, or one of them is no `concurrent.futures.Future`.
    """
    if not isinstance(dependencies, Iterable) or isinstance(dependencies, Future):
        kind = type(dependencies).__qualname__
        raise TypeError(f"dependencies must be an iterable of futures, not {kind}: for a single one pass [future]")
    futures = list(dependencies)
    for position, future in enumerate(futures):
        if not isinstance(future, Future):
            kind = f"{type(future).__module__}.{type(future).__qualname__}".removeprefix("builtins.")
            raise TypeError(f"dependencies[{position}] is of type {kind}: each must be a concurrent.futures.Future")
    return futures


class Clearable:
    """A callback of ours that may come to nothing before the future is done that holds it; see `clear_out`."""

    __slots__ = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing would happen if it were called."""
        raise NotImplementedError


class _Link(Clearable):
    """The callback that a dependency holds, also after it is done: it forgets its node when that is ready."""

    __slots__ = ("node", "watched")

    @property
    def is_empty(self) -> bool:
        return self.node is None

    def __init__(self, node: Node) -> None:
        self.node: Node | None = node
        self.watched: Future[Any] | None = None

    def __call__(self, _future: Future[Any]) -> None:
        node = self.node
        if node is not None:
            node.event_loop.post(node.advance)


class Node:
    """Something that waits for futures.

    A subclass says what happens in `ready`, `collect` and `failed`. They are called in the event loop, or in
    `watch` by its caller when all dependencies are done already.
    """

    __slots__ = ("_link", "_rest", "event_loop")

    def __init__(self, event_loop: EventLoop) -> None:
        self.event_loop = event_loop
        self._rest: list[Future[Any]] | None = None
        self._link: _Link | None = None

    def watch(self, dependencies: list[Future[Any]]) -> None:
        """Call `ready` once, as soon as all dependencies are done; at once if they are.

        What `collect` and `ready` raise goes to `failed`, but for a KeyboardInterrupt in the caller's thread, which is
        raised here: then it is for the caller to give up what was to be done. May be called again by `ready`.

        Raises
        ------
        RuntimeError
            If a thread is needed and can't be started.
        """
        if not _all_done(dependencies):
            self.event_loop.start()
        self._rest = dependencies[::-1]
        try:
            self._scan()
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            self.failed(_without_our_frames(exc))

    def unwatch(self) -> None:
        """Forget the dependencies; `ready` will not be called."""
        self._rest = None
        if self._link is not None:
            self._link.node = self._link.watched = None
            self._link = None

    def collect(self, dependency: Future[Any]) -> None:
        """Take what is needed of a dependency that is done; called in the order of the dependencies."""

    def ready(self) -> None:
        """Go on; all dependencies are done."""
        raise NotImplementedError

    def failed(self, exception: BaseException) -> None:
        """Give up; `collect` or `ready` raised, or a dependency misbehaved."""
        raise exception

    def advance(self) -> None:
        """Look at the dependencies that are left. This is the event that dependencies post."""
        try:
            self._scan()
        except BaseException as exc:
            self.unwatch()
            self.failed(_without_our_frames(exc))

    def _scan(self) -> None:
        # A local name, since `unwatch` may be called by the event loop while `watch` is here in another thread.
        # Otherwise only one thread is here: the caller of `watch` does nothing more once a dependency has the link.
        rest = self._rest
        if rest is None:
            return
        while rest:
            if not rest[-1].done():
                self._attend(rest[-1])
                return
            self.collect(rest.pop())
        del rest
        self.unwatch()
        self.ready()

    def _attend(self, dependency: Future[Any]) -> None:
        link = self._link
        if link is None:
            link = self._link = _Link(self)
        if link.watched is not dependency:
            link.watched = dependency
            dependency.add_done_callback(link)
            clear_out(dependency)


def clear_out(future: Future[Any]) -> None:
    """Take the empty ones out of its callbacks if these may be twice as many as when this was done before."""
    callbacks: Any = getattr(future, "_done_callbacks", None)
    if not isinstance(callbacks, list) or len(callbacks) < _FEW or len(callbacks).bit_count() > 1:
        return
    with future._condition:
        if not future.done():  # else they are being called
            callbacks[:] = [one for one in callbacks if not (isinstance(one, Clearable) and one.is_empty)]


def _all_done(futures: list[Future[Any]]) -> bool:
    # No generator: a Ctrl-C in it would be lost when it is closed.
    for future in futures:  # noqa: SIM110
        if not future.done():
            return False
    return True


def _without_our_frames(exception: BaseException) -> BaseException:
    """Cut off the outer frames of this package, which say nothing to the user and keep alive what they refer to."""
    traceback = exception.__traceback__
    while traceback is not None and traceback.tb_next is not None and _is_ours(traceback.tb_frame):
        traceback = traceback.tb_next
    return exception.with_traceback(traceback)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("parman.")


class Gate(Node):
    """A node that hands the failure or cancellation of its dependencies on to a future, or else goes on.

    The exception is that of the first failed dependency, in their order. Without one, a cancelled dependency cancels.
    """

    __slots__ = ("_cancelled", "_failure", "future")

    def __init__(self, event_loop: EventLoop, future: LoopFuture[Any]) -> None:
        super().__init__(event_loop)
        self.future: LoopFuture[Any] | None = future
        self._failure: BaseException | None = None
        self._cancelled = False

    @property
    def open(self) -> bool:
        """Whether all dependencies collected up to now succeeded."""
        return self._failure is None and not self._cancelled

    def collect(self, dependency: Future[Any]) -> None:
        """Note a failure or cancellation."""
        if self._failure is not None:
            return
        if dependency.cancelled():
            self._cancelled = True
        else:
            self._failure = exception_of(dependency)

    def ready(self) -> None:
        """Finish the future if a dependency failed or was cancelled, else go on."""
        future = self.future
        if future is None:
            return
        if self._failure is not None:
            future._fail(self._failure)
        elif self._cancelled:
            future._drop()
        elif future._claim():
            del future  # this frame may end up in the traceback of an exception that the future holds
            self.go_on()

    def go_on(self) -> None:
        """Do what waited for the dependencies; all of them succeeded, and the future can't be cancelled any more."""
        raise NotImplementedError

    def failed(self, exception: BaseException) -> None:
        """Finish the future with the exception."""
        if self.future is not None:
            self.future._fail(exception)

    def close(self) -> None:
        """Let go of everything; the future is done."""
        self.unwatch()
        self.future = self._failure = None


class _Wait(Gate):
    """What a `WaitFuture` is while it waits."""

    __slots__ = ("_digest", "_results")

    def __init__(self, event_loop: EventLoop, future: WaitFuture[Any], digest: Callable[..., object] | None) -> None:
        super().__init__(event_loop, future)
        self._digest = digest
        self._results: list[Any] = []

    def collect(self, dependency: Future[Any]) -> None:
        super().collect(dependency)
        if not self.open:
            self._results = []
        elif self._digest is not None:
            self._results.append(result_of(dependency))

    def go_on(self) -> None:
        digest, self._digest = self._digest, None
        results, self._results = self._results, []
        try:
            result = None if digest is None else digest(*results)
        finally:
            del digest, results  # an exception may keep this frame
        if self.future is not None:
            self.future._succeed(result)

    def close(self) -> None:
        super().close()
        self._digest = None
        self._results = []


class WaitFuture(LoopFuture[T]):
    """A future that is finished after its dependencies; made by `WaitGraph.submit`.

    It can be cancelled until all its dependencies are done. Callbacks run on the thread of the graph, one after
    another: a callback or digest must be short, and must not wait for a future of the same graph.
    """

    __slots__ = ("_node",)

    def __init__(self, event_loop: EventLoop, digest: Callable[..., T] | None) -> None:
        super().__init__(event_loop)
        self._node: _Wait | None = _Wait(event_loop, self, digest)

    def _start(self, dependencies: list[Future[Any]]) -> None:
        assert self._node is not None
        try:
            self._node.watch(dependencies)
        except BaseException:
            self._drop()
            raise

    def cancel_soon(self) -> None:
        """Have this cancelled in the event loop; may be called by a finalizer, which must not take locks."""
        event_loop = self._event_loop
        if event_loop is not None:
            event_loop.post(self.cancel)

    def _release(self) -> None:
        super()._release()
        node = self._node
        if node is not None:
            node.close()
        self._node = None


class WaitGraph:
    """Makes futures that wait for other futures.

    The futures may come from any executors, and from other graphs. A graph needs not be closed: its thread is started
    when first needed, and ends when neither the graph nor an unfinished future of it is left.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from parman import WaitGraph
    >>> with ThreadPoolExecutor() as executor:
    ...     squares = [executor.submit(pow, base, 2) for base in range(4)]
    ...     total = WaitGraph().submit(squares, lambda *results: sum(results))
    ...     total.result()
    14
    """

    def __init__(self) -> None:
        self._event_loop = EventLoop()

    @overload
    def submit(self, dependencies: Iterable[Future[Any]], digest: None = None) -> WaitFuture[None]: ...
    @overload
    def submit(self, dependencies: Iterable[Future[Any]], digest: Callable[..., T]) -> WaitFuture[T]: ...
    def submit(self, dependencies: Iterable[Future[Any]], digest: Callable[..., Any] | None = None) -> WaitFuture[Any]:
        """Return a future that finishes when all dependencies are done, never waiting for them.

        Parameters
        ----------
        dependencies
            Futures, from any iterable, which is consumed here; the same one may be in it several times.
        digest
            Called with the results, in the order of the dependencies; what it returns is the result of the future.
            It must be short: it runs on the thread of the graph, or in this call if everything is done already.

        Returns
        -------
        future
            If dependencies failed it has the exception of the first of them, in their order, else if some were
            cancelled it is cancelled, else its result is that of the digest (`None` without one), or the exception that
            the digest raised.

        Raises
        ------
        TypeError
            If a dependency is no `concurrent.futures.Future`, or the digest can't be called.
        """
        futures = check_dependencies(dependencies)
        if digest is not None and not callable(digest):
            raise TypeError(f"digest must be a function of the results, not {type(digest).__qualname__}")
        future = WaitFuture(self._event_loop, digest)
        future._start(futures)
        return future


def refuse_to_wait(futures: Iterable[Future[Any]]) -> None:
    """Raise, rather than wait for ever, on the thread that has to finish one of the futures."""
    for future in futures:
        if isinstance(future, LoopFuture):
            future.refuse_to_wait()


def wait_for(futures: Iterable[Future[Any]]) -> None:
    """Wait until all futures are done: also those that were cancelled without their executor taking notice."""
    futures = check_dependencies(futures)
    if not _all_done(futures):
        refuse_to_wait(futures)
        future = WaitGraph().submit(futures)
        try:
            future.exception()
        except CancelledError:
            pass
        finally:
            future.cancel()  # Ctrl-C
