"""Topics of an MQTT broker, read with paho-mqtt through a spool on disk.

MQTT has no positions to come back to. So messages are written to disk before they are acknowledged,
and each that is there is learned exactly once. Between broker and disk the protocol promises at
least once: a message whose acknowledgement is lost comes again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from threading import Condition, Thread
from time import monotonic, time
from typing import Any, Unpack, final

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from streamnet.errors import ConfigurationError, ReadError
from streamnet.settings.brokers import MqttServerSettings, MqttSettings, split_address
from streamnet.settings.keywords import MqttKeywords
from streamnet.sources.brokers.base import (
    Bookmark,
    BrokerSource,
    GapError,
    StreamKeywords,
    Subscription,
    split_keywords,
    with_stream_settings,
)
from streamnet.sources.brokers.messages import Message
from streamnet.sources.brokers.secrets import make_failure, read_secret
from streamnet.sources.brokers.spool import Spool

logger: logging.Logger = logging.getLogger("streamnet.sources")

ANSWER_SECONDS = 10.0  # for an answer of the broker
KEEP_ALIVE_SECONDS = 30
PORT, TLS_PORT = 1883, 8883
MAX_WAITING = 65_535  # messages that may await their acknowledgement
REMEMBERED = 65_536  # messages among which duplicates are looked for
FULL_SECONDS = 0.1  # between checks whether a full spool has room

_FOREVER = 0xFFFFFFFF  # seconds after which the broker forgets a session


def connect(settings: MqttServerSettings, client_id: str | None) -> Client:
    """A client that is not connected yet, and reconnects by itself.

    Args:
        settings: Where the broker is.
        client_id: Name of the session; None if the broker is to choose one.

    Raises:
        ConfigurationError: If a password or a certificate can't be read.
    """
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id or "",
        protocol=5,
        manual_ack=True,
        reconnect_on_failure=True,
    )
    if settings.user is not None:
        password = read_secret("password", settings.password_file, settings.password_env)
        client.username_pw_set(settings.user, password)
    if settings.tls:
        try:
            client.tls_set(settings.ca, settings.certificate, settings.private_key)
        except OSError as error:
            raise ConfigurationError(f"ca or certificate can't be read: {error}") from None
    client.reconnect_delay_set(min_delay=1, max_delay=30)
    return client


@final
class MqttSubscription(Subscription):
    """The messages of a topic filter, in the order in which they came, from a spool."""

    def __init__(self, settings: MqttSettings, *, follow: bool) -> None:
        super().__init__(follow=follow)
        if not follow:
            raise ConfigurationError("follow is False, but must be True: MQTT topics have no end")
        self._settings = settings
        self._spool: Spool | None = None
        self._next = 0  # place of the next message
        self._client: Client | None = None
        self._writer: Thread | None = None
        self._arrived: list[MQTTMessage] = []  # which were not acknowledged yet
        self._changed = Condition()
        self._closed = False
        self._refused: str | None = None  # why the broker refused the last connection
        self._connected = False
        self._failure: OSError | None = None  # of the spool
        self._known: OrderedDict[str, None] = OrderedDict()  # digests of the last messages
        self.caught_up = True

    @property
    def name(self) -> str:
        """The topic filter."""
        return str(self._settings.topic)

    def describe(self) -> dict[str, Any]:
        """The topic filter; the key of a message is its topic."""
        return {"topic": self._settings.topic}

    def open(self) -> None:
        """Open the spool, connect, and resume the session."""
        self._spool = Spool(str(self._settings.spool))
        if self._settings.distinct:
            self._remember(self._spool)
        self._client = client = connect(self._settings, self._settings.client_id)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        self._writer = Thread(target=self._write, name="spool", daemon=True)
        self._writer.start()
        host, port = split_address(self._settings.server, TLS_PORT if self._settings.tls else PORT)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = _FOREVER
        session.ReceiveMaximum = MAX_WAITING
        client.connect_timeout = ANSWER_SECONDS
        try:
            client.connect(
                host, port, keepalive=KEEP_ALIVE_SECONDS, clean_start=False, properties=session
            )
        except OSError as error:
            why = f"{self._where} can't be read: {error.strerror or error}"
            raise make_failure(why, ReadError) from error
        client.loop_start()
        self._await_connection()

    def _remember(self, spool: Spool) -> None:
        """Remember the messages of the spool, whose acknowledgements may have been lost."""
        spool.seek(spool.first_place)
        while found := spool.read(MAX_WAITING):
            for message in found:
                self._is_new(message.digest())

    def _is_new(self, digest: str) -> bool:
        """Whether a message is none of the last ones, of which it is the last from now on."""
        if digest in self._known:
            return False
        self._known[digest] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return True

    @property
    def _where(self) -> str:
        return f"topic {self._settings.topic!r} of {self._settings.server}"

    def _await_connection(self) -> None:
        """Wait until the broker has accepted the connection."""
        end = monotonic() + ANSWER_SECONDS
        with self._changed:
            while not self._connected and self._refused is None:
                if not self._changed.wait(end - monotonic()):
                    raise ReadError(f"{self._where} can't be read: the broker does not answer")
        if self._refused is not None:
            raise ConfigurationError(f"{self._where} can't be read: {self._refused}")

    # --------------------------------------------------------------- in the client's thread

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, more: Any) -> None:
        del data, flags, more
        with self._changed:
            if reason.is_failure:
                self._refused = str(reason)
                self.failure = f"{self._where} can't be read: {reason}"
                logger.warning("mqtt: %s", reason)
            else:
                self._connected, self.failure = True, None
                client.subscribe(str(self._settings.topic), qos=1)
            self._changed.notify_all()

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, more: Any) -> None:
        del client, data, flags, more
        with self._changed:
            # What was not written is sent again, as a duplicate, in the next connection.
            self._arrived.clear()
        if not self._closed:
            self.failure = f"{self._where} can't be read: disconnected ({reason})"
            logger.warning("mqtt: disconnected (%s); trying again", reason)

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        del client, data
        with self._changed:
            self._arrived.append(message)
            self._changed.notify_all()

    # --------------------------------------------------------------- in the writer's thread

    def _write(self) -> None:
        """Write messages to the spool, then acknowledge them, until the source is closed."""
        while True:
            with self._changed:
                while not self._arrived and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                arrived, self._arrived = self._arrived, []
            try:
                self._keep(arrived)
            except OSError as error:
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                return

    def _keep(self, arrived: Sequence[MQTTMessage]) -> None:
        spool, client = self._spool, self._client
        assert spool is not None
        assert client is not None
        while spool.bytes() >= self._settings.spool_bytes and not self._closed:
            with self._changed:
                self._changed.wait(FULL_SECONDS)
        messages = [m for one in arrived if (m := self._convert(one)) is not None]
        if messages:
            spool.append(messages)
        for one in arrived:
            client.ack(one.mid, one.qos)
        with self._changed:
            self._changed.notify_all()

    def _convert(self, given: MQTTMessage) -> Message | None:
        """A message; None for one that came before."""
        about = getattr(given.properties, "UserProperty", None) or ()
        headers = [(name, text.encode()) for name, text in about]
        message = Message(0, 0, given.payload, given.topic.encode(), headers, time())
        # A broker that goes on from an older state of its own does not mark what it sends again.
        known = self._settings.distinct and not self._is_new(message.digest())
        return None if known else message

    # ------------------------------------------------------------------------------ reading

    def start(self) -> None:
        """Read from the oldest message of the spool on."""
        assert self._spool is not None
        self._go_to(self._spool.first_place)

    def resume(self, after: Bookmark) -> None:
        """Read the messages behind one of the spool."""
        spool = self._spool
        assert spool is not None
        if not spool.first_place <= after.place + 1 <= spool.next_place:
            raise GapError(
                f"was left at message {after.place + 1}, but spool {self._settings.spool} has "
                f"those from {spool.first_place} to {spool.next_place - 1}: it is another one"
            )
        self._go_to(after.place + 1)

    def _go_to(self, place: int) -> None:
        assert self._spool is not None
        self._spool.seek(place)
        self._next = place

    def poll(self, seconds: float, most: int) -> list[Message] | None:
        """Return the messages that are there."""
        spool = self._spool
        assert spool is not None
        found = spool.read(most)
        if not found:
            with self._changed:
                self._changed.wait(seconds)
            found = spool.read(most)
        if not found and self._failure is not None:
            raise ReadError(f"spool {self._settings.spool}: {self._failure}")
        if found:
            self._next = found[-1].place + 1
        return found

    def count_waiting(self) -> int | None:
        """Messages of the spool that were not read; how many the broker has is unknown."""
        spool = self._spool
        assert spool is not None
        return spool.next_place - self._next

    def acknowledge(self, through: Bookmark) -> None:
        """Remove messages from the spool."""
        spool = self._spool
        if spool is not None:
            spool.forget(through.place)

    def close(self) -> None:
        """Disconnect. The broker keeps the session, and what comes meanwhile."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._writer is not None:
            self._writer.join()  # which acknowledges what it has written
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()


class _Keywords(StreamKeywords, MqttKeywords, total=False):
    """Keyword arguments of `MqttSource`."""


@final
@with_stream_settings(MqttSettings)
class MqttSource(BrokerSource):
    """Samples of an MQTT topic, in the order in which they come; the key of each is its topic.

    A message is written to a spool on disk, then acknowledged, and leaves the spool once a
    checkpoint holds what was learned from it: what is in the spool is learned exactly once. What
    is on its way from the broker may come twice, unless ``distinct`` says that no two are equal.

    Args:
        follow: Must be True, as topics have no end.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(self, *, follow: bool = True, **given: Unpack[_Keywords]) -> None:
        declared, shared = split_keywords(MqttSettings, given, "MqttSource")
        subscription = MqttSubscription(declared, follow=follow)
        super().__init__(subscription, declared, **shared)
