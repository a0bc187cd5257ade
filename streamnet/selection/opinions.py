"""Opinions: logarithms of the shares that experts give to labels, for a few samples at once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined
from streamnet.networks import simd
from streamnet.networks.simd import FOUR
from streamnet.networks.simd import LANES
from streamnet.networks.simd.functions import logarithm
from streamnet.selection.mixing import PRIORS

__all__ = ("AT_ONCE", "FLOOR", "LOG_FLOOR", "take_logarithms", "take_priors")

FLOOR = 1e-4  # least probability in a logarithm
LOG_FLOOR = math.log(FLOOR)
AT_ONCE = 32  # samples: equal ones of all candidates lie in each other's way in a cache


@exact_inlined
def take_logarithms(
    answers: NDArray[np.floating],  # shape=(candidates, n, C)
    start: int,
    stop: int,
    logarithms: NDArray[np.floating],  # shape=(samples * C * candidates,) and a vector, written
) -> None:
    """Logarithms of the shares in samples from ``start`` on to ``stop``, none below `FLOOR`'s.

    They have an error of 4 units in the last place. Of a share that is not finite it is any number.
    """
    candidates, _, labels = answers.shape
    floor = answers.dtype.type(FLOOR)
    for k in range(candidates):
        for i in range(start, stop):
            for c in range(labels):
                share = answers[k, i, c]
                at = ((i - start) * labels + c) * candidates + k
                logarithms[at] = max(floor, share)
    for j in range(0, (stop - start) * labels * candidates, LANES):
        simd.store(logarithms, j, logarithm(simd.load(logarithms, j)))


@exact_inlined
def take_priors(
    truth: NDArray[np.int32],  # nobody looks at it who does not learn
    known: NDArray[np.int32],
    start: int,
    stop: int,
    learns: bool,
    fading: float,
    transitions: NDArray[np.float64],  # shape=(C + 1, C), or empty, see LabelEnsemble
    frequencies: NDArray[np.float64],  # shape=(C,)
    last: NDArray[np.int64],
    width: int,  # most labels that are asked about
    priors: NDArray[np.float64],  # shape=(samples * width * PRIORS,) and a vector, written
) -> None:
    """What the experts say that need no network, each before its truth is noted, as logarithms.

    That is of samples from ``start`` on to ``stop``, after all before them. They count what
    followed the last label, and all labels, both faded; each label counts as one part of a sample
    more, so that none is ruled out.
    """
    for i in range(start, stop):
        names = min(known[i], width)
        for prior in range(PRIORS):
            counts = frequencies
            if prior == 0 and transitions.shape[0] > 0:
                counts = transitions[last[0]]
            total = 1.0
            for c in range(names):
                total += counts[c]
            for c in range(width):
                share = (counts[c] + 1.0 / names) / total if c < names else 1.0
                priors[((i - start) * width + c) * PRIORS + prior] = max(share, FLOOR)
        if learns and truth[i] >= 0:
            _note(transitions, frequencies, last, truth[i], fading)
    for j in range(0, (stop - start) * width * PRIORS, FOUR):
        simd.store(priors, j, logarithm(simd.load_four(priors, j)))


@exact_inlined
def _note(
    transitions: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    last: NDArray[np.int64],
    label: int,
    fading: float,
) -> None:
    """Count a label after the one before it, and among all."""
    for c in range(frequencies.size):
        frequencies[c] *= fading
    frequencies[label] += 1.0
    if transitions.shape[0] > 0:
        for c in range(frequencies.size):
            transitions[last[0], c] *= fading
        transitions[last[0], label] += 1.0
    last[0] = label
