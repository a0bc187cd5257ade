"""The registry of formats of messages: how the bytes of one become a sample.

To add a format, write a function that makes its decoder and enter it in `FORMATS`; settings repeat
the name, which a test checks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from streamnet.settings.brokers import MessageSettings
from streamnet.sources.base import Rejection
from streamnet.sources.files.jsonl import decode_object

Decoder = Callable[[bytes], "dict[str, Any] | Rejection"]
"""Decodes a message to a new dict, or says why it can't."""


class Format(NamedTuple):
    """A format of messages."""

    make: Callable[[MessageSettings], Decoder]
    typed: bool = True  # it tells numbers from texts, so that a text is never a number


FORMATS: dict[str, Format] = {"json": Format(lambda _: decode_object)}
"""Formats by name."""
