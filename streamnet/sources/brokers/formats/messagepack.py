"""MessagePack: a message is a map."""

from __future__ import annotations

from typing import Any

from msgspec import DecodeError
from msgspec.msgpack import Decoder

from streamnet.sources.base import Rejection
from streamnet.sources.brokers.formats.base import Format, reject

_decode = Decoder().decode


def decode(value: bytes) -> dict[str, Any] | Rejection:
    """Decode a map."""
    try:
        found = _decode(value)
    except (DecodeError, RecursionError, UnicodeDecodeError) as error:
        return reject(f"the message is not MessagePack: {error}")
    if not isinstance(found, dict):
        return reject("the message is MessagePack, but not a map")
    return found


FORMAT = Format("msgpack", lambda _: decode)
