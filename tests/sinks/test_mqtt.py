"""MQTT as a destination: a real broker; at least once, numbered, in order."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import streamnet
from streamnet.errors import ConfigurationError
from streamnet.settings.sinks import parse_sink_url
from streamnet.sinks.outbox import Outbox
from tests.sources.brokers.servers import Server, mosquitto, require_module, wait_until

require_module("paho.mqtt")

from paho.mqtt.client import Client, MQTTMessage  # noqa: E402 - behind the check
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402 - likewise

from streamnet.sinks.mqtt import MqttDestination  # noqa: E402 - likewise


class Subscriber:
    """Collects what is published to a topic, also while it is not connected."""

    def __init__(self, server: Server, topic: str) -> None:
        self.found: list[MQTTMessage] = []
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=uuid4().hex, protocol=5)
        self.client.on_message = lambda client, data, message: self.found.append(message)
        self.ready = False
        self.client.on_subscribe = self._on_subscribe
        self.client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self.client.reconnect_delay_set(0.1, 0.5)
        self.client.connect("127.0.0.1", server.port)
        self.client.loop_start()
        wait_until(lambda: self.ready, "subscription")

    def _on_subscribe(self, *arguments: Any) -> None:
        self.ready = True

    def numbers(self) -> list[int]:
        """The numbers of the records, each from its user properties."""
        found = [dict(getattr(one.properties, "UserProperty", ())) for one in self.found]
        return [int(about["streamnet-number"]) for about in found]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def make(server: Server, topic: str) -> MqttDestination:
    url = f"mqtt://{server.address}/{topic}?client_id={uuid4().hex}"
    settings: Any = parse_sink_url(url)
    return MqttDestination(settings)


def test_records_arrive_in_order_with_run_and_number(mqtt: Server) -> None:
    topic = f"t{uuid4().hex}"
    subscriber = Subscriber(mqtt, topic)
    outbox = Outbox("answers", make(mqtt, topic))
    outbox.begin()
    for number in range(1500):
        outbox.put(b'{"number": %d}' % number)
    outbox.flush()
    run = outbox.export_state()["run"]
    outbox.close()
    wait_until(lambda: len(subscriber.found) == 1500, "records")
    subscriber.close()
    assert subscriber.numbers() == list(range(1500))
    assert [one.payload for one in subscriber.found] == [b'{"number": %d}' % i for i in range(1500)]
    about = dict(getattr(subscriber.found[0].properties, "UserProperty", ()))
    assert about["streamnet-run"] == str(run)


def test_each_target_has_a_session_of_its_own_at_the_broker(mqtt: Server, tmp_path: Path) -> None:
    path, topic = tmp_path / "a.csv", f"t{uuid4().hex}"
    path.write_text("x,a,b\n" + "".join(f"{i},{i % 3},{'uv'[i % 2]}\n" for i in range(400)))
    subscriber = Subscriber(mqtt, f"{topic}/#")
    for query in ("", f"?client_id={topic}"):
        subscriber.found.clear()
        url = f"mqtt://{mqtt.address}/{topic}/answers{query}"
        streamnet.replay(path, target=("a", "b"), candidates=2, predictions=url)
        wait_until(lambda: len(subscriber.found) >= 800, "records")
        # Of two sessions of one name the broker ends one, whose records would come again.
        for part in ("a", "b"):
            found = [m for m in subscriber.found if m.topic == f"{topic}/answers.{part}"]
            assert [json.loads(m.payload)["number"] for m in found] == list(range(400))
    subscriber.close()


def test_a_broker_that_is_killed_gets_each_record_and_some_again(own_mqtt: Server) -> None:
    outbox = Outbox("answers", make(own_mqtt, "answers"))
    outbox.begin()
    outbox.put(b"0")
    outbox.flush()
    own_mqtt.kill()
    for number in range(1, 500):
        outbox.put(b"%d" % number)
    wait_until(lambda: outbox.status().error, "failure")
    own_mqtt.start()
    subscriber = Subscriber(own_mqtt, "answers")
    outbox.flush()
    wait_until(lambda: 499 in subscriber.numbers(), "last record")
    time.sleep(0.1)
    outbox.close()
    subscriber.close()
    numbers = subscriber.numbers()
    first_time = list(dict.fromkeys(numbers))
    # The subscriber came after the broker: what was sent before is lost to it, by MQTT's rules.
    assert first_time == list(range(first_time[0], 500))


def test_a_login_that_is_refused_is_an_error_at_once() -> None:
    with mosquitto("secret") as server:
        outbox = Outbox("answers", make(server, "answers"))
        with pytest.raises(ConfigurationError, match=r"can't be written to: Not authorized"):
            outbox.begin()
