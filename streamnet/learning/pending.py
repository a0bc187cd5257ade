"""What stages keep of samples whose labels have not arrived yet, and the order of both."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Any, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamnet.errors import StateError
from streamnet.samples import Timeline


def leading(rows: NDArray[Any], part: NDArray[Any]) -> tuple[Any, ...]:
    """Index of some rows of a larger array, as far as they have the columns of ``part``."""
    return (rows, *map(slice, part.shape[1:]))


def order_rows(
    numbers: NDArray[np.int64],
    places: NDArray[np.intp],
    arrived: NDArray[np.int64],
    before: NDArray[np.int64],
) -> Timeline:
    """Order samples and arriving labels: a label comes right before the sample it may serve."""
    order = np.argsort(np.concatenate((2 * before, 2 * numbers + 1)), kind="stable")
    return Timeline(
        late=(order < len(arrived)),
        place=np.concatenate((arrived[:, 1], places))[order],
        sample=np.concatenate((arrived[:, 0], numbers))[order],
        number=np.concatenate((before, numbers))[order],
    )


def find_ages(
    timeline: Timeline, learned: NDArray[np.bool_], known: int, number: int
) -> tuple[int, NDArray[np.float64], float]:
    """How many samples ago the last known target was; NaN for none.

    Args:
        timeline: The rows.
        learned: Rows after which their target is known, shape=(rows,).
        known: Number of the sample with the last known target before them, -1 for none.
        number: Number of the sample after them.

    Returns:
        The number of the sample with the last known target, ages by row, and that for the sample
        after them.
    """
    latest = np.full(len(learned) + 1, -1, np.int64)  # row of the last known target before each
    latest[1:][learned] = np.flatnonzero(learned)
    samples = np.append(timeline.sample, known)[np.maximum.accumulate(latest)]
    ages = np.where(samples[:-1] >= 0, timeline.number - samples[:-1], np.nan)
    known = int(samples[-1])
    return known, ages, float(number - known) if known >= 0 else np.nan


@final
class FreeRows:
    """Numbers the rows that waiting samples take in the tables of all stages.

    Args:
        used: Rows that are taken already, the first ones.

    >>> rows = FreeRows()
    >>> rows.take(3), rows.release(np.array([1, 0])), rows.take(3)
    ([0, 1, 2], None, [0, 1, 3])
    """

    def __init__(self, used: int = 0) -> None:
        self._free: list[int] = []  # a heap, so that tables stay small
        self._used = used  # rows that were ever taken

    def take(self, count: int) -> list[int]:
        """Take rows that are free, the lowest ones."""
        reused = [heappop(self._free) for _ in range(min(count, len(self._free)))]
        self._used += (added := count - len(reused))
        return reused + list(range(self._used - added, self._used))

    def release(self, places: NDArray[np.intp]) -> None:
        """Let later samples take rows again."""
        for place in places.tolist():
            heappush(self._free, place)


@final
class PendingTable:
    """Arrays with a row for each waiting sample; rows and columns are added as needed.

    Args:
        fills: What columns that are added later hold in earlier rows, by name of the array.

    >>> table = PendingTable(score=0.0)
    >>> table.write(np.array([0, 1]), np.array([7, 8]), score=np.array([[0.5], [0.25]]))
    >>> table.read(np.array([1]), "score").tolist(), table.numbers.tolist()
    ([[0.25]], [7, 8])
    """

    def __init__(self, **fills: Any) -> None:
        self._fills = fills
        self._arrays: dict[str, NDArray[Any]] = {}
        self._numbers = np.empty(0, np.int64)  # of the sample in each row, -1 for none

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Numbers of the waiting samples, in order."""
        return np.sort(self._numbers[self._numbers >= 0])

    def write(
        self, places: NDArray[np.intp], numbers: NDArray[np.int64], **values: NDArray[Any]
    ) -> None:
        """Write rows.

        Args:
            places: Where.
            numbers: Numbers of the samples.
            values: Rows of each array, shape=(len(places), ...).
        """
        rows = int(places.max(initial=-1)) + 1
        if rows > len(self._numbers):
            rows = max(rows, 2 * len(self._numbers), 64)
            added = np.full(rows - len(self._numbers), -1, np.int64)
            self._numbers = np.concatenate((self._numbers, added))
        for name, value in values.items():
            array = self._grow(name, value.dtype, value.shape[1:])
            array[places] = self._fills[name]
            array[leading(places, value)] = value
        self._numbers[places] = numbers

    def _grow(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
        """The array of a name, with room for all rows and for columns of a shape."""
        old, rows = self._arrays.get(name), len(self._numbers)
        if old is None:
            old = np.empty((0, *shape), dtype)
        wanted = (rows, *map(max, old.shape[1:], shape))
        if old.shape != wanted:
            array = np.full(wanted, self._fills[name], old.dtype)
            array[tuple(map(slice, old.shape))] = old
            old = array
        self._arrays[name] = old
        return old

    def read(self, places: NDArray[np.intp], name: str) -> NDArray[Any]:
        """Copies of rows of an array, shape=(len(places), ...)."""
        return self._arrays[name][places]

    def replace(self, name: str, places: NDArray[np.intp], values: NDArray[Any]) -> None:
        """Overwrite rows of an array."""
        self._arrays[name][places] = values

    def fill(self, name: str, column: int, value: Any) -> None:
        """Overwrite one column of an array in all rows."""
        if name in self._arrays:
            self._arrays[name][:, column] = value

    def merge_columns(self, name: str, column: int, into: int) -> None:
        """Add a column, the last index of an array, to another one in all rows; it becomes 0."""
        array = self._arrays.get(name)
        if array is None or column >= array.shape[-1]:
            return
        if into >= array.shape[-1]:
            array = self._grow(name, array.dtype, (*array.shape[1:-1], into + 1))
        array[..., into] += array[..., column]
        array[..., column] = 0

    def exchange(self, name: str, value: Any, by: Any) -> None:
        """Write another value wherever an array has a certain one."""
        if name in self._arrays:
            array = self._arrays[name]
            array[array == value] = by

    def remove(self, places: NDArray[np.intp]) -> None:
        """Remove rows."""
        self._numbers[places] = -1

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, in the order of the samples."""
        places = np.flatnonzero(self._numbers >= 0)
        places = places[np.argsort(self._numbers[places])]
        arrays = {name: array[places] for name, array in self._arrays.items()}
        return {
            "numbers": self._numbers[places],
            **{n: a.tolist() if a.dtype == object else a for n, a in arrays.items()},
        }

    def copy_state(self) -> dict[str, Any]:
        """Everything needed for another table whose samples are in the same rows."""
        return {name: array.copy() for name, array in self._arrays.items()} | {
            "numbers": self._numbers.copy()
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Resume from an exported state; its samples are now in the first rows, in their order.

        From a state of `copy_state`, they are in the rows where they were.
        """
        self._numbers = np.array(state["numbers"], np.int64)
        self._arrays = {}
        for name, kept in state.items():
            if name == "numbers":
                continue
            if isinstance(kept, list):
                array = np.empty(len(kept), object)
                array[:] = kept
            else:
                array = np.array(kept)
            if len(array) != len(self._numbers):
                raise StateError(f"{name} of pending samples has {len(array)} rows")
            self._arrays[name] = array

    def load(self, timeline: Timeline, **rows: NDArray[Any]) -> None:
        """Overwrite the rows of labels from earlier samples with what was kept of these.

        Args:
            timeline: What the m rows are.
            rows: Arrays by name, shape=(m, ...).
        """
        known = np.flatnonzero(timeline.late & (timeline.sample < timeline.first))
        for name, array in rows.items() if len(known) else ():
            before = self.read(timeline.place[known], name)
            array[known] = self._fills[name]
            array[leading(known, before)] = before

    def keep(self, timeline: Timeline, **rows: NDArray[Any]) -> None:
        """Keep the rows of samples whose labels have not arrived, and forget the others.

        Args:
            timeline: What the m rows are.
            rows: Arrays by name, shape=(m, ...).
        """
        self.remove(timeline.place[timeline.late & (timeline.sample < timeline.first)])
        kept = timeline.pending
        self.write(
            timeline.place[kept],
            timeline.sample[kept],
            **{name: array[kept] for name, array in rows.items()},
        )

    def recall(self, timeline: Timeline, **rows: NDArray[Any]) -> None:
        """Overwrite the rows of labels with those of their samples, and keep those that wait.

        Args:
            timeline: What the m rows are.
            rows: Arrays by name, shape=(m, ...).
        """
        self.load(timeline, **rows)
        label, sample = timeline.answered
        for array in rows.values():
            array[label] = array[sample]
        self.keep(timeline, **rows)
