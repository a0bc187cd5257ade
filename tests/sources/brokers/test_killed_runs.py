"""Each message is learned exactly once, however often a run over a stream is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sources.brokers.runs import assert_kills_change_nothing
from tests.sources.brokers.servers import Kafka, Server
from tests.sources.brokers.test_nats import create, publish
from tests.sources.brokers.test_redis import add

pytestmark = [pytest.mark.timeout(1200), pytest.mark.no_cover]

KILLS = [3, pytest.param(20, marks=pytest.mark.long)]


@pytest.mark.parametrize("kills", KILLS)
def test_killed_runs_over_kafka_leave_what_an_undisturbed_one_leaves(
    own_kafka: tuple[Kafka, Server], tmp_path: Path, kills: int
) -> None:
    kafka, _ = own_kafka
    kafka.create_topic()
    settings = f"servers = '{kafka.address}'\ntopic = 'events'\ngroup = 'g'"
    count = 50_000 if kills > 3 else 8_000
    assert_kills_change_nothing(
        tmp_path, "kafka", settings, kafka.produce, kills=kills, count=count
    )
    assert kafka.committed("g") == count


@pytest.mark.parametrize("kills", KILLS)
def test_killed_runs_over_valkey_leave_what_an_undisturbed_one_leaves(
    own_valkey: Server, tmp_path: Path, kills: int
) -> None:
    settings = f"server = '{own_valkey.address}'\nstream = 'events'\nvalue_field = 'data'"
    assert_kills_change_nothing(
        tmp_path,
        "redis",
        settings,
        lambda values: add(own_valkey, "events", values),
        kills=kills,
        count=50_000 if kills > 3 else 8_000,
    )


@pytest.mark.parametrize("kills", KILLS)
def test_killed_runs_over_nats_leave_what_an_undisturbed_one_leaves(
    own_jetstream: Server, tmp_path: Path, kills: int
) -> None:
    create(own_jetstream, "events")
    assert_kills_change_nothing(
        tmp_path,
        "nats",
        f"servers = '{own_jetstream.address}'\nstream = 'events'",
        lambda values: publish(own_jetstream, "events", values),
        kills=kills,
        count=50_000 if kills > 3 else 8_000,
    )
