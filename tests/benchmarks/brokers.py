"""Streams of messages: pace of learning and answering them, memory over many, time while idle.

    python -m tests.benchmarks.brokers [--samples N] [--millions N] [--idle SECONDS] [BROKER ...]

Writes JSON messages to real servers on this machine, and replays them with four candidates; again
with predictions sent to another stream of the server; and then the same lines in a file, so that
ratios do not depend on the machine. Goals: Kafka and Redis 60,000 samples/s, NATS 20,000, and half
of that answered; idle, 1 % of a core. While idle, only ``kafka-mock`` counts: the other server that
speaks Kafka's protocol answers at once if there is nothing, instead of waiting for messages.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import NamedTuple

import anyio

from streamnet.learning.learner import Learner
from streamnet.pipeline import Pipeline
from streamnet.pipeline.outputs import PredictionRows
from streamnet.pipeline.sent_outputs import SentPredictions
from streamnet.samples import Schema
from streamnet.selection.search import default_population
from streamnet.sinks.registry import open_sink
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.brokers.registry import open_broker
from tests.benchmarks.memory import MILLION, Meter
from tests.sources.brokers.servers import mock_kafka, nats_server, noida, valkey
from tests.sources.brokers.streams import NatsStream, add

CANDIDATES = 4
WRITTEN = 50_000  # messages at a time
COLUMNS = Columns(target="y")
Write = Callable[[Sequence[bytes]], None]
Open = Callable[[bool], Source]


class Broker(NamedTuple):
    """A server with a stream of messages, and a stream for predictions."""

    write: Write
    open_stream: Open
    sink: str  # URL


def make_messages(count: int) -> list[bytes]:
    """Samples of eight numbers, a category and a label that depends on two of them."""
    chance, found = random.Random(1), []
    for _ in range(count):
        row: dict[str, object] = {f"x{i}": round(chance.gauss(0, 1), 4) for i in range(8)}
        row["c"] = chance.choice("rgb")
        row["y"] = "ab"[float(str(row["x0"])) + float(str(row["x1"])) > 0]
        found.append(json.dumps(row).encode())
    return found


@contextmanager
def kafka() -> Iterator[Broker]:
    with noida() as (server, _):
        server.create_topic()
        server.create_topic("answers")
        given = {"servers": [server.address], "topic": "events"}
        yield Broker(server.produce, opener("kafka", **given), f"kafka://{server.address}/answers")


@contextmanager
def kafka_mock() -> Iterator[Broker]:
    with mock_kafka() as server:
        given = {"servers": [server.address], "topic": "events", "partition": 0}
        sink = f"kafka://{server.address}/answers?partition=0"
        yield Broker(server.produce, opener("kafka", **given), sink)


@contextmanager
def redis() -> Iterator[Broker]:
    with valkey("--appendonly", "no") as server:
        given = {"server": server.address, "stream": "events", "value_field": "data"}
        sink = f"redis://{server.address}/answers"
        yield Broker(
            lambda values: add(server, "events", list(values)), opener("redis", **given), sink
        )


@contextmanager
def nats() -> Iterator[Broker]:
    with nats_server() as server:
        stream = NatsStream(server, "events")
        NatsStream(server, "answers")
        given = {"servers": [server.address], "stream": "events"}
        yield Broker(
            stream.publish, opener("nats", **given), f"nats://{server.address}/answers.all"
        )


BROKERS = {"kafka": kafka, "kafka-mock": kafka_mock, "redis": redis, "nats": nats}


def opener(broker: str, **settings: object) -> Open:
    return lambda follow: open_broker(broker, settings, follow=follow, columns=COLUMNS)


def pipeline(source: Source, **more: object) -> Pipeline:
    return Pipeline(source, candidates=default_population(CANDIDATES), **more)  # type: ignore[arg-type]


async def answer(source: Source, sink: str) -> None:
    """Learn, and send each prediction."""

    def prepare(learner: Learner, schema: Schema) -> list[SentPredictions]:
        del schema
        rows = PredictionRows(task=learner.task, labels=learner.encoder.labels)
        box = open_sink(sink, "predictions")
        return [SentPredictions(box, rows, lambda: run.parts[""].emitted)]

    run = pipeline(source, prepare=prepare)
    await run.run()


class Timed:
    """Wall and processor time of a piece of work."""

    def __init__(self, work: Callable[[], object]) -> None:
        wall, used = perf_counter(), process_time()
        work()
        self.wall, self.used = perf_counter() - wall, process_time() - used

    def describe(self, count: int) -> str:
        pace, each = count / self.wall, 1e6 * self.used / count
        return f"{pace:,.0f} samples/s, {each:.1f} µs of processor time each"


async def read_all(source: Source) -> int:
    """Read to the end; returns how many messages are there."""
    await source.open()
    count = 0
    while (block := await source.receive()) is not None:
        count += len(block)
    await source.aclose()
    return count


async def idle(source: Source, seconds: float) -> None:
    await source.open()
    for _ in range(3):  # the messages that are there
        with anyio.move_on_after(1.0):
            while await source.receive() is not None:
                pass
    used = process_time()
    with anyio.move_on_after(seconds):
        await source.receive()
    share = (process_time() - used) / seconds
    print(f"    idle: {100 * share:.2f} % of a core", flush=True)
    await source.aclose()


def measure(name: str, messages: Sequence[bytes], file: Path, given: argparse.Namespace) -> None:
    with BROKERS[name]() as (write, open_stream, sink):
        print(name, flush=True)
        for start in range(0, len(messages), WRITTEN):
            write(messages[start : start + WRITTEN])
        count = anyio.run(read_all, open_stream(False))  # the mock cluster forgets old ones
        found = Timed(lambda: anyio.run(read_all, open_stream(False)))
        print(f"    read:     {found.describe(count)}", flush=True)
        learned = Timed(lambda: anyio.run(pipeline(open_stream(False)).run))
        print(f"    learned:  {learned.describe(count)}", flush=True)
        answered = Timed(lambda: anyio.run(answer, open_stream(False), sink))
        print(f"    answered: {answered.describe(count)}", flush=True)
        plain = Timed(lambda: anyio.run(pipeline(open_files([file], columns=COLUMNS)).run))
        print(f"    the file: {plain.describe(len(messages))}", flush=True)
        pace = plain.wall / len(messages) / (learned.wall / count)
        print(f"    {pace:.2f} of its pace", flush=True)
        print(
            f"    answered: {learned.wall / answered.wall:.2f} of the pace of learning", flush=True
        )
        if given.idle:
            anyio.run(idle, open_stream(True), given.idle)
        if given.millions:
            for _ in range(given.millions * MILLION // len(messages)):
                for start in range(0, len(messages), WRITTEN):
                    write(messages[start : start + WRITTEN])
            meter = Meter()
            anyio.run(pipeline(open_stream(False), sinks=[meter]).run)
            print(f"    {meter.describe()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("brokers", nargs="*", metavar="BROKER", help=f"of {', '.join(BROKERS)}")
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--millions", type=int, default=0, help="messages, for the memory")
    parser.add_argument("--idle", type=float, default=0.0, help="seconds without a message")
    given = parser.parse_args()
    messages = make_messages(given.samples)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "messages.jsonl"
        file.write_bytes(b"\n".join(messages) + b"\n")
        anyio.run(pipeline(open_files([file], columns=COLUMNS)).run)  # which compiles the kernels
        gc.freeze()  # as the command does once it has started
        for name in given.brokers or BROKERS:
            measure(name, messages, file, given)


if __name__ == "__main__":
    main()
