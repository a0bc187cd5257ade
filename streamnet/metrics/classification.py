"""ClassificationEvaluator: prequential classification metrics of many tracks at once."""

from __future__ import annotations

from typing import Any, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.metrics import formulas
from streamnet.metrics.formulas import ConfusionCounts
from streamnet.metrics.windows import (
    ANSWERS,
    BRIER,
    CLASSES,
    HITS,
    LAST,
    LOSS,
    NO_CHANGE_MISSED,
    NO_CHANGE_WRONG,
    PLACE,
    POSITION,
    SEEN,
    TRUTHS,
    WEIGHT,
    WRONG,
    Horizon,
    growing_weights,
    score_classes,
    validate_windows,
)
from streamnet.validation import as_flags, as_kernel_array

__all__ = ("ClassificationEvaluator",)


@final
class ClassificationEvaluator:
    """Scores many tracks on the same samples, each answered before it was learned.

    A track is a candidate, what was served, or a baseline. A sample is scored for a track if the
    track was alive, its answer has no NaN or infinity, and the sample has a truth. The answered
    class is the one of the largest probability (ties: the lowest number); without any known class
    there is no answer, which is wrong and gives the truth probability 0, as does a new class.

    Args:
        tracks: number of tracks.
        window: scored samples of a track that the sliding horizon looks at.
        fading: factor by which the fading horizon lowers the weight of all earlier samples at
            every scored sample, also at those that a track was not scored on.
        floor: least probability in a log-loss, so that no loss exceeds ``-log(floor)``.
        whole: whether the overall and the fading `confusion` are kept, whose memory grows with the
            square of the classes; measures need no more than their diagonals and margins.

    Raises:
        ConfigurationError: if a setting has a value that its rule does not allow.

    >>> evaluator = ClassificationEvaluator(1)
    >>> answers = np.array([[[0.0, 0.0], [1.0, 0.0], [0.2, 0.8], [0.6, 0.4]]], np.float32)
    >>> losses = evaluator.update(answers, [0, 1, 1, 0], [0, 1, 2, 2])
    >>> losses[:, 0].round(3).tolist()
    [9.21, 9.21, 0.223, 0.511]
    >>> evaluator.measures(0)["accuracy"]
    0.5
    """

    def __init__(
        self,
        tracks: int,
        *,
        window: int = 1000,
        fading: float = 0.999,
        floor: float = 1e-4,
        whole: bool = True,
    ) -> None:
        validate_windows(tracks, window, fading)
        if not 0.0 < floor < 1.0:
            raise ConfigurationError(f"floor is {floor}, but must be > 0 and < 1")
        self._tracks = int(tracks)
        self._fading = float(fading)
        self._floor = float(floor)
        self._growth = growing_weights(fading)
        self._whole = bool(whole)
        # Of both the overall and the fading horizon; column 0 is no answer, so that it stays put.
        self._confusion = np.zeros((2, tracks, 2 if whole else 3, 3))
        self._sums = np.zeros((2, tracks, 5))
        self._cells = np.full((window, tracks, 3), -1, np.int32)
        self._costs = np.zeros((window, tracks, 2))
        self._places = np.zeros((tracks, 2), np.int64)
        self._clock = np.array([0, -1, 0])
        self._ones = np.ones((tracks, 1), np.uint8)

    def update(
        self,
        answers: ArrayLike,
        truth: ArrayLike,
        known: ArrayLike,
        alive: ArrayLike | None = None,
        scored: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Score n samples in order.

        Args:
            answers: float32 (K, n, C), probabilities by track, sample and class; of sample i only
                the first ``known[i]`` count.
            truth: int32 (n,), class numbers, maybe of a class not known yet; -1 where there is no
                truth.
            known: int32 (n,), number of classes known before each sample, at most C.
            alive: uint8 or bool (K, n), 0 where a track gave no answer; None: all alive.
            scored: uint8 or bool (n,), 0 where a sample must not enter any measure; its losses are
                returned and its label is what no-change repeats. None: all scored.

        Returns:
            float64 (n, K): ``-log(max(probability of the truth, floor))``; inf where a track was
            not alive or not finite, and where there is no truth.

        Raises:
            ValueError: if the shapes do not fit.
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
        if self._ones.shape[1] != n:
            self._ones = np.ones((self._tracks, n), np.uint8)
        alive = as_flags(alive, self._ones)
        scored = as_flags(scored, self._ones[0])
        losses = np.empty((n, self._tracks))
        i = 0
        while True:
            i = score_classes(
                answers,
                truth,
                known,
                alive,
                scored,
                losses,
                self._confusion,
                self._sums,
                self._cells,
                self._costs,
                self._places,
                self._clock,
                self._growth,
                self._floor,
                self._whole,
                i,
            )
            if i == n:
                return losses
            self._make_room(max(int(truth[i]) + 1, min(int(known[i]), answers.shape[2])))

    def measures(self, track: int, horizon: Horizon | str = Horizon.OVERALL) -> dict[str, float]:
        """All measures of a track by name; NaN where one is undefined.

        ``log_loss`` is the mean of the losses as ``update`` returns them, hence floored: by default
        a probability of the truth below 1e-4 counts as 1e-4.

        Raises:
            IndexError: if there is no such track.
            ValueError: if there is no such horizon.
        """
        k = range(self._tracks)[track]
        values = self._measures(slice(k, k + 1), Horizon(horizon))
        return {name: float(value[0]) for name, value in values.items()}

    def table(self, horizon: Horizon | str = Horizon.OVERALL) -> dict[str, NDArray[np.float64]]:
        """All measures by name, each for all tracks at once: float64 (K,)."""
        return self._measures(slice(None), Horizon(horizon))

    def confusion(
        self, track: int, horizon: Horizon | str = Horizon.OVERALL
    ) -> NDArray[np.float64]:
        """Weights of samples by truth (rows) and answer (columns; the last one: no answer).

        Shape (C, C + 1) for the C classes met so far. The newest sample has weight 1.

        Raises:
            IndexError: if there is no such track.
            ValueError: if there is no such horizon, or it was not kept ``whole``.
        """
        k = range(self._tracks)[track]
        classes = int(self._clock[CLASSES])
        if Horizon(horizon) is not Horizon.SLIDING:
            if not self._whole:
                raise ValueError(f"the {Horizon(horizon)} confusion was not kept whole")
            kept = self._kept(slice(k, k + 1), Horizon(horizon))[0]
            return np.ascontiguousarray(np.roll(kept, -1, axis=-1))
        truth, answer = self._ring(slice(k, k + 1))[:2]
        place = truth * (classes + 1) + np.where(answer < 0, classes, answer)
        counts = np.bincount(place[truth >= 0], minlength=classes * (classes + 1))
        return counts.reshape(classes, classes + 1).astype(np.float64)

    def scored(self, track: int) -> int:
        """Samples scored for a track since it was made or reset."""
        return int(self._places[range(self._tracks)[track], SEEN])

    def reset(self, track: int) -> None:
        """Forget all scores of a track: another candidate took its place."""
        k = range(self._tracks)[track]
        self._confusion[:, k] = 0.0
        self._sums[:, k] = 0.0
        self._cells[:, k] = -1
        self._costs[:, k] = 0.0
        self._places[k] = 0

    def export_state(self) -> dict[str, Any]:
        """Settings and a copy of all arrays, from which ``restore_state`` goes on exactly."""
        classes = int(self._clock[CLASSES])
        return {
            "tracks": self._tracks,
            "window": len(self._cells),
            "fading": self._fading,
            "floor": self._floor,
            "whole": self._whole,
            "confusion": self._confusion[:, :, : self._rows(classes), : classes + 1].copy(),
            "sums": self._sums.copy(),
            "cells": self._cells.copy(),
            "costs": self._costs.copy(),
            "places": self._places.copy(),
            "clock": self._clock.copy(),
        }

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """An evaluator that goes on from where ``state`` was exported.

        Raises:
            ModelFileError: if the parts of the state do not fit together.
        """
        self = cls(
            state["tracks"],
            window=state["window"],
            fading=state["fading"],
            floor=state["floor"],
            whole=state["whole"],
        )
        for name in ("sums", "cells", "costs", "places", "clock"):
            own = getattr(self, f"_{name}")
            if np.shape(state[name]) != own.shape:
                raise ModelFileError(f"evaluator: {name} has shape {np.shape(state[name])}")
            own[...] = state[name]
        classes = int(self._clock[CLASSES])
        shape = (2, self._tracks, self._rows(classes), classes + 1)
        if np.shape(state["confusion"]) != shape or not self._is_sound(classes):
            raise ModelFileError(f"evaluator: the state does not fit {classes} classes")
        self._grow(classes)
        self._confusion[:, :, : shape[2], : classes + 1] = state["confusion"]
        return self

    def _is_sound(self, classes: int) -> bool:
        """Whether every number by which a kernel or a count is indexed lies in its range."""
        cells = self._cells
        places = self._places
        return (
            0 <= self._clock[POSITION] < self._growth.size
            and -1 <= self._clock[LAST] < classes
            and bool(
                (cells >= -1).all() and (cells[:, :, :NO_CHANGE_MISSED] < max(classes, 1)).all()
            )
            and bool((places >= 0).all() and (places[:, PLACE] < len(cells)).all())
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
            new = 1 << (classes - 1).bit_length()
            self._confusion = np.zeros((2, self._tracks, self._rows(new), new + 1))
            self._confusion[:, :, : old.shape[2], : old.shape[3]] = old

    def _rows(self, classes: int) -> int:
        """Rows that are kept of a confusion matrix."""
        return classes if self._whole else 3

    def _measures(self, tracks: slice, horizon: Horizon) -> dict[str, NDArray[np.float64]]:
        if horizon is Horizon.SLIDING:
            counts, sums = self._recent(tracks)
        else:
            counts = self._counts(tracks, horizon)
            sums = self._sums[int(horizon is Horizon.FADING), tracks]
        weight = sums[:, WEIGHT]
        return {
            "accuracy": formulas.accuracy(counts),
            "balanced_accuracy": formulas.balanced_accuracy(counts),
            "macro_f1": formulas.macro_f1(counts),
            "kappa": formulas.cohen_kappa(counts),
            "kappa_temporal": formulas.kappa_temporal(
                sums[:, WRONG], sums[:, NO_CHANGE_WRONG], weight
            ),
            "mcc": formulas.matthews_corrcoef(counts),
            "log_loss": formulas.mean(sums[:, LOSS], weight),
            "brier": formulas.mean(sums[:, BRIER], weight),
        }

    def _kept(self, tracks: slice, horizon: Horizon) -> NDArray[np.float64]:
        """What is kept of confusion matrices, no answer first, the newest weight being 1."""
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
        """Truth, answer and no-change miss of the last samples: (3, window, tracks)."""
        return np.moveaxis(self._cells[:, tracks], -1, 0)

    def _recent(self, tracks: slice) -> tuple[ConfusionCounts, NDArray[np.float64]]:
        """Counts and sums of the sliding horizon, counted afresh: no rounding error piles up."""
        classes = int(self._clock[CLASSES])
        truth, answer, missed = self._ring(tracks)
        number = truth.shape[1]
        there = truth >= 0
        right = there & (answer == truth)
        answer = np.where(answer < 0, classes, answer)
        counts = ConfusionCounts(
            _count_by_class(truth, right, number, classes),
            _count_by_class(truth, there, number, classes),
            _count_by_class(answer, there, number, classes + 1),
        )
        weight = there.sum(0)
        missing = np.where(there, missed, 0).sum(0)
        costs = self._costs[:, tracks].sum(0)
        return counts, np.column_stack((weight, weight - right.sum(0), missing, costs))


def _count_by_class(
    classes: NDArray[Any], among: NDArray[np.bool_], tracks: int, size: int
) -> NDArray[np.float64]:
    """How often each class occurs in each track: (tracks, size)."""
    place = (classes + size * np.arange(tracks))[among]
    return np.bincount(place, minlength=tracks * size).reshape(tracks, size).astype(np.float64)
