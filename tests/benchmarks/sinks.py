"""Delay from a message being produced to its prediction being in the sink; time to stop.

    python -m tests.benchmarks.sinks [kafka redis nats] [--rate 1000] [--seconds 20]

A server of the tests runs on this machine, and ``streamnet run`` with 4 candidates reads JSON
messages from one of its streams and sends predictions to another. Messages are produced one by one
at the rate; a reader waits at the end of the other stream. The first quarter is not counted. Then
the run, which waits for messages, gets SIGTERM. Goals: p50 5 ms, p99 25 ms, and 2 s.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from anyio.from_thread import start_blocking_portal

from tests.sources.brokers.runs import Run, write_samples
from tests.sources.brokers.servers import nats_server, noida, valkey
from tests.sources.brokers.streams import NatsStream

WAIT_SECONDS = 0.5  # of the reader, at most


class Streams(NamedTuple):
    """The two streams of a broker."""

    settings: str  # of the source
    sink: str  # URL
    produce: Callable[[bytes], object]
    receive: Callable[[], list[bytes]]  # what is new in the sink


@contextmanager
def open_kafka() -> Iterator[Streams]:
    """Topics of a server that speaks Kafka's protocol."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    with noida() as (kafka, _):
        for topic in ("events", "answers"):
            kafka.create_topic(topic)
        producer = Producer({"bootstrap.servers": kafka.address, "linger.ms": 0})
        consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "reader"})
        consumer.assign([TopicPartition("answers", 0, 0)])

        def produce(value: bytes) -> None:
            producer.produce("events", value, partition=0)
            producer.poll(0)

        def receive() -> list[bytes]:
            first = consumer.poll(WAIT_SECONDS)
            found = [] if first is None else [first, *consumer.consume(1000, 0)]
            return [one.value() for one in found if one.error() is None]

        settings = f"servers = '{kafka.address}'\ntopic = 'events'"
        yield Streams(settings, f"kafka://{kafka.address}/answers", produce, receive)
        producer.flush()
        consumer.close()


@contextmanager
def open_redis() -> Iterator[Streams]:
    """Streams of a Valkey server."""
    import redis

    with valkey() as server, redis.Redis(port=server.port) as client:
        last = [b"0-0"]

        def receive() -> list[bytes]:
            milliseconds = int(1000 * WAIT_SECONDS)
            found: Any = client.xread({"answers": last[0]}, block=milliseconds)
            entries = found[0][1] if found else []
            if entries:
                last[0] = entries[-1][0]
            return [entry[b"data"] for _, entry in entries]

        settings = f"server = '{server.address}'\nstream = 'events'\nvalue_field = 'data'"
        sink = f"redis://{server.address}/answers"
        yield Streams(settings, sink, lambda value: client.xadd("events", {"data": value}), receive)


@contextmanager
def open_nats() -> Iterator[Streams]:
    """Streams of a NATS server."""
    import nats

    with nats_server() as server, start_blocking_portal() as portal:
        for stream in ("events", "answers"):
            NatsStream(server, stream)
        client = portal.call(nats.connect, f"nats://{server.address}")
        arrived: list[bytes] = []

        async def take(message: Any) -> None:
            arrived.append(message.data)

        async def publish(value: bytes) -> None:
            await client.publish("events.a", value)

        portal.call(lambda: client.subscribe("answers.>", cb=take))

        def receive() -> list[bytes]:
            time.sleep(0.0005)
            count = len(arrived)
            found = arrived[:count]
            del arrived[:count]
            return found

        settings = f"servers = '{server.address}'\nstream = 'events'"
        sink = f"nats://{server.address}/answers.all"
        yield Streams(settings, sink, lambda value: portal.call(publish, value), receive)
        portal.call(client.close)


BROKERS = {"kafka": open_kafka, "redis": open_redis, "nats": open_nats}


def measure(
    streams: Streams, folder: Path, broker: str, rate: float, seconds: float
) -> tuple[list[float], float]:
    """Delays in seconds, by number of the prediction, and seconds from SIGTERM to the end."""
    messages = [m for m in write_samples(int(1.1 * rate * seconds)) if not m.startswith(b"poison")]
    messages = messages[: int(rate * seconds)]
    begun, delays = [0.0] * len(messages), [0.0] * len(messages)

    def produce() -> None:
        start = time.perf_counter()
        for number, message in enumerate(messages):
            while (now := time.perf_counter()) < start + number / rate:
                time.sleep(max(0.0, start + number / rate - now))
            begun[number] = time.perf_counter()
            streams.produce(message)

    run = Run(folder / "run", broker, streams.settings, streams.sink)
    run.start()
    time.sleep(10.0)  # for its start
    producer = Thread(target=produce)
    producer.start()
    found = 0
    while found < len(messages):
        assert run.process is not None
        assert run.process.poll() is None, (folder / "run" / "log.txt").read_text()
        values = streams.receive()
        now = time.perf_counter()
        for value in values:
            number = json.loads(value)["number"]
            delays[number] = now - begun[number]
            found += 1
    producer.join()
    return delays[len(delays) // 4 :], run.stop()


def main() -> None:
    """Measure, and print a row for each broker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("brokers", nargs="*", default=list(BROKERS))
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    for broker in given.brokers:
        with tempfile.TemporaryDirectory() as folder, BROKERS[broker]() as streams:
            delays, stopped = measure(streams, Path(folder), broker, given.rate, given.seconds)
        p50, p99 = 1000 * np.quantile(delays, (0.5, 0.99))
        print(f"{broker}: {given.rate:g}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)
        print(f"    ended {stopped:.2f} s after SIGTERM", flush=True)


if __name__ == "__main__":
    main()
