"""The registry of formats of messages.

To add a format, write a module beside this one whose `Format` has its name, and list it in
``_MODULES``. Settings repeat the name, which a test checks.
"""

from __future__ import annotations

from importlib import import_module

from streamnet.settings.brokers import MessageSettings
from streamnet.sources.base import Rejection
from streamnet.sources.brokers.formats.base import FRAME_BYTES, Decoder, Format, check_frame, reject

_MODULES = ("json_text", "csv_line", "messagepack", "avro", "protobuf")

FORMATS: dict[str, Format] = {
    form.name: form
    for module in _MODULES
    for form in (import_module(f"streamnet.sources.brokers.formats.{module}").FORMAT,)
}
"""Formats by name."""


def make_decoder(settings: MessageSettings) -> Decoder:
    """Make the decoder of the messages.

    Raises:
        ConfigurationError: If a setting of the format is missing or invalid.
    """
    form = FORMATS[settings.format]
    decode = form.make(settings)
    if form.own_frame or not settings.framed:
        return decode

    def skip_frame(value: bytes) -> dict[str, object] | Rejection:
        """Decode what follows the id of a schema."""
        if (problem := check_frame(value)) is not None:
            return reject(problem)
        return decode(value[FRAME_BYTES:])

    return skip_frame
