# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The end of the interpreter: what is done then, in which order, and how the exit status says that something was lost.

All that the library has to do at the end hangs on one exit hook, registered when the library is loaded. Hooks run in
the reverse order, so that those of the script, which may close a block yet, come before.

A hook of Python can't change the exit status, and to leave by `os._exit` in the middle of the hooks would cost what
comes after: other hooks, files that were never closed, what a library in C does at its end. So the status is changed
by the hook of the C library that comes after all of them, when Python is gone: it calls `exit` with the status 1, which
goes on with what is left. That may not hide another status. The one of `sys.exit(3)` can't be asked for, so that it is
noted while a block is open; whether the script ended by that, or came to its end, is seen by the last instruction of
its outermost frame.
"""

from __future__ import annotations

import atexit
import functools
import logging
import opcode
import sys
import threading
from collections.abc import Callable
from enum import IntEnum
from types import FrameType
from typing import Any

__all__ = ["Stage", "at_exit", "fail", "tell", "unwatch", "watch"]

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


def fail() -> None:
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


def tell(text: str) -> None:
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
