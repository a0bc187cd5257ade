"""`ColumnarSource`: samples of Parquet and Arrow IPC files."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final

import numpy as np
from anyio import to_thread
from msgspec import json
from numpy.typing import NDArray

from streamnet.errors import DataError, SchemaError
from streamnet.samples import (
    TIMES,
    Block,
    Kind,
    Position,
    Schema,
    Task,
    schema_from_dict,
    schema_to_dict,
)
from streamnet.sources.base import Source
from streamnet.sources.columns import (
    Columns,
    choose_parser,
    format_names,
    make_missing_column_error,
    make_object_column,
    parse_number,
    parse_target_number,
    parse_word,
)
from streamnet.sources.files.byte_stream import make_open_error
from streamnet.sources.files.fingerprints import (
    FINGERPRINT_BYTES,
    check_fingerprinted_names,
    digest,
    fingerprint_names,
)
from streamnet.sources.files.text_file import check_distinct
from streamnet.sources.inference import WHITESPACE, infer_kind, infer_task
from streamnet.sources.rejection import Reason, Rejection, drop_rejected
from streamnet.sources.text.inference_warnings import warn_of_misread_columns

if TYPE_CHECKING:
    from polars import DataFrame, LazyFrame, Series

__all__ = (
    "ColumnarSource",
    "FrameConverter",
    "infer_column_kind",
    "is_feature",
    "read_known_values",
)


MICROSECONDS = 1e6


def is_feature(column: Series) -> bool:
    """Whether the type of a column is one that can be learned from: nothing nested or binary."""
    import polars as pl

    return not column.dtype.is_nested() and column.dtype not in (pl.Binary, pl.Object)


def infer_column_kind(head: Series, values: Callable[[], Sequence[Any]]) -> Kind:
    """The kind of a column by its type; of texts, by the first values."""
    import polars as pl

    if head.dtype.is_numeric() or head.dtype == pl.Duration:
        return Kind.NUMBER
    if head.dtype in (pl.Date, pl.Datetime):
        return Kind.TIME
    return infer_kind(values(), typed=True)


def read_known_values(head: Series, columns: Columns) -> list[Any]:
    """The values of a column, those that stand for missing left out."""
    reading = columns.reading(typed=True)
    values = [v for v in _to_plain_types(head).to_list() if not reading.is_missing(v)]
    return [v.strip(WHITESPACE) if isinstance(v, str) else v for v in values]


@final
class FrameConverter:
    """Rows of a data frame; `problems` says what is wrong with some of them."""

    def __init__(self, frame: DataFrame, schema: Schema, columns: Columns) -> None:
        self._frame = frame
        self._schema = schema
        self._columns = columns
        self._reading = columns.reading(typed=True)
        self.problems: dict[int, Rejection] = {}
        numeric = {
            name: self._times(name, kind) if kind in TIMES else self._numbers(name)
            for name, kind in schema.fields
            if name in schema.numbers
        }
        self.numbers = np.empty((frame.height, len(schema.numbers)), np.float64)
        for at, name in enumerate(schema.numbers):
            self.numbers[:, at] = numeric[name]
        self.words = tuple(self._words(name) for name in schema.words)
        self.target = None if schema.target is None else self._target(schema.target)

    def _numbers(self, name: str) -> NDArray[np.float64]:
        import polars as pl

        column = self._frame[name]
        if column.dtype == pl.Duration:
            column = column.dt.total_microseconds() / MICROSECONDS
        if not column.dtype.is_numeric():
            return self._one_by_one(name, parse_number)
        numbers = column.cast(pl.Float64).to_numpy()
        infinite = np.isinf(numbers)
        if infinite.any():
            for row in np.flatnonzero(infinite).tolist():
                self._note(row, Rejection.for_value(Reason.NOT_FINITE, name, numbers[row]))
        return numbers

    def _times(self, name: str, kind: Kind) -> NDArray[np.float64]:
        import polars as pl

        column = self._frame[name]
        if column.dtype not in (pl.Date, pl.Datetime):
            return self._one_by_one(name, choose_parser(kind))
        moments = column.cast(pl.Datetime("us")).to_physical().to_list()
        return np.array([math.nan if m is None else m / MICROSECONDS for m in moments])

    def _words(self, name: str) -> NDArray[np.object_]:
        found = []
        for row, value in enumerate(_to_plain_types(self._frame[name]).to_list()):
            word = parse_word(value, self._reading)
            if isinstance(word, Reason):
                self._note(row, Rejection.for_value(word, name, value))
            found.append(word)
        return make_object_column(found)

    def _target(self, name: str) -> NDArray[Any]:
        target: NDArray[Any]
        if self._schema.task is Task.REGRESSION:
            target = self._one_by_one(name, parse_target_number)
            gaps = np.isnan(target)
        else:
            target = self._words(name)
            gaps = np.array([word is None for word in target], np.bool_)
        if not self._columns.target_optional:
            for row in np.flatnonzero(gaps).tolist():
                self._note(row, Rejection.for_value(Reason.TARGET_MISSING, name, None))
        return target

    def _one_by_one(self, name: str, read: Any) -> NDArray[np.float64]:
        values: Sequence[Any] = _to_plain_types(self._frame[name]).to_list()
        numbers = np.full(len(values), math.nan)
        reading = self._columns.parse_options_for(name, self._reading)
        for row, value in enumerate(values):
            number = read(value, reading)
            if isinstance(number, Reason):
                self._note(row, Rejection.for_value(number, name, value))
            else:
                numbers[row] = number
        return numbers

    def _note(self, row: int, problem: Rejection) -> None:
        self.problems.setdefault(row, problem)


def _to_plain_types(column: Series) -> Series:
    """A column of values that Python knows: categories and times of day as text."""
    import polars as pl

    if column.dtype in (pl.Categorical, pl.Enum, pl.Time):
        return column.cast(pl.String)
    if column.dtype == pl.Duration:
        return column.dt.total_microseconds() / MICROSECONDS
    return column


# polars is imported where it is used: it takes 0.2 s, and most runs read text.

BLOCK_ROWS = 8192
Result = TypeVar("Result")

STREAM = b"\xff\xff\xff\xff"  # how one of Arrow begins
CELLS_PER_READ = 1 << 20  # of the rows that are read at once
logger = logging.getLogger("streamnet.sources")
_SYSTEM_ERROR = re.compile(r"\(os error ([0-9]+)\)")


@final
class ColumnarSource(Source):
    """Samples of Parquet or Arrow IPC files in order; a position is a row.

    Types tell the kinds: numbers and durations are numbers, dates and timestamps are times,
    texts are times, words or texts by their first values, truth values are the words true and
    false. Both null and NaN are missing values; infinity is rejected.

    >>> import anyio, pathlib, polars, tempfile
    >>> path = str(pathlib.Path(tempfile.mkdtemp(), "f.parquet"))
    >>> polars.DataFrame({"age": [39, None], "income": ["low", "high"]}).write_parquet(path)
    >>> async def main():
    ...     source = ColumnarSource([path], Columns(target="income"), kind="parquet")
    ...     await source.open()
    ...     return (await source.receive()).numbers[:, 0]
    >>> anyio.run(main)
    array([39., nan])
    """

    def __init__(
        self, paths: Sequence[str], columns: Columns, *, kind: Literal["parquet", "ipc"]
    ) -> None:
        self._paths = check_distinct(paths)
        self._columns = columns
        self._kind = kind
        self._schema = Schema(())
        self._names: list[str] = []
        self._number = 0  # of the file that is read
        self._row = 0
        self._heights: list[int] = []
        self._pending: list[Block] = []
        self._marks: dict[str, list[Any]] = {}  # of the files that were begun
        self._known: Mapping[str, Any] = {}  # what another source exported

    async def open(self, after: Position | None = None) -> Schema:
        """Look at the first rows of the first file, then go to ``after``."""
        await to_thread.run_sync(self._begin)
        if after is not None and after.source:
            if after.source not in self._paths:
                raise DataError(f"the position is in {after.source!r}, not among the files")
            await to_thread.run_sync(self._check_fingerprint, after.source)
            self._number = self._paths.index(after.source)
            self._row = after.offset
            if self._row > self._heights[self._number]:
                raise DataError(
                    f"{after.source} has only {self._heights[self._number]} rows, "
                    f"but was left at row {after.offset}: it is not the same file any more"
                )
        return self._schema

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema, and marks to know the files again."""
        state: dict[str, Any] = {"schema": schema_to_dict(self._schema)}
        if after is not None and after.source:
            before = self._paths[: self._paths.index(after.source)]
            state |= {"before": fingerprint_names(before), "mark": self._marks[after.source]}
        return state

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over the schema, so that nothing has to be found out again."""
        self._known = state

    async def receive(self) -> Block | None:
        """The next rows; None at the end."""
        while not self._pending:
            if self._number == len(self._paths):
                return None
            await to_thread.run_sync(self._read)
        return self._pending.pop(0)

    async def aclose(self) -> None:
        """Nothing is open between two blocks."""
        self._pending.clear()
        self._number = len(self._paths)

    def progress(self) -> float | None:
        """Share of the rows that were given."""
        whole = sum(self._heights)
        waiting = sum(len(block.marks) - 1 + len(block.rejected) for block in self._pending)
        done = sum(self._heights[: self._number]) + self._row - waiting
        return min(1.0, done / whole) if whole else None

    def _begin(self) -> None:
        # Times are stored as UTC, so that of a zone which polars lacks, such as +05:30, are known.
        os.environ.setdefault("POLARS_IGNORE_TIMEZONE_PARSE_ERROR", "1")
        import polars as pl

        for path in self._paths:
            height = self._collected(path, self._scan(path).select(pl.len())).item()
            self._heights.append(int(height))
        first = self._paths[0]
        head = self._collected(first, self._scan(first).head(self._columns.head))
        if self._known:
            self._schema = schema_from_dict(self._known["schema"])
        elif not self._heights[0]:
            raise DataError(f"{first} holds no samples")
        else:
            self._schema = self._schema_of(first, head)
        fields = [field.name for field in self._schema.fields]
        target = [] if self._schema.target is None else [self._schema.target]
        self._names = [*fields, *target]
        for path in self._paths[0 if self._known else 1 :]:
            self._check(path, head.columns)
        self._marks[first] = _fingerprint(first)

    def _check_fingerprint(self, path: str) -> None:
        """Refuse to go on in a file that is not the one that was left."""
        if not self._known:
            return
        check_fingerprinted_names(
            self._paths[: self._paths.index(path)], self._known["before"], path
        )
        self._marks[path] = _fingerprint(path)
        if self._marks[path] != list(self._known["mark"]):
            raise DataError(f"{path} is not the same file any more: it has another content")

    def _schema_of(self, file: str, head: DataFrame) -> Schema:
        import polars as pl

        columns = self._columns
        found: dict[str, list[str]] = {}

        def values(name: str) -> list[Any]:
            """The values of a column whose kind or task is asked for; texts may be doubted."""
            known = read_known_values(head[name], columns)
            if head[name].dtype == pl.String:
                found[name] = known
            return known

        def kind(name: str) -> Kind:
            if not is_feature(head[name]):
                raise SchemaError(
                    f"{file} has {head[name].dtype} in column {name!r}, which can't be learned "
                    "from: drop it"
                )
            return infer_column_kind(head[name], lambda: values(name))

        schema = columns.build_schema(
            file, head.columns, kind, lambda: infer_task(values(str(columns.target)), typed=True)
        )
        warn_of_misread_columns(file, schema, found, columns.missing, typed=True)
        return schema

    def _check(self, path: str, first: list[str]) -> None:
        """Compare the columns of a later file with the first one's."""
        lazy = self._scan(path)
        names = self._guarded(path, lambda: lazy.collect_schema().names())
        there, known = frozenset(names), frozenset(first)
        for name in self._names:
            if name not in there:
                raise make_missing_column_error(path, name, "which the first file has", names)
        other = [name for name in names if name not in known]
        if other and self._columns.grows:
            raise SchemaError(
                f"{path} has {format_names(other)}, but the first file has only "
                f"{format_names(first)} (drift.new 'ignore' would leave them out)"
            )

    def _read(self) -> None:
        """Read some rows, or go to the next file."""
        if self._row >= self._heights[self._number]:
            self._number += 1
            self._row = 0
            if self._number < len(self._paths):
                self._marks[self._paths[self._number]] = _fingerprint(self._paths[self._number])
            return
        path = self._paths[self._number]
        rows = max(1024, min(8 * BLOCK_ROWS, CELLS_PER_READ // max(1, len(self._names))))
        lazy = self._scan(path).select(self._names).slice(self._row, rows)
        frame = self._collected(path, lazy)
        if not frame.height:
            raise DataError(f"{path} has no row {self._row}, but had it at the start")
        for start in range(0, frame.height, BLOCK_ROWS):
            self._pending.append(self._block(path, frame.slice(start, BLOCK_ROWS)))

    def _block(self, path: str, frame: DataFrame) -> Block:
        table = FrameConverter(frame, self._schema, self._columns)
        marks = np.zeros((frame.height + 1, 3), np.int64)
        marks[:, :2] = np.arange(self._row, self._row + frame.height + 1)[:, None]
        self._row += frame.height
        letters = {
            row: problem.letter(path, marks[row], _encode_row(frame, row))
            for row, problem in table.problems.items()
        }
        numbers, words, target = table.numbers, table.words, table.target
        return drop_rejected(Block(self._schema, path, numbers, words, target, marks), letters)

    def _scan(self, path: str) -> LazyFrame:
        import polars as pl

        scan = pl.scan_parquet if self._kind == "parquet" else pl.scan_ipc
        return self._guarded(path, lambda: scan(path, glob=False))

    def _collected(self, path: str, lazy: LazyFrame) -> DataFrame:
        return self._guarded(path, lazy.collect)

    @staticmethod
    def _guarded(path: str, act: Callable[[], Result]) -> Result:
        import polars as pl

        try:
            return act()
        except OSError as error:
            raise _make_read_error(path, error) from None
        except pl.exceptions.PanicException as error:
            logger.debug("%s: %s", path, error)  # of the code of polars, not of the file
            raise DataError(f"{path} can't be read: polars fails at what it holds") from None
        except pl.exceptions.PolarsError as error:
            if _begins_with(path, STREAM):
                raise DataError(f"{path} is an Arrow stream, but must be an Arrow file") from None
            why = str(error).partition("\n")[0]
            raise DataError(f"{path} can't be read: {why}") from None


def _make_read_error(path: str, error: OSError) -> DataError:
    """What an error of polars says, which numbers those of the system in its text alone.

    One without a number is of something that unpacks the data: they are damaged, and stay so.
    """
    if error.errno is not None:
        return make_open_error(path, error)
    number = _SYSTEM_ERROR.search(str(error))
    if number is None:
        return DataError(f"{path} can't be read: {error}")
    code = int(number[1])
    return make_open_error(path, OSError(code, os.strerror(code)))


def _begins_with(path: str, start: bytes) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(len(start)) == start
    except OSError as error:
        raise make_open_error(path, error) from None


def _fingerprint(path: str) -> list[Any]:
    """What a file looks like: its size and both ends, where these formats keep their tables."""
    try:
        with Path(path).open("rb") as file:
            first = file.read(FINGERPRINT_BYTES)
            size = file.seek(0, SEEK_END)
            file.seek(max(0, size - FINGERPRINT_BYTES))
            return [size, digest(first), digest(file.read())]
    except OSError as error:
        raise make_open_error(path, error) from None


def _encode_row(frame: DataFrame, row: int) -> str:
    """A row as a line of JSON; infinity, which JSON lacks, as text, so that it is not missing."""
    values = {
        name: str(value) if isinstance(value, float) and math.isinf(value) else value
        for name, value in frame.row(row, named=True).items()
    }
    return json.encode(values, enc_hook=str).decode()
