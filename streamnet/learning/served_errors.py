"""Sums of the errors of what is served and of the baselines, over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.experts import ScoringBatch
from streamnet.jit import inlined, kernel
from streamnet.metrics.windows import get_weight
from streamnet.samples import NO_WEIGHTS
from streamnet.selection.ensemble.base import TrackPredictions

_MAX_ERROR = 1e300  # larger errors are clipped, so that sums stay finite


def accumulate_errors(
    batch: ScoringBatch,
    predictions: TrackPredictions,
    tracks: NDArray[np.int64],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Add up errors sample by sample, so that the sums do not depend on how blocks are cut.

    An error is 1 for a wrong label and 0 for a right one, or the absolute error of a number, times
    the sample's weight; samples without a target are skipped. ``tracks`` are the served one and the
    baselines, whose ``sums`` are updated in place, and so is the sum of weights after them. After
    ``every`` samples the sums are recorded, divided by the mean weight.

    Returns the new number of samples summed; the recorded sums, shape=(times, tracks); and
    the loss of the served predictions, shape=(n,): their error, of numbers in standard deviations
    and at most 1; NaN for skipped samples.
    """
    answers, classes = predictions
    n = answers.shape[1]
    recorded = np.empty((n // every + 1, len(tracks)))
    losses = np.empty(n)
    weight = NO_WEIGHTS if batch.weight is None else batch.weight
    truth, totals = batch.truth, (weight, sums, scored, every, recorded, losses)
    if answers.ndim == 3:
        now = _accumulate_label_errors(answers, classes, tracks, truth, batch.known, *totals)
    else:
        now = _accumulate_number_errors(answers, tracks, truth, batch.spread, *totals)
    return now, recorded[: now // every - scored // every], losses


@kernel
def _accumulate_label_errors(
    answers: NDArray[np.floating],
    classes: NDArray[np.int32],
    tracks: NDArray[np.int64],
    label: NDArray[np.int32],
    known: NDArray[np.int32],
    importance: NDArray[np.float64],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
    recorded: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> int:
    records = 0
    for i in range(label.size):
        losses[i] = np.nan
        if label[i] < 0:
            continue
        weight = get_weight(importance, i)
        for t in range(tracks.size):
            best = 0
            for o in range(1, answers.shape[2]):
                if answers[tracks[t], i, o] > answers[tracks[t], i, best]:
                    best = o
            if classes.size > 0 and classes[tracks[t], i] >= 0:
                best = classes[tracks[t], i]
            wrong = 1.0 if known[i] == 0 or best != label[i] else 0.0
            sums[t] += weight * wrong
            if t == 0:
                losses[i] = wrong
        sums[tracks.size] += weight
        scored += 1
        records = _record_sums(sums, scored, every, recorded, records)
    return scored


@kernel
def _accumulate_number_errors(
    answers: NDArray[np.float64],
    tracks: NDArray[np.int64],
    truth: NDArray[np.float64],
    spread: NDArray[np.float64],
    importance: NDArray[np.float64],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
    recorded: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> int:
    records = 0
    for i in range(truth.size):
        losses[i] = np.nan
        if not np.isfinite(truth[i]):
            continue
        weight = get_weight(importance, i)
        for t in range(tracks.size):
            distance = min(abs(answers[tracks[t], i] - truth[i]), _MAX_ERROR)
            sums[t] += weight * distance
            if t == 0:
                losses[i] = min(distance / spread[i], 1.0)
        sums[tracks.size] += weight
        scored += 1
        records = _record_sums(sums, scored, every, recorded, records)
    return scored


@inlined
def _record_sums(
    sums: NDArray[np.float64], scored: int, every: int, recorded: NDArray[np.float64], records: int
) -> int:
    """Record the sums if it is time to; return how many were recorded by now."""
    if scored % every == 0:
        weights = sums[sums.size - 1]
        share = 1.0 if weights == scored else scored / weights
        for t in range(sums.size - 1):
            recorded[records, t] = sums[t] * share
        records += 1
    return records
