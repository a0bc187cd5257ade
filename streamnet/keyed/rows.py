"""KeyedRows: a row of numbers for each key; those used least recently are in a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.keyed.store import RowStore, StoredRow

NO_SLOT = -1
_EVICTED_AT_ONCE = 64  # a 64th of all slots, so that room is seldom made

Rows = tuple[NDArray[Any], ...]
"""Arrays of shape=(slots, width), in which each key has a row."""


class RowShape(NamedTuple):
    """What a row of each array holds in the beginning, and what distinguishes it from others."""

    label: str
    initial: tuple[NDArray[Any], ...]  # a row of each array

    @property
    def name(self) -> str:
        """The widths of the arrays and the label, which are kept with a row that is stored."""
        return f"{','.join(str(len(row)) for row in self.initial)};{self.label}"


Convert = Callable[[str, Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]
"""A row of an earlier shape, given by its label, as one of the present shape."""
Rank = Callable[[Rows, NDArray[np.int64]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Samples and mean loss of the keys in some slots."""


@final
class KeyedRows:
    """Rows of one or more arrays by key, of which ``resident`` are in memory at a time.

    A row comes into being when its key is first asked for. The least recently used ones go to a
    store and come back with the same bits, so results do not depend on ``resident``.

    >>> rows = KeyedRows(RowShape("", (np.array([5.0, 0.0]),)), resident=2)
    >>> for key in "abca":
    ...     (slot,) = rows.take([key])
    ...     rows.arrays[0][slot, 1] += 1.0
    >>> rows.get("a"), sorted(rows.list_keys()), rows.resident
    ((array([5., 2.]),), ['a', 'b', 'c'], 2)
    """

    def __init__(
        self,
        shape: RowShape,
        *,
        resident: int,
        convert: Convert | None = None,
        rank: Rank | None = None,
    ) -> None:
        self._limit = resident
        self._convert = convert
        self._rank = rank
        self._store: RowStore | None = None  # made once it is needed
        self._stored = 0  # keys that are in the store only
        self._clear(shape)

    def _allocate(self, shape: RowShape) -> None:
        self.shape: RowShape = shape
        # Memory that was never written to takes no room, so there is nothing to be grown.
        self.arrays: Rows = tuple(
            np.zeros((self._limit, len(row)), row.dtype) for row in shape.initial
        )

    def _clear(self, shape: RowShape) -> None:
        self._allocate(shape)
        self._slots: dict[str, int] = {}
        self._keys: list[str] = []  # by slot
        self._free: list[int] = []  # slots of forgotten keys
        self._used = np.zeros(self._limit, np.int64)  # by slot: when it was used last
        self._clock = 0

    def __len__(self) -> int:
        return len(self._slots) + self._stored

    @property
    def resident(self) -> int:
        """Number of keys in memory."""
        return len(self._slots)

    def list_keys(self) -> Iterator[str]:
        """All keys, in no particular order."""
        yield from self._slots
        if self._store is not None:
            yield from (key for key in self._store.list_keys() if key not in self._slots)

    def take(self, keys: Sequence[str | None], *, create: bool = True) -> NDArray[np.int64]:
        """The slots of keys, at most as many as may be resident; `NO_SLOT` for None.

        Unless ``create``, new keys have no slot either. Slots are valid until the next call.
        """
        slots = self._slots
        found = np.fromiter((slots.get(key, NO_SLOT) for key in keys), np.int64, len(keys))  # type: ignore[arg-type]
        self._clock += 1
        self._used[found[found >= 0]] = self._clock
        missing = np.flatnonzero(found < 0).tolist()
        if missing:
            wanted = dict.fromkeys(key for i in missing if (key := keys[i]) is not None)
            self._load(list(wanted), create=create)
            for i in missing:
                found[i] = slots.get(keys[i], NO_SLOT)  # type: ignore[arg-type]
        return found

    def get(self, key: str) -> Rows | None:
        """A copy of the row of a key; None if it is not known."""
        (slot,) = self.take([key], create=False)
        return None if slot < 0 else tuple(array[slot].copy() for array in self.arrays)

    def forget(self, key: str) -> bool:
        """Delete a key; return whether it was known."""
        slot = self._slots.pop(key, NO_SLOT)
        removed = self._store.remove([key]) if self._store is not None else 0
        if slot >= 0:
            self._free.append(slot)
        else:
            self._stored -= removed
        return slot >= 0 or removed > 0

    def reshape(self, shape: RowShape) -> None:
        """Convert all rows to another shape; those in the store once they come back."""
        before, name = self.arrays, self.shape.name
        self._allocate(shape)
        for slot in self._slots.values():
            self._write(slot, self._converted(name, [array[slot] for array in before]))

    def _load(self, keys: list[str], *, create: bool) -> None:
        """Give slots to keys that are not in memory: from the store, or new ones."""
        stored = {} if self._store is None else {row.key: row for row in self._store.get(keys)}
        if not create:
            keys = list(stored)
        self._make_room(len(keys))
        slots = [self._assign_slot(key) for key in keys]
        self._used[slots] = self._clock
        new = slots
        if stored:
            new = [slot for key, slot in zip(keys, slots, strict=True) if key not in stored]
        for array, numbers in zip(self.arrays, self.shape.initial, strict=True):
            array[new] = numbers
        for key, row in stored.items():
            self._write(self._slots[key], self._converted(row.shape, self._unpack(row)))
        self._stored -= len(stored)

    def _assign_slot(self, key: str) -> int:
        """A free slot, which is the key's from now on."""
        if self._free:
            slot = self._free.pop()
            self._keys[slot] = key
        else:
            slot = len(self._keys)
            self._keys.append(key)
        self._slots[key] = slot
        return slot

    def _make_room(self, count: int) -> None:
        """Evict rows, if fewer than ``count`` slots are free."""
        if len(self._slots) + count <= self._limit:
            return
        needed = len(self._slots) + count - self._limit
        number = min(max(needed, self._limit // _EVICTED_AT_ONCE), len(self._slots))
        occupied = np.fromiter(self._slots.values(), np.int64, len(self._slots))
        spare = occupied[self._used[occupied] < self._clock]
        number = max(needed, min(number, len(spare)))
        if number < len(spare):
            spare = spare[np.argpartition(self._used[spare], number)[:number]]
        self._evict(np.sort(spare))

    def _evict(self, slots: NDArray[np.int64]) -> None:
        if self._store is None:
            self._store = RowStore()
        samples, losses = self._measure(slots)
        listed = zip(slots.tolist(), samples.tolist(), losses.tolist(), strict=True)
        self._store.put(
            StoredRow(self._keys[slot], self.shape.name, self._pack(slot), *score)
            for slot, *score in listed
        )
        for slot in slots.tolist():
            del self._slots[self._keys[slot]]
        self._free += slots.tolist()[::-1]
        self._stored += len(slots)

    def _measure(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self._rank is None:
            return np.zeros(len(slots)), np.zeros(len(slots))
        return self._rank(self.arrays, slots)

    def rank(self, count: int, *, least: float, worst: bool) -> list[str]:
        """The keys of the lowest or highest mean loss that have at least ``least`` samples."""
        occupied = np.fromiter(self._slots.values(), np.int64, len(self._slots))
        samples, losses = self._measure(occupied)
        enough = samples >= least
        pairs = zip(losses[enough].tolist(), occupied[enough].tolist(), strict=True)
        ranked = [(loss, self._keys[slot]) for loss, slot in pairs]
        if self._store is not None:
            stored = self._store.rank(least=least, worst=worst)
            ranked += islice((pair for pair in stored if pair[1] not in self._slots), count)
        ranked.sort(key=lambda pair: (-pair[0] if worst else pair[0], pair[1]))
        return [key for _, key in ranked[:count]]

    def _write(self, slot: int, row: Sequence[NDArray[Any]]) -> None:
        for array, numbers in zip(self.arrays, row, strict=True):
            array[slot] = numbers

    def _pack(self, slot: int) -> bytes:
        return b"".join(array[slot].tobytes() for array in self.arrays)

    def _unpack(self, row: StoredRow) -> list[NDArray[Any]]:
        """The arrays of a stored row, which may be of an earlier shape."""
        widths = map(int, row.shape.partition(";")[0].split(","))
        parts, start = [], 0
        for width, like in zip(widths, self.arrays, strict=True):
            size = width * like.dtype.itemsize
            parts.append(np.frombuffer(row.numbers, like.dtype, width, start))
            start += size
        return parts

    def _converted(self, name: str, row: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        if name == self.shape.name:
            return row
        if self._convert is None:
            raise StateError(f"a row of shape {name} does not fit {self.shape.name}")
        return self._convert(name.partition(";")[2], row)

    def export_state(self, only: str | None = None) -> dict[str, Any]:
        """All rows in the order of their keys, wherever they are, or ``only`` that of one key."""
        keys = sorted(self.list_keys()) if only is None else [only]
        arrays = tuple(np.empty((len(keys), len(r)), r.dtype) for r in self.shape.initial)
        for place, key in enumerate(keys):
            for array, numbers in zip(arrays, self._peek(key), strict=True):
                array[place] = numbers
        named = {str(number): array for number, array in enumerate(arrays)}
        return {"shape": self.shape.name, "keys": keys, "arrays": named}

    def _peek(self, key: str) -> Sequence[NDArray[Any]]:
        """The row of a known key, which stays where it is."""
        slot = self._slots.get(key, NO_SLOT)
        if slot >= 0:
            return [array[slot] for array in self.arrays]
        assert self._store is not None
        (row,) = self._store.get([key])
        return self._converted(row.shape, self._unpack(row))

    def restore_state(self, shape: RowShape, state: dict[str, Any]) -> None:
        """Continue from an exported state, which has this shape."""
        if self._store is not None:
            self._store.close()
        self._store, self._stored = None, 0
        self._clear(shape)
        keys = state["keys"]
        arrays = [state["arrays"][str(number)] for number in range(len(self.arrays))]
        if state["shape"] != shape.name or any(len(array) != len(keys) for array in arrays):
            raise StateError("the rows of keys do not fit their arrays")
        for start in range(0, len(keys), self._limit):
            part = slice(start, start + self._limit)
            slots = self.take(keys[part])
            for array, given in zip(self.arrays, arrays, strict=True):
                array[slots] = given[part]
