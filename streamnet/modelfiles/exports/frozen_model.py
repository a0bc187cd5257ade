"""FrozenModel: what a model computes, as formulas and arrays, for exports to other formats.

What no export can contain is refused here, with all reasons in one message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.features.columns.label import RETIRED, ClassRedirects
from streamnet.features.columns.target import TargetUnits
from streamnet.features.encoder import Encoder
from streamnet.features.frozen import FrozenInputs, FrozenNumber
from streamnet.modelfiles.document import Document
from streamnet.networks.frozen_population import Network
from streamnet.samples import Task
from streamnet.selection.conformal import (
    IntervalFormula,
    IntervalTracker,
    SetTracker,
    restore_tracker,
)
from streamnet.selection.ensemble.frozen import FrozenEnsemble, freeze_ensemble
from streamnet.selection.ensemble.registry import restore_ensemble
from streamnet.settings.candidate import CandidateSettings

ACTIVATIONS = ("identity", "logistic", "tanh", "relu", "softmax")
"""Activations that every export knows."""


class FrozenNetwork(NamedTuple):
    """A network, whose first layer has a row for each of the inputs of its model."""

    layers: tuple[NDArray[np.floating], ...]  # shape=(1 + units below, units): biases, weights
    activations: tuple[str, ...]  # of all layers
    splines: NDArray[np.floating]  # shape=(splined inputs, knots, units)
    sparse: NDArray[np.floating]  # shape=(rows, units)
    score_limit: float  # a network with a larger score, or one that is NaN, has no output
    is_logarithmic: bool  # whether it predicts logarithms

    @property
    def knots(self) -> int:
        """Knots of each spline; 0 for none."""
        return int(self.splines.shape[1])


class Redirects(NamedTuple):
    """Where the probability of merged and retired classes goes."""

    moves: NDArray[np.float64]  # shape=(labels, labels): 1 from the first to the second label
    # Probabilities if only retired classes were probable, shape=(labels,); None if none is retired.
    otherwise: NDArray[np.float64] | None
    is_active: NDArray[np.bool_]  # shape=(labels,)


@final
@dataclass(frozen=True)
class FrozenModel:
    """A model as formulas and arrays; rows of inputs are those of `FrozenNetwork.sparse`."""

    task: Task
    inputs: FrozenInputs
    dense: tuple[int, ...]  # numbers of the dense inputs, in the order of the first layers' rows
    splined: tuple[int, ...]  # those with splines
    networks: tuple[FrozenNetwork, ...]
    dtype: np.dtype[Any]  # of networks
    units: TargetUnits
    scale: tuple[float, float]  # mean and standard deviation of the targets
    ensemble: FrozenEnsemble | None  # of all networks; None for a single one
    labels: tuple[str, ...]
    classes: tuple[Any, ...]  # the labels as they were learned
    redirects: Redirects | None
    intervals: IntervalFormula | float | None  # of a label: the lowest probability in the set
    about: Mapping[str, Any]
    version: str  # of the streamnet that wrote the model


def freeze(document: Document) -> FrozenModel:
    """Return what the model of a document computes.

    Raises:
        ConfigurationError: If it has parts that no export can contain; the message lists them.
    """
    encoder = Encoder.restore_state(document["encoder"])
    labels = tuple(encoder.labels)
    ensemble = None
    if document["ensemble"] is not None:
        state = restore_ensemble(encoder.task, dict(document["ensemble"]))
        ensemble = freeze_ensemble(state, len(labels), encoder.scale)
    parts = _select_networks(document, ensemble)
    inputs = _check(document, encoder, parts)
    numbers = [column for column in inputs.columns if isinstance(column, FrozenNumber)]
    dense = tuple(place for column in numbers for place in column.inputs)
    splined = tuple(column.dense for column in numbers if column.is_splined)
    redirects = encoder.label_numbers.redirects
    return FrozenModel(
        task=encoder.task,
        inputs=inputs,
        dense=dense,
        splined=splined,
        networks=tuple(
            _freeze_network(part, encoder.task, dense, splined, inputs.rows) for part in parts
        ),
        dtype=np.dtype(document["dtype"]),
        units=encoder.units,
        scale=encoder.scale,
        ensemble=ensemble,
        labels=labels,
        classes=tuple(document.get("classes") or labels),
        redirects=None if redirects is None else _freeze_redirects(redirects, len(labels)),
        intervals=_freeze_intervals(encoder.task, document.get("intervals")),
        about=document["about"],
        version=document["streamnet"],
    )


def _select_networks(document: Document, ensemble: FrozenEnsemble | None) -> list[Network]:
    """The networks that predict where the last targets are unknown."""
    stored = [document["networks"][str(k)] for k in range(len(document["networks"]))]
    # Of two without an ensemble, the second one predicts without last targets.
    numbers = [len(stored) - 1] if ensemble is None else list(ensemble.candidates)
    return [
        Network(CandidateSettings.from_dict(stored[k]["settings"]), stored[k]["weights"])
        for k in numbers
    ]


def _check(document: Document, encoder: Encoder, parts: Sequence[Network]) -> FrozenInputs:
    """The inputs; a model with parts that can't be exported is refused."""
    reasons, inputs = [], None
    try:
        inputs = encoder.freeze()
    except ConfigurationError as error:
        reasons.append(str(error))
    if any(part.settings.lags for part in parts):
        reasons.append("its network needs the last targets")
    used = {name for p in parts for name in _list_activations(p, encoder.task)}
    reasons += [
        f"exports don't know the activation {name}" for name in sorted(used - {*ACTIVATIONS})
    ]
    if document.get("key") is not None:
        reasons.append("it is the model of a key, which corrects what the shared one predicts")
    if encoder.task is Task.CLASSIFICATION and not encoder.labels:
        reasons.append("it has seen no label yet")
    if inputs is None or reasons:
        raise ConfigurationError(f"the model can't be exported: {'; '.join(reasons)}")
    return inputs


def _list_activations(network: Network, task: Task) -> tuple[str, ...]:
    return *network.settings.activations, network.settings.output_for(task)


def _freeze_network(
    network: Network, task: Task, dense: Sequence[int], splined: Sequence[int], rows: Sequence[int]
) -> FrozenNetwork:
    settings, weights = network
    layers = [weights["first"][[0, *(1 + i for i in dense)]]]
    layers += [weights[f"upper{i}"] for i in range(1, len(settings.hidden))]
    if settings.hidden:
        layers.append(np.concatenate((weights["output_bias"], weights["output"].T)))
    units = layers[0].shape[1]
    splines = np.empty((len(splined), 0, units), network.dtype)
    if settings.knots:
        splines = weights["splines"].reshape(-1, settings.knots, units)[list(splined)]
    return FrozenNetwork(
        tuple(map(np.ascontiguousarray, layers)),
        _list_activations(network, task),
        splines,
        weights["sparse"][list(rows)],
        settings.score_limit,
        settings.target_transform == "log",
    )


def _freeze_redirects(redirects: ClassRedirects, labels: int) -> Redirects:
    moves, is_active = np.eye(labels), np.ones(labels, np.bool_)
    targets = redirects.targets.tolist()
    for number in redirects.changed.tolist():
        is_active[number] = False
        moves[number, number] = 0.0
        if targets[number] != RETIRED:
            moves[number, targets[number]] = 1.0
    otherwise = is_active / max(int(is_active.sum()), 1) if RETIRED in targets else None
    return Redirects(moves, otherwise, is_active)


def _freeze_intervals(
    task: Task, state: Mapping[str, Any] | None
) -> IntervalFormula | float | None:
    if state is None:
        return None
    tracker = restore_tracker(task, state)
    if isinstance(tracker, IntervalTracker):
        return tracker.freeze()
    assert isinstance(tracker, SetTracker)
    return tracker.threshold
