"""A broker in memory, for tests of what the sources of all brokers have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from streamnet.settings.brokers import MessageSettings
from streamnet.sources.base import OnGap
from streamnet.sources.brokers.base import Bookmark, BrokerSource, GapError, Subscription
from streamnet.sources.brokers.messages import Message
from streamnet.sources.columns import Columns

Value = dict[str, Any] | bytes | None


def encode(value: Value) -> bytes | None:
    """The bytes of a message: JSON of a dict."""
    return json.dumps(value).encode() if isinstance(value, dict) else value


class Stream:
    """Messages, the oldest of which may have been deleted, and what was acknowledged."""

    def __init__(
        self, values: Sequence[Value], *, first: int = 0, key: bytes | None = b"k"
    ) -> None:
        self.first = first
        self.acknowledged: list[int] = []
        self.messages = [
            Message(place, place, encode(value), key=key, time=1000.0 + place)
            for place, value in enumerate(values)
        ]


class MemorySubscription(Subscription):
    """Reads a stream; each poll gives as many messages as ``cuts`` say, in turn."""

    def __init__(
        self, stream: Stream, *, cuts: Sequence[int] = (8192,), follow: bool = False
    ) -> None:
        super().__init__(follow=follow)
        self.stream = stream
        self.polls = 0
        self.closed = False
        self._cuts = cuts
        self._next = 0

    @property
    def name(self) -> str:
        return "memory"

    def describe(self) -> dict[str, Any]:
        return {"stream": "memory"}

    def open(self) -> None:
        self._end = len(self.stream.messages)

    def start(self) -> None:
        self._next = self.stream.first

    def resume(self, after: Bookmark) -> None:
        if after.place + 1 < self.stream.first:
            raise GapError("was trimmed")
        if self.stream.messages[after.place].digest() != after.digest:
            raise GapError("is another one")
        self._next = after.place + 1

    def poll(self, seconds: float, most: int) -> list[Message] | None:
        if self._next < self.stream.first:
            raise GapError("was trimmed")
        self.caught_up = self._next >= self._end
        if self.caught_up and not self.follow:
            return None
        count = min(most, self._cuts[self.polls % len(self._cuts)])
        self.polls += 1
        found = self.stream.messages[self._next : self._next + count]
        self._next += len(found)
        self.caught_up = self._next >= self._end
        return found

    def acknowledge(self, through: Bookmark) -> None:
        self.stream.acknowledged.append(through.place)

    def close(self) -> None:
        self.closed = True


def source_of(
    stream: Stream | Sequence[Value],
    *,
    cuts: Sequence[int] = (8192,),
    follow: bool = False,
    columns: Columns | None = None,
    on_gap: OnGap = "stop",
    max_record_bytes: int = 1 << 20,
    **settings: Any,
) -> BrokerSource:
    """A source of messages in memory."""
    if not isinstance(stream, Stream):
        stream = Stream(stream)
    return BrokerSource(
        MemorySubscription(stream, cuts=cuts, follow=follow),
        MessageSettings(**settings),
        columns=columns or Columns(target="y"),
        on_gap=on_gap,
        max_record_bytes=max_record_bytes,
    )
