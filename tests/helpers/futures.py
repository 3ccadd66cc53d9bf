# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Futures of the standard library in every state."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

__all__ = ["cancelled", "cancelled_and_notified", "failed", "running", "succeeded"]


def succeeded(result: Any = None) -> Future[Any]:
    """Make a future with a result."""
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def failed(exception: BaseException) -> Future[Any]:
    """Make a future with an exception."""
    future: Future[Any] = Future()
    future.set_exception(exception)
    return future


def running() -> Future[Any]:
    """Make a future whose call has started."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def cancelled() -> Future[Any]:
    """Make a future that was cancelled, of which its executor has not taken notice."""
    future: Future[Any] = Future()
    future.cancel()
    return future


def cancelled_and_notified() -> Future[Any]:
    """Make a future that was cancelled, as its executor knows."""
    future = cancelled()
    future.set_running_or_notify_cancel()
    return future
