"""Kafka: both stand-ins, real client; positions, gaps, columns, groups and errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.pipeline import Pipeline
from streamnet.pipeline.state import State
from streamnet.samples import Kind, Position
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import Columns
from tests.sources.brokers.servers import Kafka, Server, free_port, require_module
from tests.sources.harness import assert_resumes_everywhere, content, drain, places, read

require_module("confluent_kafka")

from streamnet.sources.brokers.kafka import KafkaSource  # noqa: E402 - behind the check

SECRET = "correct-horse-battery"


def rows(count: int, start: int = 0) -> list[bytes]:
    return [json.dumps({"x": i, "y": "ab"[i % 2]}).encode() for i in range(start, start + count)]


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"t{uuid4().hex}"


def source_of(kafka: Kafka, topic: str, **settings: Any) -> KafkaSource:
    given = {"columns": Columns(target="y", head=5), "partition": 0, **settings}
    return KafkaSource(servers=kafka.address, topic=topic, **given)


def test_samples_are_those_of_the_topic_in_its_order(kafka: Kafka, topic: str) -> None:
    kafka.produce(rows(3000), topic=topic)
    schema, blocks = read(source_of(kafka, topic))
    assert schema.numbers == ("x",)
    assert [x for block in blocks for x in block.numbers[:, 0]] == list(range(3000))
    assert [block.source for block in blocks] == [f"{topic}[0]"] * len(blocks)
    assert blocks[-1].end == Position(f"{topic}[0]", 3000, 3000, 0)


def test_reading_resumes_behind_every_sample(kafka: Kafka, topic: str) -> None:
    values = [*rows(4), None, b"poison", *rows(3, start=4), b"", None]
    kafka.produce(values, topic=topic, keys=[b"k"] * len(values))

    def make() -> KafkaSource:
        return source_of(kafka, topic, key="k")

    assert_resumes_everywhere(make, places(make))


def test_key_time_and_headers_are_those_of_the_messages(kafka: Kafka, topic: str) -> None:
    headers = [[("trace", b"t0"), ("other", b"x")], [], [("trace", b"t2")]]
    times = [1_700_000_000_000 + 500 * i for i in range(3)]
    kafka.produce(rows(3), topic=topic, keys=[b"one", None, b"two"], headers=headers, times=times)
    source = source_of(kafka, topic, key="device", timestamp="sent", headers={"trace": "trace"})
    schema, blocks = read(source)
    assert dict(schema.fields)["sent"] is Kind.TIME
    columns = dict(zip(schema.words, blocks[0].words, strict=True))
    assert columns["device"].tolist() == ["one", None, "two"]
    assert columns["trace"].tolist() == ["t0", None, "t2"]
    assert blocks[0].numbers[:, 1].tolist() == [1.7e9, 1.7e9 + 0.5, 1.7e9 + 1.0]


def test_a_poison_message_keeps_topic_partition_offset_and_key(kafka: Kafka, topic: str) -> None:
    kafka.produce([*rows(2), b"poison"], topic=topic, keys=[None, None, b"k7"])
    (letter,) = content(read(source_of(kafka, topic))[1]).letters
    assert letter.message == {"topic": topic, "partition": 0, "id": 2, "key": "k7"}
    assert letter.raw == "poison"


# ------------------------------------------------------------------------------------ gaps


def at_five(kafka: Kafka, topic: str) -> tuple[Position, str]:
    """A position behind five messages, and the state that belongs to it."""

    async def main() -> tuple[Position, str]:
        source = source_of(kafka, topic)
        await source.open()
        block = await source.receive()
        assert block is not None
        end = block.part(0, 5).end
        state = json.dumps(source.export_state(end))
        await source.aclose()
        return end, state

    return anyio.run(main)


def create_longer(kafka: Kafka, topic: str) -> None:
    kafka.delete_topic(topic)
    kafka.create_topic(topic)
    kafka.produce(rows(30, start=100), topic=topic)


def create_shorter(kafka: Kafka, topic: str) -> None:
    kafka.delete_topic(topic)
    kafka.create_topic(topic)
    kafka.produce(rows(3, start=100), topic=topic)


@pytest.mark.parametrize(
    ("change", "detail", "rest"),
    [
        (
            lambda kafka, topic: kafka.trim(8, topic),
            "begins at offset 8, but was left at 5: the messages in between were deleted before",
            12,
        ),
        (create_shorter, "ends at offset 3, but was left at 5: it lost messages, or was", 3),
        (create_longer, "has another message at offset 4 than the one that was read there", 30),
    ],
)
def test_what_was_lost_while_nobody_read_is_told(
    noida_kafka: Kafka, topic: str, change: Callable[[Kafka, str], None], detail: str, rest: int
) -> None:
    noida_kafka.create_topic(topic)
    noida_kafka.produce(rows(20), topic=topic)
    position, state = at_five(noida_kafka, topic)
    change(noida_kafka, topic)
    with pytest.raises(DataError, match=detail):
        anyio.run(drain, source_of(noida_kafka, topic), position, state)
    lossy = source_of(noida_kafka, topic, on_gap="go_on")
    found = content(anyio.run(drain, lossy, position, state)[1])
    assert [letter.reason for letter in found.letters] == ["gap"]
    assert len(found.samples) == rest


def test_a_trim_up_to_the_next_message_loses_nothing(noida_kafka: Kafka, topic: str) -> None:
    noida_kafka.create_topic(topic)
    noida_kafka.produce(rows(20), topic=topic)
    position, state = at_five(noida_kafka, topic)
    noida_kafka.trim(5, topic)
    found = content(anyio.run(drain, source_of(noida_kafka, topic), position, state)[1])
    assert not found.letters
    assert len(found.samples) == 15


def test_retention_that_overtakes_reading_is_told(noida_kafka: Kafka, topic: str) -> None:
    noida_kafka.create_topic(topic)
    noida_kafka.produce(rows(20), topic=topic)

    async def main() -> tuple[Any, Any]:
        source = source_of(noida_kafka, topic, follow=True, on_gap="go_on")
        await source.open()
        await source.receive()
        # What the client has fetched ahead is still there; so the offset that it asks for next is
        # moved on, as if it had been slow.
        source._subscription._seek(30)  # type: ignore[attr-defined]
        noida_kafka.produce(rows(30, start=20), topic=topic)
        noida_kafka.trim(45, topic)
        source._subscription._seek(30)  # type: ignore[attr-defined]
        gap = await source.receive()
        rest = await source.receive()
        await source.aclose()
        return gap, rest

    gap, rest = anyio.run(main)
    assert [letter.reason for letter in gap.rejected] == ["gap"]
    assert "has offsets from 45 to 49, but offset 30 comes next" in gap.rejected[0].detail
    assert rest.numbers[:, 0].tolist() == [45.0, 46.0, 47.0, 48.0, 49.0]


# ---------------------------------------------------------------------------------- errors


def test_a_topic_of_several_partitions_needs_one_to_be_named(kafka: Kafka, topic: str) -> None:
    kafka.produce(rows(2), topic=topic, partition=0)
    if len(partitions_of(kafka, topic)) == 1:
        kafka.delete_topic(topic)
        kafka.create_topic(topic, 4)
    with pytest.raises(ConfigurationError) as found:
        read(source_of(kafka, topic, partition=None))
    assert str(found.value) == (
        f"partition is not given, but topic '{topic}' has 4: one stream is one partition, from 0 "
        "to 3"
    )
    with pytest.raises(ConfigurationError, match=r"partition is 9, but topic .* has only"):
        read(source_of(kafka, topic, partition=9))


def partitions_of(kafka: Kafka, topic: str) -> list[int]:
    from confluent_kafka.admin import AdminClient

    found = AdminClient({"bootstrap.servers": kafka.address}).list_topics(topic, timeout=10)
    return sorted(found.topics[topic].partitions)


def test_a_topic_that_does_not_exist_is_named(kafka: Kafka, topic: str) -> None:
    with pytest.raises(ConfigurationError, match=f"topic is '{topic}', but there is no such topic"):
        read(source_of(kafka, topic))


def test_a_broker_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamnet.sources.brokers.kafka.REQUEST_SECONDS", 0.5)
    nowhere = Kafka(f"127.0.0.1:{free_port()}")
    with pytest.raises(ReadError, match=rf"events\[0\] can't be read from {nowhere.address}"):
        read(source_of(nowhere, "events"))


def test_passwords_and_tokens_are_in_no_log_and_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    monkeypatch.setattr("streamnet.sources.brokers.kafka.REQUEST_SECONDS", 1.0)
    caplog.set_level(logging.DEBUG)
    (tmp_path / "password").write_text(f"{SECRET}\n")
    monkeypatch.setenv("STREAMNET_TEST_SECRET", SECRET)
    login = [
        {"user": "me", "password_file": str(tmp_path / "password")},
        {"user": "me", "password_env": "STREAMNET_TEST_SECRET", "mechanism": "SCRAM-SHA-256"},
        {"token_env": "STREAMNET_TEST_SECRET", "mechanism": "OAUTHBEARER"},
    ]
    told = []
    for settings in login:
        source = source_of(Kafka(f"127.0.0.1:{free_port()}"), "events", **settings)
        with pytest.raises((ReadError, ConfigurationError)) as found:
            read(source)
        told += [str(found.value), repr(vars(source)), json.dumps(source.export_state(None))]
    seen = "".join([*told, caplog.text, *capfd.readouterr()])
    assert "can't be read" in seen
    assert SECRET not in seen


def test_a_password_that_cannot_be_read_is_said_without_it(tmp_path: Path) -> None:
    settings = {"user": "me", "password_file": str(tmp_path / "none")}
    with pytest.raises(ConfigurationError, match=r"password_file is .*, but: No such file"):
        read(source_of(Kafka("127.0.0.1:1"), "events", **settings))


# ---------------------------------------------------------------------- groups and servers


def test_the_group_is_told_what_a_checkpoint_holds(
    kafka: Kafka, topic: str, tmp_path: Path
) -> None:
    kafka.produce(rows(700), topic=topic)
    source = source_of(kafka, topic, group=topic)
    candidates = [CandidateSettings(hidden=(4,))]
    pipeline = Pipeline(source, candidates=candidates, state=State(tmp_path))
    assert anyio.run(pipeline.run).report["learned"] == 700
    assert kafka.committed(topic, topic) == 700


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_killed_broker_is_waited_for(own_kafka: tuple[Kafka, Server]) -> None:
    kafka, server = own_kafka
    kafka.create_topic()
    kafka.produce(rows(50))

    async def main() -> list[float]:
        source = source_of(kafka, "events", follow=True)
        await source.open()
        found: list[float] = []
        while len(found) < 50:
            block = await source.receive()
            assert block is not None
            found += block.numbers[:, 0].tolist()
        await anyio.sleep(2)  # until the server has written to its disk
        await anyio.to_thread.run_sync(server.kill)
        await anyio.sleep(0.5)
        await anyio.to_thread.run_sync(server.start)
        await anyio.to_thread.run_sync(kafka.produce, rows(10, start=50))
        while len(found) < 60:
            block = await source.receive()
            assert block is not None
            found += block.numbers[:, 0].tolist()
        await source.aclose()
        return found

    assert anyio.run(main) == list(range(60))
