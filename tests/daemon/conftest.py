"""What tests of the application share: models that stand in, and a client of them."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.daemon.calling import client
from tests.daemon.standing_in import StandIn
from tests.daemon.standing_in import StandInRegistry


@pytest.fixture
def registry() -> StandInRegistry:
    return StandInRegistry("wine")


@pytest.fixture
def wine(registry: StandInRegistry) -> StandIn:
    found: StandIn = registry.models["wine"]
    return found


@pytest.fixture
def http(registry: StandInRegistry) -> TestClient:
    return client(registry)
