"""Corrections of a shared model's predictions: by the model of one key, or by those of all keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.keyed.encoder import KeyedEncoder, read_keys
from streamnet.keyed.history import TargetsByKey
from streamnet.keyed.models import KeyedModels
from streamnet.samples import Block, Task

ROWS = 1024  # predicted at a time


def export_key(encoder: KeyedEncoder, models: KeyedModels, key: str) -> dict[str, Any]:
    """The state of a `KeyModel` as plain values and arrays; the key must be known."""
    return {
        "key": key,
        "columns": list(encoder.columns),
        "season": encoder.history.season,
        "history": encoder.history.export_state(key),
        "models": models.export_state(key),
    }


@final
class KeyModel:
    """Corrects what the shared model predicts for samples of one key; immutable.

    Each sample is predicted as the next one of the key. Any number of threads may call it at once.

    Args:
        task: The task.
        state: From `export_key`.

    Raises:
        StateError: If the state is inconsistent.
    """

    def __init__(self, task: Task, state: Mapping[str, Any]) -> None:
        self._task = task
        self.key: str = state["key"]
        self.columns: tuple[str, ...] = tuple(state["columns"])
        self._models = KeyedModels(task, resident=ROWS)
        self._models.restore_state(state["models"])
        history = TargetsByKey(task, resident=1, season=state["season"])
        history.restore_state(state["history"])
        for rows in (self._models.rows, history.rows):
            if list(rows.list_keys()) != [self.key]:
                raise StateError(f"the model of key {self.key!r} has rows of other keys")
        self._fields = [field.name for field in history.fields]
        self._targets = history.recall([self.key])

    def add_targets(self, block: Block) -> Block:
        """Set the columns of a block that hold the key's last targets."""
        targets = np.repeat(self._targets, len(block), axis=0)
        return _set_columns(block, self._fields, targets, self._task)

    def correct(
        self, block: Block, shared: NDArray[np.float64], dense: NDArray[np.floating], known: int
    ) -> NDArray[np.float64]:
        """What the predictions of the shared model become; see `KeyedModels.predict`."""
        keys = [self.key] * len(block)
        corrected: NDArray[np.float64] = self._models.predict(keys, shared, dense, known)
        return corrected


@final
class LiveKeys:
    """Corrects by the models that keys have at this moment, while they go on learning.

    Each sample is predicted as the next one of its key. Any number of threads may call it.
    """

    def __init__(self, encoder: KeyedEncoder, models: KeyedModels) -> None:
        self._columns, self._history = encoder.columns, encoder.history
        self._fields = [field.name for field in encoder.history.fields]
        self._models = models

    def add_targets(self, block: Block) -> Block:
        """See `KeyModel.add_targets`."""
        targets = self._history.recall(read_keys(block, self._columns))
        return _set_columns(block, self._fields, targets, self._models.task)

    def correct(
        self, block: Block, shared: NDArray[np.float64], dense: NDArray[np.floating], known: int
    ) -> NDArray[np.float64]:
        """See `KeyModel.correct`."""
        keys = read_keys(block, self._columns)
        corrected: NDArray[np.float64] = self._models.predict(keys, shared, dense, known)
        return corrected


class Correction(Protocol):
    """What `KeyModel` and `LiveKeys` do."""

    def add_targets(self, block: Block) -> Block:
        """See `KeyModel.add_targets`."""

    def correct(
        self, block: Block, shared: NDArray[np.float64], dense: NDArray[np.floating], known: int
    ) -> NDArray[np.float64]:
        """See `KeyModel.correct`."""


def _set_columns(block: Block, names: list[str], targets: NDArray[Any], task: Task) -> Block:
    """Set the columns of last targets, shape=(n, columns)."""
    schema = block.schema
    if task is Task.REGRESSION:
        numbers = block.numbers.copy()
        numbers[:, [schema.numbers.index(name) for name in names]] = targets
        return replace(block, numbers=numbers)
    columns = dict(zip(schema.words, block.words, strict=True))
    for name, column in zip(names, targets.T, strict=True):
        columns[name] = column.astype(object)
    return replace(block, words=tuple(columns.values()))
