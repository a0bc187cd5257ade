"""SeriesForecasts: numbers by the last targets of the same store, device or patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.experts import Answers, Expert, ScoringBatch
from streamnet.selection.ensemble.base import ABSENT
from streamnet.series.kernels import (
    COLUMNS,
    OUTPUTS,
    PAIRED,
    Columns,
    Table,
    insert,
    new_columns,
    new_table,
    predict_then_learn,
)

FIRST_SLOTS = 1_024
_NO_NUMBERS = np.empty(0)


@final
class SeriesForecasts(Expert):
    """Predicts a number from the last target of samples with the same value of a column.

    Many streams are panel data: many series whose samples are mixed, such as the sales of stores,
    of which a column says which sample belongs to which series. It is found from the losses: each
    column of categories or of whole numbers, and each pair of the first four categories, has a
    forecast, and the best one of those that know the sample's value answers. There are two
    forecasts: the last target plus the mean difference of two targets of a series, and the last
    target times their mean ratio (random walks with drift, of the numbers and of their logarithms).

    Args:
        values: Most values of a column; one with more is no series.

    >>> len(SeriesForecasts(100))
    2
    """

    name = "series"
    starts = False

    def __init__(self, values: int) -> None:
        self._most = values
        self._columns = new_columns()
        self._table = new_table(FIRST_SLOTS)
        self._taken = np.zeros(1, np.int64)

    def __len__(self) -> int:
        """Number of forecasts."""
        return OUTPUTS

    def predict_then_learn(self, batch: ScoringBatch) -> Answers:
        """Predict samples in order; the targets of those that have one are learned."""
        return self._run(batch, self._columns, batch.truth)

    def predict(self, batch: ScoringBatch) -> Answers:
        """Predict samples of which each might be the next one; changes nothing."""
        columns = self._columns._replace(left=self._columns.left.copy())
        return self._run(batch, columns, _NO_NUMBERS)

    def _run(self, batch: ScoringBatch, columns: Columns, target: NDArray[np.float64]) -> Answers:
        inputs = batch.inputs
        assert inputs is not None
        n = len(inputs.count)
        samples = inputs.unscaled, inputs.row, inputs.count, inputs.fields, inputs.lags
        answers, present = np.zeros((OUTPUTS, n)), np.full((OUTPUTS, n), ABSENT, np.uint8)
        scratch, done = (np.empty(COLUMNS, np.uint64), np.empty(PAIRED, np.int64)), 0
        while done < n:
            state = self._most, self._taken, *self._table, *columns
            arrays: Any = *samples, target, batch.spread, done, *state, answers, present, *scratch
            done = predict_then_learn(*arrays)
            if done < n:
                self._grow()
        return Answers(answers, present)

    def _grow(self) -> None:
        """Make room, also by forgetting columns that are no series."""
        keep = 1 - self._columns.left
        kept = int(self._columns.values[keep == 1].sum()) + COLUMNS
        table = new_table(max(1 << (4 * kept - 1).bit_length(), FIRST_SLOTS))
        self._taken[0] = insert(*self._table, keep, *table)
        self._table = table

    def freeze(self) -> SeriesForecasts:
        """A copy that predicts as this one does now, while this one learns; it must not learn."""
        frozen = copy(self)
        frozen._columns = Columns._make(array.copy() for array in self._columns)
        frozen._table = Table._make(array.copy() for array in self._table)
        return frozen

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, bit for bit."""
        # Those of columns that are no series are there until the table grows.
        is_kept = (self._table.key > 0) & (self._columns.left[self._table.column] == 0)
        used = np.flatnonzero(is_kept)
        used = used[np.argsort(self._table.key[used])]
        entries = {name: array[used] for name, array in self._table._asdict().items()}
        columns = {name: array.copy() for name, array in self._columns._asdict().items()}
        return {"entries": entries, "columns": columns}

    def restore_state(self, state: Mapping[str, Any]) -> Sequence[int]:
        """Continue from a state of `export_state`; `StateError` if it does not fit."""
        columns = Columns(**{name: np.array(a) for name, a in state["columns"].items()})
        for name, expected in new_columns()._asdict().items():
            found = getattr(columns, name)
            if found.shape != expected.shape or found.dtype != expected.dtype:
                raise StateError(f"{name} of series has shape {found.shape}")
        entries = Table(**{name: np.array(a) for name, a in state["entries"].items()})
        if len({len(array) for array in entries}) != 1 or not (entries.key != 0).all():
            raise StateError(f"series have {len(entries.key)} keys that do not fit")
        self._columns = columns
        slots = max(1 << (4 * (len(entries.key) + COLUMNS) - 1).bit_length(), FIRST_SLOTS)
        self._table = new_table(slots)
        self._taken[0] = insert(*entries, np.ones(COLUMNS, np.uint8), *self._table)
        return ()
