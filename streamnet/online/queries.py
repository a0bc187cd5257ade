"""Reading samples to predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

from streamnet.errors import SampleError, SchemaError
from streamnet.samples import Block, DeadLetter, Sample, Schema
from streamnet.settings.inference import OnUnknown
from streamnet.sources.columns import Columns
from streamnet.sources.rows import RowReader
from streamnet.sources.sparse import SparseSamples
from streamnet.sources.unknown_columns import ColumnCheck


@final
class QueryReader:
    """Reads and checks samples to predict by the fields that another reader has learned.

    ``fail`` raises an error for the first rejected sample and its number among several.
    """

    def __init__(
        self,
        learned: RowReader,
        columns: Columns,
        on_unknown: OnUnknown,
        fail: Callable[[DeadLetter, int | None], Any],
    ) -> None:
        self._learned = learned
        self._reader = RowReader(columns, closed=True)
        self._check = ColumnCheck(on_unknown, learning=True)
        self._schema: Schema | None = None  # that of the reader and of the check
        self._fail = fail

    def check(self, given: Any, rows: Sequence[Any]) -> None:
        """Check samples, as they were given and as rows, for unknown features."""
        self._update()
        if isinstance(rows, SparseSamples):
            return
        try:
            self._check.samples(given, rows)
        except SampleError as error:
            raise SchemaError(str(error) if len(rows) > 1 else error.detail) from None

    def read(self, rows: Sequence[Sample], start: int = 0, stop: int | None = None) -> Block:
        """Read some of these rows, or all, without their unknown features, in one block."""
        self._update()
        block = self._reader.read(rows if stop is None else rows[start:stop])
        if block.rejected:
            letter, end = block.rejected[0], len(rows) if stop is None else stop
            number = letter.offset - self._reader.records + end
            self._fail(letter, number if len(rows) > 1 else None)
        if isinstance(rows, SparseSamples):
            block = rows.attach(block, np.arange(start, start + len(block)))
        return block

    def fit_block(self, rows: Sequence[Sample], start: int, size: int) -> int:
        """Where a block of at most ``size`` rows ends."""
        stop = min(start + size, len(rows))
        if isinstance(rows, SparseSamples):
            stop = start + rows.count_fitting(np.arange(start, stop))
        return stop

    def _update(self) -> None:
        schema = self._learned.schema
        if schema is not self._schema:
            # Exactly the fields that are learned: switching between others is slow.
            self._reader.set_fields(schema.fields)
            self._check.know(name for name, _ in schema.fields)
            self._schema = schema
