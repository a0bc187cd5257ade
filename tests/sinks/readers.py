"""What sinks hold, read with each broker's own client."""

from __future__ import annotations

import json
from typing import Any

from tests.sources.brokers.servers import Kafka, Server
from tests.sources.brokers.streams import with_nats_client


def read_topic(kafka: Kafka, topic: str, partition: int = 0) -> list[dict[str, Any]]:
    """The records of a partition."""
    return [json.loads(message.value()) for message in list_messages(kafka, topic, partition)]


def list_messages(kafka: Kafka, topic: str, partition: int = 0) -> list[Any]:
    """The committed messages of a partition."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    options = {"bootstrap.servers": kafka.address, "group.id": "reader", "log_level": 0}
    consumer = Consumer({**options, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[Any] = []
    while not found or found[-1].error() is None:
        found += consumer.consume(10_000, 0.2)
    consumer.close()
    (end,) = [message for message in found if message.error() is not None]
    assert end.error().code() == KafkaError._PARTITION_EOF, end.error()
    found.remove(end)
    return found


def read_entries(server: Server, stream: str) -> list[dict[str, Any]]:
    """The entries of a Redis stream."""
    import redis

    with redis.Redis(port=server.port) as client:
        found: Any = client.xrange(stream)
    return [json.loads(entry[b"data"]) for _, entry in found]


def read_subject(server: Server, stream: str) -> list[dict[str, Any]]:
    """The messages of a JetStream stream."""
    found: list[dict[str, Any]] = []

    async def work(js: Any) -> None:
        count = (await js.stream_info(stream)).state.messages
        consumer = await js.subscribe(">", stream=stream, ordered_consumer=True)
        while len(found) < count:
            found.append(json.loads((await consumer.next_msg(10)).data))

    with_nats_client(server, work)
    return found
