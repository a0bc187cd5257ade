"""Summed errors of what was served and of the baselines, noted at fixed numbers of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.features.encoded import Encoded
from streamnet.jit import kernel
from streamnet.learning.evaluator import numbers_of

__all__ = ("add_errors",)

_LARGEST = 1e300  # anything larger counts as this, so that sums stay finite


def add_errors(
    encoded: Encoded,
    served: NDArray[Any],
    baselines: NDArray[Any],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
) -> tuple[int, NDArray[np.float64]]:
    """Add a block's errors, one sample after the other, so that cuts change no bit of a sum.

    An error is 1 for a wrong label and 0 for a right one, or the absolute error of a number.

    Args:
        encoded: The block; samples without a target are left out.
        served: Shares (n, outputs) or numbers (n,).
        baselines: The same of two baselines.
        sums: shape=(3,), of served and the baselines; changed.
        scored: Samples summed before this block.
        every: Sums are noted whenever this many samples more were summed.

    Returns:
        Samples summed by now, and the sums that were noted, shape=(times, 3).
    """
    n = len(served)
    notes = np.empty((n // every + 1, 3))
    if served.ndim == 2:
        now = _add_wrong(
            served, baselines, encoded.label, encoded.known, sums, scored, every, notes
        )
    else:
        truth = numbers_of(encoded)
        now = _add_distances(served, baselines, truth, encoded.goal, sums, scored, every, notes)
    return now, notes[: now // every - scored // every]


@kernel
def _add_wrong(
    served: NDArray[np.floating],
    baselines: NDArray[np.floating],
    label: NDArray[np.int32],
    known: NDArray[np.int32],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
    notes: NDArray[np.float64],
) -> int:
    noted = 0
    for i in range(label.size):
        if label[i] < 0:
            continue
        for track in range(3):
            best = 0
            if track == 0:
                for o in range(1, served.shape[1]):
                    if served[i, o] > served[i, best]:
                        best = o
            else:
                for o in range(1, baselines.shape[2]):
                    if baselines[track - 1, i, o] > baselines[track - 1, i, best]:
                        best = o
            if known[i] == 0 or best != label[i]:
                sums[track] += 1.0
        scored += 1
        if scored % every == 0:
            for track in range(3):
                notes[noted, track] = sums[track]
            noted += 1
    return scored


@kernel
def _add_distances(
    served: NDArray[np.float64],
    baselines: NDArray[np.float64],
    truth: NDArray[np.float64],
    goal: NDArray[np.float64],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
    notes: NDArray[np.float64],
) -> int:
    noted = 0
    for i in range(truth.size):
        if not np.isfinite(goal[i]):
            continue
        for track in range(3):
            answer = served[i] if track == 0 else baselines[track - 1, i]
            sums[track] += min(abs(answer - truth[i]), _LARGEST)
        scored += 1
        if scored % every == 0:
            for track in range(3):
                notes[noted, track] = sums[track]
            noted += 1
    return scored
