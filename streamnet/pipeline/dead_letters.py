"""The dead letters of a state directory: read, and written out as records to be learned.

Records of several files are written under one header, whatever the order of their columns.
"""

from __future__ import annotations

import csv
import json
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, final

from streamnet.errors import ConfigurationError, DataError, StateError
from streamnet.features.columns.target import TOO_MANY_CLASSES
from streamnet.pipeline.maintenance import read_state_status
from streamnet.sources.files.byte_stream import ByteStream, display_name, get_file_size
from streamnet.sources.rejection import MAX_RAW_CHARACTERS, Reason

STATE_DEAD_LETTERS = "dead-letters.jsonl"
"""Name of the dead-letter file in a state directory, unless the settings name another file."""

_HEAD_BYTES = 1 << 20  # at the start of a file, within which its header must end


def read_dead_letters(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the dead letters of a state directory.

    They include those written after the last checkpoint: often they are why the run failed.

    Args:
        folder: The state directory.

    Raises:
        StateError: If the directory holds no state, or the file is missing or damaged.
    """
    tree = read_state_status(folder).tree
    given = tree["settings"].get("output", {}).get("dead_letters")
    path = Path(given) if given else folder / STATE_DEAD_LETTERS
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):  # otherwise it is incomplete
                    yield json.loads(line)
    except FileNotFoundError as error:
        # The first rejected record creates it.
        if kept := tree["outputs"]["rejections"]["length"]:
            raise StateError(
                f"{path} does not exist, but {kept:,} bytes of rejected records were written to it "
                "(a relative name is relative to the working directory)"
            ) from error
    except (OSError, ValueError) as error:
        raise StateError(f"{path} can't be read: {error}") from error


class ExportedDeadLetters(NamedTuple):
    """Numbers of dead letters that were written out, and of those that were left out, by reason."""

    written: int
    gaps: int  # damaged parts of files, of which only a beginning is kept
    labels: int  # labels beyond the maximum number of classes, of which only the label is kept
    truncated: int  # long records, of which only a beginning is kept
    ambiguous: int  # records whose values can't be assigned to columns


def export_dead_letters(folder: Path, to: Path) -> ExportedDeadLetters:
    """Write the rejected records to a new file as they were, with a header if theirs had one.

    Where the columns of a later file have another order, its records are reordered like those of
    the first file.

    Args:
        folder: The state directory.
        to: The file; it must not exist.

    Raises:
        ConfigurationError: If the file can't be created.
        StateError: As for `read_dead_letters`, or if the header of a file can't be read any more.
    """
    letters = list(read_dead_letters(folder))
    records = [letter for letter in letters if letter["reason"] != Reason.GAP]
    texts = [letter for letter in records if letter["reason"] != TOO_MANY_CLASSES]
    complete = [letter | {"raw": _decode_raw(letter)} for letter in texts if _is_complete(letter)]
    header, lines = _align(folder, complete)
    try:
        with to.open("x", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(line + "\n" for line in [*header, *lines])
    except OSError as error:
        raise ConfigurationError(f"{to} can't be created: {error.strerror}") from error
    return ExportedDeadLetters(
        written=len(lines),
        gaps=len(letters) - len(records),
        labels=len(records) - len(texts),
        truncated=len(texts) - len(complete),
        ambiguous=len(complete) - len(lines),
    )


def _is_complete(letter: Mapping[str, Any]) -> bool:
    return len(letter["raw"]) < MAX_RAW_CHARACTERS and letter["reason"] != Reason.TOO_LONG


def _decode_raw(letter: Mapping[str, Any]) -> str:
    """The text of a record; bytes that are not UTF-8 become surrogates."""
    encoded = letter.get("raw_base64")
    if encoded is None:
        return str(letter["raw"])
    return b64decode(encoded).decode("utf-8", "surrogateescape")


def _align(folder: Path, letters: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The header line, if there is one, and the text of the records below it."""
    tree = read_state_status(folder).tree
    first = _find_header(tree["reading"]["source"])
    if first is None:
        return [], [letter["raw"].rstrip("\r\n") for letter in letters]
    aligner = _RecordAligner(first, tree["settings"].get("source", {}).get("files", ()))
    aligned = [aligner.align(letter) for letter in letters]
    return [first.join(first.names)], [line for line in aligned if line is not None]


class _Header(NamedTuple):
    """The column names of a CSV file in order, and its delimiter."""

    delimiter: str
    names: tuple[str, ...]

    def join(self, values: Sequence[str]) -> str:
        """Format values as a record."""
        text = StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator="").writerow(values)
        return text.getvalue()

    def split(self, record: str) -> list[str] | None:
        """Parse a record; None if its quotes are malformed or its number of values is wrong."""
        try:
            values = next(csv.reader([record], delimiter=self.delimiter, strict=True), [])
        except csv.Error:
            return None
        return values if len(values) == len(self.names) else None


def _find_header(state: object) -> _Header | None:
    """Find the header of the first file in the state of a source."""
    if not isinstance(state, Mapping):
        return None
    if state.get("header") and "names" in state and "delimiter" in state:
        return _Header(state["delimiter"], tuple(state["names"]))
    found = (_find_header(value) for value in state.values())
    return next((header for header in found if header), None)


@final
class _RecordAligner:
    """Reorders records like the columns of the first file.

    Args:
        first: Header of the first file.
        files: Files in the settings; if there is only one, its header is the first one.
    """

    def __init__(self, first: _Header, files: Sequence[str]) -> None:
        self._first = first
        self._headers = {display_name(files[0]): first} if len(files) == 1 else {}

    def align(self, letter: Mapping[str, Any]) -> str | None:
        """The text of a record under the first header.

        Returns:
            None if its columns have another order, and its values can't be assigned to them.

        Raises:
            StateError: If the header of its file can't be read.
        """
        raw = str(letter["raw"]).rstrip("\r\n")
        source = letter["source"]
        if source not in self._headers:
            self._headers[source] = self._read_header(source)
        header = self._headers[source]
        if header == self._first:
            return raw
        values = None if letter["reason"] == Reason.QUOTE else header.split(raw)
        if values is None:
            return None
        by_name = dict(zip(header.names, values, strict=True))
        return self._first.join([by_name.get(name, "") for name in self._first.names])

    def _read_header(self, source: str) -> _Header:
        delimiter, names = self._first
        try:
            head = _read_head(source)
            found = next((row for row in csv.reader(head, delimiter=delimiter) if row), [])
        except (DataError, csv.Error) as error:
            raise StateError(
                f"{error}, but its header is needed to reorder the columns of its records"
            ) from error
        if set(names).isdisjoint(found):  # a followed file that was replaced by one without header
            return self._first
        return _Header(delimiter, tuple(name or f"f{i}" for i, name in enumerate(found)))


def _read_head(source: str) -> StringIO:
    """Read the decompressed start of a file."""
    if get_file_size(source) is None:
        raise DataError(f"{source} no longer exists")
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
