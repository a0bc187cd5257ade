"""The servers of the tests of brokers."""

from tests.sources.brokers.conftest import (  # noqa: F401 - fixtures
    _mock,
    _noida,
    jetstream,
    kafka,
    mqtt,
    noida_kafka,
    own_jetstream,
    own_kafka,
    own_mqtt,
    own_valkey,
    valkey_server,
)
