"""A model file that is sent: what a new model begins with, once it has proved to be sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from streamnet.assembling import encoder_of
from streamnet.assembling import search_of
from streamnet.errors import ConfigurationError
from streamnet.errors import ModelFileError
from streamnet.errors import StreamnetError
from streamnet.learning.learner import Learner
from streamnet.modelfiles.document import verify
from streamnet.modelfiles.files import SUFFIXES
from streamnet.modelfiles.model import CONTRADICTIONS
from streamnet.modelfiles.model import Model
from streamnet.samples import alike
from streamnet.settings_daemon import ModelSettings
from streamnet.settings_daemon import model_settings

__all__ = ("begun_with", "model_of", "settings_of")

_WHERE = "the file"
# What a settings table may not say beside a model, which brings it with it.
_BROUGHT = ("population", "encoder")


def model_of(data: bytes, suffix: str) -> Model:
    """The model that a file holds.

    Args:
        data: Its bytes.
        suffix: ``.safetensors`` or ``.json``.

    Raises:
        ModelFileError: If it is foreign, damaged or of another version.
    """
    try:
        document = SUFFIXES[suffix].decode(data, _WHERE)
        verify(document, _WHERE)
        return Model.from_document(document, _WHERE)
    except MemoryError as error:
        raise ModelFileError(f"{_WHERE} tells of more than fits into memory") from error


def settings_of(values: Mapping[str, Any], model: Model) -> ModelSettings:
    """Settings of a model that goes on with another one, whose target and task are the defaults.

    Raises:
        ConfigurationError: If there are wrong keys, or some that the other one brings with it.
        ModelFileError: If it can't be gone on with.
    """
    tables = {name: value for name, value in values.items() if value != {}}
    for name in _BROUGHT:
        if name in tables:
            raise ConfigurationError(f"{name} is given, but the file has its own")
    source = tables.get("source", {})
    if isinstance(source, dict) and (target := model.about.get("target")) is not None:
        tables["source"] = {"target": target} | source
    settings = model_settings(tables)
    _check(settings, model)
    return settings


def _check(settings: ModelSettings, model: Model) -> None:
    """Find out now what would else fail at the model's start."""
    task = settings.source.task or model.task
    known = {field.name for field in model.fields}
    if settings.source.target in known:
        raise ConfigurationError(
            f"source.target is {settings.source.target!r}, but that is an input of the file's model"
        )
    given = {**settings.evaluation.given(), **settings.selection.given()}
    try:
        with np.errstate(invalid="raise", over="raise"):
            Learner(
                task=task,
                start=model,
                evolution=search_of(settings),
                **given,
                **encoder_of(settings),
            )
            model.outputs([{}])
    except StreamnetError:
        raise
    except CONTRADICTIONS as error:
        raise ModelFileError(f"{_WHERE} can't be gone on with: {error!r}") from error


def begun_with(settings: ModelSettings, start: Model | None) -> ModelSettings:
    """The settings with what a start has told: its task, and the kinds of its columns.

    Raises:
        ConfigurationError: If they drop one of its columns, or give it another kind.
    """
    if start is None:
        return settings
    source = settings.source
    kinds = {field.name: field.kind for field in start.fields}
    for name in source.drop or ():
        if name in kinds:
            raise ConfigurationError(f"source.drop has {name!r}, but that is an input of the start")
    for name, kind in (source.kinds or {}).items():
        if not alike(kind, kinds.get(name, kind)):
            raise ConfigurationError(
                f"source.kinds has {str(kind)!r} for {name!r}, but must be {str(kinds[name])!r}, "
                "as the start reads it"
            )
    told = {"task": source.task or start.task, "kinds": kinds | (source.kinds or {})}
    return settings.model_copy(update={"source": source.model_copy(update=told)})
