"""Checking: what a new model would begin with is built once, before anything of it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamnet.assembling import encoder_of
from streamnet.assembling import networks_of
from streamnet.assembling import search_of
from streamnet.daemon.events import EventLog
from streamnet.daemon.life import Life
from streamnet.errors import ConfigurationError
from streamnet.learning.learner import Learner
from streamnet.samples import Task
from streamnet.settings_daemon import ModelSettings

__all__ = ("check_settings",)


def check_settings(settings: ModelSettings, folder: Path) -> None:
    """Refuse settings with which no model could ever learn.

    Args:
        settings: Of the model.
        folder: An empty one, to be thrown away.

    Raises:
        ConfigurationError: If they contradict each other, fit no task, or don't fit into memory.
        ModelFileError: If the start can't be read.

    >>> import tempfile
    >>> from streamnet.settings_daemon import model_settings
    >>> tables = {"source": {"target": "y"}, "population": {"candidates": 1000}}
    >>> check_settings(model_settings(tables), Path(tempfile.mkdtemp()))
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: candidates is 1000, but must be from 1 to 512
    """
    try:
        networks = networks_of(settings)
        Life(folder, settings, networks, EventLog())
        start = networks.get("start")
        told = settings.source.task or (start and start.task)
        _check_tasks(settings, networks, tuple(Task) if told is None else (told,))
    except MemoryError as error:
        raise ConfigurationError(f"a model like this does not fit into memory: {error}") from error


def _check_tasks(
    settings: ModelSettings, networks: Mapping[str, Any], tasks: tuple[Task, ...]
) -> None:
    """Find out whether one of the tasks could be learned: the target's values tell which it is."""
    errors = []
    for task in tasks:
        try:
            Learner(
                task=task,
                evolution=search_of(settings),
                **settings.evaluation.given(),
                **settings.selection.given(),
                **encoder_of(settings),
                **networks,
            )
        except ConfigurationError as error:
            errors.append(error)
    if len(errors) == len(tasks):
        raise errors[0]
