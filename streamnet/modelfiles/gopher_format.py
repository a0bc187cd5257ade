"""The JSON format of gopher-neural, which go-neural and gopher-learn also read and write.

    {"Enters": 3, "Weights": [[[w, ...], ...], ...], "OutLabels": {"0": "R", "1": "M"}}

``Weights[layer][neuron][input]``; layer 0 reads the inputs. go-neural has no ``OutLabels``;
gopher-learn nests everything under ``Network``. All units are logistic without bias, see
`CandidateSettings.gopher`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features.columns.category import escape_surrogates
from streamnet.modelfiles import json_format
from streamnet.modelfiles.document import Document, build_document, build_model_parts, to_network
from streamnet.networks.frozen_population import Network
from streamnet.networks.neural_network import NeuralNetwork
from streamnet.settings.candidate import MAX_LAYERS, CandidateSettings

LARGEST_WEIGHT = float(np.finfo(np.float64).max)
MAX_OUTPUTS = 1000
MAX_INPUTS = 1 << 20
Matrix = list[list[float]]


def recognizes(data: bytes) -> bool:
    """Whether a file looks like a network of gopher-neural."""
    return data[:1] == b"{" and b'"Weights"' in data


def encode(document: Document) -> bytes:
    """Encode a model document."""
    networks = [
        Network(CandidateSettings.from_dict(part["settings"]), part["weights"])
        for part in document["networks"].values()
    ]
    return encode_network(
        to_network(networks, document["encoder"], document["ensemble"], document["about"])
    )


def decode(data: bytes, where: str) -> Document:
    """Decode a file to a model document; the inputs are called f0, f1, ..."""
    parts = build_model_parts(decode_network(data, where), None)
    return build_document(ensemble=None, **parts)


def encode_network(network: NeuralNetwork) -> bytes:
    """Encode a network; each number has the shortest form that gives the same float64.

    Raises:
        ConfigurationError: If gopher-neural cannot compute the same; the message says why.
    """
    settings = network.settings
    reasons = []
    for layer, name in enumerate((*settings.activations, settings.output_for(network.task))):
        if name != "logistic":
            reasons.append(f"layer {layer} is {name}, but there is only logistic")
    if any(vector.any() for vector in network.biases):
        reasons.append("it has biases, but there are none")
    if reasons:
        raise ConfigurationError(
            f"gopher-neural can't calculate what the network does: {'; '.join(reasons)}"
        )
    dump: dict[str, Any] = {
        "Enters": network.inputs,
        "Weights": [matrix.astype(np.float64).tolist() for matrix in network.weights],
    }
    if network.labels:
        dump["OutLabels"] = {str(number): label for number, label in enumerate(network.labels)}
    return json.dumps(dump, allow_nan=False, separators=(",", ":")).encode()


def decode_network(data: bytes, where: str, *, learning_rate: float = 0.05) -> NeuralNetwork:
    """Decode a network; outputs without a label are called by their number.

    Raises:
        ConfigurationError: If the learning rate is not above 0.
        ModelFileError: If the file is invalid; the message names the place in it.
    """
    try:
        document = json_format.decode(data, where)
    except ModelFileError as error:
        raise ModelFileError(
            f"{where} is damaged or no JSON file of gopher-neural, go-neural or gopher-learn"
        ) from error
    inner = document.get("Network")
    dump = inner if isinstance(inner, dict) else document
    if "Weights" not in dump:
        raise ModelFileError(f"{where} has no Weights, so it is no network of gopher-neural")
    enters = dump.get("Enters")
    if type(enters) is not int or not 1 <= enters <= MAX_INPUTS:
        raise ModelFileError(
            f"{where}: Enters is {_shorten(enters)}, but must be from 1 to {MAX_INPUTS}"
        )
    weights = _weights(dump["Weights"], enters, where)
    labels = _labels(dump.get("OutLabels"), len(weights[-1]), where)
    settings = CandidateSettings.gopher(learning_rate=learning_rate)
    try:
        settings = replace(settings, hidden=tuple(len(matrix) for matrix in weights[:-1]))
        network = NeuralNetwork(enters, settings, labels=labels, outputs=len(weights[-1]))
    except ConfigurationError as error:
        raise ModelFileError(f"{where}: {error}") from error
    network.weights = weights
    return network


def _weights(layers: Any, enters: int, where: str) -> list[Matrix]:
    if not isinstance(layers, list) or not 1 <= len(layers) <= MAX_LAYERS + 1:
        raise ModelFileError(f"{where}: Weights must be a list of 1 to {MAX_LAYERS + 1} layers")
    below = enters
    for number, layer in enumerate(layers):
        place = f"{where}: Weights[{number}]"
        if not isinstance(layer, list) or not layer:
            raise ModelFileError(f"{place} must be a list of neurons")
        for neuron, row in enumerate(layer):
            _check_row(row, below, f"{place}[{neuron}]")
        below = len(layer)
    return layers


def _check_row(row: Any, inputs: int, place: str) -> None:
    if not isinstance(row, list):
        raise ModelFileError(f"{place} is {_shorten(row)}, but must be a list of {inputs} weights")
    if len(row) != inputs:
        raise ModelFileError(f"{place} has {len(row)} weights, but must have {inputs}")
    for column, weight in enumerate(row):
        if type(weight) not in (int, float) or not abs(weight) <= LARGEST_WEIGHT:
            raise ModelFileError(
                f"{place}[{column}] is {_shorten(weight)}, but must be a finite number"
            )


def _labels(given: Any, outputs: int, where: str) -> tuple[str, ...]:
    """Return a label for each output; a single output needs none."""
    if given is not None and not isinstance(given, dict):
        raise ModelFileError(f"{where}: OutLabels is {_shorten(given)}, but must be an object")
    numbers = {str(number): number for number in range(outputs)}
    labels: dict[int, str] = {}
    for key, label in (given or {}).items():
        if key not in numbers:
            raise ModelFileError(
                f"{where}: OutLabels has the key {_shorten(key)}, but must have numbers of the "
                f"{outputs} outputs"
            )
        if not isinstance(label, str) or escape_surrogates(label) != label:
            kind = "Unicode text" if isinstance(label, str) else "text"
            raise ModelFileError(
                f"{where}: OutLabels[{key}] is {_shorten(label)}, but must be {kind}"
            )
        labels[numbers[key]] = label
    if outputs == 1 and not labels:
        return ()
    if outputs > MAX_OUTPUTS:
        raise ModelFileError(f"{where}: there are {outputs} outputs, more than {MAX_OUTPUTS}")
    return tuple(labels.get(number, str(number)) for number in range(outputs))


def _shorten(value: Any) -> str:
    """Shorten a value for a message."""
    text = repr(value) if not isinstance(value, list | dict) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
