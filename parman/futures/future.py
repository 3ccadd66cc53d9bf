# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The futures that a call returns: one for each leaf of its result.

Each is a real `concurrent.futures.Future`: `wait`, `as_completed`, `asyncio.wrap_future` and dict keys take it. It
knows three things more.

* What it stands for: the declared type, and the call, so that using the future where its value was meant gives an
  error that names the call, its line and the cure (`StrictFuture`; the futures of `parman.executor()` are plain ones).
* Whether somebody asked how the call ended, so that a failure that nobody saw is raised when the block is left.
* Its value in up to two forms. `snapshot` is the snapshot that tasks are given: nobody can change it. `value` is what
  the user was given, and may change. A task is given the snapshot that was made when the call finished, or one
  made at the call if the user had the value in hands by then: what a serial script would have passed.

Who may change the state of a future: the event loop of its runner, and any thread through `cancel()`. Both do so
under the future's condition and look at the state first, so exactly one of them wins. What follows (the user's
callbacks, the dependents) runs in the event loop, never in the main thread, where a Ctrl-C could cut it off.

Who has waited too long is told for what, how much of it is running, and which lines made those calls. This is looked at
after the time was over, so that a wait in time costs nothing; some of it may have ended meanwhile.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import Any, NamedTuple, NoReturn, Protocol

from ..annotations.evaluate import item_type
from ..errors import FutureAttributeError, FutureUseError, WorkflowError
from ..snapshots.exceptions import annotate
from ..snapshots.snapshot import Snapshot
from ..snapshots.take import is_plain
from .loop import CALLBACK_WAITS, CALLBACKS_RUN, EventLoop, LoopFuture
from .wait_graph import Clearable, clear_out

__all__ = ["CallFuture", "Origin", "StrictFuture", "too_late"]

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
        head = f"{_name_of(futures[0])}, is not done{after}"
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
            (found.running if is_running else found.pending)[_name_of(future)] += 1
        if not is_running:
            todo.extend(reversed(getattr(origin, "needs", ())))
    return found


def _name_of(future: Future[Any]) -> str:
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


_OPEN = (PENDING, RUNNING)


class Dependent(Protocol):
    """A call that waits for futures of its own runner."""

    def dependency_done(self) -> None:
        """Count one of them less; in the event loop."""


class Origin(Protocol):
    """The call that a future belongs to, as far as the future needs it."""

    event_loop: EventLoop
    cancels_causes: bool

    @property
    def needs(self) -> Sequence[Future[Any]]:
        """The futures that it waits for, or waited for."""

    @property
    def leaves(self) -> Sequence[CallFuture]:
        """The futures of the call in the order in which they were made, until it has ended."""

    @property
    def root(self) -> Any:
        """The call because of which it failed."""

    def __str__(self) -> str:
        """Name the task and the line of the call."""

    def may_cancel(self, future: CallFuture) -> bool:
        """Return whether nothing of this future has started; called under the future's condition."""

    def is_running(self) -> bool:
        """Return whether the call has started, where only the executor knows."""

    def ask_to_stop(self) -> None:
        """Ask the call to end if it has started and can do that, and take its failure for seen."""

    def retrieve(self) -> None:
        """Note that the user has seen how the call ended."""

    def leaf_cancelled(self, future: CallFuture) -> None:
        """Follow up on a cancelled future, in the event loop."""

    def take_snapshot(self, value: Any) -> Snapshot:
        """Make the form of a value that tasks are given."""


class CallFuture(LoopFuture[Any]):
    """The future of one leaf of a result.

    Parameters
    ----------
    origin
        The call.
    declared
        The annotation of this leaf; `typing.Any` if nothing is known.
    """

    __slots__ = ("_awaited", "_dependents", "_needed", "_origin", "_snapshot", "_told", "declared")
    _parts: tuple[int, int] | None = None

    def __init__(self, origin: Origin, declared: object = Any) -> None:
        super().__init__(origin.event_loop)
        self._origin = origin
        self.declared = declared
        self._awaited = False
        self._told = False
        self._needed = 0
        self._snapshot: Snapshot | None = None
        # None when they have been told. Changed in the event loop only.
        self._dependents: list[Dependent] | tuple[()] | None = ()

    def cover(self, number: int) -> None:
        """Note that the leaves of the call made just before this one, so many, are parts of what this stands for."""
        end = len(self._origin.leaves) - 1
        self._parts = end - number, end

    # --- what tasks are given ---

    @property
    def event_loop(self) -> EventLoop:
        """That of the runner."""
        return self._origin.event_loop

    @property
    def origin(self) -> str:
        """The task and the line of the call that this is a result of."""
        return str(self._origin)

    def await_snapshot(self) -> bool:
        """Ask, before a call that waits for this future is made known, for a snapshot of its value.

        Returns
        -------
        bool
            Whether the future had finished already, so that its value is to be taken as it is now.
        """
        with self._condition:
            if self._state == FINISHED:
                return True
            self._awaited = True
            return False

    def expect(self) -> bool:
        """Count a call that needs this future, and do as `await_snapshot`."""
        with self._condition:
            self._needed += 1
            if self._state == FINISHED:
                return True
            self._awaited = True
            return False

    def serves(self, event_loop: EventLoop) -> bool:
        """Tell whether `add_dependent` is for calls with this event loop: a future of others may end at any time."""
        return self._dependents is None or self._event_loop is event_loop

    def add_dependent(self, call: Dependent) -> bool:
        """Tell a call, of the same runner, when this is done; false if it is. In the event loop."""
        dependents = self._dependents
        if dependents is None:
            return False
        if isinstance(dependents, list):
            dependents.append(call)
        else:
            self._dependents = [call]
        return True

    @property
    def dependents(self) -> Sequence[Dependent]:
        """The calls that `add_dependent` has added and that have not been told. In the event loop."""
        return self._dependents or ()

    @property
    def awaited(self) -> bool:
        """Whether calls wait for the snapshot."""
        return self._awaited

    def current(self, take_snapshot: Callable[[Any], Snapshot]) -> Any:
        """Return a snapshot of the value of this successful future, as it is now; plain values as they are."""
        with self._condition:
            value, snapshot = self._result, self._snapshot
        if is_plain(value) and (value is not None or snapshot is None):
            return value
        if snapshot is not None and value is None:
            return snapshot  # nobody had it in hands
        return take_snapshot(value)

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot that was taken when the call finished."""
        return self._snapshot

    @property
    def shown_plain(self) -> Any:
        """The value if it is a number or the like, which anybody may look at."""
        return self._result if is_plain(self._result) else None

    @property
    def root(self) -> Any:
        """The call because of which this future failed."""
        return self._origin.root

    @property
    def failure(self) -> BaseException | None:
        """The exception, without counting as having asked for it."""
        return self._exception

    # --- how it ends; in the event loop ---

    def settle_value(self, value: Any) -> bool:
        """Finish with a value that the user may see, unless a call waits for the snapshot: then return false."""
        with self._condition:
            if self._awaited:
                return False
            if self.is_open():
                self._finish(value, None, None)
        self._invoke_callbacks()
        return True

    def settle_plain(self, value: Any) -> None:
        """Finish with a value that nobody can change, which is its own snapshot."""
        # As `settle_snapshot` does it, with fewer calls: most calls end here.
        condition = self._condition
        with condition:
            if self._state not in _OPEN:
                return
            if self._lists is not None:
                self._finish(value, None, None)
            else:
                self._result = value
                self._state = FINISHED
                condition.notify_all()
        if self._lists is not None or self._dependents:
            self._invoke_callbacks()
        else:
            self._dependents = self._event_loop = None

    def settle_snapshot(self, snapshot: Snapshot) -> None:
        """Finish with the snapshot of a value."""
        with self._condition:
            if not self.is_open():
                return
            self._finish(None, snapshot, None)
        self._invoke_callbacks()

    def settle_failure(self, exception: BaseException) -> None:
        """Finish with an exception."""
        with self._condition:
            if not self.is_open():
                return
            self._finish(None, None, exception)
        self._invoke_callbacks()

    def is_open(self) -> bool:
        """Return whether it is neither done nor cancelled, at a glance, without the condition."""
        return self._state in _OPEN

    def _invoke_callbacks(self) -> None:
        if self._lists is not None:
            super()._invoke_callbacks()
        else:
            self._release()
        dependents, self._dependents = self._dependents, None
        for call in dependents or ():
            call.dependency_done()

    def _finish(self, value: Any, snapshot: Snapshot | None, exception: BaseException | None) -> None:
        self._result, self._snapshot, self._exception = value, snapshot, exception
        self._state = FINISHED
        if self._lists is not None:
            for waiter in self._waiters:
                if exception is None:
                    waiter.add_result(self)
                else:
                    waiter.add_exception(self)
        self._condition.notify_all()

    # --- what the user asks ---

    def cancel(self) -> bool:
        """Cancel this leaf, its parts, and what depends on them, unless its call has started."""
        if self._parts is not None:
            first, end = self._parts
            # The parts first: if one of them can't be cancelled any more, the call has started, and runs as a whole.
            if not all(part._cancel_leaf() for part in self._origin.leaves[first:end]):
                return False
        return self._cancel_leaf()

    def _cancel_leaf(self) -> bool:
        with self._condition:
            if self._state == PENDING and self._may_cancel():
                self._cancel_now()
            return self.cancelled()

    def _may_cancel(self) -> bool:
        return self._origin.may_cancel(self)

    def cancel_with_causes(self, end: bool = True) -> bool:
        """Cancel as `cancel` does, and what the call would have used and no other call needs.

        A call that has started can't be cancelled; one that only waits is asked to end, if so told.
        """
        self._origin.cancels_causes = True
        cancelled = self.cancel()
        if end and not cancelled:
            self._origin.ask_to_stop()
        return cancelled

    @property
    def source(self) -> CallFuture:
        """The future of a whole leaf that this one comes from."""
        return self

    def need(self, change: int) -> int:
        """Count the calls that need this future, and return how many there are."""
        with self._condition:
            self._needed += change
            return self._needed

    def _settle(self) -> None:
        super()._settle()
        if self._state == CANCELLED_AND_NOTIFIED and not self._told:
            self._told = True
            self._origin.leaf_cancelled(self)

    def _value(self) -> Any:
        return self._take()

    def running(self) -> bool:
        """Return whether the call is being executed."""
        return super().running() or (not self.done() and self._origin.is_running())

    def result(self, timeout: float | None = None) -> Any:
        """Return the value, waiting for it up to `timeout` seconds.

        Raises
        ------
        TimeoutError
            The call has not finished in time.
        concurrent.futures.CancelledError
            The call was cancelled.
        Exception
            What the task raised, with notes that tell where.
        """
        self._wait(timeout)
        if self._exception is not None:
            self._origin.retrieve()
            try:
                # each raising adds frames to the traceback of this object, which would pile up and keep locals alive
                raise self._exception.with_traceback(None)
            finally:
                self = None  # type: ignore[assignment]
        return self._take()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception of the call, or None, waiting up to `timeout` seconds."""
        self._wait(timeout)
        if self._exception is not None:
            self._origin.retrieve()
            return self._exception
        try:
            self._take()  # who is told that there is no exception may rely on `result()`
        except Exception as error:
            return error
        return None

    def _wait(self, timeout: float | None) -> None:
        with self._condition:
            if self.is_open():
                self.refuse_to_wait()
                self._condition.wait(timeout)
            is_late = self.is_open()
            if not is_late and self._state != FINISHED:
                raise CancelledError(f"{self._origin}, was cancelled")
        if is_late:
            raise too_late([self], timeout)

    def add_waiter(self, waiter: Any) -> bool:
        """Tell a waiter, of the kind that `concurrent.futures.wait` has, how this ends; false if it has ended."""
        with self._condition:
            if not self.is_open():
                return False
            self.refuse_to_wait()
            self._waiters.append(waiter)
            return True

    def remove_waiter(self, waiter: Any) -> None:
        """Forget a waiter."""
        with self._condition:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def refuse_to_wait(self) -> None:
        """Raise, rather than wait for ever, on the thread that has to finish this future, unless it is done."""
        if self._origin.event_loop.is_current() and self.is_open():
            raise WorkflowError(
                f"{CALLBACK_WAITS} the result of {self._origin}: {CALLBACKS_RUN} this future; give it a callback of "
                "its own, or pass it to a task"
            )

    def _take(self) -> Any:
        with self._condition:
            value, snapshot = self._result, self._snapshot
        if value is not None or snapshot is None:
            return value
        try:
            value = snapshot.ordinary.load()  # runs code of the user's classes, so not under the condition
        except Exception as error:
            annotate(error, f"The result of {self._origin} can't be rebuilt in this process.")
            raise
        with self._condition:
            if self._result is None:
                self._result = value
            return self._result

    def _describe(self) -> str:
        with self._condition:
            state = {PENDING: "pending", RUNNING: "running", CANCELLED: "cancelled"}.get(self._state, "cancelled")
            if self._state == FINISHED:
                state = f"failed: {type(self._exception).__name__}" if self._exception is not None else "finished"
        return f"future of {self._origin}, {state}"

    def __repr__(self) -> str:
        return f"<{self._describe()}>"

    __str__ = __repr__


class StrictFuture(CallFuture):
    """A future that refuses to be used as its value: what the calls of tasks return."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> CallFuture:
        """Return the future of an item of the value."""
        return _Item(self, key)

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Future):
            return self is other
        return self._refuse("compared with ==")

    def __ne__(self, other: object) -> bool:
        if isinstance(other, Future):
            return self is not other
        return self._refuse("compared with !=")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # protocols that Python and libraries look for
        raise FutureAttributeError(
            f"the result of {self._origin}, has no attribute {name!r} yet: it is a future, not its value; "
            "resolve() it, or pass it to a task in the block"
        )

    def _refuse(self, use: str) -> NoReturn:
        raise FutureUseError(
            f"the result of {self._origin}, can't be {use}: it is a future, not its value; "
            "resolve() it, or pass it to a task in the block"
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self._refuse("copied or pickled")


def _refusal(use: str) -> Callable[..., NoReturn]:
    def refuse(self: StrictFuture, *args: object, **kwargs: object) -> NoReturn:
        self._refuse(use)

    return refuse


_ARITHMETIC = "add sub mul truediv floordiv mod divmod pow matmul lshift rshift and or xor"
_REFUSED = {
    "asked for its truth": "bool",
    "ordered": "lt le gt ge",
    "used in arithmetic": " ".join(f"{name} r{name} i{name}" for name in _ARITHMETIC.split() if name != "divmod")
    + " divmod rdivmod neg pos abs invert round trunc floor ceil",
    "measured with len()": "len",
    "iterated over": "iter reversed",
    "searched with `in`": "contains",
    "changed": "setitem delitem",
    "used as a number": "float int complex index",
    "formatted": "format",
    "made an array": "array",
    "copied or pickled": "copy deepcopy",
}
for _use, _names in _REFUSED.items():
    for _name in _names.split():
        setattr(StrictFuture, f"__{_name}__", _refusal(_use))
del _use, _names, _name


class _Follower(Clearable):
    """The callback by which an item follows the future that it is an item of.

    It does not keep the item, of which a script that asks `x[0].done()` again and again makes very many; unless
    somebody waits for the item who does not hold it.
    """

    __slots__ = ("item", "kept")

    def __init__(self, item: _Item) -> None:
        self.item = weakref.ref(item)
        self.kept: _Item | None = None

    def __call__(self, parent: Future[Any]) -> None:
        item = self.item()
        if item is not None:
            item._follow(parent)  # type: ignore[arg-type]

    @property
    def is_empty(self) -> bool:
        return self.item() is None


class _Item(StrictFuture):
    """The future of an item of another future's value; it belongs to the same call."""

    __slots__ = ("_follower", "_key", "_parent")

    def __init__(self, parent: CallFuture, key: Any) -> None:
        super().__init__(parent._origin, item_type(parent.declared, key))
        self._key = key
        self._parent: CallFuture | None = parent
        self._told = True  # the call is not concerned when an item is cancelled
        # a parent that is done is followed at once, in the user's thread, the others in the event loop
        self._follower: _Follower | None = _Follower(self)
        Future.add_done_callback(parent, self._follower)  # that of an item would keep it, as this one does
        clear_out(parent)

    def _keep(self) -> None:
        follower, parent = self._follower, self._parent
        if follower is not None:
            follower.kept = self
        if isinstance(parent, _Item):  # which nobody else may hold
            parent._keep()

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        self._keep()
        super().add_done_callback(fn)

    def add_dependent(self, call: Dependent) -> bool:
        self._keep()
        return super().add_dependent(call)

    @property
    def source(self) -> CallFuture:
        parent = self._parent
        return self if parent is None else parent.source

    def await_snapshot(self) -> bool:
        parent = self._parent
        if parent is not None:
            parent.await_snapshot()  # for the user may change its value before the item is taken from it
        return super().await_snapshot()

    def expect(self) -> bool:
        self.source.need(+1)
        return self.await_snapshot()

    def _release(self) -> None:
        super()._release()
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.kept = None
        self._parent = None

    def _follow(self, parent: CallFuture) -> None:
        if not self.is_open():
            return
        if parent.cancelled():
            self.cancel()
        elif parent._exception is not None:
            self.settle_failure(parent._exception)
        else:
            self._settle_item(parent)

    def _settle_item(self, parent: CallFuture) -> None:
        try:
            snapshot = parent.snapshot if self._awaited else None
            item = (parent._take() if snapshot is None else snapshot.load())[self._key]
        except BaseException as error:  # whatever the classes of the user raise
            annotate(error, f"There is no item {self._key!r} in the result of {self._origin}.")
            self.settle_failure(error)
            return
        try:
            if not self.settle_value(item):
                self.settle_snapshot(self._origin.take_snapshot(item))
        except BaseException as error:
            self.settle_failure(error)

    def _may_cancel(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<item {self._key!r} of the {self._describe()}>"

    __str__ = __repr__
