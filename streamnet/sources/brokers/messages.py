"""Messages of brokers, and how their values become samples."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from math import isnan, nan
from typing import Any, final

from msgspec import Struct

from streamnet.samples import KeyRemoval, Kind
from streamnet.settings.brokers import MessageSettings
from streamnet.sources.base import MAX_RAW_BYTES, Reason, Rejection
from streamnet.sources.brokers.formats.base import Decoder
from streamnet.sources.brokers.formats.registry import FORMATS, make_decoder
from streamnet.sources.columns import Columns

MessageId = int | str
"""What a broker calls a message: an offset, a sequence number, or a text such as 1700000000-0."""


@final
class Message(Struct, frozen=True, gc=False):
    """A message of a stream."""

    place: int  # its number in the stream, ascending: `Position.offset`
    id: MessageId
    value: bytes | None  # None: a tombstone
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    time: float = nan  # seconds since 1970

    def digest(self) -> str:
        """A fingerprint, to recognize the message when it is read again."""
        found = blake2b(digest_size=16)
        for part in (self.key, self.value):
            found.update(b"-" if part is None else b"+%d:" % len(part) + part)
        return found.hexdigest()

    def describe(self, stream: Mapping[str, Any]) -> dict[str, Any]:
        """Where the message is and its key, for a rejected record."""
        key = self.key
        if key is None:
            return {**stream, "id": self.id, "key": None}
        key = key[:MAX_RAW_BYTES]
        try:
            return {**stream, "id": self.id, "key": key.decode()}
        except UnicodeDecodeError:
            return {**stream, "id": self.id, "key_base64": b64encode(key).decode()}


SKIPPED = Rejection(Reason.MESSAGE, "")
"""Stands for a message that is neither a sample nor rejected: a tombstone that is skipped."""

TOMBSTONE = Rejection(Reason.MESSAGE, "the message has no value: it is a tombstone")

_UNREADABLE = Rejection(Reason.ENCODING, "the key or a header is not UTF-8")


@final
class MessageReader:
    """Decodes messages to samples by name, with columns for key, time and headers where named.

    ``longest`` is the largest value in bytes; longer ones are rejected.
    """

    def __init__(self, settings: MessageSettings, longest: int) -> None:
        self._settings = settings
        self._longest = longest
        self.typed: bool = FORMATS[settings.format].typed
        self._decode: Decoder = make_decoder(settings)
        self._headers = dict(settings.headers or {})
        self._own = {settings.key, settings.timestamp, *self._headers.values()} - {None}

    def add_kinds(self, columns: Columns) -> Columns:
        """Columns in which that of the messages' times is one of times, if nothing says else."""
        time = self._settings.timestamp
        roles = (*columns.drop, columns.target, columns.weight, columns.id)
        if time is None or time in roles or columns.kind_for(time) or columns.schema is not None:
            return columns
        return replace(columns, kinds={**columns.kinds, time: Kind.TIME})

    def read(self, message: Message) -> dict[str, Any] | Rejection | KeyRemoval:
        """Decode a message, or say why it is rejected; `SKIPPED` if it is nothing of both."""
        value = message.value
        if value is None:
            return self._read_tombstone(message)
        if len(value) > self._longest:
            detail = f"the message is longer than {self._longest} bytes"
            return Rejection(Reason.TOO_LONG, detail)
        sample = self._decode(value)
        return self._add(message, sample) if self._own and isinstance(sample, dict) else sample

    def _read_tombstone(self, message: Message) -> Rejection | KeyRemoval:
        match self._settings.tombstones:
            case "skip":
                return SKIPPED
            case "reject":
                return TOMBSTONE
        if message.key is None:
            return Rejection(Reason.MESSAGE, "the message has neither a value nor a key")
        try:
            return KeyRemoval(message.key.decode())
        except UnicodeDecodeError:
            return _UNREADABLE

    def _add(self, message: Message, sample: dict[str, Any]) -> dict[str, Any] | Rejection:
        """Add the columns of key, time and headers."""
        for name in self._own & sample.keys():
            detail = f"the message has a value {name!r} of its own, but that column is given"
            return Rejection(Reason.MESSAGE, f"{detail} by key, timestamp or headers")
        settings = self._settings
        try:
            if settings.key is not None:
                sample[settings.key] = None if message.key is None else message.key.decode()
            for name, content in message.headers:
                if name in self._headers:
                    sample[self._headers[name]] = None if content is None else content.decode()
        except UnicodeDecodeError:
            return _UNREADABLE
        if settings.timestamp is not None:
            sample[settings.timestamp] = None if isnan(message.time) else message.time
        return sample
