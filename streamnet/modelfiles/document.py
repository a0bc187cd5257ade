"""Model documents: what model files hold, checked and converted to and from models."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet import objects
from streamnet.durability.files import write_durably
from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features.encoder import Encoder
from streamnet.modelfiles.formats import SUFFIXES, find_format
from streamnet.networks.frozen_population import Network
from streamnet.networks.neural_network import NeuralNetwork
from streamnet.networks.topology import Capacity, build_sections
from streamnet.objects import is_url
from streamnet.samples import Block, Field, Kind, Schema, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.version import __version__

# Exceptions that inconsistent files cause in code that trusts them.
CONTRADICTIONS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)

FORMAT = "streamnet-model"
VERSION = 1
_MAX_BYTES = 1 << 31  # size of a model file

# `json.dumps` would build an encoder for every value.
_encode = json.JSONEncoder(sort_keys=True, allow_nan=False).encode
PLAIN = frozenset({type(None), bool, int, float, str})
"""Types of most values that are neither arrays nor nested documents."""

Document = dict[str, Any]
"""Strings, numbers, booleans, None, lists, arrays, and nested documents, by name."""


def digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document without its ``checksum``, independent of the file format."""
    total = hashlib.sha256()
    _hash_value(total, {name: value for name, value in document.items() if name != "checksum"})
    return total.hexdigest()


def build_document(
    *,
    encoder: dict[str, Any],
    networks: Sequence[tuple[CandidateSettings, Mapping[str, NDArray[Any]]]],
    ensemble: dict[str, Any] | None,
    dtype: str,
    about: dict[str, Any],
    intervals: dict[str, Any] | None = None,
    key: dict[str, Any] | None = None,
    classes: list[Any] | None = None,
) -> Document:
    """Build the document of a model, with its checksum."""
    document: Document = {
        "format": FORMAT,
        "version": VERSION,
        "streamnet": __version__,
        "task": encoder["settings"]["task"],
        "labels": list(encoder["labels"]),
        "about": about,
        "dtype": dtype,
        "networks": {
            str(number): {"settings": settings.as_dict(), "weights": weights}
            for number, (settings, weights) in enumerate(networks)
        },
        "ensemble": ensemble,
        "encoder": encoder,
    }
    for name, part in (("intervals", intervals), ("key", key), ("classes", classes)):
        if part is not None:
            document[name] = part
    return add_checksum(document)


def _hash_value(total: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        for name in sorted(value):
            head, entry = f"{{{_text(name)}:", value[name]
            if type(entry) in PLAIN:
                total.update(f"{head}{_text(entry)},".encode())
            else:
                total.update(head.encode())
                _hash_value(total, entry)
        total.update(b"}")
    elif isinstance(value, np.ndarray):
        total.update(f"{value.dtype.str}{value.shape}".encode())
        total.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    else:
        total.update(f"{_text(value)},".encode())


def _text(value: Any) -> str:
    """Return JSON text; numbers skip the encoder, which takes five times as long."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return _encode(value)


def add_checksum(document: Document) -> Document:
    """Return the document with its checksum in front."""
    return {"checksum": digest(document), **document}


def verify_document(document: Document, where: str, kind: str = FORMAT) -> None:
    """Check kind, version and checksum of a document; ``where`` names it in messages."""
    if not _equals(document.get("format"), kind):
        raise ModelFileError(f"{where} is not a {kind.replace('-', ' ', 1)}")
    if not _equals(document.get("version"), VERSION):
        raise ModelFileError(
            f"{where} has format version {document.get('version')!r}, but this streamnet reads "
            f"{VERSION}"
        )
    try:
        sound = _equals(document.get("checksum"), digest(document))
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{where} is damaged: {error}") from error
    if not sound:
        raise ModelFileError(f"{where} is damaged: its content does not match its checksum")


def _equals(value: object, expected: str | int) -> bool:
    """Whether two values are equal and of one type: a file may hold anything, even arrays."""
    return type(value) is type(expected) and value == expected


def write_document(path: str | os.PathLike[str], document: Document) -> None:
    """Write a document atomically in the format of the suffix; it is on disk on return."""
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        names = ", ".join(SUFFIXES)
        raise ConfigurationError(f"model file is {str(path)!r}, but must end in one of {names}")
    write_bytes(path, SUFFIXES[suffix].encode(document))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a model file atomically; it is on disk on return."""
    try:
        write_durably(path, data)
    except OSError as error:
        raise ModelFileError(f"{path} can't be written: {error.strerror}") from error


def read_document(path: str | os.PathLike[str], kind: str = FORMAT) -> Document:
    """Read and verify a document in any of the loadable formats."""
    data = read_bytes(path)
    document = find_format(data, Path(path).suffix).decode(data, str(path))
    verify_document(document, str(path), kind)
    return document


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a model file, or an object that is one."""
    url = os.fspath(path)
    path = Path(path)
    try:
        if is_url(url):
            return objects.read(url)
        if path.exists() and not path.is_file():
            raise ModelFileError(f"{path} is no file, so no model can be read from it")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ModelFileError(f"{path} has {size} bytes, but must have <= {_MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        name = url if is_url(url) else path
        raise ModelFileError(f"{name} can't be read: {error.strerror}") from error


def check_weights(
    weights: Mapping[str, NDArray[Any]], settings: CandidateSettings, dtype: str, encoder: Encoder
) -> None:
    """Check weights against the settings of their network and the encoder's outputs."""
    if dtype not in ("float32", "float64"):
        raise ModelFileError(f"dtype is {dtype!r}, but must be float32 or float64")
    known = encoder.statistics()
    outputs = 1 if encoder.task is Task.REGRESSION else max(known.classes, 1)
    capacity = Capacity(known.dense, known.rows, outputs)
    sections = build_sections(settings, capacity)
    shapes = {section.name: (section.rows, section.units) for section in sections}
    if weights.keys() != shapes.keys():
        raise ModelFileError(f"the network has the parts {', '.join(sorted(weights))}")
    for name, shape in shapes.items():
        matrix = weights[name]
        if matrix.shape != shape:
            raise ModelFileError(f"{name} has shape {matrix.shape}, but its network needs {shape}")
        if matrix.dtype != np.dtype(dtype):
            raise ModelFileError(f"{name} has the type {matrix.dtype}, but must have {dtype}")
        if not np.isfinite(matrix).all():
            raise ModelFileError(f"{name} has a weight that is not finite")


_RAW: dict[str, Any] = {"scaling": "none", "target_scaling": "none", "category_limit": 0}


def build_model_parts(network: NeuralNetwork, names: Sequence[str] | None) -> dict[str, Any]:
    """Build the parts of a model that computes the same as ``network``, see `Model.of`."""
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
    numbers, marks = np.zeros((len(target), len(names))), np.zeros((len(target) + 1, 3), np.int64)
    encoder.encode(Block(schema, "-", numbers, (), target, marks))
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
    """Return the single network of a model with raw numeric inputs."""
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
    if "redirects" in encoder:
        reasons.append("some of its classes were merged or retired")
    if networks[0].settings.knots:
        reasons.append("it has splines (learn with knots 0)")
    return reasons
