"""Logins that real servers check: credentials of NATS, certificates of MQTT, SASL of Kafka."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import uuid4

import anyio
import pytest

import streamnet
from streamnet.errors import ConfigurationError
from streamnet.sinks.outbox import Outbox
from streamnet.sinks.registry import open_sink
from tests.sinks.readers import read_topic
from tests.sources.brokers.sasl import SaslFront, sasl_front
from tests.sources.brokers.servers import (
    Kafka,
    Server,
    free_port,
    open_folder,
    require_module,
    require_program,
    running,
)
from tests.sources.brokers.streams import KafkaStream, rows
from tests.sources.brokers.test_tls import certified
from tests.sources.harness import read, take

for module in ("confluent_kafka", "cryptography", "nats", "nkeys", "paho.mqtt", "scramp"):
    require_module(module)

SECRET = "correct-horse-battery"

# ------------------------------------------------------------------------------------- NATS


def encode_part(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


class Identity:
    """An operator, account or user of NATS, whose tokens it can sign."""

    def __init__(self, number: int, kind: int) -> None:
        import nkeys

        self.seed = nkeys.encode_seed(bytes([number] * 32), kind)
        self._pair = nkeys.from_seed(self.seed)
        self.name = self._pair.public_key.decode()

    def sign(self, subject: Identity, kind: str, **claims: Any) -> str:
        """A token that says what somebody may do, as nsc makes it (NATS JWT, version 2)."""
        nats = {**claims, "type": kind, "version": 2}
        said = {"iss": self.name, "sub": subject.name, "name": kind, "iat": 1, "nats": nats}
        header = {"typ": "JWT", "alg": "ed25519-nkey"}
        parts = [encode_part(json.dumps(part).encode()) for part in (header, said)]
        signature = self._pair.sign(".".join(parts).encode())
        return ".".join([*parts, encode_part(signature)])


CREDENTIALS = """-----BEGIN NATS USER JWT-----
{token}
------END NATS USER JWT------

************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""

UNLIMITED = dict.fromkeys(["subs", "data", "payload", "imports", "exports", "conn", "leaf"], -1)
JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


@contextmanager
def nats_of_an_operator(files: Path) -> Iterator[Server]:
    """A server that trusts an operator; files get the credentials of a user that it knows, and of
    another one.
    """
    import nkeys

    operator = Identity(1, nkeys.PREFIX_BYTE_OPERATOR)
    account, system = (Identity(number, nkeys.PREFIX_BYTE_ACCOUNT) for number in (2, 3))
    stranger = Identity(4, nkeys.PREFIX_BYTE_ACCOUNT)
    for name, issuer in (("mine", account), ("other", stranger)):
        user = Identity(5, nkeys.PREFIX_BYTE_USER)
        token = issuer.sign(user, "user", subs=-1, data=-1, payload=-1)
        text = CREDENTIALS.format(token=token, seed=user.seed.decode())
        (files / f"{name}.creds").write_text(text)
    allowed = ((account, UNLIMITED | JETSTREAM), (system, UNLIMITED))
    preload = "\n".join(
        f"  {one.name}: {operator.sign(one, 'account', limits=limits)}" for one, limits in allowed
    )
    with open_folder() as folder:
        port = free_port()
        (folder / "nats.conf").write_text(
            f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}" }}\n'
            f"operator: {operator.sign(operator, 'operator')}\n"
            f"system_account: {system.name}\nresolver: MEMORY\n"
            f"resolver_preload: {{\n{preload}\n}}\n"
        )
        (folder / "nats.conf").chmod(0o644)
        command = [require_program("nats-server"), "-c", str(folder / "nats.conf")]
        with running(Server(command, folder, port)) as server:
            yield server


def test_a_stream_of_nats_is_read_with_the_credentials_of_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import nats

    monkeypatch.setattr("streamnet.sources.brokers.nats.ANSWER_SECONDS", 5.0)
    caplog.set_level(logging.DEBUG)
    with nats_of_an_operator(tmp_path) as server:

        async def fill() -> None:
            given: Any = {"user_credentials": str(tmp_path / "mine.creds")}
            client = await nats.connect(f"nats://{server.address}", **given)
            await client.jetstream().add_stream(name="events", subjects=["e"])
            await client.jetstream().publish("e", rows(1)[0])
            await client.close()

        def make(user: str) -> streamnet.NatsSource:
            file = str(tmp_path / f"{user}.creds")
            given: Any = {"stream": "events", "target": "y", "credentials_file": file}
            return streamnet.NatsSource(servers=server.address, **given)

        anyio.run(fill)
        assert len(read(make("mine"))[1][0]) == 1
        with pytest.raises(ConfigurationError, match="can't be read") as refused:
            read(make("other"))
    seed = (tmp_path / "mine.creds").read_text().splitlines()[-2]
    assert seed.startswith("SU")
    assert seed not in f"{refused.value}{caplog.text}"


# ------------------------------------------------------------------------------------- MQTT

MOSQUITTO = """
listener {port} 127.0.0.1
cafile {authority}
certfile {certificate}
keyfile {certificate}
require_certificate true
allow_anonymous false
password_file {folder}/users
"""


def test_topics_of_mqtt_are_read_over_tls_with_a_certificate_and_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import subprocess

    from paho.mqtt.client import CallbackAPIVersion, Client

    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("STREAMNET_TEST_SECRET", SECRET)
    with certified() as (folder, authority, certificate):
        port = free_port()
        (folder / "users").write_text(f"me:{SECRET}\n")
        subprocess.run([require_program("mosquitto_passwd"), "-U", folder / "users"], check=True)
        (folder / "users").chmod(0o644)
        text = MOSQUITTO.format(
            port=port, authority=authority, certificate=certificate, folder=folder
        )
        (folder / "mosquitto.conf").write_text(text)
        command = [require_program("mosquitto"), "-c", str(folder / "mosquitto.conf")]
        own = {"certificate": str(certificate), "private_key": str(certificate)}

        def make(spool: str, **given: Any) -> streamnet.MqttSource:
            more: Any = {"tls": True, "ca": str(authority), "user": "me", "topic": "events"}
            login = {"password_env": "STREAMNET_TEST_SECRET", "client_id": spool}
            return streamnet.MqttSource(
                server=f"127.0.0.1:{port}",
                spool=str(tmp_path / spool),
                target="y",
                follow=True,
                **{**more, **login, **given},
            )

        async def main() -> None:
            source = make("mine", **own)
            with anyio.move_on_after(1.0):
                await source.open()  # waits for a message; its session is there
            await source.aclose()
            client = Client(CallbackAPIVersion.VERSION2, protocol=5)
            client.username_pw_set("me", SECRET)
            client.tls_set(str(authority), str(certificate), str(certificate))
            client.connect("127.0.0.1", port)
            client.loop_start()
            client.publish("events", rows(1)[0], qos=1).wait_for_publish(10)
            client.disconnect()
            client.loop_stop()
            source = make("mine", **own)
            await source.open()
            assert len(await take(source, 1, seconds=30)) == 1
            await source.aclose()

        with running(Server(command, folder, port)):
            anyio.run(main)
            with pytest.raises(
                ConfigurationError, match="can't be read: Not authorized"
            ) as refused:
                read(make("wrong", **own, password_env="HOME"))
    assert SECRET not in f"{refused.value}{caplog.text}"


# ------------------------------------------------------------------------------------ Kafka


class Front(NamedTuple):
    """A Kafka server behind a front, and how to log in there."""

    front: SaslFront
    kafka: Kafka
    tls: dict[str, Any]

    def log_in(self, mechanism: str, file: str) -> dict[str, Any]:
        """Settings with a password or token from a file."""
        login = {"mechanism": mechanism, **self.tls}
        if mechanism == "OAUTHBEARER":
            return {**login, "token_file": file}
        return {**login, "user": "me", "password_file": file}


@pytest.fixture
def front(
    noida_kafka: Kafka,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> Iterator[Front]:
    """A front in a folder with a right and a wrong password, which are never shown."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("streamnet.sources.brokers.kafka.LOGIN_SECONDS", 0.1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "right").write_text(SECRET)
    (tmp_path / "wrong").write_text("battery-staple")
    with (
        certified() as (_, authority, certificate),
        sasl_front(noida_kafka, authority, certificate, "me", SECRET) as found,
    ):
        own = {"certificate": str(certificate), "private_key": str(certificate)}
        yield Front(found, noida_kafka, {"ca": str(authority), **own})
    assert SECRET not in caplog.text
    assert "battery-staple" not in caplog.text


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
def test_a_topic_of_kafka_is_read_over_tls_by_who_logs_in(front: Front, mechanism: str) -> None:
    stream = KafkaStream(front.kafka)
    front.kafka.create_topic(stream.id)
    stream.write(rows(3))

    def read_as(file: str, **given: Any) -> int:
        login = {"servers": front.front.address, "tls": True, **front.log_in(mechanism, file)}
        return len(read(stream.source(**login | given))[1][0])

    assert read_as("right") == 3
    assert {*front.front.mechanisms} == {mechanism}
    assert front.front.refused == 0
    with pytest.raises(ConfigurationError, match="uthentication fail") as refused:
        read_as("wrong")
    assert front.front.refused >= 1
    assert "battery-staple" not in str(refused.value)
    if mechanism == "PLAIN":
        with pytest.raises(ConfigurationError, match="ca must name the PEM file"):
            read_as("right", ca=None)


def test_a_topic_of_kafka_is_written_over_tls_by_who_logs_in(front: Front) -> None:
    topic = f"t{uuid4().hex}"
    front.kafka.create_topic(topic)

    def begin(file: str) -> Outbox:
        query = urlencode(front.log_in("SCRAM-SHA-512", file))
        found = open_sink(f"kafkas://{front.front.address}/{topic}?{query}", "answers")
        found.begin()
        return found

    outbox = begin("right")
    outbox.put(b'{"number": 0}')
    outbox.flush()
    outbox.close()
    assert read_topic(front.kafka, topic) == [{"number": 0}]
    with pytest.raises(ConfigurationError, match="uthentication fail"):
        begin("wrong")
