"""A whole model as ONNX operations: networks, ensemble, and the outputs.

The names of outputs are those of models that skl2onnx converts. Encoder and ensemble compute in
float64, networks in the type of their weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.features.columns.target import MAX_DEVIATIONS
from streamnet.modelfiles.exports.frozen_model import FrozenModel, FrozenNetwork, Redirects
from streamnet.modelfiles.exports.onnx_graph import Graph
from streamnet.modelfiles.exports.onnx_inputs import (
    EncodedColumns,
    add_columns,
    add_hats,
    find_obstacles,
)
from streamnet.samples import Task
from streamnet.selection.conformal import MAX_FEATURE, MAX_LOG_FACTOR, MAX_NUMBER, IntervalFormula
from streamnet.selection.ensemble.base import PRIORS
from streamnet.selection.ensemble.frozen import FrozenEnsemble

LABEL, PROBABILITY, NUMBER = "output_label", "output_probability", "variable"
SET, INTERVAL = "output_set", "output_interval"
OPERATIONS = {"logistic": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softmax": "Softmax"}
DOUBLE = np.float64
_LEAST = 1e-300  # for quotients of losses that may be 0


class Predicted(NamedTuple):
    """Names of what a network says, and whether that is finite."""

    outputs: str  # shape=(n, outputs)
    alive: str  # shape=(n, 1), bool


def build(model: FrozenModel) -> onnx.ModelProto:
    """Build the ONNX model.

    Raises:
        ConfigurationError: If there is something that ONNX has no operations for.
    """
    if reasons := find_obstacles(model):
        raise ConfigurationError(f"the model can't be exported to ONNX: {'; '.join(reasons)}")
    graph = Graph((LABEL, PROBABILITY, NUMBER, SET, INTERVAL))
    columns = add_columns(graph, model)
    if columns.dense is None and columns.rows is None:
        raise ConfigurationError("the model can't be exported to ONNX: it has no inputs")
    networks = _add_networks(graph, model, columns)
    if model.task is Task.CLASSIFICATION:
        _add_label_outputs(graph, model, _add_probabilities(graph, model, networks))
    else:
        _add_number_outputs(graph, model, _add_number(graph, model, networks))
    target = model.about.get("target")
    metadata = {
        "streamnet": model.version,
        "task": str(model.task),
        "target": target if isinstance(target, str) else "",
        "classes": json.dumps(model.classes),
        "about": json.dumps(model.about),
    }
    return graph.build("streamnet", metadata, model.version)


# ----------------------------------------------------------------------- networks


def _add_networks(graph: Graph, model: FrozenModel, columns: EncodedColumns) -> list[Predicted]:
    hats = {
        knots: add_hats(graph, columns, knots, model)
        for knots in {network.knots for network in model.networks} - {0}
    }
    return [
        _add_network(graph, model, network, columns, hats.get(network.knots))
        for network in model.networks
    ]


def _add_network(
    graph: Graph,
    model: FrozenModel,
    network: FrozenNetwork,
    columns: EncodedColumns,
    hats: str | None,
) -> Predicted:
    dtype = model.dtype
    first = network.layers[0]
    terms = []
    if columns.dense is not None:
        places = [1 + model.dense.index(number) for number in columns.order]
        terms.append(graph.add("MatMul", columns.dense, graph.constant(first[places], dtype)))
    if hats is not None:
        flat = network.splines.reshape(-1, first.shape[1])
        terms.append(graph.add("MatMul", hats, graph.constant(flat, dtype)))
    if columns.rows is not None:
        rows = np.concatenate((np.zeros((1, first.shape[1])), network.sparse))
        active = graph.add("Gather", graph.constant(rows, dtype), columns.rows)
        terms.append(graph.sum(active, 1))
    value = graph.constant(first[0], dtype)
    for term in terms:
        value = graph.add("Add", term, value)
    for layer, activation in zip(network.layers[1:], network.activations, strict=False):
        value = _activate(graph, value, activation)
        value = graph.add("MatMul", value, graph.constant(layer[1:], dtype))
        value = graph.add("Add", value, graph.constant(layer[0], dtype))
    with np.errstate(over="ignore"):  # a limit that no float32 reaches
        limit = graph.constant(network.score_limit, dtype)
    sound = graph.cast(graph.add("Less", graph.add("Abs", value), limit), np.int64)
    alive = graph.cast(graph.add("ReduceMin", sound, axes=[1], keepdims=1), np.bool_)
    outputs = _activate(graph, value, network.activations[-1])
    if model.task is Task.CLASSIFICATION and network.activations[-1] != "softmax":
        outputs = _normalize(graph, model, outputs)
    return Predicted(outputs, alive)


def _activate(graph: Graph, value: str, activation: str) -> str:
    return value if activation == "identity" else graph.add(OPERATIONS[activation], value)


def _normalize(graph: Graph, model: FrozenModel, outputs: str) -> str:
    """Positive outputs divided by their sum; all the same if none is positive."""
    positive = graph.add("Relu", outputs)
    total = graph.sum(positive, 1, keep=True)
    least = graph.constant(1e-30, model.dtype)
    shares = graph.add("Div", positive, graph.add("Max", total, least))
    even = graph.constant(1.0 / len(model.labels), model.dtype)
    return graph.add("Where", graph.add("Greater", total, least), shares, even)


# ------------------------------------------------------------------------- labels


def _add_probabilities(graph: Graph, model: FrozenModel, networks: list[Predicted]) -> str:
    """What the model says of labels, shape=(n, labels)."""
    redirects = model.redirects
    outputs = [_redirect(graph, redirects, each.outputs, model.dtype) for each in networks]
    if model.ensemble is None:
        nothing = graph.constant(math.nan, DOUBLE)
        return graph.add("Where", networks[0].alive, graph.cast(outputs[0], DOUBLE), nothing)
    served = _mix_labels(graph, model, model.ensemble, networks, outputs)
    return _redirect(graph, redirects, served, np.dtype(DOUBLE))


def _redirect(
    graph: Graph, redirects: Redirects | None, probabilities: str, dtype: np.dtype[Any]
) -> str:
    """Give merged and retired classes no probability, see `ClassRedirects`."""
    if redirects is None:
        return probabilities
    moved = graph.add("MatMul", probabilities, graph.constant(redirects.moves, dtype))
    if redirects.otherwise is None:
        return moved
    total = graph.sum(moved, 1, keep=True)
    zero, one = graph.constant(0.0, dtype), graph.constant(1.0, dtype)
    empty = graph.add("LessOrEqual", total, zero)
    scaled = graph.add("Div", moved, graph.add("Where", empty, one, total))
    return graph.add("Where", empty, graph.constant(redirects.otherwise, dtype), scaled)


def _mix_labels(
    graph: Graph,
    model: FrozenModel,
    ensemble: FrozenEnsemble,
    networks: list[Predicted],
    outputs: list[str],
) -> str:
    """The average of logarithmic opinion pools, see `LabelEnsemble`; shape=(n, labels)."""
    alive = graph.concat([each.alive for each in networks])
    shares = graph.concat([graph.expand(each, 1) for each in outputs])
    floor = graph.constant(ensemble.floor, model.dtype)
    logs = graph.cast(graph.add("Log", graph.add("Max", shares, floor)), DOUBLE)
    logs = graph.add("Where", graph.expand(alive, 2), logs, graph.constant(0.0, DOUBLE))
    weights, prior_weights = ensemble.weights[:, :-PRIORS], ensemble.weights[:, -PRIORS:]
    scores = graph.add("MatMul", graph.constant(weights, DOUBLE), logs)
    scores = graph.add("Add", scores, graph.constant(prior_weights @ ensemble.priors, DOUBLE))
    own, priors = _weigh(graph, ensemble, ensemble.rate, alive)
    average = graph.squeeze(graph.add("MatMul", graph.expand(own, 1), logs), 1)
    rest = graph.add("MatMul", priors, graph.constant(ensemble.priors, DOUBLE))
    average = graph.expand(graph.add("Add", average, rest), 1)
    scores = graph.concat([scores, average])
    logs = graph.add("LogSoftmax", scores, axis=2)
    logs = graph.add("Max", logs, graph.constant(math.log(ensemble.floor), DOUBLE))
    final = graph.add("MatMul", graph.constant(ensemble.final[None], DOUBLE), logs)
    probabilities = graph.add("Softmax", graph.concat([scores, final]), axis=2)
    served = graph.add("MatMul", graph.constant(ensemble.shares[None], DOUBLE), probabilities)
    return graph.squeeze(served, 1)


def _weigh(graph: Graph, ensemble: FrozenEnsemble, rate: float, alive: str) -> tuple[str, str]:
    """Weights that fall exponentially with losses: of the networks, and of the priors."""
    losses = _find_losses(graph, ensemble, alive)
    parts = []
    for means, counts, present in losses.parts:
        above = graph.add("Sub", means, losses.lowest)
        power = graph.add("Mul", above, graph.constant(-rate * counts, DOUBLE))
        parts.append(graph.add("Mul", graph.add("Exp", power), present))
    return _divide_by_sum(graph, parts)


class Losses(NamedTuple):
    """Mean losses of networks and of priors: means, counts, and 1 for those that count."""

    parts: list[tuple[str, NDArray[np.float64], str]]
    lowest: str  # shape=(n, 1)


def _find_losses(graph: Graph, ensemble: FrozenEnsemble, alive: str) -> Losses:
    known = np.isfinite(ensemble.mean_losses)
    means = np.where(known, ensemble.mean_losses, np.finfo(np.float64).max)[None]
    counts = np.where(known, ensemble.loss_counts, 1.0)[None]
    own = graph.constant(means[:, :-PRIORS], DOUBLE)
    priors = graph.constant(means[:, -PRIORS:], DOUBLE)
    unavailable = graph.constant(float(np.finfo(np.float64).max), DOUBLE)
    best = graph.add("ReduceMin", graph.add("Where", alive, own, unavailable), axes=[1], keepdims=1)
    lowest = graph.add("Min", best, graph.constant(means[:, -PRIORS:].min(), DOUBLE))
    here = graph.cast(alive, DOUBLE)
    here = graph.add("Mul", here, graph.constant(known[None, :-PRIORS], DOUBLE))
    always = graph.constant(known[None, -PRIORS:], DOUBLE)
    return Losses([(own, counts[:, :-PRIORS], here), (priors, counts[:, -PRIORS:], always)], lowest)


def _divide_by_sum(graph: Graph, parts: Sequence[str]) -> tuple[str, str]:
    own, priors = parts
    total = graph.add("Add", graph.sum(own, 1, keep=True), graph.sum(priors, 1, keep=True))
    total = graph.add("Max", total, graph.constant(_LEAST, DOUBLE))
    return graph.add("Div", own, total), graph.add("Div", priors, total)


def _add_label_outputs(graph: Graph, model: FrozenModel, probabilities: str) -> None:
    odds, ensemble = probabilities, model.ensemble
    if ensemble is not None and ensemble.frequencies is not None:
        odds = graph.add("Div", odds, graph.constant(ensemble.frequencies, DOUBLE))
    best = graph.add("ArgMax", odds, axis=1, keepdims=0)
    classes, dtype = _choose_class_type(model)
    label = graph.add("Gather", graph.constant(classes, dtype), best)
    text = "The class, any one if its probability is NaN."
    graph.output(label, LABEL, dtype, [], text)
    count = len(model.labels)
    text = "Probabilities in the order of the classes, which are in the metadata; NaN for none."
    graph.output(probabilities, PROBABILITY, DOUBLE, [count], text)
    if isinstance(model.intervals, float):
        inside = graph.add("GreaterOrEqual", probabilities, graph.constant(model.intervals, DOUBLE))
        if model.redirects is not None:
            active = graph.constant(model.redirects.is_active, np.bool_)
            inside = graph.add("And", inside, active)
        graph.output(inside, SET, np.bool_, [count], "Whether each class is in the set.")


def _choose_class_type(model: FrozenModel) -> tuple[Sequence[Any], Any]:
    """The classes as ONNX can return them: those of several types are texts."""
    for kind, dtype in ((bool, np.bool_), (int, np.int64), (float, np.float64)):
        if {type(each) for each in model.classes} == {kind} and _fits(model.classes, dtype):
            return model.classes, dtype
    return model.labels, object


def _fits(classes: Sequence[Any], dtype: Any) -> bool:
    return dtype is not np.int64 or all(-(1 << 63) <= each < 1 << 63 for each in classes)


# ------------------------------------------------------------------------ numbers


def _add_number(graph: Graph, model: FrozenModel, networks: list[Predicted]) -> str:
    """The number that the model predicts, shape=(n, 1)."""
    pairs = zip(model.networks, networks, strict=True)
    numbers = [_to_units(graph, model, network, each.outputs) for network, each in pairs]
    if model.ensemble is None:
        nothing = graph.constant(math.nan, DOUBLE)
        return graph.add("Where", networks[0].alive, numbers[0], nothing)
    center, spread = model.scale
    z = graph.add("Sub", graph.concat(numbers), graph.constant(center, DOUBLE))
    z = graph.add("Div", z, graph.constant(spread, DOUBLE))
    alive = graph.concat([each.alive for each in networks])
    mixed = _mix_numbers(graph, model.ensemble, z, alive)
    scaled = graph.add("Mul", mixed, graph.constant(spread, DOUBLE))
    return graph.add("Add", scaled, graph.constant(center, DOUBLE))


def _to_units(graph: Graph, model: FrozenModel, network: FrozenNetwork, outputs: str) -> str:
    """What a network says, in units of the target; see `TargetUnits.numbers`."""
    center, spread, log_center, log_spread = (float(each) for each in model.units)
    if network.is_logarithmic:
        scale, origin = log_spread, log_center
    else:
        scale, origin = spread, center
    number = graph.add("Mul", graph.cast(outputs, DOUBLE), graph.constant(scale, DOUBLE))
    number = graph.add("Add", number, graph.constant(origin, DOUBLE))
    if not network.is_logarithmic:
        return number
    grown = graph.add("Exp", graph.add("Abs", number))
    size = graph.add("Sub", grown, graph.constant(1.0, DOUBLE))
    number = graph.add("Mul", graph.add("Sign", number), size)
    reach = MAX_DEVIATIONS * spread
    bounds = (graph.constant(center - reach, DOUBLE), graph.constant(center + reach, DOUBLE))
    return graph.add("Clip", number, *bounds)


def _mix_numbers(graph: Graph, ensemble: FrozenEnsemble, z: str, alive: str) -> str:
    """The average of linear mixers, see `NumberEnsemble`; shape=(n, 1)."""
    z = graph.clip(z, ensemble.bound, DOUBLE)
    z = graph.add("Where", alive, z, graph.constant(0.0, DOUBLE))
    weights, prior_weights = ensemble.weights[:, :-PRIORS], ensemble.weights[:, -PRIORS:]
    linear = graph.add("MatMul", z, graph.constant(weights.T, DOUBLE))
    constant = (prior_weights @ ensemble.priors).T
    linear = graph.add("Add", linear, graph.constant(constant, DOUBLE))
    hedge = _average(graph, ensemble, z, _weigh(graph, ensemble, ensemble.hedge_rate, alive))
    inverse = _average(graph, ensemble, z, _weigh_by_inverse_loss(graph, ensemble, alive))
    average = _average(graph, ensemble, z, _weigh(graph, ensemble, ensemble.rate, alive))
    mixed = graph.clip(graph.concat([linear, hedge, inverse]), ensemble.bound, DOUBLE)
    mixed = graph.concat([mixed, average])
    final = graph.add("MatMul", mixed, graph.constant(ensemble.final[:, None], DOUBLE))
    outputs = graph.concat([mixed, graph.clip(final, ensemble.bound, DOUBLE)])
    return graph.add("MatMul", outputs, graph.constant(ensemble.shares[:, None], DOUBLE))


def _average(graph: Graph, ensemble: FrozenEnsemble, z: str, weights: tuple[str, str]) -> str:
    own, priors = weights
    total = graph.sum(graph.add("Mul", own, z), 1, keep=True)
    rest = graph.add("MatMul", priors, graph.constant(ensemble.priors, DOUBLE))
    return graph.add("Add", total, rest)


def _weigh_by_inverse_loss(graph: Graph, ensemble: FrozenEnsemble, alive: str) -> tuple[str, str]:
    """Weights in proportion to the mean loss to the power -8, of the networks and of the priors."""
    losses, least = _find_losses(graph, ensemble, alive), graph.constant(_LEAST, DOUBLE)
    lowest, parts = graph.add("Max", losses.lowest, least), []
    for means, _, present in losses.parts:
        power = graph.add("Div", lowest, graph.add("Max", means, least))
        for _ in range(3):
            power = graph.add("Mul", power, power)
        parts.append(graph.add("Mul", power, present))
    return _divide_by_sum(graph, parts)


def _add_number_outputs(graph: Graph, model: FrozenModel, number: str) -> None:
    graph.output(number, NUMBER, DOUBLE, [1], "The number, NaN for none.")
    if isinstance(model.intervals, IntervalFormula):
        center = graph.clip(number, MAX_NUMBER, DOUBLE)
        half = _add_half_width(graph, model.intervals, center)
        bounds = [graph.add("Sub", center, half), graph.add("Add", center, half)]
        text = "Lower and upper bound of the interval."
        graph.output(graph.concat(bounds), INTERVAL, DOUBLE, [2], text)


def _add_half_width(graph: Graph, formula: IntervalFormula, number: str) -> str:
    """Half the width of the interval around a number."""
    size = graph.add("Add", graph.add("Abs", number), graph.constant(formula.size, DOUBLE))
    size = graph.add("Log", graph.add("Div", size, graph.constant(formula.total, DOUBLE)))
    size = graph.clip(size, MAX_FEATURE, DOUBLE)
    factor = graph.add("Mul", size, graph.constant(formula.by_size, DOUBLE))
    factor = graph.add("Add", factor, graph.constant(formula.constant, DOUBLE))
    if formula.spread > 0.0:
        z = graph.add("Sub", number, graph.constant(formula.mean, DOUBLE))
        z = graph.add("Div", z, graph.constant(formula.spread, DOUBLE))
        z = graph.clip(z, MAX_FEATURE, DOUBLE)
        part = graph.add("Mul", z, graph.constant(formula.by_number, DOUBLE))
        factor = graph.add("Add", factor, part)
    factor = graph.clip(factor, MAX_LOG_FACTOR, DOUBLE)
    return graph.add("Exp", graph.add("Add", factor, graph.constant(formula.log_size, DOUBLE)))
