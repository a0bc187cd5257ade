"""CSV: a message is a record, whose columns the settings name."""

from __future__ import annotations

import csv
from typing import Any

from streamnet.errors import ConfigurationError
from streamnet.settings.brokers import MessageSettings
from streamnet.sources.base import Reason, Rejection
from streamnet.sources.brokers.formats.base import Decoder, Format


def make(settings: MessageSettings) -> Decoder:
    """Make the decoder of records with these columns."""
    names, delimiter = settings.names, settings.delimiter
    if not names:
        raise ConfigurationError("names is not given, but must name the columns of a CSV message")

    def decode(value: bytes) -> dict[str, Any] | Rejection:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return Rejection(Reason.ENCODING, "the message is not UTF-8")
        try:
            rows = list(csv.reader(text.splitlines(), delimiter=delimiter, strict=True))
        except csv.Error as error:
            return Rejection(Reason.QUOTE, f"the message is not a CSV record: {error}")
        if len(rows) != 1:
            return Rejection(Reason.ARITY, f"the message has {len(rows)} records, but must have 1")
        if len(rows[0]) != len(names):
            detail = f"the record has {len(rows[0])} fields, but there are {len(names)} names"
            return Rejection(Reason.ARITY, detail)
        return dict(zip(names, rows[0], strict=True))

    return decode


FORMAT = Format("csv", make, typed=False)
