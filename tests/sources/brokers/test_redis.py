"""Redis and Valkey streams: a real server; positions, gaps, fields, groups and errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.pipeline import Pipeline
from streamnet.pipeline.state import State
from streamnet.samples import Kind, Position
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import Columns
from streamnet.sources.wrappers import RetryingSource
from tests.sources.brokers.servers import Server, free_port, require_module, valkey
from tests.sources.harness import assert_resumes_everywhere, content, drain, places, read

require_module("redis")

from redis import Redis  # noqa: E402 - behind the check

from streamnet.sources.brokers.redis import RedisSource  # noqa: E402 - likewise


def client(server: Server) -> Redis:
    return Redis(port=server.port, socket_timeout=10)


def add(server: Server, stream: str, values: Sequence[bytes | dict[str, Any]]) -> None:
    """Add entries, in one go; a message is the value of the field data."""
    with client(server) as redis, redis.pipeline(transaction=False) as pipeline:
        for value in values:
            pipeline.xadd(stream, value if isinstance(value, dict) else {"data": value})
        pipeline.execute()


def rows(count: int, start: int = 0) -> list[bytes | dict[str, Any]]:
    return [json.dumps({"x": i, "y": "ab"[i % 2]}).encode() for i in range(start, start + count)]


@pytest.fixture
def stream() -> str:
    """A stream that no other test uses."""
    return f"s{uuid4().hex}"


def source_of(server: Server, stream: str, **settings: Any) -> RedisSource:
    given = {"columns": Columns(target="y", head=5), "value_field": "data", **settings}
    return RedisSource(server=server.address, stream=stream, **given)


def test_messages_are_the_values_of_a_field(valkey_server: Server, stream: str) -> None:
    add(valkey_server, stream, rows(3000))
    schema, blocks = read(source_of(valkey_server, stream))
    assert schema.numbers == ("x",)
    assert [x for block in blocks for x in block.numbers[:, 0]] == list(range(3000))
    assert blocks[-1].end == Position(stream, 3000, 3000, 0)


def test_without_such_a_field_the_entry_is_the_sample(valkey_server: Server, stream: str) -> None:
    entries: list[Any] = [{"x": i / 2, "w": "rot" if i % 2 else "grün", "y": i} for i in range(30)]
    add(valkey_server, stream, [*entries, {"x": b"\xff", "y": 1}])
    schema, blocks = read(source_of(valkey_server, stream, value_field=None))
    found = content(blocks)
    assert dict(schema.fields) == {"x": Kind.NUMBER, "w": Kind.CATEGORY}
    assert len(found.samples) == 30
    assert [letter.reason for letter in found.letters] == ["json"]


def test_reading_resumes_behind_every_entry(valkey_server: Server, stream: str) -> None:
    add(valkey_server, stream, [*rows(4), {"other": 1}, b"poison", *rows(3, start=4), {"other": 2}])

    def make() -> RedisSource:
        return source_of(valkey_server, stream)

    assert_resumes_everywhere(make, places(make))


def test_key_time_and_fields_become_columns(valkey_server: Server, stream: str) -> None:
    value = json.dumps({"x": 1, "y": "a"}).encode()
    with client(valkey_server) as redis:
        fields: Any = {"data": value, "device": "d7", "trace": "t1"}
        redis.xadd(stream, fields, id="1700000000500-0")
    columns = {"key_field": "device", "key": "k", "timestamp": "at", "headers": {"trace": "t"}}
    schema, blocks = read(source_of(valkey_server, stream, **columns))
    assert dict(zip(schema.words, [w[0] for w in blocks[0].words], strict=True)) == {
        "k": "d7", "t": "t1"
    }  # fmt: skip
    assert blocks[0].numbers.tolist() == [[1.0, 1_700_000_000.5]]


def test_a_poison_entry_keeps_stream_id_and_key(valkey_server: Server, stream: str) -> None:
    with client(valkey_server) as redis:
        redis.xadd(stream, {"data": json.dumps({"x": 1, "y": "a"})}, id="5-0")
        redis.xadd(stream, {"data": "poison", "k": "seven"}, id="5-1")
    source = source_of(valkey_server, stream, key_field="k")
    (letter,) = content(read(source)[1]).letters
    assert letter.message == {"stream": stream, "id": "5-1", "key": "seven"}


# ------------------------------------------------------------------------------------ gaps


def at_five(server: Server, stream: str) -> tuple[Position, str]:
    """A position behind five entries, and the state that belongs to it."""

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


def recreate(server: Server, stream: str, count: int) -> None:
    with client(server) as redis:
        redis.delete(stream)
    add(server, stream, rows(count, start=100))


def trim(server: Server, stream: str, left: int) -> None:
    with client(server) as redis:
        redis.xtrim(stream, maxlen=left, approximate=False)


def recreate_with_the_same_ids(server: Server, stream: str) -> None:
    with client(server) as redis:
        ids = [entry[0] for entry in redis.xrange(stream)]
        redis.delete(stream)
        for i, one in enumerate(ids):
            redis.xadd(stream, {"data": json.dumps({"x": -i, "y": "a"})}, id=one)


@pytest.mark.parametrize(
    ("change", "detail", "rest"),
    [
        (lambda server, s: trim(server, s, 12), "was trimmed: 3 entries behind .* are gone", 12),
        (lambda server, s: trim(server, s, 0), "was trimmed: 15 entries behind .* are gone", 0),
        (lambda server, s: recreate(server, s, 3), "had fewer entries before it: it lost", 3),
        (lambda server, s: recreate(server, s, 30), "had fewer entries before it: it lost", 30),
        (lambda server, s: recreate(server, s, 0), "does not exist any more", 0),
        (recreate_with_the_same_ids, "has another entry .* than the one that was read", 20),
    ],
)
def test_what_was_lost_while_nobody_read_is_told(
    valkey_server: Server,
    stream: str,
    change: Callable[[Server, str], None],
    detail: str,
    rest: int,
) -> None:
    add(valkey_server, stream, rows(20))
    position, state = at_five(valkey_server, stream)
    change(valkey_server, stream)
    with pytest.raises(DataError, match=detail):
        anyio.run(drain, source_of(valkey_server, stream), position, state)
    lossy = source_of(valkey_server, stream, on_gap="go_on")
    found = content(anyio.run(drain, lossy, position, state)[1])
    assert [letter.reason for letter in found.letters] == ["gap"]
    assert len(found.samples) == rest


@pytest.mark.parametrize("left", [15, 16])
def test_a_trim_up_to_the_next_entry_loses_nothing(
    valkey_server: Server, stream: str, left: int
) -> None:
    add(valkey_server, stream, rows(20))
    position, state = at_five(valkey_server, stream)
    trim(valkey_server, stream, left)
    found = content(anyio.run(drain, source_of(valkey_server, stream), position, state)[1])
    assert not found.letters
    assert len(found.samples) == 15


def test_an_entry_that_is_deleted_by_itself_after_it_was_read_is_no_gap(
    valkey_server: Server, stream: str
) -> None:
    add(valkey_server, stream, rows(20))
    position, state = at_five(valkey_server, stream)
    with client(valkey_server) as redis:
        redis.xdel(stream, redis.xrange(stream)[4][0])
    found = content(anyio.run(drain, source_of(valkey_server, stream), position, state)[1])
    assert not found.letters
    assert len(found.samples) == 15


def test_a_trim_that_overtakes_reading_is_told_at_once(valkey_server: Server, stream: str) -> None:
    add(valkey_server, stream, rows(20))

    async def main() -> tuple[Any, Any]:
        source = source_of(valkey_server, stream, follow=True, on_gap="go_on")
        await source.open()
        first = await source.receive()
        assert first is not None
        assert len(first) == 20
        add(valkey_server, stream, rows(30, start=20))
        trim(valkey_server, stream, 5)
        gap, rest = await source.receive(), await source.receive()
        await source.aclose()
        return gap, rest

    gap, rest = anyio.run(main)
    assert [letter.reason for letter in gap.rejected] == ["gap"]
    assert "was trimmed: 25 entries behind" in gap.rejected[0].detail
    assert rest.numbers[:, 0].tolist() == [45.0, 46.0, 47.0, 48.0, 49.0]


def test_a_stream_that_keeps_only_the_newest_entries_loses_nothing_that_was_read(
    valkey_server: Server, stream: str
) -> None:
    """The last entry is trimmed each time; the numbers of entries say that none behind it is."""

    async def main() -> list[float]:
        source = source_of(valkey_server, stream, follow=True, columns=Columns(target="y", head=1))
        found: list[float] = []
        add(valkey_server, stream, rows(2))
        await source.open()
        for start in range(2, 20, 2):
            while len(found) < start:
                block = await source.receive()
                assert block is not None
                found += block.numbers[:, 0].tolist()
            add(valkey_server, stream, rows(2, start=start))
            trim(valkey_server, stream, 2)
        await source.aclose()
        return found

    assert anyio.run(main) == list(range(18))


# -------------------------------------------------------------------- groups and servers


def test_the_group_is_told_what_a_checkpoint_holds(
    valkey_server: Server, stream: str, tmp_path: Path
) -> None:
    add(valkey_server, stream, rows(700))
    source = source_of(valkey_server, stream, group="g")
    candidates = [CandidateSettings(hidden=(4,))]
    pipeline = Pipeline(source, candidates=candidates, state=State(tmp_path))
    assert anyio.run(pipeline.run).report["learned"] == 700
    with client(valkey_server) as redis:
        (group,) = redis.xinfo_groups(stream)
        last = redis.xinfo_stream(stream)["last-generated-id"]
    assert group["last-delivered-id"] == last


def test_a_killed_server_is_waited_for(own_valkey: Server) -> None:
    add(own_valkey, "events", rows(50))

    async def main() -> list[float]:
        source = RetryingSource(lambda: source_of(own_valkey, "events", follow=True), tries=None)
        await source.open()
        found: list[float] = []
        while len(found) < 50:
            block = await source.receive()
            assert block is not None
            found += block.numbers[:, 0].tolist()
        await anyio.to_thread.run_sync(own_valkey.kill)
        async with anyio.create_task_group() as group:

            async def restart() -> None:
                await anyio.sleep(0.5)
                await anyio.to_thread.run_sync(own_valkey.start)
                await anyio.to_thread.run_sync(add, own_valkey, "events", rows(10, start=50))

            group.start_soon(restart)
            while len(found) < 60:
                block = await source.receive()
                assert block is not None
                found += block.numbers[:, 0].tolist()
        await source.aclose()
        return found

    assert anyio.run(main) == list(range(60))


def test_a_server_that_cannot_be_reached_is_named() -> None:
    port = free_port()
    with pytest.raises(ReadError, match=f"stream 'events' of 127.0.0.1:{port} can't be read"):
        read(RedisSource(server=f"127.0.0.1:{port}", stream="events"))


def test_a_key_of_another_type_is_no_stream(valkey_server: Server, stream: str) -> None:
    with client(valkey_server) as redis:
        redis.set(stream, "text")
    with pytest.raises(ConfigurationError, match="WRONGTYPE"):
        read(source_of(valkey_server, stream))


def test_a_stream_that_does_not_exist_holds_no_samples(valkey_server: Server, stream: str) -> None:
    with pytest.raises(DataError, match=f"{stream} holds no samples"):
        read(source_of(valkey_server, stream))


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
