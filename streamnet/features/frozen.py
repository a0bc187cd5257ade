"""Inputs of an encoder as formulas and tables, from which exports to other formats are made.

A row is one of the networks' sparse weights, see `FrozenInputs.rows`; `NO_ROW` stands for none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import Field

NO_ROW = -1


@final
class KnownRows:
    """The rows of all keys, which are numbered anew as they are found.

    Args:
        by_key: Row of each key.
        share: Gives an unknown key the row of another one; None as long as rows are free.
    """

    def __init__(self, by_key: Mapping[int, int], share: Callable[[int], int] | None) -> None:
        self.by_key = by_key
        self.share = share
        self._numbers: dict[int, int] = {}

    @property
    def found(self) -> tuple[int, ...]:
        """The rows by their new numbers."""
        return tuple(self._numbers)

    def find(self, key: int) -> int:
        """New number of the row of a key, or `NO_ROW`."""
        row = self.by_key.get(key, NO_ROW)
        if row == NO_ROW and self.share is not None:
            row = self.share(key)
        return row if row == NO_ROW else self._numbers.setdefault(row, len(self._numbers))


class Affine(NamedTuple):
    """``(x - origin - center) / spread``, of numbers within 1e100; 0 if the spread is 0."""

    origin: float
    center: float
    spread: float


class Ranks(NamedTuple):
    """Rank of a number, from -1 to 1, by linear interpolation between the values of cells.

    At a value itself it is ``at``; up to it, it rises from ``start``, at the previous value, to
    ``end``. All arrays have shape=(cells,). Below the first value it is -1.
    """

    value: NDArray[np.float64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    at: NDArray[np.float64]
    above: float  # beyond the last value


class Raw(NamedTuple):
    """The number itself, within ``bound``."""

    bound: float


Scale = Affine | Ranks | Raw


@final
@dataclass(frozen=True)
class FrozenCalendar:
    """Six more inputs of a column of times, and rows by hour, weekday (from Monday) and month.

    The inputs follow the scaled one: sine and cosine of the time of day (0 without a clock), of the
    day of the week, and of the day of the year from 1 March.
    """

    has_clock: bool
    hours: tuple[int, ...]
    weekdays: tuple[int, ...]
    months: tuple[int, ...]


@final
@dataclass(frozen=True)
class FrozenIdentifiers:
    """Rows of whole numbers that are ids: of small ones, and of the hashes of large ones."""

    rows: Mapping[int, int]
    hashed: Mapping[int, int]


@final
@dataclass(frozen=True)
class FrozenNumber:
    """A column of numbers; times are seconds since 1970 in UTC."""

    field: Field
    dense: int  # its scaled input
    scale: Scale
    is_splined: bool
    missing: int  # row of a missing value
    rows: Mapping[float, int]  # of distinct values
    identifiers: FrozenIdentifiers | None = None
    calendar: FrozenCalendar | None = None

    @property
    def inputs(self) -> tuple[int, ...]:
        """Its dense inputs."""
        cyclic = () if self.calendar is None else range(self.dense + 1, self.dense + 7)
        return self.dense, *cyclic


@final
@dataclass(frozen=True)
class FrozenCategory:
    """A column of words."""

    field: Field
    missing: int
    rows: Mapping[str, int]  # of each spelling of a known value, `NO_ROW` for one without a row
    buckets: tuple[int, ...]  # of any other value by its hash; empty if such a value has no row


FrozenColumn = FrozenNumber | FrozenCategory


@final
@dataclass(frozen=True)
class FrozenInputs:
    """All columns, and what the dense inputs have in common."""

    columns: tuple[FrozenColumn, ...]
    rows: tuple[int, ...]  # of the sparse weights: those that any column can activate
    dropped: frozenset[int]  # dense inputs that are 0, since they duplicate others
    clip: float  # bound of scaled inputs
