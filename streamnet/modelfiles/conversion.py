"""Conversion between a `NeuralNetwork` and a `Model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from streamnet.errors import ConfigurationError
from streamnet.features.encoder import Encoder
from streamnet.networks.frozen_population import Network
from streamnet.networks.neural_network import NeuralNetwork
from streamnet.samples import Block, Field, Kind, Schema, Task
from streamnet.settings.candidate import CandidateSettings

_RAW: dict[str, Any] = {"scaling": "none", "target_scaling": "none", "category_limit": 0}


def build_model_parts(network: NeuralNetwork, names: Sequence[str] | None) -> dict[str, Any]:
    """Build the parts of a model that computes the same as ``network``, from raw numbers.

    Args:
        network: The network.
        names: Names of the inputs; None uses f0, f1, ...

    Raises:
        ConfigurationError: If there is not one distinct name per input, or outputs lack labels.
    """
    names = [f"f{i}" for i in range(network.inputs)] if names is None else list(names)
    if len(set(names)) != network.inputs or len(names) != network.inputs:
        raise ConfigurationError(
            f"names has {len(set(names))} distinct names, but must have {network.inputs}"
        )
    if network.outputs > 1 and not network.labels:
        raise ConfigurationError(f"labels is empty, but must name {network.outputs} outputs")
    task = Task.REGRESSION if network.outputs == 1 else Task.CLASSIFICATION
    return {
        "encoder": _encoder_state(task, names, network.labels),
        "networks": [(_make_explicit(network.settings, network.task), network.parts())],
        "dtype": network.dtype.name,
        "about": {"target": network.labels[0]} if network.labels and network.outputs == 1 else {},
    }


def _make_explicit(settings: CandidateSettings, task: Task) -> CandidateSettings:
    """Return settings that do not depend on the task, nor on class weights."""
    output, loss = settings.output_for(task), settings.loss_for(task)
    return replace(settings, output=output, loss=loss, class_weight=0.0)


def _encoder_state(task: Task, names: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Return the state of an encoder of raw numbers that knows only columns and labels."""
    encoder = Encoder(task=task, **_RAW)
    schema = Schema(tuple(Field(name, Kind.NUMBER) for name in names), None, task)
    target = np.array(labels, object) if task is Task.CLASSIFICATION else np.empty(0)
    rows = len(target)
    block = Block(
        schema, "-", np.zeros((rows, len(names))), (), target, np.zeros((rows + 1, 3), np.int64)
    )
    encoder.encode(block)
    state = encoder.export_state()
    if state["labels"] != list(labels) and task is Task.CLASSIFICATION:
        raise ConfigurationError("labels must be texts that can be printed, no more than 1000")
    # The rows were placeholders; unscaled numbers need no moments.
    return {**state, "moments": np.zeros_like(state["moments"])}


def to_network(
    networks: Sequence[Network],
    encoder: Mapping[str, Any],
    ensemble: Mapping[str, Any] | None,
    about: Mapping[str, Any],
) -> NeuralNetwork:
    """Return the single network of a model with raw numeric inputs.

    Raises:
        ConfigurationError: If the model is more than that; the message says what.
    """
    reasons = _list_obstacles(networks, encoder, ensemble)
    if reasons:
        raise ConfigurationError(f"the model is more than one network: {'; '.join(reasons)}")
    network = networks[0]
    labels = tuple(encoder["labels"])
    if not labels and isinstance(about.get("target"), str):
        labels = (about["target"],)
    neural_network = NeuralNetwork(
        network.inputs,
        _make_explicit(network.settings, Task(encoder["settings"]["task"])),
        labels=labels,
        outputs=network.outputs,
        dtype=network.dtype,
    )
    neural_network.insert(network.weights)
    return neural_network


def _list_obstacles(
    networks: Sequence[Network], encoder: Mapping[str, Any], ensemble: Mapping[str, Any] | None
) -> list[str]:
    """List what a model does that a single network of raw numbers cannot."""
    settings = encoder["settings"]
    reasons = []
    if len(networks) > 1:
        reasons.append(f"it has {len(networks)} networks")
    elif ensemble is not None:
        reasons.append("its network predicts through an ensemble (learn with serve 'champion')")
    if others := sorted({kind for _, kind in encoder["fields"]} - {str(Kind.NUMBER)}):
        reasons.append(f"it has columns that are a {' and a '.join(others)}")
    if settings.get("scaling") != "none" or settings.get("scalings"):
        reasons.append("it scales its inputs (learn with scaling 'none')")
    if settings["task"] == str(Task.REGRESSION) and settings.get("target_scaling") != "none":
        reasons.append("it scales its target (learn with target_scaling 'none')")
    if len(encoder["row_keys"]):
        reasons.append("it has inputs for single values, or for missing ones")
    if networks[0].settings.lags or networks[0].settings.rehearses:
        reasons.append("it was learned with lags or rehearsal")
    if networks[0].settings.knots:
        reasons.append("it has splines (learn with knots 0)")
    return reasons
