"""Outputs of a hosted model go to streams of a real server: all, in order, each record once."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from streamnet.daemon.predictions import predict_nothing
from streamnet.daemon.prometheus import Metrics
from streamnet.errors import ConfigurationError
from streamnet.settings.daemon import parse_model
from streamnet.sinks import outbox
from tests.daemon.hosted_models import hosting, learned, rows, until
from tests.daemon.hosting.test_feeds import encode, fed
from tests.processes import found_by
from tests.sinks.readers import read_entries, read_topic
from tests.sources.brokers.runs import trickle
from tests.sources.brokers.servers import Kafka, Server
from tests.sources.brokers.streams import add

KILLS = [4, pytest.param(20, marks=pytest.mark.long)]


def unnumbered(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert [record.pop("number") for record in records] == list(range(len(records)))
    return records


def test_each_output_goes_to_its_stream(tmp_path: Path, own_valkey: Server) -> None:
    server = f"valkey://{own_valkey.address}"
    names = ("predictions", "dead_letters", "champions", "events")
    output = {name: f"{server}/{name}" for name in names}

    async def main() -> None:
        async with hosting(tmp_path / "spam", fed(output=output)) as hosted:
            await hosted.learn(rows(400))
            await hosted.learn(b'{"x": 1, "y": "a"}\nno JSON\n{"x": 2, "y": "b"}\n')
            await learned(hosted, 402)
            await until(lambda: not any(one.waiting for one in hosted.status().outputs))
            assert [one.name for one in hosted.status().outputs] == list(names)
            text = Metrics(lambda: {"spam": hosted}).text()
            assert 'streamnet_output_waiting{model="spam",output="events"} 0.0' in text
            await until(lambda: hosted.status().scored == 402)
            served = hosted.status().served
        sent = unnumbered(read_entries(own_valkey, "predictions"))
        # One score: that of the status is of the predictions that were sent.
        assert [row["sample"] for row in sent] == list(range(402))
        right = sum(row["answer"] == row["truth"] for row in sent)
        assert served == pytest.approx(right / 402, abs=1e-12)
        (letter,) = unnumbered(read_entries(own_valkey, "dead_letters"))
        assert (letter["raw"], letter["reason"]) == ("no JSON", "json")
        champions = unnumbered(read_entries(own_valkey, "champions"))
        assert [one["generation"] for one in champions] == list(range(1, len(champions) + 1))
        assert {one["name"] for one in champions} == {"spam"}
        for one in champions[-3:]:
            assert (tmp_path / "spam" / "state" / "models" / one["file"]).exists()
        events = unnumbered(read_entries(own_valkey, "events"))
        assert "champion" in {one["event"] for one in events}

    anyio.run(main)


def test_learning_waits_for_a_sink_that_is_away_and_a_stop_does_not(
    tmp_path: Path, own_valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_WAITING", 100)
    monkeypatch.setattr("streamnet.daemon.hosting.troubles.MAX_WAITING", 100)
    monkeypatch.setattr("streamnet.daemon.hosting.troubles._PATIENCE", 0.0)
    settings = fed(output={"predictions": f"valkey://{own_valkey.address}/predictions"})

    async def main() -> None:
        async with hosting(tmp_path / "model", settings) as hosted:
            await hosted.learn(rows(300))
            await until(lambda: len(read_entries(own_valkey, "predictions")) == 300)
            await anyio.to_thread.run_sync(own_valkey.stop)
            for start in range(300, 3000, 20):
                await hosted.learn(rows(20, start))
            await until(lambda: hosted.status().troubles)
            (trouble,) = hosted.status().troubles
            assert trouble.kind == "output"
            await until(lambda: "learning waits for it" in hosted.status().troubles[0].message)
            assert hosted.status().learned < 3000
            assert hosted.predict(rows(1)).generation > 0
        # It has ended although nothing can be delivered.
        await anyio.to_thread.run_sync(own_valkey.start)
        async with hosting(tmp_path / "model", settings) as hosted:
            await learned(hosted, 3000)
            await until(lambda: len(read_entries(own_valkey, "predictions")) == 3000)
        sent = unnumbered(read_entries(own_valkey, "predictions"))
        assert [row["sample"] for row in sent] == list(range(3000))

    anyio.run(main)


def test_predictions_have_the_ids_of_their_samples_and_what_callers_got(
    tmp_path: Path, valkey_server: Server
) -> None:
    name = f"p{uuid4().hex}"
    output = {"predictions": f"valkey://{valkey_server.address}/{name}"}
    settings = fed({"id": "order"}, output=output, evaluation={"interval": 0.8})
    samples = [{**row, "order": f"s{i}"} for i, row in enumerate(rows(500))]

    async def main() -> None:
        async with hosting(tmp_path / "model", settings) as hosted:
            first = await hosted.remember(["early"], samples[:1], predict_nothing(1))
            await hosted.learn(samples[:300])
            await learned(hosted, 300)
            await hosted.published()
            assert hosted.check_columns(samples[:1]) is None
            given = hosted.predict(samples[300:])
            kept = await hosted.remember([f"r{i}" for i in range(200)], samples[300:], given)
            await hosted.label([(f"r{i}", samples[300 + i]["y"]) for i in range(200)])
            await learned(hosted, 500)
            await until(lambda: len(read_entries(valkey_server, name)) == 501)
            fields = hosted.published_model().fields
            assert [name for name, _ in fields] == ["x", "w"]
        sent = unnumbered(read_entries(valkey_server, name))
        assert [row["id"] for row in sent] == [
            "early",
            *(f"s{i}" for i in range(300)),
            *(f"r{i}" for i in range(200)),
        ]
        for row, one in zip([sent[0], *sent[301:]], [*first, *kept], strict=True):
            assert (row["answer"], row.get("probabilities")) == (one.value, one.probabilities)
            assert (row["candidate"], row["generation"]) == (-3, one.generation)
            assert row["set"] == one.interval
        assert {row["candidate"] for row in sent[1:301]} == {-2}

    anyio.run(main)


@pytest.mark.parametrize("kills", KILLS)
def test_a_stream_answered_to_a_stream_across_kills_has_each_prediction_once(
    kills: int, tmp_path: Path, own_valkey: Server
) -> None:
    samples = encode(rows(1500 + 1500 * (2 + kills)))
    count = len(samples)
    add(own_valkey, "events", samples[:1500])
    writing = trickle(partial(add, own_valkey, "events"), samples[1500:], rate=1500)
    source: dict[str, Any] = {"server": own_valkey.address, "stream": "events"}
    source |= {"value_field": "data"}
    output = {"predictions": f"valkey://{own_valkey.address}/FOLDER"}
    given = json.dumps({"redis": source, "output": output})
    found = found_by("tests.daemon.feed_kills", kills, 11, tmp_path, given, count)
    writing.join()
    assert found["killed"] == found["whole"]
    killed, whole = (read_entries(own_valkey, name) for name in ("killed", "whole"))
    assert killed == whole
    assert [row["number"] for row in killed] == list(range(count))


@pytest.mark.long
def test_a_topic_answered_to_a_topic_across_kills_has_each_prediction_once(
    tmp_path: Path, noida_kafka: Kafka
) -> None:
    count = 20_000
    for topic in ("questions", "killed", "whole"):
        noida_kafka.create_topic(topic)
    write = partial(noida_kafka.produce, topic="questions")
    write(encode(rows(500)))
    writing = trickle(write, encode(rows(count - 500, 500)), rate=1000)
    source = {"servers": [noida_kafka.address], "topic": "questions", "partition": 0}
    output = {"predictions": f"kafka://{noida_kafka.address}/FOLDER?partition=0"}
    given = json.dumps({"kafka": source, "output": output})
    found = found_by("tests.daemon.feed_kills", 20, 12, tmp_path, given, count)
    writing.join()
    assert found["killed"] == found["whole"]
    killed, whole = (read_topic(noida_kafka, name) for name in ("killed", "whole"))
    assert killed == whole
    assert [row["number"] for row in killed] == list(range(count))


def test_outputs_are_not_named_over_http() -> None:
    with pytest.raises(ConfigurationError, match=r"^output is given, but streams cannot be named"):
        parse_model({"source": {"target": "y"}, "output": {"events": "kafka://b/events"}})
