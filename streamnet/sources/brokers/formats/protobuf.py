"""Protocol Buffers: a message is one of a type that a descriptor set describes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

from streamnet.errors import ConfigurationError
from streamnet.settings.brokers import MessageSettings
from streamnet.sources.base import Rejection
from streamnet.sources.brokers.formats.base import (
    FRAME_BYTES,
    Decoder,
    Format,
    check_frame,
    import_library,
    reject,
)

_TIMESTAMP = "google.protobuf.Timestamp"
_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String")
)


def make(settings: MessageSettings) -> Decoder:
    """Make the decoder of a type of messages."""
    import_library("google.protobuf", "protobuf")
    if settings.schema_file is None:
        raise ConfigurationError(
            "schema_file is not given, but must name a descriptor set: "
            "protoc --include_imports --descriptor_set_out=FILE makes one"
        )
    if settings.message is None:
        raise ConfigurationError("message is not given, but must name the type of the messages")
    kind, failure = _find_type(settings.schema_file, settings.message)
    readers = [(field.name, _make_reader(field)) for field in kind.DESCRIPTOR.fields]
    framed = settings.framed

    def decode(value: bytes) -> dict[str, Any] | Rejection:
        if framed:
            problem = check_frame(value)
            start = None if problem is not None else _skip_indexes(value, FRAME_BYTES)
            if start is None:
                return reject(problem or "the message ends within its frame")
            value = value[start:]
        try:
            found = kind.FromString(value)
        except failure as error:
            return reject(f"the message is no {settings.message}: {error}")
        return {name: read(found) for name, read in readers}

    return decode


def _find_type(path: str, name: str) -> tuple[Any, type[Exception]]:
    """The class of a type of messages, and the error of what can't be decoded."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import DecodeError
    from google.protobuf.message_factory import GetMessageClass

    try:
        files = FileDescriptorSet.FromString(Path(path).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"schema_file is {path!r}, but: {error.strerror}") from error
    except DecodeError as error:
        raise ConfigurationError(f"schema_file is {path!r}, but is no descriptor set") from error
    pool = DescriptorPool()
    try:
        for file in files.file:
            pool.Add(file)
        found = pool.FindMessageTypeByName(name)
    except (KeyError, TypeError) as error:
        raise ConfigurationError(
            f"message is {name!r}, but {path} has no such type with all that it imports "
            "(protoc --include_imports)"
        ) from error
    return GetMessageClass(found), DecodeError


def _make_reader(field: Any) -> Callable[[Any], Any]:
    """Make the function that returns the value of a field of a message.

    A field that is not there is None; in proto3 a number or text without presence is 0 or empty.
    """
    name = field.name
    if field.is_repeated:
        return lambda message: list(getattr(message, name)) or None
    if field.message_type is not None:
        return _make_message_reader(name, field.message_type.full_name)
    if field.enum_type is not None:
        labels = {value.number: value.name for value in field.enum_type.values}
        return lambda message: labels.get(number := getattr(message, name), str(number))
    if field.has_presence:
        return lambda message: getattr(message, name) if message.HasField(name) else None
    return lambda message: getattr(message, name)


def _make_message_reader(name: str, kind: str) -> Callable[[Any], Any]:
    def read(message: Any) -> Any:
        if not message.HasField(name):
            return None
        found = getattr(message, name)
        if kind == _TIMESTAMP:
            return found.ToDatetime(UTC)
        return found.value if kind in _WRAPPERS else found

    return read


def _skip_indexes(value: bytes, at: int) -> int | None:
    """Where the message begins behind the indexes of its type; None if they do not end."""
    count, at = _read_varint(value, at)
    for _ in range(count):
        _, at = _read_varint(value, at)
    return at if at <= len(value) else None


def _read_varint(value: bytes, at: int) -> tuple[int, int]:
    """A signed number, and where it ends; behind the end of the bytes if it does not."""
    number = shift = 0
    while at < len(value):
        number |= (value[at] & 0x7F) << shift
        shift += 7
        at += 1
        if value[at - 1] < 0x80:
            return number >> 1, at
    return 0, len(value) + 1


FORMAT = Format("protobuf", make, own_frame=True)
