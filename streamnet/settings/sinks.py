"""Settings of sinks: streams and web addresses that outputs of a run are sent to, by their URLs.

A sink is what stands in place of a file: ``kafka://HOST:PORT/TOPIC``. Where it is and how
to log in there is declared as for sources, in `streamnet.settings.brokers`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

from streamnet.errors import ConfigurationError
from streamnet.settings.brokers import (
    KafkaTopicSettings,
    LoginSettings,
    MqttServerSettings,
    NatsServerSettings,
    RedisStreamSettings,
    find_broker,
    parse_query,
    parse_stream_url,
)
from streamnet.settings.fields import Count, Positive, Settings, Text, declare


@declare
class KafkaSinkSettings(KafkaTopicSettings):
    """A Kafka topic to write to.

    Args:
        transactions: Whether records are written in transactions, so that a process that was
            replaced by another one can write nothing more. Readers have to read committed records
            only.
    """

    transactions: bool = False


@declare
class RedisSinkSettings(RedisStreamSettings):
    """A Redis or Valkey stream to write to."""


@declare
class NatsSinkSettings(NatsServerSettings):
    """A subject of NATS JetStream to write to.

    Args:
        subject: Subject of the messages, which a stream has to store.
    """

    subject: Text | None = None

    @classmethod
    def locate(cls, hosts: str, path: str) -> dict[str, Any]:
        """Servers and subject of a URL."""
        return {"servers": hosts.split(","), "subject": path}

    def check_rules(self) -> None:
        """Check what is required."""
        super().check_rules()
        self._check_given(subject="the subject")
        if set("*>") & set(str(self.subject)):
            raise ConfigurationError(f"subject is {self.subject!r}, but must have no wildcards")


@declare
class MqttSinkSettings(MqttServerSettings):
    """An MQTT topic to write to.

    Args:
        client_id: Name of the session; no two clients of the broker may have the same. By default
            the broker chooses one.
        retain: Whether the broker keeps the last message for those who subscribe later.
    """

    client_id: Text | None = None
    retain: bool = False

    def check_rules(self) -> None:
        """Check that the topic is one."""
        super().check_rules()
        if set("+#") & set(str(self.topic)):
            raise ConfigurationError(f"topic is {self.topic!r}, but must have no wildcards")


@declare
class WebAddressSettings(Settings):
    """A web address that something is posted to.

    Args:
        url: The address.
        seconds: Seconds to wait for a reply.
        ca: PEM file of the authorities whose certificates are trusted; by default the system's.
        token_file: File with the token for the Authorization header.
        token_env: Environment variable that holds the token.
        secret_file: File with the secret that requests are signed with.
        secret_env: Environment variable that holds the secret.
    """

    url: Text
    seconds: Positive = 10.0
    ca: Text | None = None
    token_file: Text | None = None
    token_env: Text | None = None
    secret_file: Text | None = None
    secret_env: Text | None = None

    def check_rules(self) -> None:
        """Check the address."""
        _, _, rest = self.url.partition("://")
        if not rest.partition("/")[0]:
            raise ConfigurationError(
                f"url is {self.url!r}, but must be http://HOST or https://HOST"
            )
        if "@" in rest.partition("/")[0]:
            raise ConfigurationError(
                "url has a user or a password in it, but must not: token_file or token_env, after "
                "a #, says where a token is"
            )


@declare
class WebhookSettings(WebAddressSettings):
    """A web address that records are posted to.

    Args:
        batch: Most records of a request.
    """

    batch: Count = 500


SinkSettings = LoginSettings | WebhookSettings

SINKS: dict[str, type[LoginSettings] | type[WebhookSettings]] = {
    "kafka": KafkaSinkSettings,
    "redis": RedisSinkSettings,
    "nats": NatsSinkSettings,
    "mqtt": MqttSinkSettings,
    "webhook": WebhookSettings,
}
"""Settings of each sink by its name."""

SENT_OUTPUTS = ("predictions", "dead_letters", "champions", "events")
"""Outputs that can be sent to a sink."""

_WEB = ("http", "https")


def find_sink(text: str) -> str | None:
    """Name of the sink that a text is the URL of; None for the name of a file or its URL.

    >>> find_sink("kafka://localhost:9092/answers"), find_sink("https://example.org/hook")
    ('kafka', 'webhook')
    >>> find_sink("answers.csv"), find_sink("s3://bucket/answers.csv")
    (None, None)
    """
    scheme, found, _ = text.partition("://")
    if found and scheme.lower() in _WEB:
        return "webhook"
    return find_broker(text)


def check_sinks(outputs: Mapping[str, str | None], only: Container[str]) -> None:
    """Check the URLs of outputs by name: each has one of its own, and is no file if in ``only``.

    Two that go to an MQTT broker must not have the same session there, either.

    >>> check_sinks({"events": "events.jsonl"}, ["events"])
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: events is 'events.jsonl', but must be the URL of a stream
    or a web address, such as kafka://HOST/TOPIC
    """
    taken: dict[str, str] = {}
    sessions: dict[tuple[str | None, str], str] = {}
    for name, url in outputs.items():
        if url is None:
            continue
        if find_sink(url) is None:
            if name in only:
                rule = "must be the URL of a stream or a web address, such as kafka://HOST/TOPIC"
                raise ConfigurationError(f"{name} is {url!r}, but {rule}")
            continue
        settings = parse_sink_url(url)
        if url in taken:
            raise ConfigurationError(f"{name} is {url!r}, but that is where {taken[url]} go")
        taken[url] = name
        if isinstance(settings, MqttSinkSettings) and settings.client_id is not None:
            session = settings.server, settings.client_id
            if session in sessions:
                rule = f"client_id must be another one than that of {sessions[session]}"
                raise ConfigurationError(f"{name} is {url!r}, but {rule}")
            sessions[session] = name


def place_partition(url: str, partition: int) -> str:
    """The URL of a sink for what was read from one partition of a topic.

    A Kafka topic has partitions as well, and web addresses are shared; others have streams.

    >>> place_partition("kafka://host/answers?tls=true", 3), place_partition("nats://host/a", 3)
    ('kafka://host/answers?tls=true&partition=3', 'nats://host/a.3')
    """
    name = find_sink(url)
    if name == "webhook":
        return url
    if name != "kafka":
        return place_part(url, str(partition))
    settings: Any = parse_sink_url(url)
    if settings.partition is not None:
        return url
    return f"{url}{'&' if '?' in url else '?'}partition={partition}"


def place_part(url: str, part: str) -> str:
    """The URL of a sink for a part of an output: a stream or address of its own.

    >>> place_part("nats://host/answers?user=me", "cnt+24")
    'nats://host/answers.cnt+24?user=me'
    >>> place_part("mqtt://host/answers?client_id=me&retain=true", "3")
    'mqtt://host/answers.3?client_id=me-3&retain=true'
    """
    end = min((i for i in map(url.find, "?#") if i >= 0), default=len(url))
    address, more = url[:end], url[end:]
    if find_sink(url) == "mqtt" and more:
        given = parse_qsl(more[1:], keep_blank_values=True)
        own = [(key, f"{v}-{part}" if key == "client_id" else v) for key, v in given]
        more = f"?{urlencode(own)}"
    return f"{address}.{part}{more}"


def parse_sink_url(url: str) -> SinkSettings:
    """The settings of a sink in its URL, for which `find_sink` finds a name.

    Those of a stream are its query. The query of a web address is its own, so settings come after
    a ``#``.

    >>> parse_sink_url("kafka://b1:9092/answers?partition=3").partition
    3
    >>> parse_sink_url("https://example.org/hook?to=us#batch=100").batch
    100

    Raises:
        ConfigurationError: If it holds a password, an unknown setting, or an invalid value.
    """
    name = find_sink(url)
    assert name is not None
    if name == "webhook":
        address, _, query = url.partition("#")
        return WebhookSettings(address, **parse_query(query, WebhookSettings, address))
    settings = cast(type[LoginSettings], SINKS[name])
    return settings(**parse_stream_url(url, settings))
