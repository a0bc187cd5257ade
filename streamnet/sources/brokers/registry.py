"""The registry of brokers, and `open_broker`, which makes the source of one.

To add a broker, declare its settings in `streamnet.settings.brokers`, write a module beside this
one with its source, and enter it in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Generic, NamedTuple, TypeVar, Unpack

from streamnet.errors import ConfigurationError
from streamnet.sources.base import Source
from streamnet.sources.brokers.base import BrokerSource, StreamKeywords
from streamnet.sources.wrappers import GuardedSource
from streamnet.version import install_command

T = TypeVar("T")


class ClientModule(NamedTuple, Generic[T]):
    """Where a class is that needs the client of a broker."""

    module: str
    name: str  # of the class
    client: str  # the module that an extra installs

    def load(self, extra: str) -> Callable[..., T]:
        """Import the class.

        Raises:
            ConfigurationError: If the client is not installed.
        """
        try:
            import_module(self.client)
        except ModuleNotFoundError:
            raise ConfigurationError(
                f"{extra} needs {self.client}, which is not installed: {install_command(extra)}"
            ) from None
        found: Callable[..., T] = getattr(import_module(self.module), self.name)
        return found


SOURCES: dict[str, ClientModule[BrokerSource]] = {
    "kafka": ClientModule("streamnet.sources.brokers.kafka", "KafkaSource", "confluent_kafka"),
    "redis": ClientModule("streamnet.sources.brokers.redis", "RedisSource", "redis"),
    "nats": ClientModule("streamnet.sources.brokers.nats", "NatsSource", "nats"),
    "mqtt": ClientModule("streamnet.sources.brokers.mqtt", "MqttSource", "paho.mqtt"),
}
"""Sources by the name of the broker, which is also that of its settings and its extra."""


def list_streams(name: str, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The streams of a broker that settings stand for, each with its settings.

    A Kafka topic without a partition has a stream for each, by its number; others have the name "".

    Raises:
        ReadError: If the broker can't be reached.
        ConfigurationError: If there is no such stream, the client may not read it, or is not
            installed.
    """
    source: Any = SOURCES[name].load(name)
    found: dict[str, dict[str, Any]] = source.list_streams(settings)
    return found


def open_broker(
    name: str, settings: dict[str, Any], *, follow: bool = False, **shared: Unpack[StreamKeywords]
) -> Source:
    """Make the source of a broker from its settings by name.

    Raises:
        ConfigurationError: If a setting is invalid, or the client is not installed.
    """
    source: Source = SOURCES[name].load(name)(follow=follow, **shared, **settings)
    columns = shared.get("columns")
    stops = () if columns is None else columns.drift.stops
    return GuardedSource(source, stops) if stops else source
