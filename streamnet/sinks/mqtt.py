"""An MQTT topic as a destination, written with paho-mqtt.

A topic can't be read back, so after a crash or a broken connection records may come again, in
order; receivers recognize them by run and number, which are user properties of each message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Condition
from time import monotonic
from typing import Any, final

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from streamnet.errors import ConfigurationError
from streamnet.settings.brokers import split_address
from streamnet.settings.sinks import MqttSinkSettings
from streamnet.sinks.base import DeliveryError, Destination, End, Record
from streamnet.sources.brokers.mqtt import (
    ANSWER_SECONDS,
    KEEP_ALIVE_SECONDS,
    PORT,
    TLS_PORT,
    connect,
)

MAX_IN_FLIGHT = 1024  # messages without an acknowledgement
WAIT_SECONDS = 0.2
RUN, NUMBER = "streamnet-run", "streamnet-number"  # user properties


@final
class MqttDestination(Destination):
    """The messages of a topic, each delivered at least once (QoS 1)."""

    def __init__(self, settings: MqttSinkSettings, *, keyed: bool = False) -> None:
        del keyed
        self._settings = settings
        self._topic = str(settings.topic)
        self._client: Client | None = None
        self._run = 0
        self._changed = Condition()
        self._connected = False
        self._refused: str | None = None
        self._lost: str | None = None  # why the connection was lost
        self._interrupted = False

    @property
    def name(self) -> str:
        """The topic."""
        return self._topic

    def open(self, run: int, number: int, ends: Mapping[str, End]) -> int:
        """Connect."""
        del number, ends
        self._run = run
        self._connected, self._refused, self._lost = False, None, None
        self._client = client = connect(self._settings, self._settings.client_id)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.connect_timeout = ANSWER_SECONDS
        host, port = split_address(self._settings.server, TLS_PORT if self._settings.tls else PORT)
        try:
            client.connect(host, port, keepalive=KEEP_ALIVE_SECONDS, clean_start=True)
        except OSError as error:
            raise self._make_error(error.strerror or str(error)) from error
        client.loop_start()
        self._await_connection()
        return 0

    def _await_connection(self) -> None:
        end = monotonic() + ANSWER_SECONDS
        with self._changed:
            while not self._connected and self._refused is None:
                if self._interrupted or not self._changed.wait(end - monotonic()):
                    raise self._make_error("the broker does not answer")
        if self._refused is not None:
            raise ConfigurationError(
                f"topic {self._topic!r} of {self._settings.server} can't be written to: "
                f"{self._refused}"
            )

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, more: Any) -> None:
        del client, data, flags, more
        with self._changed:
            if reason.is_failure:
                self._refused = str(reason)
            else:
                self._connected = True
            self._changed.notify_all()

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, more: Any) -> None:
        del client, data, flags, more
        with self._changed:
            self._lost = str(reason)
            self._changed.notify_all()

    def send(self, records: Sequence[Record]) -> None:
        """Publish messages, and wait until the broker has acknowledged them."""
        client = self._client
        assert client is not None
        sent = [self._publish(client, record) for record in records]
        for one in sent:
            while not one.is_published():
                # Once it is lost, the client would send them again, but after others.
                if self._lost is not None or self._interrupted:
                    raise self._make_error(self._lost or "interrupted")
                one.wait_for_publish(WAIT_SECONDS)

    def _publish(self, client: Client, record: Record) -> MQTTMessageInfo:
        about = Properties(PacketTypes.PUBLISH)
        about.UserProperty = [(RUN, str(self._run)), (NUMBER, str(record.number))]
        sent = client.publish(
            self._topic, record.value, qos=1, retain=self._settings.retain, properties=about
        )
        if sent.rc:
            raise self._make_error(self._lost or "not connected")
        return sent

    def _make_error(self, why: str) -> DeliveryError:
        return DeliveryError(f"{self._settings.server}: {why}")

    def interrupt(self) -> None:
        """Let `send` end soon."""
        self._interrupted = True

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
