"""Mixers of two ensembles, side by side in the lanes of vectors: how they mix and learn, compiled.

Each mixer of both is a lane, so that their sums over the experts are made side by side, each expert
after the one before: experts that have no weight may be left out, and no bit changes. Of what an
ensemble has once, such as its best expert, each of its four lanes has a copy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined
from streamnet.networks import simd
from streamnet.networks.simd import EIGHT
from streamnet.networks.simd import FOUR
from streamnet.networks.simd.functions import exponential
from streamnet.networks.simd.functions import logarithm
from streamnet.selection.mixing import FINAL_RATE
from streamnet.selection.mixing import fade
from streamnet.selection.opinions import FLOOR
from streamnet.selection.opinions import LOG_FLOOR

__all__ = (
    "BEST_ONE",
    "BEST_SCORES",
    "BEST_SHARES",
    "EARS",
    "MIXERS",
    "PAIR",
    "ROWS",
    "SAID",
    "SCORES",
    "SERVED",
    "SHARES",
    "WIDTH",
    "finish",
    "judge",
    "keep",
    "lay_out",
    "mix",
    "move",
    "move_final",
    "repeat",
    "share",
    "shares_of",
    "soften",
)

PAIR = 2  # ensembles
DAMPING = 1e-3  # of AdaGrad, so that first steps are short
# How fast the weights of each mixer move, whether by AdaGrad, and what divides a step's square.
RATES = np.array([0.002, 0.008, 0.02, 0.08] * PAIR)
ADAPTIVE = np.array([0.0, 0.0, 1.0, 1.0] * PAIR)
DAMPINGS = np.array([1.0, 1.0, DAMPING, DAMPING] * PAIR)
MIXERS = FOUR
BEST = MIXERS  # after the mixers, what the best expert says alone
WIDTH = MIXERS + 1
FINAL = WIDTH  # after them, what the final mixer makes of them
BEST_ONE, SERVED = range(2)  # what is chosen: an expert; a mixer, BEST or FINAL
FIRST = np.repeat([1.0, 0.0], MIXERS)  # lanes of the first ensemble
SECOND = 1.0 - FIRST

# Rows of working memory: by label what the mixers and the best experts say, as scores, which are
# logarithms, and as shares, in turn for a sample and the one before. Of the final mixers the
# shares, the logarithm of that of the truth, the weights and the squares of slopes. Whom each
# ensemble hears.
SCORES, BEST_SCORES, SHARES, BEST_SHARES = range(0, 8, 2)
SAID, LOGARITHMS, FINALS, EARS = range(8, 12)
ROWS = EARS + 1


@exact_inlined
def _halves(first: float, second: float):  # type: ignore[no-untyped-def]  # a vector
    """A number in each lane of the first ensemble, and another one in those of the second."""
    both = simd.multiply(simd.splat_eight(second), simd.load_eight(SECOND, 0))
    return simd.multiply_add(simd.splat_eight(first), simd.load_eight(FIRST, 0), both)


@exact_inlined
def lay_out(
    members: NDArray[np.uint8],
    final: NDArray[np.float64],
    final_squares: NDArray[np.float64],
    rows: NDArray[np.float64],
) -> None:
    """Lay out in lanes what is not kept so."""
    for k in range(members.shape[1]):
        ears = _halves(float(members[0, k]), float(members[1, k]))
        simd.store(rows[EARS], EIGHT * k, ears)
    for half in range(PAIR):
        for m in range(MIXERS):
            at = half * MIXERS + m
            rows[FINALS, at] = final[half, m]
            rows[FINALS, at + EIGHT] = final[half, BEST]
            rows[FINALS, at + 2 * EIGHT] = final_squares[half, m]
            rows[FINALS, at + 3 * EIGHT] = final_squares[half, BEST]


@exact_inlined
def keep(
    final: NDArray[np.float64],
    final_squares: NDArray[np.float64],
    rows: NDArray[np.float64],
) -> None:
    """Keep what was laid out and has changed."""
    for half in range(PAIR):
        for m in range(WIDTH):
            at = half * MIXERS + (m if m < MIXERS else EIGHT)
            final[half, m] = rows[FINALS, at]
            final_squares[half, m] = rows[FINALS, at + 2 * EIGHT]


@exact_inlined
def mix(
    weights: NDArray[np.float64],
    opinions: NDArray[np.float64],
    known: int,
    scores: NDArray[np.float64],
) -> None:
    """What each mixer says: shares in proportion to the experts' to the power of their weights."""
    for c in range(known):
        score = simd.splat_eight(0.0)
        for k in range(opinions.shape[1]):
            opinion = simd.splat_eight(opinions[c, k])
            score = simd.multiply_add(opinion, simd.load_eight(weights, EIGHT * k), score)
        simd.store(scores, EIGHT * c, score)


@exact_inlined
def repeat(
    first: int,
    second: int,
    opinions: NDArray[np.float64],
    known: int,
    scores: NDArray[np.float64],
) -> None:
    """What the best experts say, whose shares may not sum to 1; without one all are equal."""
    for c in range(known):
        one = opinions[c, first] if first >= 0 else 0.0
        other = opinions[c, second] if second >= 0 else 0.0
        simd.store(scores, EIGHT * c, _halves(one, other))


@exact_inlined
def soften(scores: NDArray[np.float64], known: int, shares: NDArray[np.float64]) -> None:
    """Scores to shares in each lane; scores become the logarithms of them, none below the floor."""
    total = shares_of(scores, known, shares)
    floor, scale = simd.splat_eight(LOG_FLOOR), logarithm(total)
    for c in range(known):
        score = simd.subtract(simd.load_eight(scores, EIGHT * c), scale)
        simd.store(scores, EIGHT * c, simd.larger(score, floor))


@exact_inlined
def shares_of(scores: NDArray[np.float64], known: int, shares: NDArray[np.float64]):  # type: ignore[no-untyped-def]  # a vector
    """Scores to shares in each lane; the largest score becomes 0. Returns by what was divided."""
    peak = simd.splat_eight(-np.inf)
    for c in range(known):
        peak = simd.larger(peak, simd.load_eight(scores, EIGHT * c))
    total = simd.splat_eight(0.0)
    for c in range(known):
        score = simd.subtract(simd.load_eight(scores, EIGHT * c), peak)
        simd.store(scores, EIGHT * c, score)
        share = exponential(score)
        simd.store(shares, EIGHT * c, share)
        total = simd.add(total, share)
    part = simd.divide(simd.splat_eight(1.0), total)
    for c in range(known):
        at = EIGHT * c
        simd.store(shares, at, simd.multiply(simd.load_eight(shares, at), part))
    return total


@exact_inlined
def finish(known: int, turn: int, rows: NDArray[np.float64]) -> None:
    """What the final mixers say, which take the mixers and the best expert for experts."""
    weights, own = simd.load_eight(rows[FINALS], 0), simd.load_eight(rows[FINALS], EIGHT)
    for c in range(known):
        at = EIGHT * c
        mixed = simd.multiply(weights, simd.load_eight(rows[SCORES + turn], at))
        best = simd.load_eight(rows[BEST_SCORES + turn], at)
        simd.store(rows[SAID], at, simd.multiply_add(own, best, simd.total_of_fours(mixed)))


@exact_inlined
def move(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    known: int,
    truth: int,
    opinions: NDArray[np.float64],
    shares: NDArray[np.float64],
    ears: NDArray[np.float64],
) -> None:
    """A step of each mixer down the slope of its log-loss."""
    rates, adaptive = simd.load_eight(RATES, 0), simd.load_eight(ADAPTIVE, 0)
    dampings = simd.load_eight(DAMPINGS, 0)
    for k in range(opinions.shape[1]):
        slope = simd.splat_eight(-opinions[truth, k])
        for c in range(known):
            share = simd.load_eight(shares, EIGHT * c)
            slope = simd.multiply_add(simd.splat_eight(opinions[c, k]), share, slope)
        at = EIGHT * k
        slope = simd.multiply(slope, simd.load_eight(ears, at))
        square = simd.multiply(adaptive, slope)
        square = simd.multiply_add(square, slope, simd.load_eight(squares, at))
        simd.store(squares, at, square)
        step = simd.multiply(slope, simd.reciprocal_root(simd.add(square, dampings)))
        step = simd.multiply(rates, step)
        simd.store(weights, at, simd.subtract(simd.load_eight(weights, at), step))


@exact_inlined
def move_final(known: int, truth: int, turn: int, rows: NDArray[np.float64]) -> None:
    """The same of each final mixer, by AdaGrad."""
    for part in range(2):  # weights of the mixers, and of the best experts
        scores = rows[(BEST_SCORES if part else SCORES) + turn]
        slope = simd.subtract(simd.splat_eight(0.0), simd.load_eight(scores, EIGHT * truth))
        for c in range(known):
            said = simd.load_eight(rows[SAID], EIGHT * c)
            slope = simd.multiply_add(said, simd.load_eight(scores, EIGHT * c), slope)
        at = EIGHT * part
        square = simd.load_eight(rows[FINALS], at + 2 * EIGHT)
        square = simd.multiply_add(slope, slope, square)
        simd.store(rows[FINALS], at + 2 * EIGHT, square)
        root = simd.reciprocal_root(simd.add(square, simd.splat_eight(DAMPING)))
        step = simd.multiply(simd.splat_eight(FINAL_RATE), simd.multiply(slope, root))
        weight = simd.load_eight(rows[FINALS], at)
        simd.store(rows[FINALS], at, simd.subtract(weight, step))


@exact_inlined
def judge(
    known: int,
    truth: int,
    turn: int,
    combined: NDArray[np.float64],
    fading: float,
    rows: NDArray[np.float64],
) -> None:
    """Take in the log-losses of the mixers, the best experts and the final mixers."""
    share = simd.splat_eight(FLOOR)
    if truth < known:
        share = simd.larger(simd.load_eight(rows[SAID], EIGHT * truth), share)
    simd.store_in_parts(rows[LOGARITHMS], 0, logarithm(share))
    for half in range(combined.shape[0]):
        at = MIXERS * half
        for m in range(WIDTH + 1):
            if m == FINAL:
                loss = -rows[LOGARITHMS, at]
            elif truth >= known:
                loss = -LOG_FLOOR
            elif m == BEST:
                loss = -rows[BEST_SCORES + turn, EIGHT * truth + at]
            else:
                loss = -rows[SCORES + turn, EIGHT * truth + at + m]
            fade(combined[half], m, loss, fading)


@exact_inlined
def share(rows: NDArray[np.float64], turn: int, half: int, m: int, c: int) -> float:
    """Share that a mixer, the best expert or the final mixer of an ensemble gives to a label."""
    at = EIGHT * c + MIXERS * half
    if m < MIXERS:
        return float(rows[SHARES + turn, at + m])
    return float(rows[SAID if m == FINAL else BEST_SHARES + turn, at])
