"""What tests of the application share: models that stand in, and a client of them."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.daemon.app_client import client
from tests.daemon.stand_ins import StandIn, StandInRegistry


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
