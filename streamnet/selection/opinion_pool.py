"""Logarithmic opinion pools learned online: how `LabelEnsemble` combines and learns, compiled."""

from __future__ import annotations

import math
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_kernel
from streamnet.selection.mixing import FINAL_RATE
from streamnet.selection.mixing import PRIORS
from streamnet.selection.mixing import fade
from streamnet.selection.mixing import least

__all__ = ("RATES", "Scratch", "pool")

FLOOR = 1e-4  # least probability in a logarithm
LOG_FLOOR = math.log(FLOOR)
DAMPING = 1e-3  # of AdaGrad, so that first steps are short
# How fast the weights of each mixer move, and whether by AdaGrad.
RATES = np.array([0.002, 0.008, 0.02, 0.08])
ADAPTIVE = np.array([0, 0, 1, 1], np.uint8)


class Scratch(NamedTuple):
    """Working memory for C labels.

    Arrays of their own: how far apart parts of one lie decides what the compiler's code adds up
    first, so that bits would depend on the room for labels.
    """

    opinions: NDArray[np.float64]  # shape=(C, experts)
    shares: NDArray[np.float64]  # shape=(mixers + 2, C)
    second: NDArray[np.float64]  # shape=(C, mixers + 1)
    slopes: NDArray[np.float64]  # shape=(experts + mixers,)
    flags: NDArray[np.uint8]  # shape=(experts + mixers + 2,)


@exact_kernel
def _logarithm(p: float) -> float:
    """Of a share, or of the floor: with many labels most shares lie below it."""
    return math.log(p) if p > FLOOR else LOG_FLOOR


@exact_kernel
def _listen(
    answers: NDArray[np.floating],
    i: int,
    known: int,
    able: NDArray[np.uint8],
    transitions: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    last: int,
    opinions: NDArray[np.float64],
) -> None:
    """Logarithms of what each expert says about sample ``i``; 0 for one that is not able."""
    candidates = answers.shape[0]
    for k in range(candidates):
        for c in range(known):
            opinions[c, k] = _logarithm(float(answers[k, i, c])) if able[k] != 0 else 0.0
    # Counts of what followed the last label, and of all labels, both faded; each label counts as
    # one part of a sample more, so that none is ruled out.
    for prior in range(PRIORS):
        k = candidates + prior
        counts = transitions[last] if prior == 0 and able[k] != 0 else frequencies
        total = 1.0
        for c in range(known):
            total += counts[c]
        for c in range(known):
            p = (counts[c] + 1.0 / known) / total
            opinions[c, k] = _logarithm(p) if able[k] != 0 else 0.0


@exact_kernel
def _normalise(shares: NDArray[Any], known: int) -> None:
    total = 0.0
    for c in range(known):
        total += shares[c]
    for c in range(known):
        shares[c] /= total


@exact_kernel
def _mix(
    weights: NDArray[np.float64], opinions: NDArray[np.float64], known: int, out: NDArray[Any]
) -> None:
    """Shares in proportion to the experts' shares, each to the power of its weight."""
    for c in range(known):
        score = 0.0
        for k in range(weights.size):
            score += weights[k] * opinions[c, k]
        out[c] = score
    peak = -np.inf
    for c in range(known):
        peak = max(peak, out[c])
    for c in range(known):
        out[c] = math.exp(out[c] - peak)
    _normalise(out, known)


@exact_kernel
def _move(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    opinions: NDArray[np.float64],
    known: int,
    truth: int,
    shares: NDArray[np.float64],
    rate: float,
    adaptive: bool,
    slopes: NDArray[np.float64],  # shape=(experts,), scratch
) -> None:
    """A step down the slope of the log-loss of `_mix`."""
    # Expert by expert in each loop, so that processors take several at once.
    for k in range(weights.size):
        slopes[k] = -opinions[truth, k]
    for c in range(known):
        share = shares[c]
        for k in range(weights.size):
            slopes[k] += share * opinions[c, k]
    if adaptive:
        for k in range(weights.size):
            squares[k] += slopes[k] * slopes[k]
            slopes[k] /= math.sqrt(squares[k] + DAMPING)
    for k in range(weights.size):
        weights[k] -= rate * slopes[k]


@exact_kernel
def _combine(
    opinions: NDArray[np.float64],  # shape=(C, experts)
    known: int,
    weights: NDArray[np.float64],
    final: NDArray[np.float64],
    best: int,
    shares: NDArray[np.float64],  # shape=(mixers + 2, C), written
    second: NDArray[np.float64],  # shape=(C, mixers + 1), written: logarithms of the first layer
) -> None:
    """Shares by each mixer, by the best expert (even ones without any) and by the final mixer."""
    mixers = weights.shape[0]
    for m in range(mixers):
        _mix(weights[m], opinions, known, shares[m])
    for c in range(known):
        shares[mixers, c] = math.exp(opinions[c, best]) if best >= 0 else 1.0
    _normalise(shares[mixers], known)
    for m in range(mixers + 1):
        for c in range(known):
            second[c, m] = _logarithm(shares[m, c])
    _mix(final, second, known, shares[mixers + 1])


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
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
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
    opinions, shares, second, slopes, flags = scratch
    candidates, n, width = answers.shape
    mixers = weights.shape[0]
    able = flags[: members.size]
    everyone = flags[members.size :]
    for k in range(members.size):
        able[k] = members[k]
    for m in range(mixers + 2):
        everyone[m] = 1
    for i in range(n):
        names = min(known[i], width)
        for k in range(candidates):
            able[k] = members[k] if alive[k, i] != 0 else 0
        if names == 0:
            if learns and truth[i] >= 0:
                _note(transitions, frequencies, last, counts, truth[i], fading)
            continue
        _listen(answers, i, names, able, transitions, frequencies, last[0], opinions)
        best = least(losses, able, chosen[0], margin)
        chosen[0] = best if learns else chosen[0]
        _combine(opinions, names, weights, final, best, shares, second)
        for c in range(names):
            served[i, c] = shares[chosen[1], c]
        _balance(served[i], counts, names)
        y = truth[i]
        if not learns or y < 0:
            continue
        _judge(opinions, able, members, names, y, losses, fading)
        for m in range(mixers + 2):
            fade(combined, m, -_logarithm(shares[m, y]) if y < names else -LOG_FLOOR, fading)
        chosen[1] = least(combined, everyone, chosen[1], margin)
        if y < names:
            for m in range(mixers):
                adaptive = ADAPTIVE[m] != 0
                rate = RATES[m]
                _move(weights[m], squares[m], opinions, names, y, shares[m], rate, adaptive, slopes)
            last_shares = shares[mixers + 1]
            _move(final, final_squares, second, names, y, last_shares, FINAL_RATE, True, slopes)
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
