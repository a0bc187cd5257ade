"""BoostedTrees: targets by gradient boosted trees, grown anew each time a stream has grown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.experts import Answers, Expert, Rest, ScoringBatch, where_present
from streamnet.features.base import FIELD_BITS, SPARSE_BASE
from streamnet.features.columns.label import MovedClass
from streamnet.samples import Inputs
from streamnet.trees.binning import bin_columns, rank_categories
from streamnet.trees.forest import Forest, Size, new_forest
from streamnet.trees.growth import grow_forest
from streamnet.trees.prediction import predict_labels, predict_numbers, write_values

OF_LABELS = Size(trees=40, leaves=15, learning_rate=0.2)
OF_NUMBERS = Size(trees=60, leaves=21, learning_rate=0.15)
FIRST_GROWTH = 100  # samples with a target
GROWTH = 6  # trees are grown again after a sixth as many further samples at first,
HALF = 4_000  # and after half as many when there were so many, later at each doubling
MAX_NUMBERS = 256  # columns of numbers
MAX_CATEGORIES = 64  # columns of categories
FIRST_NUMBERED = SPARSE_BASE >> FIELD_BITS  # of the fields that are no columns
MAX_LAGS = 32  # earlier targets
MAX_REST = 127  # rounds
_NO_NUMBERS = np.empty(0)
_NO_LESSON = (_NO_NUMBERS,) * 3


class Columns(NamedTuple):
    """How many columns samples have, in this order."""

    numbers: int = 0
    categories: int = 0
    lags: int = 0  # earlier targets, of numbers


@final
class BoostedTrees(Expert):
    """Predicts by trees that are grown from the last samples, as a practitioner retrains.

    They see numbers unscaled, categories in the order of their mean targets, and for numbers
    earlier targets; texts they do not see. They are grown after 100 samples with a target, and
    again each time the stream has grown by a sixth, later by a half and more, so that a sample
    costs less the longer the stream is. Those of numbers have a second column: the same trees, with
    leaves that each sample corrects. While the loss of all columns is far above that of others,
    they rest, longer each time.

    Args:
        samples: How many of the last samples they are grown from.
        numeric: Whether targets are numbers.
        trees: How many there are, relative to the default.

    >>> bool(BoostedTrees(1000, numeric=True).rest)
    False
    """

    name = "trees"

    def __init__(self, samples: int, *, numeric: bool, trees: float = 1.0) -> None:
        self._samples = samples
        self._numeric = numeric
        self._columns = Columns()
        self._rows = 0  # of the encoder, of which the columns are counted
        self._values = np.empty((0, 0))  # a ring of the last samples
        self._target = np.empty(0)  # numbers or class numbers, -1 for a retired class
        self._weight = np.empty(0)
        self._crowded = np.empty(0, np.uint8)
        self._rank = np.empty(0)  # of each row, among the categories of its column
        size = OF_NUMBERS if numeric else OF_LABELS
        self.size: Size = size._replace(trees=round(trees * size.trees))
        self._forest = new_forest(0, self.size.nodes, 1, numeric=numeric)
        self._grown = Columns()  # columns from which the trees were grown
        self._grown_samples = 0
        self._seen = 0  # samples with a target
        self._due = FIRST_GROWTH  # number of samples after which trees are grown
        self.rest: Rest = Rest(MAX_REST)

    def __len__(self) -> int:
        """Number of its columns."""
        return 2 if self._numeric else 1

    def end_round(self, losses: NDArray[np.float64], lowest: float) -> None:
        """Decide at the end of a round whether to rest."""
        self.rest.end_round(float(losses.min()), lowest)

    def predict(self, batch: ScoringBatch) -> Answers:
        """Predict samples of which each might be the next one; changes nothing."""
        values = self._arrange(batch, self._crowded.copy())
        answers = self._new_answers(batch, len(values))
        present = np.full(len(values), self._run(values, batch.known, answers))
        return where_present(answers, present)

    def move_class(self, moved: MovedClass) -> None:
        """Read stored samples of a class as those of another one, or of none at -1."""
        self._target[self._target == moved.number] = moved.into

    def _read(self, batch: ScoringBatch) -> NDArray[np.float64]:
        """The columns of samples, for all of which there is room."""
        inputs = batch.inputs
        assert inputs is not None
        numbers, categories, lags = self._columns
        numbers = max(inputs.unscaled.shape[1], numbers)
        if inputs.rows != self._rows:
            self._rows = inputs.rows
            categories = max(_count_fields(inputs), categories)
        if self._numeric:
            lags = max(min(inputs.lags, MAX_LAGS), lags)
        columns = Columns(numbers, categories, lags)
        if columns != self._columns:
            self._values = _widen(self._values, self._columns, columns)
            more = columns.categories - self._columns.categories
            self._crowded = np.append(self._crowded, np.zeros(more, np.uint8))
            self._columns = columns
        return self._arrange(batch, self._crowded)

    def _arrange(self, batch: ScoringBatch, crowded: NDArray[np.uint8]) -> NDArray[np.float64]:
        inputs = batch.inputs
        assert inputs is not None
        values = np.empty((len(inputs.count), sum(self._columns)))
        entries = inputs.row, inputs.value, inputs.count, inputs.fields, inputs.lags
        columns = self._columns.numbers, self._columns.categories
        units = batch.center, batch.spread
        write_values(inputs.unscaled, *entries, *units, *columns, values, crowded)
        return values

    def predict_then_learn(self, batch: ScoringBatch) -> Answers:
        """Predict samples in order; each that has a target is stored before the next one."""
        values, truth = self._read(batch), batch.truth
        learned = np.isfinite(truth) if self._numeric else truth >= 0
        n, start = len(truth), 0
        weight = np.ones(n) if batch.weight is None else batch.weight
        answers, present = self._new_answers(batch, n), np.zeros(n, np.bool_)
        while start < n:
            if self._seen >= self._due and not self.rest:
                self._grow()
            stop = self._find_stop(learned, start)
            part = slice(start, stop)
            lesson = truth[part], weight[part], batch.spread[part]
            present[part] = self._run(values[part], batch.known[part], answers[:, part], lesson)
            own = np.flatnonzero(learned[part]) + start
            self._store(values[own], truth[own], weight[own])
            start = stop
        return where_present(answers, present)

    def _find_stop(self, learned: NDArray[np.bool_], start: int) -> int:
        """The end of the samples that are predicted by the present trees."""
        left = self._due - self._seen
        if not 0 < left < len(learned) - start:
            return len(learned)
        places = np.flatnonzero(learned[start:])
        return start + int(places[left - 1]) + 1 if left <= len(places) else len(learned)

    def _store(
        self, values: NDArray[np.float64], target: NDArray[Any], weight: NDArray[np.float64]
    ) -> None:
        """Add samples to the ring."""
        count = len(target)
        if not count:
            return
        room = min(self._seen + count, self._samples)
        if room > len(self._target):
            room = min(max(room, 2 * len(self._target)), self._samples)
            more = room - len(self._target)
            self._values = np.concatenate((self._values, np.zeros((more, values.shape[1]))))
            self._target = np.append(self._target, np.zeros(more))
            self._weight = np.append(self._weight, np.zeros(more))
        kept = min(count, self._samples)
        first = self._seen % self._samples
        places: Any = slice(first, first + 1)
        self._seen += count
        if count > 1:
            places = np.arange(self._seen - kept, self._seen) % self._samples
        self._values[places], self._target[places] = values[-kept:], target[-kept:]
        self._weight[places] = weight[-kept:]

    def _grow(self) -> None:
        """Grow trees from all stored samples."""
        self._due = self._seen + max(self._seen // GROWTH, self._seen**2 // (self._seen + HALF))
        used = min(self._seen, self._samples)
        values, target, weight = self._values[:used], self._target[:used], self._weight[:used]
        if not self._numeric and (target < 0).any():
            kept = target >= 0
            values, target, weight = values[kept], target[kept], weight[kept]
        outputs = 1 if self._numeric else int(target.max(initial=0.0)) + 1
        if not self._columns.numbers + self._columns.categories or weight.sum() <= 0.0:
            return
        if not self._numeric and outputs == 1:
            return
        first = self._columns.numbers
        own = slice(first, first + self._columns.categories)
        texts = np.flatnonzero(self._crowded)
        values = values.copy()
        values[:, first + texts] = np.nan
        means = target if self._numeric or outputs == 2 else target == _find_majority(target)
        self._rank = rank_categories(values[:, own], means.astype(np.float64), weight)
        values[:, own] = _look_up(self._rank, values[:, own])
        bins, threshold = bin_columns(values)
        base = _compute_base(target, weight, numeric=self._numeric, outputs=outputs)
        samples = bins, threshold, target, weight
        self._forest = grow_forest(*samples, base, self.size, numeric=self._numeric)
        self._grown, self._grown_samples = self._columns, len(target)

    def _run(
        self,
        values: NDArray[np.float64],
        known: NDArray[np.int32],
        answers: NDArray[np.float64],
        lesson: tuple[NDArray[Any], ...] = _NO_LESSON,
    ) -> bool:
        """Write predictions; return whether there are trees that do not rest.

        Args:
            values: Columns of n samples.
            known: Labels known before each; empty for numbers.
            answers: Written.
            lesson: Target, weight and standard deviation of targets of each, to correct numbers.
        """
        forest = self._forest
        if self.rest or not len(forest.feature):
            return False
        if self._grown != self._columns:  # there are new columns
            values = _narrow(values, self._columns, self._grown)
        first, last = self._grown.numbers, self._grown.numbers + self._grown.categories
        arrays: Any = values, first, last, self._rank, *forest
        if self._numeric:
            arrays = *arrays, *lesson, answers, np.empty(len(forest.feature), np.int32)
            predict_numbers(*arrays)
            return True
        share, outputs = 1.0 / (self._grown_samples + 1.0), len(forest.base)
        scratch = np.empty(outputs), np.empty(max(outputs, 2))
        arrays = *arrays[:-1], known, share, answers[0], *scratch
        predict_labels(*arrays)
        return True

    def _new_answers(self, batch: ScoringBatch, n: int) -> NDArray[np.float64]:
        """Zeros, shape=(columns, n, labels), or (columns, n) for numbers."""
        return np.zeros((len(self), n, *batch.answers.shape[2:]))

    def freeze(self) -> BoostedTrees:
        """A copy that predicts as this one does now, while this one learns; it must not learn.

        It shares the trees but for what is corrected, and stores no samples.
        """
        frozen = copy(self)
        if self._numeric:
            frozen._forest = self._forest._replace(corrected=self._forest.corrected.copy())
        frozen.rest = copy(self.rest)
        frozen._values, frozen._target, frozen._weight = np.empty((0, 0)), _NO_NUMBERS, _NO_NUMBERS
        frozen._crowded = self._crowded.copy()
        return frozen

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, bit for bit."""
        used = min(self._seen, self._samples)
        return {
            "columns": list(self._columns),
            "values": self._values[:used].copy(),
            "target": self._target[:used].copy(),
            "weight": self._weight[:used].copy(),
            "crowded": self._crowded.copy(),
            "rank": self._rank.copy(),
            "grown": list(self._grown),
            "grown_samples": self._grown_samples,
            "forest": {name: a.copy() for name, a in self._forest._asdict().items()},
            "seen": self._seen,
            "due": self._due,
            **self.rest.export_state(),
        }

    def restore_state(self, state: Mapping[str, Any]) -> Sequence[int]:
        """Continue from a state of `export_state`; `StateError` if it does not fit."""
        columns, grown = Columns(*state["columns"]), Columns(*state["grown"])
        values = np.array(state["values"], np.float64)
        used = min(int(state["seen"]), self._samples)
        if values.shape != (used, sum(columns)):
            raise StateError(f"samples of boosted trees have shape {values.shape}")
        forest = Forest(**{name: np.array(a) for name, a in state["forest"].items()})
        trees, nodes = forest.feature.shape
        expected = new_forest(trees, nodes, len(forest.base), numeric=self._numeric)
        for name, array in expected._asdict().items():
            given = getattr(forest, name)
            if given.shape != array.shape or given.dtype != array.dtype:
                raise StateError(f"{name} of boosted trees has shape {given.shape}")
        if forest.feature.size and forest.feature.max() >= sum(grown):
            raise StateError("boosted trees use columns that they do not have")
        self._columns, self._grown, self._rows = columns, grown, 0
        self._grown_samples = int(state["grown_samples"])
        self._values, self._forest = values, forest
        self._target = np.array(state["target"], np.float64)
        self._weight = np.array(state["weight"], np.float64)
        self._crowded = np.array(state["crowded"], np.uint8)
        self._rank = np.array(state["rank"], np.float64)
        self._seen, self._due = int(state["seen"]), int(state["due"])
        self.rest.restore_state(state)
        return ()


def _count_fields(inputs: Inputs) -> int:
    """Columns of categories and texts; numbered inputs and earlier targets have none."""
    fields = inputs.fields[: inputs.rows]
    return min(int(fields.max(initial=-1, where=fields < FIRST_NUMBERED)) + 1, MAX_CATEGORIES)


def _look_up(rank: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each category by its row; NaN for missing and rare ones."""
    ranks = np.append(rank, np.nan)
    known = np.isfinite(rows) & (rows < len(rank))
    found: NDArray[np.float64] = ranks[np.where(known, rows, len(rank)).astype(np.intp)]
    return found


def _find_majority(target: NDArray[np.float64]) -> int:
    """The most frequent class."""
    return int(np.bincount(target.astype(np.intp)).argmax())


def _compute_base(
    target: NDArray[np.float64], weight: NDArray[np.float64], *, numeric: bool, outputs: int
) -> NDArray[np.float64]:
    """Scores without trees: the median of numbers, or logarithms of the shares of labels."""
    if numeric:
        return np.array([np.median(target)])
    counts = np.bincount(target.astype(np.intp), weights=weight, minlength=outputs) + 1.0
    logs = np.log(counts / counts.sum())
    scores: NDArray[np.float64] = logs[1:] - logs[:1] if outputs == 2 else logs
    return scores


def _widen(values: NDArray[np.float64], old: Columns, new: Columns) -> NDArray[np.float64]:
    """Samples with more columns, which are missing in all of them."""
    wide = np.full((len(values), sum(new)), np.nan)
    before, after = 0, 0
    for had, has in zip(old, new, strict=True):
        wide[:, after : after + had] = values[:, before : before + had]
        before, after = before + had, after + has
    return wide


def _narrow(values: NDArray[np.float64], have: Columns, wanted: Columns) -> NDArray[np.float64]:
    """Samples with only the columns of which the trees know."""
    parts, first = [], 0
    for has, wants in zip(have, wanted, strict=True):
        parts.append(values[:, first : first + wants])
        first += has
    return np.ascontiguousarray(np.hstack(parts))
