"""FactorizationMachine: targets by categories, binned numbers, and all pairs of them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.factorization.kernels import BINS, GATES, Tables, get_scratch, predict_then_learn
from streamnet.randomness import derive_key, fill_rows
from streamnet.samples import NO_WEIGHTS, Inputs, constant_column

_NO_LABELS, _NO_NUMBERS = np.empty(0, np.int32), np.empty(0)
_SPREAD = 0.05  # bound of the random entries of new vectors
_BINS_KEY, _ROWS_KEY, _OUTPUT_KEY = (derive_key(0xFAC7, part) for part in range(3))
MAX_RATIO = 1.5  # of its loss to the lowest one, beyond which a machine rests
REST = 7  # rounds


@final
class FactorizationMachine:
    """Predicts labels or numbers by linear weights and by a vector for each category and bin.

    It is for columns of many values, which networks need more samples to learn, and for pairs of
    them. Memory grows with the rows of the encoder, and takes some 100 bytes for each. While its
    loss is far above that of others, it rests most of the time, and predicts nothing.

    Args:
        factors: Length of a vector.

    >>> machine = FactorizationMachine(4)
    >>> users, items = np.divmod(np.arange(600) * 7 % 40, 8)
    >>> row = np.stack((users, 5 + items), axis=1).astype(np.int32)
    >>> dense, value = np.empty((600, 0), np.float32), np.ones((600, 2), np.float32)
    >>> inputs = Inputs(dense, row, value, np.full(600, 2, np.int32), 13)
    >>> labels = ((users + items) % 2).astype(np.int32)
    >>> answers = machine.predict_labels(inputs, labels, np.full(600, 2, np.int32), 2)
    >>> bool((answers[-100:].argmax(axis=1) == labels[-100:]).all())
    True
    """

    def __init__(self, factors: int) -> None:
        self._factors = factors
        self._numbers = 0  # that have bins
        self._tables = _create_tables(0, 0, 0, factors)
        self._resting = 0  # rounds to come

    @property
    def resting(self) -> bool:
        """Whether it neither predicts nor learns in this round."""
        return self._resting > 0

    def end_round(self, loss: float, lowest: float) -> None:
        """Decide at the end of a round whether to rest, by its own loss and the lowest one."""
        if self._resting:
            self._resting -= 1
        elif loss > MAX_RATIO * lowest:
            self._resting = REST

    def predict_labels(
        self,
        inputs: Inputs,
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
        labels: int,
        weight: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        """Predict labels of n samples in order, each before it is learned.

        Args:
            inputs: Inputs of the samples.
            truth: shape=(n,), class numbers, -1 for none.
            known: shape=(n,), number of classes known before each sample.
            labels: Columns of the result.
            weight: shape=(n,), of each sample; None: all are 1.

        Returns:
            shape=(n, labels), probabilities, 0 for unknown classes, and for all of them at rest.
        """
        if self.resting:
            return np.zeros((len(known), labels), np.float32)
        self._make_room(inputs, labels)
        return self._run(inputs, truth, _NO_NUMBERS, known, labels, weight)

    def predict_numbers(
        self, inputs: Inputs, truth: NDArray[np.float64], weight: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """Predict numbers in standard units like `predict_labels`, shape=(n,); NaN for no truth."""
        if self.resting:
            return np.zeros(len(truth), np.float32)
        self._make_room(inputs, 1)
        return self._run(inputs, _NO_LABELS, truth, _NO_LABELS, 1, weight)[:, 0]

    def answer_labels(self, inputs: Inputs, known: int, labels: int) -> NDArray[np.float32]:
        """Predict labels of n candidates for the next sample, without learning.

        Safe to call from several threads, unless one of them learns.
        """
        if self.resting or not self._tables.bias.size:
            return np.zeros((len(inputs.count), labels), np.float32)
        names = constant_column(len(inputs.count), known, np.int32)
        return self._run(inputs, _NO_LABELS, _NO_NUMBERS, names, labels)

    def answer_numbers(self, inputs: Inputs) -> NDArray[np.float32]:
        """Predict numbers in standard units like `answer_labels`."""
        if self.resting or not self._tables.bias.size:
            return np.zeros(len(inputs.count), np.float32)
        return self._run(inputs, _NO_LABELS, _NO_NUMBERS, _NO_LABELS, 1)[:, 0]

    def _run(
        self,
        inputs: Inputs,
        truth: NDArray[np.int32],
        goal: NDArray[np.float64],
        known: NDArray[np.int32],
        labels: int,
        weight: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        answers = np.empty((len(inputs.count), labels), np.float32)
        samples = inputs.dense, inputs.row, inputs.value, inputs.count, inputs.lags, inputs.fields
        targets = truth, goal, known, NO_WEIGHTS if weight is None else weight
        arrays: Any = (*self._tables, *get_scratch(inputs, self._tables))
        predict_then_learn(*samples, self._numbers, *targets, answers, *arrays)
        return answers

    def _make_room(self, inputs: Inputs, labels: int) -> None:
        """Make room for new numbers, rows and labels."""
        labels = max(labels, self._tables.bias.size)
        numbers = max(inputs.dense.shape[1], self._numbers)
        rows = len(self._tables.weight) - self._numbers * BINS
        # In powers of two, since copying for each new row takes quadratic time.
        needed = rows if inputs.rows <= rows else 1 << (inputs.rows - 1).bit_length()
        if (numbers, needed, labels) == (self._numbers, rows, self._tables.bias.size):
            return
        grown = _create_tables(numbers, needed, labels, self._factors)
        _copy_tables(self._tables, grown, self._numbers * BINS, numbers * BINS)
        self._tables, self._numbers = grown, numbers

    def freeze(self) -> FactorizationMachine:
        """A copy that predicts as this one does now, while this one learns; it must not learn."""
        frozen = copy(self)
        # Sums of squared gradients take no part in predictions.
        frozen._tables = Tables(
            **{
                name: array if name.endswith("_squares") else array.copy()
                for name, array in self._tables._asdict().items()
            }
        )
        return frozen

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, bit for bit."""
        arrays = {name: array.copy() for name, array in self._tables._asdict().items()}
        return {"numbers": self._numbers, "resting": self._resting, **arrays}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of `export_state`; `StateError` if it does not fit."""
        tables = Tables(**{name: np.array(state[name], np.float32) for name in Tables._fields})
        tokens, labels = tables.weight.shape
        numbers = int(state["numbers"])
        expected = _create_tables(numbers, tokens - numbers * BINS, labels, self._factors)
        for name, array in expected._asdict().items():
            if getattr(tables, name).shape != array.shape:
                shape = getattr(tables, name).shape
                raise StateError(f"{name} of the factorization machine has shape {shape}")
        self._tables, self._numbers = tables, numbers
        self._resting = int(state["resting"])


def _create_tables(numbers: int, rows: int, labels: int, factors: int) -> Tables:
    """Tables before the first sample; vectors are random, each as if the others were not there."""
    first = numbers * BINS
    vector = np.empty((first + rows, factors), np.float32)
    fill_rows(vector[:first], np.uint64(_BINS_KEY), 0, _SPREAD)
    fill_rows(vector[first:], np.uint64(_ROWS_KEY), 0, _SPREAD)
    weight = np.zeros((first + rows, labels), np.float32)
    output = np.empty((labels, factors), np.float32)
    fill_rows(output, np.uint64(_OUTPUT_KEY), 0, 1.0)
    # Signs, opposite ones for the first two labels.
    np.copysign(1.0, output, out=output)
    output[1:2] = -output[0:1]
    arrays = weight, vector, output, np.zeros(labels, np.float32), np.ones(GATES, np.float32)
    return Tables(*(one for array in arrays for one in (array, np.zeros_like(array))))


def _copy_tables(old: Tables, new: Tables, first: int, shifted: int) -> None:
    """Copy what was learned, where the row ``first`` of the old tokens is now ``shifted``."""
    for name, array in new._asdict().items():
        before = getattr(old, name)
        if name.startswith(("weight", "vector")):
            columns = before.shape[1]
            array[:first, :columns] = before[:first]
            array[shifted : shifted + len(before) - first, :columns] = before[first:]
        else:
            array[: len(before)] = before
