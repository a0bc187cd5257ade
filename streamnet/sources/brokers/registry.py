"""The registry of brokers, and `open_broker`, which makes the source of one.

To add a broker, declare its settings in `streamnet.settings.brokers`, write a module beside this
one with its source, and enter it in `SOURCES`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple, Unpack

from streamnet.errors import ConfigurationError
from streamnet.sources.base import Source
from streamnet.sources.brokers.base import BrokerSource, StreamKeywords
from streamnet.sources.wrappers import GuardedSource


class Broker(NamedTuple):
    """Where the source of a broker is, and the client that it needs."""

    module: str
    source: str
    client: str  # the module that the extra of the broker's name installs

    def load(self, extra: str) -> type[BrokerSource]:
        """Import the source.

        Raises:
            ConfigurationError: If the client is not installed.
        """
        try:
            import_module(self.client)
        except ModuleNotFoundError:
            raise ConfigurationError(
                f"{extra} needs {self.client}, which is not installed: "
                f"pip install 'streamnet-learn[{extra}]'"
            ) from None
        found: type[BrokerSource] = getattr(import_module(self.module), self.source)
        return found


SOURCES: dict[str, Broker] = {
    "kafka": Broker("streamnet.sources.brokers.kafka", "KafkaSource", "confluent_kafka"),
    "redis": Broker("streamnet.sources.brokers.redis", "RedisSource", "redis"),
    "nats": Broker("streamnet.sources.brokers.nats", "NatsSource", "nats"),
    "mqtt": Broker("streamnet.sources.brokers.mqtt", "MqttSource", "paho.mqtt"),
}
"""Sources by the name of the broker, which is also that of its settings and its extra."""


def open_broker(
    name: str, settings: dict[str, Any], *, follow: bool = False, **shared: Unpack[StreamKeywords]
) -> Source:
    """Make the source of a broker from its settings by name.

    Raises:
        ConfigurationError: If a setting is invalid, or the client is not installed.
    """
    make: Any = SOURCES[name].load(name)
    source: Source = make(follow=follow, **shared, **settings)
    columns = shared.get("columns")
    stops = () if columns is None else columns.drift.stops
    return GuardedSource(source, stops) if stops else source
