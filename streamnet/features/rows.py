"""The row table: gives each active key (a field's value) a row of the first layer."""

from __future__ import annotations

from typing import NamedTuple
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.fading import faded
from streamnet.features.moments import LARGEST
from streamnet.features.moments import LONGEST
from streamnet.jit import jit

__all__ = ("FIELD_BITS", "NO_LAGS", "ROWS", "SHARED", "TRUNCATED", "Lagged", "RowTable")

FIELD_BITS = 40  # a key is the number of its field << 40 | the code of its value
MAX_ACTIVE = 1024  # entries of one sample

ROWS, SHARED, TRUNCATED = range(3)  # places in the counters


class Lagged(NamedTuple):
    """Keys of the rows that tell earlier targets, and with which value they are active."""

    keys: NDArray[np.int64]  # shape=(n, lags)
    values: NDArray[np.float64]  # shape=(n, lags)
    missing: NDArray[np.int64]  # shape=(lags,): key of a target that is not there


NO_LAGS = Lagged(np.empty((0, 0), np.int64), np.empty((0, 0)), np.empty(0, np.int64))


@jit
def _mixed(key: int) -> np.uint64:
    """The 64 bits of ``key`` well mixed (the finaliser of splitmix64)."""
    bits = np.uint64(key) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@jit
def _row_of(
    key: int,
    row_keys: NDArray[np.int64],
    slots: NDArray[np.int32],
    counters: NDArray[np.int64],
    learn: bool,
) -> int:
    """Row of ``key``; a new key gets the next row if ``learn``; without a row of its own -1."""
    mask = np.uint64(slots.shape[0] - 1)
    place = _mixed(key)
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
def _scaled(x: float, squares: NDArray[np.float64], row: int, clip: float, learn: bool) -> float:
    """``x`` over the root mean square of the row's values, clipped."""
    x = min(max(x, -LARGEST), LARGEST)
    if learn:
        if squares[row, 0] >= LONGEST:  # earlier ones fade, as in moments
            squares[row, 1] = faded(squares[row, 1] * ((LONGEST - 1.0) / squares[row, 0]))
            squares[row, 0] = LONGEST - 1.0
        squares[row, 0] += 1.0
        squares[row, 1] += x * x
    if not squares[row, 1] > 0.0:
        return min(max(x, -1.0), 1.0)
    root = float(np.sqrt(squares[row, 1] / squares[row, 0]))
    return min(max(x / root, -clip), clip)


@jit
def _merge(row: NDArray[np.int32], value: NDArray[np.float32], i: int, count: int) -> int:
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
            r = _row_of(key, row_keys, slots, counters, learn)
            if r < 0:
                if counters[ROWS] < row_keys.shape[0]:
                    continue
                r = int(np.int64(_mixed(key) % np.uint64(row_keys.shape[0])))
                counters[SHARED] += learn
                shares = True
            x = 1.0
            if k >= first_scaled:
                x = _scaled(weights[i, k - first_weighted], squares, r, clip, learn)
            elif k >= first_weighted:
                x = weights[i, k - first_weighted]
            row[i, used] = r
            value[i, used] = x
            used += 1
        if shares:
            used = _merge(row, value, i, used)
        for k in range(lags):
            # Every lag always has an entry, so that a network can leave all of them out.
            r = _row_of(lag_keys[i, k], row_keys, slots, counters, learn)
            r = r if r >= 0 else _row_of(missing[k], row_keys, slots, counters, learn)
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
        lagged: Lagged = NO_LAGS,
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
            _row_of(key, self.keys, self._slots, self.counters, True)
        if len(self) != len(keys):
            raise ModelFileError("the encoder's row table holds a key twice")
        self.counters[:] = counters
        if len(squares):
            self.squares = np.zeros((len(self.keys), 2), np.float64)
            self.squares[: len(keys)] = squares
