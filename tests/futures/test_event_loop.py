# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Event loops: what is posted is handled, whatever was told to their thread before."""

from __future__ import annotations

import logging
import threading

import pytest
from helpers import TIMEOUT
from helpers.waiting import handled, hasty_switches, in_thread, interrupt_at

from parman.futures.loop import EventLoop


def stopped() -> EventLoop:
    """Return an event loop whose thread has ended."""
    event_loop = EventLoop()
    event_loop.start()
    thread = event_loop._events.thread
    assert thread is not None
    event_loop.stop()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    return event_loop


def test_an_event_without_a_thread() -> None:
    """An event is handled if no thread was started."""
    assert handled(EventLoop().post)


def test_an_event_after_the_thread_was_stopped() -> None:
    """An event that comes after the end of the thread is handled, by another one."""
    event_loop = stopped()
    assert handled(event_loop.post)
    event_loop.stop()
    assert handled(event_loop.post)


def test_events_while_the_thread_is_stopped_again_and_again() -> None:
    """Of events that several threads post while others stop the thread and start it, all are handled."""
    event_loop = EventLoop()
    seen: list[int] = []
    running: set[int] = set()
    together: list[int] = []

    def event() -> None:
        running.add(threading.get_ident())
        together.append(len(running))
        seen.append(1)
        running.discard(threading.get_ident())

    def post() -> None:
        for number in range(2000):
            event_loop.post(event)
            if number % 10 == 0:
                event_loop.stop()
            if number % 25 == 0:
                event_loop.start()

    with hasty_switches():
        for thread in [in_thread(post) for _ in range(4)]:
            thread.join(TIMEOUT)
    assert handled(event_loop.post)
    assert len(seen) == 8000
    assert max(together) == 1


def test_an_event_that_ctrl_c_cuts_off() -> None:
    """Wherever Ctrl-C strikes in a post, what is in the queue is handled."""
    count, strikes = 1, True
    while strikes:
        event_loop = stopped()
        seen = threading.Event()
        strikes = interrupt_at(count, lambda post=event_loop.post, event=seen.set: post(event))  # type: ignore[misc]
        assert event_loop._events.thread is not None or event_loop._events.queue.empty()
        assert seen.wait(TIMEOUT) if not strikes else handled(event_loop.post)
        count += 1
    assert count > 4


def test_an_event_for_which_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system has no thread at the moment, a post does not raise; the next one has both events handled."""
    event_loop = stopped()
    seen = threading.Event()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        event_loop.post(seen.set)
    assert handled(event_loop.post)
    assert seen.is_set()


class Angry(logging.Filter):
    """A filter that raises."""

    def filter(self, record: logging.LogRecord) -> bool:
        raise SystemExit


def test_a_failing_event_whose_log_fails_too() -> None:
    """What a filter of the user's raises does not end the thread."""
    event_loop = EventLoop()
    angry = Angry()
    logging.getLogger("parman").addFilter(angry)
    try:
        event_loop.post(lambda: 1 / 0)
        assert handled(event_loop.post)
    finally:
        logging.getLogger("parman").removeFilter(angry)
