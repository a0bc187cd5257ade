"""Labels: each key's model corrects the probabilities of the shared one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined, exact_kernel, flush_subnormal
from streamnet.keyed.kernels import experts
from streamnet.keyed.kernels.experts import (
    ACTIVE,
    CORRECTION,
    COUNT,
    GIVEN,
    KEPT,
    KNOWN,
    SCALE_FADING,
    SERVED,
    KeySamples,
    LatePredictions,
    ModelArrays,
)
from streamnet.keyed.layout import EXPERTS, FORGETTING, HEAD

SHARED, FREQUENT, LAST, SQUARES, NETWORK = 0, 1, 2, 3, 5  # experts; of SQUARES there are two
FREQUENCY_FADING = 0.995
LEAST = 1e-3  # probability of a label, of what the least squares say
SMALLEST = 1e-4  # probability of the truth in losses
MAX_LOG_ODDS = 5.0
MAX_STEP = 1.5  # error that the least squares learn at most


@exact_inlined
def _share_shared(shared: Any, active: int, said: Any) -> float:
    """The shared probabilities as fractions of what the first labels have together."""
    mass = 0.0
    for c in range(active):
        mass += float(shared[c])
    for c in range(said.shape[1]):
        said[SHARED, c] = 0.0
    for c in range(active):
        said[SHARED, c] = float(shared[c]) / mass if mass > 0.0 else 1.0 / active
    return mass


@exact_inlined
def _fill_frequent(row: Any, places: Any, active: int, said: Any) -> None:
    """Frequencies of a key's labels, and the same with the chance that the last one stays."""
    total = 1.0
    for c in range(active):
        total += row[places.frequencies + c]
    for c in range(active):
        said[FREQUENT, c] = (row[places.frequencies + c] + 1.0 / active) / total
    last = int(row[HEAD.last]) - 1
    stays = (row[HEAD.same] + 1.0) / (row[HEAD.faded] + 2.0)
    if last < 0 or last >= active:
        for c in range(active):
            said[LAST, c] = said[FREQUENT, c]
        return
    others = 1.0 - said[FREQUENT, last]
    for c in range(active):
        changed = said[FREQUENT, c] / others if others > 0.0 else 0.0
        said[LAST, c] = stays if c == last else (1.0 - stays) * changed


@exact_inlined
def _fill_solved(row: Any, places: Any, x: Any, active: int, said: Any) -> None:
    for number in range(FORGETTING.size):
        total = 0.0
        for c in range(active):
            p = said[SHARED, c] + experts.solve(row, places, number, c, x)
            said[SQUARES + number, c] = max(p, LEAST)
            total += said[SQUARES + number, c]
        for c in range(active):
            said[SQUARES + number, c] /= total


@exact_inlined
def _fill_log_odds(active: int, said: Any, x: Any, first: int, outputs: int) -> None:
    """Log-odds of the shared probabilities, as inputs of the network."""
    for c in range(outputs):
        odds = 0.0
        if c < active:
            p = min(max(said[SHARED, c], SMALLEST), 1.0 - SMALLEST)
            odds = math.log(p / (1.0 - p))
        x[first + c] = min(max(odds, -MAX_LOG_ODDS), MAX_LOG_ODDS)


@exact_inlined
def _find_largest(probabilities: Any, known: int) -> int:
    best = 0
    for c in range(1, known):
        if probabilities[c] > probabilities[best]:
            best = c
    return best


@exact_inlined
def _predict(
    models: Any, k: int, dense: Any, shared: Any, served: Any, active: int, reach: int
) -> tuple[float, bool]:
    """Write features, what the experts say, and what is served.

    Returns the mass of the shared probabilities, which is not finite if there is no prediction, and
    whether the network is sound.
    """
    row, places, x, said = models.rows[k], models.places, models.x, models.said
    features, outputs = places.features, places.outputs
    mass = _share_shared(shared, active, said)
    if not math.isfinite(mass):
        return mass, False
    x[0] = 1.0
    experts.scale_inputs(row, places, dense, x, 1)
    _fill_log_odds(active, said, x, features, outputs)
    _fill_frequent(row, places, active, said)
    _fill_solved(row, places, x, active, said)
    inputs = features - 1 + outputs
    sound = experts.run_network(models.network, models.weights[k], x[1:], inputs, reach)
    _fill_network(models.network, active, sound, said)
    experts.weigh_experts(row, places, models.fleet, models.shares)
    trust = experts.find_trust(row, models.fleet)
    _combine(active, mass, trust, said, models.shares, models.errors, served)
    return mass, sound


@exact_inlined
def _keep(
    models: Any, late: Any, at: int, known: int, active: int, count: float, shared: Any, served: Any
) -> None:
    """Keep what was predicted until the label arrives."""
    head, said = late.head[at], late.said[at]
    head[ACTIVE], head[KNOWN], head[COUNT] = active, known, count
    for c in range(shared.size):
        said[SERVED, c], said[GIVEN, c] = served[c], shared[c]
    if active > 0:
        for f in range(models.places.features):
            head[KEPT + f] = models.x[f]
        for c in range(active):
            said[CORRECTION, c] = models.errors[c]
            for e in range(EXPERTS):
                said[e, c] = models.said[e, c]


@exact_inlined
def _recall(models: Any, late: Any, source: int, k: int, active: int, reach: int) -> bool:
    """Restore what was predicted; whether the network is sound."""
    head, said, x = late.head[source], late.said[source], models.x
    features, outputs = models.places.features, models.places.outputs
    for f in range(features):
        x[f] = head[KEPT + f]
    for c in range(outputs):
        models.errors[c] = said[CORRECTION, c]
        for e in range(EXPERTS):
            models.said[e, c] = said[e, c]
    _fill_log_odds(active, models.said, x, features, outputs)
    inputs = features - 1 + outputs
    return bool(experts.run_network(models.network, models.weights[k], x[1:], inputs, reach))


@exact_kernel
def serve_labels(
    samples: KeySamples,
    learns: bool,
    models: ModelArrays,
    late: LatePredictions,
    served: NDArray[np.floating],  # shape=(n, labels), written
) -> None:
    """Predict each sample for its key, then learn it or, if its label is late, that one."""
    slots, shared, dense, truth, known = samples[:5]
    places, rows, outputs = models.places, models.rows, models.places.outputs
    experts.prefetch_row(rows, slots, 0)
    for i in range(slots.size):
        experts.prefetch_model(models, slots, i + 1)
        k, source = slots[i], experts.find_source(samples, late, i)
        # What was known when the sample was predicted: labels and, of the key, samples.
        active, at = min(known[i], outputs), samples.start + i
        if source < 0:
            experts.copy_row(shared[i], served[i])
            experts.keep_nothing(samples, late, i)
        else:
            active, at = int(late.head[source, ACTIVE]), source
        weight = experts.read_weight(samples, i)
        learning = learns and truth[i] >= 0 and weight > 0.0
        if k < 0 or active < 0:
            continue
        row = rows[k]
        count = row[HEAD.samples] if source < 0 else late.head[source, COUNT]
        # A label that is new belongs to the step already, but not to the prediction.
        target = truth[i] if truth[i] < outputs else -1
        reach = max(min(known[i], outputs), target + 1) if learning else active
        sound = False
        if active > 0 and source < 0:
            mass, sound = _predict(models, k, dense[i], shared[i], served[i], active, reach)
            if not math.isfinite(mass):
                continue
        elif active > 0:
            sound = _recall(models, late, source, k, active, reach)
        if source < 0 and late.origin.size > 0:
            _keep(models, late, at, known[i], active, count, shared[i], served[i])
        if not learning:
            continue
        if source >= 0:
            own, before = late.said[at], int(late.head[at, KNOWN])
            _score(row, own[SERVED], own[GIVEN], truth[i], before, weight, places)
        elif active > 0:
            _score(row, served[i], shared[i], truth[i], known[i], weight, places)
        if active > 0:
            _learn(models, k, target, active, reach, weight, count, sound)
        experts.learn_inputs(row, places, dense[i])
        _count_label(row, places, truth[i])


@exact_inlined
def _learn(
    models: Any,
    k: int,
    target: int,
    active: int,
    reach: int,
    weight: float,
    count: float,
    sound: bool,
) -> None:
    """Learn a label: how good the experts were, and what the least squares and network missed."""
    row, places, fleet, said = models.rows[k], models.places, models.fleet, models.said
    gains, network = models.gains, models.network
    if 0 <= target < active:
        product = power = 0.0
        for c in range(active):
            correction = models.errors[c]
            product += correction * ((1.0 if c == target else 0.0) - said[SHARED, c])
            power += correction * correction
        for e in range(EXPERTS):
            gains[e] = -math.log(max(said[e, target], SMALLEST))
        experts.learn_trust(row, fleet, count, product, power, weight)
        experts.learn_losses(row, places, fleet, count, gains, weight)
    if target >= 0:
        _learn_squares(
            row, models.initial, places, models.x, target, reach, weight, said, models.errors, gains
        )
        network.label[0] = target
        experts.learn_network(models, k, weight, reach, sound)


@exact_inlined
def _learn_squares(
    row: Any,
    initial: Any,
    places: Any,
    x: Any,
    target: int,
    reach: int,
    weight: float,
    said: Any,
    errors: Any,
    gains: Any,
) -> None:
    """Both least squares learn by how much they miss 1 for the label, and 0 for all others."""
    for a in range(FORGETTING.size):
        for c in range(places.outputs):
            p = said[SHARED, c] + experts.solve(row, places, a, c, x)
            error = (1.0 if c == target else 0.0) - p if c < reach else 0.0
            errors[c] = min(max(error, -MAX_STEP), MAX_STEP)
        experts.learn_squares(row, initial, places, a, x, errors, weight, gains)


@exact_inlined
def _combine(
    active: int, mass: float, trust: float, said: Any, shares: Any, corrections: Any, served: Any
) -> None:
    """Write by how much the mixed experts correct the shared probabilities, and what is served."""
    for c in range(active):
        mixed = 0.0
        for e in range(EXPERTS):
            mixed += shares[e] * said[e, c]
        corrections[c] = mixed - said[SHARED, c]
        served[c] = mass * (said[SHARED, c] + trust * corrections[c])


@exact_inlined
def _fill_network(network: Any, active: int, sound: bool, said: Any) -> None:
    """The network's probabilities of the labels that are known."""
    total = 0.0
    for c in range(active):
        said[NETWORK, c] = experts.read_output(network, c) if sound else said[SHARED, c]
        total += said[NETWORK, c]
    for c in range(active):
        said[NETWORK, c] = said[NETWORK, c] / total if total > 0.0 else said[SHARED, c]


@exact_inlined
def _score(
    row: Any, served: Any, shared: Any, truth: int, known: int, weight: float, places: Any
) -> None:
    """Score what was served and what the shared model said, as far as the label was known."""
    right = shared_right = SMALLEST
    wrong = shared_wrong = 1.0
    if truth < known:
        right = max(float(served[truth]), SMALLEST)
        shared_right = max(float(shared[truth]), SMALLEST)
        wrong = 0.0 if _find_largest(served, known) == truth else 1.0
        shared_wrong = 0.0 if _find_largest(shared, known) == truth else 1.0
    experts.score(row, -math.log(right), -math.log(shared_right), wrong, shared_wrong, weight)
    experts.watch_drift(row, places, wrong)


@exact_inlined
def _count_label(row: Any, places: Any, label: int) -> None:
    """Add a label to the frequencies, and note that it is the last one."""
    for c in range(places.outputs):
        at = places.frequencies + c
        row[at] = flush_subnormal(FREQUENCY_FADING * row[at])
    if label < places.outputs:
        row[places.frequencies + label] += 1.0
    if row[HEAD.last] > 0.0:
        same = 1.0 if int(row[HEAD.last]) == label + 1 else 0.0
        row[HEAD.same] = SCALE_FADING * row[HEAD.same] + same
        row[HEAD.faded] = SCALE_FADING * row[HEAD.faded] + 1.0
    row[HEAD.last] = label + 1.0
    row[HEAD.samples] += 1.0
