"""MQTT: a real broker; messages are on disk before they are acknowledged, and learned once."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from streamnet.errors import ConfigurationError, DataError, ReadError, StateError
from streamnet.samples import Block, Position
from streamnet.sources import Columns
from streamnet.sources.brokers.messages import Message
from streamnet.sources.brokers.spool import Spool
from tests.sources.brokers.servers import Server, free_port, mosquitto, require_module
from tests.sources.brokers.streams import rows
from tests.sources.harness import content, firsts, read, take

require_module("paho.mqtt")

from paho.mqtt.client import Client  # noqa: E402 - behind the check
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402 - likewise

from streamnet.sources.brokers.mqtt import MqttSource  # noqa: E402 - likewise


def publish(server: Server, topic: str, values: Sequence[bytes]) -> None:
    """Publish messages, and wait until the broker has all of them."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=5)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", server.port)
    # In one thread: what is published while the connection is being accepted would be sent twice.
    while not client.is_connected():
        client.loop()
    sent = [client.publish(topic, value, qos=1) for value in values]
    while not all(one.is_published() for one in sent):
        client.loop()
    client.disconnect()
    client.loop()


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"t{uuid4().hex}"


def source_of(server: Server, topic: str, spool: Path, **settings: Any) -> MqttSource:
    given = {"columns": Columns(target="y", head=5), "client_id": topic, **settings}
    return MqttSource(server=server.address, topic=f"{topic}/#", spool=str(spool), **given)


def start_session(server: Server, topic: str, spool: Path, **settings: Any) -> None:
    """Let the broker keep what comes from now on."""

    async def main() -> None:
        source = source_of(server, topic, spool, **settings)
        with anyio.move_on_after(1.0):
            await source.open()
        await source.aclose()

    anyio.run(main)


def test_messages_wait_at_the_broker_while_nobody_reads(
    mqtt: Server, topic: str, tmp_path: Path
) -> None:
    start_session(mqtt, topic, tmp_path)
    publish(mqtt, f"{topic}/d7", [*rows(300), b"poison"])

    async def main() -> list[Block]:
        source = source_of(mqtt, topic, tmp_path, key="topic", timestamp="at")
        schema = await source.open()
        assert schema.numbers == ("x", "at")
        blocks = await take(source, 301, seconds=60)
        await source.aclose()
        return blocks

    blocks = anyio.run(main)
    assert firsts(blocks) == list(range(300))
    assert set(blocks[0].words[0].tolist()) == {f"{topic}/d7"}
    (letter,) = content(blocks).letters
    assert letter.message == {"topic": f"{topic}/#", "id": 300, "key": f"{topic}/d7"}


def test_what_was_not_part_of_a_checkpoint_is_read_again(
    mqtt: Server, topic: str, tmp_path: Path
) -> None:
    start_session(mqtt, topic, tmp_path)
    publish(mqtt, f"{topic}/a", rows(300))

    async def main() -> tuple[list[float], list[float]]:
        # Acknowledgements that are on their way when the session is resumed are lost.
        source = source_of(mqtt, topic, tmp_path, distinct=True)
        await source.open()
        first = await take(source, 300, seconds=60)
        last = first[-1]
        part = last.part(0, (len(last) + 1) // 2)
        end = part.end
        state = json.dumps(source.export_state(end))
        source.commit(json.loads(state))
        await source.aclose()
        again = source_of(mqtt, topic, tmp_path, distinct=True)
        again.restore_state(json.loads(state))
        await again.open(end)
        publish(mqtt, f"{topic}/a", rows(50, start=300))
        known = firsts([*first[:-1], part])
        rest = await take(again, 350 - len(known), seconds=60)
        await again.aclose()
        return firsts(first), known + firsts(rest)

    first, resumed = anyio.run(main)
    assert first == list(range(300))
    assert resumed == list(range(350))


def test_a_killed_broker_is_waited_for(own_mqtt: Server, topic: str, tmp_path: Path) -> None:
    start_session(own_mqtt, topic, tmp_path)
    publish(own_mqtt, f"{topic}/a", rows(50))

    async def main() -> list[float]:
        # The broker may have forgotten acknowledgements.
        source = source_of(own_mqtt, topic, tmp_path, distinct=True)
        await source.open()
        found = firsts(await take(source, 50, seconds=60))
        await anyio.to_thread.run_sync(own_mqtt.kill)
        await anyio.to_thread.run_sync(own_mqtt.start)
        await anyio.sleep(3)  # until the session goes on
        await anyio.to_thread.run_sync(publish, own_mqtt, f"{topic}/a", rows(10, start=50))
        found += firsts(await take(source, 10, seconds=60))
        await source.aclose()
        return found

    assert anyio.run(main) == list(range(60))


def test_another_spool_than_that_of_the_checkpoint_is_a_gap(
    mqtt: Server, topic: str, tmp_path: Path
) -> None:
    start_session(mqtt, topic, tmp_path / "one")
    publish(mqtt, f"{topic}/a", rows(10))

    async def main() -> None:
        source = source_of(mqtt, topic, tmp_path / "one")
        await source.open()
        (block, *_) = await take(source, 10, seconds=60)
        state = source.export_state(block.end)
        await source.aclose()
        other = source_of(mqtt, topic, tmp_path / "two")
        other.restore_state(state)
        try:
            with pytest.raises(DataError, match="it is another one"):
                await other.open(block.end)
        finally:
            await other.aclose()

    anyio.run(main)


def test_topics_have_no_end(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="follow is False, but must be True"):
        MqttSource(server="b:1", topic="t", spool=str(tmp_path), follow=False)


def test_a_broker_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    port = free_port()
    source = MqttSource(server=f"127.0.0.1:{port}", topic="t", spool=str(tmp_path))
    with pytest.raises(ReadError, match=f"topic 't' of 127.0.0.1:{port} can't be read"):
        read(source)


def test_users_log_in_with_passwords_that_are_shown_nowhere(
    tmp_path: Path, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "word").write_text("correct-horse\n")
    (tmp_path / "wrong").write_text("battery-staple")
    with mosquitto("correct-horse") as server:
        login: Any = {"user": "me", "password_file": str(tmp_path / "word")}
        start_session(server, topic, tmp_path / "spool", **login)
        login["password_file"] = str(tmp_path / "wrong")
        with pytest.raises(ConfigurationError, match="Not authorized") as caught:
            read(source_of(server, topic, tmp_path / "spool", **login))
    seen = f"{caught.value}{caplog.text}"
    assert "correct-horse" not in seen
    assert "battery-staple" not in seen


# ----------------------------------------------------------------------------------- spool


def messages(count: int, start: int = 0) -> list[Message]:
    headers = [("name", b"value")]
    return [Message(0, 0, b"%d" % i, b"key", headers, 1.5) for i in range(start, start + count)]


def values(found: Sequence[Message]) -> list[int]:
    return [int(message.value or b"-1") for message in found]


def test_a_spool_keeps_messages_until_they_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamnet.sources.brokers.spool.SEGMENT_BYTES", 500)
    spool = Spool(str(tmp_path))
    for start in range(0, 100, 10):
        spool.append(messages(10, start))
    spool.seek(0)
    assert values(spool.read(30)) == list(range(30))
    spool.forget(54)
    assert spool.first_place == 40  # a file goes as a whole
    spool.close()
    spool = Spool(str(tmp_path))
    spool.seek(55)
    found = [*spool.read(20), *spool.read(1000)]
    assert values(found) == list(range(55, 100))
    assert [message.place for message in found] == list(range(55, 100))
    assert (found[0].key, found[0].headers, found[0].time) == (b"key", [("name", b"value")], 1.5)
    spool.append(messages(1, 100))
    assert values(spool.read(9)) == [100]
    spool.close()


@pytest.mark.parametrize("lost", [1, 5, 12, 30])
def test_what_a_crash_cut_off_is_dropped_and_its_number_used_again(
    tmp_path: Path, lost: int
) -> None:
    spool = Spool(str(tmp_path))
    spool.append(messages(5))
    spool.close()
    (path,) = tmp_path.glob("*.messages")
    path.write_bytes(path.read_bytes()[:-lost])
    spool = Spool(str(tmp_path))
    assert spool.next_place == 4
    spool.append(messages(1, 7))
    spool.seek(0)
    assert values(spool.read(9)) == [0, 1, 2, 3, 7]
    spool.close()


def test_a_damaged_spool_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    spool.append(messages(5))
    (path,) = tmp_path.glob("*.messages")
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    spool.seek(0)
    with pytest.raises(DataError, match="is damaged at byte"):
        spool.read(9)
    spool.close()


def test_a_spool_is_used_by_one_process_at_a_time(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    with pytest.raises(StateError, match="is in use by another process"):
        Spool(str(tmp_path))
    spool.close()
    Spool(str(tmp_path)).close()


def test_a_message_that_is_sent_again_is_dropped_where_all_are_distinct(
    mqtt: Server, topic: str, tmp_path: Path
) -> None:
    """The spool has the messages, but the broker does not know: it goes on from an older state."""
    start_session(mqtt, topic, tmp_path / "none")
    publish(mqtt, f"{topic}/a", rows(10))
    spool = Spool(str(tmp_path / "spool"))
    spool.append([Message(0, 0, value, f"{topic}/a".encode()) for value in rows(10)])
    spool.close()

    async def main() -> list[float]:
        source = source_of(mqtt, topic, tmp_path / "spool", distinct=True)
        await source.open()
        publish(mqtt, f"{topic}/a", rows(5, start=10))
        found = firsts(await take(source, 15, seconds=60))
        with anyio.move_on_after(0.5):
            found += firsts(await take(source, 1, seconds=60))
        await source.aclose()
        return found

    assert anyio.run(main) == list(range(15))


def test_a_position_names_the_topic(mqtt: Server, topic: str, tmp_path: Path) -> None:
    start_session(mqtt, topic, tmp_path)
    publish(mqtt, f"{topic}/a", rows(3))

    async def main() -> Position:
        source = source_of(mqtt, topic, tmp_path)
        await source.open()
        blocks = await take(source, 3, seconds=60)
        await source.aclose()
        return blocks[-1].end

    assert anyio.run(main) == Position(f"{topic}/#", 3, 3, 0)
