"""JSON: a message is an object."""

from __future__ import annotations

from streamnet.sources.brokers.formats.base import Format
from streamnet.sources.files.jsonl import decode_object

FORMAT = Format("json", lambda _: decode_object)
