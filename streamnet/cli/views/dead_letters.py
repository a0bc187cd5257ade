"""The dead-letter file of a state directory: listed, shown, and written out again.

Records of several files are brought under one header, whatever the order of their columns.
"""

from __future__ import annotations

import csv
import json
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, final

from rich.table import Table
from rich.text import Text

from streamnet.cli.terminal import Terminal, escape_text, write_error
from streamnet.cli.views.tables import format_count
from streamnet.errors import ConfigurationError, DataError, StateError
from streamnet.features.columns.target import TOO_MANY_CLASSES
from streamnet.pipeline.maintenance import read_state_status
from streamnet.runs.builder import STATE_DEAD_LETTERS
from streamnet.sources.files.byte_stream import ByteStream, display_name, get_file_size
from streamnet.sources.rejection import Reason

__all__ = (
    "Header",
    "Headers",
    "find_header",
    "list_dead_letters",
    "show_dead_letter",
    "write_dead_letters",
)


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


def find_header(state: Any) -> Header | None:
    """The header of the first file, by what a source has found out; None if there is none."""
    if not isinstance(state, Mapping):
        return None
    if state.get("header") and "names" in state and "delimiter" in state:
        return Header(state["delimiter"], tuple(state["names"]))
    found = (find_header(value) for value in state.values())
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
        self._known = {display_name(files[0]): first} if len(files) == 1 else {}

    def reorder(self, letter: Mapping[str, Any]) -> str | None:
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
            head = _read_head(source)
            found = next((row for row in csv.reader(head, delimiter=delimiter) if row), [])
        except (DataError, csv.Error) as error:
            raise StateError(
                f"{error}, but only its header tells the order of the columns of its records"
            ) from error
        if set(names).isdisjoint(found):  # a followed file that was begun anew without one
            return self._first
        return Header(delimiter, tuple(name or f"f{i}" for i, name in enumerate(found)))


def _read_head(source: str) -> StringIO:
    """The beginning of a file, unpacked."""
    if get_file_size(source) is None:
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


MAX_RAW_LENGTH = 4096  # a record of so many characters was cut
_NONE = "no record was rejected"


def list_dead_letters(folder: Path) -> None:
    """Print a line for each rejected record.

    Raises:
        StateError: If the directory holds no state, or its dead letters are damaged.
    """
    terminal = Terminal()
    count = 0
    for count, letter in enumerate(_read_dead_letters(folder), start=1):
        terminal.say(
            escape_text(f"{count}  {_format_place(letter)}  {letter['reason']}  {letter['detail']}")
        )
    if not count:
        terminal.say(_NONE)


def show_dead_letter(folder: Path, number: int | None) -> None:
    """Print all that is known of a rejected record.

    Raises:
        ConfigurationError: If there is none of that number.
        StateError: As for `list_dead_letters`.
    """
    if number is None:
        raise ConfigurationError("NUMBER is missing: which record is to be shown?")
    count = 0
    for count, letter in enumerate(_read_dead_letters(folder), start=1):
        if count == number:
            table = Table.grid(padding=(0, 2))
            for name, value in letter.items():
                table.add_row(name, Text(escape_text(str(value))))
            Terminal().print(table)
            return
    if not count:
        raise ConfigurationError(f"NUMBER is {number}, but {_NONE}")
    raise ConfigurationError(f"NUMBER is {number}, but must be from 1 to {count}")


def write_dead_letters(folder: Path, to: Path | None) -> None:
    """Write rejected records to a new file as they were, with a header if theirs had one.

    Where the columns of a later file stand in another order, its records are brought into that of
    the first one.

    Raises:
        ConfigurationError: If the file can't be made.
        StateError: As for `list_dead_letters`, or if the header of a file can't be read any more.
    """
    if to is None:
        raise ConfigurationError("--to is missing: which file are the records to be written to?")
    letters = list(_read_dead_letters(folder))
    records = [letter for letter in letters if letter["reason"] != Reason.GAP]
    texts = [letter for letter in records if letter["reason"] != TOO_MANY_CLASSES]
    whole = [letter | {"raw": _decode_raw(letter)} for letter in texts if _is_whole(letter)]
    header, lines = _under_one_header(folder, whole)
    try:
        with to.open("x", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(line + "\n" for line in [*header, *lines])
    except OSError as error:
        raise ConfigurationError(f"--to {to}: {error.strerror}") from error
    if len(records) < len(letters):
        gaps = format_count(len(letters) - len(records), "gap")
        write_error(f"{gaps} left out: of what was lost there, only a beginning is kept")
    if len(texts) < len(records):
        late = format_count(len(records) - len(texts), "record")
        write_error(f"{late} left out: of those with one label too many, only the label is kept")
    if len(whole) < len(texts):
        cut = format_count(len(texts) - len(whole), "record")
        write_error(f"{cut} left out: of long ones only the beginning is kept")
    if len(lines) < len(whole):
        odd = format_count(len(whole) - len(lines), "record")
        write_error(
            f"{odd} left out: the columns of their files stand in another order than those of the "
            "first, and which of them has which value can't be told"
        )
    Terminal().say(f"{format_count(len(lines), 'record')} written to {escape_text(str(to))}")


def _is_whole(letter: dict[str, Any]) -> bool:
    return len(letter["raw"]) < MAX_RAW_LENGTH and letter["reason"] != Reason.TOO_LONG


def _decode_raw(letter: dict[str, Any]) -> str:
    """A record, its bytes that are not UTF-8 as surrogates. Earlier releases did not keep them."""
    given = letter.get("raw_base64")
    return str(
        letter["raw"] if given is None else b64decode(given).decode("utf-8", "surrogateescape")
    )


def _under_one_header(folder: Path, letters: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The header line, if there is one, and below it the text of rejected records."""
    tree = read_state_status(folder).tree
    first = find_header(tree["reading"]["source"])
    if first is None:
        return [], [letter["raw"].rstrip("\r\n") for letter in letters]
    headers = Headers(first, tree["settings"].get("source", {}).get("files", ()))
    found = [headers.reorder(letter) for letter in letters]
    return [first.line], [line for line in found if line is not None]


def _read_dead_letters(folder: Path) -> Iterator[dict[str, Any]]:
    """Those that the file holds, also of records that no checkpoint knows of.

    Such are the last ones of a run that broke off, and often are what it broke off for.

    Raises:
        StateError: If the file is gone or damaged.
    """
    tree = read_state_status(folder).tree
    given = tree["settings"].get("output", {}).get("dead_letters")
    path = Path(given) if given else folder / STATE_DEAD_LETTERS
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):  # otherwise it is being written, or was torn
                    yield json.loads(line)
    except FileNotFoundError as error:
        # It is made at the first one.
        if kept := tree["outputs"]["rejections"]["length"]:
            raise StateError(
                f"{path} is not there, but {kept:,} bytes of rejected records went into it (a "
                "relative name counts from the working directory)"
            ) from error
    except (OSError, ValueError) as error:
        raise StateError(f"{path} can't be read: {error}") from error


def _format_place(letter: dict[str, Any]) -> str:
    place = f"line {letter['line']}" if letter["line"] else f"record at {letter['offset']}"
    return f"{letter['source']}, {place}"
