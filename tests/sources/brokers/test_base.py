"""Sources of brokers: exact positions, rejected messages, gaps, whatever the broker is."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamnet.errors import ConfigurationError, DataError
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.state import State
from streamnet.runs.builder import check_files
from streamnet.samples import KeyRemoval, Kind, Position, Task
from streamnet.settings.brokers import MessageSettings
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.run import parse
from streamnet.sources import Columns, LimitedSource, RetryingSource, SchemaDrift
from streamnet.sources.brokers.base import BrokerSource
from streamnet.sources.wrappers import GuardedSource
from tests.sources.brokers.memory import MemorySubscription, Stream, Value, source_of
from tests.sources.harness import assert_resumes_everywhere, content, drain, places, read
from tests.sources.test_cancellation import Cancelling

ROWS: list[Value] = [
    {"x": 1.5, "w": "a", "y": "u"},
    {"x": 2, "w": "b", "y": "v"},
    b"not json",
    {"x": 4, "w": "b", "y": "v"},
    None,
    {"x": 5, "w": None, "y": "u"},
    b"[1, 2]",
    {"x": "word", "w": "a", "y": "u"},
    None,
    {"x": 6, "w": "c", "y": "u", "late": 3},
    {"x": 7, "w": "c", "y": "v", "late": "x"},
    {"x": 8, "w": "c", "y": "v", "later": "z"},
    None,
    b"\xff\xfe",
    None,
]
COLUMNS = Columns(target="y", head=2)


def test_samples_are_those_of_the_messages_in_their_order() -> None:
    schema, blocks = read(source_of(ROWS, columns=COLUMNS))
    found = content(blocks)
    assert schema.numbers == ("x",)
    assert schema.words == ("w",)
    assert schema.task is Task.CLASSIFICATION
    assert [sample[1] for sample in found.samples] == [
        (0, 0, 0), (1, 1, 0), (3, 3, 0), (5, 4, 0), (9, 7, 0), (11, 9, 0)
    ]  # fmt: skip
    assert [sample[5] for sample in found.samples] == ["'u'", "'v'", "'v'", "'u'", "'u'", "'v'"]
    assert [letter.offset for letter in found.letters] == [2, 6, 7, 10, 13]
    assert [letter.reason for letter in found.letters] == [
        "json",
        "json",
        "number",
        "number",
        "json",
    ]
    assert blocks[-1].end == Position("memory", 15, 11, 0)
    assert blocks[-1].schema.numbers == ("x", "late")


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_how_messages_arrive_changes_nothing(cuts: list[int]) -> None:
    def whole(cuts: tuple[int, ...]) -> Any:
        return content(read(source_of(ROWS, cuts=cuts, columns=COLUMNS))[1])

    assert whole(tuple(cuts)) == whole((8192,))


@pytest.mark.usefixtures("without_threads")
@pytest.mark.parametrize("cut", [1, 3, 8192])
def test_reading_resumes_behind_every_sample(cut: int) -> None:
    def make() -> Any:
        return source_of(ROWS, cuts=(cut,), columns=COLUMNS)

    assert_resumes_everywhere(make, places(make))


def test_a_position_needs_the_state_that_belongs_to_it() -> None:
    with pytest.raises(DataError, match="memory can't be resumed at 3 without a state"):
        read(source_of(ROWS), Position("memory", 3, 3, 0))


def test_a_cancelled_call_loses_nothing(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Value] = [{"x": i, "y": "ab"[i % 2]} for i in range(3000)]
    whole = content(read(source_of(rows))[1])
    cancelled = 0
    for seed in range(4):
        cancelling = Cancelling(seed)
        with monkeypatch.context() as patched:
            patched.setattr(to_thread, "run_sync", cancelling)
            source = source_of(rows, cuts=(7, 400, 1))
            found = anyio.run(cancelling.read, source, None, backend=backend)
        assert content(found) == whole
        cancelled += cancelling.cancelled
    assert cancelled > 0


# ----------------------------------------------------------------------------- the messages


def test_key_time_and_headers_become_columns_where_they_are_named() -> None:
    stream = Stream([{"x": 1, "y": "a"}, {"x": 2, "y": "b"}], key=b"device-7")
    schema, blocks = read(source_of(stream, key="device", timestamp="sent"))
    assert dict(schema.fields) == {"x": Kind.NUMBER, "device": Kind.CATEGORY, "sent": Kind.TIME}
    assert blocks[0].numbers.tolist() == [[1.0, 1000.0], [2.0, 1001.0]]
    assert blocks[0].words[0].tolist() == ["device-7", "device-7"]


def test_the_time_of_messages_may_be_dropped_or_of_another_kind() -> None:
    rows: list[Value] = [{"x": 1, "y": "a"}]
    dropped, _ = read(source_of(rows, columns=Columns(target="y", drop=("t",)), timestamp="t"))
    assert dropped.numbers == ("x",)
    number = Columns(target="y", kinds={"t": Kind.NUMBER})
    schema, _ = read(source_of(rows, columns=number, timestamp="t"))
    assert dict(schema.fields)["t"] is Kind.NUMBER


def test_a_value_of_the_name_of_the_keys_column_is_not_overwritten() -> None:
    rows: list[Value] = [{"x": 1, "y": "a"}, {"x": 2, "y": "a", "device": "mine"}]
    _, blocks = read(source_of(rows, key="device"))
    (letter,) = content(blocks).letters
    assert letter.reason == "message"
    assert letter.detail == (
        "the message has a value 'device' of its own, but that column is given by key, timestamp "
        "or headers"
    )


def test_a_key_that_is_not_text_rejects_the_message() -> None:
    stream = Stream([{"x": 1, "y": "a"}, {"x": 2, "y": "b"}])
    broken = stream.messages[1]
    stream.messages[1] = type(broken)(1, 1, broken.value, key=b"\xff\x00")
    _, blocks = read(source_of(stream, key="k"))
    (letter,) = content(blocks).letters
    assert letter.reason == "encoding"
    assert letter.message is not None
    assert b64decode(letter.message["key_base64"]) == b"\xff\x00"


def test_a_rejected_message_names_its_stream_id_and_key_and_keeps_its_bytes() -> None:
    _, blocks = read(source_of(ROWS, columns=COLUMNS))
    letter = content(blocks).letters[-1]
    assert letter.message == {"stream": "memory", "id": 13, "key": "k"}
    assert letter.raw_base64 is not None
    assert b64decode(letter.raw_base64) == b"\xff\xfe"
    assert letter.place == "memory, record at 13"


def test_tombstones_are_skipped_or_rejected() -> None:
    rejected = content(read(source_of(ROWS, columns=COLUMNS, tombstones="reject"))[1]).letters
    assert [letter.offset for letter in rejected] == [2, 4, 6, 7, 8, 10, 12, 13, 14]
    assert rejected[1].detail == "the message has no value: it is a tombstone"


def keyed_stream() -> Stream:
    """Samples of two keys, each of which ends once; a last tombstone has no key."""
    rows: list[Value] = [{"x": i, "y": float(i % 5)} for i in range(40)]
    rows[0] = rows[11] = rows[25] = rows[39] = None
    stream = Stream(rows)
    keys = [b"ab"[i % 2 :][:1] for i in range(39)]
    stream.messages = [
        replace(message, key=key)
        for message, key in zip(stream.messages, [*keys, None], strict=True)
    ]
    return stream


def test_a_tombstone_forgets_its_key_before_the_next_sample() -> None:
    columns = Columns(target="y", head=2, kinds={"k": Kind.CATEGORY})
    given: dict[str, Any] = {"columns": columns, "key": "k", "tombstones": "forget"}
    _, blocks = read(source_of(keyed_stream(), cuts=(7, 3), **given))
    changes = [(block.marks.tolist(), block.change) for block in blocks if block.change]
    assert changes == [
        ([[1, 1, 0]], KeyRemoval("a")),
        ([[12, 12, 0]], KeyRemoval("b")),
        ([[26, 26, 0]], KeyRemoval("b")),
    ]
    assert [letter.detail for letter in content(blocks).letters] == [
        "the message has neither a value nor a key"
    ]
    make = partial(source_of, keyed_stream(), **given)
    assert_resumes_everywhere(make, places(make))


def test_a_run_forgets_the_keys_of_tombstones(tmp_path: Path) -> None:
    columns = Columns(target="y", head=2, kinds={"k": Kind.CATEGORY})

    def run(limit: int) -> Pipeline:
        source = source_of(keyed_stream(), columns=columns, key="k", tombstones="forget")
        pipeline = Pipeline(
            LimitedSource(source, limit),
            candidates=[CandidateSettings(hidden=(8,))],
            key=["k"],
            state=State(tmp_path / "state", every_samples=3, every_seconds=None),
        )
        anyio.run(pipeline.run)
        return pipeline

    run(5)
    run(12)
    pipeline = run(100)
    assert pipeline.learner is not None
    keyed = pipeline.learner.serving.contenders.keyed
    assert keyed is not None
    scores = [keyed.describe(key) for key in ("a", "b")]
    assert [one and one.samples for one in scores] == [19, 6]
    assert pipeline.statistics().samples == 36


def test_tombstones_forget_only_where_their_key_is_the_key() -> None:
    with pytest.raises(ConfigurationError, match="then key must name a column"):
        MessageSettings(tombstones="forget")
    text = "source.kafka = {servers = 'b:1', topic = 't', key = 'k', tombstones = 'forget'}\n"
    for keys in ("", "keys.key = ['other']\n"):
        with pytest.raises(ConfigurationError, match="then key must be 'k', the colu"):
            check_files(parse(f"{text}{keys}"))
    check_files(parse(f"{text}keys.key = ['k']\n"))


def test_a_message_longer_than_allowed_is_rejected() -> None:
    rows: list[Value] = [{"x": 1, "y": "a"}, {"x": 2, "y": "b" * 100}]
    _, blocks = read(source_of(rows, max_record_bytes=50))
    (letter,) = content(blocks).letters
    assert letter.reason == "too-long"
    assert letter.detail == "the message is longer than 50 bytes"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "memory holds no samples"),
        ([None, None], "memory holds no samples"),
        (
            [None, b"x"],
            "memory has no sample in its first 2 messages: message 1 is rejected: JSON is",
        ),
    ],
)
def test_a_stream_without_samples_is_an_error(rows: list[Value], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(source_of(rows))


def test_the_task_is_inferred_from_more_messages_if_the_first_ones_have_no_target() -> None:
    rows: list[Value] = [{"x": i, "y": None if i < 20 else i / 2} for i in range(40)]
    schema, _ = read(source_of(rows, columns=Columns(target="y", head=5)))
    assert schema.task is Task.REGRESSION


def test_what_was_there_is_waited_for_before_columns_are_inferred() -> None:
    """One message a poll: those that were there make up the head, however slowly they come."""
    rows: list[Value] = [{"x": i, "y": i % 2} for i in range(25)]
    rows.append({"x": 1, "y": 0.5})
    schema, _ = read(source_of(rows, cuts=(0, 1), columns=Columns(target="y", head=1000)))
    assert schema.task is Task.REGRESSION


def test_a_live_stream_is_read_as_far_as_it_came_and_never_ends() -> None:
    async def main() -> None:
        stream = Stream([{"x": i, "y": "a"} for i in range(10)])
        source = source_of(stream, follow=True)
        await source.open()
        block = await source.receive()
        assert block is not None
        assert len(block) == 10
        with anyio.move_on_after(0.3) as scope:
            await source.receive()
        assert scope.cancelled_caught
        stream.messages += Stream([{"x": i, "y": "a"} for i in range(12)]).messages[10:]
        block = await source.receive()
        assert block is not None
        assert block.numbers[:, 0].tolist() == [10.0, 11.0]
        await source.aclose()
        assert await source.receive() is None

    anyio.run(main)


# ------------------------------------------------------------------------------------ gaps


def resumed(stream: Stream, place: int, **settings: Any) -> Any:
    """What a source gives that resumes behind so many messages of a stream of ten."""
    old = source_of([{"x": i, "y": "a"} for i in range(10)])

    async def first_block() -> tuple[Position, str]:
        await old.open()
        block = await old.receive()
        assert block is not None
        end = block.part(0, place).end
        return end, json.dumps(old.export_state(end))

    position, state = anyio.run(first_block)
    return content(anyio.run(drain, source_of(stream, **settings), position, state)[1])


@pytest.mark.parametrize(
    ("stream", "detail", "rest"),
    [
        (Stream([{"x": i, "y": "a"} for i in range(10)], first=6), "memory was trimmed", 4),
        (Stream([{"x": -i, "y": "a"} for i in range(10)]), "memory is another one", 10),
    ],
)
def test_what_was_lost_is_an_error_or_a_rejected_record(
    stream: Stream, detail: str, rest: int
) -> None:
    with pytest.raises(DataError, match=f"{detail} .on_gap 'go_on' would continue nevertheless."):
        resumed(stream, 4)
    found = resumed(stream, 4, on_gap="go_on")
    assert [(letter.reason, letter.detail) for letter in found.letters] == [("gap", detail)]
    assert found.letters[0].message == {"stream": "memory"}
    assert len(found.samples) == rest


def test_messages_behind_the_last_one_that_was_read_may_be_all_that_is_left() -> None:
    found = resumed(Stream([{"x": i, "y": "a"} for i in range(10)], first=4), 4)
    assert not found.letters
    assert len(found.samples) == 6


def test_a_gap_is_reported_once_even_if_reading_resumes_right_behind_it() -> None:
    stream = Stream([{"x": i, "y": "a"} for i in range(10)])

    async def main() -> Any:
        columns = Columns(target="y", head=3)
        source = source_of(stream, cuts=(4,), on_gap="go_on", follow=True, columns=columns)
        await source.open()
        blocks = [await source.receive()]
        stream.first = 7
        while (block := await source.receive()) is not None and not block.rejected:
            blocks.append(block)
        assert block is not None
        again = source_of(stream, on_gap="go_on")
        state = json.dumps(source.export_state(block.end))
        return blocks, block, content((await drain(again, block.end, state))[1])

    blocks, gap, rest = anyio.run(main)
    assert sum(map(len, filter(None, blocks))) == 4
    assert [letter.reason for letter in gap.rejected] == ["gap"]
    assert not rest.letters
    assert [sample[1][:2] for sample in rest.samples] == [(7, 5), (8, 6), (9, 7)]


# --------------------------------------------------------------------- in other sources


def test_what_is_kept_is_acknowledged_through_wrappers() -> None:
    stream = Stream([{"x": i, "y": "a"} for i in range(10)])

    async def main() -> None:
        source = LimitedSource(RetryingSource(lambda: source_of(stream)), 9)
        await source.open()
        block = await source.receive()
        assert block is not None
        source.commit(source.export_state(None))
        assert stream.acknowledged == []
        source.commit(source.export_state(block.part(0, 2).end))
        source.commit(source.export_state(block.part(0, 4).end))
        await source.aclose()

    anyio.run(main)
    assert stream.acknowledged == [1, 3]


def test_schema_drift_may_stop_a_stream() -> None:
    columns = Columns(target="y", head=2, drift=SchemaDrift(new="stop"))
    source = GuardedSource(source_of(ROWS[:10], columns=columns), columns.drift.stops)
    with pytest.raises(DataError, match="'late' is a new feature, but there must be none"):
        read(source)


def test_numbers_are_those_of_the_json_and_a_missing_name_is_a_missing_value() -> None:
    rows: list[Value] = [{"x": 0.1, "z": 1, "y": 1.5}, {"z": 2, "y": 2.5}]
    _, blocks = read(source_of(rows))
    numbers = blocks[0].numbers
    assert numbers[0].tolist() == [0.1, 1.0]
    assert math.isnan(numbers[1, 0])


def test_columns_and_target_contradict_each_other() -> None:
    subscription = MemorySubscription(Stream([]))
    with pytest.raises(ConfigurationError, match="columns is given, so target must not be"):
        BrokerSource(subscription, MessageSettings(), columns=Columns(), target="y")
