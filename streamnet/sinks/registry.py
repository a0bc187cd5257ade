"""The registry of sinks, and `open_sink`, which makes one from its URL.

To add a sink, declare its settings in `streamnet.settings.sinks`, write a module beside this one
with its destination, and enter it in `DESTINATIONS`.
"""

from __future__ import annotations

from streamnet.settings.sinks import find_sink, parse_sink_url
from streamnet.sinks.base import Destination
from streamnet.sinks.outbox import Outbox
from streamnet.sources.brokers.registry import ClientModule

DESTINATIONS: dict[str, ClientModule[Destination]] = {
    "kafka": ClientModule("streamnet.sinks.kafka", "KafkaDestination", "confluent_kafka"),
    "redis": ClientModule("streamnet.sinks.redis", "RedisDestination", "redis"),
    "nats": ClientModule("streamnet.sinks.nats", "NatsDestination", "nats"),
    "mqtt": ClientModule("streamnet.sinks.mqtt", "MqttDestination", "paho.mqtt"),
    "webhook": ClientModule("streamnet.sinks.webhook", "WebhookDestination", "httpx"),
}
"""Destinations by the name of the sink, which is also that of its settings and its extra."""


def open_sink(url: str, output: str, *, keyed: bool = False) -> Outbox:
    """The outbox of an output that goes to a URL.

    Args:
        url: URL for which `find_sink` finds a sink.
        output: Name of the output.
        keyed: Whether its records have keys.

    Raises:
        ConfigurationError: If a setting is invalid, or the client is not installed.
    """
    name = find_sink(url)
    assert name is not None
    settings = parse_sink_url(url)
    return Outbox(output, DESTINATIONS[name].load(name)(settings, keyed=keyed))
