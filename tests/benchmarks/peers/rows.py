"""Rows: the samples of a stream as columns in memory, for peers that don't read files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamnet.errors import DataError
from streamnet.samples import Task
from tests.benchmarks.peers.streams import Stream

__all__ = ("Rows", "read_rows")

_DAY = 24 * 60 * 60 * 1e6  # microseconds


class Rows(NamedTuple):
    """The first samples of a stream, in order; columns by name."""

    stream: Stream
    path: Path
    numbers: dict[str, NDArray[np.float64]]  # whole-number codes and dates included
    words: dict[str, list[str]]  # categories; what is missing is one of them
    texts: dict[str, list[str]]
    target: NDArray[Any]  # (n,): index into labels, int64; or the number itself, float64
    labels: tuple[str, ...]  # sorted; empty for numbers

    @property
    def classification(self) -> bool:
        """Whether the target is one of some labels."""
        return self.stream.task is Task.CLASSIFICATION

    @property
    def rarest(self) -> int:
        """Index of the least frequent label, the first of several; -1 for numbers."""
        if not self.classification:
            return -1
        counts = np.bincount(self.target, minlength=len(self.labels))
        return int(np.where(counts > 0, counts, len(self.target)).argmin())

    def head(self, n: int) -> Rows:
        """The first ``n`` samples, or all if there are fewer; labels stay known."""
        return self._replace(
            numbers={name: column[:n] for name, column in self.numbers.items()},
            words={name: column[:n] for name, column in self.words.items()},
            texts={name: column[:n] for name, column in self.texts.items()},
            target=self.target[:n],
        )


def read_rows(stream: Stream, folder: Path, limit: int | None = None) -> Rows:
    """Read the first ``limit`` samples of a stream, or all.

    Raises:
        DataError: If the file is not there or lacks a number.
    """
    path = Path(stream.file) if stream.file else folder / stream.folder / f"{stream.name}.csv.gz"
    if not path.is_file():
        known = "" if stream.file else ": name its folder by --data"
        raise DataError(f"{path.name} is not in {path.parent}{known}")
    frame = pl.read_csv(path, infer_schema_length=None)
    if limit is not None:
        frame = frame.head(limit)
    target = frame.get_column(stream.target)
    labels: tuple[str, ...] = ()
    if stream.task is Task.CLASSIFICATION:
        names, codes = np.unique(target.cast(pl.String).to_numpy(), return_inverse=True)
        values, labels = codes.astype(np.int64), tuple(map(str, names))
    else:
        values = target.cast(pl.Float64).to_numpy()
    rows = Rows(stream, path, {}, {}, {}, values, labels)
    for column in frame.drop(stream.target).get_columns():
        _add(rows, column)
    return rows


def _add(rows: Rows, column: pl.Series) -> None:
    name = column.name
    if name in rows.stream.texts:
        rows.texts[name] = column.fill_null("").to_list()
    elif name in rows.stream.dates:
        rows.numbers[name] = _days(column)
    elif column.dtype == pl.String:
        rows.words[name] = column.fill_null("?").to_list()
    elif column.null_count():
        raise DataError(f"{rows.path.name}: column {name!r} lacks numbers, which peers can't learn")
    else:
        rows.numbers[name] = column.cast(pl.Float64).to_numpy()


def _days(column: pl.Series) -> NDArray[np.float64]:
    times = column.str.to_datetime(time_unit="us")
    return times.cast(pl.Int64).cast(pl.Float64).to_numpy() / _DAY
