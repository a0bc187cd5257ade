"""Uploaded model files: decoding them, and the settings of a model that starts from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from streamnet.errors import ConfigurationError, ModelFileError, StreamnetError
from streamnet.learning.learner import Learner
from streamnet.modelfiles.document import verify_document
from streamnet.modelfiles.formats import SUFFIXES
from streamnet.modelfiles.model import CONTRADICTIONS, Model
from streamnet.runs.builder import encoder_arguments, search_arguments
from streamnet.samples import are_compatible
from streamnet.settings.daemon import ModelSettings, parse_model

_SOURCE_NAME = "the file"
# Tables that the model determines.
_PROVIDED_BY_MODEL = ("population", "encoder")


def decode_model(data: bytes, suffix: str) -> Model:
    """Decode a model file.

    Args:
        data: Content of the file.
        suffix: Suffix of its format, ``.safetensors`` or ``.json``.

    Raises:
        ModelFileError: If it is not a model file, damaged or of another version.
    """
    try:
        document = SUFFIXES[suffix].decode(data, _SOURCE_NAME)
        verify_document(document, _SOURCE_NAME)
        return Model.from_document(document, _SOURCE_NAME)
    except MemoryError as error:
        raise ModelFileError(f"{_SOURCE_NAME} does not fit into memory") from error


def build_settings(values: Mapping[str, Any], model: Model) -> ModelSettings:
    """Build the settings of a model that continues from another one.

    Args:
        values: Tables of a run file; target and task default to those of the model.
        model: The model to continue from.

    Raises:
        ConfigurationError: If keys are invalid, or determined by the model.
        ModelFileError: If learning can't continue from the model.
    """
    tables = {name: value for name, value in values.items() if value != {}}
    for name in _PROVIDED_BY_MODEL:
        if name in tables:
            raise ConfigurationError(f"{name} is given, but the model file determines it")
    source = tables.get("source", {})
    if isinstance(source, dict) and (target := model.about.get("target")) is not None:
        tables["source"] = {"target": target} | source
    settings = parse_model(tables)
    _check_start(settings, model)
    return settings


def _check_start(settings: ModelSettings, model: Model) -> None:
    """Check what would otherwise fail when the model starts."""
    task = settings.source.task or model.task
    known = {field.name for field in model.fields}
    if settings.source.target in known:
        raise ConfigurationError(
            f"source.target is {settings.source.target!r}, but that is an input of the model in "
            "the file"
        )
    given = {**settings.evaluation.to_kwargs(), **settings.selection.to_kwargs()}
    try:
        with np.errstate(invalid="raise", over="raise"):
            Learner(
                task=task,
                start=model,
                evolution=search_arguments(settings),
                **given,
                **encoder_arguments(settings),
            )
            model.outputs([{}])
    except StreamnetError:
        raise
    except CONTRADICTIONS as error:
        raise ModelFileError(f"learning can't continue from {_SOURCE_NAME}: {error!r}") from error


def apply_start(settings: ModelSettings, start: Model | None) -> ModelSettings:
    """Add the task of a start and the kinds of its columns to settings.

    Raises:
        ConfigurationError: If the settings drop one of its columns, or give it another kind.
    """
    if start is None:
        return settings
    source = settings.source
    kinds = {field.name: field.kind for field in start.fields}
    for name in source.drop or ():
        if name in kinds:
            raise ConfigurationError(f"source.drop has {name!r}, but that is an input of the start")
    for name, kind in (source.kinds or {}).items():
        if not are_compatible(kind, kinds.get(name, kind)):
            raise ConfigurationError(
                f"source.kinds has {str(kind)!r} for {name!r}, but must be {str(kinds[name])!r}, "
                "as the start reads it"
            )
    update = {"task": source.task or start.task, "kinds": {**kinds, **(source.kinds or {})}}
    return settings.model_copy(update={"source": source.model_copy(update=update)})
