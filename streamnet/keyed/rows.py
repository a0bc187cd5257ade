"""KeyedRows: a row of numbers for each key; those used least recently are on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from threading import RLock
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.durability.row_files import RowBatch, RowFolder
from streamnet.errors import StateError
from streamnet.keyed.store import NOWHERE, RowScores, RowStore, SavedRows

NO_SLOT = -1
_STORED = -2  # less the location: a row that is not in memory
_UNUSED = -1
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
Rank = Callable[[Rows, NDArray[np.int64]], RowScores]
"""Samples and mean loss of the keys in some slots."""
_FILE_BYTES, _FILE_ROWS = 1 << 25, 1 << 13  # at most in one file of checkpoints
_SMALL_FILES = 32  # at most, with a quarter of that; then some are merged
_MERGED_FILES = 16
_LEAST_MERGED = 1024  # rows that a checkpoint may copy from older files, however few have changed


class _Cut(NamedTuple):
    """What a checkpoint that may not be durable yet has of the rows."""

    epoch: int  # of the changes in it
    names: tuple[str, ...]  # of all files
    written: tuple[str, ...]  # the new ones
    merged: tuple[int, ...]  # numbers of the files of which nothing is needed any more


@final
class KeyedRows:
    """Rows of one or more arrays by key, of which ``resident`` are in memory at a time.

    A row comes into being when its key is first asked for. The least recently used ones go to a
    store and come back with the same bits, so results do not depend on ``resident``.

    With a folder (`keep_in`), `export_state` writes a file of the rows that changed since the last
    checkpoint, and names the files that hold all rows: for a key, the last one counts. Rows that
    leave memory are written to such files in between, so that a checkpoint need not wait for more
    than what is in memory. When less than half of what they hold is needed, rows of old files are
    copied to the new one.

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
        self._store = RowStore()
        self._folder: RowFolder | None = None
        self.lock: RLock = RLock()
        """Held while rows move or change; whoever uses slots holds it from `take` on."""
        self._clear(shape)

    def _allocate(self, shape: RowShape) -> None:
        self.shape: RowShape = shape
        # Memory that was never written to takes no room, so there is nothing to be grown.
        self.arrays: Rows = tuple(
            np.zeros((self._limit, len(row)), row.dtype) for row in shape.initial
        )

    def _clear(self, shape: RowShape) -> None:
        self._allocate(shape)
        self._store.close()
        self._store = RowStore()
        self._places: dict[str, int] = {}  # the slot of a key, or `_STORED` less its location
        self._keys: list[str] = []  # by slot
        self._free: list[int] = []  # slots of forgotten keys
        self._used = np.full(self._limit, _UNUSED)  # by slot: when it was used last
        self._clock = 0
        # By slot: the epoch of the last change, and where the newest checkpoint has the row.
        self._changed = np.zeros(self._limit, np.int64)
        self._saved = np.full(self._limit, NOWHERE)
        self._epoch, self._durable = 1, 0  # changes up to the second one are in a checkpoint
        self._forgotten: dict[str, int] = {}  # epochs
        self._names: tuple[str, ...] = ()  # of the files of the newest checkpoint
        self._ahead: list[str] = []  # names of the files that were written for the next one
        self._unwritten = 0  # at most so many rows that left memory are in no file
        self._cut: _Cut | None = None

    def keep_in(self, folder: RowFolder) -> None:
        """Write changed rows to this folder from the next exported state on."""
        self._folder = folder

    def __len__(self) -> int:
        return len(self._places)

    @property
    def resident(self) -> int:
        """Number of keys in memory."""
        return len(self._keys) - len(self._free)

    def list_keys(self) -> Iterator[str]:
        """All keys, in no particular order."""
        return iter(tuple(self._places))

    def _find_occupied(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._used[: len(self._keys)] != _UNUSED)

    def take(self, keys: Sequence[str | None], *, create: bool = True) -> NDArray[np.int64]:
        """The slots of keys, at most as many as may be resident; `NO_SLOT` for None.

        With ``create``, new keys have a slot as well, and all rows count as changed. Slots are
        valid until the next call.
        """
        places = self._places
        found = np.fromiter((places.get(key, NO_SLOT) for key in keys), np.int64, len(keys))  # type: ignore[arg-type]
        self._clock += 1
        self._used[found[found >= 0]] = self._clock
        missing = np.flatnonzero(found < 0).tolist()
        if missing:
            wanted = dict.fromkeys(key for i in missing if (key := keys[i]) is not None)
            self._load(list(wanted), create=create)
            for i in missing:
                found[i] = max(places.get(keys[i], NO_SLOT), NO_SLOT)  # type: ignore[arg-type]
        if create:
            self._changed[found[found >= 0]] = self._epoch
        return found

    def get(self, key: str) -> Rows | None:
        """A copy of the row of a key; None if it is not known."""
        with self.lock:
            if key not in self._places:
                return None
            return tuple(np.array(part) for part in self._peek(key))

    def forget(self, key: str) -> bool:
        """Delete a key; return whether it was known."""
        with self.lock:
            place = self._places.pop(key, None)
            if place is None:
                return False
            if place >= 0:
                self._store.remove(int(self._saved[place]))
                self._release([place])
            else:
                self._store.remove(_STORED - place)
            if self._folder is not None:
                self._forgotten[key] = self._epoch
            return True

    def reshape(self, shape: RowShape) -> None:
        """Convert all rows to another shape; those in the store once they come back."""
        before, name = self.arrays, self.shape.name
        self._allocate(shape)
        for slot in self._find_occupied().tolist():
            self._write(slot, self._converted(name, [array[slot] for array in before]))

    # ------------------------------------------------- to and from the store

    def _load(self, keys: list[str], *, create: bool) -> None:
        """Give slots to keys that are not in memory: from the store, or new ones."""
        places = self._places
        if not create:
            keys = [key for key in keys if key in places]
        self._make_room(len(keys))
        stored = {key: _STORED - places[key] for key in keys if key in places}
        rows = {key: self._read(location) for key, location in stored.items()}
        slots = [self._assign_slot(key) for key in keys]
        self._used[slots] = self._clock
        new = [slot for key, slot in zip(keys, slots, strict=True) if key not in stored]
        for array, numbers in zip(self.arrays, self.shape.initial, strict=True):
            array[new] = numbers
        self._saved[new] = NOWHERE
        for key, row in rows.items():
            slot = places[key]
            self._write(slot, row)
            self._saved[slot], self._changed[slot] = self._store.take(stored[key])

    def _read(self, location: int) -> Sequence[NDArray[Any]]:
        shape, numbers = self._store.read(location)
        return self._converted(shape, self._unpack(shape, numbers))

    def _assign_slot(self, key: str) -> int:
        """A free slot, which is the key's from now on."""
        if self._free:
            slot = self._free.pop()
            self._keys[slot] = key
        else:
            slot = len(self._keys)
            self._keys.append(key)
        self._places[key] = slot
        return slot

    def _release(self, slots: list[int]) -> None:
        self._used[slots] = _UNUSED
        self._saved[slots] = NOWHERE
        self._free += slots[::-1]

    def _make_room(self, count: int) -> None:
        """Evict rows, if fewer than ``count`` slots are free."""
        needed = self.resident + count - self._limit
        if needed <= 0:
            return
        number = min(max(needed, self._limit // _EVICTED_AT_ONCE), self.resident)
        occupied = self._find_occupied()
        spare = occupied[self._used[occupied] < self._clock]
        number = max(needed, min(number, len(spare)))
        if number < len(spare):
            spare = spare[np.argpartition(self._used[spare], number)[:number]]
        self._evict(np.sort(spare))

    def _evict(self, slots: NDArray[np.int64]) -> None:
        self._settle()
        unchanged = (self._saved[slots] != NOWHERE) & (self._changed[slots] <= self._durable)
        for slot, saved in zip(
            slots[unchanged].tolist(), self._saved[slots[unchanged]].tolist(), strict=True
        ):
            self._store.mark_here(saved)
            self._places[self._keys[slot]] = _STORED - saved
        changed = slots[~unchanged]
        keys = [self._keys[slot] for slot in changed.tolist()]
        locations = self._store.put(
            keys,
            self.shape.name,
            self._pack(changed),
            self._measure(changed),
            self._saved[changed].tolist(),
            self._changed[changed].tolist(),
        )
        for key, location in zip(keys, locations, strict=True):
            self._places[key] = _STORED - location
        self._release(slots.tolist())
        self._unwritten += len(keys)
        if self._folder is not None and self._unwritten >= _FILE_ROWS:
            self._write_ahead(self._folder)

    def _measure(self, slots: NDArray[np.int64]) -> RowScores:
        if self._rank is None:
            return RowScores(np.zeros(len(slots)), np.zeros(len(slots)))
        return self._rank(self.arrays, slots)

    def rank(self, count: int, *, least: float, worst: bool) -> list[str]:
        """The keys of the lowest or highest mean loss that have at least ``least`` samples."""
        with self.lock:
            occupied = self._find_occupied()
            samples, losses = self._measure(occupied)
            enough = samples >= least
            pairs = zip(losses[enough].tolist(), occupied[enough].tolist(), strict=True)
            ranked = [(loss, self._keys[slot]) for loss, slot in pairs]
            ranked += self._store.rank(count, least=least, worst=worst)
        ranked.sort(key=lambda pair: (-pair[0] if worst else pair[0], pair[1]))
        return [key for _, key in ranked[:count]]

    def _write(self, slot: int, row: Sequence[NDArray[Any]]) -> None:
        for array, numbers in zip(self.arrays, row, strict=True):
            array[slot] = numbers

    def _pack(self, slots: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The numbers of rows, shape=(n, bytes)."""
        parts = [array[slots].view(np.uint8) for array in self.arrays]
        return np.concatenate(parts, axis=1)

    def _unpack(self, shape: str, numbers: bytes) -> list[NDArray[Any]]:
        """The arrays of a stored row, which may be of an earlier shape."""
        widths = map(int, shape.partition(";")[0].split(","))
        parts, start = [], 0
        for width, like in zip(widths, self.arrays, strict=True):
            size = width * like.dtype.itemsize
            parts.append(np.frombuffer(numbers, like.dtype, width, start))
            start += size
        return parts

    def _converted(self, name: str, row: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        if name == self.shape.name:
            return row
        if self._convert is None:
            raise StateError(f"a row of shape {name} does not fit {self.shape.name}")
        return self._convert(name.partition(";")[2], row)

    # ---------------------------------------------------------------- states

    def export_state(self, only: str | None = None) -> dict[str, Any]:
        """Everything needed to resume: all rows in the order of their keys, or the files with them.

        With ``only``, the row of one key.
        """
        with self.lock:
            if self._folder is not None and only is None:
                return {"files": list(self._write_changes(self._folder))}
            return self._copy_rows(only)

    def _copy_rows(self, only: str | None) -> dict[str, Any]:
        keys = sorted(self.list_keys()) if only is None else [only]
        arrays = tuple(np.empty((len(keys), len(r)), r.dtype) for r in self.shape.initial)
        for place, key in enumerate(keys):
            for array, numbers in zip(arrays, self._peek(key), strict=True):
                array[place] = numbers
        named = {str(number): array for number, array in enumerate(arrays)}
        return {"shape": self.shape.name, "keys": keys, "arrays": named}

    def _peek(self, key: str) -> Sequence[NDArray[Any]]:
        """The row of a known key, which stays where it is."""
        place = self._places[key]
        if place >= 0:
            return [array[place] for array in self.arrays]
        return self._read(_STORED - place)

    def hash(self) -> str:
        """SHA-256 of all rows in the order of their keys, whatever files they are in."""
        digest = hashlib.sha256()
        for key in sorted(self._places):
            digest.update(key.encode(errors="surrogatepass") + b"\0")
            for part in self._peek(key):
                digest.update(part.tobytes())
        return digest.hexdigest()

    def restore_state(self, shape: RowShape, state: dict[str, Any]) -> None:
        """Continue from an exported state, which has this shape."""
        self._clear(shape)
        if "files" in state:
            self._restore_files(state["files"])
            return
        keys = state["keys"]
        arrays = [state["arrays"][str(number)] for number in range(len(self.arrays))]
        if state["shape"] != shape.name or any(len(array) != len(keys) for array in arrays):
            raise StateError("the rows of keys do not fit their arrays")
        for start in range(0, len(keys), self._limit):
            part = slice(start, start + self._limit)
            slots = self.take(keys[part])
            for array, given in zip(self.arrays, arrays, strict=True):
                array[slots] = given[part]

    def _restore_files(self, names: Sequence[str]) -> None:
        if self._folder is None:
            raise StateError("the rows of keys are in files of a state directory")
        for name in names:
            file = self._folder.open(name)
            first = _STORED - self._store.adopt(file)
            stored = range(first, first - len(file.keys), -1)
            self._places.update(zip(file.keys, stored, strict=True))
            for key in file.removed:
                self._places.pop(key, None)
        values = np.fromiter(self._places.values(), np.int64, len(self._places))
        self._store.mark_all(_STORED - values)
        self._names = tuple(names)

    # ----------------------------------------------------------- checkpoints

    def _write_changes(self, folder: RowFolder) -> tuple[str, ...]:
        """Write files with what changed since the last checkpoint; returns the names of all."""
        self._settle()
        if folder.abandon(self._ahead):
            self._ahead = []
            self._store.unmark_written()
        occupied = self._find_occupied()
        is_new = self._saved[occupied] == NOWHERE
        changed = occupied[is_new | (self._changed[occupied] > self._durable)]
        stored = self._store.list_changed()
        merged = self._choose_merged(len(changed) + len(stored))
        for number in merged:
            stored += filter(self._is_newest, self._store.list_rows(number))
        removed = [key for key in self._forgotten if key not in self._places]
        removed += self._list_removed(merged)
        batches = self._build_batches(changed, stored, removed)
        written = (*self._ahead, *map(folder.write, batches))
        gone = {table.name for number, table in self._store.list_files() if number in merged}
        names = (*(name for name in self._names if name not in gone), *written)
        self._cut = _Cut(self._epoch, names, written, tuple(merged))
        self._epoch += 1
        self._unwritten = 0
        return names

    def _write_ahead(self, folder: RowFolder) -> None:
        """Write what left memory since the last time to files that the next checkpoint names."""
        stored = self._store.list_changed()
        for batch in self._build_batches(np.empty(0, np.int64), stored, []):
            self._ahead.append(folder.write(batch, ahead=True))
        self._store.mark_written(stored)
        self._unwritten = 0

    def _choose_merged(self, changed: int) -> list[int]:
        """Numbers of the files whose rows are to be copied to a new one, as few are needed."""
        files = self._store.list_files()
        rows, used = (sum(map(size, (t for _, t in files))) for size in (_count_rows, len))
        chosen, budget = set[int](), max(changed, _LEAST_MERGED)
        for number, table in sorted(
            files, key=lambda pair: len(pair[1]) / max(_count_rows(pair[1]), 1)
        ):
            if rows <= 2 * used or (chosen and len(table) > budget):
                break
            chosen.add(number)
            rows -= _count_rows(table) - len(table)
            budget -= len(table)
        small = [
            (len(table), number)
            for number, table in files
            if number not in chosen and 4 * len(table) < _limit_rows(table.row_bytes)
        ]
        if len(small) > _SMALL_FILES:
            chosen.update(number for _, number in sorted(small)[:_MERGED_FILES])
        return sorted(chosen)

    def _is_newest(self, location: int) -> bool:
        """Whether a row in a file has not changed since."""
        place = self._places[self._store.get_key(location)]
        if place >= 0:
            return bool(self._changed[place] <= self._durable)
        return _STORED - place == location

    def _list_removed(self, merged: list[int]) -> list[str]:
        """Keys that files to be merged remove from older ones, which stay."""
        removed, is_first = [], True
        for number, table in self._store.list_files():
            if number not in merged:
                is_first = False
            elif not is_first:
                removed += [key for key in table.removed if key not in self._places]
        return removed

    def _build_batches(
        self, slots: NDArray[np.int64], stored: list[int], removed: list[str]
    ) -> Iterator[RowBatch]:
        """The content of new files: rows in memory and at locations, and removed keys."""
        most = _limit_rows(sum(row.nbytes for row in self.shape.initial))
        for start in range(0, len(slots), most):
            part = slots[start : start + most]
            keys = [self._keys[slot] for slot in part.tolist()]
            numbers, scores = self._pack(part), self._measure(part)
            yield RowBatch(self.shape.name, keys, numbers, *scores, removed)
            removed = []
        for (shape, row_bytes), located in groupby(stored, self._store.get_shape):
            locations, most = list(located), _limit_rows(row_bytes)
            for start in range(0, len(locations), most):
                yield self._store.build_batch(shape, locations[start : start + most], removed)
                removed = []
        if removed:
            none = np.empty(0)
            yield RowBatch(self.shape.name, [], np.empty((0, 1), np.uint8), none, none, removed)

    def _settle(self) -> None:
        """Once the last exported state is durable, count its rows as saved."""
        cut, folder, store = self._cut, self._folder, self._store
        if cut is None or folder is None or not cut.written:
            return
        if not all(map(folder.is_committed, cut.written)):
            return
        for name in cut.written:
            file = folder.open(name)
            for location, key in enumerate(file.keys, store.adopt(file)):
                place = self._places.get(key)
                if place is None:  # it was forgotten since
                    continue
                if place >= 0:
                    store.remove(int(self._saved[place]))
                    store.mark_elsewhere(location)
                    self._saved[place] = location
                elif store.get_changed(_STORED - place) <= cut.epoch:
                    store.remove(_STORED - place)
                    store.mark_here(location)
                    self._places[key] = _STORED - location
                else:
                    store.replace_saved(_STORED - place, location)
        for number in cut.merged:
            store.discard(number)
        self._forgotten = {k: epoch for k, epoch in self._forgotten.items() if epoch > cut.epoch}
        self._ahead = [name for name in self._ahead if name not in cut.written]
        self._names, self._durable, self._cut = cut.names, cut.epoch, None


def _count_rows(table: SavedRows) -> int:
    return len(table.keys)


def _limit_rows(row_bytes: int) -> int:
    """How many rows of a size a file has at most."""
    return min(max(_FILE_BYTES // row_bytes, 1), _FILE_ROWS)


def list_stored_keys(state: dict[str, Any], folder: RowFolder) -> set[str]:
    """The keys of an exported state, whose files are in a folder."""
    keys = set(state.get("keys", ()))
    for name in state.get("files", ()):
        file = folder.open(name)
        keys.update(file.keys)
        keys.difference_update(file.removed)
    return keys
