"""FactorizationMachine: targets by categories, binned numbers, and all pairs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.experts import Answers, Expert, Rest, ScoringBatch, where_present
from streamnet.factorization.kernels import BINS, GATES, Tables, get_scratch, predict_then_learn
from streamnet.randomness import derive_key, fill_rows
from streamnet.samples import NO_WEIGHTS, Inputs

_NO_LABELS, _NO_NUMBERS = np.empty(0, np.int32), np.empty(0)
_SPREAD = 0.05  # bound of the random entries of new vectors
_BINS_KEY, _ROWS_KEY, _OUTPUT_KEY = (derive_key(0xFAC7, part) for part in range(3))


@final
class FactorizationMachine(Expert):
    """Predicts labels or numbers by linear weights and by a vector for each category and bin.

    It is for columns of many values, which networks need more samples to learn, and for pairs of
    them. Memory grows with the rows of the encoder, and takes some 100 bytes for each. While its
    loss is far above that of others, it rests most of the time, and predicts nothing.

    Args:
        factors: Length of a vector.

    >>> bool(FactorizationMachine(4).rest)
    False
    """

    name = "machine"

    def __init__(self, factors: int) -> None:
        self._factors = factors
        self._numbers = 0  # that have bins
        self._tables = _create_tables(0, 0, 0, factors)
        self.rest: Rest = Rest()

    def end_round(self, losses: NDArray[np.float64], lowest: float) -> None:
        """Decide at the end of a round whether to rest."""
        self.rest.end_round(float(losses[0]), lowest)

    def predict_then_learn(self, batch: ScoringBatch) -> Answers:
        """Predict labels or numbers of samples in order, each before it is learned.

        Answers are probabilities, 0 for unknown classes, and for all of them at rest.
        """
        assert batch.inputs is not None
        numeric = batch.answers.ndim == 2
        if not self.rest:
            self._make_room(batch.inputs, 1 if numeric else batch.answers.shape[2])
        if numeric:
            return self._run(batch, _NO_LABELS, (batch.truth - batch.center) / batch.spread)
        return self._run(batch, batch.truth, _NO_NUMBERS)

    def predict(self, batch: ScoringBatch) -> Answers:
        """Predict samples of which each might be the next one; changes nothing."""
        return self._run(batch, _NO_LABELS, _NO_NUMBERS)

    def _run(
        self, batch: ScoringBatch, truth: NDArray[np.int32], goal: NDArray[np.float64]
    ) -> Answers:
        inputs, labels = batch.inputs, batch.answers.shape[2:]
        assert inputs is not None
        shape = len(inputs.count), *(labels or (1,))
        if self.rest or not self._tables.bias.size:
            answers = np.zeros(shape, np.float32)
        else:
            answers = np.empty(shape, np.float32)
            samples = inputs.dense, inputs.row, inputs.value, inputs.count, inputs.lags
            targets = truth, goal, batch.known, NO_WEIGHTS if batch.weight is None else batch.weight
            arrays: Any = (*self._tables, *get_scratch(inputs, self._tables))
            predict_then_learn(*samples, inputs.fields, self._numbers, *targets, answers, *arrays)
        present = np.full(len(answers), not self.rest)
        if not labels:
            answers = batch.center + batch.spread * answers[:, 0]
        return where_present(answers[np.newaxis], present)

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
        frozen.rest = copy(self.rest)
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
        return {"numbers": self._numbers, "resting": self.rest.rounds, **arrays}

    def restore_state(self, state: Mapping[str, Any]) -> Sequence[int]:
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
        self.rest.restore_state(state)
        return ()


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
