"""Windows over scored samples (overall, sliding, fading), and the kernels that update them.

Index 0 of ``confusion``, ``sums`` and ``means`` is overall, 1 is fading; the sliding window is what
the rings ``cells``, ``costs`` and ``pairs`` hold.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.jit import exact, flush_subnormal, inlined
from streamnet.validation import check_integer, check_number

__all__ = (
    "ABSOLUTE",
    "ANSWER",
    "ANSWERS",
    "BRIER",
    "CENTER",
    "CLASSES",
    "HITS",
    "LAST",
    "LOSS",
    "MASS",
    "MAX_ERROR",
    "MAX_SQUARED",
    "NON_ZERO",
    "NO_CHANGE_MISSED",
    "NO_CHANGE_WRONG",
    "PLACE",
    "POSITION",
    "RELATIVE",
    "SEEN",
    "SQUARE",
    "TRUTH",
    "TRUTHS",
    "VARIANCE",
    "WEIGHT",
    "WRONG",
    "Horizon",
    "growing_weights",
    "score_classes",
    "score_numbers",
    "validate_windows",
)


MAX_WINDOW_SAMPLES = 1 << 25  # scored samples of all tracks together, which take a gigabyte
LONGEST_PERIOD = 1024
LARGEST_WEIGHT = 1e12


class Horizon(StrEnum):
    """How far back a measure looks.

    ``OVERALL`` weighs all scored samples of a track alike, ``SLIDING`` only its last ``window``
    ones, and ``FADING`` gives the newest sample weight 1 and every older one ``fading`` times the
    weight of the sample after it.

    >>> Horizon("fading") is Horizon.FADING
    True
    """

    OVERALL = "overall"
    SLIDING = "sliding"
    FADING = "fading"


def validate_windows(tracks: int, window: int, fading: float) -> None:
    """Check the settings that all evaluators share.

    Raises:
        ConfigurationError: if one of them has a value that its rule does not allow.
    """
    if tracks < 1:
        raise ConfigurationError(f"tracks is {tracks}, but must be >= 1")
    if check_integer("window", window) < 1:
        raise ConfigurationError(f"window is {window}, but must be >= 1")
    if window * tracks > MAX_WINDOW_SAMPLES:
        most = MAX_WINDOW_SAMPLES // tracks
        raise ConfigurationError(f"window is {window}, but must be <= {most} of {tracks} tracks")
    if not 0.01 <= check_number("fading", fading) <= 1.0:
        raise ConfigurationError(f"fading is {fading}, but must be >= 0.01 and <= 1")


def growing_weights(fading: float) -> NDArray[np.float64]:
    """Weights ``fading ** -j`` for j = 0 up to the length of a period.

    Instead of shrinking all sums at every sample, each sample weighs more than the one before it,
    and all sums are divided by the last of these weights once a period, before it would be used.
    """
    shrink = -math.log(fading)
    limit = math.log(LARGEST_WEIGHT)
    period = LONGEST_PERIOD if shrink * LONGEST_PERIOD <= limit else int(limit / shrink)
    return np.array([fading**-j for j in range(period + 1)])


SEEN, PLACE = range(2)  # places: samples scored, and where in the rings the next one goes

WEIGHT, WRONG, NO_CHANGE_WRONG, LOSS, BRIER = range(5)  # sums
HITS, TRUTHS, ANSWERS = range(3)  # rows of a confusion of which only these are kept
TRUTH, ANSWER, NO_CHANGE_MISSED = range(3)  # cells; an empty one has truth -1
POSITION, LAST, CLASSES = range(3)  # clock

MASS, NON_ZERO, ABSOLUTE, SQUARE, RELATIVE, CENTER, VARIANCE = range(7)  # means
MAX_ERROR = 1e308  # of an absolute or relative error: anything larger counts as this
MAX_SQUARED = 1e150  # of a truth or answer where errors are squared


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
    scored: NDArray[np.uint8],
    losses: NDArray[np.float64],
    confusion: NDArray[np.float64],
    sums: NDArray[np.float64],
    cells: NDArray[np.int32],
    costs: NDArray[np.float64],
    places: NDArray[np.int64],
    clock: NDArray[np.int64],
    growth: NDArray[np.float64],
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
        missed = 0 if y == clock[LAST] else 1
        for k in range(tracks):
            losses[i, k] = np.inf
            if alive[k, i] == 0 or y < 0:
                continue
            best, p, brier = _score_answer(answers, k, i, y, classes)
            if not math.isfinite(brier):
                continue
            loss = -math.log(max(p, floor))
            losses[i, k] = loss
            if not counted:
                continue
            wrong = 0 if best == y else 1
            place = places[k, PLACE]
            places[k, SEEN] += 1
            places[k, PLACE] = place + 1 if place + 1 < window else 0
            cells[place, k, TRUTH] = y
            cells[place, k, ANSWER] = best
            cells[place, k, NO_CHANGE_MISSED] = missed
            costs[place, k, 0] = loss
            costs[place, k, 1] = brier
            for h in range(2):
                w = weight if h == 1 else 1.0
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


@exact
def score_numbers(
    answers: NDArray[np.float64],
    truth: NDArray[np.float64],
    alive: NDArray[np.uint8],
    scored: NDArray[np.uint8],
    losses: NDArray[np.float64],
    means: NDArray[np.float64],
    pairs: NDArray[np.float64],
    places: NDArray[np.int64],
    fading: float,
) -> None:
    """Score all samples: weighted running means, which unlike sums can't overflow.

    The variance of the truth is NaN while it changes by so little that all squares are 0, and
    infinite once a truth was too large to be squared.
    """
    tracks, samples = answers.shape
    window = pairs.shape[0]
    for i in range(samples):
        y = truth[i]
        known = math.isfinite(y)
        counted = known and scored[i] != 0
        near_y = min(max(y, -MAX_SQUARED), MAX_SQUARED)
        for k in range(tracks):
            if counted:
                means[1, k, MASS] = flush_subnormal(means[1, k, MASS] * fading)
                means[1, k, NON_ZERO] = flush_subnormal(means[1, k, NON_ZERO] * fading)
            losses[i, k] = np.inf
            a = answers[k, i]
            if alive[k, i] == 0 or not known or not math.isfinite(a):
                continue
            loss = min(abs(y - a), MAX_ERROR)
            losses[i, k] = loss
            if not counted:
                continue
            place = places[k, PLACE]
            places[k, SEEN] += 1
            places[k, PLACE] = place + 1 if place + 1 < window else 0
            pairs[place, k, 0] = y
            pairs[place, k, 1] = a
            miss = near_y - min(max(a, -MAX_SQUARED), MAX_SQUARED)
            for h in range(2):
                m = means[h, k]
                m[MASS] += 1.0
                share = 1.0 / m[MASS]
                m[ABSOLUTE] = flush_subnormal(m[ABSOLUTE] + (loss - m[ABSOLUTE]) * share)
                m[SQUARE] = flush_subnormal(m[SQUARE] + (miss * miss - m[SQUARE]) * share)
                away = near_y - m[CENTER]
                m[CENTER] = flush_subnormal(m[CENTER] + away * share)
                changed = share < 1.0 and away != 0.0
                if math.isnan(m[VARIANCE]):
                    changed = True
                    m[VARIANCE] = 0.0
                m[VARIANCE] = flush_subnormal((1.0 - share) * (m[VARIANCE] + share * (away * away)))
                if near_y != y:
                    m[VARIANCE] = np.inf
                elif changed and m[VARIANCE] == 0.0:
                    m[VARIANCE] = np.nan
                if y != 0.0:
                    m[NON_ZERO] += 1.0
                    m[RELATIVE] += (min(loss / abs(y), MAX_ERROR) - m[RELATIVE]) / m[NON_ZERO]
