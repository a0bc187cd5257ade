"""Formats of messages, against the libraries that others write them with."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, ReadError
from streamnet.samples import Kind, Task
from streamnet.settings.brokers import MessageSettings
from streamnet.sources import Columns
from streamnet.sources.base import Rejection
from streamnet.sources.brokers.formats.registry import FORMATS, make_decoder
from tests.sources.brokers.memory import Value, source_of
from tests.sources.brokers.servers import require_module
from tests.sources.harness import content, read
from tests.web_servers import serving

RECORDS: list[dict[str, Any]] = [
    {"n": 1, "x": 1.5, "w": "a", "ok": True, "y": "u"},
    {"n": -(2**40), "x": -0.25, "w": "längst", "ok": False, "y": "v"},
    {"n": 0, "x": 0.0, "w": "", "ok": False, "y": "u"},
]
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "n", "type": "long"},
        {"name": "x", "type": ["null", "double"]},
        {"name": "w", "type": "string"},
        {"name": "ok", "type": "boolean"},
        {"name": "y", "type": {"type": "enum", "name": "Label", "symbols": ["u", "v"]}},
    ],
}
FRAME = b"\x00\x00\x00\x00\x07"


@pytest.fixture
def avro() -> Any:
    require_module("fastavro")
    import fastavro

    return fastavro


def encode_avro(avro: Any, record: Any, schema: Any = SCHEMA) -> bytes:
    stream = BytesIO()
    avro.schemaless_writer(stream, avro.parse_schema(schema, {}), record)
    return stream.getvalue()


@pytest.fixture
def schema_file(tmp_path: Path) -> str:
    path = tmp_path / "event.avsc"
    path.write_text(json.dumps(SCHEMA))
    return str(path)


def decoder_of(format: str, **settings: Any) -> Any:  # noqa: A002
    return make_decoder(MessageSettings(format=format, **settings))  # type: ignore[arg-type]


def assert_samples(schema: Any, blocks: Any) -> None:
    assert dict(schema.fields) == {
        "n": Kind.NUMBER, "x": Kind.NUMBER, "w": Kind.CATEGORY, "ok": Kind.CATEGORY
    }  # fmt: skip
    assert schema.task is Task.CLASSIFICATION
    assert blocks[0].numbers.tolist() == [[1.0, 1.5], [-(2.0**40), -0.25], [0.0, 0.0]]
    assert blocks[0].words[0].tolist() == ["a", "längst", None]
    assert blocks[0].target.tolist() == ["u", "v", "u"]


def test_json_msgpack_and_avro_messages_are_the_same_samples(avro: Any, schema_file: str) -> None:
    forms: list[tuple[Any, dict[str, Any]]] = [
        (lambda record: json.dumps(record).encode(), {"format": "json"}),
        (msgspec.msgpack.encode, {"format": "msgpack"}),
        (lambda record: encode_avro(avro, record), {"format": "avro", "schema_file": schema_file}),
    ]
    for encode, settings in forms:
        assert_samples(*read(source_of(list(map(encode, RECORDS)), **settings)))


def test_a_csv_message_has_the_columns_that_are_named() -> None:
    rows: list[Value] = [b"1;a;u", b'2.5;"b;c";v', b"x", b'3;"b;u', b"4;\xff;u", b"5;b;u\r\n", b""]
    columns = Columns(target="y", kinds={"x": Kind.NUMBER})
    source = source_of(rows, columns=columns, format="csv", names=("x", "w", "y"), delimiter=";")
    schema, blocks = read(source)
    found = content(blocks)
    assert schema.words == ("w",)
    assert [sample[4] for sample in found.samples] == [("a",), ("b;c",), ("b",)]
    assert {letter.offset: letter.reason for letter in found.letters} == {
        2: "arity", 3: "quote", 4: "encoding", 6: "arity"
    }  # fmt: skip


def test_numbers_of_csv_messages_are_numbers() -> None:
    rows: list[Value] = [f"{i},{i / 2}".encode() for i in range(50)]
    schema, _ = read(source_of(rows, format="csv", names=("x", "y")))
    assert schema.numbers == ("x",)
    assert schema.task is Task.REGRESSION


def test_csv_needs_names() -> None:
    with pytest.raises(ConfigurationError, match="names is not given, but must name the columns"):
        source_of([], format="csv")


@pytest.mark.parametrize("format", ["json", "msgpack", "csv"])
@given(value=st.binary(max_size=40))
def test_any_bytes_are_a_sample_or_rejected(format: str, value: bytes) -> None:  # noqa: A002
    found = decoder_of(format, **({"names": ("a", "b")} if format == "csv" else {}))(value)
    assert isinstance(found, dict | Rejection)


@given(value=st.binary(max_size=40))
def test_any_bytes_are_an_avro_record_or_rejected(
    value: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    require_module("fastavro")
    path = tmp_path_factory.getbasetemp() / "any.avsc"
    if not path.exists():
        path.write_text(json.dumps(SCHEMA))
    found = decoder_of("avro", schema_file=str(path))(value)
    assert isinstance(found, dict | Rejection)


def test_an_avro_message_must_be_the_whole_record(avro: Any, schema_file: str) -> None:
    decode = decoder_of("avro", schema_file=schema_file)
    value = encode_avro(avro, RECORDS[0])
    assert decode(value) == RECORDS[0]
    assert decode(value + b"!!").detail == "the message has 2 bytes behind the Avro record"
    assert decode(value[:-3]).detail.startswith("the message is no Avro record of its schema: ")


def test_times_and_decimals_of_avro_are_times_and_numbers(avro: Any, tmp_path: Path) -> None:
    schema = {
        "type": "record",
        "name": "Sale",
        "fields": [
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {
                "name": "price",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            },
            {"name": "y", "type": "double"},
        ],
    }
    (tmp_path / "sale.avsc").write_text(json.dumps(schema))
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    from decimal import Decimal

    rows: list[Value] = [encode_avro(avro, {"at": at, "price": Decimal("12.34"), "y": 1.5}, schema)]
    found, blocks = read(source_of(rows, format="avro", schema_file=str(tmp_path / "sale.avsc")))
    assert dict(found.fields) == {"at": Kind.TIME, "price": Kind.NUMBER}
    assert blocks[0].numbers.tolist() == [[at.timestamp(), 12.34]]


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "No such file"), ("{", "is no schema"), ('{"type": "no"}', "is no schema")],
)
def test_a_schema_that_cannot_be_read_is_named(
    avro: Any, tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "broken.avsc"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        decoder_of("avro", schema_file=str(path))


# ---------------------------------------------------------------------------- registry


class Registry(BaseHTTPRequestHandler):
    """A schema registry with a few schemas."""

    answers: dict[str, Any] = {}  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012
    user: str | None = None

    def do_GET(self) -> None:
        self.asked.append(self.path)
        answer = self.answers.get(self.path)
        code = 200 if isinstance(answer, dict) else answer or 404
        if self.user is not None and self.headers["Authorization"] != self.user:
            code = 401
        body = json.dumps(answer if code == 200 else {"error_code": 40403}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[tuple[str, type[Registry]]]:
    class Own(Registry):
        answers: dict[str, Any] = {"/schemas/ids/7": {"schema": json.dumps(SCHEMA)}}  # noqa: RUF012
        asked: list[str] = []  # noqa: RUF012

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Own)) as server:
        yield f"http://127.0.0.1:{server.server_port}", Own


def test_schemas_come_from_the_registry_once_each(
    avro: Any, registry: tuple[str, type[Registry]]
) -> None:
    url, handler = registry
    values = [FRAME + encode_avro(avro, record) for record in RECORDS]
    assert_samples(*read(source_of(values, format="avro", registry=url)))
    assert handler.asked == ["/schemas/ids/7"]


def test_a_schema_may_refer_to_others(avro: Any, registry: tuple[str, type[Registry]]) -> None:
    url, handler = registry
    label = SCHEMA["fields"][4]["type"]
    outer = {**SCHEMA, "fields": [*SCHEMA["fields"][:4], {"name": "y", "type": "Label"}]}
    handler.answers = {
        "/schemas/ids/7": {
            "schema": json.dumps(outer),
            "references": [{"name": "Label", "subject": "a/b", "version": 2}],
        },
        "/subjects/a%2Fb/versions/2": {"schema": json.dumps(label)},
    }
    decode = decoder_of("avro", registry=url)
    assert decode(FRAME + encode_avro(avro, RECORDS[1])) == RECORDS[1]


def test_an_unknown_schema_or_no_frame_rejects_the_message(
    avro: Any, registry: tuple[str, type[Registry]]
) -> None:
    decode = decoder_of("avro", registry=registry[0])
    value = encode_avro(avro, RECORDS[0])
    assert decode(b"\x00\x00\x00\x00\x09" + value).detail == (
        "the message has schema 9, which the registry does not know"
    )
    assert decode(b"\x01\x00\x00\x00\x07" + value).detail == (
        "the message begins with byte 1, but must with 0 and the id of its schema"
    )
    assert decode(b"\x00\x01").detail == (
        "the message has 2 bytes, but must begin with the id of its schema"
    )


def test_a_registry_that_fails_rejects_nothing_but_is_tried_again(
    avro: Any, registry: tuple[str, type[Registry]]
) -> None:
    url, handler = registry
    handler.answers = {"/schemas/ids/7": 503}
    decode = decoder_of("avro", registry=url)
    value = FRAME + encode_avro(avro, RECORDS[0])
    with pytest.raises(ReadError, match="503"):
        decode(value)
    with pytest.raises(ReadError, match="can't be read"):
        decoder_of("avro", registry="http://127.0.0.1:9")(value)
    handler.answers = {"/schemas/ids/7": {"schema": json.dumps(SCHEMA)}}
    assert decode(value) == RECORDS[0]


def test_the_password_of_the_registry_is_sent_and_shown_nowhere(
    avro: Any,
    registry: tuple[str, type[Registry]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    url, handler = registry
    handler.user = "Basic bWU6c2VjcmV0LXdvcmQ="  # me:secret-word
    monkeypatch.setenv("WORD", "secret-word")
    login = {"registry": url, "registry_user": "me", "registry_password_env": "WORD"}
    value = FRAME + encode_avro(avro, RECORDS[0])
    assert decoder_of("avro", **login)(value) == RECORDS[0]
    monkeypatch.setenv("WORD", "another-word")
    with pytest.raises(ConfigurationError, match="it refuses access: 401") as caught:
        decoder_of("avro", **login)(value)
    assert "another-word" not in f"{caught.value}{caplog.text}"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("registry.example.org", "must be a URL with http or https"),
        ("file:///etc/passwd", "must be a URL with http or https"),
        ("https://me:word@registry", "registry has a user or a password in it, but must not"),
    ],
)
def test_a_registry_has_a_url_without_a_password(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        MessageSettings(format="avro", registry=url)
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_the_id_of_a_schema_in_front_of_a_message_is_skipped(format: str) -> None:  # noqa: A002
    encode = msgspec.json.encode if format == "json" else msgspec.msgpack.encode
    decode = decoder_of(format, framed=True)
    assert decode(FRAME + encode(RECORDS[0])) == RECORDS[0]
    assert isinstance(decode(encode(RECORDS[0])), Rejection)


# ---------------------------------------------------------------------------- protobuf


@pytest.fixture
def protobuf(tmp_path: Path) -> tuple[Any, dict[str, Any]]:
    """A class of messages, and the settings that describe it."""
    require_module("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="e.proto", package="shop", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    label = file.enum_type.add(name="Label")
    label.value.add(name="u", number=0)
    label.value.add(name="v", number=1)
    kind = file.message_type.add(name="Event")
    types = [field.TYPE_INT64, field.TYPE_DOUBLE, field.TYPE_STRING, field.TYPE_BOOL]
    for number, (name, one) in enumerate(zip(("n", "x", "w", "ok"), types, strict=True), start=1):
        kind.field.add(name=name, number=number, type=one, label=field.LABEL_OPTIONAL)
    kind.field.add(name="y", number=5, type=field.TYPE_ENUM, type_name=".shop.Label", label=1)
    kind.field.add(name="at", number=6, type=11, type_name=".google.protobuf.Timestamp", label=1)
    kind.field.add(name="tags", number=7, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    kind.oneof_decl.add(name="_maybe")
    kind.field.add(
        name="maybe", number=8, type=field.TYPE_INT32, label=1, oneof_index=0, proto3_optional=True
    )
    stamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(stamp)
    files = descriptor_pb2.FileDescriptorSet(file=[stamp, file])
    (tmp_path / "events.desc").write_bytes(files.SerializeToString())
    pool = descriptor_pool.DescriptorPool()
    for one in files.file:
        pool.Add(one)
    found = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Event"))
    settings = {"schema_file": str(tmp_path / "events.desc"), "message": "shop.Event"}
    return found, settings


def test_a_protobuf_message_has_all_its_fields(protobuf: tuple[Any, dict[str, Any]]) -> None:
    kind, settings = protobuf
    decode = decoder_of("protobuf", **settings)
    empty = {
        "n": 0,
        "x": 0.0,
        "w": "",
        "ok": False,
        "y": "u",
        "at": None,
        "tags": None,
        "maybe": None,
    }
    assert decode(kind().SerializeToString()) == empty
    message = kind(n=2**40, x=0.1, w="längst", ok=True, y=1, maybe=0)
    message.at.FromMilliseconds(1_700_000_000_500)
    assert decode(message.SerializeToString()) == {
        **empty, "n": 2**40, "x": 0.1, "w": "längst", "ok": True, "y": "v", "maybe": 0,
        "at": datetime.fromtimestamp(1_700_000_000.5, UTC),
    }  # fmt: skip


def test_protobuf_messages_are_samples(protobuf: tuple[Any, dict[str, Any]]) -> None:
    kind, settings = protobuf
    rows: list[Value] = [
        kind(n=r["n"], x=r["x"], w=r["w"], ok=r["ok"], y=r["y"]).SerializeToString()
        for r in RECORDS
    ]
    rows.append(kind(tags=["a"], y="v").SerializeToString())
    rows.append(b"\xff\xff")
    schema, blocks = read(source_of(rows, format="protobuf", **settings))
    found = content(blocks)
    assert dict(schema.fields)["n"] is Kind.NUMBER
    # A list is no value of a column.
    assert [letter.reason for letter in found.letters] == ["type", "message"]
    assert [sample[5] for sample in found.samples] == ["'u'", "'v'", "'u'"]


@pytest.mark.parametrize("indexes", [b"\x00", b"\x02\x00", b"\x04\x02\x80\x02"])
def test_the_frame_of_a_protobuf_message_has_indexes(
    protobuf: tuple[Any, dict[str, Any]], indexes: bytes
) -> None:
    kind, settings = protobuf
    decode = decoder_of("protobuf", framed=True, **settings)
    value = kind(n=7, y=1).SerializeToString()
    assert decode(FRAME + indexes + value)["n"] == 7
    assert decode(FRAME + b"\x02").detail == "the message ends within its frame"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schema_file": "none"}, "message is not given"),
        ({"message": "a.B"}, "schema_file is not given, but must name a descriptor set"),
        ({"schema_file": "none", "message": "a.B"}, "schema_file is 'none', but: No such file"),
    ],
)
def test_protobuf_needs_a_descriptor_set_and_a_type(settings: dict[str, str], message: str) -> None:
    require_module("google.protobuf")
    with pytest.raises(ConfigurationError, match=message):
        decoder_of("protobuf", **settings)


def test_a_type_that_is_not_in_the_descriptor_set_is_named(
    protobuf: tuple[Any, dict[str, Any]],
) -> None:
    with pytest.raises(
        ConfigurationError, match=r"message is 'shop.Other', but .* has no such type"
    ):
        decoder_of("protobuf", **{**protobuf[1], "message": "shop.Other"})


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'streamnet-learn\[avro\]'"):
        decoder_of("avro", schema_file="a.avsc")


def test_every_format_says_whether_it_tells_numbers_from_texts() -> None:
    assert {name for name, form in FORMATS.items() if not form.typed} == {"csv"}
