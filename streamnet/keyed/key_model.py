"""KeyModel: the model of one key and its last targets, apart from those of all other keys."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.keyed.encoder import KeyedEncoder
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
        self._names = [field.name for field in history.fields]
        self._targets = history.recall([self.key])
        self._lock = Lock()  # the kernels have working memory

    def add_targets(self, block: Block) -> Block:
        """Set the columns of a block that hold the key's last targets."""
        schema = block.schema
        if self._task is Task.REGRESSION:
            numbers = block.numbers.copy()
            numbers[:, [schema.numbers.index(name) for name in self._names]] = self._targets
            return replace(block, numbers=numbers)
        columns = dict(zip(schema.words, block.words, strict=True))
        for name, value in zip(self._names, self._targets[0], strict=True):
            columns[name] = np.full(len(block), value, object)
        return replace(block, words=tuple(columns.values()))

    def correct(
        self, shared: NDArray[np.float64], dense: NDArray[np.floating], known: int
    ) -> NDArray[np.float64]:
        """What the predictions of the shared model become; see `KeyedModels.predict`."""
        with self._lock:
            corrected: NDArray[np.float64] = self._models.predict(
                [self.key] * len(shared), shared, dense, known
            )
        return corrected
