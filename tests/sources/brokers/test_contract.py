"""What every source of a broker that keeps its messages must do, against real servers."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from streamnet.errors import DataError
from streamnet.samples import Block, Position
from streamnet.sources.brokers.base import BrokerSource
from tests.sources.brokers.streams import (
    KafkaStream,
    NatsStream,
    RedisStream,
    Stream,
    left_at_five,
    resumed,
    rows,
)
from tests.sources.harness import assert_resumes_everywhere, places, read, take

STREAMS: dict[str, tuple[type[Stream], str]] = {
    "mock": (KafkaStream, "_mock"),
    "noida": (KafkaStream, "_noida"),
    "redis": (RedisStream, "valkey_server"),
    "nats": (NatsStream, "jetstream"),
}
"""Kind of the stream, and the fixture of its server."""

DAMAGEABLE = ["noida", "redis", "nats"]  # whose messages and streams can be deleted


@pytest.fixture(params=STREAMS)
def stream(request: pytest.FixtureRequest) -> Stream:
    """A stream that no other test uses."""
    make, server = STREAMS[request.param]
    return make(request.getfixturevalue(server))


def test_samples_are_those_of_the_stream_in_its_order(stream: Stream) -> None:
    stream.write(rows(3000))
    schema, blocks = read(stream.source())
    assert schema.numbers == ("x",)
    assert [x for block in blocks for x in block.numbers[:, 0]] == list(range(3000))
    assert {block.source for block in blocks} == {stream.name}
    assert blocks[-1].end == Position(stream.name, 3000 + stream.first, 3000, 0)


def test_reading_resumes_behind_every_message(stream: Stream) -> None:
    stream.write([*rows(4), None, b"poison", *rows(3, start=4), b"", None])

    def make() -> BrokerSource:
        return stream.source(key="k")

    assert_resumes_everywhere(make, places(make))


# ------------------------------------------------------------------------------------ gaps


@pytest.mark.parametrize(
    ("stream", "change", "detail", "rest"),
    [
        (
            "noida",
            lambda s: s.trim(8),
            "begins at offset 8, but was left at 5: the messages in between were deleted before",
            12,
        ),
        (
            "noida",
            lambda s: s.recreate(3),
            "ends at offset 3, but was left at 5: it lost messages, or was",
            3,
        ),
        (
            "noida",
            lambda s: s.recreate(30),
            "has another message at offset 4 than the one that was read there",
            30,
        ),
        ("redis", lambda s: s.trim(8), "was trimmed: 3 entries behind .* are gone", 12),
        ("redis", lambda s: s.trim(20), "was trimmed: 15 entries behind .* are gone", 0),
        ("redis", lambda s: s.recreate(3), "had fewer entries before it: it lost", 3),
        ("redis", lambda s: s.recreate(30), "had fewer entries before it: it lost", 30),
        ("redis", lambda s: s.recreate(0), "does not exist any more", 0),
        (
            "redis",
            lambda s: s.recreate_with_the_same_ids(),
            "has another entry .* than the one that was read",
            20,
        ),
        ("nats", lambda s: s.trim(8), "begins at sequence 9, but 6 comes next", 12),
        ("nats", lambda s: s.recreate(3), "it was deleted and created again", 3),
        ("nats", lambda s: s.recreate(30), "it was deleted and created again", 30),
    ],
    indirect=["stream"],
)
def test_what_was_lost_while_nobody_read_is_reported(
    stream: Stream, change: Callable[[Stream], None], detail: str, rest: int
) -> None:
    place = left_at_five(stream)
    change(stream)
    with pytest.raises(DataError, match=detail):
        resumed(stream.source(), place)
    found = resumed(stream.source(on_gap="go_on"), place)
    assert [letter.reason for letter in found.letters] == ["gap"]
    assert len(found.samples) == rest


@pytest.mark.parametrize("stream", DAMAGEABLE, indirect=True)
@pytest.mark.parametrize("before", [4, 5])
def test_a_trim_up_to_the_next_message_loses_nothing(stream: Stream, before: int) -> None:
    place = left_at_five(stream)
    stream.trim(before)
    found = resumed(stream.source(), place)
    assert not found.letters
    assert len(found.samples) == 15


@pytest.mark.parametrize(
    ("stream", "detail"),
    [
        ("noida", "has offsets from 45 to 49, but offset 30 comes next"),
        ("redis", "was trimmed: 25 entries behind"),
        ("nats", "begins at sequence 46, but 21 comes next"),
    ],
    indirect=["stream"],
)
def test_retention_that_overtakes_reading_is_reported(stream: Stream, detail: str) -> None:
    stream.write(rows(20))

    async def main() -> list[Block]:
        source = stream.source(follow=True, on_gap="go_on")
        await source.open()
        await take(source, 20)
        await anyio.to_thread.run_sync(stream.overtake, source, rows(30, start=20), 45)
        blocks = await take(source, 6)
        await source.aclose()
        return blocks

    blocks = anyio.run(main)
    (letter,) = [letter for block in blocks for letter in block.rejected]
    assert letter.reason == "gap"
    assert detail in letter.detail
    found = [number for block in blocks for number in block.numbers[:, 0].tolist()]
    assert found == [45.0, 46.0, 47.0, 48.0, 49.0]
