"""Vectorized mixers of class probabilities: one SIMD lane per mixer of two ensembles.

Sums over the experts run expert by expert in every lane, so experts without weight can be left out
without changing a bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined
from streamnet.metrics.windows import get_weight
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.functions import exponential, logarithm
from streamnet.networks.simd.vectors import EIGHT, FOUR, LANES
from streamnet.selection.ensemble.base import (
    COUNT,
    EXPERT_RATE,
    FINAL_LEARNING_RATE,
    OUTPUT_RATE,
    PRIORS,
    TOTAL,
    divide_by_sum,
    find_lowest,
    update_faded_loss,
    write_mean_losses,
)

FLOOR = 1e-4  # probabilities are clipped to it in logarithms
LOG_FLOOR = math.log(FLOOR)
CHUNK_SIZE = 32  # samples; larger chunks cause cache conflicts between candidates


@exact_inlined
def compute_log_probabilities(
    answers: NDArray[np.floating],  # shape=(candidates, n, C)
    start: int,
    stop: int,
    logarithms: NDArray[np.floating],  # shape=(samples * C * candidates,) and a vector, written
) -> None:
    """Compute logarithms of the probabilities in samples ``start`` to ``stop``, clipped at `FLOOR`.

    Their error is at most 4 units in the last place; that of a share that is not finite may be any.
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
def compute_prior_log_probabilities(
    truth: NDArray[np.int32],  # not used unless learning
    known: NDArray[np.int32],
    start: int,
    stop: int,
    learns: bool,
    fading: float,
    transitions: NDArray[np.float64],  # shape=(C + 1, C), or empty, see LabelEnsemble
    frequencies: NDArray[np.float64],  # shape=(C,)
    last: NDArray[np.int64],
    width: int,  # largest number of labels
    priors: NDArray[np.float64],  # shape=(samples * width * PRIORS,) and a vector, written
    origin: NDArray[np.int64],  # this and the next two: see `run_pool`
    memory: NDArray[np.float64],
    importance: NDArray[np.float64],
) -> None:
    """Compute the log-probabilities of the priors, each before its truth is counted.

    They count what followed the last label, and all labels, both faded; all labels together count
    as one more sample, so that none is ruled out.
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
        previous = last[0]
        if origin.size > 0:
            at = i, origin[i], (i - start) * width, names, width
            previous = _remember_priors(*at, previous, priors, memory)
        if learns and truth[i] >= 0:
            weight = get_weight(importance, i)
            _count_label(transitions, frequencies, last, previous, truth[i], fading, weight)
    for j in range(0, (stop - start) * width * PRIORS, FOUR):
        simd.store(priors, j, logarithm(simd.load_four(priors, j)))


@exact_inlined
def _remember_priors(
    i: int,
    origin: int,
    place: int,
    known: int,
    width: int,
    last: int,
    priors: NDArray[np.float64],
    memory: NDArray[np.float64],
) -> int:
    """Note the priors of a sample, or recall those of a late label's; return the label before."""
    for c in range(known):
        for prior in range(PRIORS):
            at = (place + c) * PRIORS + prior
            if origin < 0:
                memory[i, c, PRIOR + prior] = priors[at]
            else:
                priors[at] = memory[origin, c, PRIOR + prior]
    if origin < 0:
        memory[i, 0, LAST] = last if last < width else -1.0
        return last
    before = int(memory[origin, 0, LAST])
    return before if before >= 0 else width


@exact_inlined
def remember_scores(
    i: int,
    origins: NDArray[np.int64],
    known: int,
    turn: int,
    rows: NDArray[np.float64],
    memory: NDArray[np.float64],
) -> None:
    """Note what mixers and averages say of a sample, or recall it for a late label."""
    if known <= 0 or origins.size == 0:
        return
    origin = origins[i]
    for c in range(known):
        for part in range(2):
            own, at = rows[(AVERAGE_SCORES if part else SCORES) + turn], MIXED + EIGHT * part
            if origin < 0:
                simd.store(memory[i, c], at, simd.load_eight(own, EIGHT * c))
            else:
                simd.store(own, EIGHT * c, simd.load_eight(memory[origin, c], at))


@exact_inlined
def remember_final(
    i: int,
    origins: NDArray[np.int64],
    known: int,
    rows: NDArray[np.float64],
    memory: NDArray[np.float64],
) -> None:
    """Note the probabilities of the final mixers for a sample."""
    if origins.size == 0 or origins[i] >= 0:
        return
    for c in range(known):
        final = simd.load_eight(rows[FINAL_PROBABILITIES], EIGHT * c)
        simd.store(memory[i, c], MIXED + 2 * EIGHT, final)


@exact_inlined
def _count_label(
    transitions: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    last: NDArray[np.int64],
    previous: int,
    label: int,
    fading: float,
    weight: float,
) -> None:
    """Count a label, also by the one that was the last when its sample was predicted."""
    for c in range(frequencies.size):
        frequencies[c] *= fading
    frequencies[label] += weight
    if transitions.shape[0] > 0:
        for c in range(frequencies.size):
            transitions[previous, c] *= fading
        transitions[previous, label] += weight
    last[0] = label


PAIR = 2  # ensembles

# What is kept of a sample until its label arrives, by label: the last label before it, the priors,
# and the outputs of mixers, averages of experts and final mixers.
LAST, PRIOR = 0, 1
MIXED = PRIOR + PRIORS
MEMORY = MIXED + 3 * EIGHT

DAMPING = 1e-3  # of AdaGrad, so that first steps are short
# Of each mixer: learning rate, whether it uses AdaGrad, and the divisor of squared steps.
LEARNING_RATES = np.array([0.002, 0.008, 0.02, 0.08] * PAIR)
ADAPTIVE = np.array([0.0, 0.0, 1.0, 1.0] * PAIR)
DAMPINGS = np.array([1.0, 1.0, DAMPING, DAMPING] * PAIR)
# Mixers whose rate is divided by a late label's age, instead of its root: at a rate that does not
# decay, the fast one forgets within fewer samples than labels are late, and follows each run.
FORGETFUL = np.array([0.0, 1.0, 0.0, 0.0] * PAIR)
MIXERS = FOUR
AVERAGE = MIXERS  # after the mixers: the average of the experts
WIDTH = MIXERS + 1
FINAL = WIDTH  # after them: the final mixer
FIRST = np.repeat([1.0, 0.0], MIXERS)  # lanes of the first ensemble
SECOND = 1.0 - FIRST

# Rows of working memory: by label, scores (logarithms) and probabilities of the mixers and the
# averages of experts, alternating between a sample and the previous one. Of the final mixers,
# probabilities, the log-probability of the truth, weights and squared gradients. The members of
# each ensemble, and these times the weight of a sample. Shares in the average of the experts, by
# ensemble, and in the served one.
SCORES, AVERAGE_SCORES, PROBABILITIES, AVERAGE_PROBABILITIES = range(0, 8, 2)
FINAL_PROBABILITIES, TRUTH_LOGS, FINAL_STATE, MEMBERSHIP, WEIGHTED_MEMBERSHIP = range(8, 13)
SHARES = WEIGHTED_MEMBERSHIP + 1  # and the next
OUTPUT_SHARES = SHARES + PAIR
SERVED = OUTPUT_SHARES + 1  # probabilities by label
ROWS = SERVED + 1
NEGLIGIBLE = -700.0  # the logarithm of a share without effect


@exact_inlined
def _halves(first: float, second: float):  # type: ignore[no-untyped-def]  # a vector
    """A number in each lane of the first ensemble, and another one in those of the second."""
    both = simd.multiply(simd.splat_eight(second), simd.load_eight(SECOND, 0))
    return simd.multiply_add(simd.splat_eight(first), simd.load_eight(FIRST, 0), both)


@exact_inlined
def load_lanes(
    members: NDArray[np.uint8],
    final: NDArray[np.float64],
    final_squares: NDArray[np.float64],
    rows: NDArray[np.float64],
) -> None:
    """Load weights and members into lanes."""
    for k in range(members.shape[1]):
        membership = _halves(float(members[0, k]), float(members[1, k]))
        simd.store(rows[MEMBERSHIP], EIGHT * k, membership)
    for half in range(PAIR):
        for m in range(MIXERS):
            at = half * MIXERS + m
            rows[FINAL_STATE, at] = final[half, m]
            rows[FINAL_STATE, at + EIGHT] = final[half, AVERAGE]
            rows[FINAL_STATE, at + 2 * EIGHT] = final_squares[half, m]
            rows[FINAL_STATE, at + 3 * EIGHT] = final_squares[half, AVERAGE]


@exact_inlined
def weigh_members(weight: float, rows: NDArray[np.float64]) -> int:
    """The row that has the members times the weight of a sample, by which gradients are scaled."""
    if weight == 1.0:
        return MEMBERSHIP
    for at in range(0, rows.shape[1], EIGHT):
        members = simd.load_eight(rows[MEMBERSHIP], at)
        weighted = simd.multiply(simd.splat_eight(weight), members)
        simd.store(rows[WEIGHTED_MEMBERSHIP], at, weighted)
    return WEIGHTED_MEMBERSHIP


@exact_inlined
def store_lanes(
    final: NDArray[np.float64], final_squares: NDArray[np.float64], rows: NDArray[np.float64]
) -> None:
    """Store the changed lanes."""
    for half in range(PAIR):
        for m in range(WIDTH):
            at = half * MIXERS + (m if m < MIXERS else EIGHT)
            final[half, m] = rows[FINAL_STATE, at]
            final_squares[half, m] = rows[FINAL_STATE, at + 2 * EIGHT]


@exact_inlined
def mix_experts(
    weights: NDArray[np.float64],
    inputs: NDArray[np.float64],
    known: int,
    scores: NDArray[np.float64],
) -> None:
    """Score labels by each mixer: the weighted sum of the experts' log-probabilities."""
    for c in range(known):
        score = simd.splat_eight(0.0)
        for k in range(inputs.shape[1]):
            log_probability = simd.splat_eight(inputs[c, k])
            score = simd.multiply_add(log_probability, simd.load_eight(weights, EIGHT * k), score)
        simd.store(scores, EIGHT * c, score)


@exact_inlined
def weigh_experts(
    losses: NDArray[np.float64],  # shape=(2, experts)
    available: NDArray[np.uint8],
    pace: float,
    shares: NDArray[np.float64],  # shape=(at least experts, in whole vectors), written
) -> None:
    """Compute shares that fall exponentially with the faded loss; all are 0 if none is known."""
    lowest = write_mean_losses(losses, available, shares)
    experts = available.size
    if lowest == np.inf:
        shares[:experts] = 0.0
        return
    for k in range(experts):
        above = losses[TOTAL, k] - lowest * losses[COUNT, k]
        shares[k] = -EXPERT_RATE * pace * above if shares[k] < np.inf else NEGLIGIBLE
    for at in range(0, experts, EIGHT):
        simd.store(shares, at, exponential(simd.load_eight(shares, at)))
    divide_by_sum(shares, experts)


@exact_inlined
def weigh_outputs(
    combined: NDArray[np.float64],  # shape=(PAIR, 2, WIDTH + 1)
    pace: float,
    shares: NDArray[np.float64],  # written: vectors of the mixers, averages and final mixers
) -> None:
    """Compute shares that fall exponentially with the faded loss, in the lanes of each output."""
    for half in range(PAIR):
        totals, rate = combined[half, TOTAL], OUTPUT_RATE * pace
        lowest = find_lowest(totals)
        for m in range(MIXERS):
            at = half * MIXERS + m
            shares[at] = rate * (lowest - totals[m])
            shares[at + EIGHT] = rate * (lowest - totals[AVERAGE])
            shares[at + 2 * EIGHT] = rate * (lowest - totals[FINAL])
    mixers = exponential(simd.load_eight(shares, 0))
    average = exponential(simd.load_eight(shares, EIGHT))
    final = exponential(simd.load_eight(shares, 2 * EIGHT))
    total = simd.add(simd.add(simd.reduce_add_fours(mixers), average), final)
    part = simd.divide(simd.splat_eight(1.0), total)
    simd.store(shares, 0, simd.multiply(mixers, part))
    simd.store(shares, EIGHT, simd.multiply(average, part))
    simd.store(shares, 2 * EIGHT, simd.multiply(final, part))


@exact_inlined
def average_outputs(known: int, turn: int, rows: NDArray[np.float64]) -> None:
    """Average the probabilities of all outputs by their shares."""
    shares = rows[OUTPUT_SHARES]
    mixers, average = simd.load_eight(shares, 0), simd.load_eight(shares, EIGHT)
    final = simd.load_eight(shares, 2 * EIGHT)
    for c in range(known):
        at = EIGHT * c
        mixed = simd.multiply(mixers, simd.load_eight(rows[PROBABILITIES + turn], at))
        mixed = simd.reduce_add_fours(mixed)
        one = simd.load_eight(rows[AVERAGE_PROBABILITIES + turn], at)
        mixed = simd.multiply_add(average, one, mixed)
        mixed = simd.multiply_add(final, simd.load_eight(rows[FINAL_PROBABILITIES], at), mixed)
        simd.store(rows[SERVED], at, mixed)


@exact_inlined
def average_experts(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    inputs: NDArray[np.float64],
    known: int,
    scores: NDArray[np.float64],
) -> None:
    """Compute scores as averages of the experts' log-probabilities, by shares in each ensemble."""
    for c in range(known):
        one, other = 0.0, 0.0
        for k in range(inputs.shape[1]):
            one += first[k] * inputs[c, k]
            other += second[k] * inputs[c, k]
        simd.store(scores, EIGHT * c, _halves(one, other))


@exact_inlined
def log_softmax(scores: NDArray[np.float64], known: int, shares: NDArray[np.float64]) -> None:
    """Replace scores by clipped log-probabilities in each lane, and compute probabilities."""
    total = softmax(scores, known, shares)
    floor, scale = simd.splat_eight(LOG_FLOOR), logarithm(total)
    for c in range(known):
        score = simd.subtract(simd.load_eight(scores, EIGHT * c), scale)
        simd.store(scores, EIGHT * c, simd.maximum(score, floor))


@exact_inlined
def softmax(scores: NDArray[np.float64], known: int, shares: NDArray[np.float64]) -> Any:
    """Compute probabilities in each lane, shifting the largest score to 0; return the divisor."""
    peak = simd.splat_eight(-np.inf)
    for c in range(known):
        peak = simd.maximum(peak, simd.load_eight(scores, EIGHT * c))
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
def mix_final(known: int, turn: int, rows: NDArray[np.float64]) -> None:
    """Score labels by the final mixers, whose inputs are the mixers and the average of experts."""
    weights, own = simd.load_eight(rows[FINAL_STATE], 0), simd.load_eight(rows[FINAL_STATE], EIGHT)
    for c in range(known):
        at = EIGHT * c
        mixed = simd.multiply(weights, simd.load_eight(rows[SCORES + turn], at))
        average = simd.load_eight(rows[AVERAGE_SCORES + turn], at)
        simd.store(
            rows[FINAL_PROBABILITIES],
            at,
            simd.multiply_add(own, average, simd.reduce_add_fours(mixed)),
        )


@exact_inlined
def step_mixers(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    known: int,
    truth: int,
    inputs: NDArray[np.float64],
    shares: NDArray[np.float64],
    membership: NDArray[np.float64],
    pace: float,
) -> None:
    """Update each mixer by gradient descent on its log-loss; ``pace`` is a factor of its rate."""
    rates, adaptive = simd.load_eight(LEARNING_RATES, 0), simd.load_eight(ADAPTIVE, 0)
    slower = simd.multiply(simd.splat_eight(pace - 1.0), simd.load_eight(FORGETFUL, 0))
    rates = simd.multiply(simd.multiply_add(slower, rates, rates), simd.splat_eight(pace))
    dampings = simd.load_eight(DAMPINGS, 0)
    for k in range(inputs.shape[1]):
        slope = simd.splat_eight(-inputs[truth, k])
        for c in range(known):
            share = simd.load_eight(shares, EIGHT * c)
            slope = simd.multiply_add(simd.splat_eight(inputs[c, k]), share, slope)
        at = EIGHT * k
        slope = simd.multiply(slope, simd.load_eight(membership, at))
        square = simd.multiply(adaptive, slope)
        square = simd.multiply_add(square, slope, simd.load_eight(squares, at))
        simd.store(squares, at, square)
        step = simd.multiply(slope, simd.reciprocal_sqrt(simd.add(square, dampings)))
        step = simd.multiply(rates, step)
        simd.store(weights, at, simd.subtract(simd.load_eight(weights, at), step))


@exact_inlined
def step_final(
    known: int, truth: int, turn: int, rows: NDArray[np.float64], scale: float, pace: float
) -> None:
    """Update each final mixer by AdaGrad, with gradients scaled by a sample's weight."""
    for part in range(2):  # weights of the mixers, and of the averages
        scores = rows[(AVERAGE_SCORES if part else SCORES) + turn]
        slope = simd.subtract(simd.splat_eight(0.0), simd.load_eight(scores, EIGHT * truth))
        for c in range(known):
            probability = simd.load_eight(rows[FINAL_PROBABILITIES], EIGHT * c)
            slope = simd.multiply_add(probability, simd.load_eight(scores, EIGHT * c), slope)
        slope = simd.multiply(slope, simd.splat_eight(scale))
        at = EIGHT * part
        square = simd.load_eight(rows[FINAL_STATE], at + 2 * EIGHT)
        square = simd.multiply_add(slope, slope, square)
        simd.store(rows[FINAL_STATE], at + 2 * EIGHT, square)
        root = simd.reciprocal_sqrt(simd.add(square, simd.splat_eight(DAMPING)))
        rate = simd.splat_eight(pace * FINAL_LEARNING_RATE)
        step = simd.multiply(rate, simd.multiply(slope, root))
        weight = simd.load_eight(rows[FINAL_STATE], at)
        simd.store(rows[FINAL_STATE], at, simd.subtract(weight, step))


@exact_inlined
def update_mixer_losses(
    known: int,
    truth: int,
    turn: int,
    combined: NDArray[np.float64],
    fading: float,
    rows: NDArray[np.float64],
    origin: int,
    memory: NDArray[np.float64],
    weight: float,
) -> None:
    """Update the log-losses of the mixers, the averages and the final mixers."""
    share = simd.splat_eight(FLOOR)
    if truth < known and origin < 0:
        share = simd.maximum(simd.load_eight(rows[FINAL_PROBABILITIES], EIGHT * truth), share)
    elif truth < known:
        said = simd.load_eight(memory[origin, truth], MIXED + 2 * EIGHT)
        share = simd.maximum(said, share)
    simd.store_split(rows[TRUTH_LOGS], 0, logarithm(share))
    for half in range(combined.shape[0]):
        at = MIXERS * half
        for m in range(WIDTH + 1):
            if m == FINAL:
                loss = -rows[TRUTH_LOGS, at]
            elif truth >= known:
                loss = -LOG_FLOOR
            elif m == AVERAGE:
                loss = -rows[AVERAGE_SCORES + turn, EIGHT * truth + at]
            else:
                loss = -rows[SCORES + turn, EIGHT * truth + at + m]
            update_faded_loss(combined[half], m, loss, fading, weight)
