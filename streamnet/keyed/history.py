"""TargetsByKey: the last targets of each key, as columns of the shared model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.features.statistics import as_float64
from streamnet.jit import exact_kernel
from streamnet.keyed.rows import KeyedRows, RowShape
from streamnet.samples import Field, Kind, Task

LAGS = {Task.REGRESSION: 3, Task.CLASSIFICATION: 2}
COUNT, MEAN, FIRST = 0, 1, 2  # columns of a row, then its last targets, the latest first
MEAN_SAMPLES = 100.0
NAMES = ("(last target)", "(2nd last target)", "(3rd last target)")
MEAN_NAME, SEASON_NAME = "(mean target)", "(target a season ago)"
AGE_NAME = "(age of the last target)"
HISTORY_COLUMNS = frozenset((*NAMES, MEAN_NAME, SEASON_NAME, AGE_NAME))
"""Names of the columns that a shared model has beside those of its samples."""


@exact_kernel
def _recall_numbers(
    slots: NDArray[np.int64],
    target: NDArray[np.float64],
    awaited: NDArray[np.int64],
    lags: int,
    season: int,
    learns: bool,
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],  # shape=(n, lags + 1 + (season > 0)), written
) -> None:
    for i in range(slots.size):
        k = slots[i]
        if k < 0:
            columns[i, :] = np.nan
            continue
        row = rows[k]
        count = row[COUNT]
        for j in range(lags):
            columns[i, j] = row[FIRST + j] if count > j else np.nan
        columns[i, lags] = row[MEAN] if count > 0 else np.nan
        if season > 0:
            # A ring of the last targets; the one of a season ago is overwritten next, unless
            # others are awaited before.
            at = FIRST + lags + (int(count) + awaited[i]) % season
            columns[i, lags + 1] = row[at] if count >= season else np.nan
        if not learns or not np.isfinite(target[i]):
            continue
        if season > 0:
            row[FIRST + lags + int(count) % season] = target[i]
        for j in range(lags - 1, 0, -1):
            row[FIRST + j] = row[FIRST + j - 1]
        row[FIRST] = target[i]
        row[COUNT] = count + 1.0
        row[MEAN] += (target[i] - row[MEAN]) / min(count + 1.0, MEAN_SAMPLES)


@exact_kernel
def _recall_labels(
    slots: NDArray[np.int64],
    target: NDArray[np.int64],  # shape=(n,), -1 for none
    awaited: NDArray[np.int64],
    lags: int,
    season: int,
    learns: bool,
    rows: NDArray[np.float64],
    columns: NDArray[np.int64],  # shape=(n, lags + (season > 0)), written; -1 for none
) -> None:
    for i in range(slots.size):
        k = slots[i]
        if k < 0:
            columns[i, :] = -1
            continue
        row = rows[k]
        count = int(row[COUNT])
        for j in range(lags):
            columns[i, j] = int(row[FIRST + j]) if count > j else -1
        if season > 0:
            at = FIRST + lags + (count + awaited[i]) % season
            columns[i, lags] = int(row[at]) if count >= season else -1
        if not learns or target[i] < 0:
            continue
        if season > 0:
            row[FIRST + lags + count % season] = target[i]
        for j in range(lags - 1, 0, -1):
            row[FIRST + j] = row[FIRST + j - 1]
        row[FIRST] = target[i]
        row[COUNT] = count + 1.0


@final
class TargetsByKey:
    """The last targets of each key, their mean, and with a ``season`` the target a season ago.

    Where targets become known ``late``, the age of the last known one is a column, too.

    >>> history = TargetsByKey(Task.REGRESSION, resident=10)
    >>> target = np.array([1.0, 5.0, 2.0, 6.0])
    >>> history.recall(["a", "b", "a", "b"], target)[:, 0].tolist()
    [nan, nan, 1.0, 5.0]
    """

    def __init__(self, task: Task, *, resident: int, season: int = 0) -> None:
        self.task = task
        self.season: int = season
        self._lags = LAGS[task]
        self._resident = resident
        self._shape = RowShape("", (np.zeros(FIRST + self._lags + season),))
        self._rows = KeyedRows(self._shape, resident=resident)
        # Labels by the number that rows have for them.
        self._labels: list[str] = []
        self._numbers: dict[str | None, int] = {None: -1}
        names = [*NAMES[: self._lags]]
        numeric = task is Task.REGRESSION
        names += [MEAN_NAME] * numeric + [SEASON_NAME] * (season > 0)
        kind = Kind.NUMBER if numeric else Kind.CATEGORY
        self._fields = tuple(Field(name, kind) for name in names)
        self.late: bool = False
        """Whether targets may become known late."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns, those of targets first."""
        return (*self._fields, Field(AGE_NAME, Kind.NUMBER)) if self.late else self._fields

    @property
    def rows(self) -> KeyedRows:
        """The rows of all keys."""
        return self._rows

    def recall(
        self,
        keys: Sequence[str | None],
        target: NDArray[Any] | None = None,
        awaited: NDArray[np.int64] | None = None,
    ) -> NDArray[Any]:
        """The columns of targets of samples, shape=(n, columns): floats, or texts and None.

        Args:
            keys: Key of each sample; None for none.
            target: Targets to learn, each after its own columns; None learns nothing, and each
                sample might be the next of its key.
            awaited: How many targets of the key, of earlier samples, are yet to become known; None
                for none.
        """
        learns, n = target is not None, len(keys)
        numeric = self.task is Task.REGRESSION
        awaited = np.zeros(n, np.int64) if awaited is None else awaited
        width, dtype = len(self._fields), np.float64 if numeric else np.int64
        columns: NDArray[Any] = np.empty((n, width), dtype)
        numbers: NDArray[Any] = np.full(n, np.nan) if numeric else np.full(n, -1, np.int64)
        if target is not None:
            numbers = as_float64(target) if numeric else self._number(target)
        recall: Callable[..., None] = _recall_numbers if numeric else _recall_labels
        for start in range(0, n, self._resident):
            part = slice(start, start + self._resident)
            with self._rows.lock:
                slots = self._rows.take(keys[part], create=learns)
                (rows,) = self._rows.arrays
                recall(
                    slots,
                    numbers[part],
                    awaited[part],
                    self._lags,
                    self.season,
                    learns,
                    rows,
                    columns[part],
                )
        return columns if numeric else self._name(columns)

    def read_last(self, key: str) -> dict[str, Any]:
        """The last targets of a key by the names of their columns."""
        names = [field.name for field in self._fields]
        return dict(zip(names, self.recall([key])[0].tolist(), strict=True))

    def _number(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        numbers = self._numbers
        for label in labels.tolist():
            if label not in numbers:
                numbers[label] = len(self._labels)
                self._labels.append(label)
        return np.fromiter(map(numbers.__getitem__, labels.tolist()), np.int64, len(labels))

    def _name(self, columns: NDArray[np.int64]) -> NDArray[np.object_]:
        names = np.array([*self._labels, None], object)  # -1 is the last one
        named: NDArray[np.object_] = names[columns]
        return named

    def export_state(self, only: str | None = None) -> dict[str, Any]:
        """Everything needed to resume, bit for bit; of the rows, ``only`` that of one key."""
        rows = self._rows.export_state(only)
        return {"rows": rows, "labels": list(self._labels), "late": self.late}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        self._rows.restore_state(self._shape, state["rows"])
        self._labels, self.late = list(state["labels"]), state.get("late", False)
        self._numbers = {None: -1, **{label: i for i, label in enumerate(self._labels)}}
        if len(self._numbers) != len(self._labels) + 1:
            raise StateError("the last targets of keys have a label twice")
