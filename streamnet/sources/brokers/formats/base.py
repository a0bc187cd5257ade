"""The interface of formats of messages, and the frame of messages of a schema registry."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from streamnet.errors import ConfigurationError
from streamnet.settings.brokers import MessageSettings
from streamnet.sources.base import Reason, Rejection
from streamnet.version import install_command

Decoder = Callable[[bytes], "dict[str, Any] | Rejection"]
"""Decodes a message to a new dict, or says why it can't."""

MAGIC = 0  # the first byte of a frame, followed by the id of the schema in four bytes
FRAME_BYTES = 5


class Format(NamedTuple):
    """A format of messages."""

    name: str
    make: Callable[[MessageSettings], Decoder]
    typed: bool = True  # it distinguishes numbers from texts, so that a text is never a number
    own_frame: bool = False  # its decoder reads the frame of a message itself


def reject(detail: str) -> Rejection:
    """Reject a message that can't be decoded."""
    return Rejection(Reason.MESSAGE, detail)


def check_frame(value: bytes) -> str | None:
    """Why a message has no frame with the id of a schema; None if it has one."""
    if len(value) < FRAME_BYTES:
        return f"the message has {len(value)} bytes, but must begin with the id of its schema"
    if value[0] != MAGIC:
        return f"the message begins with byte {value[0]}, but must with 0 and the id of its schema"
    return None


def import_library(module: str, extra: str) -> Any:
    """Import what a format needs.

    Raises:
        ConfigurationError: If it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"format is {extra!r}, but {module} is not installed: {install_command(extra)}"
        ) from None
