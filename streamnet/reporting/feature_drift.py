"""Drift of each column: how far its recent values are from those that the model began with."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from threading import Lock
from typing import Any, final

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from streamnet.reporting.report import FeatureDriftLine
from streamnet.samples import Block

_REFERENCE = 1000  # samples of a column that are its reference
_SLOT, _SLOTS = 250, 4  # the last 750 to 1,000 samples are recent
_BINS = 10  # of values; one more counts missing ones
_MIN_RECENT = 250
_MAX_COLUMNS = 1000  # the first ones
_BATCH = 256  # samples that are counted at once


def compute_distance(reference: NDArray[np.float64], recent: NDArray[np.float64]) -> float | None:
    """Jensen-Shannon distance of two histograms, from 0 (equal) to 1; None if one is empty.

    The square root of the divergence to base 2, a metric: Endres and Schindelin, "A new metric for
    probability distributions", IEEE Transactions on Information Theory 49, 2003.

    >>> counts = np.array([3.0, 1.0])
    >>> compute_distance(counts, 2 * counts), compute_distance(counts, np.array([0.0, 0.0]))
    (0.0, None)
    >>> compute_distance(np.array([1.0, 0.0]), np.array([0.0, 5.0]))
    1.0
    """
    if not reference.any() or not recent.any():
        return None
    p, q = reference / reference.sum(), recent / recent.sum()
    mean = (p + q) / 2.0
    divergence = 0.0
    for one in (p, q):
        there = one > 0.0
        divergence += 0.5 * float((one[there] * np.log2(one[there] / mean[there])).sum())
    return sqrt(min(max(divergence, 0.0), 1.0))


@final
class FeatureDrift:
    """Compares the last samples of each column with its first 1,000, in bounded memory and time.

    Numbers are counted by the deciles of the first samples; words by the nine most frequent of
    these, and all others. What is counted depends on the samples alone, not on how they were cut
    into blocks.

    >>> FeatureDrift().lines()
    []
    """

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self._rows = 0
        self._waiting: list[Block] = []
        self._lock = Lock()

    def add(self, block: Block) -> None:
        """Add the samples of a block."""
        if not len(block):
            return
        with self._lock:
            self._waiting.append(block)
            if sum(map(len, self._waiting)) >= _BATCH:
                self._count()

    def lines(self) -> list[FeatureDriftLine]:
        """What is known of each column, in the order of the schema."""
        with self._lock:
            self._count()
            return [column.describe(name) for name, column in self._columns.items()]

    def export_state(self) -> dict[str, Any]:
        """Export everything needed to resume exactly."""
        with self._lock:
            self._count()
            columns = [[name, column.export_state()] for name, column in self._columns.items()]
            return {"rows": self._rows, "columns": columns}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        self._rows = state["rows"]
        self._columns = {name: _Column(**values) for name, values in state["columns"]}

    def _count(self) -> None:
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            start = 0
            while start < len(block):
                place = self._rows % _SLOT
                stop = min(len(block), start + _SLOT - place)
                slot = self._rows // _SLOT % _SLOTS
                if not place:
                    for column in self._columns.values():
                        column.recent[slot] = 0.0
                self._count_rows(block, slice(start, stop), slot)
                self._rows += stop - start
                start = stop

    def _count_rows(self, block: Block, rows: slice, slot: int) -> None:
        for name, numbers in zip(block.schema.numbers, block.numbers[rows].T, strict=True):
            self._find(name).add(numbers.tolist(), slot)
        for name, words in zip(block.schema.words, block.words, strict=True):
            self._find(name).add(words[rows].tolist(), slot)

    def _find(self, name: str) -> _Column:
        column = self._columns.get(name)
        if column is None:
            column = _Column()
            if len(self._columns) < _MAX_COLUMNS:
                self._columns[name] = column
        return column


class _Column:
    """Counts of one column; ``first`` collects its first values until they are its reference."""

    def __init__(
        self,
        first: Any = None,
        edges: NDArray[np.float64] | None = None,
        words: Any = None,
        reference: NDArray[np.float64] | None = None,
        recent: NDArray[np.float64] | None = None,
    ) -> None:
        self.first: list[Any] = [] if first is None else json.decode(first.tobytes())
        self.edges = edges  # of numbers
        self.words: dict[str, int] | None = None if words is None else dict(words)
        self.reference = reference
        self.recent = np.zeros((_SLOTS, _BINS + 1)) if recent is None else np.array(recent)

    def add(self, values: list[Any], slot: int) -> None:
        """Count values: numbers, NaN if missing, or words, None if missing."""
        if self.reference is None:
            taken = _REFERENCE - len(self.first)
            self.first += [None if value != value else value for value in values[:taken]]
            values = values[taken:]
            if len(self.first) == _REFERENCE:
                self._begin()
        if values:
            self.recent[slot] += self._histogram(values)

    def _begin(self) -> None:
        """Take the first values as the reference."""
        known = [value for value in self.first if value is not None]
        if known and isinstance(known[0], str):
            frequent = Counter(known).most_common(_BINS - 1)
            self.words = {word: number for number, (word, _) in enumerate(frequent)}
        else:
            deciles = np.linspace(0.0, 1.0, _BINS + 1)[1:-1]
            self.edges = np.unique(np.quantile(known, deciles)) if known else np.empty(0)
        self.reference = self._histogram(self.first)
        self.first = []

    def _histogram(self, values: list[Any]) -> NDArray[np.float64]:
        if self.words is not None:
            get = self.words.get
            places = [_BINS if value is None else get(value, _BINS - 1) for value in values]
            return np.bincount(places, minlength=_BINS + 1).astype(np.float64)
        numbers = np.array(values, np.float64)  # None becomes NaN
        assert self.edges is not None
        found = np.where(np.isnan(numbers), _BINS, np.searchsorted(self.edges, numbers, "right"))
        return np.bincount(found, minlength=_BINS + 1).astype(np.float64)

    def describe(self, name: str) -> FeatureDriftLine:
        recent = self.recent.sum(axis=0)
        if self.reference is None:
            return FeatureDriftLine(name, 0, None, None, None)
        count = int(recent.sum())
        before = float(self.reference[_BINS] / self.reference.sum())
        if count < _MIN_RECENT:
            return FeatureDriftLine(name, count, None, None, before)
        distance = compute_distance(self.reference[:_BINS], recent[:_BINS])
        return FeatureDriftLine(name, count, distance, float(recent[_BINS] / count), before)

    def export_state(self) -> dict[str, Any]:
        return {
            "first": np.frombuffer(json.encode(self.first), np.uint8),
            "edges": self.edges,
            "words": None if self.words is None else [list(pair) for pair in self.words.items()],
            "reference": self.reference,
            "recent": self.recent.copy(),
        }
