"""NeighborMemory: class probabilities by the nearest of earlier samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.experts import Answers, Expert, ScoringBatch
from streamnet.features.columns.label import MovedClass
from streamnet.neighbors.kernels import (
    HASHED,
    LIST_SIZE,
    Store,
    needed_width,
    new_scratch,
    predict_then_learn,
)
from streamnet.networks.parameters import aligned_zeros
from streamnet.samples import NO_WEIGHTS

NO_LABELS = np.empty(0, np.int32)


@final
class NeighborMemory(Expert):
    """Stores samples with their labels, and predicts labels by the nearest ones.

    Distances are measured between scaled numbers and projections of categories and words, with a
    weight for each dimension that is learned online. Close neighbors count more. Memory and time
    are bounded: at most 64 numbers are kept of a sample, and about a sixteenth of 16,384 stored
    ones are compared with it.

    Args:
        samples: How many are stored, rounded up to a multiple of 128.

    >>> NeighborMemory(1000).samples
    0
    """

    name = "neighbors"

    def __init__(self, samples: int) -> None:
        self._store = _create_store(-(-samples // LIST_SIZE), HASHED)
        self._frozen: NeighborMemory | None = None  # a copy, while nothing has changed since

    @property
    def samples(self) -> int:
        """Number of stored samples."""
        return int(self._store.size.sum())

    @property
    def metric(self) -> NDArray[np.float32]:
        """Weight of each dimension in squared distances: projections first, then numbers."""
        return self._store.metric.copy()

    def predict_then_learn(self, batch: ScoringBatch) -> Answers:
        """Predict labels of samples in order, each before it is stored.

        Answers are probabilities, 0 for unknown classes.
        """
        assert batch.inputs is not None
        width = needed_width(batch.inputs)
        if width > self._store.metric.size:
            self._store = _widen(self._store, width)
        if batch.truth.max(initial=-1) >= 0:
            self._frozen = None
        return self._run(batch, batch.truth)

    def predict(self, batch: ScoringBatch) -> Answers:
        """Predict labels of samples of which each might be the next one; changes nothing."""
        return self._run(batch, NO_LABELS)

    def _run(self, batch: ScoringBatch, truth: NDArray[np.int32]) -> Answers:
        store, inputs = self._store, batch.inputs
        assert inputs is not None
        if needed_width(inputs) > store.metric.size:
            store = _widen(store, needed_width(inputs))
        answers = np.empty((len(inputs.count), batch.answers.shape[2]), np.float32)
        samples = inputs.dense, inputs.row, inputs.value, inputs.count, inputs.lags
        weight = NO_WEIGHTS if batch.weight is None else batch.weight
        arrays: Any = (*store, *new_scratch(store.metric.size))
        predict_then_learn(*samples, truth, batch.known, weight, answers, *arrays)
        return Answers(answers[np.newaxis])

    def freeze(self) -> NeighborMemory:
        """A copy that predicts as this one does now, while this one learns; it must not learn.

        The same one as before if nothing was stored since.
        """
        if self._frozen is None:
            used, frozen = _list_used(self._store), copy(self)
            store = _create_store(len(used["size"]), self._store.metric.size)
            frozen._store = _fill(store, used)
            self._frozen = frozen
        return self._frozen

    def move_class(self, moved: MovedClass) -> None:
        """Let samples of a class vote for another one, or for none at -1."""
        label = _list_used(self._store)["label"]  # all others stay 0, as in a restored memory
        label[label == moved.number] = moved.into
        self._frozen = None

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, bit for bit."""
        return {name: array.copy() for name, array in _list_used(self._store).items()}

    def restore_state(self, state: Mapping[str, Any]) -> Sequence[int]:
        """Continue from a state of `export_state`; `StateError` if it does not fit."""
        lists, width = len(self._store.size), len(state["metric"])
        store = _create_store(lists, width)
        for name, array in store._asdict().items():
            given = np.asarray(state[name])
            if given.shape[1:] != array.shape[1:] or len(given) > len(array):
                raise StateError(f"{name} of stored neighbors has shape {given.shape}")
        self._store, self._frozen = _fill(store, state), None
        return ()


def _create_store(lists: int, width: int) -> Store:
    places, groups = lists * LIST_SIZE, -(-lists // LIST_SIZE)
    return Store(
        vector=_create_lists(lists, width),
        label=np.zeros(places, np.int32),
        weight=np.zeros(places, np.float32),
        center=_create_lists(groups, width),
        size=np.zeros(lists, np.int64),
        following=np.zeros(lists, np.int64),
        metric=np.ones(width, np.float32),
        used=np.array([1, 0]),
    )


def _create_lists(lists: int, width: int) -> NDArray[np.float32]:
    numbers = aligned_zeros(lists * width * LIST_SIZE, np.dtype(np.float32))
    return numbers.reshape(lists, width, LIST_SIZE)


def _list_used(store: Store) -> dict[str, NDArray[Any]]:
    """Views of what is in use, by name: the arrays without room for further lists."""
    lists = int(store.used[0])
    sizes = dict.fromkeys(("vector", "size", "following"), lists)
    sizes |= dict.fromkeys(("label", "weight"), lists * LIST_SIZE)
    sizes["center"] = -(-lists // LIST_SIZE)
    return {name: array[: sizes.get(name)] for name, array in store._asdict().items()}


def _fill(store: Store, used: Mapping[str, NDArray[Any]]) -> Store:
    """Write what is in use into an empty store, which may have more lists and dimensions."""
    for name, array in store._asdict().items():
        given = used[name]
        array[tuple(map(slice, given.shape))] = given
    return store


def _widen(store: Store, width: int) -> Store:
    """A store with room for more dimensions, which are 0 in all samples so far.

    Lists that are not in use take no memory yet: they are not written.
    """
    return _fill(_create_store(len(store.size), width), _list_used(store))
