"""Servers of message brokers on free ports of the loopback interface, each in a process of its own.

Those that are programs run as an unprivileged user where the tests run as root.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.conftest import IN_CI, REPOSITORY
from tests.processes import environment

START_SECONDS = 20.0


def require(what: str, *, there: bool) -> None:
    """Skip a test for want of something, which CI must have."""
    if not there and IN_CI:
        pytest.fail(f"no {what}, which CI needs")
    if not there:
        pytest.skip(f"no {what}", allow_module_level=True)


def require_module(name: str) -> None:
    """Skip a test for want of a module."""
    require(f"module {name}", there=find_spec(name) is not None)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_until(ready: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} did not happen in {seconds:g} s"
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """A server that can be killed and started again with its data.

    ``saves_after`` are the seconds until it has written to its disk what it has confirmed.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, port: int, *, saves_after: float = 0.0
    ) -> None:
        self.port = port
        self._saves_after = saves_after
        self._command = list(command)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it listens."""
        as_other: dict[str, Any] = {}
        if os.getuid() == 0:
            self._folder.chmod(0o777)
            as_other = {"user": "nobody", "extra_groups": []}
        log = (self._folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"HOME": str(self._folder), "PATH": os.environ["PATH"]},
            **as_other,
        )
        log.close()
        wait_until(lambda: listens(self.port) or self._process_ended(), f"{self._command[0]}")

    def _process_ended(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail((self._folder / "server.log").read_text("utf-8", "replace"))
        return False

    def kill(self) -> None:
        """Kill it; what it had confirmed before stays."""
        time.sleep(self._saves_after)
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it as a service manager does; what it has is written."""
        self.end(signal.SIGTERM)

    def end(self, number: int) -> None:
        """Send it a signal that ends it, and wait until it has ended."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server that runs until the end."""
    try:
        server.start()
        yield server
    finally:
        server.end(signal.SIGKILL)


def require_program(name: str) -> str:
    """The path of a program; where it is missing, a test is skipped, and CI fails."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    require(f"program {name}", there=found is not None)
    return str(found)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder for a server; those of pytest are closed to other users."""
    with TemporaryDirectory(prefix="streamnet-test-") as folder:
        yield Path(folder)


@contextmanager
def valkey(*options: str) -> Iterator[Server]:
    """A Valkey server, which keeps what is written at once."""
    require_module("redis")
    with open_folder() as folder, running(_valkey(folder, options)) as server:
        yield server


def _valkey(folder: Path, options: Sequence[str]) -> Server:
    port = free_port()
    command = [require_program("valkey-server"), "--bind", "127.0.0.1", "--port", str(port)]
    command += ["--dir", str(folder), "--save", "", "--appendonly", "yes"]
    return Server([*command, "--appendfsync", "always", *options], folder, port)


@contextmanager
def nats_server(*options: str) -> Iterator[Server]:
    """A NATS server with JetStream."""
    require_module("nats")
    port = free_port()
    with open_folder() as folder:
        command = [require_program("nats-server"), "-js", "-sd", str(folder), "-a", "127.0.0.1"]
        with running(Server([*command, "-p", str(port), *options], folder, port)) as server:
            yield server


MOSQUITTO = """
listener {port} 127.0.0.1
allow_anonymous {anonymous}
persistence true
persistence_location {folder}/
autosave_interval 1
max_queued_messages 0
{more}
"""


@contextmanager
def mosquitto(password: str | None = None) -> Iterator[Server]:
    """An MQTT broker, which knows the user me if there is a password."""
    require_module("paho.mqtt")
    program, port = require_program("mosquitto"), free_port()
    with open_folder() as folder:
        more = ""
        if password is not None:
            more = f"password_file {folder}/users"
            (folder / "users").write_text(f"me:{password}\n")
            subprocess.run(
                [require_program("mosquitto_passwd"), "-U", folder / "users"], check=True
            )
            (folder / "users").chmod(0o644)
        anonymous = "true" if password is None else "false"
        text = MOSQUITTO.format(port=port, folder=folder, more=more, anonymous=anonymous)
        (folder / "mosquitto.conf").write_text(text)
        command = [program, "-c", str(folder / "mosquitto.conf")]
        with running(Server(command, folder, port, saves_after=1.5)) as server:
            yield server


class Kafka:
    """A broker that speaks Kafka's protocol."""

    def __init__(self, address: str) -> None:
        self.address = address

    def produce(
        self,
        values: Sequence[bytes | None],
        *,
        topic: str = "events",
        partition: int = 0,
        keys: Sequence[bytes | None] | None = None,
        headers: Sequence[Any] | None = None,
        times: Sequence[int] | None = None,
    ) -> None:
        """Write messages, and wait until all of them are there."""
        from confluent_kafka import Producer

        failed: list[Any] = []
        producer = Producer({"bootstrap.servers": self.address, "linger.ms": 5, "log_level": 0})
        for i, value in enumerate(values):
            more: dict[str, Any] = {}
            if headers is not None:
                more["headers"] = headers[i]
            if times is not None:
                more["timestamp"] = times[i]
            while True:
                try:
                    producer.produce(
                        topic,
                        value,
                        None if keys is None else keys[i],
                        partition=partition,
                        on_delivery=lambda error, _: failed.append(error) if error else None,
                        **more,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        assert producer.flush(30) == 0
        assert not failed, failed

    def committed(self, group: str, topic: str = "events", partition: int = 0) -> int:
        """The offset that a group has committed."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group})
        (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=10)
        consumer.close()
        offset: int = found.offset
        return offset

    def _admin(self) -> Any:
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def create_topic(self, topic: str = "events", partitions: int = 1) -> None:
        """Create a topic."""
        from confluent_kafka.admin import NewTopic

        admin = self._admin()
        for done in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            done.result(10)

    def delete_topic(self, topic: str = "events") -> None:
        """Delete a topic."""
        admin = self._admin()
        for done in admin.delete_topics([topic]).values():
            done.result(10)

    def trim(self, before: int, topic: str = "events", partition: int = 0) -> None:
        """Delete the messages before an offset, as retention does."""
        from confluent_kafka import TopicPartition

        place = TopicPartition(topic, partition, before)
        admin = self._admin()
        for done in admin.delete_records([place]).values():
            done.result(10)


MOCK = """
import sys
from confluent_kafka import Producer

cluster = Producer(
    {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0}
)
for broker in cluster.list_topics(timeout=10).brokers.values():
    print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


@contextmanager
def mock_kafka() -> Iterator[Kafka]:
    """The cluster for tests within librdkafka. Its topics have four partitions; it forgets old
    messages beyond some megabytes, and can't create, delete or trim topics.
    """
    require_module("confluent_kafka")
    process = subprocess.Popen(
        [sys.executable, "-c", MOCK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
        env=environment(),
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process, process.stdout, process.stdin:
        yield Kafka(process.stdout.readline().strip())


@contextmanager
def noida() -> Iterator[tuple[Kafka, Server]]:
    """A small Kafka-compatible server, which can be stopped and keeps its data."""
    require_module("confluent_kafka")
    require_module("noida_db")
    spec = find_spec("noida_db")
    assert spec is not None
    assert spec.origin is not None
    with open_folder() as folder:
        # In a wheel it may not be executable, nor readable for the user that runs it.
        program = folder / "noida-db"
        shutil.copyfile(Path(spec.origin).with_name("noida-db"), program)
        program.chmod(0o755)
        port = free_port()
        command = [str(program), "start", "--only", "kafka", "--kafka-port", str(port)]
        command += ["--data-dir", str(folder / "data")]
        with running(Server(command, folder, port)) as server:
            yield Kafka(server.address), server
