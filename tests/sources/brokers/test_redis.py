"""Redis and Valkey streams: a real server; fields, deleted entries, groups, logins and errors."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.pipeline import Pipeline
from streamnet.pipeline.state import State
from streamnet.samples import Kind
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import Columns
from streamnet.sources.wrappers import RetryingSource
from tests.sources.brokers.servers import Server, free_port, require_module, valkey
from tests.sources.brokers.streams import (
    RedisStream,
    add,
    left_at_five,
    redis_client,
    resumed,
    rows,
)
from tests.sources.harness import content, firsts, read, take

require_module("redis")

from redis import Redis  # noqa: E402 - behind the check

from streamnet.sources.brokers.redis import RedisSource  # noqa: E402 - likewise


@pytest.fixture
def stream(valkey_server: Server) -> RedisStream:
    """A stream that no other test uses."""
    return RedisStream(valkey_server)


def test_without_a_field_of_messages_the_entry_is_the_sample(
    valkey_server: Server, stream: RedisStream
) -> None:
    entries: list[Any] = [{"x": i / 2, "w": "rot" if i % 2 else "grün", "y": i} for i in range(30)]
    add(valkey_server, stream.id, [*entries, {"x": b"\xff", "y": 1}])
    schema, blocks = read(stream.source(value_field=None, key_field=None))
    found = content(blocks)
    assert dict(schema.fields) == {"x": Kind.NUMBER, "w": Kind.CATEGORY}
    assert len(found.samples) == 30
    assert [letter.reason for letter in found.letters] == ["json"]


def test_key_time_and_fields_become_columns(valkey_server: Server, stream: RedisStream) -> None:
    value = json.dumps({"x": 1, "y": "a"}).encode()
    with redis_client(valkey_server) as redis:
        fields: Any = {"data": value, "device": "d7", "trace": "t1"}
        redis.xadd(stream.id, fields, id="1700000000500-0")
    columns = {"key_field": "device", "key": "k", "timestamp": "at", "headers": {"trace": "t"}}
    schema, blocks = read(stream.source(**columns))
    assert dict(zip(schema.words, [w[0] for w in blocks[0].words], strict=True)) == {
        "k": "d7", "t": "t1"
    }  # fmt: skip
    assert blocks[0].numbers.tolist() == [[1.0, 1_700_000_000.5]]


def test_a_poison_entry_keeps_stream_id_and_key(valkey_server: Server, stream: RedisStream) -> None:
    with redis_client(valkey_server) as redis:
        redis.xadd(stream.id, {"data": json.dumps({"x": 1, "y": "a"})}, id="5-0")
        redis.xadd(stream.id, {"data": "poison", "k": "seven"}, id="5-1")
    source = stream.source(key_field="k")
    (letter,) = content(read(source)[1]).letters
    assert letter.message == {"stream": stream.id, "id": "5-1", "key": "seven"}


def test_an_entry_that_is_deleted_by_itself_after_it_was_read_is_no_gap(
    valkey_server: Server, stream: RedisStream
) -> None:
    place = left_at_five(stream)
    with redis_client(valkey_server) as redis:
        redis.xdel(stream.id, redis.xrange(stream.id)[4][0])
    found = resumed(stream.source(), place)
    assert not found.letters
    assert len(found.samples) == 15


def test_a_stream_that_keeps_only_the_newest_entries_loses_nothing_that_was_read(
    valkey_server: Server, stream: RedisStream
) -> None:
    """The last entry is trimmed each time; the numbers of entries say that none behind it is."""

    async def main() -> list[float]:
        source = stream.source(follow=True, columns=Columns(target="y", head=1))
        found: list[float] = []
        stream.write(rows(2))
        await source.open()
        for start in range(2, 20, 2):
            while len(found) < start:
                block = await source.receive()
                assert block is not None
                found += block.numbers[:, 0].tolist()
            stream.write(rows(2, start=start))
            stream.trim(start)
        await source.aclose()
        return found

    assert anyio.run(main) == list(range(18))


# -------------------------------------------------------------------- groups and servers


def test_the_group_follows_the_checkpoints(
    valkey_server: Server, stream: RedisStream, tmp_path: Path
) -> None:
    stream.write(rows(700))
    source = stream.source(group="g")
    candidates = [CandidateSettings(hidden=(4,))]
    pipeline = Pipeline(source, candidates=candidates, state=State(tmp_path))
    assert anyio.run(pipeline.run).report["learned"] == 700
    with redis_client(valkey_server) as redis:
        (group,) = redis.xinfo_groups(stream.id)
        last = redis.xinfo_stream(stream.id)["last-generated-id"]
    assert group["last-delivered-id"] == last


def test_a_killed_server_is_waited_for(own_valkey: Server) -> None:
    stream = RedisStream(own_valkey)
    stream.write(rows(50))

    async def main() -> list[float]:
        source = RetryingSource(lambda: stream.source(follow=True), tries=None)
        await source.open()
        found = firsts(await take(source, 50))
        await anyio.to_thread.run_sync(own_valkey.kill)
        async with anyio.create_task_group() as group:

            async def restart() -> None:
                await anyio.sleep(0.5)
                await anyio.to_thread.run_sync(own_valkey.start)
                await anyio.to_thread.run_sync(stream.write, rows(10, start=50))

            group.start_soon(restart)
            found += firsts(await take(source, 10, seconds=60))
        await source.aclose()
        return found

    assert anyio.run(main) == list(range(60))


def test_a_server_that_cannot_be_reached_is_named() -> None:
    port = free_port()
    with pytest.raises(ReadError, match=f"stream 'events' of 127.0.0.1:{port} can't be read"):
        read(RedisSource(server=f"127.0.0.1:{port}", stream="events"))


def test_a_key_of_another_type_is_no_stream(valkey_server: Server, stream: RedisStream) -> None:
    with redis_client(valkey_server) as redis:
        redis.set(stream.id, "text")
    with pytest.raises(ConfigurationError, match="WRONGTYPE"):
        read(stream.source())


def test_a_stream_that_does_not_exist_holds_no_samples(
    valkey_server: Server, stream: RedisStream
) -> None:
    with pytest.raises(DataError, match=f"{stream.id} holds no samples"):
        read(stream.source())


def test_users_log_in_with_passwords_that_are_shown_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "word").write_text("correct-horse\n")
    (tmp_path / "wrong").write_text("battery-staple")
    rule = "on >correct-horse ~* +@all"
    with valkey("--user", "me", *rule.split(), "--user", "default", "off") as server:
        login: Any = {"user": "me", "password_file": str(tmp_path / "word")}
        with Redis(port=server.port, username="me", password="correct-horse") as redis:
            redis.xadd("events", {"x": 1, "y": "a"})
        source = RedisSource(server=server.address, stream="events", target="y", **login)
        assert len(read(source)[1][0]) == 1
        login["password_file"] = str(tmp_path / "wrong")
        refused = RedisSource(server=server.address, stream="events", target="y", **login)
        with pytest.raises(ConfigurationError, match="can't be read") as caught:
            read(refused)
    seen = f"{caught.value}{caplog.text}{source.export_state(None)}"
    assert "correct-horse" not in seen
    assert "battery-staple" not in seen
