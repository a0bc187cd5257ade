"""Each message is learned exactly once, however often a run over a stream is killed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.sinks.readers import read_entries, read_subject, read_topic
from tests.sources.brokers.runs import (
    Run,
    assert_kills_change_nothing,
    assert_kills_of_the_server_change_nothing,
    write_samples,
)
from tests.sources.brokers.servers import Kafka, Server, mock_kafka
from tests.sources.brokers.streams import NatsStream, RedisStream
from tests.sources.brokers.test_mqtt import publish as publish_to_topic
from tests.sources.brokers.test_mqtt import start_session

pytestmark = [pytest.mark.timeout(1200), pytest.mark.no_cover]

KILLS = [3, pytest.param(20, marks=pytest.mark.long)]


@pytest.mark.parametrize("kills", KILLS)
def test_killed_runs_over_kafka_leave_what_an_undisturbed_one_leaves(
    own_kafka: tuple[Kafka, Server], tmp_path: Path, kills: int
) -> None:
    kafka, _ = own_kafka
    kafka.create_topic()
    settings = f"servers = '{kafka.address}'\ntopic = 'events'\ngroup = 'g'"
    kafka.create_topic("answers")
    count = 50_000 if kills > 3 else 8_000
    assert_kills_change_nothing(
        tmp_path,
        "kafka",
        settings,
        kafka.produce,
        kills=kills,
        count=count,
        sink=f"kafka://{kafka.address}/answers",
        read_sink=lambda: read_topic(kafka, "answers"),
    )
    assert kafka.committed("g") == count


@pytest.mark.long
def test_so_do_runs_over_the_mock_cluster(own_valkey: Server, tmp_path: Path) -> None:
    """It keeps some megabytes of a topic, less than the predictions are."""
    with mock_kafka() as kafka:
        assert_kills_change_nothing(
            tmp_path,
            "kafka",
            f"servers = '{kafka.address}'\ntopic = 'events'\npartition = 0",
            kafka.produce,
            kills=20,
            count=50_000,
            sink=f"valkey://{own_valkey.address}/answers",
            read_sink=lambda: read_entries(own_valkey, "answers"),
        )


@pytest.mark.parametrize("kills", KILLS)
def test_killed_runs_over_valkey_leave_what_an_undisturbed_one_leaves(
    own_valkey: Server, tmp_path: Path, kills: int
) -> None:
    settings = f"server = '{own_valkey.address}'\nstream = 'events'\nvalue_field = 'data'"
    assert_kills_change_nothing(
        tmp_path,
        "redis",
        settings,
        RedisStream(own_valkey, "events").write,
        kills=kills,
        count=50_000 if kills > 3 else 8_000,
        sink=f"valkey://{own_valkey.address}/answers",
        read_sink=lambda: read_entries(own_valkey, "answers"),
    )


@pytest.mark.parametrize("kills", KILLS)
def test_killed_runs_over_nats_leave_what_an_undisturbed_one_leaves(
    own_jetstream: Server, tmp_path: Path, kills: int
) -> None:
    NatsStream(own_jetstream, "answers")
    assert_kills_change_nothing(
        tmp_path,
        "nats",
        f"servers = '{own_jetstream.address}'\nstream = 'events'",
        NatsStream(own_jetstream, "events").write,
        kills=kills,
        count=50_000 if kills > 3 else 8_000,
        sink=f"nats://{own_jetstream.address}/answers.all",
        read_sink=lambda: read_subject(own_jetstream, "answers"),
    )


@pytest.mark.long
def test_killed_servers_of_valkey_lose_nothing(own_valkey: Server, tmp_path: Path) -> None:
    assert_kills_of_the_server_change_nothing(
        tmp_path,
        "redis",
        f"server = '{own_valkey.address}'\nstream = 'events'\nvalue_field = 'data'",
        RedisStream(own_valkey, "events").write,
        end_server=own_valkey.kill,
        start_server=own_valkey.start,
        sink=f"valkey://{own_valkey.address}/answers",
        read_sink=lambda: read_entries(own_valkey, "answers"),
    )


@pytest.mark.long
def test_killed_servers_of_nats_lose_nothing(own_jetstream: Server, tmp_path: Path) -> None:
    NatsStream(own_jetstream, "answers")
    assert_kills_of_the_server_change_nothing(
        tmp_path,
        "nats",
        f"servers = '{own_jetstream.address}'\nstream = 'events'",
        NatsStream(own_jetstream, "events").write,
        end_server=own_jetstream.kill,
        start_server=own_jetstream.start,
        sink=f"nats://{own_jetstream.address}/answers.all",
        read_sink=lambda: read_subject(own_jetstream, "answers"),
    )


@pytest.mark.long
def test_servers_of_kafka_that_end_lose_nothing(
    own_kafka: tuple[Kafka, Server], tmp_path: Path
) -> None:
    """The small server loses what it confirmed when it is killed, so it is stopped."""
    kafka, server = own_kafka
    for topic in ("events", "answers"):
        kafka.create_topic(topic)
    assert_kills_of_the_server_change_nothing(
        tmp_path,
        "kafka",
        f"servers = '{kafka.address}'\ntopic = 'events'",
        kafka.produce,
        end_server=server.stop,
        start_server=server.start,
        sink=f"kafka://{kafka.address}/answers",
        read_sink=lambda: read_topic(kafka, "answers"),
    )


@pytest.mark.long
def test_killed_brokers_of_mqtt_lose_nothing(own_mqtt: Server, tmp_path: Path) -> None:
    """Each message has an id, so what the broker sends again is dropped."""
    count, kills = 5_000, 5
    start_session(own_mqtt, "events", tmp_path / "first", distinct=True)
    settings = (
        f"server = '{own_mqtt.address}'\ntopic = 'events/#'\nclient_id = 'events'\n"
        "spool = 'spool'\ndistinct = true"
    )
    run = Run(tmp_path / "run", "mqtt", settings)
    messages = write_samples(count)
    publish_to_topic(own_mqtt, "events/a", messages[:1000])
    run.start()
    run.wait_for(1000)
    step = (count - 1000) // kills
    for start in range(1000, count, step):
        publish_to_topic(own_mqtt, "events/a", messages[start : start + step])
        own_mqtt.kill()
        own_mqtt.start()
    run.wait_for(count)
    run.stop()
    poison = sum(message.startswith(b"poison") for message in messages)
    assert len(run.left()["letters"].splitlines()) == poison
    assert len(run.predictions()) == count - poison
    assert run.records() == count


@pytest.mark.parametrize("kills", KILLS)
def test_killed_runs_over_mqtt_learn_each_message(
    own_mqtt: Server, tmp_path: Path, kills: int
) -> None:
    """The order of arrival is fixed by the spool, so there is no undisturbed run to compare with;
    each message has an id, and its prediction is written once.
    """
    count = 50_000 if kills > 3 else 5_000
    start_session(own_mqtt, "events", tmp_path / "first", distinct=True)
    settings = (
        f"server = '{own_mqtt.address}'\ntopic = 'events/#'\nclient_id = 'events'\n"
        "spool = 'spool'\ndistinct = true"
    )
    run = Run(tmp_path / "killed", "mqtt", settings)
    messages = write_samples(count)
    ends = [1500 + number * (count - 2000) // kills for number in range(kills + 1)]
    publish_to_topic(own_mqtt, "events/a", messages[: ends[0]])
    for start, end in pairwise(ends):
        before = run.records()  # maybe all that were published
        run.start()
        run.wait_for(min(before + 1, start))
        publish_to_topic(own_mqtt, "events/a", messages[start:end])
        run.kill()
    run.start()
    publish_to_topic(own_mqtt, "events/a", messages[count - 500 :])
    run.wait_for(count)
    run.stop()
    left = run.left()
    poison = len(left["letters"].splitlines())
    assert poison == sum(message.startswith(b"poison") for message in messages)
    assert len(run.predictions()) == count - poison
    assert run.records() == count
