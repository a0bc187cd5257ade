"""NATS JetStream: a real server; positions, gaps, subjects, logins and errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.samples import Position
from streamnet.sources import Columns
from tests.sources.brokers.servers import Server, free_port, nats_server, require_module
from tests.sources.harness import assert_resumes_everywhere, content, drain, places, read

require_module("nats")

import nats  # noqa: E402 - behind the check

from streamnet.sources.brokers.nats import NatsSource  # noqa: E402 - likewise


def with_client(server: Server, work: Callable[[Any], Awaitable[Any]], **login: str) -> Any:
    """Do something with a client."""

    async def main() -> Any:
        client = await nats.connect(f"nats://{server.address}", **login)
        try:
            return await work(client.jetstream(publish_async_max_pending=4000))
        finally:
            await client.close()

    return anyio.run(main)


def create(server: Server, stream: str, **settings: Any) -> None:
    """Create a stream of the subjects that begin with its name."""
    with_client(server, lambda js: js.add_stream(name=stream, subjects=[f"{stream}.>"], **settings))


def publish(
    server: Server,
    stream: str,
    values: Sequence[bytes],
    *,
    subject: str = "a",
    headers: dict[str, str] | None = None,
) -> None:
    """Write messages, and wait until all of them are there."""

    async def work(js: Any) -> None:
        for value in values:
            await js.publish_async(f"{stream}.{subject}", value, wait_stall=10, headers=headers)
        await js.publish_async_completed()

    with_client(server, work)


def rows(count: int, start: int = 0) -> list[bytes]:
    return [json.dumps({"x": i, "y": "ab"[i % 2]}).encode() for i in range(start, start + count)]


@pytest.fixture
def stream(jetstream: Server) -> str:
    """A stream that no other test uses."""
    name = f"s{uuid4().hex}"
    create(jetstream, name)
    return name


def source_of(server: Server, stream: str, **settings: Any) -> NatsSource:
    given = {"columns": Columns(target="y", head=5), **settings}
    return NatsSource(servers=server.address, stream=stream, **given)


def test_samples_are_those_of_the_stream_in_its_order(jetstream: Server, stream: str) -> None:
    publish(jetstream, stream, rows(3000))
    schema, blocks = read(source_of(jetstream, stream))
    assert schema.numbers == ("x",)
    assert [x for block in blocks for x in block.numbers[:, 0]] == list(range(3000))
    assert blocks[-1].end == Position(stream, 3001, 3000, 0)


def test_reading_resumes_behind_every_message(jetstream: Server, stream: str) -> None:
    publish(jetstream, stream, [*rows(4), b"poison", *rows(2, start=4)])
    publish(jetstream, stream, [b""], headers={"KV-Operation": "DEL"})

    def make() -> NatsSource:
        return source_of(jetstream, stream)

    assert_resumes_everywhere(make, places(make))


def test_the_subject_is_the_key_and_headers_are_columns(jetstream: Server, stream: str) -> None:
    publish(jetstream, stream, rows(1), subject="d7", headers={"Trace": "t1"})
    columns = {"key": "subject", "timestamp": "at", "headers": {"Trace": "trace"}}
    schema, blocks = read(source_of(jetstream, stream, **columns))
    assert dict(zip(schema.words, [w[0] for w in blocks[0].words], strict=True)) == {
        "subject": f"{stream}.d7", "trace": "t1"
    }  # fmt: skip
    assert blocks[0].numbers[0, 1] > 1.7e9


def test_a_subject_may_be_chosen(jetstream: Server, stream: str) -> None:
    for i in range(6):
        publish(jetstream, stream, rows(1, start=i), subject="ab"[i % 2])
    _, blocks = read(source_of(jetstream, stream, subject=f"{stream}.b"))
    assert [x for block in blocks for x in block.numbers[:, 0]] == [1, 3, 5]
    with pytest.raises(DataError, match="holds no samples"):
        read(source_of(jetstream, stream, subject=f"{stream}.c"))


def test_a_poison_message_keeps_stream_sequence_and_subject(jetstream: Server, stream: str) -> None:
    publish(jetstream, stream, [*rows(2), b"poison"])
    (letter,) = content(read(source_of(jetstream, stream))[1]).letters
    assert letter.message == {"stream": stream, "id": 3, "key": f"{stream}.a"}


# ------------------------------------------------------------------------------------ gaps


def at_five(server: Server, stream: str) -> tuple[Position, str]:
    """A position behind five messages, and the state that belongs to it."""

    async def main() -> tuple[Position, str]:
        source = source_of(server, stream)
        await source.open()
        block = await source.receive()
        assert block is not None
        end = block.part(0, 5).end
        state = json.dumps(source.export_state(end))
        await source.aclose()
        return end, state

    return anyio.run(main)


def purge(server: Server, stream: str, before: int) -> None:
    with_client(server, lambda js: js._jsm.purge_stream(stream, seq=before))


def delete(server: Server, stream: str, sequence: int) -> None:
    with_client(server, lambda js: js._jsm.delete_msg(stream, sequence))


def recreate(server: Server, stream: str, count: int) -> None:
    with_client(server, lambda js: js.delete_stream(stream))
    create(server, stream)
    publish(server, stream, rows(count, start=100))


@pytest.mark.parametrize(
    ("change", "detail", "rest"),
    [
        (lambda server, s: purge(server, s, 9), "begins at sequence 9, but 6 comes next", 12),
        (lambda server, s: recreate(server, s, 3), "it was deleted and created again", 3),
        (lambda server, s: recreate(server, s, 30), "it was deleted and created again", 30),
    ],
)
def test_what_was_lost_while_nobody_read_is_told(
    jetstream: Server, stream: str, change: Callable[[Server, str], None], detail: str, rest: int
) -> None:
    publish(jetstream, stream, rows(20))
    position, state = at_five(jetstream, stream)
    change(jetstream, stream)
    with pytest.raises(DataError, match=detail):
        anyio.run(drain, source_of(jetstream, stream), position, state)
    lossy = source_of(jetstream, stream, on_gap="go_on")
    found = content(anyio.run(drain, lossy, position, state)[1])
    assert [letter.reason for letter in found.letters] == ["gap"]
    assert len(found.samples) == rest


def test_single_messages_may_be_deleted_without_a_gap(jetstream: Server, stream: str) -> None:
    publish(jetstream, stream, rows(20))
    position, state = at_five(jetstream, stream)
    for sequence in (5, 10, 20):
        delete(jetstream, stream, sequence)
    found = content(anyio.run(drain, source_of(jetstream, stream), position, state)[1])
    assert not found.letters
    assert len(found.samples) == 13


def test_retention_that_overtakes_reading_is_told(jetstream: Server, stream: str) -> None:
    publish(jetstream, stream, rows(20))

    async def main() -> tuple[Any, Any]:
        source = source_of(jetstream, stream, follow=True, on_gap="go_on")
        await source.open()
        first = await source.receive()
        assert first is not None
        assert len(first) == 20
        # As if the client had been disconnected meanwhile.
        await anyio.to_thread.run_sync(
            source._subscription._call,  # type: ignore[attr-defined]
            source._subscription._consumer.unsubscribe,  # type: ignore[attr-defined]
        )
        source._subscription._consumer = None  # type: ignore[attr-defined]
        await anyio.to_thread.run_sync(publish, jetstream, stream, rows(30, start=20))
        await anyio.to_thread.run_sync(purge, jetstream, stream, 46)
        await anyio.to_thread.run_sync(source._subscription._subscribe, 20)  # type: ignore[attr-defined]
        gap, rest = await source.receive(), await source.receive()
        await source.aclose()
        return gap, rest

    gap, rest = anyio.run(main)
    assert [letter.reason for letter in gap.rejected] == ["gap"]
    assert "begins at sequence 46, but 21 comes next" in gap.rejected[0].detail
    assert rest.numbers[:, 0].tolist() == [45.0, 46.0, 47.0, 48.0, 49.0]


# -------------------------------------------------------------------------- server and login


def test_a_killed_server_is_waited_for(own_jetstream: Server) -> None:
    create(own_jetstream, "events")
    publish(own_jetstream, "events", rows(50))

    async def main() -> list[float]:
        source = source_of(own_jetstream, "events", follow=True)
        await source.open()
        found: list[float] = []

        async def read_until(count: int) -> None:
            while len(found) < count:
                block = await source.receive()
                assert block is not None
                found.extend(block.numbers[:, 0].tolist())

        await read_until(50)
        await anyio.to_thread.run_sync(own_jetstream.kill)
        await anyio.sleep(0.3)
        await anyio.to_thread.run_sync(own_jetstream.start)
        await anyio.to_thread.run_sync(publish, own_jetstream, "events", rows(10, start=50))
        with anyio.fail_after(60):
            await read_until(60)
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
        read(source_of(jetstream, "none"))


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

        with_client(server, work, **secret)
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
