"""Prequential evaluation of classifications: the evaluator of many tracks, and the baselines."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.jit import exact, inlined
from streamnet.metrics.formulas import ConfusionCounts, Sums
from streamnet.metrics.windows import (
    PLACE,
    SEEN,
    Horizon,
    StreamEvaluator,
    all_ones,
    get_weight,
    growing_weights,
    keep_weight,
)
from streamnet.samples import Task
from streamnet.validation import as_flags, as_kernel_array

# Places in arrays of the evaluator; an empty cell has truth -1.
WEIGHT, WRONG, NO_CHANGE_WRONG, LOSS, BRIER = range(5)  # sums
HITS, TRUTHS, ANSWERS = range(3)  # rows of a confusion of which only these are kept
TRUTH, ANSWER, NO_CHANGE_MISSED = range(3)  # cells
POSITION, LAST, CLASSES = range(3)  # clock
MAJORITY, LAST_CLASS = range(2)  # memory of the baselines, -1: none yet
NONE_PREDICTED = np.empty((0, 0), np.int32)


@inlined
def _score_answer(
    answers: NDArray[np.float32], k: int, i: int, y: int, classes: int
) -> tuple[int, float, float]:
    """The answered class (-1: none), the probability of the truth and the Brier score."""
    best = -1
    largest = -np.inf
    brier = 0.0 if y < classes else 1.0
    for c in range(classes):
        p = np.float64(answers[k, i, c])
        distance = p - 1.0 if c == y else p
        brier += distance * distance
        if p > largest:
            largest = p
            best = c
    return best, np.float64(answers[k, i, y]) if y < classes else 0.0, brier


@exact
def score_classes(
    answers: NDArray[np.float32],
    truth: NDArray[np.int32],
    known: NDArray[np.int32],
    alive: NDArray[np.uint8],
    predicted: NDArray[np.int32],  # empty if all are the most probable class
    scored: NDArray[np.uint8],
    losses: NDArray[np.float64],
    confusion: NDArray[np.float64],
    sums: NDArray[np.float64],
    cells: NDArray[np.int32],
    costs: NDArray[np.float64],
    places: NDArray[np.int64],
    clock: NDArray[np.int64],
    growth: NDArray[np.float64],
    importance: NDArray[np.float64],  # weight of each sample, shape=(n,); empty: all are 1
    shares: NDArray[np.float64],  # weights in the window, shape=(window, tracks); empty: all are 1
    floor: float,
    whole: bool,
    start: int,
) -> int:
    """Score samples from ``start`` on; returns the first one that there is no room for, or n."""
    tracks, samples, width = answers.shape
    window = cells.shape[0]
    for i in range(start, samples):
        y = truth[i]
        classes = min(known[i], width)
        if max(y + 1, classes) >= confusion.shape[3]:
            return i
        counted = scored[i] != 0 and y >= 0
        weight = 1.0
        if counted:
            if clock[POSITION] == growth.size - 1:
                return i
            weight = growth[clock[POSITION]]
            clock[POSITION] += 1
        own = get_weight(importance, i)
        missed = 0 if y == clock[LAST] else 1
        for k in range(tracks):
            losses[i, k] = np.inf
            if alive[k, i] != 1 or y < 0 or own == 0.0:
                continue
            best, p, brier = _score_answer(answers, k, i, y, classes)
            if not math.isfinite(brier):
                continue
            loss = -math.log(max(p, floor))
            losses[i, k] = loss
            if not counted:
                continue
            decided = predicted[k, i] if predicted.size > 0 else -1
            best = decided if decided >= 0 else best
            wrong = 0 if best == y else 1
            place = places[k, PLACE]
            places[k, SEEN] += 1
            places[k, PLACE] = place + 1 if place + 1 < window else 0
            cells[place, k, TRUTH] = y
            cells[place, k, ANSWER] = best
            cells[place, k, NO_CHANGE_MISSED] = missed
            costs[place, k, 0] = loss
            costs[place, k, 1] = brier
            keep_weight(shares, place, k, own)
            for h in range(2):
                w = weight * own if h == 1 else own
                if whole:
                    confusion[h, k, y, best + 1] += w
                else:
                    confusion[h, k, HITS, y] += w * (1 - wrong)
                    confusion[h, k, TRUTHS, y] += w
                    confusion[h, k, ANSWERS, best + 1] += w
                sums[h, k, WEIGHT] += w
                sums[h, k, WRONG] += w * wrong
                sums[h, k, NO_CHANGE_WRONG] += w * missed
                sums[h, k, LOSS] += w * loss
                sums[h, k, BRIER] += w * brier
        if y >= 0:
            clock[LAST] = y
        clock[CLASSES] = max(clock[CLASSES], y + 1, classes)
    return int(samples)


@final
class ClassificationEvaluator(StreamEvaluator):
    """Scores predictions of classes.

    A sample is scored for a track if the track is available, its probabilities are finite, and the
    sample has a truth. The predicted class is the most probable one (ties: the lowest number)
    unless another is given; without any known class there is no prediction, which is wrong and
    gives the truth probability 0, as does a new class.

    Args:
        tracks: Number of tracks.
        window: Scored samples of a track in the sliding window.
        fading: Factor applied to the weight of all earlier samples at every scored sample.
        floor: Least probability in a log-loss, so that no loss exceeds ``-log(floor)``.
        whole: Whether confusion matrices are kept, whose memory grows with the square of the
            classes; metrics need only their diagonals and margins.

    Raises:
        ConfigurationError: If a setting is out of range.

    >>> evaluator = ClassificationEvaluator(1)
    >>> answers = np.array([[[0.0, 0.0], [1.0, 0.0], [0.2, 0.8], [0.6, 0.4]]], np.float32)
    >>> losses = evaluator.update(answers, [0, 1, 1, 0], [0, 1, 2, 2])
    >>> losses[:, 0].round(3).tolist()
    [9.21, 9.21, 0.223, 0.511]
    >>> evaluator.measures(0)["accuracy"]
    0.5
    """

    task = Task.CLASSIFICATION
    _settings = ("window", "fading", "floor", "whole")
    _arrays = ("sums", "cells", "costs", "places", "clock")

    def __init__(
        self,
        tracks: int,
        *,
        window: int = 1000,
        fading: float = 0.999,
        floor: float = 1e-4,
        whole: bool = True,
    ) -> None:
        super().__init__(tracks, window=window, fading=fading)
        if not 0.0 < floor < 1.0:
            raise ConfigurationError(f"floor is {floor}, but must be > 0 and < 1")
        self._floor = float(floor)
        self._growth = growing_weights(fading)
        self._whole = bool(whole)
        # Of the overall and the fading horizon; column 0 is no prediction, so that it stays put.
        self._confusion = np.zeros((2, tracks, 2 if whole else 3, 3))
        self._sums = np.zeros((2, tracks, 5))
        self._cells = np.full((window, tracks, 3), -1, np.int32)
        self._costs = np.zeros((window, tracks, 2))
        self._clock = np.array([0, -1, 0])

    def update(
        self,
        answers: ArrayLike,
        truth: ArrayLike,
        known: ArrayLike,
        alive: ArrayLike | None = None,
        scored: ArrayLike | None = None,
        predicted: NDArray[np.int32] = NONE_PREDICTED,
        weight: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Score n samples in order.

        Args:
            answers: float32 (K, n, C), probabilities by track, sample and class; of sample i only
                the first ``known[i]`` count.
            truth: int32 (n,), class numbers, possibly of a new class; -1 without a truth.
            known: int32 (n,), number of classes known before each sample, at most C.
            alive: uint8 or bool (K, n), 0 where a track is not available; None: all are.
            scored: uint8 or bool (n,), 0 where a sample must not enter any metric; its losses are
                returned, and no-change repeats its label. None: all are scored.
            predicted: int32 (K, n), class numbers; -1 for the most probable class, as all are if
                the array is empty.
            weight: float64 (n,), >= 0, by which samples count in metrics; None: all are 1.

        Returns:
            float64 (n, K): ``-log(max(probability of the truth, floor))``; inf where a track is
            not available or not finite, and without a truth.

        Raises:
            ValueError: If the shapes do not fit.
        """
        answers = as_kernel_array(answers, np.float32)
        truth = as_kernel_array(truth, np.int32)
        known = as_kernel_array(known, np.int32)
        n = truth.size
        if answers.ndim != 3 or answers.shape[:2] != (self._tracks, n) or known.shape != (n,):
            raise ValueError(
                f"answers {answers.shape}, truth {truth.shape} and known {known.shape} do not fit"
                f" {self._tracks} tracks"
            )
        if predicted.size and predicted.shape != answers.shape[:2]:
            raise ValueError(f"predicted {predicted.shape} does not fit {self._tracks} tracks")
        ones = all_ones(n, self._tracks)
        alive, scored = as_flags(alive, ones), as_flags(scored, ones[0])
        importance = self._read_weights(weight, n)
        losses = np.empty((n, self._tracks))
        i = 0
        while True:
            i = score_classes(
                answers,
                truth,
                known,
                alive,
                predicted,
                scored,
                losses,
                self._confusion,
                self._sums,
                self._cells,
                self._costs,
                self._places,
                self._clock,
                self._growth,
                importance,
                self._shares,
                self._floor,
                self._whole,
                i,
            )
            if i == n:
                return losses
            self._make_room(max(int(truth[i]) + 1, min(int(known[i]), answers.shape[2])))

    def merge_classes(self, number: int, into: int) -> None:
        """Take the last truth for one of another class; what was scored stays as it was."""
        if self._clock[LAST] == number:
            self._clock[LAST] = into
            self._clock[CLASSES] = max(self._clock[CLASSES], into + 1)

    def confusion(
        self, track: int, horizon: Horizon | str = Horizon.OVERALL
    ) -> NDArray[np.float64]:
        """Weights of samples by truth (rows) and prediction (columns; the last one: none).

        Shape (C, C + 1) for the C classes seen so far. The newest sample has weight 1.

        Raises:
            IndexError: If there is no such track.
            ValueError: If there is no such horizon, or it is not kept ``whole``.
        """
        k = range(self._tracks)[track]
        classes = int(self._clock[CLASSES])
        if Horizon(horizon) is not Horizon.SLIDING:
            if not self._whole:
                raise ValueError(f"the {Horizon(horizon)} confusion is not kept whole")
            kept = self._kept(slice(k, k + 1), Horizon(horizon))[0]
            return np.ascontiguousarray(np.roll(kept, -1, axis=-1))
        truth, answer = self._ring(slice(k, k + 1))[:2]
        place = truth * (classes + 1) + np.where(answer < 0, classes, answer)
        counts = np.bincount(place[truth >= 0], minlength=classes * (classes + 1))
        return counts.reshape(classes, classes + 1).astype(np.float64)

    def export_state(self) -> dict[str, Any]:
        """See `StreamEvaluator`."""
        classes = int(self._clock[CLASSES])
        kept = self._confusion[:, :, : self._rows(classes), : classes + 1]
        # Classes are few, and the window is the largest part of a checkpoint of a small model.
        cells = self._cells.astype(np.min_scalar_type(-max(classes, 1)))
        return {**super().export_state(), "confusion": kept.copy(), "cells": cells}

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """See `StreamEvaluator`."""
        self = super().restore_state(state)
        classes = int(self._clock[CLASSES])
        shape = (2, self._tracks, self._rows(classes), classes + 1)
        if np.shape(state["confusion"]) != shape or not self._is_sound(classes):
            raise ModelFileError(f"evaluator: the state does not fit {classes} classes")
        self._grow(classes)
        self._confusion[:, :, : shape[2], : classes + 1] = state["confusion"]
        return self

    def _is_sound(self, classes: int) -> bool:
        """Whether every number by which a kernel or a count is indexed lies in its range."""
        classes_of_cells = self._cells[:, :, :NO_CHANGE_MISSED]
        return bool(
            0 <= self._clock[POSITION] < self._growth.size
            and -1 <= self._clock[LAST] < classes
            and (self._cells >= -1).all()
            and (classes_of_cells < max(classes, 1)).all()
        )

    def _make_room(self, classes: int) -> None:
        """Grow the matrices to ``classes``; if they are large enough, start a new period."""
        if classes >= self._confusion.shape[3]:
            self._grow(classes)
            return
        self._clock[POSITION] = 0
        for array in (self._confusion[1], self._sums[1]):
            array /= self._growth[-1]
            array[array < 1e-290] = 0.0  # denormal numbers would be slow and may never reach 0

    def _grow(self, classes: int) -> None:
        """Give the matrices room for ``classes``: the next power of two, at least 2."""
        old = self._confusion
        if classes >= old.shape[3]:
            new = _capacity(classes)
            self._confusion = np.zeros((2, self._tracks, self._rows(new), new + 1))
            self._confusion[:, :, : old.shape[2], : old.shape[3]] = old

    def _rows(self, classes: int) -> int:
        """Number of rows kept of a confusion matrix."""
        return classes if self._whole else 3

    def _inputs(self, tracks: slice, horizon: Horizon) -> dict[str, Any]:
        if horizon is Horizon.SLIDING:
            counts, sums = self._recent(tracks)
        else:
            counts = self._counts(tracks, horizon)
            sums = self._sums[int(horizon is Horizon.FADING), tracks]
        return {"counts": counts, "sums": Sums(*sums.T)}

    def _reset(self, k: int) -> None:
        self._confusion[:, k] = 0.0
        self._sums[:, k] = 0.0
        self._cells[:, k] = -1
        self._costs[:, k] = 0.0
        self._places[k] = 0

    def _kept(self, tracks: slice, horizon: Horizon) -> NDArray[np.float64]:
        """Confusion matrices, column 0 for no prediction, scaled to a newest weight of 1."""
        classes = int(self._clock[CLASSES])
        fading = horizon is Horizon.FADING
        kept = self._confusion[int(fading), tracks, : self._rows(classes), : classes + 1]
        newest = self._growth[max(self._clock[POSITION] - 1, 0)] if fading else 1.0
        weights: NDArray[np.float64] = kept / newest
        return weights

    def _counts(self, tracks: slice, horizon: Horizon) -> ConfusionCounts:
        kept = self._kept(tracks, horizon)
        if self._whole:
            return ConfusionCounts.of(np.roll(kept, -1, axis=-1))
        classes = kept.shape[-1] - 1
        hits, truths = kept[:, HITS, :classes], kept[:, TRUTHS, :classes]
        return ConfusionCounts(hits, truths, np.roll(kept[:, ANSWERS], -1, axis=-1))

    def _ring(self, tracks: slice) -> NDArray[np.int32]:
        """Truth, prediction and no-change error of the last samples: (3, window, tracks)."""
        return np.moveaxis(self._cells[:, tracks], -1, 0)

    def _recent(self, tracks: slice) -> tuple[ConfusionCounts, NDArray[np.float64]]:
        """Counts and sums of the sliding window, recomputed so that rounding errors do not grow."""
        # Another thread may add samples meanwhile, and a class with them.
        truth, answer, missed = self._ring(tracks).copy()
        classes = max(int(self._clock[CLASSES]), int(truth.max()) + 1, int(answer.max()) + 1)
        number = truth.shape[1]
        there = truth >= 0
        right = there & (answer == truth)
        answer = np.where(answer < 0, classes, answer)
        shares = self._shares[:, tracks] if self._shares.size else None
        counts = ConfusionCounts(
            _count_by_class(truth, right, number, classes, shares),
            _count_by_class(truth, there, number, classes, shares),
            _count_by_class(answer, there, number, classes + 1, shares),
        )
        costs = self._costs[:, tracks]
        if shares is None:
            weight, hits = there.sum(0), right.sum(0)
            missing = np.where(there, missed, 0).sum(0)
        else:
            weight, hits = (there * shares).sum(0), (right * shares).sum(0)
            missing = np.where(there, missed * shares, 0.0).sum(0)
            costs = costs * shares[:, :, np.newaxis]
        return counts, np.column_stack((weight, weight - hits, missing, costs.sum(0)))


def _count_by_class(
    classes: NDArray[Any],
    among: NDArray[np.bool_],
    tracks: int,
    size: int,
    shares: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Count each class in each track, by weight if there are ``shares``: (tracks, size)."""
    place = (classes + size * np.arange(tracks))[among]
    weight = None if shares is None else shares[among]
    counts = np.bincount(place, weight, minlength=tracks * size)
    return counts.reshape(tracks, size).astype(np.float64)


@exact
def _repeat_classes(
    truth: NDArray[np.int32],
    answers: NDArray[np.float32],
    counts: NDArray[np.int64],
    memory: NDArray[np.int64],
) -> None:
    for i in range(truth.size):
        for b in range(2):
            if 0 <= memory[b] < answers.shape[2]:
                answers[b, i, memory[b]] = 1.0
        y = truth[i]
        if y < 0:
            continue
        counts[y] += 1
        memory[LAST_CLASS] = y
        most = memory[MAJORITY]
        if most < 0 or counts[y] > counts[most] or (counts[y] == counts[most] and y < most):
            memory[MAJORITY] = y


@final
class ClassificationBaselines:
    """Predict the most frequent class so far (ties: the lowest number), and the last one.

    >>> ClassificationBaselines().answers([1, 0, 0], [0, 2, 2])[:, :, 1]
    array([[0., 1., 0.],
           [0., 1., 0.]], dtype=float32)
    """

    names: ClassVar[tuple[str, ...]] = ("majority", "no_change")

    def __init__(self) -> None:
        self._counts = np.zeros(2, np.int64)
        self._memory = np.array([-1, -1])

    def answers(
        self, truth: ArrayLike, known: ArrayLike, width: int | None = None
    ) -> NDArray[np.float32]:
        """Predict n samples in order, each before its truth is used.

        Args:
            truth: int32 (n,), class numbers; -1 without a truth.
            known: int32 (n,), number of classes known before each sample.
            width: Number of columns; a class without a column cannot be predicted. None: the power
                of two, at least 2, that holds all classes of this call and all before it.

        Returns:
            float32 (2, n, width): one-hot, or all 0 before the first truth.
        """
        truth = as_kernel_array(truth, np.int32)
        # For single samples, numpy's maximum would take most of the time.
        classes = 1 + (int(truth[0]) if truth.size == 1 else int(truth.max(initial=-1)))
        self._make_room(classes)
        if width is None:
            width = max(len(self._counts), _capacity(int(np.max(known, initial=0))))
        answers = np.zeros((2, truth.size, width), np.float32)
        _repeat_classes(truth, answers, self._counts, self._memory)
        return answers

    def move_class(self, number: int, into: int) -> None:
        """Predict a class no more: count its samples as those of another, or forget them at -1."""
        self._make_room(max(number, into) + 1)
        move_counts(self._counts, number, into)
        if self._memory[LAST_CLASS] == number:
            self._memory[LAST_CLASS] = into
        self._memory[MAJORITY] = self._counts.argmax() if self._counts.any() else -1

    def _make_room(self, classes: int) -> None:
        if classes > len(self._counts):
            counts = np.zeros(_capacity(classes), np.int64)
            counts[: len(self._counts)] = self._counts
            self._counts = counts

    def export_state(self) -> dict[str, Any]:
        """Export copies of all arrays, from which `restore_state` resumes exactly."""
        return {"counts": self._counts.copy(), "memory": self._memory.copy()}

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """Restore baselines from its state; `ModelFileError` if that does not fit."""
        self = cls()
        self._counts = np.array(state["counts"], np.int64)
        self._memory = np.array(state["memory"], np.int64)
        if self._memory.shape != (2,) or not (self._memory < len(self._counts)).all():
            raise ModelFileError(f"baselines: memory is {self._memory.tolist()}")
        return self


def move_counts(counts: NDArray[Any], number: int, into: int) -> None:
    """Count the samples of a class as those of another, or no more at -1.

    >>> counts = np.array([3, 2, 1])
    >>> move_counts(counts, 2, 0)
    >>> counts.tolist()
    [4, 2, 0]
    """
    if into >= 0:
        counts[into] += counts[number]
    counts[number] = 0


def _capacity(classes: int) -> int:
    """The smallest power of two, at least 2, that is not less than ``classes``."""
    return 1 << max(classes - 1, 1).bit_length()
