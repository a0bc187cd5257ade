"""Ranking metrics: areas under the ROC and the precision-recall curve of each class.

They are computed from `Ranks`: of finished predictions exactly, of a stream from histograms of
probabilities, whose bins hold probabilities that differ by at most 3.2 % in their odds. What is in
one bin counts as equal, so the area under the ROC curve of a class differs from the exact one by
half the sum over bins of ``p n / (P N)`` at most, for p of its P samples and n of N others. The
average precision is that of the probabilities rounded to bins.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple, Self, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import exact, exact_inlined
from streamnet.metrics.formulas import Classes, Values, compute_metrics, metric, ratio
from streamnet.metrics.windows import (
    Horizon,
    as_weights,
    get_weight,
    growing_weights,
    validate_windows,
)
from streamnet.samples import Task

MAX_CLASSES = 64  # of which histograms are kept: the first ones
_SHIFT = 18  # bits of a float32 that do not tell the bin: 32 bins for each power of two
_OCTAVES = 24  # odds from 2**-24 to 2**24
_FIRST = (127 - _OCTAVES) << (23 - _SHIFT)
BINS = (2 * _OCTAVES << (23 - _SHIFT)) + 2  # and one for what lies beyond on each side
OWN, OTHERS = range(2)  # rows of a histogram: samples of the class, and all others
POSITION, PLACE, CLASSES = range(3)  # clock
COUNT, WEIGHT = range(2)  # totals


class Ranks(NamedTuple):
    """Samples of each class, and all others, by the probability of the class, the highest first.

    >>> ranks = Ranks.of(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.3, 0.7], [0.3, 0.7]]))
    >>> ranks.own.tolist(), ranks.others.tolist()
    ([[1.0, 0.0], [2.0, 0.0]], [[0.0, 2.0], [0.0, 1.0]])
    """

    own: Values  # shape=(C, T), weights of the samples at each of T probabilities
    others: Values  # likewise

    @classmethod
    def of(cls, truth: Classes, probability: Values, weight: Values | None = None) -> Ranks:
        """Rank finished predictions.

        Args:
            truth: Class numbers, shape=(n,).
            probability: Shape=(n, C).
            weight: Of each sample, shape=(n,); None: all are 1.
        """
        weight = np.ones(len(truth)) if weight is None else weight
        places = [np.unique(-column, return_inverse=True)[1] for column in probability.T]
        width = max((int(place.max(initial=-1)) + 1 for place in places), default=0)
        ranks = cls(np.zeros((len(places), width)), np.zeros((len(places), width)))
        for number, place in enumerate(places):
            for row, chosen in ((ranks.own, truth == number), (ranks.others, truth != number)):
                row[number] = np.bincount(place[chosen], weight[chosen], width)
        return ranks


def compute_roc_areas(ranks: Ranks) -> Values:
    """Area under the ROC curve of each class against all others, shape=(C,).

    NaN for classes of no sample, or of all.
    """
    own, others = ranks
    below = others.sum(-1, keepdims=True) - np.cumsum(others, -1)
    above = (own * (below + others / 2.0)).sum(-1)
    return ratio(above, own.sum(-1) * others.sum(-1))


def compute_average_precisions(ranks: Ranks) -> Values:
    """Average precision of each class, the area under its precision-recall curve, shape=(C,).

    NaN for classes of no sample, or of all.
    """
    own, others = ranks
    found = np.cumsum(own, -1)
    precision = ratio(found, found + np.cumsum(others, -1), otherwise=0.0)
    total = own.sum(-1)
    areas = ratio((own * precision).sum(-1), total)
    return np.where(others.sum(-1) > 0, areas, np.nan)


@metric("roc_auc", "ranks", title="ROC AUC")
def roc_auc(ranks: Ranks) -> float:
    """Mean over classes of the area under the ROC curve of the class against all others.

    The area is the probability that a sample of the class gets a higher probability of it than one
    of another class, ties counted half: Hanley and McNeil, "The meaning and use of the area under a
    receiver operating characteristic (ROC) curve", Radiology 143, 1982. With two classes whose
    probabilities sum to 1 both areas are the same. Classes of no sample, or of all, are left out;
    NaN if that leaves none.
    """
    return _mean_defined(compute_roc_areas(ranks))


@metric("pr_auc", "ranks", title="PR AUC")
def pr_auc(ranks: Ranks) -> float:
    """Average precision: of the rarer of two classes, of more the mean over classes.

    The mean precision over the samples of the class, each at the probability that it got: Davis and
    Goadrich, "The relationship between precision-recall and ROC curves", ICML 2006. Unlike the area
    under the ROC curve it shows how many others are found together with a rare class. Of two
    equally frequent classes the second counts. Classes of no sample, or of all, are left out; NaN
    if that leaves none.
    """
    areas = compute_average_precisions(ranks)
    if len(areas) == 2:
        first, second = ranks.own.sum(-1)
        return float(areas[0] if first < second else areas[1])
    return _mean_defined(areas)


def compute_areas(ranks: Ranks) -> dict[str, Values]:
    """The areas of each class by the name of the metric, shape=(C,)."""
    return {"roc_auc": compute_roc_areas(ranks), "pr_auc": compute_average_precisions(ranks)}


def _mean_defined(areas: Values) -> float:
    defined = areas[~np.isnan(areas)]
    return float(defined.mean()) if len(defined) else math.nan


@exact_inlined
def _find_bin(probability: float) -> int:
    """The bin of a probability, by its odds."""
    p = np.float32(probability)
    if not p > 0.0:
        return 0
    if p >= 1.0:
        return BINS - 1
    odds = np.float32(p / (np.float32(1.0) - p))
    place = np.int64(odds.view(np.int32) >> _SHIFT) - _FIRST + 1
    if place < 0:
        return 0
    return BINS - 1 if place >= BINS else place  # type: ignore[return-value]  # an integer to numba


@cache
def compute_bin_centers() -> NDArray[np.float64]:
    """The probability in the middle of each bin by odds; 0 and 1 for the outermost ones."""
    edges = (np.arange(BINS - 1, dtype=np.int32) + _FIRST) << _SHIFT
    odds = edges.astype(np.int32).view(np.float32).astype(np.float64)
    middle = (odds[:-1] + odds[1:]) / 2.0
    return np.concatenate(([0.0], middle / (1.0 + middle), [1.0]))


@exact
def _add_samples(
    answers: NDArray[np.floating],  # shape=(n, C)
    truth: NDArray[np.int32],
    known: NDArray[np.int32],
    start: int,
    counts: NDArray[np.float64],  # shape=(2, 2, capacity, BINS): overall, then fading
    totals: NDArray[np.float64],
    bins: NDArray[np.uint16],  # shape=(window, capacity)
    truths: NDArray[np.int32],  # shape=(window,)
    clock: NDArray[np.int64],
    growth: NDArray[np.float64],
    importance: NDArray[np.float64],  # weight of each sample, shape=(n,); empty: all are 1
    shares: NDArray[np.float64],  # weights in the window, shape=(window,); empty: all are 1
) -> int:
    """Add samples from ``start`` on; returns the first one that there is no room for, or n."""
    width, capacity = answers.shape[1], counts.shape[2]
    for i in range(start, truth.size):
        y = truth[i]
        if y < 0:
            continue
        names = min(known[i], width)
        finite = True
        for c in range(names):
            finite = finite and math.isfinite(answers[i, c])
        if not finite:
            continue
        wanted = min(max(y + 1, names), MAX_CLASSES)
        if wanted > capacity or clock[POSITION] == growth.size - 1:
            return i
        for c in range(clock[CLASSES], wanted):
            # In earlier samples the class had no probability.
            counts[0, OTHERS, c, 0] = totals[COUNT]
            counts[1, OTHERS, c, 0] = totals[WEIGHT]
        clock[CLASSES] = max(clock[CLASSES], wanted)
        own = get_weight(importance, i)
        weight = growth[clock[POSITION]] * own
        clock[POSITION] += 1
        totals[COUNT] += own
        totals[WEIGHT] += weight
        place = clock[PLACE]
        clock[PLACE] = place + 1 if place + 1 < truths.size else 0
        truths[place] = y
        if shares.size > 0:
            shares[place] = own
        for c in range(clock[CLASSES]):
            b = _find_bin(answers[i, c]) if c < names else 0
            row = OWN if c == y else OTHERS
            counts[0, row, c, b] += own
            counts[1, row, c, b] += weight
            bins[place, c] = b
    return truth.size


@final
class ScoreHistograms:
    """Histograms of the probabilities of each class, overall, fading, and of a sliding window.

    The first 64 classes have one. Memory does not grow with the stream: 49 kB for each class, and
    two bytes for each sample of the window.

    Args:
        window: Samples in the sliding window.
        fading: Factor applied to the weight of all earlier samples at every sample.

    >>> histograms = ScoreHistograms()
    >>> p = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    >>> histograms.update(p, np.array([0, 1, 0, 1], np.int32), np.full(4, 2, np.int32))
    >>> histograms.measures()["roc_auc"]
    0.75
    """

    _arrays = ("totals", "truths", "clock")

    def __init__(self, *, window: int = 1000, fading: float = 0.999) -> None:
        validate_windows(1, window, fading)
        self._window, self._fading = int(window), float(fading)
        self._growth = growing_weights(fading)
        self._counts = np.zeros((2, 2, 2, BINS))
        self._totals = np.zeros(2)
        self._bins = np.zeros((window, 2), np.uint16)
        self._truths = np.full(window, -1, np.int32)
        self._clock = np.zeros(3, np.int64)
        self._shares = np.empty(0)  # weights in the window; empty as long as all are 1

    def update(
        self,
        answers: NDArray[np.floating],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
        weight: NDArray[np.float64] | None = None,
    ) -> None:
        """Add n samples in order.

        Args:
            answers: Probabilities (n, C); of sample i only the first ``known[i]`` count.
            truth: Class numbers (n,), possibly of a new class; samples with -1 are left out.
            known: Number of classes known before each sample, shape (n,).
            weight: Weight of each sample, shape (n,); None: all are 1.
        """
        importance = as_weights(weight, len(truth))
        if importance.size and not self._shares.size:
            self._shares = np.ones(self._window)
        i = 0
        while True:
            arrays = self._counts, self._totals, self._bins, self._truths, self._clock
            weights = importance, self._shares
            i = _add_samples(answers, truth, known, i, *arrays, self._growth, *weights)
            if i == len(truth):
                return
            self._make_room(max(int(truth[i]) + 1, min(int(known[i]), answers.shape[1])))

    def _make_room(self, classes: int) -> None:
        """Give histograms room for so many classes; if they have it, start a new period."""
        if min(classes, MAX_CLASSES) > self._counts.shape[2]:
            self._grow(classes)
            return
        self._clock[POSITION] = 0
        for array in (self._counts[1], self._totals[WEIGHT:]):
            array /= self._growth[-1]
            array[array < 1e-290] = 0.0  # subnormal numbers would be slow and may never reach 0

    def _grow(self, classes: int) -> None:
        """Give histograms room for so many classes: the next power of two, at most 64."""
        before = self._counts.shape[2]
        added = min(1 << (classes - 1).bit_length(), MAX_CLASSES) - before
        if added > 0:
            self._counts = np.append(self._counts, np.zeros((2, 2, added, BINS)), axis=2)
            bins = np.zeros((self._window, added), np.uint16)
            self._bins = np.append(self._bins, bins, axis=1)

    def ranks(self, horizon: Horizon | str = Horizon.OVERALL) -> Ranks:
        """Samples by bin, the highest probabilities first, for each class so far."""
        classes, horizon = int(self._clock[CLASSES]), Horizon(horizon)
        if horizon is Horizon.SLIDING:
            counts = self._count_recent(classes)
        else:
            counts = self._counts[int(horizon is Horizon.FADING), :, :classes]
        return Ranks(counts[OWN, :, ::-1], counts[OTHERS, :, ::-1])

    def _count_recent(self, classes: int) -> Values:
        """Histograms of the sliding window, shape=(2, classes, BINS)."""
        there = self._truths >= 0
        truths, bins = self._truths[there], self._bins[there, :classes].astype(np.int64)
        row = np.where(truths[:, None] == np.arange(classes), OWN, OTHERS)
        place = (row * classes + np.arange(classes)) * BINS + bins
        shares = None
        if self._shares.size:
            shares = np.repeat(self._shares[there], classes)
        counts = np.bincount(place.ravel(), shares, minlength=2 * classes * BINS)
        return counts.reshape(2, classes, BINS).astype(np.float64)

    def measures(self, horizon: Horizon | str = Horizon.OVERALL) -> dict[str, float]:
        """All metrics of ranks by name; NaN where undefined."""
        return compute_metrics(Task.CLASSIFICATION, "stream", ranks=self.ranks(horizon))

    def calibration(self, groups: int = 10) -> NDArray[np.float64]:
        """How often what was predicted with some probability was true, over all classes.

        A reliability diagram: Bröcker and Smith, "Increasing the reliability of reliability
        diagrams", Weather and Forecasting 22, 2007. The probabilities are those of bins.

        Returns:
            For each of so many equal ranges of probabilities that has any: their mean, the
            fraction of them that came true, and how many there are, shape=(at most groups, 3).
        """
        classes = int(self._clock[CLASSES])
        own, others = self._counts[0, :, :classes].sum(axis=1)
        centers = compute_bin_centers()
        group = np.minimum((centers * groups).astype(np.int64), groups - 1)
        sums = (
            np.bincount(group, weights, groups)
            for weights in ((own + others) * centers, own, own + others)
        )
        mean, true, count = sums
        found: Values = np.column_stack((mean, true, count))[count > 0].astype(np.float64)
        found[:, :2] /= found[:, 2:]
        return found

    def per_class(self, horizon: Horizon | str = Horizon.OVERALL) -> dict[str, Values]:
        """The areas of each class so far, see `compute_areas`."""
        return compute_areas(self.ranks(horizon))

    def export_state(self) -> dict[str, Any]:
        """Export everything needed to resume exactly."""
        classes = int(self._clock[CLASSES])
        return {
            "window": self._window,
            "fading": self._fading,
            "counts": self._counts[:, :, :classes].copy(),
            "bins": self._bins[:, :classes].copy(),
            **{name: getattr(self, f"_{name}").copy() for name in self._arrays},
            **({"shares": self._shares.copy()} if self._shares.size else {}),
        }

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """Restore histograms from their state; `ModelFileError` if that does not fit."""
        self = cls(window=state["window"], fading=state["fading"])
        names: tuple[str, ...] = self._arrays
        if "shares" in state:
            self._shares = np.ones(self._window)
            names = (*names, "shares")
        for name in names:
            own = getattr(self, f"_{name}")
            if np.shape(state[name]) != own.shape:
                raise ModelFileError(f"histograms: {name} has shape {np.shape(state[name])}")
            own[...] = state[name]
        classes = int(self._clock[CLASSES])
        shapes = (2, 2, classes, BINS), (self._window, classes)
        if (np.shape(state["counts"]), np.shape(state["bins"])) != shapes or not (
            0 <= classes <= MAX_CLASSES
            and 0 <= self._clock[PLACE] < self._window
            and 0 <= self._clock[POSITION] < self._growth.size
            and np.max(state["bins"], initial=0) < BINS
        ):
            raise ModelFileError(f"histograms: the state does not fit {classes} classes")
        self._grow(max(classes, 2))
        self._counts[:, :, :classes] = state["counts"]
        self._bins[:, :classes] = state["bins"]
        return self
