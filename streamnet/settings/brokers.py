"""Settings of message brokers: where they are, how to log in, and what their messages hold.

Passwords and tokens never stand in settings, which are part of checkpoints and reports: a setting
names the file or the environment variable that holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import parse_qsl, unquote

from annotated_types import MaxLen, MinLen

from streamnet.errors import ConfigurationError
from streamnet.settings.fields import (
    Count,
    Declaration,
    Positive,
    Setting,
    Settings,
    Size,
    Text,
    Texts,
    check_names,
    declare,
    list_settings,
)

MessageFormat = Literal["json", "csv", "msgpack", "avro", "protobuf"]

_CHANGEABLE = Setting(changeable=True)
Address = Annotated[Text | None, _CHANGEABLE]
"""A text that may change when a run resumes: it says how the stream is reached, not which it is."""


@declare
class MessageSettings(Settings):
    """What the messages of a broker hold.

    Args:
        format: Format of the messages.
        key: Name of a column for the key of each message; by default keys are not used.
        timestamp: Name of a column for the time of each message; by default times are not used.
        headers: Columns for headers of messages, by name of the header.
        tombstones: What to do with a message without a value: skip it, reject it, or forget the
            model of its key, of a run whose key is the column of the messages' keys.
        names: Names of the columns of a CSV message, in their order.
        delimiter: Character between the fields of a CSV message.
        schema_file: File with the Avro schema (JSON), or with the descriptor set of Protobuf.
        message: Full name of the type of the messages, for Protobuf.
        framed: Whether each message begins with the id of its schema, as a schema registry's
            clients write it; always so with a registry.
        registry: URL of the schema registry that has the Avro schemas.
        registry_ca: PEM file of the authorities whose certificates are trusted there.
        registry_user: Name of the user of the registry.
        registry_password_file: File that holds the password for the registry.
        registry_password_env: Environment variable that holds the password for the registry.
    """

    format: MessageFormat = "json"
    key: Text | None = None
    timestamp: Text | None = None
    headers: Mapping[str, Text] | None = None
    tombstones: Literal["skip", "reject", "forget"] = "skip"
    names: Texts | None = None
    delimiter: Annotated[str, MinLen(1), MaxLen(1)] = ","
    schema_file: Text | None = None
    message: Text | None = None
    framed: bool = False
    registry: Address = None
    registry_ca: Address = None
    registry_user: Address = None
    registry_password_file: Address = None
    registry_password_env: Address = None

    def check_rules(self) -> None:
        """Check that columns have different names, and the URL of the registry."""
        super().check_rules()
        names = [name for name in (self.key, self.timestamp) if name is not None]
        names += (self.headers or {}).values()
        for name in names:
            if names.count(name) > 1:
                raise ConfigurationError(
                    f"headers has {name!r}, but two columns can't be called so"
                )
        if self.tombstones == "forget" and self.key is None:
            raise ConfigurationError("tombstones is 'forget', but then key must name a column")
        _check_registry_url(self.registry)
        if self.registry is not None and self.format != "avro":
            raise ConfigurationError(
                f"registry is {self.registry!r}, but only messages of format 'avro' need one"
            )


def _check_registry_url(url: str | None) -> None:
    if url is None:
        return
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https") or not rest:
        raise ConfigurationError(f"registry is {url!r}, but must be a URL with http or https")
    if "@" in rest.partition("/")[0]:
        raise ConfigurationError(
            "registry has a user or a password in it, but must not: registry_user, and "
            "registry_password_file or registry_password_env, say where they are"
        )


@declare
class LoginSettings(Settings):
    """How a broker is reached and how the client identifies itself.

    Args:
        tls: Whether the connection is encrypted.
        ca: PEM file of the authorities whose certificates are trusted; by default the system's.
        certificate: PEM file of the client's certificate.
        private_key: PEM file of the client's private key.
        user: Name of the user.
        password_file: File that holds the password.
        password_env: Environment variable that holds the password.
    """

    tls: Annotated[bool, _CHANGEABLE] = False
    ca: Address = None
    certificate: Address = None
    private_key: Address = None
    user: Address = None
    password_file: Address = None
    password_env: Address = None

    @classmethod
    def locate(cls, hosts: str, path: str) -> dict[str, Any]:
        """The settings that hosts and path of a URL stand for."""
        raise NotImplementedError

    def check_rules(self) -> None:
        """Check that what belongs together is given together."""
        super().check_rules()
        self._check_needed("private_key", "certificate")
        self._check_needed("certificate", "private_key")
        self._check_exclusive("password_file", "password_env")

    def _check_needed(self, name: str, *others: str) -> None:
        """Check a setting that makes no sense without one of some others."""
        if getattr(self, name) and not any(getattr(self, other) for other in others):
            rule = f"then {' or '.join(others)} must be given, too"
            raise ConfigurationError(f"{name} is {getattr(self, name)!r}, but {rule}")

    def _check_exclusive(self, name: str, other: str) -> None:
        """Check two settings of which at most one may be given."""
        if getattr(self, name) and getattr(self, other):
            raise ConfigurationError(
                f"{name} is {getattr(self, name)!r}, but {other} is given, too; one is enough"
            )

    def _check_given(self, **required: str) -> None:
        """Check that settings are given; each with what it must name."""
        for name, what in required.items():
            if not getattr(self, name):
                raise ConfigurationError(f"{name} is not given, but must name {what}")


@declare
class BrokerSettings(MessageSettings, LoginSettings):
    """A stream of messages at a broker, which is read."""


SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


@declare
class KafkaTopicSettings(LoginSettings):
    """A partition of a Kafka topic, to be read or written.

    Args:
        servers: Addresses of brokers to start from, each as HOST:PORT.
        topic: Name of the topic.
        partition: Number of the partition; needed if the topic has more than one.
        mechanism: How the client logs in; by default PLAIN if there is a user.
        token_file: File that holds the token for OAUTHBEARER; it is read again for each token.
        token_env: Environment variable that holds the token.
    """

    servers: Annotated[Texts, _CHANGEABLE] = ()
    topic: Text | None = None
    partition: Size | None = None
    mechanism: Annotated[SaslMechanism | None, _CHANGEABLE] = None
    token_file: Address = None
    token_env: Address = None

    @classmethod
    def locate(cls, hosts: str, path: str) -> dict[str, Any]:
        """Servers and topic of a URL."""
        return {"servers": hosts.split(","), "topic": path}

    def check_rules(self) -> None:
        """Check what is required, and that settings do not contradict each other."""
        super().check_rules()
        self._check_given(servers="a broker as HOST:PORT", topic="the topic")
        self._check_exclusive("token_file", "token_env")
        if self.mechanism == "OAUTHBEARER":
            self._check_needed("mechanism", "token_file", "token_env")
        elif token := self.token_file or self.token_env:
            name = "token_file" if self.token_file else "token_env"
            raise ConfigurationError(
                f"{name} is {token!r}, but then mechanism must be 'OAUTHBEARER'"
            )
        else:
            self._check_needed("mechanism", "user")
        self._check_needed("user", "password_file", "password_env")


@declare
class KafkaSettings(BrokerSettings, KafkaTopicSettings):
    """A partition of a Kafka topic.

    Args:
        group: Consumer group whose offsets follow the checkpoints, so that tools show how far
            learning is behind; by default none. Where to resume is never taken from it.
        subscribe: Whether `streamnet run` becomes a member of the group, which assigns partitions
            to it; each has a model of its own, whose state moves with it.
        session_seconds: Seconds without a heartbeat after which the group takes a member for dead.
            To give up a partition, a member has three quarters of them.
    """

    group: Address = None
    subscribe: Annotated[bool, _CHANGEABLE] = False
    session_seconds: Annotated[Positive, _CHANGEABLE] = 45.0

    def check_rules(self) -> None:
        """Check that what a member of a group needs is given."""
        super().check_rules()
        if self.subscribe and self.group is None:
            raise ConfigurationError("subscribe is true, but then group must be given, too")
        if self.subscribe and self.partition is not None:
            raise ConfigurationError(
                f"partition is {self.partition}, but with subscribe the group assigns partitions"
            )


@declare
class RedisStreamSettings(LoginSettings):
    """A Redis or Valkey stream, to be read or written.

    Args:
        server: Address of the server as HOST:PORT.
        stream: Key of the stream.
        database: Number of the database.
    """

    server: Address = None
    stream: Text | None = None
    database: Size = 0

    @classmethod
    def locate(cls, hosts: str, path: str) -> dict[str, Any]:
        """Server and stream of a URL."""
        return {"server": hosts, "stream": path}

    def check_rules(self) -> None:
        """Check what is required."""
        super().check_rules()
        self._check_given(server="the server as HOST:PORT", stream="the stream")
        _check_address("server", self.server)


@declare
class RedisSettings(BrokerSettings, RedisStreamSettings):
    """A Redis or Valkey stream.

    Args:
        value_field: Field of an entry that holds a message; by default an entry is a sample itself,
            whose values are its fields, and the format of messages is not used.
        key_field: Field of an entry that holds the key of the message.
        group: Consumer group whose last entry follows the checkpoints, so that tools show how far
            learning is behind; by default none. Where to resume is never taken from it.
    """

    value_field: Text | None = None
    key_field: Text | None = None
    group: Address = None

    def check_rules(self) -> None:
        """Check that settings do not contradict each other."""
        super().check_rules()
        self._check_needed("key_field", "value_field")


@declare
class NatsServerSettings(LoginSettings):
    """Servers of NATS, and how to log in there.

    Args:
        servers: Addresses of servers to start from, each as HOST:PORT.
        credentials_file: File with the credentials of a user, as nsc writes it.
        nkey_file: File with the seed of a user's nkey.
        token_file: File that holds a token to log in with.
        token_env: Environment variable that holds the token.
    """

    servers: Annotated[Texts, _CHANGEABLE] = ()
    credentials_file: Address = None
    nkey_file: Address = None
    token_file: Address = None
    token_env: Address = None

    def check_rules(self) -> None:
        """Check what is required, and that settings do not contradict each other."""
        super().check_rules()
        self._check_given(servers="a server as HOST:PORT")
        for server in self.servers:
            _check_address("servers", server)
        self._check_exclusive("token_file", "token_env")
        self._check_exclusive("credentials_file", "nkey_file")


@declare
class NatsSettings(BrokerSettings, NatsServerSettings):
    """A stream of NATS JetStream; the key of a message is its subject.

    Args:
        stream: Name of the stream.
        subject: Subject of the messages to read, which may have wildcards; by default all.
    """

    stream: Text | None = None
    subject: Text | None = None

    @classmethod
    def locate(cls, hosts: str, path: str) -> dict[str, Any]:
        """Servers and stream of a URL."""
        return {"servers": hosts.split(","), "stream": path}

    def check_rules(self) -> None:
        """Check what is required."""
        super().check_rules()
        self._check_given(stream="the stream to read")


@declare
class MqttServerSettings(LoginSettings):
    """Topics of an MQTT broker, to be read or written.

    Args:
        server: Address of the broker as HOST:PORT.
        topic: Name of the topic.
    """

    server: Address = None
    topic: Text | None = None

    @classmethod
    def locate(cls, hosts: str, path: str) -> dict[str, Any]:
        """Server and topic of a URL."""
        return {"server": hosts, "topic": path}

    def check_rules(self) -> None:
        """Check what is required."""
        super().check_rules()
        self._check_given(server="the broker as HOST:PORT", topic="the topic")
        _check_address("server", self.server)


@declare
class MqttSettings(BrokerSettings, MqttServerSettings):
    """Topics of an MQTT broker; the key of a message is its topic.

    Args:
        topic: Topic filter of the messages, which may have wildcards.
        client_id: Name of the session in which the broker keeps messages while nobody reads; no two
            clients may have the same.
        spool: Folder for messages between their acknowledgement and the checkpoint that holds what
            was learned from them.
        spool_bytes: Size of the spool above which messages are left at the broker.
        distinct: Whether no two messages are equal, as where each has an id or a time; then one
            that the broker sends again is recognized and dropped.
    """

    client_id: Text = "streamnet"
    spool: Address = None
    spool_bytes: Annotated[Count, _CHANGEABLE] = 1 << 30
    distinct: bool = False

    def check_rules(self) -> None:
        """Check what is required."""
        super().check_rules()
        self._check_given(spool="a folder: MQTT can't send messages twice")


def _check_address(name: str, text: str | None) -> None:
    host, colon, port = str(text).rpartition(":")
    if colon and not (host and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigurationError(f"{name} is {text!r}, but must be HOST:PORT")


def split_address(text: str | None, default_port: int) -> tuple[str, int]:
    """Host and port of an address that was checked.

    >>> split_address("[::1]:6380", 6379), split_address("localhost", 6379)
    (('::1', 6380), ('localhost', 6379))
    """
    host, _, port = str(text).rpartition(":")
    return (host.strip("[]"), int(port)) if host else (port.strip("[]"), default_port)


BROKERS: dict[str, type[BrokerSettings]] = {
    "kafka": KafkaSettings,
    "redis": RedisSettings,
    "nats": NatsSettings,
    "mqtt": MqttSettings,
}
"""Settings of each broker by the name of its table under ``[source]``."""

_SCHEMES: dict[str, tuple[str, dict[str, Any]]] = {
    "kafka": ("kafka", {}),
    "kafkas": ("kafka", {"tls": True}),
    "mqtt": ("mqtt", {}),
    "mqtts": ("mqtt", {"tls": True}),
    "nats": ("nats", {}),
    "natss": ("nats", {"tls": True}),
    "redis": ("redis", {}),
    "rediss": ("redis", {"tls": True}),
    "valkey": ("redis", {}),
    "valkeys": ("redis", {"tls": True}),
}
"""Broker, and what a scheme of a URL says of it."""


def find_broker(text: str) -> str | None:
    """Name of the broker that a text is the URL of a stream of; None if it is no such URL.

    >>> find_broker("valkey://localhost/events"), find_broker("events.csv")
    ('redis', None)
    """
    scheme, found, _ = text.partition("://")
    return _SCHEMES[scheme.lower()][0] if found and scheme.lower() in _SCHEMES else None


def is_broker_url(text: str) -> bool:
    """Whether a text is the URL of a stream of a broker, not the name of a file.

    >>> is_broker_url("kafka://localhost:9092/events"), is_broker_url("events.csv")
    (True, False)
    """
    return find_broker(text) is not None


def parse_broker_url(url: str) -> tuple[str, dict[str, Any]]:
    """The broker that a URL names, and the settings in it as plain values.

    >>> parse_broker_url("kafka://b1:9092,b2:9092/events?partition=3")
    ('kafka', {'servers': ['b1:9092', 'b2:9092'], 'topic': 'events', 'partition': 3})

    Raises:
        ConfigurationError: If it holds a password, or a query that is not a setting.
    """
    broker, _ = _SCHEMES[url.partition("://")[0].lower()]
    return broker, parse_stream_url(url, BROKERS[broker])


def parse_stream_url(url: str, settings: type[LoginSettings]) -> dict[str, Any]:
    """The settings in the URL of a stream as plain values.

    Args:
        url: The URL, for which `is_broker_url` holds.
        settings: What they are settings of.

    Raises:
        ConfigurationError: If it holds a password, or a query that is not a setting.
    """
    scheme, _, rest = url.partition("://")
    address, _, query = rest.partition("?")
    hosts, _, path = address.partition("/")
    place = f"{scheme}://{hosts.rpartition('@')[2]}/{path}"
    if "@" in hosts:
        raise ConfigurationError(
            f"{place} has a user or a password in front of it, but passwords must not stand in "
            "URLs: user, and password_file or password_env, say where they are"
        )
    given = settings.locate(hosts, unquote(path))
    return {**_SCHEMES[scheme.lower()][1], **given, **parse_query(query, settings, place)}


def parse_query(query: str, settings: type, place: str) -> dict[str, Any]:
    """The settings in the query of a URL as plain values; ``place`` is the URL in messages."""
    declared, values = list_settings(settings), dict[str, Any]()
    for name, text in parse_qsl(query, keep_blank_values=True):
        check_names([name], declared, place)
        values[name] = _convert(declared[name], text, place)
    return values


def _convert(declaration: Declaration, text: str, place: str) -> Any:
    """The value that a text in a URL stands for."""
    kinds = set(_list_types(declaration.hint))
    name = declaration.name
    if Mapping in kinds:
        raise ConfigurationError(f"{place} has {name}, but that must be given in a run file")
    if bool in kinds:
        if text not in ("true", "false"):
            raise ConfigurationError(f"{name} of {place} is {text!r}, but must be true or false")
        return text == "true"
    for kind, rule in ((int, "a whole number"), (float, "a number")):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                raise ConfigurationError(
                    f"{name} of {place} is {text!r}, but must be {rule}"
                ) from None
    return text.split(",") if tuple in kinds else text


def _list_types(hint: Any) -> Iterator[Any]:
    """The types that a declared type is made of."""
    origin = get_origin(hint)
    if origin in (Annotated, Union, UnionType):
        for option in get_args(hint)[: 1 if origin is Annotated else None]:
            yield from _list_types(option)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield Mapping
    else:
        yield origin or hint
