"""The layout of the inputs: which columns own which dense inputs and keys, and the rows of keys.

The row table assigns a row of the first layer to each active key, in order of first appearance.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import partial
from operator import getitem
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError, SchemaError
from streamnet.features.base import (
    FIELD_BITS,
    NO_LAGS,
    TRANSFORMERS,
    FieldSlot,
    LagEntries,
    Transformer,
)
from streamnet.features.frozen import KnownRows
from streamnet.features.statistics import MAX_COUNT, MAX_MAGNITUDE
from streamnet.jit import flush_subnormal, jit
from streamnet.samples import Field, Kind, Schema, are_compatible

MAX_ACTIVE = 1024  # entries of one sample
ROWS, SHARED, TRUNCATED = range(3)  # places in the counters


@jit
def _splitmix64(key: int) -> np.uint64:
    """Hash ``key`` by the finalizer of splitmix64."""
    bits = np.uint64(key) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@jit
def _find_row(
    key: int,
    row_keys: NDArray[np.int64],
    slots: NDArray[np.int32],
    counters: NDArray[np.int64],
    learn: bool,
) -> int:
    """Find the row of ``key``, -1 for none; with ``learn`` a new key gets the next row."""
    mask = np.uint64(slots.shape[0] - 1)
    place = _splitmix64(key)
    while True:
        row = int(slots[np.int64(place & mask)]) - 1
        if row < 0 or row_keys[row] == key:
            break
        place += np.uint64(1)
    if row >= counters[ROWS]:  # of a table that goes on learning, see `RowTable.view`
        return -1
    if row < 0 and learn and counters[ROWS] < row_keys.shape[0]:
        row = int(counters[ROWS])
        counters[ROWS] += 1
        row_keys[row] = key
        slots[np.int64(place & mask)] = row + 1
    return row


@jit
def _scale_by_rms(
    x: float, squares: NDArray[np.float64], row: int, clip: float, learn: bool
) -> float:
    """Divide ``x`` by the root mean square of the row's values, and clip it."""
    x = min(max(x, -MAX_MAGNITUDE), MAX_MAGNITUDE)
    if learn:
        if squares[row, 0] >= MAX_COUNT:  # earlier ones fade, as in moments
            squares[row, 1] = flush_subnormal(
                squares[row, 1] * ((MAX_COUNT - 1.0) / squares[row, 0])
            )
            squares[row, 0] = MAX_COUNT - 1.0
        squares[row, 0] += 1.0
        squares[row, 1] += x * x
    if not squares[row, 1] > 0.0:
        return min(max(x, -1.0), 1.0)
    root = float(np.sqrt(squares[row, 1] / squares[row, 0]))
    return min(max(x / root, -clip), clip)


@jit
def _merge_shared_rows(
    row: NDArray[np.int32], value: NDArray[np.float32], i: int, count: int
) -> int:
    """Sum the entries of sample ``i`` that share a row; return the new number of entries."""
    left = 0
    for k in range(count):
        for j in range(left):
            if row[i, j] == row[i, k]:
                value[i, j] += value[i, k]
                break
        else:
            row[i, left] = row[i, k]
            value[i, left] = value[i, k]
            left += 1
    return left


@jit
def _activate(
    keys: NDArray[np.int64],
    weights: NDArray[np.float64],
    first_weighted: int,
    first_scaled: int,
    row_keys: NDArray[np.int64],
    slots: NDArray[np.int32],
    counters: NDArray[np.int64],
    squares: NDArray[np.float64],
    clip: float,
    lag_keys: NDArray[np.int64],
    lag_values: NDArray[np.float64],
    missing: NDArray[np.int64],
    learn: bool,
    row: NDArray[np.int32],
    value: NDArray[np.float32],
    count: NDArray[np.int32],
) -> int:
    """Convert keys (-1: none) to rows; return the largest number of entries of a sample."""
    longest = 0
    lags = missing.size
    capacity = row.shape[1] - lags
    for i in range(keys.shape[0]):
        used = 0
        shared = False
        for k in range(keys.shape[1]):
            key = keys[i, k]
            if key < 0:
                continue
            if used == capacity:
                counters[TRUNCATED] += learn
                continue
            r = _find_row(key, row_keys, slots, counters, learn)
            if r < 0:
                if counters[ROWS] < row_keys.shape[0]:
                    continue
                r = int(np.int64(_splitmix64(key) % np.uint64(row_keys.shape[0])))
                counters[SHARED] += learn
                shared = True
            x = 1.0
            if k >= first_scaled:
                x = _scale_by_rms(weights[i, k - first_weighted], squares, r, clip, learn)
            elif k >= first_weighted:
                x = weights[i, k - first_weighted]
            row[i, used] = r
            value[i, used] = x
            used += 1
        if shared:
            used = _merge_shared_rows(row, value, i, used)
        for k in range(lags):
            # Every lag has an entry, so that a network can ignore all of them.
            r = _find_row(lag_keys[i, k], row_keys, slots, counters, learn)
            r = r if r >= 0 else _find_row(missing[k], row_keys, slots, counters, learn)
            row[i, used + k] = max(r, 0)
            value[i, used + k] = lag_values[i, k] * (r >= 0)
        used += lags
        for k in range(used, row.shape[1]):
            row[i, k] = 0
            value[i, k] = 0.0
        count[i] = used
        longest = max(longest, used)
    return longest


NO_WEIGHTS = np.empty((0, 0), np.float64)


@final
class RowTable:
    """Assigns rows to keys in order of appearance; once none is free, new keys share rows by hash.

    >>> table = RowTable(max_rows=8)
    >>> row, value, count = table.activate(np.array([[7, -1], [9, 7]]))
    >>> row.tolist(), count.tolist(), len(table)
    ([[0, 0], [1, 0]], [1, 2], 2)
    """

    def __init__(self, *, max_rows: int) -> None:
        self.keys: NDArray[np.int64] = np.zeros(max_rows, np.int64)  # by row, append-only
        self.fields: NDArray[np.int32] = np.zeros(max_rows, np.int32)  # likewise, of its key
        self.counters: NDArray[np.int64] = np.zeros(3, np.int64)  # by ROWS, SHARED, TRUNCATED
        # Count and sum of squared values by row.
        self.squares: NDArray[np.float64] = np.zeros((0, 2), np.float64)
        self._slots = np.zeros(1 << (2 * max_rows - 1).bit_length(), np.int32)

    def __len__(self) -> int:
        return self.counters.item(ROWS)

    def view(self) -> RowTable:
        """A copy that knows no later keys; it shares what is only ever appended to."""
        frozen = copy(self)
        frozen.counters = self.counters.copy()
        if len(self.squares):
            frozen.squares = np.zeros_like(self.squares)
            frozen.squares[: len(self)] = self.squares[: len(self)]
        return frozen

    def activate(
        self,
        keys: NDArray[np.int64],
        weights: NDArray[np.float64] = NO_WEIGHTS,
        *,
        weighted: int = 0,
        scaled: int = 0,
        clip: float = 8.0,
        lagged: LagEntries = NO_LAGS,
        learn: bool = True,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
        """Convert the keys of samples to rows (n, longest), values (n, longest) and counts (n,).

        Longest is at least 1. No row occurs twice in a sample, except that of a missing target for
        lags without a row of their own.

        Args:
            keys: int64 (n, width), -1 for none.
            weights: float64 (n, weighted), values of the last ``weighted`` keys; others have 1.
            weighted: Number of last keys with a weight.
            scaled: Number of last keys whose weight is divided by the root mean square of the row's
                weights so far, and clipped.
            clip: Bound of scaled values.
            lagged: Keys that come last, and always have an entry each.
            learn: Whether to assign rows to new keys and to learn scales.
        """
        n, width = keys.shape
        before, squares = len(self), self.squares
        if scaled and not len(squares):
            squares = np.zeros((len(self.keys), 2), np.float64)
            self.squares = squares if learn else self.squares
        capacity = min(max(width, 1), MAX_ACTIVE) + len(lagged.missing)
        row = np.empty((n, capacity), np.int32)
        value = np.empty((n, capacity), np.float32)
        count = np.empty(n, np.int32)
        longest = _activate(
            keys,
            weights,
            width - weighted,
            width - scaled,
            self.keys,
            self._slots,
            self.counters,
            squares,
            clip,
            *lagged,
            learn,
            row,
            value,
            count,
        )
        self._number_fields(before)
        longest = max(longest, 1)
        if longest < capacity:
            row = np.ascontiguousarray(row[:, :longest])
            value = np.ascontiguousarray(value[:, :longest])
        return row, value, count

    def _number_fields(self, before: int) -> None:
        """Note the fields of new rows."""
        new = slice(before, len(self))
        if before < len(self):
            self.fields[new] = self.keys[new] >> FIELD_BITS

    def freeze(self) -> KnownRows:
        """Return the rows of all keys."""
        by_key = {key: row for row, key in enumerate(self.keys[: len(self)].tolist())}
        share = self._share if len(self) == len(self.keys) else None
        return KnownRows(by_key, share)

    def _share(self, key: int) -> int:
        return int(_splitmix64(key) % np.uint64(len(self.keys)))

    def export_state(self) -> dict[str, Any]:
        """Export counters and scales as copies; keys, which are only appended, are copied later."""
        return {
            "row_keys": partial(getitem, self.keys, slice(len(self))),
            "counters": self.counters.copy(),
            "squares": self.squares[: len(self)].copy(),
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore keys by row, counters and scales."""
        keys, counters = (
            np.array(state["row_keys"], np.int64),
            np.array(state["counters"], np.int64),
        )
        squares = np.array(state["squares"], np.float64)
        if len(keys) > len(self.keys) or counters.shape != (3,) or counters[ROWS] != len(keys):
            raise ModelFileError("the encoder's row table exceeds its limit")
        if squares.shape not in ((0, 2), (len(keys), 2)):
            raise ModelFileError("the encoder's row scales do not fit its rows")
        for key in keys.tolist():
            _find_row(key, self.keys, self._slots, self.counters, True)
        if len(self) != len(keys):
            raise ModelFileError("the encoder's row table has a key twice")
        self.counters[:] = counters
        self._number_fields(0)
        if len(squares):
            self.squares = np.zeros((len(self.keys), 2), np.float64)
            self.squares[: len(keys)] = squares


@final
class InputLayout:
    """Fields in order of appearance, and where their inputs are; it only ever grows.

    >>> from streamnet.features import columns
    >>> layout = InputLayout()
    >>> schema = Schema((Field("age", Kind.NUMBER), Field("job", Kind.CATEGORY)))
    >>> [layout.append(field).dense for field in layout.unknown(schema)], layout.dense
    ([0, 1], 1)
    """

    def __init__(self) -> None:
        self.slots: list[FieldSlot] = []
        self.dense: int = 0  # dense inputs
        self.standardized: int = 0  # rows of the shared statistics
        self._kinds: dict[str, Kind] = {}
        self._counts: dict[type[Transformer], int] = {}

    def unknown(self, schema: Schema) -> list[Field]:
        """New fields of a schema."""
        return [field for field in schema.fields if field.name not in self._kinds]

    def append(self, field: Field) -> FieldSlot:
        """Assign inputs to a new field, after all others."""
        field = Field(field.name, Kind(field.kind))
        transformer = TRANSFORMERS[field.kind]
        nth = self._counts.get(transformer, 0)
        self._counts[transformer] = nth + 1
        base = len(self.slots) << FIELD_BITS
        slot = FieldSlot(field, base, self.standardized, self.dense, nth)
        self.slots.append(slot)
        self._kinds[field.name] = field.kind
        self.standardized += transformer.standardized
        self.dense += transformer.dense_inputs
        return slot

    def refine_kinds(self, schema: Schema) -> None:
        """Adopt the order of day and month of known time columns."""
        refined = dict(schema.fields)
        for number, slot in enumerate(self.slots):
            name, kind = slot.field
            if kind is Kind.TIME and (kind := refined.get(name, kind)) is not Kind.TIME:
                self.slots[number] = slot._replace(field=Field(name, kind))
                self._kinds[name] = kind

    def find_field_name(self, dense: int) -> str:
        """Name of the field that has this dense input."""
        return next(slot.field.name for slot in reversed(self.slots) if slot.dense <= dense)

    def check(self, schema: Schema) -> None:
        """Check that known fields have a compatible kind.

        Raises:
            SchemaError: If a field had another kind before.
        """
        for name, kind in schema.fields:
            if not are_compatible(known := self._kinds.get(name, kind), kind):
                raise SchemaError(f"column {name!r} is of kind {kind}, but was {known} before")
