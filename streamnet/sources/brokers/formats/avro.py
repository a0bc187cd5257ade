"""Avro: a message is a record, whose schema is in a file or in a schema registry."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any, final

from streamnet.errors import ConfigurationError, DataError
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
from streamnet.sources.brokers.formats.schema_registry import SchemaRegistry


def make(settings: MessageSettings) -> Decoder:
    """Make the decoder of records of the schema of a file, or of the schemas of a registry."""
    library = import_library("fastavro", "avro")
    if settings.registry is not None:
        return _RegistryDecoder(library, SchemaRegistry(settings)).decode
    if settings.schema_file is None:
        raise ConfigurationError(
            "schema_file is not given, but must name a schema, or registry one"
        )
    schema = _read_schema(library, settings.schema_file)
    header = FRAME_BYTES if settings.framed else 0

    def decode(value: bytes) -> dict[str, Any] | Rejection:
        if header and (problem := check_frame(value)) is not None:
            return reject(problem)
        return _decode(library, value, header, schema)

    return decode


def _read_schema(library: Any, path: str) -> Any:
    """The schema of a file."""
    try:
        return library.parse_schema(json.loads(Path(path).read_text("utf-8")))
    except OSError as error:
        raise ConfigurationError(f"schema_file is {path!r}, but: {error.strerror}") from error
    except (ValueError, library.schema.SchemaParseException) as error:
        raise ConfigurationError(f"schema_file is {path!r}, but is no schema: {error}") from error


def _decode(library: Any, value: bytes, start: int, schema: Any) -> dict[str, Any] | Rejection:
    """Decode a record that must end where the message does."""
    stream = BytesIO(value)
    stream.seek(start)
    try:
        found = library.schemaless_reader(stream, schema)
    # What a decoder stumbles over in bytes that are something else is not in its documentation.
    except Exception as error:  # noqa: BLE001
        return reject(f"the message is no Avro record of its schema: {_describe(error)}")
    if left := len(value) - stream.tell():
        return reject(f"the message has {left} bytes behind the Avro record")
    if not isinstance(found, dict):
        return reject("the message is Avro, but not a record")
    return found


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__


@final
class _RegistryDecoder:
    """Decodes records by the schemas that their frames name."""

    def __init__(self, library: Any, registry: SchemaRegistry) -> None:
        self._library = library
        self._registry = registry
        self._schemas: dict[int, Any] = {}

    def decode(self, value: bytes) -> dict[str, Any] | Rejection:
        if (problem := check_frame(value)) is not None:
            return reject(problem)
        number = int.from_bytes(value[1:FRAME_BYTES], "big")
        if number not in self._schemas:
            self._schemas[number] = self._find(number)
        schema = self._schemas[number]
        if schema is None:
            return reject(f"the message has schema {number}, which the registry does not know")
        return _decode(self._library, value, FRAME_BYTES, schema)

    def _find(self, number: int) -> Any:
        """The schema of this id, with those that it refers to; None if there is none."""
        texts = self._registry.find(number)
        if texts is None:
            return None
        named: dict[str, Any] = {}
        schema = None
        try:
            for text in texts:
                schema = self._library.parse_schema(json.loads(text), named)
        except (ValueError, self._library.schema.SchemaParseException) as error:
            raise DataError(
                f"schema {number} of the registry is no Avro schema: {error}"
            ) from error
        return schema


FORMAT = Format("avro", make, own_frame=True)
