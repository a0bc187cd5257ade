"""Arrays that get rows at their end, one at a time, in time proportional to their number."""

from __future__ import annotations

from typing import Any
from typing import final

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

__all__ = ("Growing",)


@final
class Growing:
    """Rows of an array, with room behind them that doubles when it is used up.

    An array made anew for each row takes time by their square: 20,000 columns took minutes.

    Args:
        shape: of a row.
        dtype: of its numbers.

    >>> pairs = Growing((2,), np.float64)
    >>> pairs.append([1.0, 2.0])
    >>> pairs.rows.tolist(), len(pairs)
    ([[1.0, 2.0]], 1)
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._room = np.zeros((0, *shape), dtype)
        # All rows, shape=(n, ...), to be read and written; after `append` they may be a copy.
        self.rows: NDArray[Any] = self._room

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copied or pickled view is no view any more: what is written to rows must be in the room.
        self._room = self.rows = state["rows"]

    def __len__(self) -> int:
        return len(self.rows)

    def append(self, row: Any) -> None:
        """Add a row."""
        used = len(self)
        if used == len(self._room):
            room = np.zeros((max(2 * used, 1), *self._room.shape[1:]), self._room.dtype)
            room[:used] = self._room
            self._room = room
        self.rows = self._room[: used + 1]
        self.rows[used] = row
