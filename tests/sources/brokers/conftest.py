"""Fixtures of the tests of brokers: one server for many tests, each with a topic of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources.brokers.servers import Kafka, Server, mock_kafka, noida


@pytest.fixture(scope="session")
def _mock() -> Iterator[Kafka]:
    with mock_kafka() as kafka:
        yield kafka


@pytest.fixture(scope="session")
def _noida(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with noida(tmp_path_factory.mktemp("noida")) as (kafka, _):
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
def own_kafka(tmp_path: Path) -> Iterator[tuple[Kafka, Server]]:
    """A server of a test's own, which it may kill."""
    with noida(tmp_path) as found:
        yield found
