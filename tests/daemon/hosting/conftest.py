"""Servers of message brokers for the feeds of hosted models."""

from tests.sources.brokers.conftest import (
    _noida,
    jetstream,
    mqtt,
    noida_kafka,
    own_jetstream,
    own_kafka,
    own_mqtt,
    own_valkey,
    valkey_server,
)

__all__ = (
    "_noida",
    "jetstream",
    "mqtt",
    "noida_kafka",
    "own_jetstream",
    "own_kafka",
    "own_mqtt",
    "own_valkey",
    "valkey_server",
)
