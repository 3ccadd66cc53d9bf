# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Waiting, stopping, forking and ending: what the interpreter makes harder than it looks.

*Waiting in the main thread.* CPython notes a signal in a flag, looks at its flags between instructions, and goes to
sleep on a lock. A signal that arrives after the last look and before the sleep wakes nobody: the thread sleeps on, for
ever if the lock is not released. On a busy machine the gap is as long as another process has the CPU. The same holds
for a signal that the system gives to another thread. So nothing here sleeps for long without a look.

*Stopping.* What runs or waits on a thread can't be interrupted there: a `Stop` asks it to end.

*Forking.* A lock that another thread holds when a process is forked is held in the child for ever: by nobody. `logging`
takes care of its own locks, and each module of ours of those that it has. cloudpickle's is taken care of here. It is
held by whatever thread pickles a class of the script, and wanted by the first task in the child that returns an
instance of one. Of others (of libraries, of imports) nothing is known. So a pool that forks does that where a block is
entered, on the thread of the script, which holds none of them, rather than on a thread of ours beside the script.

*Ending.* All that the library has to do at the end hangs on one exit hook, registered when the library is loaded. Hooks
run in the reverse order, so that those of the script, which may close a block yet, come before. Before all of them the
interpreter waits for threads, and pools refuse calls from then on: what has to come before that is registered once more
when a pool has started since. A hook of Python can't
change the exit status, and to leave by `os._exit` in the middle of the hooks would cost what comes after: other hooks,
files that were never closed, what a library in C does at its end. So the status is changed by the hook of the C library
that comes after all of them, when Python is gone: it calls `exit` with the status 1, which goes on with what is left.
That may not hide another status. The one of `sys.exit(3)` can't be asked for, so that it is noted while a block is
open; whether the script ended by that, or came to its end, is seen by the last instruction of its outermost frame.
"""

from __future__ import annotations

import atexit
import functools
import logging
import opcode
import os
import sys
import threading
import time
from _thread import get_ident
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from enum import IntEnum
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, TypeVar

import cloudpickle  # type: ignore[import-untyped, unused-ignore]

__all__ = [
    "Stage",
    "Stop",
    "at_exit",
    "before_joins",
    "come_before_joins",
    "counted",
    "exit_with_failure",
    "interruptible_get",
    "show_warning",
    "start_forks",
    "unfinished",
    "unwatch",
    "watch",
]


class Stop:
    """A request to end, for one call.

    The request is made once and never taken back. Invariant, under the lock: an action is called if the request was
    made while it was registered, or before; by whoever makes the request, or by who registers it too late. It is called
    once, or again if Ctrl-C came in between. The locks are those of C, since Ctrl-C can lose a `Condition` for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_asked = False
        self._asked: SimpleQueue[None] = SimpleQueue()
        self._actions: list[Callable[[], None]] = []

    def ask(self) -> None:
        """Make the request, in any thread."""
        with self._lock:
            self._is_asked = True
            self._asked.put(None)
            actions = list(self._actions)
        for action in actions:
            action()
            self.forget(action)

    def is_asked(self) -> bool:
        """Tell whether the request was made."""
        return self._is_asked

    def wait(self, timeout: float) -> bool:
        """Wait for the request, at most `timeout` seconds; tell whether it was made."""
        if not self._is_asked:
            try:
                interruptible_get(self._asked, timeout)
            except Empty:
                return False
        self._asked.put(None)  # for others who wait
        return True

    def on_ask(self, action: Callable[[], None]) -> None:
        """Call an action when the request is made, at once if it was."""
        with self._lock:
            if not self._is_asked:
                self._actions.append(action)
                return
        action()

    def forget(self, action: Callable[[], None]) -> None:
        """Call an action no more."""
        with self._lock:
            if action in self._actions:
                self._actions.remove(action)


T = TypeVar("T")

_PERIOD = 0.5
"""How long an overlooked Ctrl-C goes unnoticed [s]."""


def interruptible_get(queue: SimpleQueue[T], timeout: float | None = None) -> T:
    """Take something from a queue, as its `get` does.

    Parameters
    ----------
    queue
        The queue.
    timeout
        How long to wait [s]; without it, as long as it takes.

    Raises
    ------
    queue.Empty
        There was nothing in time.
    KeyboardInterrupt
        In the main thread, within half a second, also if CPython did not wake it.
    """
    if get_ident() != threading.main_thread().ident:  # signals are not for it
        return queue.get(timeout=None if timeout is None else max(0.0, timeout))
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _PERIOD if deadline is None else deadline - time.monotonic()
        try:
            return queue.get(timeout=max(0.0, min(_PERIOD, left)))
        except Empty:
            if left <= _PERIOD and deadline is not None:
                raise


_LOCK_WITHIN = 1.0
"""How long a fork waits for the thread that has the lock; it may be the one that forks, in a finalizer [s]."""


class _Held(threading.local):
    """Whether this thread took the lock for its fork."""

    lock: Any = None


_held = _Held()


def _the_lock() -> Any:
    return getattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_LOCK", None)


def _take() -> None:
    lock = _the_lock()
    _held.lock = lock if lock is not None and lock.acquire(timeout=_LOCK_WITHIN) else None


def _give_back() -> None:
    lock, _held.lock = _held.lock, None
    if lock is not None:
        lock.release()


def _renew_in_child() -> None:
    _held.lock = None
    if _the_lock() is not None:
        cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK = threading.Lock()


os.register_at_fork(before=_take, after_in_parent=_give_back, after_in_child=_renew_in_child)


_DEPTH = 5
"""How many executors around one another are looked into."""


def start_forks(executor: object) -> None:
    """Let the pools of forked processes in an executor start them, unless they have; on the thread of the script."""
    for pool in _forking(executor, _DEPTH):
        if getattr(pool, "_executor_manager_thread", None) is None:
            try:
                pool.submit(_nothing)  # which starts all of them
            except Exception:  # it is broken or shut down, as the first call will say
                continue


def _nothing() -> None:
    pass


def _forking(executor: object, depth: int) -> Iterator[Executor]:
    if isinstance(executor, _pools()):
        context: Any = getattr(executor, "_mp_context", None) or getattr(executor, "_context", None)
        if context is not None and context.get_start_method(allow_none=False) == "fork":
            yield executor
    elif depth:
        for value in list(getattr(executor, "__dict__", {}).values()):
            if isinstance(value, Executor):
                yield from _forking(value, depth - 1)


def _pools() -> tuple[type[Executor], ...]:
    """Return the classes of pools that may fork, as far as they were imported: there are instances of no others."""
    modules = [sys.modules.get(name) for name in ("concurrent.futures.process", "loky.process_executor")]
    return tuple(module.ProcessPoolExecutor for module in modules if module is not None)


logger = logging.getLogger("parman")


class Stage(IntEnum):
    """What is done first, and what later."""

    BLOCKS = 1
    SCRIPTS = 2
    POOLS = 3


_hooks: list[tuple[Stage, Callable[[], None]]] = []


def at_exit(stage: Stage) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Have a function called at the end of the interpreter."""

    def register(hook: Callable[[], None]) -> Callable[[], None]:
        _hooks.append((stage, hook))
        return hook

    return register


@atexit.register
def _end() -> None:
    for _, hook in sorted(_hooks, key=lambda pair: pair[0]):
        try:
            hook()
        except KeyboardInterrupt:  # the others have to be called all the same; none of them takes long
            continue
        except Exception:
            logger.exception("the end of the interpreter met a mistake in Parman")


_joining_hooks: list[Callable[[], None]] = []
_registered_at = [0]


def before_joins(hook: Callable[[], None]) -> Callable[[], None]:
    """Have a function called, perhaps several times, before the interpreter waits for the threads of executors."""
    _joining_hooks.append(hook)
    _register_before_joins()
    return hook


def come_before_joins() -> None:
    """See to it that those functions come before what an executor that was given a call has registered by then."""
    if _registered_at[0] and len(threading._threading_atexits) != _registered_at[0]:  # type: ignore[attr-defined]
        _register_before_joins()


def _register_before_joins() -> None:
    # The only place before that wait. It is private, but all executors outside of the standard library stand on it.
    if hasattr(threading, "_register_atexit"):
        try:
            threading._register_atexit(_before_joins)
        except RuntimeError:  # too late: the interpreter is ending
            return
        _registered_at[0] = len(getattr(threading, "_threading_atexits", ()))


def _before_joins() -> None:
    for hook in _joining_hooks:
        hook()


# --- the exit status ---


class _Watch:
    """What is known of how the script ends."""

    def __init__(self) -> None:
        self.outermost = _outermost_frame()
        self.code: Any = None
        self.plain_exit = sys.exit
        self.noting_exit = self._noting(sys.exit)

    def _noting(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(plain)
        def note_and_exit(*args: Any) -> Any:
            self.code = args[0] if args else None
            plain(*args)

        return note_and_exit

    def came_to_its_end(self) -> bool:
        """Whether the script ended without an exception."""
        frame = self.outermost
        if frame is None or frame.f_lasti < 0:
            return False
        return opcode.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN")


_watches: list[_Watch] = []


def _outermost_frame() -> FrameType | None:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame


def watch() -> None:
    """Note from now on by which status the script asks to end."""
    if not _watches:
        _watches.append(_Watch())
        sys.exit = _watches[0].noting_exit


def unwatch() -> None:
    """Note it no more."""
    while _watches:
        one = _watches.pop()
        if sys.exit is one.noting_exit:  # else somebody else has put another one in its place, which may call ours
            sys.exit = one.plain_exit


def exit_with_failure() -> None:
    """Let this process, which is ending, end with exit status 1 if it would end with 0; not in a session of a user."""
    if hasattr(sys, "ps1") or _is_notebook():
        return
    one = _watches[0] if _watches else None
    has_status = one is not None and not one.came_to_its_end() and (one.code not in (None, 0) or _died(one.outermost))
    if not has_status:
        _end_with_one()


def _died(outermost: FrameType | None) -> bool:
    """Whether an exception ended the script: its status is none of success, and may be that of Ctrl-C."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    trace = None if error is None else error.__traceback__
    return trace is not None and trace.tb_frame is outermost


def _is_notebook() -> bool:
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


@functools.cache
def _end_with_one() -> None:
    try:
        import ctypes

        library = ctypes.CDLL(None)
        register = library["__cxa_atexit"]
        is_gnu = hasattr(library, "gnu_get_libc_version")
        # Elsewhere `exit` may not be called by a hook, and what waits in buffers has to be written before.
        steps = [(library.exit, 1)] if is_gnu else [(library._exit, 1), (library.fflush, None)]
        for function, argument in steps:  # the last one is called first
            register(ctypes.cast(function, ctypes.c_void_p), ctypes.c_void_p(argument), None)
    except (ImportError, OSError, AttributeError) as error:  # the user was told, by words
        logger.debug("the exit status can't be set: %s", error)


# --- words ---


def counted(count: int, noun: str) -> str:
    """Write how many there are of something: "1 call", "2 calls"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def unfinished(count: int) -> str:
    """Say that calls are dropped."""
    return f"{counted(count, 'unfinished call')} {'is' if count == 1 else 'are'} dropped"


def show_warning(text: str) -> None:
    """Log a warning that the user has to see: on standard error in any case."""
    try:
        is_seen = _is_seen()
        logger.warning("%s", text)
        if not is_seen:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
    except Exception:  # there is no stderr, or it is closed; or a handler of the user's failed
        return


def _is_seen() -> bool:
    """Whether a warning comes to standard error."""
    if not logger.isEnabledFor(logging.WARNING):
        return False
    if not logger.hasHandlers():
        return logging.lastResort is not None
    at: logging.Logger | None = logger
    while at is not None:
        for handler in at.handlers:
            if (
                isinstance(handler, logging.StreamHandler)
                and handler.stream in (sys.stderr, sys.__stderr__)
                and handler.level <= logging.WARNING
                and not handler.filters
            ):
                return True
        at = at.parent if at.propagate else None
    return False
