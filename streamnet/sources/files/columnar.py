"""`ColumnarSource`: samples of Parquet and Arrow IPC files."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from streamnet.errors import DataError, SchemaError
from streamnet.samples import (
    TIMES,
    Block,
    Kind,
    Position,
    Schema,
    Task,
    make_marks,
    schema_from_dict,
    schema_to_dict,
)
from streamnet.sources.base import MAX_BLOCK_ROWS, Reason, Rejection, Source
from streamnet.sources.columns import Columns, check_same_columns
from streamnet.sources.files.byte_stream import (
    FINGERPRINT_BYTES,
    check_fingerprinted_names,
    digest,
    fingerprint_names,
)
from streamnet.sources.files.detection import ARROW_STREAM, ColumnarFileFormat
from streamnet.sources.files.jsonl import encode_record
from streamnet.sources.files.text_source import check_distinct, find_path
from streamnet.sources.inference import WHITESPACE, are_ids, infer_kind
from streamnet.sources.number_styles import infer_target
from streamnet.sources.rows import ColumnParser, ConvertedRows, Problems, note_problem
from streamnet.sources.storage.locations import Locations
from streamnet.sources.storage.raw import make_open_error
from streamnet.sources.text.schema import warn_of_misread_columns

# polars is imported where it is used: that takes 0.2 s, and most runs read text.
if TYPE_CHECKING:
    from polars import DataFrame, LazyFrame, Series


CELLS_PER_READ = 1 << 20  # rows times columns read at once
MICROSECONDS = 1e6
_SYSTEM_ERROR = re.compile(r"\(os error ([0-9]+)\)")

Result = TypeVar("Result")

logger: logging.Logger = logging.getLogger("streamnet.sources")


def convert_frame(frame: DataFrame, schema: Schema, columns: Columns) -> ConvertedRows:
    """Convert the rows of a data frame to the columns of a schema."""
    problems: Problems = {}
    parser = ColumnParser(columns, columns.parse_options(typed=True))
    kinds = dict(schema.fields)
    names = (*schema.numbers, *schema.words)  # numbers come first among the problems of a row
    numbers = np.empty((frame.height, len(schema.numbers)), np.float64)
    for order, name in enumerate(schema.numbers):
        found = _convert_typed(frame[name], kinds[name], order, problems)
        values = () if found is not None else _to_plain_types(frame[name]).to_list()
        numbers[:, order] = (
            parser.numbers(name, kinds[name], values, order, problems) if found is None else found
        )
    words = tuple(
        parser.words(name, _to_plain_types(frame[name]).to_list(), names.index(name), problems)
        for name in schema.words
    )
    target = None
    if schema.target is not None:
        targets = _to_plain_types(frame[schema.target]).to_list()
        target = parser.target(schema, targets, problems)
    return ConvertedRows(schema, frame.height, numbers, words, target, problems)


def _convert_typed(
    column: Series, kind: Kind, order: int, problems: Problems
) -> NDArray[np.float64] | None:
    """Convert a column whose type fits its kind; None for any other column."""
    import polars as pl

    if kind in TIMES:
        if column.dtype not in (pl.Date, pl.Datetime):
            return None
        moments = column.cast(pl.Datetime("us")).to_physical().to_list()
        return np.array([math.nan if m is None else m / MICROSECONDS for m in moments])
    column = _to_plain_types(column)
    if not column.dtype.is_numeric():
        return None
    numbers: NDArray[np.float64] = column.cast(pl.Float64).to_numpy()
    for row in np.flatnonzero(np.isinf(numbers)).tolist():
        problem = Rejection.for_value(Reason.NOT_FINITE, column.name, numbers[row])
        note_problem(problems, row, order, problem)
    return numbers


def _to_plain_types(column: Series) -> Series:
    """Convert categories and times of day to text, and durations to seconds."""
    import polars as pl

    if column.dtype in (pl.Categorical, pl.Enum, pl.Time):
        return column.cast(pl.String)
    if column.dtype == pl.Duration:
        return column.dt.total_microseconds() / MICROSECONDS
    return column


@final
class ColumnarSource(Source):
    """Samples of Parquet or Arrow IPC files in order; positions are rows.

    Types determine kinds: numbers and durations are numbers, dates and timestamps are times, and
    Booleans are the words true and false. The kind of texts is inferred from their first values.
    Both null and NaN are missing values; infinity is rejected.
    """

    def __init__(
        self,
        paths: Sequence[str],
        columns: Columns,
        locations: Locations | None = None,
        *,
        kind: Literal["parquet", "ipc"],
    ) -> None:
        self._paths = check_distinct(paths)
        self._columns = columns
        self._locations = locations or Locations()
        self._kind = kind
        self._schema = Schema(())
        self._names: list[str] = []
        self._number = 0  # index of the current file
        self._row = 0
        self._heights: list[int | None] = [None] * len(self._paths)  # None before it is needed
        self._first_names: list[str] = []  # columns of the first file
        self._pending: list[Block] = []
        self._marks: dict[str, list[Any]] = {}  # fingerprints of the files read so far
        self._restored: Mapping[str, Any] = {}

    async def open(self, after: Position | None = None) -> Schema:
        """Infer the schema from the first rows of the first file, then go to ``after``."""
        await to_thread.run_sync(self._infer_schema)
        if after is not None and after.source:
            self._number = find_path(self._paths, after.source)
            height = await to_thread.run_sync(self._measure, self._number)
            await to_thread.run_sync(self._check_fingerprint, after.source)
            self._row = after.offset
            if self._row > height:
                raise DataError(
                    f"{after.source} has changed: it has only {height} rows, "
                    f"but was left at row {after.offset}"
                )
        return self._schema

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema, and fingerprints of the files."""
        state: dict[str, Any] = {"schema": schema_to_dict(self._schema)}
        if after is not None and after.source:
            before = self._paths[: self._paths.index(after.source)]
            state |= {"before": fingerprint_names(before), "mark": self._marks[after.source]}
        return state

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the schema, so that nothing is inferred again."""
        self._restored = state

    async def receive(self) -> Block | None:
        """The next rows; None at the end."""
        while not self._pending:
            if self._number == len(self._paths):
                return None
            await to_thread.run_sync(self._read)
        return self._pending.pop(0)

    async def aclose(self) -> None:
        """Discard blocks that were read ahead; no file is open between two blocks."""
        self._pending.clear()
        self._number = len(self._paths)
        self._locations.close()

    def progress(self) -> float | None:
        """Fraction of the rows returned so far."""
        waiting = sum(len(block.marks) - 1 + len(block.rejected) for block in self._pending)
        heights = [height for height in self._heights if height is not None]
        done = sum(heights[: self._number]) + self._row - waiting
        if len(heights) == len(self._paths):
            return min(1.0, done / sum(heights)) if sum(heights) else None
        sizes = [self._locations.size(path) or 0 for path in self._paths]
        if self._number == len(sizes):
            return 1.0
        used = (self._row - waiting) / max(1, self._heights[self._number] or 1)
        return (sum(sizes[: self._number]) + used * sizes[self._number]) / max(1, sum(sizes))

    def _infer_schema(self) -> None:
        # Times are stored in UTC, so zones unknown to polars, such as +05:30, do not matter.
        os.environ.setdefault("POLARS_IGNORE_TIMEZONE_PARSE_ERROR", "1")
        first = self._paths[0]
        head = self._guarded(first, self._scan(first).head(self._columns.head).collect)
        self._first_names = head.columns
        if self._restored:
            self._schema = schema_from_dict(self._restored["schema"])
        elif not head.height:
            raise DataError(f"{first} holds no samples")
        else:
            self._schema = self._build_schema(first, head)
        fields = [field.name for field in self._schema.fields]
        target = [] if self._schema.target is None else [self._schema.target]
        self._names = [*fields, *target]
        # Other files would have to be copied first, so that they wait for their turn.
        for number, path in enumerate(self._paths):
            if number == 0 or self._locations.is_local(path):
                self._measure(number)
        self._marks[first] = self._fingerprint(first)

    def _measure(self, number: int) -> int:
        """The rows of a file, whose columns are compared with those of the first one."""
        import polars as pl

        path = self._paths[number]
        known = self._heights[number]
        if known is None:
            lazy = self._scan(path)
            if number > 0 or self._restored:
                names = self._guarded(path, lazy.collect_schema).names()
                check_same_columns(path, names, self._first_names, self._names, self._columns)
            known = int(self._guarded(path, lazy.select(pl.len()).collect).item())
            self._heights[number] = known
        return known

    def _check_fingerprint(self, path: str) -> None:
        """Refuse to resume in a file that has changed."""
        if not self._restored:
            return
        check_fingerprinted_names(
            self._paths[: self._paths.index(path)], self._restored["before"], path
        )
        self._marks[path] = self._fingerprint(path)
        if self._marks[path] != list(self._restored["mark"]):
            raise DataError(f"{path} has changed: it has other content")

    def _build_schema(self, file: str, head: DataFrame) -> Schema:
        import polars as pl

        columns = self._columns
        options = columns.parse_options(typed=True)
        found: dict[str, list[str]] = {}

        def clean(column: Series) -> list[Any]:
            """Values that are not missing, without space around texts."""
            given = [v for v in _to_plain_types(column).to_list() if not options.is_missing(v)]
            return [v.strip(WHITESPACE) if isinstance(v, str) else v for v in given]

        def values(name: str) -> list[Any]:
            """The first values of a column that are not missing; texts may cause warnings."""
            known = clean(head[name]) or clean(self._read_first_values(file, name))
            if head[name].dtype == pl.String:
                found[name] = known
            return known

        def kind(name: str) -> Kind:
            """The kind of a column by its type; for texts, by the first values."""
            dtype = head[name].dtype
            if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
                raise SchemaError(
                    f"{file} has {dtype} in column {name!r}, which can't be learned from: drop it"
                )
            if dtype.is_integer():
                known = clean(head[name])
                found = Kind.ID if are_ids(known) else Kind.NUMBER
                return columns.refine_kind(name, found, known) or found
            if dtype.is_numeric() or dtype == pl.Duration:
                return Kind.NUMBER
            if dtype in (pl.Date, pl.Datetime):
                return Kind.TIME
            return infer_kind(values(name), typed=True) or Kind.CATEGORY

        def task() -> Task | None:
            """The task by the values of the target."""
            target = str(columns.target)
            return infer_target(file, target, values(target), typed=True)[0]

        schema = columns.build_schema(file, head.columns, kind, task)
        warn_of_misread_columns(file, schema, found, columns.missing, typed=True)
        return schema

    def _read_first_values(self, path: str, name: str) -> Series:
        """The first values of a column that are there, wherever they are in a file."""
        import polars as pl

        column = pl.col(name)
        there = column.is_not_null()
        if self._guarded(path, self._scan(path).collect_schema)[name] == pl.String:
            there &= ~column.str.strip_chars(WHITESPACE).is_in(self._columns.missing)
        found = self._scan(path).select(name).filter(there).head(self._columns.head)
        return self._guarded(path, found.collect)[name]

    def _read(self) -> None:
        """Read some rows, or go to the next file."""
        if self._row >= self._measure(self._number):
            self._locations.forget(self._paths[self._number])
            self._number += 1
            self._row = 0
            if self._number < len(self._paths):
                path = self._paths[self._number]
                self._marks[path] = self._fingerprint(path)
            return
        path = self._paths[self._number]
        rows = max(1024, min(8 * MAX_BLOCK_ROWS, CELLS_PER_READ // max(1, len(self._names))))
        lazy = self._scan(path).select(self._names).slice(self._row, rows)
        frame = self._guarded(path, lazy.collect)
        if not frame.height:
            raise DataError(f"{path} has no row {self._row}, but had it at the start")
        for start in range(0, frame.height, MAX_BLOCK_ROWS):
            self._pending.append(self._block(path, frame.slice(start, MAX_BLOCK_ROWS)))

    def _block(self, path: str, frame: DataFrame) -> Block:
        rows = convert_frame(frame, self._schema, self._columns)
        marks = make_marks(self._row, frame.height)
        self._row += frame.height
        return rows.block(path, marks, partial(_encode_row, frame))

    def _scan(self, path: str) -> LazyFrame:
        import polars as pl

        scan = pl.scan_parquet if self._kind == "parquet" else pl.scan_ipc
        return self._guarded(path, lambda: scan(self._locations.local(path), glob=False))

    def _fingerprint(self, path: str) -> list[Any]:
        return _fingerprint(self._locations.local(path))

    def _guarded(self, path: str, act: Callable[[], Result]) -> Result:
        import polars as pl

        try:
            return act()
        except OSError as error:
            raise _make_read_error(path, error) from None
        except pl.exceptions.PanicException as error:
            logger.debug("%s: %s", path, error)  # about the code of polars, not the file
            raise DataError(f"{path} can't be read: polars fails at its content") from None
        except pl.exceptions.PolarsError as error:
            if _starts_with(self._locations.local(path), ARROW_STREAM):
                raise DataError(f"{path} is an Arrow stream, but must be an Arrow file") from None
            why = str(error).partition("\n")[0]
            raise DataError(f"{path} can't be read: {why}") from None


def _make_read_error(path: str, error: OSError) -> DataError:
    """Convert an error of polars, whose text alone has the number of a system error.

    Without a number it is an error of a decompressor: the data is damaged, permanently.
    """
    if error.errno is not None:
        return make_open_error(path, error)
    number = _SYSTEM_ERROR.search(str(error))
    if number is None:
        return DataError(f"{path} can't be read: {error}")
    code = int(number[1])
    return make_open_error(path, OSError(code, os.strerror(code)))


def _starts_with(path: str, start: bytes) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(len(start)) == start
    except OSError as error:
        raise make_open_error(path, error) from None


def _fingerprint(path: str) -> list[Any]:
    """The size and both ends of a file, where these formats keep their metadata."""
    try:
        with Path(path).open("rb") as file:
            first = file.read(FINGERPRINT_BYTES)
            size = file.seek(0, SEEK_END)
            file.seek(max(0, size - FINGERPRINT_BYTES))
            return [size, digest(first), digest(file.read())]
    except OSError as error:
        raise make_open_error(path, error) from None


def _encode_row(frame: DataFrame, row: int) -> str:
    return encode_record(frame.row(row, named=True)).decode()


PARQUET = ColumnarFileFormat(
    "parquet", (".parquet",), b"PAR1", partial(ColumnarSource, kind="parquet")
)
IPC = ColumnarFileFormat(
    "ipc", (".arrow", ".feather", ".ipc"), b"ARROW1", partial(ColumnarSource, kind="ipc")
)
FORMATS = (PARQUET, IPC)
