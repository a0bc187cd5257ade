"""Summed errors of what was served and of the baselines, noted at fixed numbers of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import inlined
from streamnet.jit import kernel
from streamnet.learning.answered import Answered

__all__ = ("add_errors",)

_LARGEST = 1e300  # anything larger counts as this, so that sums stay finite


def add_errors(
    answered: Answered,
    answers: NDArray[Any],
    tracks: NDArray[np.int64],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Add errors, one sample after the other, so that cuts change no bit of a sum.

    An error is 1 for a wrong label and 0 for a right one, or the absolute error of a number.

    Args:
        answered: The samples; those without a target are left out.
        answers: Shares (tracks, n, outputs) or numbers (tracks, n).
        tracks: shape=(3,), of what was served and of two baselines.
        sums: shape=(3,), of these; changed.
        scored: Samples summed before these.
        every: Sums are noted whenever this many samples more were summed.

    Returns:
        Samples summed by now; the sums that were noted, shape=(times, 3); and the loss of what was
        served, shape=(n,): the error, of numbers in standard deviations, at most 1; NaN where a
        sample was left out.
    """
    n = answers.shape[1]
    notes = np.empty((n // every + 1, 3))
    losses = np.empty(n)
    truth, others = answered.truth, (sums, scored, every, notes, losses)
    if answers.ndim == 3:
        now = _add_wrong(answers, tracks, truth, answered.known, *others)
    else:
        now = _add_distances(answers, tracks, truth, answered.spread, *others)
    return now, notes[: now // every - scored // every], losses


@kernel
def _add_wrong(
    answers: NDArray[np.floating],
    tracks: NDArray[np.int64],
    label: NDArray[np.int32],
    known: NDArray[np.int32],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
    notes: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> int:
    noted = 0
    for i in range(label.size):
        losses[i] = np.nan
        if label[i] < 0:
            continue
        for t in range(3):
            best = 0
            for o in range(1, answers.shape[2]):
                if answers[tracks[t], i, o] > answers[tracks[t], i, best]:
                    best = o
            wrong = 1.0 if known[i] == 0 or best != label[i] else 0.0
            sums[t] += wrong
            if t == 0:
                losses[i] = wrong
        scored += 1
        noted = _note(sums, scored, every, notes, noted)
    return scored


@kernel
def _add_distances(
    answers: NDArray[np.float64],
    tracks: NDArray[np.int64],
    truth: NDArray[np.float64],
    spread: NDArray[np.float64],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
    notes: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> int:
    noted = 0
    for i in range(truth.size):
        losses[i] = np.nan
        if not np.isfinite(truth[i]):
            continue
        for t in range(3):
            distance = min(abs(answers[tracks[t], i] - truth[i]), _LARGEST)
            sums[t] += distance
            if t == 0:
                losses[i] = min(distance / spread[i], 1.0)
        scored += 1
        noted = _note(sums, scored, every, notes, noted)
    return scored


@inlined
def _note(
    sums: NDArray[np.float64], scored: int, every: int, notes: NDArray[np.float64], noted: int
) -> int:
    """Note the sums if it is time to; returns how often that was done."""
    if scored % every == 0:
        for t in range(3):
            notes[noted, t] = sums[t]
        noted += 1
    return noted
