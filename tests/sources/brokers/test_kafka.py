"""Kafka: both stand-ins, real client; columns, partitions, groups, logins and errors."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from streamnet.errors import ConfigurationError, ReadError
from streamnet.pipeline import Pipeline
from streamnet.pipeline.state import State
from streamnet.samples import Kind
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources.brokers.base import BrokerSource
from tests.sources.brokers.servers import Kafka, Server, free_port, require_module
from tests.sources.brokers.streams import KafkaStream, rows
from tests.sources.harness import content, firsts, read, take

require_module("confluent_kafka")

SECRET = "correct-horse-battery"


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"t{uuid4().hex}"


def source_of(kafka: Kafka, topic: str, **settings: Any) -> BrokerSource:
    return KafkaStream(kafka, topic).source(**settings)


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
    shown = []
    for settings in login:
        source = source_of(Kafka(f"127.0.0.1:{free_port()}"), "events", **settings)
        with pytest.raises((ReadError, ConfigurationError)) as found:
            read(source)
        shown += [str(found.value), repr(vars(source)), json.dumps(source.export_state(None))]
    seen = "".join([*shown, caplog.text, *capfd.readouterr()])
    assert "can't be read" in seen
    assert SECRET not in seen


def test_a_password_that_cannot_be_read_is_said_without_it(tmp_path: Path) -> None:
    settings = {"user": "me", "password_file": str(tmp_path / "none")}
    with pytest.raises(ConfigurationError, match=r"password_file is .*, but: No such file"):
        read(source_of(Kafka("127.0.0.1:1"), "events", **settings))


# ---------------------------------------------------------------------- groups and servers


def test_the_group_follows_the_checkpoints(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(rows(700), topic=topic)
    source = source_of(kafka, topic, group=topic)
    candidates = [CandidateSettings(hidden=(4,))]
    pipeline = Pipeline(source, candidates=candidates, state=State(tmp_path))
    assert anyio.run(pipeline.run).report["learned"] == 700
    assert kafka.committed(topic, topic) == 700


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_is_away_is_waited_for(own_kafka: tuple[Kafka, Server]) -> None:
    kafka, server = own_kafka
    kafka.create_topic()
    kafka.produce(rows(50))

    async def main() -> list[float]:
        source = source_of(kafka, "events", follow=True)
        await source.open()
        found = firsts(await take(source, 50))
        await anyio.to_thread.run_sync(server.stop)
        await anyio.sleep(0.5)
        await anyio.to_thread.run_sync(server.start)
        await anyio.to_thread.run_sync(kafka.produce, rows(10, start=50))
        found += firsts(await take(source, 10, seconds=60))
        await source.aclose()
        return found

    assert anyio.run(main) == list(range(60))
