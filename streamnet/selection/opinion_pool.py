"""Logarithmic opinion pools learned online: how `LabelEnsemble` combines and learns, compiled.

Each of the mixers is a lane of a vector, so that their sums over the experts are made side by side,
each expert after the one before: experts that have no weight may be left out, and no bit changes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

from streamnet.jit import exact_kernel
from streamnet.networks import simd
from streamnet.networks.simd import FOUR
from streamnet.networks.simd import LANES
from streamnet.networks.simd_functions import exponential
from streamnet.networks.simd_functions import logarithm
from streamnet.selection.mixing import FINAL_RATE
from streamnet.selection.mixing import PRIORS
from streamnet.selection.mixing import fade
from streamnet.selection.mixing import least

__all__ = ("MIXERS", "Scratch", "new_scratch", "pool")

FLOOR = 1e-4  # least probability in a logarithm
LOG_FLOOR = math.log(FLOOR)
DAMPING = 1e-3  # of AdaGrad, so that first steps are short
# How fast the weights of each mixer move, whether by AdaGrad, and what divides a step's square.
RATES = np.array([0.002, 0.008, 0.02, 0.08])
ADAPTIVE = np.array([0.0, 0.0, 1.0, 1.0])
DAMPINGS = np.array([1.0, 1.0, DAMPING, DAMPING])
MIXERS = FOUR
BEST = MIXERS  # after the mixers, what the best expert says alone
WIDTH = MIXERS + 1
FINAL = WIDTH  # after them, what the final mixer makes of them


COUNTED, SCORES, SHARES, TOTALS, SAID = range(5)  # rows of working memory


class Scratch(NamedTuple):
    """Working memory for C labels; where vectors are stored, there is room for whole ones."""

    heard: NDArray[np.floating]  # shape=(candidates * C,) and more: shares, then logarithms
    opinions: NDArray[np.float64]  # shape=(C, experts): logarithms of shares
    # COUNTED, shape=(PRIORS * C,): what the priors say; SCORES, shape=(C * WIDTH,): logarithms of
    # SHARES, which are likewise those of the mixers and of the best expert, label by label; TOTALS,
    # shape=(WIDTH,); SAID, shape=(C,): shares by the final mixer.
    rows: NDArray[np.float64]
    flags: NDArray[np.uint8]  # shape=(experts + MIXERS + 2,)


def new_scratch(candidates: int, labels: int, dtype: DTypeLike) -> Scratch:
    """Working memory for so many labels, answered in ``dtype``."""
    experts = candidates + PRIORS
    # Nobody looks at what becomes of numbers that only fill up a vector.
    return Scratch(
        np.empty(candidates * labels + LANES, dtype),
        np.empty((labels, experts)),
        np.empty((SAID + 1, labels * WIDTH + FOUR)),
        np.empty(experts + MIXERS + 2, np.uint8),
    )


@exact_kernel
def _logarithms(numbers: NDArray[np.float64], count: int) -> None:
    for j in range(0, count, FOUR):
        simd.store(numbers, j, logarithm(simd.load_four(numbers, j)))


@exact_kernel
def _exponentials(numbers: NDArray[np.float64], count: int, out: NDArray[np.float64]) -> None:
    for j in range(0, count, FOUR):
        simd.store(out, j, exponential(simd.load_four(numbers, j)))


@exact_kernel
def _listen(
    answers: NDArray[np.floating],
    i: int,
    known: int,
    able: NDArray[np.uint8],
    transitions: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    last: int,
    scratch: Scratch,
) -> None:
    """Logarithms of what each expert says about sample ``i``; 0 for one that is not able."""
    heard, counted, opinions = scratch.heard, scratch.rows[COUNTED], scratch.opinions
    candidates = answers.shape[0]
    floor = heard.dtype.type(FLOOR)
    for k in range(candidates):
        for c in range(known):
            heard[k * known + c] = max(answers[k, i, c], floor)
    for j in range(0, candidates * known, LANES):
        simd.store(heard, j, logarithm(simd.load(heard, j)))
    # Counts of what followed the last label, and of all labels, both faded; each label counts as
    # one part of a sample more, so that none is ruled out.
    for prior in range(PRIORS):
        counts = transitions[last] if prior == 0 and able[candidates] != 0 else frequencies
        total = 1.0
        for c in range(known):
            total += counts[c]
        for c in range(known):
            counted[prior * known + c] = max((counts[c] + 1.0 / known) / total, FLOOR)
    _logarithms(counted, PRIORS * known)
    for c in range(known):
        for k in range(candidates):
            opinions[c, k] = heard[k * known + c] if able[k] != 0 else 0.0
        for prior in range(PRIORS):
            k = candidates + prior
            opinions[c, k] = counted[prior * known + c] if able[k] != 0 else 0.0


@exact_kernel
def _normalise(shares: NDArray[np.floating], known: int) -> None:
    total = 0.0
    for c in range(known):
        total += shares[c]
    for c in range(known):
        shares[c] /= total


@exact_kernel
def _score(weights: NDArray[np.float64], known: int, best: int, scratch: Scratch) -> None:
    """Each mixer's sums of the opinions by its weights, and what the best expert says.

    The largest of each becomes 0. Without a best expert there are only zeros.
    """
    opinions, scores = scratch.opinions, scratch.rows[SCORES]
    for c in range(known):
        score = simd.splat_four(0.0)
        for k in range(weights.shape[1]):
            opinion = simd.splat_four(opinions[c, k])
            score = simd.multiply_add(opinion, simd.load_four(weights, MIXERS * k), score)
        simd.store(scores, WIDTH * c, score)
        scores[WIDTH * c + BEST] = opinions[c, best] if best >= 0 else 0.0
    for m in range(WIDTH):
        peak = -np.inf
        for c in range(known):
            peak = max(peak, scores[WIDTH * c + m])
        for c in range(known):
            scores[WIDTH * c + m] -= peak


@exact_kernel
def _share(known: int, scratch: Scratch) -> None:
    """Scores to shares: in proportion to the experts' shares to the power of their weights."""
    scores, shares, totals = scratch.rows[SCORES], scratch.rows[SHARES], scratch.rows[TOTALS]
    _exponentials(scores, WIDTH * known, shares)
    for m in range(WIDTH):
        totals[m] = 0.0
    for c in range(known):
        for m in range(WIDTH):
            totals[m] += shares[WIDTH * c + m]
    for c in range(known):
        for m in range(WIDTH):
            shares[WIDTH * c + m] /= totals[m]
    _logarithms(totals, WIDTH)
    for c in range(known):
        for m in range(WIDTH):
            scores[WIDTH * c + m] = max(scores[WIDTH * c + m] - totals[m], LOG_FLOOR)


@exact_kernel
def _finish(weights: NDArray[np.float64], known: int, scratch: Scratch) -> None:
    """Shares by the final mixer, which takes the mixers and the best expert for experts."""
    scores, said = scratch.rows[SCORES], scratch.rows[SAID]
    peak = -np.inf
    for c in range(known):
        score = 0.0
        for m in range(WIDTH):
            score += weights[m] * scores[WIDTH * c + m]
        said[c] = score
        peak = max(peak, score)
    for c in range(known):
        said[c] -= peak
    _exponentials(said, known, said)
    _normalise(said, known)


@exact_kernel
def _move(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    known: int,
    truth: int,
    scratch: Scratch,
) -> None:
    """A step of each mixer down the slope of its log-loss."""
    opinions, shares = scratch.opinions, scratch.rows[SHARES]
    rates, adaptive = simd.load_four(RATES, 0), simd.load_four(ADAPTIVE, 0)
    dampings = simd.load_four(DAMPINGS, 0)
    for k in range(weights.shape[1]):
        slope = simd.splat_four(-opinions[truth, k])
        for c in range(known):
            share = simd.load_four(shares, WIDTH * c)
            slope = simd.multiply_add(simd.splat_four(opinions[c, k]), share, slope)
        at = MIXERS * k
        square = simd.multiply(adaptive, slope)
        square = simd.multiply_add(square, slope, simd.load_four(squares, at))
        simd.store(squares, at, square)
        step = simd.divide(slope, simd.square_root(simd.add(square, dampings)))
        step = simd.multiply(rates, step)
        simd.store(weights, at, simd.subtract(simd.load_four(weights, at), step))


@exact_kernel
def _move_final(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    known: int,
    truth: int,
    scratch: Scratch,
) -> None:
    """The same of the final mixer, by AdaGrad."""
    scores, said = scratch.rows[SCORES], scratch.rows[SAID]
    for m in range(WIDTH):
        slope = -scores[WIDTH * truth + m]
        for c in range(known):
            slope += said[c] * scores[WIDTH * c + m]
        squares[m] += slope * slope
        weights[m] -= FINAL_RATE * slope / math.sqrt(squares[m] + DAMPING)


@exact_kernel
def pool(
    answers: NDArray[np.floating],  # shape=(candidates, n, C)
    alive: NDArray[np.uint8],  # shape=(candidates, n)
    truth: NDArray[np.int32],
    known: NDArray[np.int32],
    learns: bool,
    fading: float,
    margin: float,
    members: NDArray[np.uint8],
    weights: NDArray[np.float64],  # shape=(MIXERS, experts), those of an expert side by side
    squares: NDArray[np.float64],  # likewise
    final: NDArray[np.float64],
    final_squares: NDArray[np.float64],
    losses: NDArray[np.float64],
    combined: NDArray[np.float64],
    chosen: NDArray[np.int64],
    transitions: NDArray[np.float64],  # shape=(C + 1, C), see LabelEnsemble
    frequencies: NDArray[np.float64],  # shape=(C,)
    last: NDArray[np.int64],
    counts: NDArray[np.float64],  # shape=(C,), or empty, see LabelEnsemble
    scratch: Scratch,
    served: NDArray[np.float64],  # shape=(n, C), written
) -> None:
    """Answer n samples in order, each before its truth is learned; see `LabelEnsemble.serve`."""
    candidates, n, width = answers.shape
    scores, shares, said = scratch.rows[SCORES], scratch.rows[SHARES], scratch.rows[SAID]
    able = scratch.flags[: members.size]
    everyone = scratch.flags[members.size :]
    for k in range(members.size):
        able[k] = members[k]
    for m in range(WIDTH + 1):
        everyone[m] = 1
    for i in range(n):
        names = min(known[i], width)
        for k in range(candidates):
            able[k] = members[k] if alive[k, i] != 0 else 0
        if names == 0:
            if learns and truth[i] >= 0:
                _note(transitions, frequencies, last, counts, truth[i], fading)
            continue
        _listen(answers, i, names, able, transitions, frequencies, last[0], scratch)
        best = least(losses, able, chosen[0], margin)
        chosen[0] = best if learns else chosen[0]
        _score(weights, names, best, scratch)
        _share(names, scratch)
        _finish(final, names, scratch)
        for c in range(names):
            by = chosen[1]
            served[i, c] = said[c] if by == FINAL else shares[WIDTH * c + by]
        _balance(served[i], counts, names)
        y = truth[i]
        if not learns or y < 0:
            continue
        _judge(scratch.opinions, able, members, names, y, losses, fading)
        for m in range(WIDTH):
            fade(combined, m, -scores[WIDTH * y + m] if y < names else -LOG_FLOOR, fading)
        share = said[y] if y < names else FLOOR
        fade(combined, FINAL, -math.log(max(share, FLOOR)), fading)
        chosen[1] = least(combined, everyone, chosen[1], margin)
        if y < names:
            _move(weights, squares, names, y, scratch)
            _move_final(final, final_squares, names, y, scratch)
        _note(transitions, frequencies, last, counts, y, fading)


@exact_kernel
def _balance(shares: NDArray[np.float64], counts: NDArray[np.float64], known: int) -> None:
    """Make shares what they would be if all labels were equally frequent, where counted."""
    if counts.size == 0:
        return
    for c in range(known):
        # One more each: a label that was known from the start may not have come yet.
        shares[c] /= counts[c] + 1.0
    _normalise(shares, known)


@exact_kernel
def _judge(
    opinions: NDArray[np.float64],
    able: NDArray[np.uint8],
    members: NDArray[np.uint8],
    known: int,
    y: int,
    losses: NDArray[np.float64],
    fading: float,
) -> None:
    """Take in every expert's log-loss; who is silent counts as entirely wrong."""
    for k in range(members.size):
        if members[k] != 0:
            right = able[k] != 0 and y < known
            fade(losses, k, -opinions[y, k] if right else -LOG_FLOOR, fading)


@exact_kernel
def _note(
    transitions: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    last: NDArray[np.int64],
    counts: NDArray[np.float64],
    y: int,
    fading: float,
) -> None:
    """Count a label after the one before it, and among all."""
    if counts.size > 0:
        counts[y] += 1.0
    for c in range(frequencies.size):
        frequencies[c] *= fading
    frequencies[y] += 1.0
    if transitions.shape[0] > 0:
        for c in range(frequencies.size):
            transitions[last[0], c] *= fading
        transitions[last[0], y] += 1.0
    last[0] = y
