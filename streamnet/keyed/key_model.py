"""Corrections of a shared model's predictions: by the model of one key, or by those of all keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.keyed.encoder import KeyedEncoder, list_columns, read_keys, set_columns
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
        "awaited": encoder.count_awaited(key),
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
        awaited = np.array([state.get("awaited", 0)])
        self._columns = list_columns(history, history.recall([self.key], None, awaited), awaited)

    def add_targets(self, block: Block) -> Block:
        """Set the columns of a block that hold the key's last targets."""
        columns = [np.repeat(column, len(block)) for column in self._columns]
        return set_columns(block, self._fields, columns)

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
        self._encoder, self._models = encoder, models

    def add_targets(self, block: Block) -> Block:
        """See `KeyModel.add_targets`."""
        columns = self._encoder.recall(read_keys(block, self._encoder.columns))
        fields = self._encoder.history.fields[: len(columns)]
        return set_columns(block, [field.name for field in fields], columns)

    def correct(
        self, block: Block, shared: NDArray[np.float64], dense: NDArray[np.floating], known: int
    ) -> NDArray[np.float64]:
        """See `KeyModel.correct`."""
        keys = read_keys(block, self._encoder.columns)
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
