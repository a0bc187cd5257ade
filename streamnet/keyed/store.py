"""RowStore: rows of keys that are not in memory, in a temporary file or in those of checkpoints."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import Any, NamedTuple, final
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from streamnet.durability.row_files import RowBatch, RowFile
from streamnet.errors import StateError

NOWHERE = -1
_PLACE_BITS = 32  # a location is the number of a table and a place in it
# A row that is elsewhere has a newer copy there; one that was written has a copy in a file that the
# next checkpoint names.
_FREE, _HERE, _ELSEWHERE, _WRITTEN = 0, 1, 2, 3


class RowScores(NamedTuple):
    """What keys are ranked by: samples and mean losses, shape=(n,)."""

    samples: NDArray[np.float64]
    losses: NDArray[np.float64]


@final
class TemporaryRows:
    """Rows of one size in a temporary file, in whose free places new ones are written."""

    def __init__(self, shape: str, row_bytes: int) -> None:
        self.shape = shape
        self.row_bytes = row_bytes
        self.keys: list[str] = []
        self.status = bytearray()
        self.samples = array("d")
        self.losses = array("d")
        self.saved = array("q")  # where the newest checkpoint has the row
        self.changed = array("q")  # the epoch of its last change
        self._free: list[int] = []
        try:
            self._file = TemporaryFile(prefix="streamnet-keys-", buffering=0)  # noqa: SIM115 - closed with this object
        except OSError as error:
            raise self._failure(error) from error
        self._close = finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self.keys) - len(self._free)

    def add(self, numbers: memoryview, key: str, *about: Any) -> int:
        """Write a row; ``about`` it are samples, loss, `saved` and `changed`."""
        place = self._free.pop() if self._free else len(self.keys)
        columns: tuple[Any, ...] = (
            self.keys,
            self.status,
            self.samples,
            self.losses,
            self.saved,
            self.changed,
        )
        for column, value in zip(columns, (key, _HERE, *about), strict=True):
            if place == len(column):
                column.append(value)
            else:
                column[place] = value
        offset, rest = place * self.row_bytes, numbers
        try:
            while rest:
                taken = os.pwrite(self._file.fileno(), rest, offset)
                offset, rest = offset + taken, rest[taken:]
        except OSError as error:
            raise self._failure(error) from error
        return place

    def read(self, place: int) -> bytes:
        """The numbers of a row."""
        try:
            numbers = os.pread(self._file.fileno(), self.row_bytes, place * self.row_bytes)
        except OSError as error:
            raise self._failure(error) from error
        if len(numbers) != self.row_bytes:
            raise StateError(f"the temporary file of keys ends in the row of {self.keys[place]!r}")
        return numbers

    def free(self, place: int) -> None:
        """Let another row have a place."""
        self.status[place] = _FREE
        self._free.append(place)

    def close(self) -> None:
        """Close the file, which deletes it."""
        self._close()

    def _failure(self, error: OSError) -> StateError:
        return StateError(f"models of keys can't be kept in a temporary file: {error}")


@final
class SavedRows:
    """Rows in a file of checkpoints."""

    def __init__(self, file: RowFile) -> None:
        self.name = file.name
        self.shape = file.shape
        self.row_bytes = file.row_bytes
        self.keys = file.keys
        self.removed = file.removed
        self.status = bytearray(len(file.keys))
        self.samples, self.losses = file.samples, file.losses
        self.read = file.read
        self.used = 0  # rows that are not free

    def __len__(self) -> int:
        return self.used

    def set(self, place: int, status: int) -> None:
        """Change the status of a place."""
        self.used += (status != _FREE) - (self.status[place] != _FREE)
        self.status[place] = status


@final
class RowStore:
    """Rows outside memory by location, and where the newest checkpoint has the others."""

    def __init__(self) -> None:
        self._tables: dict[int, TemporaryRows | SavedRows] = {}
        self._next = 0
        self._temporary: tuple[int, TemporaryRows] | None = None

    # ---------------------------------------------------------- single rows

    def put(
        self,
        keys: Sequence[str],
        shape: str,
        numbers: NDArray[np.uint8],
        scores: RowScores,
        saved: Sequence[int],
        changed: Sequence[int],
    ) -> list[int]:
        """Write rows to a temporary file; returns their locations.

        Args:
            keys: The key of each row.
            shape: Their shape.
            numbers: The rows, shape=(n, bytes).
            scores: What keys are ranked by.
            saved: Where the newest checkpoint has them; `NOWHERE` for none.
            changed: The epochs of their last changes.
        """
        if self._temporary is None or self._temporary[1].shape != shape:
            temporary = TemporaryRows(shape, numbers.shape[1])
            self._temporary = self._add(temporary), temporary
        number, temporary = self._temporary
        rows = (row.data for row in numbers)
        about = (*(each.tolist() for each in scores), saved, changed)
        return [
            _locate(number, temporary.add(*row)) for row in zip(rows, keys, *about, strict=True)
        ]

    def read(self, location: int) -> tuple[str, bytes]:
        """Shape and numbers of a row."""
        table, place = self._find(location)
        return table.shape, table.read(place)

    def take(self, location: int) -> tuple[int, int]:
        """Note that a row has moved to memory.

        Returns where the newest checkpoint has it, and the epoch of its last change.
        """
        table, place = self._find(location)
        if isinstance(table, SavedRows):
            table.set(place, _ELSEWHERE)
            return location, 0
        about = table.saved[place], table.changed[place]
        self._free_temporary(location)
        return about

    def mark_here(self, location: int) -> None:
        """Note that there is no newer copy of a row in a file."""
        table, place = self._find(location)
        assert isinstance(table, SavedRows)
        table.set(place, _HERE)

    def remove(self, location: int) -> None:
        """Remove a row, and with it the older one in the newest checkpoint."""
        if location == NOWHERE:
            return
        table, place = self._find(location)
        if isinstance(table, SavedRows):
            table.set(place, _FREE)
            return
        self.remove(table.saved[place])
        self._free_temporary(location)

    def _free_temporary(self, location: int) -> None:
        table, place = self._find(location)
        assert isinstance(table, TemporaryRows)
        table.free(place)
        number = location >> _PLACE_BITS
        if not len(table) and (self._temporary is None or self._temporary[0] != number):
            table.close()
            del self._tables[number]

    # ---------------------------------------------------------- checkpoints

    def adopt(self, file: RowFile) -> int:
        """Add a file of the newest checkpoint, with all places free; its first location."""
        return _locate(self._add(SavedRows(file)), 0)

    def mark_all(self, locations: NDArray[np.int64]) -> None:
        """Note that rows are at these locations of adopted files."""
        numbers = locations >> _PLACE_BITS
        order = np.argsort(numbers, kind="stable")
        numbers, places = numbers[order], locations[order] & ((1 << _PLACE_BITS) - 1)
        for number, table in self._tables.items():
            first, last = np.searchsorted(numbers, (number, number + 1))
            if isinstance(table, SavedRows):
                np.frombuffer(table.status, np.uint8)[places[first:last]] = _HERE
                table.used = int(last - first)

    def replace_saved(self, location: int, saved: int) -> None:
        """Note that the newest checkpoint has an older copy of a changed row elsewhere than before.

        That of the previous one is removed.
        """
        table, place = self._find(location)
        assert isinstance(table, TemporaryRows)
        self.remove(table.saved[place])
        table.saved[place] = saved
        self.mark_elsewhere(saved)

    def mark_elsewhere(self, location: int) -> None:
        """Note that a row has a newer copy, in memory or in a temporary file."""
        table, place = self._find(location)
        assert isinstance(table, SavedRows)
        table.set(place, _ELSEWHERE)

    def list_changed(self) -> list[int]:
        """Locations of the rows that no checkpoint has, and no file for the next one."""
        return [
            _locate(number, place)
            for number, table in self._tables.items()
            if isinstance(table, TemporaryRows)
            for place in np.flatnonzero(np.frombuffer(table.status, np.uint8) == _HERE).tolist()
        ]

    def unmark_written(self) -> None:
        """Note that the files with changed rows can't be used."""
        for table in self._tables.values():
            if isinstance(table, TemporaryRows):
                status = np.frombuffer(table.status, np.uint8)
                status[status == _WRITTEN] = _HERE

    def mark_written(self, locations: Sequence[int]) -> None:
        """Note that changed rows are in a file that the next checkpoint names."""
        for location in locations:
            table, place = self._find(location)
            table.status[place] = _WRITTEN

    def list_files(self) -> list[tuple[int, SavedRows]]:
        """The files of the newest checkpoint by number, oldest first."""
        return [(n, table) for n, table in self._tables.items() if isinstance(table, SavedRows)]

    def list_rows(self, number: int) -> list[int]:
        """Locations of the rows that a file still has."""
        status = np.frombuffer(self._tables[number].status, np.uint8)
        return [_locate(number, place) for place in np.flatnonzero(status).tolist()]

    def discard(self, number: int) -> None:
        """Forget a file whose rows have all been moved."""
        table = self._tables.pop(number)
        assert not len(table)

    def get_changed(self, location: int) -> int:
        """The epoch of a row's last change; 0 if the newest checkpoint has it."""
        table, place = self._find(location)
        return 0 if isinstance(table, SavedRows) else table.changed[place]

    def get_key(self, location: int) -> str:
        """The key of a row."""
        table, place = self._find(location)
        return table.keys[place]

    def get_shape(self, location: int) -> tuple[str, int]:
        """Name of the shape of a row, and its bytes."""
        table, _ = self._find(location)
        return table.shape, table.row_bytes

    def build_batch(self, shape: str, locations: Sequence[int], removed: list[str]) -> RowBatch:
        """Rows of one shape as the content of a file."""
        found = [self._find(location) for location in locations]
        numbers = np.frombuffer(b"".join(table.read(place) for table, place in found), np.uint8)
        return RowBatch(
            shape,
            [table.keys[place] for table, place in found],
            numbers.reshape(len(found), -1),
            np.array([table.samples[place] for table, place in found]),
            np.array([table.losses[place] for table, place in found]),
            removed,
        )

    # ---------------------------------------------------------------- ranks

    def rank(self, count: int, *, least: float, worst: bool) -> list[tuple[float, str]]:
        """The lowest or highest losses of rows that have no newer copy, with their keys.

        Those with fewer than ``least`` samples are left out; where losses are equal there are more.
        """
        found: list[tuple[float, str]] = []
        for table in self._tables.values():
            status = np.frombuffer(table.status, np.uint8)
            samples, losses = np.asarray(table.samples), np.asarray(table.losses)
            is_newest = (status == _HERE) | (status == _WRITTEN)
            places = np.flatnonzero(is_newest & (samples >= least))
            signed = -losses[places] if worst else losses[places]
            if len(places) > count:
                chosen = signed <= np.partition(signed, count - 1)[count - 1]
                places = places[chosen]
            found += [(float(losses[place]), table.keys[place]) for place in places.tolist()]
        return found

    def close(self) -> None:
        """Close the temporary files, which deletes them."""
        for table in self._tables.values():
            if isinstance(table, TemporaryRows):
                table.close()
        self._tables.clear()
        self._temporary = None

    def _add(self, table: TemporaryRows | SavedRows) -> int:
        number, self._next = self._next, self._next + 1
        self._tables[number] = table
        return number

    def _find(self, location: int) -> tuple[TemporaryRows | SavedRows, int]:
        return self._tables[location >> _PLACE_BITS], location & ((1 << _PLACE_BITS) - 1)


def _locate(number: int, place: int) -> int:
    return (number << _PLACE_BITS) | place
