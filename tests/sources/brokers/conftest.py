"""Fixtures of the tests of brokers: one server for many tests, each with a topic of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sources.brokers.servers import (
    Kafka,
    Server,
    mock_kafka,
    mosquitto,
    nats_server,
    noida,
    valkey,
)


@pytest.fixture(scope="session")
def _mock() -> Iterator[Kafka]:
    with mock_kafka() as kafka:
        yield kafka


@pytest.fixture(scope="session")
def _noida() -> Iterator[Kafka]:
    with noida() as (kafka, _):
        yield kafka


@pytest.fixture(params=["mock", "noida"])
def kafka(request: pytest.FixtureRequest) -> Kafka:
    """Each of the two stand-ins for Kafka, so that no test depends on what one of them lacks."""
    found: Kafka = request.getfixturevalue(f"_{request.param}")
    return found


@pytest.fixture
def noida_kafka(_noida: Kafka) -> Kafka:
    """The stand-in whose topics can be created, deleted and trimmed."""
    return _noida


@pytest.fixture
def own_kafka() -> Iterator[tuple[Kafka, Server]]:
    """A server of a test's own, which it may kill."""
    with noida() as found:
        yield found


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    """A Valkey server for all tests."""
    with valkey() as server:
        yield server


@pytest.fixture
def own_valkey() -> Iterator[Server]:
    """A server of a test's own, which it may kill."""
    with valkey() as server:
        yield server


@pytest.fixture(scope="session")
def jetstream() -> Iterator[Server]:
    """A NATS server for all tests."""
    with nats_server() as server:
        yield server


@pytest.fixture
def own_jetstream() -> Iterator[Server]:
    """A server of a test's own, which it may kill."""
    with nats_server() as server:
        yield server


@pytest.fixture(scope="session")
def mqtt() -> Iterator[Server]:
    """An MQTT broker for all tests."""
    with mosquitto() as server:
        yield server


@pytest.fixture
def own_mqtt() -> Iterator[Server]:
    """A broker of a test's own, which it may kill."""
    with mosquitto() as server:
        yield server
