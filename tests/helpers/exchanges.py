# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What goes between the driver and its worker processes, counted in the driver: nothing of this is there otherwise.

`counted` is put around a block, and `Exchanges.check` holds what was counted against what is promised.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from parman.engine.registry import CallRegistry
from parman.pool.channel import Channel, Kind, Message, Parcel
from parman.remote import exchange
from parman.remote.batcher import Outgoing
from parman.remote.exchange import _Exchange
from parman.snapshots.snapshot import FILED, Snapshot

__all__ = ["MESSAGES", "SENDS", "TRIPS", "Exchanges", "counted"]

MESSAGES = 4
"""Messages for each call, to and fro, on the average of a block."""
SENDS = 2
"""How often the bytes of something big are sent to a worker."""
TRIPS = 3
"""How often a call is sent, if no worker dies."""


class Exchanges:
    """What was counted.

    Attributes
    ----------
    calls
        How many calls were made.
    messages
        How many messages of each kind went to and fro, without those that tell that a worker has started.
    size, largest
        How much was sent to workers, without memory files, and in the largest message [bytes].
    sends
        How often the bytes of each thing were sent to a worker: assets, shares, big values of dependencies.
    trips
        How often each call was sent.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.messages: Counter[Kind] = Counter()
        self.size = 0
        self.largest = 0
        self.sends: Counter[tuple[int, Any]] = Counter()
        self.trips: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._here = threading.local()
        self._held: list[Any] = []  # so that no number of an object is used twice

    def check(self) -> None:
        """Hold what was counted against what is promised."""
        total = self.messages.total()
        assert total <= MESSAGES * self.calls, f"{total} messages for {self.calls} calls: {self.messages}"
        assert max(self.sends.values(), default=0) <= SENDS, self.sends.most_common(3)
        assert max(self.trips.values(), default=0) <= TRIPS, self.trips.most_common(3)

    # --- what the driver does ---

    def note_call(self) -> None:
        with self._lock:
            self.calls += 1

    def note_message(self, kind: Kind, size: int = 0) -> None:
        with self._lock:
            self.messages[kind] += kind != Kind.READY
            self.size += size
            self.largest = max(self.largest, size)

    def note_value(self, snapshot: Snapshot) -> None:
        """Note that the bytes of a value go into the message that this thread writes."""
        self._here.values = [*getattr(self._here, "values", ()), snapshot]

    def begin_trip(self, batch: _Exchange) -> None:
        self._here.batch = batch

    def note_trip(self) -> None:
        values, self._here.values = getattr(self._here, "values", []), []
        batch: _Exchange = self._here.batch
        calls = [call for call, _ in batch._outgoing.calls]
        process = batch._worker.process
        with self._lock:
            self._held += [*values, *calls, process]
            self.trips.update(map(id, calls))
            self.sends.update((id(process), id(value)) for value in values)

    def note_assets(self, tokens: Iterable[str]) -> None:
        with self._lock:
            self.sends.update((id(self._here.batch._worker.process), token) for token in tokens)


@contextmanager
def counted() -> Iterator[Exchanges]:
    """Count what goes between the driver and its workers."""
    exchanges = Exchanges()
    originals = {
        (owner, name): getattr(owner, name)
        for owner, name in (
            (CallRegistry, "added"),
            (Channel, "send"),
            (Channel, "receive"),
            (Channel, "take_ahead"),
            (Snapshot, "for_message"),
            (_Exchange, "make"),
            (exchange, "message_of"),
            (exchange, "pack"),
        )
    }

    def added(self: CallRegistry, call: Any) -> None:
        exchanges.note_call()
        originals[CallRegistry, "added"](self, call)

    def send(self: Channel, message: Message) -> None:
        exchanges.note_message(message.kind, len(message.body))
        originals[Channel, "send"](self, message)

    def receive(self: Channel) -> Parcel:
        parcel: Parcel = originals[Channel, "receive"](self)
        exchanges.note_message(parcel.kind)
        return parcel

    def take_ahead(self: Channel, wanted: Kind) -> Iterator[Any]:
        for content in originals[Channel, "take_ahead"](self, wanted):
            exchanges.note_message(wanted)
            yield content

    def for_message(self: Snapshot) -> Snapshot:
        snapshot: Snapshot = originals[Snapshot, "for_message"](self)
        if type(snapshot) is Snapshot and len(snapshot.stream) >= FILED:
            exchanges.note_value(snapshot)
        return snapshot

    def make(self: _Exchange) -> None:
        exchanges.begin_trip(self)
        originals[_Exchange, "make"](self)

    def message_of(outgoing: Outgoing, lacking: set[str], ended: tuple[str, ...]) -> Message:
        message: Message = originals[exchange, "message_of"](outgoing, lacking, ended)
        exchanges.note_trip()
        exchanges.note_assets(lacking)
        return message

    def pack(kind: Kind, content: Any) -> Message:
        if kind == Kind.ASSETS:
            exchanges.note_assets(content)
        message: Message = originals[exchange, "pack"](kind, content)
        return message

    wrappers = (added, send, receive, take_ahead, for_message, make, message_of, pack)
    with ExitStack() as stack:
        for (owner, name), wrapper in zip(originals, wrappers, strict=True):
            stack.enter_context(patch.object(owner, name, wrapper))
        yield exchanges
