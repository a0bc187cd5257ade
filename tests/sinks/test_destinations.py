"""Kafka, Redis and NATS as destinations: real servers, which say themselves what they hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Timer
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from streamnet.errors import ConfigurationError, OutputError
from streamnet.settings.sinks import find_sink, parse_sink_url
from streamnet.sinks.base import DeliveryError, Destination, End, Record
from streamnet.sinks.outbox import Outbox
from streamnet.sinks.registry import DESTINATIONS
from tests.sinks.readers import list_messages, read_entries, read_subject, read_topic
from tests.sources.brokers.servers import Kafka, Server, require_module
from tests.sources.brokers.streams import NatsStream, add

for module in ("confluent_kafka", "nats", "redis"):
    require_module(module)

RUN = 1_700_000_000_000


class Stream(NamedTuple):
    """A stream of a test's own."""

    url: str
    read: Callable[[], list[Any]]
    disturb: Callable[[bytes], None]  # as another writer
    server: Server | None = None


def make_redis(server: Server) -> Stream:
    name = f"answers-{uuid4().hex}"
    return Stream(
        f"redis://{server.address}/{name}",
        lambda: read_entries(server, name),
        lambda value: add(server, name, [value]),
        server,
    )


def make_nats(server: Server) -> Stream:
    answers = NatsStream(server)
    return Stream(
        f"nats://{server.address}/{answers.id}.all",
        lambda: read_subject(server, answers.id),
        lambda value: answers.publish([value], subject="all"),
        server,
    )


@pytest.fixture(params=["kafka", "kafka-transactions", "redis", "nats"])
def stream(request: pytest.FixtureRequest) -> Stream:
    """A stream of each broker."""
    if request.param.startswith("kafka"):
        query = "?transactions=true" if "-" in request.param else ""
        kafka = request.getfixturevalue("noida_kafka")
        topic = f"t-{uuid4().hex}"
        kafka.create_topic(topic)
        return Stream(
            f"kafka://{kafka.address}/{topic}{query}",
            lambda: read_topic(kafka, topic),
            lambda value: kafka.produce([value], topic=topic),
        )
    if request.param == "redis":
        return make_redis(request.getfixturevalue("valkey_server"))
    return make_nats(request.getfixturevalue("jetstream"))


def open_destination(
    stream: Stream, run: int = RUN, number: int = 0, ends: dict[str, End] | None = None
) -> Destination:
    name = find_sink(stream.url)
    assert name is not None
    made = DESTINATIONS[name].load(name)(parse_sink_url(stream.url))
    made.open(run, number, ends or {})
    return made


def make_records(start: int, stop: int) -> list[Record]:
    return [Record(i, json.dumps({"number": i}).encode()) for i in range(start, stop)]


def numbers(stream: Stream) -> list[int]:
    return [row["number"] for row in stream.read()]


def test_what_is_held_is_not_sent_again_from_wherever_a_run_resumes(stream: Stream) -> None:
    first = open_destination(stream)
    first.send(make_records(0, 100))
    ends = first.export_ends()
    first.send(make_records(100, 150))
    first.close()
    for number, known in ((0, {}), (100, ends), (60, ends)):
        again = open_destination(stream, number=number, ends=known)
        again.send(make_records(number, 140))
        # The run goes on from a checkpoint that was written now, and is killed again.
        later = open_destination(stream, number=140, ends=again.export_ends())
        later.send(make_records(140, 150))
        for one in (again, later):
            one.close()
    last = open_destination(stream, number=140, ends=ends)
    last.send(make_records(140, 160))
    last.close()
    assert numbers(stream) == list(range(160))


def test_another_run_begins_behind_an_earlier_one(stream: Stream) -> None:
    for run in (RUN, RUN + 1):
        destination = open_destination(stream, run)
        destination.send(make_records(0, 10))
        destination.close()
    assert numbers(stream) == [*range(10), *range(10)]


def test_a_server_that_goes_away_loses_and_repeats_nothing(
    own_kafka: tuple[Kafka, Server], own_valkey: Server, own_jetstream: Server
) -> None:
    kafka, kafka_server = own_kafka
    kafka.create_topic("answers")
    on_kafka = Stream(
        f"kafka://{kafka.address}/answers",
        lambda: read_topic(kafka, "answers"),
        lambda value: None,
        kafka_server,
    )
    for stream in (on_kafka, make_redis(own_valkey), make_nats(own_jetstream)):
        name = find_sink(stream.url)
        assert name is not None
        assert stream.server is not None
        outbox = Outbox(name, DESTINATIONS[name].load(name)(parse_sink_url(stream.url)))
        outbox.begin()
        for number in range(6000):
            outbox.put(b'{"number": %d}' % number)
            if number % 2000 == 1000:
                # The small Kafka server loses what it confirmed when it is killed.
                (stream.server.stop if stream is on_kafka else stream.server.kill)()
            if number % 2000 == 1500:
                stream.server.start()
        outbox.flush()
        outbox.close()
        assert numbers(stream) == list(range(6000)), name


def test_nobody_else_may_write_to_a_stream_of_redis_or_a_subject_of_nats(
    valkey_server: Server, jetstream: Server
) -> None:
    for stream, rule in (
        (make_redis(valkey_server), "a stream of its own is needed"),
        (make_nats(jetstream), "a subject of its own is needed"),
    ):
        destination = open_destination(stream)
        destination.send(make_records(0, 5))
        stream.disturb(b'{"number": 0}')
        with pytest.raises(OutputError, match=rule):
            destination.open(RUN, 5, destination.export_ends())
        destination.close()


def test_others_may_write_to_a_topic_of_kafka_as_well(noida_kafka: Kafka) -> None:
    topic = f"t-{uuid4().hex}"
    noida_kafka.create_topic(topic)
    stream = Stream(f"kafka://{noida_kafka.address}/{topic}", list, print)
    destination = open_destination(stream)
    ends = destination.export_ends()
    destination.send(make_records(0, 5))
    destination.close()
    noida_kafka.produce([b"{}"] * 3, topic=topic)
    again = open_destination(stream, number=0, ends=ends)
    again.send(make_records(0, 8))
    again.close()
    found = [dict(message.headers() or ()) for message in list_messages(noida_kafka, topic)]
    sent = [int(headers["streamnet-number"]) for headers in found if headers]
    assert sent == list(range(8))
    assert len(found) == 11


def test_a_process_that_was_replaced_writes_nothing_more_with_transactions(
    noida_kafka: Kafka,
) -> None:
    topic = f"t-{uuid4().hex}"
    noida_kafka.create_topic(topic)
    url = f"kafka://{noida_kafka.address}/{topic}?transactions=true"
    stream = Stream(url, lambda: read_topic(noida_kafka, topic), print)
    first = open_destination(stream)
    first.send(make_records(0, 10))
    successor = open_destination(stream, number=10, ends=first.export_ends())
    with pytest.raises(OutputError, match="another process has taken over the run"):
        first.send(make_records(10, 20))
    first.close()
    successor.send(make_records(10, 15))
    successor.close()
    assert numbers(stream) == list(range(15))


@pytest.mark.parametrize("query", ["", "?transactions=true"])
def test_what_stands_behind_an_open_transaction_of_others_is_found(
    noida_kafka: Kafka, query: str
) -> None:
    from confluent_kafka import Producer

    topic = f"t-{uuid4().hex}"
    noida_kafka.create_topic(topic)
    stream = Stream(f"kafka://{noida_kafka.address}/{topic}{query}", list, print)
    destination = open_destination(stream)
    ends = destination.export_ends()
    other = Producer({"bootstrap.servers": noida_kafka.address, "transactional.id": topic})
    other.init_transactions(10)
    other.begin_transaction()
    other.produce(topic, b"{}")
    other.flush(10)
    destination.send(make_records(0, 5))
    destination.close()
    ending = Timer(1.0, other.commit_transaction)
    ending.start()
    again = open_destination(stream, ends=ends)
    ending.join()
    assert again.export_ends()["0"].held == 4
    again.close()


def test_keys_choose_the_partition_and_each_keeps_its_order(noida_kafka: Kafka) -> None:
    topic = f"t-{uuid4().hex}"
    noida_kafka.create_topic(topic, partitions=3)
    url = f"kafka://{noida_kafka.address}/{topic}"
    make = DESTINATIONS["kafka"].load("kafka")
    with pytest.raises(ConfigurationError, match=r"^partition is not given, but topic .* has 3"):
        make(parse_sink_url(url)).open(RUN, 0, {})
    records = [Record(i, b'{"number": %d}' % i, b"%d" % (i % 7)) for i in range(60)]
    first = make(parse_sink_url(url), keyed=True)
    first.open(RUN, 0, {})
    ends = first.export_ends()
    first.send(records[:40])
    first.close()
    again = make(parse_sink_url(url), keyed=True)
    again.open(RUN, 0, ends)
    again.send(records)
    again.close()
    found = [read_topic(noida_kafka, topic, partition) for partition in range(3)]
    for rows in found:
        places = [row["number"] for row in rows]
        assert places == sorted(places)
    assert sorted(row["number"] for rows in found for row in rows) == list(range(60))
    assert sum(map(bool, found)) > 1


def test_the_mock_of_librdkafka_takes_records_too(kafka: Kafka) -> None:
    topic = f"t-{uuid4().hex}"
    kafka.produce([b'{"number": -1}'], topic=topic)
    stream = Stream(f"kafka://{kafka.address}/{topic}?partition=0", list, print)
    first = open_destination(stream)
    first.send(make_records(0, 20))
    again = open_destination(stream, number=10, ends=first.export_ends())
    again.send(make_records(10, 30))
    first.close()
    again.close()
    assert [row["number"] for row in read_topic(kafka, topic)] == list(range(-1, 30))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("kafka://{kafka}/a?partition=9", "^partition is 9, but topic 'a' has only"),
        ("nats://{nats}/no.such", "^subject is 'no.such', but no stream stores it$"),
        ("redis://{redis}/text", "^stream 'text' of .* is no stream: WRONGTYPE"),
    ],
)
def test_what_does_not_exist_is_an_error_at_once(
    noida_kafka: Kafka, valkey_server: Server, jetstream: Server, url: str, message: str
) -> None:
    import redis

    with redis.Redis(port=valkey_server.port) as client:
        client.set("text", "some")
    url = url.format(kafka=noida_kafka.address, nats=jetstream.address, redis=valkey_server.address)
    with pytest.raises(ConfigurationError, match=message):
        open_destination(Stream(url, list, print))


@pytest.mark.parametrize("scheme", ["redis", "nats", "mqtt"])
def test_a_server_that_is_away_may_come_back(scheme: str) -> None:
    with pytest.raises(DeliveryError):
        open_destination(Stream(f"{scheme}://127.0.0.1:1/answers", list, print))
