"""Numbers: each key's model predicts by how much the shared model is wrong for it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined, exact_kernel
from streamnet.keyed.kernels import experts
from streamnet.keyed.kernels.experts import (
    ACTIVE,
    CORRECTION,
    COUNT,
    FLEET_FADING,
    GIVEN,
    KEPT,
    MAX_RESIDUAL,
    OWN_UNIT,
    SCALE,
    SCALE_FADING,
    SERVED,
    UNIT,
    KeySamples,
    LatePredictions,
    ModelArrays,
)
from streamnet.keyed.layout import EXPERTS, FORGETTING, HEAD, NUMBER_FEATURES, RIDGE

SHARED, LAST, LEVEL, SQUARES, NETWORK = 0, 1, 2, 3, 5  # experts; of SQUARES there are two
MAX_DEVIATIONS = 8.0  # from the shared prediction, of what an expert predicts
MAX_TARGET = 1e100  # to which targets are clipped, so that no square overflows
MAX_FEATURE = 30.0  # deviations, to which features of targets are clipped
SETTLING_SAMPLES = 16  # of a key whose unit may still be that of the fleet
MAX_STEP = 3.0  # deviations, to which an error that the least squares learn is clipped
LEVEL_SAMPLES = 10.0
MEAN_SAMPLES = 100.0
OWN_UNIT_SAMPLES = 20.0  # after which the fleet's unit has no influence


@exact_inlined
def _clip(z: float) -> float:
    return min(max(z, -MAX_DEVIATIONS), MAX_DEVIATIONS)


@exact_inlined
def _bound(z: float) -> float:
    return min(max(z, -MAX_FEATURE), MAX_FEATURE)


@exact_inlined
def _find_unit(row: Any, fleet: Any) -> float:
    """How far targets of this key usually are from the shared prediction.

    The fleet's unit counts as four samples at first, then as half as many after each one.
    """
    count = row[HEAD.samples]
    common = fleet[SCALE, 0] / fleet[SCALE, 1] if fleet[SCALE, 1] > 0.0 else 1.0
    prior = 4.0 * 0.5**count if count < OWN_UNIT_SAMPLES else 0.0
    square = (row[HEAD.squares] + prior * common) / (row[HEAD.faded] + prior)
    return math.sqrt(square) if square > 0.0 else 1.0


@exact_inlined
def _fill_features(row: Any, places: Any, dense: Any, shared: float, own: float, x: Any) -> None:
    """Write the features, those of targets in the unit of the least squares."""
    count = row[HEAD.samples]
    x[0] = 1.0
    x[1] = _bound(row[HEAD.residual] / own)
    x[2] = _bound(row[HEAD.residual_before] / own)
    x[3] = _bound((row[HEAD.last] - shared) / own) if count > 0.0 else 0.0
    x[4] = _bound((row[HEAD.before] - shared) / own) if count > 1.0 else 0.0
    # With a coefficient of 1 for this one, the shared prediction does not matter at all.
    x[5] = _bound((row[HEAD.mean] - shared) / own) if count > 0.0 else 0.0
    experts.scale_inputs(row, places, dense, x, NUMBER_FEATURES)


@exact_inlined
def _settle_unit(row: Any, places: Any, fleet: Any) -> None:
    """Measure the unit of the least squares anew after 1, 2, 4, 8, ... samples.

    In between it stays, so that what is linear in the targets is linear in the features. The
    coefficients are converted, which changes no prediction.
    """
    count = int(row[HEAD.samples])
    if count & (count - 1) != 0:
        return
    ratio = _find_unit(row, fleet) / row[HEAD.unit]
    row[HEAD.unit] *= ratio
    for number in range(FORGETTING.size):
        start = places.first + number * places.each
        for f in range(places.features):
            if not 0 < f < NUMBER_FEATURES:
                row[start + f] /= ratio
        at = start + places.features
        for f in range(places.features):
            for h in range(f, places.features):
                if 0 < f < NUMBER_FEATURES:
                    row[at + h - f] *= ratio
                if 0 < h < NUMBER_FEATURES:
                    row[at + h - f] *= ratio
            if 0 < f < NUMBER_FEATURES and count <= SETTLING_SAMPLES:
                row[at] = max(row[at], 1.0 / RIDGE)  # the fleet's unit was another one
            at += places.features - f


@exact_inlined
def _predict(
    models: Any, k: int, dense: Any, base: float, unit: float, own: float
) -> tuple[float, bool]:
    """Write features and what the experts say; return it mixed, and if the network is sound."""
    row, places, x, said = models.rows[k], models.places, models.x, models.said[:, 0]
    _fill_features(row, places, dense, base, own, x)
    known = row[HEAD.samples] > 0.0
    said[SHARED] = 0.0
    said[LAST] = _clip((row[HEAD.last] - base) / unit) if known else 0.0
    said[LEVEL] = _clip(row[HEAD.level] / unit)
    for a in range(FORGETTING.size):
        said[SQUARES + a] = _clip(experts.solve(row, places, a, 0, x) * own / unit)
    features = places.features
    sound = experts.run_network(models.network, models.weights[k], x[1:], features - 1, 1)
    said[NETWORK] = _clip(experts.read_output(models.network, 0)) if sound else 0.0
    experts.weigh_experts(row, places, models.fleet, models.shares)
    mixed = 0.0
    for e in range(EXPERTS):
        mixed += models.shares[e] * said[e]
    return mixed, sound


@exact_inlined
def _keep(models: Any, late: Any, at: int, count: float, unit: float, own: float) -> None:
    """Keep what was predicted until the label arrives."""
    head, said = late.head[at], late.said[at]
    head[ACTIVE], head[UNIT], head[OWN_UNIT], head[COUNT] = 1.0, unit, own, count
    for f in range(models.places.features):
        head[KEPT + f] = models.x[f]
    for e in range(EXPERTS):
        said[e, 0] = models.said[e, 0]


@exact_inlined
def _recall(models: Any, late: Any, source: int, k: int, own: float) -> bool:
    """Restore what was predicted, features in the present unit; if the network is sound."""
    head, said, x = late.head[source], late.said[source], models.x
    for f in range(models.places.features):
        x[f] = head[KEPT + f]
        if 0 < f < NUMBER_FEATURES and head[OWN_UNIT] != own:
            x[f] = _bound(x[f] * (head[OWN_UNIT] / own))
    for e in range(EXPERTS):
        models.said[e, 0] = said[e, 0]
    features = models.places.features
    return bool(experts.run_network(models.network, models.weights[k], x[1:], features - 1, 1))


@exact_kernel
def serve_numbers(
    samples: KeySamples,
    learns: bool,
    models: ModelArrays,
    late: LatePredictions,
    served: NDArray[np.float64],  # shape=(n,), written
) -> None:
    """Predict each sample for its key, then learn it or, if its label is late, that one."""
    slots, shared, dense, truth = samples[:4]
    places, rows, fleet, network = models.places, models.rows, models.fleet, models.network
    x, gains, errors = models.x, models.gains, models.errors
    said = models.said[:, 0]
    experts.prefetch_row(rows, slots, 0)
    for i in range(slots.size):
        experts.prefetch_model(models, slots, i + 1)
        k, base, source = slots[i], shared[i], experts.find_source(samples, late, i)
        if source < 0:
            served[i] = base
            experts.keep_nothing(samples, late, i)
        if k < 0:
            continue
        row = rows[k]
        unit = _find_unit(row, fleet)
        own = row[HEAD.unit] if row[HEAD.unit] > 0.0 else unit
        # Of a label, its sample's count of earlier ones, unit, correction and prediction.
        count, scale, answer = row[HEAD.samples], unit, base
        if source < 0:
            if not math.isfinite(base):
                continue
            mixed, sound = _predict(models, k, dense[i], base, unit, own)
            served[i] = answer = base + unit * experts.find_trust(row, fleet) * mixed
            if late.origin.size > 0:
                at = samples.start + i
                _keep(models, late, at, count, unit, own)
                late.said[at, CORRECTION, 0] = mixed
                late.said[at, SERVED, 0], late.said[at, GIVEN, 0] = answer, base
        else:
            if late.head[source, ACTIVE] < 0.0:
                continue
            sound = _recall(models, late, source, k, own)
            count, scale = late.head[source, COUNT], late.head[source, UNIT]
            mixed = late.said[source, CORRECTION, 0]
            answer, base = late.said[source, SERVED, 0], late.said[source, GIVEN, 0]
        weight = experts.read_weight(samples, i)
        if not learns or not math.isfinite(truth[i]) or not weight > 0.0:
            continue
        target = min(max(truth[i], -MAX_TARGET), MAX_TARGET)
        residual = target - base
        z = residual / scale
        row[HEAD.unit] = own
        limit = MAX_STEP * unit / own
        for a in range(FORGETTING.size):
            error = residual / own - experts.solve(row, places, a, 0, x)
            errors[0] = min(max(error, -limit), limit)
            experts.learn_squares(row, models.initial, places, a, x, errors, weight, gains)
        network.goal[0, 0] = _clip(residual / unit)
        experts.learn_network(models, k, weight, 1, sound)
        for e in range(EXPERTS):
            gains[e] = abs(said[e] - z)
        known_residual = min(max(z, -MAX_RESIDUAL), MAX_RESIDUAL)
        experts.learn_trust(row, fleet, count, mixed * known_residual, mixed * mixed, weight)
        experts.learn_losses(row, places, fleet, count, gains, weight)
        error = abs(answer - target)
        experts.score(row, error, abs(residual), error * error, residual * residual, weight)
        experts.learn_inputs(row, places, dense[i])
        _learn_target(row, fleet, target, residual)
        _settle_unit(row, places, fleet)
        experts.watch_drift(row, places, error)


@exact_inlined
def _learn_target(row: Any, fleet: Any, target: float, residual: float) -> None:
    count = row[HEAD.samples]
    row[HEAD.level] += (residual - row[HEAD.level]) / min(count + 2.0, LEVEL_SAMPLES)
    row[HEAD.squares] = SCALE_FADING * row[HEAD.squares] + residual * residual
    row[HEAD.faded] = SCALE_FADING * row[HEAD.faded] + 1.0
    fleet[SCALE, 0] = FLEET_FADING * fleet[SCALE, 0] + residual * residual
    fleet[SCALE, 1] = FLEET_FADING * fleet[SCALE, 1] + 1.0
    row[HEAD.mean] += (target - row[HEAD.mean]) / min(count + 1.0, MEAN_SAMPLES)
    row[HEAD.before], row[HEAD.last] = row[HEAD.last], target
    row[HEAD.residual_before], row[HEAD.residual] = row[HEAD.residual], residual
    row[HEAD.samples] = count + 1.0
