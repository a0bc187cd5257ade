"""Streams of tests at real servers of Kafka, Redis and NATS, written to and damaged alike."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio

import streamnet
from streamnet.sources import Columns
from tests.sources.brokers.servers import Kafka, Server
from tests.sources.harness import Content, Left, content, drain, left

if TYPE_CHECKING:
    from redis import Redis

    from streamnet.sources.brokers.base import BrokerSource

Value = bytes | None  # None: a tombstone


def rows(count: int, start: int = 0) -> list[bytes]:
    """JSON messages whose x is their number."""
    return [json.dumps({"x": i, "y": "ab"[i % 2]}).encode() for i in range(start, start + count)]


class Stream(ABC):
    """A stream that no other test uses. Its messages are numbered from 0, and have a key."""

    first = 0  # offset of the first message in positions

    def __init__(self, server: Any, name: str = "") -> None:
        self.server = server
        self.id = name or f"s{uuid4().hex}"

    @property
    def name(self) -> str:
        """Name in positions."""
        return self.id

    def source(self, **settings: Any) -> BrokerSource:
        """A source of its samples."""
        return self._make({"columns": Columns(target="y", head=5), **settings})

    @abstractmethod
    def _make(self, settings: dict[str, Any]) -> BrokerSource: ...

    @abstractmethod
    def write(self, values: Sequence[Value]) -> None:
        """Write messages, and wait until all of them are there."""

    @abstractmethod
    def trim(self, before: int) -> None:
        """Delete the messages before a number, as retention does."""

    @abstractmethod
    def recreate(self, count: int) -> None:
        """Delete the stream, and create it with so many other messages."""

    def overtake(self, source: BrokerSource, more: Sequence[Value], before: int) -> None:
        """Write more and trim while a source that read all does not fetch."""
        del source
        self.write(more)
        self.trim(before)


class KafkaStream(Stream):
    """A topic with one partition that matters."""

    server: Kafka

    @property
    def name(self) -> str:
        return f"{self.id}[0]"

    def _make(self, settings: dict[str, Any]) -> BrokerSource:
        given = {"servers": self.server.address, "partition": 0, **settings}
        return streamnet.KafkaSource(topic=self.id, **given)

    def write(self, values: Sequence[Value]) -> None:
        self.server.produce(values, topic=self.id, keys=[b"k"] * len(values))

    def trim(self, before: int) -> None:
        self.server.trim(before, self.id)

    def recreate(self, count: int) -> None:
        self.server.delete_topic(self.id)
        self.server.create_topic(self.id)
        self.write(rows(count, start=100))

    def overtake(self, source: Any, more: Sequence[Value], before: int) -> None:
        # What the client has fetched ahead is still there; so the offset that it asks for next is
        # moved on, as if it had been slow.
        super().overtake(source, more, before)
        source._subscription._seek(30)


def redis_client(server: Server) -> Redis:
    """A client, with timeouts."""
    from redis import Redis

    return Redis(port=server.port, socket_timeout=10)


def add(server: Server, stream: str, values: Sequence[bytes | dict[str, Any]]) -> None:
    """Add entries, in one go; a message is the value of the field data."""
    with redis_client(server) as redis, redis.pipeline(transaction=False) as pipeline:
        for value in values:
            pipeline.xadd(stream, value if isinstance(value, dict) else {"data": value})
        pipeline.execute()


class RedisStream(Stream):
    """A stream whose entries hold messages."""

    server: Server

    def _make(self, settings: dict[str, Any]) -> BrokerSource:
        given = {"value_field": "data", "key_field": "key", **settings}
        return streamnet.RedisSource(server=self.server.address, stream=self.id, **given)

    def write(self, values: Sequence[Value]) -> None:
        entries = [{"key": "k"} if v is None else {"key": "k", "data": v} for v in values]
        add(self.server, self.id, entries)

    def trim(self, before: int) -> None:
        with redis_client(self.server) as redis:
            left = redis.xinfo_stream(self.id)["entries-added"] - before
            redis.xtrim(self.id, maxlen=left, approximate=False)

    def recreate(self, count: int) -> None:
        with redis_client(self.server) as redis:
            redis.delete(self.id)
        self.write(rows(count, start=100))

    def recreate_with_the_same_ids(self) -> None:
        """Delete the stream, and create it with other messages that have the same ids."""
        with redis_client(self.server) as redis:
            ids = [entry[0] for entry in redis.xrange(self.id)]
            redis.delete(self.id)
            for i, one in enumerate(ids):
                redis.xadd(self.id, {"data": json.dumps({"x": -i, "y": "a"})}, id=one)


def with_nats_client(server: Server, work: Callable[[Any], Awaitable[Any]], **login: str) -> Any:
    """Do something with a client of JetStream."""
    import nats

    async def main() -> Any:
        client = await nats.connect(f"nats://{server.address}", **login)
        try:
            return await work(client.jetstream(publish_async_max_pending=4000))
        finally:
            await client.close()

    return anyio.run(main)


class NatsStream(Stream):
    """A stream of the subjects that begin with its name."""

    server: Server
    first = 1

    def __init__(self, server: Any, name: str = "") -> None:
        super().__init__(server, name)
        self._create()

    def _create(self) -> None:
        subjects = [f"{self.id}.>"]
        with_nats_client(self.server, lambda js: js.add_stream(name=self.id, subjects=subjects))

    def _make(self, settings: dict[str, Any]) -> BrokerSource:
        return streamnet.NatsSource(servers=self.server.address, stream=self.id, **settings)

    def publish(
        self, values: Sequence[bytes], *, subject: str = "a", headers: dict[str, str] | None = None
    ) -> None:
        """Write messages, and wait until all of them are there."""

        async def work(js: Any) -> None:
            for value in values:
                name = f"{self.id}.{subject}"
                await js.publish_async(name, value, wait_stall=10, headers=headers)
            await js.publish_async_completed()

        with_nats_client(self.server, work)

    def write(self, values: Sequence[Value]) -> None:
        for deleted, group in groupby(values, lambda value: value is None):
            headers = {"KV-Operation": "DEL"} if deleted else None
            self.publish([value or b"" for value in group], headers=headers)

    def trim(self, before: int) -> None:
        sequence = before + 1
        with_nats_client(self.server, lambda js: js._jsm.purge_stream(self.id, seq=sequence))

    def delete(self, sequence: int) -> None:
        """Delete one message."""
        with_nats_client(self.server, lambda js: js._jsm.delete_msg(self.id, sequence))

    def recreate(self, count: int) -> None:
        with_nats_client(self.server, lambda js: js.delete_stream(self.id))
        self._create()
        self.write(rows(count, start=100))

    def overtake(self, source: Any, more: Sequence[Value], before: int) -> None:
        # As if the client had been disconnected meanwhile.
        subscription = source._subscription
        subscription._call(subscription._consumer.unsubscribe)
        subscription._consumer = None
        super().overtake(source, more, before)
        subscription._subscribe(20)


def left_at_five(stream: Stream) -> Left:
    """Write twenty messages, and read five of them."""
    stream.write(rows(20))

    async def main() -> Left:
        source = stream.source()
        await source.open()
        block = await source.receive()
        assert block is not None
        found = left(source, block.part(0, 5))
        await source.aclose()
        return found

    return anyio.run(main)


def resumed(source: BrokerSource, place: Left) -> Content:
    """What a source gives from a place on."""
    return content(anyio.run(drain, source, place.position, place.state)[1])
