"""Files whose rows are converted to text: Excel workbooks, Avro and ORC.

Rows of a workbook become CSV and records of Avro and ORC lines of JSON, so that bad records,
columns that change, and positions are those of text.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time, timedelta
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, BinaryIO, final

from streamnet.errors import ConfigurationError, DataError
from streamnet.sources.columns import format_names, suggest_column
from streamnet.sources.files.csv import CsvFormat
from streamnet.sources.files.detection import TextFileFormat, TextOptions
from streamnet.sources.files.jsonl import JSONL, encode_record
from streamnet.sources.storage.locations import DOCUMENT_SUFFIXES
from streamnet.sources.storage.raw import DamagedFileError, RawFile
from streamnet.sources.text.records import TextFormat
from streamnet.version import install_command

_PIECE_BYTES = 1 << 16
_MAX_WHOLE = 1e15  # numbers below it that are whole are written without a decimal point
_CELL_ERRORS = frozenset(
    ("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#GETTING_DATA")
)

logger: logging.Logger = logging.getLogger("streamnet.sources")


@final
class ConvertedFile(RawFile):
    """The text of a file that is converted piece by piece.

    Args:
        pieces: The text.
        size: Bytes of the file, which identify it and from which progress is estimated.
        file: The file, which is closed with this.
    """

    def __init__(self, pieces: Iterator[bytes], size: int, file: BinaryIO | None = None) -> None:
        self._pieces = pieces
        self._file = file
        self._rest = memoryview(b"")
        self.size: int | None = size

    def read(self, most: int) -> bytes:
        """Read up to so many bytes."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        found, self._rest = bytes(self._rest[:most]), self._rest[most:]
        return found

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


# -------------------------------------------------------------------- workbooks


def _open_workbook(path: str, local: str, part: str | None) -> RawFile:
    """The rows of a sheet as CSV: the first one that is not empty, or the one that is named."""
    with _explained(path, "excel", "python-calamine"):
        from python_calamine import CalamineError, CalamineWorkbook, PasswordError
    data = Path(local).read_bytes()
    try:
        book = CalamineWorkbook.from_filelike(BytesIO(data))
        names = book.sheet_names
        chosen = names if part is None else [name for name in names if name == part]
        sheets = {name: _read_sheet(book, name) for name in chosen}
    except PasswordError:
        raise DataError(f"{path} is protected by a password: save it without one") from None
    except (CalamineError, ValueError) as error:
        raise DataError(f"{path} is damaged, or no workbook: {error}") from None
    if part is not None and not chosen:
        raise DataError(
            f"{path.removesuffix(f'/{part}')} has no sheet {part!r}, but only "
            f"{format_names(names)}.{suggest_column(part, names)}"
        )
    full = [name for name, rows in sheets.items() if rows]
    if not full:
        raise DataError(f"{path} holds no samples")
    if len(full) > 1:
        rule = "%s has %d sheets with data: %r is read, and %s/%s is another one"
        logger.warning(rule, path, len(full), full[0], path, full[1])
    text = _write_csv(sheets[full[0]])
    return ConvertedFile(iter((text,)), len(text))


def _read_sheet(book: Any, name: str) -> list[list[Any]]:
    """The rows of a sheet from its first one on, without empty columns around them."""
    rows: list[list[Any]] = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    used = [[at for at, value in enumerate(row) if _to_cell(value)] for row in rows]
    columns = [at for row in used for at in (row[:1] + row[-1:])]
    if not columns:
        return []
    first, last = min(columns), max(columns)
    return [row[first : last + 1] for row in rows]


def _to_cell(value: Any) -> str:
    """A value of a sheet as a field of CSV."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < _MAX_WHOLE
        return str(int(value)) if whole else repr(value)
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return repr(value.total_seconds())
    text = "" if value is None else str(value)
    return "" if text in _CELL_ERRORS else text


def _write_csv(rows: list[list[Any]]) -> bytes:
    """CSV with a line for each row; that of an empty row is blank, which is no record."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        cells = [_to_cell(value) for value in row]
        if any(cells):
            writer.writerow(cells)
        else:
            text.write("\n")
    return text.getvalue().encode()


def _make_sheet_format(options: TextOptions) -> TextFormat:
    return CsvFormat(options._replace(delimiter=",", quote='"'))


# ------------------------------------------------------------------- Avro and ORC


def _open_avro(path: str, local: str, part: str | None) -> RawFile:  # noqa: ARG001 - has no parts
    """The records of an Avro file as lines of JSON."""
    with _explained(path, "avro", "fastavro"):
        import fastavro
    file = Path(local).open("rb")  # noqa: SIM115 - it is closed with what is returned
    try:
        records: Iterable[Any] = fastavro.reader(file)
    except (ValueError, EOFError, KeyError, LookupError) as error:
        file.close()
        raise DataError(f"{path} is damaged, or no Avro file: {_shorten(error)}") from None
    return ConvertedFile(_encode_records(_guarded(records)), Path(local).stat().st_size, file)


def _open_orc(path: str, local: str, part: str | None) -> RawFile:  # noqa: ARG001 - has no parts
    """The rows of an ORC file as lines of JSON."""
    with _explained(path, "orc", "pyarrow"):
        from pyarrow import ArrowException
        from pyarrow.orc import ORCFile
    file = Path(local).open("rb")  # noqa: SIM115 - it is closed with what is returned
    try:
        orc = ORCFile(file)
    except (ArrowException, OSError) as error:
        file.close()
        raise DataError(f"{path} is damaged, or no ORC file: {_shorten(error)}") from None
    stripes = (orc.read_stripe(number) for number in range(orc.nstripes))
    records = (record for stripe in stripes for record in stripe.to_pylist())
    return ConvertedFile(_encode_records(_guarded(records)), Path(local).stat().st_size, file)


def _guarded(records: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """The records up to where a file is damaged."""
    iterator = iter(records)
    while True:
        try:
            record = next(iterator)
        except StopIteration:
            return
        except (ValueError, EOFError, LookupError, TypeError, OSError, ArithmeticError) as error:
            raise DamagedFileError(_shorten(error)) from None
        if not isinstance(record, Mapping):
            raise DamagedFileError("its schema is no record")
        yield record


def _encode_records(records: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    """Lines of JSON, many at once; before an error come those that precede it."""
    lines = bytearray()
    try:
        for record in records:
            lines += encode_record(record) + b"\n"
            if len(lines) >= _PIECE_BYTES:
                yield bytes(lines)
                lines.clear()
    except DamagedFileError:
        if lines:  # no bytes would mean the end
            yield bytes(lines)
        raise
    yield bytes(lines)


@contextmanager
def _explained(path: str, extra: str, library: str) -> Iterator[None]:
    """Say what to install where a library is missing."""
    try:
        yield
    except ImportError:
        raise ConfigurationError(
            f"{path} can't be read without {library}: {install_command(extra)}"
        ) from None


def _shorten(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__


FORMATS = (
    TextFileFormat("excel", DOCUMENT_SUFFIXES, _make_sheet_format, convert=_open_workbook),
    TextFileFormat("avro", (".avro",), JSONL.make, signature=b"Obj\x01", convert=_open_avro),
    TextFileFormat("orc", (".orc",), JSONL.make, signature=b"ORC", convert=_open_orc),
)
