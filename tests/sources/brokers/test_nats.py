"""NATS JetStream: a real server; subjects, deleted messages, logins and errors."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.errors import ConfigurationError, DataError, ReadError
from tests.sources.brokers.servers import Server, free_port, nats_server, require_module
from tests.sources.brokers.streams import NatsStream, left_at_five, resumed, rows, with_nats_client
from tests.sources.harness import content, firsts, read, take

require_module("nats")

from streamnet.sources.brokers.nats import NatsSource  # noqa: E402 - behind the check


@pytest.fixture
def stream(jetstream: Server) -> NatsStream:
    """A stream that no other test uses."""
    return NatsStream(jetstream)


def test_the_subject_is_the_key_and_headers_are_columns(stream: NatsStream) -> None:
    stream.publish(rows(1), subject="d7", headers={"Trace": "t1"})
    columns = {"key": "subject", "timestamp": "at", "headers": {"Trace": "trace"}}
    schema, blocks = read(stream.source(**columns))
    assert dict(zip(schema.words, [w[0] for w in blocks[0].words], strict=True)) == {
        "subject": f"{stream.id}.d7", "trace": "t1"
    }  # fmt: skip
    assert blocks[0].numbers[0, 1] > 1.7e9


def test_a_subject_may_be_chosen(stream: NatsStream) -> None:
    for i in range(6):
        stream.publish(rows(1, start=i), subject="ab"[i % 2])
    _, blocks = read(stream.source(subject=f"{stream.id}.b"))
    assert [x for block in blocks for x in block.numbers[:, 0]] == [1, 3, 5]
    with pytest.raises(DataError, match="holds no samples"):
        read(stream.source(subject=f"{stream.id}.c"))


def test_a_poison_message_keeps_stream_sequence_and_subject(stream: NatsStream) -> None:
    stream.publish([*rows(2), b"poison"])
    (letter,) = content(read(stream.source())[1]).letters
    assert letter.message == {"stream": stream.id, "id": 3, "key": f"{stream.id}.a"}


def test_single_messages_may_be_deleted_without_a_gap(stream: NatsStream) -> None:
    place = left_at_five(stream)
    for sequence in (5, 10, 20):
        stream.delete(sequence)
    found = resumed(stream.source(), place)
    assert not found.letters
    assert len(found.samples) == 13


# -------------------------------------------------------------------------- server and login


def test_a_killed_server_is_waited_for(own_jetstream: Server) -> None:
    stream = NatsStream(own_jetstream)
    stream.write(rows(50))

    async def main() -> list[float]:
        source = stream.source(follow=True)
        await source.open()
        found = firsts(await take(source, 50))
        await anyio.to_thread.run_sync(own_jetstream.kill)
        await anyio.sleep(0.3)
        await anyio.to_thread.run_sync(own_jetstream.start)
        await anyio.to_thread.run_sync(stream.write, rows(10, start=50))
        found += firsts(await take(source, 10, seconds=60))
        await source.aclose()
        return found

    assert anyio.run(main) == list(range(60))


def test_a_server_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamnet.sources.brokers.nats.ANSWER_SECONDS", 0.5)
    port = free_port()
    expected = f"stream 'events' of 127.0.0.1:{port} can't be read: .*Connect call failed"
    with pytest.raises(ReadError, match=expected):
        read(NatsSource(servers=f"127.0.0.1:{port}", stream="events"))


def test_a_stream_that_does_not_exist_is_named(jetstream: Server) -> None:
    with pytest.raises(ConfigurationError, match="stream is 'none', but there is no such stream"):
        read(NatsSource(servers=jetstream.address, stream="none"))


def test_users_log_in_with_passwords_that_are_shown_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamnet.sources.brokers.nats.ANSWER_SECONDS", 3.0)
    caplog.set_level(logging.DEBUG)
    (tmp_path / "word").write_text("correct-horse\n")
    (tmp_path / "wrong").write_text("battery-staple")
    with nats_server("--user", "me", "--pass", "correct-horse") as server:
        secret = {"user": "me", "password": "correct-horse"}

        async def work(js: Any) -> None:
            await js.add_stream(name="events", subjects=["e"])
            await js.publish("e", rows(1)[0])

        with_nats_client(server, work, **secret)
        login: Any = {"user": "me", "password_file": str(tmp_path / "word")}
        source = NatsSource(servers=server.address, stream="events", target="y", **login)
        assert len(read(source)[1][0]) == 1
        login["password_file"] = str(tmp_path / "wrong")
        refused = NatsSource(servers=server.address, stream="events", target="y", **login)
        refusal = "stream 'events' of .* can't be read: .*Authorization Violation"
        with pytest.raises(ConfigurationError, match=refusal) as caught:
            read(refused)
    seen = f"{caught.value}{caplog.text}{source.export_state(None)}"
    assert "correct-horse" not in seen
    assert "battery-staple" not in seen
