"""Logarithmic opinion pools learned online: how `LabelEnsemble` combines and learns, compiled.

Each of the mixers is a lane of a vector, so that their sums over the experts are made side by side,
each expert after the one before: experts that have no weight may be left out, and no bit changes.
"""

from __future__ import annotations

import math
from threading import local
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

from streamnet.jit import exact_inlined
from streamnet.jit import exact_kernel
from streamnet.networks import simd
from streamnet.networks.simd import FOUR
from streamnet.networks.simd import LANES
from streamnet.networks.simd.functions import exponential
from streamnet.networks.simd.functions import logarithm
from streamnet.networks.subnormals import flush_subnormals
from streamnet.networks.subnormals import restore_subnormals
from streamnet.selection.mixing import FINAL_RATE
from streamnet.selection.mixing import PRIORS
from streamnet.selection.mixing import fade
from streamnet.selection.mixing import least
from streamnet.selection.opinions import AT_ONCE
from streamnet.selection.opinions import FLOOR
from streamnet.selection.opinions import LOG_FLOOR
from streamnet.selection.opinions import take_logarithms
from streamnet.selection.opinions import take_priors

__all__ = ("MIXERS", "Scratch", "pool", "scratch_of")

DAMPING = 1e-3  # of AdaGrad, so that first steps are short
# How fast the weights of each mixer move, whether by AdaGrad, and what divides a step's square.
RATES = np.array([0.002, 0.008, 0.02, 0.08])
ADAPTIVE = np.array([0.0, 0.0, 1.0, 1.0])
DAMPINGS = np.array([1.0, 1.0, DAMPING, DAMPING])
MIXERS = FOUR
BEST = MIXERS  # after the mixers, what the best expert says alone
WIDTH = MIXERS + 1
FINAL = WIDTH  # after them, what the final mixer makes of them


SCORES, SHARES, BEST_SCORES, BEST_SHARES, SAID = range(5)  # rows of working memory


class Scratch(NamedTuple):
    """Working memory for up to C labels; where vectors are stored, there is room for whole ones."""

    heard: NDArray[np.floating]  # of `AT_ONCE` samples, see `take_logarithms`
    priors: NDArray[np.float64]  # likewise, see `take_priors`
    opinions: NDArray[np.float64]  # shape=(C, experts): logarithms of shares, 0 of the silent
    # Of the mixers, label by label, SCORES, shape=(C * MIXERS,), which are logarithms of SHARES;
    # likewise of the best expert, shape=(C,); SAID, shape=(C,): shares by the final mixer.
    rows: NDArray[np.float64]
    flags: NDArray[np.uint8]  # shape=(experts + MIXERS + 2,)


_KEPT = local()


def scratch_of(candidates: int, labels: int, dtype: DTypeLike) -> Scratch:
    """Working memory that this thread keeps, for so many candidates and at least so many labels."""
    kept: Scratch | None = getattr(_KEPT, "scratch", None)
    if (
        kept is None
        or len(kept.opinions) < labels
        or kept.opinions.shape[1] != candidates + PRIORS
        or kept.heard.dtype != dtype
    ):
        kept = _KEPT.scratch = _new_scratch(candidates, labels, dtype)
    return kept


def _new_scratch(candidates: int, labels: int, dtype: DTypeLike) -> Scratch:
    experts = candidates + PRIORS
    # Nobody looks at what becomes of numbers that only fill up a vector.
    return Scratch(
        np.empty(AT_ONCE * labels * candidates + LANES, dtype),
        np.empty(AT_ONCE * labels * PRIORS + FOUR),
        np.empty((labels, experts)),
        np.empty((SAID + 1, labels * MIXERS + FOUR)),
        np.empty(experts + MIXERS + 2, np.uint8),
    )


@exact_inlined
def _note_able(
    members: NDArray[np.uint8], alive: NDArray[np.uint8], i: int, able: NDArray[np.uint8]
) -> None:
    """Which experts are heard on sample ``i``: of the candidates those that have an answer."""
    for k in range(members.size):
        able[k] = members[k] if k >= alive.shape[0] or alive[k, i] != 0 else 0


@exact_inlined
def _listen(i: int, labels: int, known: int, able: NDArray[np.uint8], scratch: Scratch) -> None:
    """Put together what each expert says about the i-th that was heard; 0 for who is not able."""
    heard, priors, opinions = scratch.heard, scratch.priors, scratch.opinions
    candidates = able.size - PRIORS
    for c in range(known):
        at = i * labels + c
        for k in range(candidates):
            opinions[c, k] = heard[at * candidates + k]
        for prior in range(PRIORS):
            opinions[c, candidates + prior] = priors[at * PRIORS + prior]
    for k in range(able.size):
        if able[k] == 0:
            for c in range(known):
                opinions[c, k] = 0.0


@exact_inlined
def _mix(weights: NDArray[np.float64], known: int, scratch: Scratch) -> None:
    """What each mixer says: shares in proportion to the experts' to the power of their weights."""
    opinions, scores, shares = scratch.opinions, scratch.rows[SCORES], scratch.rows[SHARES]
    peak = simd.splat_four(-np.inf)
    for c in range(known):
        score = simd.splat_four(0.0)
        for k in range(weights.shape[1]):
            opinion = simd.splat_four(opinions[c, k])
            score = simd.multiply_add(opinion, simd.load_four(weights, MIXERS * k), score)
        simd.store(scores, MIXERS * c, score)
        peak = simd.larger(peak, score)
    total = simd.splat_four(0.0)
    for c in range(known):
        score = simd.subtract(simd.load_four(scores, MIXERS * c), peak)
        simd.store(scores, MIXERS * c, score)
        share = exponential(score)
        simd.store(shares, MIXERS * c, share)
        total = simd.add(total, share)
    floor, scale = simd.splat_four(LOG_FLOOR), logarithm(total)
    part = simd.divide(simd.splat_four(1.0), total)
    for c in range(known):
        at = MIXERS * c
        simd.store(shares, at, simd.multiply(simd.load_four(shares, at), part))
        score = simd.subtract(simd.load_four(scores, at), scale)
        simd.store(scores, at, simd.larger(score, floor))


@exact_inlined
def _repeat(best: int, known: int, scratch: Scratch) -> None:
    """What the best expert says, whose shares may not sum to 1; without one all are equal."""
    scores, shares = scratch.rows[BEST_SCORES], scratch.rows[BEST_SHARES]
    for c in range(known):
        scores[c] = scratch.opinions[c, best] if best >= 0 else 0.0
    total = _shares_of(scores, known, shares)
    scale = simd.lane(logarithm(simd.splat_four(total)))
    for c in range(known):
        scores[c] = max(scores[c] - scale, LOG_FLOOR)


@exact_inlined
def _shares_of(scores: NDArray[np.float64], known: int, shares: NDArray[np.float64]) -> float:
    """Scores to shares; the largest score becomes 0. Returns what all have to be divided by."""
    peak = -np.inf
    for c in range(known):
        peak = max(peak, scores[c])
    for c in range(known):
        scores[c] -= peak
    for c in range(0, known, FOUR):
        simd.store(shares, c, exponential(simd.gather_four(scores, c)))
    return _normalise(shares, known)


@exact_inlined
def _normalise(shares: NDArray[np.floating], known: int) -> float:
    total = 0.0
    for c in range(known):
        total += shares[c]
    for c in range(known):
        shares[c] /= total
    return total


@exact_inlined
def _finish(weights: NDArray[np.float64], known: int, scratch: Scratch) -> None:
    """Shares by the final mixer, which takes the mixers and the best expert for experts."""
    scores, best, said = scratch.rows[SCORES], scratch.rows[BEST_SCORES], scratch.rows[SAID]
    for c in range(known):
        score = 0.0
        for m in range(MIXERS):
            score += weights[m] * scores[MIXERS * c + m]
        said[c] = score + weights[BEST] * best[c]
    _shares_of(said, known, said)


@exact_inlined
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
            share = simd.load_four(shares, MIXERS * c)
            slope = simd.multiply_add(simd.splat_four(opinions[c, k]), share, slope)
        at = MIXERS * k
        square = simd.multiply(adaptive, slope)
        square = simd.multiply_add(square, slope, simd.load_four(squares, at))
        simd.store(squares, at, square)
        step = simd.multiply(slope, simd.reciprocal_root(simd.add(square, dampings)))
        step = simd.multiply(rates, step)
        simd.store(weights, at, simd.subtract(simd.load_four(weights, at), step))


@exact_inlined
def _move_final(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    known: int,
    truth: int,
    scratch: Scratch,
) -> None:
    """The same of the final mixer, by AdaGrad."""
    said = scratch.rows[SAID]
    for m in range(WIDTH):
        slope = -_score(scratch, m, truth)
        for c in range(known):
            slope += said[c] * _score(scratch, m, c)
        squares[m] += slope * slope
        weights[m] -= FINAL_RATE * slope / math.sqrt(squares[m] + DAMPING)


@exact_inlined
def _score(scratch: Scratch, m: int, c: int) -> float:
    """Logarithm of what a mixer, or the best expert, says of a label."""
    return float(
        scratch.rows[BEST_SCORES, c] if m == BEST else scratch.rows[SCORES, MIXERS * c + m]
    )


@exact_inlined
def _share(scratch: Scratch, m: int, c: int) -> float:
    """Share that a mixer, the best expert or the final mixer gives to a label."""
    if m == FINAL:
        return float(scratch.rows[SAID, c])
    return float(
        scratch.rows[BEST_SHARES, c] if m == BEST else scratch.rows[SHARES, MIXERS * c + m]
    )


@exact_kernel
def pool(
    answers: NDArray[np.floating],  # shape=(candidates, n, C)
    alive: NDArray[np.uint8],  # shape=(candidates, n)
    truth: NDArray[np.int32],  # nobody looks at it who does not learn
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
    transitions: NDArray[np.float64],  # shape=(C + 1, C), or empty, see LabelEnsemble
    frequencies: NDArray[np.float64],  # shape=(C,)
    last: NDArray[np.int64],
    counts: NDArray[np.float64],  # shape=(C,), or empty, see LabelEnsemble
    heard: NDArray[np.floating],  # this and the next four: see Scratch
    priors: NDArray[np.float64],
    opinions: NDArray[np.float64],
    rows: NDArray[np.float64],
    flags: NDArray[np.uint8],
    served: NDArray[np.float64],  # shape=(n, C), written
) -> None:
    """Answer n samples in order, each before its truth is learned; see `LabelEnsemble.serve`."""
    # A named tuple would take a while to come in.
    scratch = Scratch(heard, priors, opinions, rows, flags)
    # Counts of labels that don't come any more fade for long; what fills up vectors is anything.
    control = flush_subnormals()
    labels = answers.shape[2]
    able = flags[: members.size]
    everyone = flags[members.size :]
    for m in range(WIDTH + 1):
        everyone[m] = 1
    for i in range(known.size):
        if i % AT_ONCE == 0:
            stop = min(i + AT_ONCE, known.size)
            take_logarithms(answers, i, stop, heard)
            counted = transitions, frequencies, last
            take_priors(truth, known, i, stop, learns, fading, *counted, labels, priors)
        names, y = min(known[i], labels), truth[i] if learns else -1
        _note_able(members, alive, i, able)
        if names > 0:
            _listen(i % AT_ONCE, labels, names, able, scratch)
            best = least(losses, able, chosen[0], margin)
            chosen[0] = best if learns else chosen[0]
            _mix(weights, names, scratch)
            _repeat(best, names, scratch)
            _finish(final, names, scratch)
            for c in range(names):
                served[i, c] = _share(scratch, chosen[1], c)
            _balance(served[i], counts, names)
        if y < 0:
            continue
        if names > 0:
            _judge(opinions, able, members, names, y, losses, fading)
            for m in range(WIDTH):
                fade(combined, m, -_score(scratch, m, y) if y < names else -LOG_FLOOR, fading)
            share = _share(scratch, FINAL, y) if y < names else FLOOR
            fade(combined, FINAL, -math.log(max(share, FLOOR)), fading)
            chosen[1] = least(combined, everyone, chosen[1], margin)
        if y < names:
            _move(weights, squares, names, y, scratch)
            _move_final(final, final_squares, names, y, scratch)
        if counts.size > 0:
            counts[y] += 1.0
    restore_subnormals(control)


@exact_inlined
def _balance(shares: NDArray[np.float64], counts: NDArray[np.float64], known: int) -> None:
    """Make shares what they would be if all labels were equally frequent, where counted."""
    if counts.size == 0:
        return
    for c in range(known):
        # One more each: a label that was known from the start may not have come yet.
        shares[c] /= counts[c] + 1.0
    _normalise(shares, known)


@exact_inlined
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
