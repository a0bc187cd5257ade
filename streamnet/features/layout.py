"""The layout of the inputs: which field owns which dense inputs and keys, and which row each key
has.

The row table assigns a row of the first layer to each active key, in order of first appearance.
"""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError, SchemaError
from streamnet.features.columns.number import MAX_COUNT, MAX_MAGNITUDE
from streamnet.features.columns.time import CALENDAR_DENSE, CALENDAR_KEYS
from streamnet.jit import flush_subnormal, jit
from streamnet.samples import NUMERIC, TIMES, Field, Kind, Schema, are_compatible

__all__ = (
    "FIELD_BITS",
    "LAG_BASE",
    "NO_LAGS",
    "ROWS",
    "SHARED",
    "SPARSE_BASE",
    "TRUNCATED",
    "ColumnPlan",
    "FieldSlot",
    "InputLayout",
    "LagEntries",
    "RowTable",
    "WordColumn",
)


FIELD_BITS = 40  # a key is the number of its field << 40 | the code of its value
MAX_ACTIVE = 1024  # entries of one sample

ROWS, SHARED, TRUNCATED = range(3)  # places in the counters


class LagEntries(NamedTuple):
    """Keys of the rows that tell earlier targets, and with which value they are active."""

    keys: NDArray[np.int64]  # shape=(n, lags)
    values: NDArray[np.float64]  # shape=(n, lags)
    missing: NDArray[np.int64]  # shape=(lags,): key of a target that is not there


NO_LAGS = LagEntries(np.empty((0, 0), np.int64), np.empty((0, 0)), np.empty(0, np.int64))


@jit
def _splitmix64(key: int) -> np.uint64:
    """The 64 bits of ``key`` well mixed (the finaliser of splitmix64)."""
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
    """Row of ``key``; a new key gets the next row if ``learn``; without a row of its own -1."""
    mask = np.uint64(slots.shape[0] - 1)
    place = _splitmix64(key)
    while True:
        row = int(slots[np.int64(place & mask)]) - 1
        if row < 0 or row_keys[row] == key:
            break
        place += np.uint64(1)
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
    """``x`` over the root mean square of the row's values, clipped."""
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
    """Add up the entries of sample ``i`` that share a row; returns how many are left."""
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
    """Turn the keys of each sample (-1 = none) into rows; returns the longest sample's count."""
    longest = 0
    lags = missing.size
    room = row.shape[1] - lags
    for i in range(keys.shape[0]):
        used = 0
        shares = False
        for k in range(keys.shape[1]):
            key = keys[i, k]
            if key < 0:
                continue
            if used == room:
                counters[TRUNCATED] += learn
                continue
            r = _find_row(key, row_keys, slots, counters, learn)
            if r < 0:
                if counters[ROWS] < row_keys.shape[0]:
                    continue
                r = int(np.int64(_splitmix64(key) % np.uint64(row_keys.shape[0])))
                counters[SHARED] += learn
                shares = True
            x = 1.0
            if k >= first_scaled:
                x = _scale_by_rms(weights[i, k - first_weighted], squares, r, clip, learn)
            elif k >= first_weighted:
                x = weights[i, k - first_weighted]
            row[i, used] = r
            value[i, used] = x
            used += 1
        if shares:
            used = _merge_shared_rows(row, value, i, used)
        for k in range(lags):
            # Every lag always has an entry, so that a network can leave all of them out.
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
    """Rows by key, given out in order of appearance; once all are given out, new keys share.

    >>> table = RowTable(max_rows=8)
    >>> row, value, count = table.activate(np.array([[7, -1], [9, 7]]))
    >>> row.tolist(), count.tolist(), len(table)
    ([[0, 0], [1, 0]], [1, 2], 2)
    """

    def __init__(self, *, max_rows: int) -> None:
        self.keys = np.zeros(max_rows, np.int64)  # by row, append-only
        self.counters = np.zeros(3, np.int64)  # rows given out, shared entries, truncated entries
        self.squares = np.zeros((0, 2), np.float64)  # by row: count and sum of squared values
        self._slots = np.zeros(1 << (2 * max_rows - 1).bit_length(), np.int32)

    def __len__(self) -> int:
        return self.counters.item(ROWS)

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
        """Rows, values and counts of samples with the given keys.

        Args:
            keys: shape (n, width), -1 where there is none.
            weights: shape (n, weighted), values of the last ``weighted`` keys; of the others 1.
            weighted: how many of the last keys have a weight.
            scaled: how many of the last keys have their weight divided by the root mean square of
                their row's weights so far.
            clip: bound of the scaled values.
            lagged: keys that come last, each with an entry whatever there is room for.
            learn: give rows to new keys and take in the scaled weights.

        Returns:
            Arrays of shape (n, longest), (n, longest) and (n,), where longest is at least 1. No
            row occurs twice in a sample; but without a row of its own a lag has that of a missing
            target.
        """
        n, width = keys.shape
        squares = self.squares
        if scaled and not len(squares):
            squares = np.zeros((len(self.keys), 2), np.float64)
            self.squares = squares if learn else self.squares
        room = min(max(width, 1), MAX_ACTIVE) + len(lagged.missing)
        row = np.empty((n, room), np.int32)
        value = np.empty((n, room), np.float32)
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
        longest = max(longest, 1)
        if longest < room:
            row = np.ascontiguousarray(row[:, :longest])
            value = np.ascontiguousarray(value[:, :longest])
        return row, value, count

    def restore_state(
        self,
        keys: NDArray[np.int64],
        counters: NDArray[np.int64],
        squares: NDArray[np.float64],
    ) -> None:
        """Take over keys by row, counters and squares, as a snapshot keeps them."""
        keys, counters = np.array(keys, np.int64), np.array(counters, np.int64)
        squares = np.array(squares, np.float64)
        if len(keys) > len(self.keys) or counters.shape != (3,) or counters[ROWS] != len(keys):
            raise ModelFileError("the encoder's row table is larger than its cap")
        if squares.shape not in ((0, 2), (len(keys), 2)):
            raise ModelFileError("the encoder's row scales do not fit its rows")
        for key in keys.tolist():
            _find_row(key, self.keys, self._slots, self.counters, True)
        if len(self) != len(keys):
            raise ModelFileError("the encoder's row table holds a key twice")
        self.counters[:] = counters
        if len(squares):
            self.squares = np.zeros((len(self.keys), 2), np.float64)
            self.squares[: len(keys)] = squares


SPARSE_BASE = 1 << (FIELD_BITS + 22)  # keys of numbered inputs, beyond those of any field
LAG_BASE = SPARSE_BASE + (1 << (FIELD_BITS + 21))  # keys of earlier targets, beyond both
STANDARDIZED = {kind: int(kind in NUMERIC) for kind in Kind} | {Kind.TEXT: 2}
DENSE = {kind: n + CALENDAR_DENSE * (kind in TIMES) for kind, n in STANDARDIZED.items()}


class FieldSlot(NamedTuple):
    """A known field and where its inputs start."""

    field: Field
    base: int  # first key
    measure: int
    dense: int
    nth: int  # fields of the same kind before it; all times are alike


class WordColumn(NamedTuple):
    """Where a column of words is found and its keys go."""

    source: int  # column in Block.words, -1 if the block lacks it
    nth: int  # of the category or text fields
    key: int  # first key column; texts take as many as they need, after all others
    base: int


class ColumnPlan(NamedTuple):
    """How blocks of one schema become inputs; rows of the arrays as the kernels read them."""

    numbers: NDArray[np.int64]  # shape=(number and time fields, 5)
    times: NDArray[np.int64]  # shape=(time fields, 5)
    texts: NDArray[np.int64]  # shape=(2 * text fields, 5)
    categories: tuple[WordColumn, ...]
    words: tuple[WordColumn, ...]
    width: int  # key columns of all fields but texts
    curves: int  # dense inputs that may have more than two values, those of the calendar left out


@final
class InputLayout:
    """Fields in order of appearance with their inputs; it only ever grows.

    >>> layout = InputLayout()
    >>> schema = Schema((Field("age", Kind.NUMBER), Field("job", Kind.CATEGORY)))
    >>> [layout.append(field).dense for field in layout.unknown(schema)], layout.dense
    ([0, 1], 1)
    >>> layout.plan(schema).numbers.tolist()
    [[0, 0, 0, 0, 0]]
    """

    def __init__(self) -> None:
        self.places: list[FieldSlot] = []
        self.dense = 0
        self.measures = 0
        self._kinds: dict[str, Kind] = {}
        self._counts = dict.fromkeys(Kind, 0)  # fields of each kind

    def unknown(self, schema: Schema) -> list[Field]:
        """The fields of ``schema`` that are new."""
        return [field for field in schema.fields if field.name not in self._kinds]

    def append(self, field: Field) -> FieldSlot:
        """Give a new field its inputs, after all others."""
        field = Field(field.name, Kind(field.kind))
        counted = Kind.TIME if field.kind in TIMES else field.kind
        nth = self._counts[counted]
        self._counts[counted] += 1
        base = len(self.places) << FIELD_BITS
        place = FieldSlot(field, base, self.measures, self.dense, nth)
        self.places.append(place)
        self._kinds[field.name] = field.kind
        self.measures += STANDARDIZED[field.kind]
        self.dense += DENSE[field.kind]
        return place

    def tell(self, schema: Schema) -> None:
        """Take over which of day and month comes first, where a known column of times has told."""
        told = dict(schema.fields)
        for number, place in enumerate(self.places):
            name, kind = place.field
            if kind is Kind.TIME and (kind := told.get(name, kind)) is not Kind.TIME:
                self.places[number] = place._replace(field=Field(name, kind))
                self._kinds[name] = kind

    def find_field_name(self, dense: int) -> str:
        """Name of the field that has this dense input."""
        return next(place.field.name for place in reversed(self.places) if place.dense <= dense)

    def plan(self, schema: Schema) -> ColumnPlan:
        """How a block of ``schema`` fills the inputs; fields it lacks are missing."""
        source = {name: i for i, name in enumerate(schema.numbers)}
        source |= {name: i for i, name in enumerate(schema.words)}
        numbers, times, texts, categories, words = [], [], [], [], []
        measured = [p for p in self.places if p.field.kind in NUMERIC]
        for key, place in enumerate(measured):
            column = source.get(place.field.name, -1)
            numbers.append((column, place.measure, place.dense, key, place.base))
        width = len(numbers)
        for place in (p for p in measured if p.field.kind in TIMES):
            column = source.get(place.field.name, -1)
            times.append((column, place.nth, place.dense + 1, width, place.base))
            width += CALENDAR_KEYS
        for place in (p for p in self.places if p.field.kind is Kind.CATEGORY):
            column = source.get(place.field.name, -1)
            categories.append(WordColumn(column, place.nth, width, place.base))
            width += 1
        for place in (p for p in self.places if p.field.kind is Kind.TEXT):
            column = source.get(place.field.name, -1)
            words.append(WordColumn(column, place.nth, -1, place.base))
            for nth in range(2):
                input_ = place.dense + nth
                texts.append((2 * place.nth + nth, place.measure + nth, input_, -1, place.base))
        arrays = [np.array(rows, np.int64).reshape(-1, 5) for rows in (numbers, times, texts)]
        curves = len(numbers) + len(texts)
        return ColumnPlan(
            arrays[0], arrays[1], arrays[2], tuple(categories), tuple(words), width, curves
        )

    def check(self, schema: Schema) -> None:
        """Raise `SchemaError` if a field's kind is not the one it had when it first came."""
        for name, kind in schema.fields:
            if not are_compatible(known := self._kinds.get(name, kind), kind):
                raise SchemaError(f"column {name!r} is of kind {kind}, but was {known} before")
