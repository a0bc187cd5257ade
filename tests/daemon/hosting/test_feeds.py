"""Streams of real brokers are learned by a hosted model, each message once, and labels are joined.

The stream of each broker is read by the same source as elsewhere, whose own tests are under
`tests.sources.brokers`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import anyio
import pytest

from streamnet.client.schemas import Feed
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.predictions import predict_nothing
from streamnet.daemon.prometheus import Metrics
from streamnet.errors import BusyError
from streamnet.settings.daemon import ModelSettings, parse
from tests.daemon.hosted_models import TABLES, hosting, rows, until
from tests.daemon.kills import left
from tests.sources.brokers.servers import Kafka, Server
from tests.sources.brokers.streams import NatsStream, RedisStream, add
from tests.sources.brokers.test_mqtt import publish as publish_to_topic
from tests.sources.brokers.test_mqtt import start_session


def fed(source: dict[str, Any] | None = None, **tables: Any) -> ModelSettings:
    """Settings that only a run file may have."""
    given = {"source": {"target": "y", "task": "classification"} | (source or {})}
    return ModelSettings.model_validate({**TABLES, **tables, **given})


def encode(samples: Sequence[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(sample).encode() for sample in samples]


def feeds_of(hosted: HostedModel) -> dict[str, Feed]:
    return {feed.name: feed for feed in hosted.status().feeds}


async def read_all(hosted: HostedModel, records: int) -> None:
    """Wait until the feeds have so many records in the journal, and all of it is learned."""

    def is_read() -> bool:
        assert all(feed.state != "failed" for feed in hosted.status().feeds), hosted.status().feeds
        return sum(feed.records for feed in hosted.status().feeds) >= records

    await until(is_read)
    await until(lambda: not hosted.queued)


class Stream(NamedTuple):
    """A stream of a broker of a test's own."""

    server: Server
    tables: dict[str, Any]  # of a source
    write: Callable[[Sequence[bytes]], None]


@pytest.fixture(params=["kafka", "redis", "nats", "mqtt"])
def stream(request: pytest.FixtureRequest, tmp_path: Path) -> Stream:
    """A stream of each broker, whose server a test may kill."""
    broker: str = request.param
    if broker == "kafka":
        kafka, server = request.getfixturevalue("own_kafka")
        kafka.create_topic()
        return Stream(server, {"files": f"kafka://{kafka.address}/events"}, kafka.produce)
    names = {"redis": "own_valkey", "nats": "own_jetstream", "mqtt": "own_mqtt"}
    server = request.getfixturevalue(names[broker])
    if broker == "redis":
        tables: dict[str, Any] = {"server": server.address, "stream": "events"}
        tables |= {"value_field": "data"}
        return Stream(server, {broker: tables}, lambda values: add(server, "events", values))
    if broker == "nats":
        events = NatsStream(server, "events")
        return Stream(server, {"files": f"nats://{server.address}/events"}, events.write)
    start_session(server, "events", tmp_path / "first")
    tables = {"server": server.address, "topic": "events/#", "client_id": "events"}
    # A stopped server may forget what was confirmed, and send it again.
    tables |= {"spool": str(tmp_path / "spool"), "distinct": True}
    return Stream(
        server, {broker: tables}, lambda values: publish_to_topic(server, "events/a", values)
    )


def test_each_message_is_learned_once_across_restarts_of_model_and_server(
    tmp_path: Path, stream: Stream
) -> None:
    """And the bits are those of the same samples in a file."""
    samples = [{**row, "n": number} for number, row in enumerate(rows(900))]
    stream.write(encode(samples[:400]))

    async def main() -> None:
        settings = fed(stream.tables)
        async with hosting(tmp_path / "model", settings) as hosted:
            await read_all(hosted, 400)
            (feed,) = hosted.status().feeds
            assert feed.connected
            await until(lambda: hosted.status().feeds[0].lag == 0)
            stream.server.stop()
            await until(lambda: not hosted.status().feeds[0].connected)
            assert "can't be read" in str(hosted.status().feeds[0].failure)
            assert hosted.state == "learning"
            await hosted.published()
            assert len(hosted.predict(samples[:2]).values) == 2
            stream.server.start()
            await anyio.to_thread.run_sync(stream.write, encode(samples[400:600]))
            await read_all(hosted, 600)
            await until(lambda: hosted.status().feeds[0].connected)
            begun = time.monotonic()
            hosted.stop()
            await until(lambda: hosted.state == "stopped")
        assert time.monotonic() - begun < 10.0  # a poll takes 0.2 s; the rest is for busy machines
        await anyio.to_thread.run_sync(stream.write, encode(samples[600:]))
        async with hosting(tmp_path / "model", settings) as hosted:
            await read_all(hosted, 900)
            assert hosted.status().learned == 900
        (tmp_path / "samples.jsonl").write_bytes(b"\n".join(encode(samples)) + b"\n")
        settings = fed({"files": [str(tmp_path / "samples.jsonl")]})
        async with hosting(tmp_path / "file", settings) as hosted:
            await read_all(hosted, 900)
        assert left(tmp_path / "model") == left(tmp_path / "file")

    anyio.run(main)


def test_all_partitions_of_a_topic_are_read_and_the_group_follows(
    tmp_path: Path, noida_kafka: Kafka
) -> None:
    topic = f"t{uuid4().hex}"
    noida_kafka.create_topic(topic, partitions=3)
    samples = rows(300)
    for partition in range(3):
        values = encode(samples[partition::3])
        noida_kafka.produce(
            [*values[:60], b"poison", *values[60:]], topic=topic, partition=partition
        )
    kafka = {"servers": [noida_kafka.address], "topic": topic, "group": topic}

    async def main() -> None:
        settings = fed(feed={"clicks": {"kafka": kafka}})
        async with hosting(tmp_path / "model", settings) as hosted:
            await read_all(hosted, 303)
            feeds = feeds_of(hosted)
            assert sorted(feeds) == ["clicks/0", "clicks/1", "clicks/2"]
            assert {feed.offset for feed in feeds.values()} == {101}
            assert {feed.stream for feed in feeds.values()} == {f"{topic}[{i}]" for i in range(3)}
            status = hosted.status()
            assert (status.learned, status.rejected) == (300, {"json": 3})
            places = [line.message for line in hosted.rejected().last]
            assert sorted(place["partition"] for place in places if place) == [0, 1, 2]
            assert {(place["topic"], place["id"]) for place in places if place} == {(topic, 60)}
            text = Metrics(lambda: {"spam": hosted}).text()
            assert 'streamnet_feed_records_total{feed="clicks/1",model="spam"} 101.0' in text
            assert 'streamnet_feed_connected{feed="clicks/2",model="spam"} 1.0' in text
        # What was acknowledged at the end is known to the broker.
        assert [noida_kafka.committed(topic, topic, i) for i in range(3)] == [101] * 3
        async with hosting(tmp_path / "model", settings) as hosted:
            noida_kafka.produce(encode(rows(1)), topic=topic, partition=1)
            await read_all(hosted, 304)
            assert hosted.status().learned == 301

    anyio.run(main)


def test_labels_of_a_stream_are_joined_with_predictions_in_any_order(
    tmp_path: Path, valkey_server: Server
) -> None:
    """Early ones wait; what names no prediction is rejected."""
    name = f"s{uuid4().hex}"
    labels = {"redis": {"server": valkey_server.address, "stream": name}, "id": "order"}
    samples = rows(300)

    def write(ids: Sequence[int]) -> None:
        add(valkey_server, name, [{"order": f"a{i}", "y": samples[i]["y"], "z": i} for i in ids])

    async def predict(hosted: HostedModel, ids: Sequence[int]) -> None:
        made = predict_nothing(len(ids))
        await hosted.remember([f"a{i}" for i in ids], [samples[i] for i in ids], made)

    async def main() -> None:
        settings = fed(feed={"outcomes": labels})
        write(range(100))  # before their predictions
        add(valkey_server, name, [{"y": "a"}, {"order": "x" * 201, "y": "b"}, {"order": "a7"}])
        async with hosting(tmp_path / "model", settings) as hosted:
            await until(lambda: feeds_of(hosted)["outcomes"].records == 103)
            assert hosted.status().early == 100
            await predict(hosted, range(300))
            assert (hosted.status().early, hosted.status().pending) == (0, 200)
        async with hosting(tmp_path / "model", settings) as hosted:
            write(range(299, 99, -1))  # in another order
            write([5])  # once more
            await read_all(hosted, 304)
            await until(lambda: hosted.status().requested == 300)
            status = hosted.status()
            assert status.outcomes == {"joined": 300, "duplicate": 1}
            assert status.learned == 300
            assert status.rejected == {"message": 2, "target-missing": 1}
            assert hosted.rejected().last[0].detail.startswith("column 'order' is missing")

    anyio.run(main)


def test_a_label_that_is_no_number_is_rejected_where_numbers_are_predicted(
    tmp_path: Path, valkey_server: Server
) -> None:
    name = f"s{uuid4().hex}"
    redis = {"server": valkey_server.address, "stream": name}
    labels = {"redis": redis, "id": "order", "label": "paid"}
    add(valkey_server, name, [{"order": 1, "paid": 2.5}, {"order": 2, "paid": "much"}])

    async def main() -> None:
        settings = fed({"task": "regression"}, feed={"outcomes": labels})
        async with hosting(tmp_path / "model", settings) as hosted:
            await hosted.remember(["1", "2"], rows(2), predict_nothing(2))
            await read_all(hosted, 2)
            await until(lambda: hosted.status().rejected == {"target-number": 1})
            assert hosted.status().outcomes == {"joined": 1}

    anyio.run(main)


def test_a_feed_waits_for_space_and_senders_have_theirs(
    tmp_path: Path, valkey_server: Server
) -> None:
    names = [f"s{uuid4().hex}" for _ in range(3)]
    for name in names:
        add(valkey_server, name, encode(rows(500)))
    feeds = {
        f"f{i}": {"redis": {"server": valkey_server.address, "stream": n, "value_field": "data"}}
        for i, n in enumerate(names)
    }

    async def main() -> None:
        settings = fed(feed=feeds, intake={"max_queued": 100})
        async with hosting(tmp_path / "model", settings) as hosted:
            source = hosted.current_run().source
            source.pause()
            await until(lambda: hosted.queued >= 50)
            await anyio.sleep(0.2)
            assert hosted.queued == 50  # of all feeds together
            await hosted.learn(rows(50))
            with pytest.raises(BusyError):
                await hosted.learn(rows(1))
            source.resume()
            await read_all(hosted, 1500)
            assert hosted.status().learned == 1550

    anyio.run(main)


@pytest.mark.parametrize("broker", ["nats", "redis"])
def test_lost_messages_stop_a_feed_or_are_a_rejected_record(
    tmp_path: Path, request: pytest.FixtureRequest, broker: str
) -> None:
    server: Server = request.getfixturevalue("jetstream" if broker == "nats" else "valkey_server")
    stream = NatsStream(server) if broker == "nats" else RedisStream(server)
    tables: dict[str, Any] = {"files": f"nats://{server.address}/{stream.id}"}
    if broker == "redis":
        redis = {"server": server.address, "stream": stream.id, "value_field": "data"}
        tables = {"redis": redis}
    stream.write(encode(rows(60)))

    async def main() -> None:
        async with hosting(tmp_path / "model", fed(tables)) as hosted:
            await read_all(hosted, 60)
        await anyio.to_thread.run_sync(stream.write, encode(rows(20, 60)))
        await anyio.to_thread.run_sync(stream.trim, 74)
        async with hosting(tmp_path / "model", fed(tables)) as hosted:
            await until(lambda: hosted.status().feeds[0].state == "failed")
            assert "before they were read" in str(hosted.status().feeds[0].failure)
            await until(lambda: hosted.state == "learning")
            await until(lambda: [one.kind for one in hosted.status().troubles] == ["feed"])
            await hosted.learn(rows(1))
            await hosted.resume()  # nothing has changed
            await until(lambda: hosted.status().feeds[0].state == "failed")
        async with hosting(tmp_path / "model", fed({**tables, "on_gap": "go_on"})) as hosted:
            await read_all(hosted, 60 + 1 + 6)
            assert hosted.status().rejected == {"gap": 1}
            assert hosted.status().learned == 60 + 1 + 6

    anyio.run(main)


def test_a_reset_model_reads_its_stream_again(tmp_path: Path, valkey_server: Server) -> None:
    name = f"s{uuid4().hex}"
    add(valkey_server, name, encode(rows(80)))
    redis = {"server": valkey_server.address, "stream": name, "value_field": "data"}

    async def main() -> None:
        async with hosting(tmp_path / "model", fed({"redis": redis})) as hosted:
            await read_all(hosted, 80)
            add(valkey_server, name, encode(rows(20, 80)))
            await read_all(hosted, 100)
            await hosted.reset()
            await read_all(hosted, 100)
            assert hosted.status().learned == 100

    anyio.run(main)


def test_a_topic_that_appears_late_is_read_when_the_model_is_resumed(
    tmp_path: Path, noida_kafka: Kafka
) -> None:
    topic = f"t{uuid4().hex}"

    async def main() -> None:
        settings = fed({"files": f"kafka://{noida_kafka.address}/{topic}"})
        async with hosting(tmp_path / "model", settings) as hosted:
            await until(lambda: hosted.status().feeds[0].state == "failed")
            assert "no such topic" in str(hosted.status().feeds[0].failure)
            noida_kafka.create_topic(topic)
            noida_kafka.produce(encode(rows(10)), topic=topic)
            await hosted.resume()
            await until(lambda: sum(feed.records for feed in hosted.status().feeds) == 10)

    anyio.run(main)


def test_a_run_file_may_name_streams() -> None:
    text = "[model.a.source]\ntarget = 'y'\nfiles = 'kafka://b1/events'\n"
    assert parse(text).model["a"].feeds["source"].broker == "kafka"
