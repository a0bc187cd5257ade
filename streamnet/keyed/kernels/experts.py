"""What the models of numbers and of labels share: scaling, least squares, network, mixing, drift.

Throughout, ``row`` is the float64 row of a key, see `layout`, and ``x`` are its features.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from streamnet.jit import exact_inlined, flush_subnormal
from streamnet.keyed.layout import EXPERTS, FORGETTING, HEAD, RIDGE
from streamnet.networks.kernels.backward import backward, output_gradient, weight_gradient
from streamnet.networks.kernels.forward import activate_outputs, forward
from streamnet.networks.kernels.update import Learned, apply_gradient
from streamnet.networks.plan import FACTORS, PLAN
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.vectors import LANES

AGES = 24  # a key's age is the number of bits of its count
SCALE = AGES  # row of the fleet's squared residuals, and how many they stand for
PRODUCT, POWER = EXPERTS + 1, EXPERTS + 2  # columns of the fleet after the experts and weights
FLEET_COLUMNS = EXPERTS + 3
FLEET_FADING = 0.9999
LOSS_FADING = 0.98  # of a key's losses
SCALE_FADING = 0.98
FLEET_SAMPLES = 8.0  # samples that the fleet's losses at a key's age count as
FLEET_PRIOR = 4.0  # samples that the fleet begins with, in which only the shared model is good
TRUST_SAMPLES = 24.0  # the same for the trust in corrections
TRUST_FADING = 0.98
MAX_RESIDUAL = 3.0  # deviations, to which a residual is clipped where trust is learned
MAX_LOSS = 10.0
MAX_INPUT = 5.0  # standard deviations of a key's inputs, to which they are clipped
MAX_NETWORK_INPUT = 8.0
INPUT_PRIOR = 4.0  # samples that the fleet's mean and deviation count as, which are 0 and 1
MAX_COVARIANCE = 100.0 / RIDGE  # so that forgetting does not let it grow without bound
TOLERATED_RISE = 0.25  # of the Page-Hinkley test, in standard deviations, as is the threshold
DRIFT_THRESHOLD = 20.0
DRIFT_GRACE = 30  # samples
MAX_RISE = 5.0
DRIFT_RETENTION = 0.1  # fraction of earlier losses kept at a drift


class NetworkArrays(NamedTuple):
    """Working memory of the network, and the target that it learns."""

    plan: Any
    factor: Any
    scratch: Any
    place: Any  # this and the next: active rows, of which there are none
    share: Any
    label: Any  # shape=(1,): class, 0 for a number
    goal: Any  # shape=(1, 1): number, NaN for a class
    log_goal: Any
    importance: Any  # shape=(1, 2): rarity and weight


class LatePredictions(NamedTuple):
    """What is kept of predictions until their labels arrive, so that these teach what was wrong.

    Of a label, all but the inputs is as it was when its sample was predicted.
    """

    origin: Any  # shape=(n,): row with what is kept of a label's sample, -1 for a sample; or empty
    head: Any  # shape=(rows, KEPT + features): the columns below, then the features
    said: Any  # shape=(rows, EXPERTS + 3, outputs): what the experts and the rows below predict


ACTIVE, UNIT, OWN_UNIT, COUNT, KEPT = range(5)
"""Columns: labels that the model predicted (1 for a number, -1 for no prediction), the unit, that
of the least squares, and samples of the key before."""
KNOWN = UNIT
"""In place of the unit, how many labels were known."""
CORRECTION, SERVED, GIVEN = EXPERTS, EXPERTS + 1, EXPERTS + 2
"""Rows: by how much the mixed experts correct, what was served, and the shared prediction."""


class KeySamples(NamedTuple):
    """Samples in order, and labels of earlier ones."""

    slots: Any  # shape=(n,): row of each sample's key, -1 for none
    shared: Any  # predictions of the shared model: numbers (n,), or probabilities (n, labels)
    dense: Any  # shape=(n, inputs)
    truth: Any  # shape=(n,): numbers, NaN for none; or labels, -1 for none
    known: Any  # shape=(n,): labels known before each sample; empty for numbers
    importance: Any  # shape=(n,), weight of each sample; empty: all are 1
    start: int  # row of the first one in `LatePredictions`


class ModelArrays(NamedTuple):
    """The models of all keys, what a new one starts with, and working memory."""

    places: Any
    rows: Any  # shape=(keys, width)
    weights: Any  # of the networks
    states: Any
    initial: Any
    initial_weights: Any
    fleet: Any  # shape=(AGES + 1, FLEET_COLUMNS)
    network: NetworkArrays
    x: Any  # this and the next: working memory for features, experts or outputs
    gains: Any
    shares: Any
    errors: Any
    said: Any  # shape=(EXPERTS, outputs), what the experts predict


@exact_inlined
def read_weight(samples: Any, i: Any) -> float:
    """The weight of sample ``i``."""
    return float(samples.importance[i]) if samples.importance.size > 0 else 1.0


@exact_inlined
def find_source(samples: Any, late: Any, i: Any) -> int:
    """Row with what is kept of the sample of label ``i``; -1 for a sample."""
    return int(late.origin[samples.start + i]) if late.origin.size > 0 else -1


@exact_inlined
def keep_nothing(samples: Any, late: Any, i: Any) -> None:
    """Note that sample ``i`` has no prediction, until there is one."""
    if late.origin.size > 0:
        late.head[samples.start + i, ACTIVE] = -1.0


@exact_inlined
def prefetch_model(models: Any, slots: Any, i: Any) -> None:
    """Prefetch all that belongs to the key of sample ``i``."""
    prefetch_row(models.rows, slots, i)
    prefetch_row(models.weights, slots, i)
    prefetch_row(models.states, slots, i)


@exact_inlined
def prefetch_row(rows: Any, slots: Any, i: Any) -> None:
    """Prefetch the row of sample ``i``: keys come in any order, so it is rarely in a cache."""
    if i < slots.size and slots[i] >= 0:
        start = slots[i] * rows.shape[1]
        step = 64 // rows.itemsize
        for j in range(0, rows.shape[1], step):
            simd.prefetch(rows, start + j)


@exact_inlined
def copy_row(source: Any, target: Any) -> None:
    """Copy numbers one by one: numba would allocate memory for a slice."""
    for j in range(target.size):
        target[j] = source[j]


@exact_inlined
def find_age(count: float) -> int:
    """Number of bits of a count of samples."""
    age, left = 0, int(count)
    while left > 0 and age < AGES - 1:
        age += 1
        left //= 2
    return age


@exact_inlined
def scale_inputs(row: Any, places: Any, dense: Any, x: Any, first: int) -> None:
    """Scale dense inputs by the key's own moments, which start from the fleet's."""
    count = row[HEAD.samples]
    total = count + INPUT_PRIOR
    for f in range(places.inputs):
        z = float(dense[f]) if f < dense.size else 0.0
        mean = row[places.means + f] * (count / total)
        deviation = math.sqrt((row[places.deviations + f] + INPUT_PRIOR) / total)
        x[first + f] = min(max((z - mean) / deviation, -MAX_INPUT), MAX_INPUT)


@exact_inlined
def learn_inputs(row: Any, places: Any, dense: Any) -> None:
    """Add a sample's dense inputs to the moments, before it is counted."""
    count = row[HEAD.samples] + 1.0
    for f in range(places.inputs):
        z = float(dense[f]) if f < dense.size else 0.0
        delta = z - row[places.means + f]
        row[places.means + f] += delta / count
        row[places.deviations + f] += delta * (z - row[places.means + f])


@exact_inlined
def solve(row: Any, places: Any, number: int, output: int, x: Any) -> float:
    """What a least squares predicts for an output."""
    at = places.first + number * places.each + output
    total = 0.0
    for f in range(places.features):
        total += row[at] * x[f]
        at += places.outputs
    return total


@exact_inlined
def learn_squares(
    row: Any, initial: Any, places: Any, number: int, x: Any, errors: Any, weight: float, gains: Any
) -> None:
    """A step of recursive least squares with forgetting, for the errors of all outputs.

    The packed covariance is the upper triangle, row by row. ``gains`` is working memory.
    """
    features, outputs = places.features, places.outputs
    start = places.first + number * places.each
    first = start + features * outputs
    for f in range(features):
        gains[f] = 0.0
    at = first
    for f in range(features):
        total = row[at] * x[f]
        for h in range(1, features - f):
            total += row[at + h] * x[f + h]
            gains[f + h] += row[at + h] * x[f]
        gains[f] += total
        at += features - f
    forgetting = FORGETTING[number]
    power = forgetting / weight
    for f in range(features):
        power += gains[f] * x[f]
    sound = power > 0.0
    at = start
    for f in range(features):
        for o in range(outputs):
            row[at] += gains[f] / power * errors[o]
            sound = sound and math.isfinite(row[at])
            at += 1
    largest = 0.0
    at = first
    for f in range(features):
        gain = gains[f] / power
        for h in range(features - f):
            row[at + h] = (row[at + h] - gain * gains[f + h]) / forgetting
        sound = sound and row[at] > 0.0 and math.isfinite(row[at])
        largest = max(largest, row[at])
        at += features - f
    if largest > MAX_COVARIANCE:
        _bound_covariance(row, first, features, gains)
    if not sound:
        for j in range(start, start + places.each):
            row[j] = initial[j]


@exact_inlined
def _bound_covariance(row: Any, first: int, features: int, shares: Any) -> None:
    """Shrink the variances that are too large, of features that do not vary or vary together."""
    at = first
    for f in range(features):
        shares[f] = math.sqrt(MAX_COVARIANCE / row[at]) if row[at] > MAX_COVARIANCE else 1.0
        at += features - f
    at = first
    for f in range(features):
        for h in range(features - f):
            row[at + h] *= shares[f] * shares[f + h]
        at += features - f


@exact_inlined
def run_network(network: Any, weights: Any, x: Any, inputs: int, active: int) -> bool:
    """Outputs of the key's network, in its working memory; whether they are finite."""
    plan, scratch = network.plan, network.scratch
    simd.store_one(scratch, LANES - 1, 1)
    for j in range(inputs):
        simd.store_one(scratch, LANES + j, min(max(x[j], -MAX_NETWORK_INPUT), MAX_NETWORK_INPUT))
    forward(plan, weights, scratch, network, 0, active)
    limit = simd.load_constant(network.factor, FACTORS.score_limit)
    return bool(activate_outputs(plan, scratch, active, limit))


@exact_inlined
def read_output(network: Any, output: int) -> float:
    """An output of the network."""
    start = simd.load_constant(network.plan, PLAN.score)
    return float(simd.load_one(network.scratch, start + output))


@exact_inlined
def learn_network(models: Any, k: int, weight: float, active: int, sound: bool) -> None:
    """A step of a key's network on the target in working memory, after `run_network`.

    If its outputs were not finite, it starts again as a new one.
    """
    weights, state, row = models.weights[k], models.states[k], models.rows[k]
    if not sound:
        copy_row(models.initial_weights, weights)
        state[:] = 0
        return
    network = models.network
    plan, factor, scratch = network.plan, network.factor, network.scratch
    network.importance[0, 1] = weight
    output_gradient(plan, factor, scratch, network, 0, active)
    # A late label may know fewer labels than the one learned before it, whose gradient is there.
    gradient = simd.load_constant(plan, PLAN.gradient)
    for o in range(active, models.places.outputs):
        simd.store_one(scratch, gradient + o, 0)
    weight_gradient(plan, factor, scratch, network, 0, active)
    backward(plan, weights, scratch, active)
    learned = Learned(plan, factor, weights, state, scratch, network, 0, active)
    apply_gradient(learned, int(row[HEAD.taken]))
    row[HEAD.taken] += 1.0


@exact_inlined
def weigh_experts(row: Any, places: Any, fleet: Any, shares: Any) -> None:
    """Weights of the experts: exponentials of the key's losses, and the fleet's at its age."""
    age = find_age(row[HEAD.samples])
    total = fleet[age, EXPERTS] + FLEET_PRIOR
    least = math.inf
    for e in range(EXPERTS):
        prior = fleet[age, e] + (FLEET_PRIOR if e > 0 else 0.0)
        shares[e] = row[places.experts + e] + FLEET_SAMPLES * (prior / total)
        least = min(least, shares[e])
    mass = 0.0
    for e in range(EXPERTS):
        shares[e] = math.exp(least - shares[e])
        mass += shares[e]
    for e in range(EXPERTS):
        shares[e] /= mass


@exact_inlined
def learn_losses(
    row: Any, places: Any, fleet: Any, count: float, losses: Any, weight: float
) -> None:
    """Add the losses of all experts to the key's and to the fleet's at its age after ``count``."""
    age = find_age(count)
    for e in range(EXPERTS):
        loss = weight * min(losses[e], MAX_LOSS)
        at = places.experts + e
        row[at] = flush_subnormal(LOSS_FADING * row[at]) + loss
        fleet[age, e] = FLEET_FADING * fleet[age, e] + loss
    fleet[age, EXPERTS] = FLEET_FADING * fleet[age, EXPERTS] + weight


@exact_inlined
def find_trust(row: Any, fleet: Any) -> float:
    """The fraction of its correction that a key's model should make: least squares, in [0, 1].

    It is learned from the key's own corrections and from the fleet's at its age, so that models
    that only learn noise leave the shared prediction as it is.
    """
    age = find_age(row[HEAD.samples])
    total = fleet[age, EXPERTS] + FLEET_PRIOR
    product = row[HEAD.product] + TRUST_SAMPLES * (fleet[age, PRODUCT] / total)
    power = row[HEAD.power] + TRUST_SAMPLES * (fleet[age, POWER] / total)
    return min(max(product / power, 0.0), 1.0) if power > 0.0 else 0.0


@exact_inlined
def learn_trust(
    row: Any, fleet: Any, count: float, product: float, power: float, weight: float
) -> None:
    """Add a correction times the residual, and its square; before `learn_losses`."""
    age = find_age(count)
    row[HEAD.product] = flush_subnormal(TRUST_FADING * row[HEAD.product]) + weight * product
    row[HEAD.power] = flush_subnormal(TRUST_FADING * row[HEAD.power]) + weight * power
    fleet[age, PRODUCT] = FLEET_FADING * fleet[age, PRODUCT] + weight * product
    fleet[age, POWER] = FLEET_FADING * fleet[age, POWER] + weight * power


@exact_inlined
def score(
    row: Any, loss: float, shared: float, error: float, shared_error: float, weight: float
) -> None:
    """Add the losses of what was served, and of the shared model, to the key's scores."""
    row[HEAD.loss] += weight * loss
    row[HEAD.shared_loss] += weight * shared
    row[HEAD.error] += weight * error
    row[HEAD.shared_error] += weight * shared_error
    row[HEAD.weight] += weight
    row[HEAD.recent] = flush_subnormal(LOSS_FADING * row[HEAD.recent]) + weight * loss
    row[HEAD.recent_weight] = LOSS_FADING * row[HEAD.recent_weight] + weight


@exact_inlined
def watch_drift(row: Any, places: Any, loss: float) -> None:
    """Page-Hinkley test on a key's losses; a rise lets its model adapt faster for a while."""
    count = row[HEAD.drift_count]
    if count >= DRIFT_GRACE:
        deviation = math.sqrt(row[HEAD.drift_squares] / count)
        rise = min(loss - row[HEAD.drift_mean], MAX_RISE * deviation)
        total = row[HEAD.drift_sum] + rise - TOLERATED_RISE * deviation
        row[HEAD.drift_sum] = total
        row[HEAD.drift_least] = min(row[HEAD.drift_least], total)
        if total - row[HEAD.drift_least] > DRIFT_THRESHOLD * deviation and deviation > 0.0:
            _adapt(row, places)
            return
    row[HEAD.drift_count] = count + 1.0
    delta = loss - row[HEAD.drift_mean]
    row[HEAD.drift_mean] += delta / (count + 1.0)
    row[HEAD.drift_squares] += delta * (loss - row[HEAD.drift_mean])


@exact_inlined
def _adapt(row: Any, places: Any) -> None:
    """Forget earlier losses, and how certain the least squares are of their coefficients."""
    row[HEAD.drifts] += 1.0
    row[HEAD.drift_at] = row[HEAD.samples]
    for j in range(HEAD.drift_count, HEAD.drift_least + 1):
        row[j] = 0.0
    for e in range(EXPERTS):
        row[places.experts + e] *= DRIFT_RETENTION
    for number in range(FORGETTING.size):
        at = places.first + number * places.each + places.features * places.outputs
        for f in range(places.features):
            row[at] = 1.0 / RIDGE
            for h in range(1, places.features - f):
                row[at + h] = 0.0
            at += places.features - f
