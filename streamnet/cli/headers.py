"""Rejected records of several tables under one header, whatever the order of their columns."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from collections.abc import Sequence
from io import StringIO
from typing import Any
from typing import NamedTuple
from typing import final

from streamnet.errors import DataError
from streamnet.errors import StateError
from streamnet.sources.bytestreams import ByteStream
from streamnet.sources.bytestreams import shown_name
from streamnet.sources.bytestreams import size_of
from streamnet.sources.reasons import Reason

__all__ = ("Header", "Headers", "header_of")

_HEAD_BYTES = 1 << 20  # of a file, in which its header ends


class Header(NamedTuple):
    """The names of a table's columns in order, and what stands between them.

    >>> Header(";", ("x", "y")).line
    'x;y'
    """

    delimiter: str
    names: tuple[str, ...]

    @property
    def line(self) -> str:
        """As it stands at the top of a file."""
        return self.joined(self.names)

    def joined(self, values: Sequence[str]) -> str:
        """Values as a record."""
        text = StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator="").writerow(values)
        return text.getvalue()

    def split(self, record: str) -> list[str] | None:
        """The values of a record, None if it has bad quotes or not one for each column."""
        try:
            values = next(csv.reader([record], delimiter=self.delimiter, strict=True), [])
        except csv.Error:
            return None
        return values if len(values) == len(self.names) else None


def header_of(state: Any) -> Header | None:
    """The header of the first file, by what a source has found out; None if there is none."""
    if not isinstance(state, Mapping):
        return None
    if state.get("header") and "names" in state and "delimiter" in state:
        return Header(state["delimiter"], tuple(state["names"]))
    found = (header_of(value) for value in state.values())
    return next((header for header in found if header), None)


@final
class Headers:
    """Brings records into the order of the first file's columns.

    Args:
        first: The header of the first file.
        files: What the run was told to read; a single file's header is the first one.
    """

    def __init__(self, first: Header, files: Sequence[str]) -> None:
        self._first = first
        self._known = {shown_name(files[0]): first} if len(files) == 1 else {}

    def under_first(self, letter: Mapping[str, Any]) -> str | None:
        """The text of a rejected record under the first file's header.

        Returns:
            None if its columns stand in another order, and which is which can't be told.

        Raises:
            StateError: If the header of its file can't be read.
        """
        raw = str(letter["raw"]).rstrip("\r\n")
        own = self._own(letter["source"])
        if own == self._first:
            return raw
        values = None if letter["reason"] == Reason.QUOTE else own.split(raw)
        if values is None:
            return None
        named = dict(zip(own.names, values, strict=True))
        return self._first.joined([named.get(name, "") for name in self._first.names])

    def _own(self, source: str) -> Header:
        if source not in self._known:
            self._known[source] = self._read(source)
        return self._known[source]

    def _read(self, source: str) -> Header:
        delimiter, names = self._first
        try:
            head = _head(source)
            found = next((row for row in csv.reader(head, delimiter=delimiter) if row), [])
        except (DataError, csv.Error) as error:
            raise StateError(
                f"{error}, but only its header tells the order of the columns of its records"
            ) from error
        if set(names).isdisjoint(found):  # a followed file that was begun anew without one
            return self._first
        return Header(delimiter, tuple(name or f"f{i}" for i, name in enumerate(found)))


def _head(source: str) -> StringIO:
    """The beginning of a file, unpacked."""
    if size_of(source) is None:
        raise DataError(f"{source} is not there any more")
    stream = ByteStream(source, _HEAD_BYTES)
    try:
        data = b""
        while not stream.ended and len(data) < _HEAD_BYTES:
            data += stream.read()
    finally:
        stream.close()
    if stream.failure is not None:
        raise DataError(f"{source} {stream.failure}")
    return StringIO(data.decode("utf-8-sig", "surrogateescape"), newline="")
