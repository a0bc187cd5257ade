"""Predictions of a hosted model: micro-batching, explanations and prediction intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, compress
from math import isfinite, nan
from typing import Any, NamedTuple, final

import anyio
import numpy as np
from anyio import CancelScope
from anyio.lowlevel import checkpoint
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.explanations import find_effects
from streamnet.keyed.key_model import LiveKeys
from streamnet.learning.served_model import ServedModel
from streamnet.modelfiles.model import Model
from streamnet.reporting.outcomes import Residuals
from streamnet.samples import Block, Prediction, Sample, Task


class Predictions(NamedTuple):
    """Predictions of one model for some samples.

    >>> probabilities = np.array([[0.25, 0.75], [np.nan, np.nan]])
    >>> values = np.array(["b", None], object)
    >>> for prediction in Predictions(values, probabilities, ("a", "b"), 7).rows():
    ...     print(prediction)
    Prediction(value='b', probabilities={'a': 0.25, 'b': 0.75}, generation=7, interval=None)
    Prediction(value=None, probabilities={}, generation=7, interval=None)
    """

    values: NDArray[Any]  # labels (object of str or None) or numbers (float64), shape=(n,)
    probabilities: NDArray[np.float64] | None  # shape=(n, labels); None for numbers
    labels: tuple[str, ...]  # empty for numbers
    generation: int
    # Bounds (n, 2), or whether each label is in the set (n, labels); None without an `interval`.
    intervals: NDArray[Any] | None = None
    # What made them: a model, and the models of keys that correct it.
    model: ServedModel | Model | None = None
    keys: LiveKeys | None = None

    def rows(self) -> list[Prediction]:
        """The predictions one by one."""
        values, intervals = self.values.tolist(), self.list_intervals()
        if self.probabilities is None:
            finite = np.isfinite(self.values).tolist()
            return [
                Prediction(value if good else None, None, self.generation, interval)
                for value, good, interval in zip(values, finite, intervals, strict=True)
            ]
        rows = zip(values, self.probabilities.tolist(), intervals, strict=True)
        return [
            Prediction(value, {} if value is None else self._name(row), self.generation, interval)
            for value, row, interval in rows
        ]

    def list_intervals(self) -> list[list[Any] | None]:
        """The interval, or the labels in the set, of each prediction; None where there is none."""
        if self.intervals is None:
            return [None] * len(self.values)
        rows = self.intervals.tolist()
        if self.probabilities is None:
            return [row if isfinite(row[0]) else None for row in rows]
        return [
            None if value is None else [*compress(self.labels, row)]
            for value, row in zip(self.values.tolist(), rows, strict=True)
        ]

    def part(self, start: int, stop: int) -> Predictions:
        """Some of the predictions."""
        arrays = self.values, self.probabilities, self.intervals
        parts = (None if array is None else array[start:stop] for array in arrays)
        values, probabilities, intervals = parts
        assert values is not None
        return self._replace(values=values, probabilities=probabilities, intervals=intervals)

    def chances(self) -> list[float]:
        """The probability of each predicted label; NaN where none was predicted."""
        assert self.probabilities is not None
        if not self.labels:
            return [nan] * len(self.values)
        numbers = {label: number for number, label in enumerate(self.labels)}
        columns = [numbers.get(label, 0) for label in self.values.tolist()]
        rows = np.arange(len(columns))
        found: list[float] = self.probabilities[rows, columns].tolist()
        return found

    def _name(self, row: list[float]) -> dict[str, float]:
        pairs = zip(self.labels, row, strict=True)
        return {label: probability for label, probability in pairs if probability > 0}


def predict_samples(
    model: ServedModel | Model,
    generation: int,
    samples: Sample | Sequence[Sample] | Block,
    keys: LiveKeys | None = None,
) -> Predictions:
    """Predict samples of which each might be the next; columns that are not known are ignored.

    Raises:
        ConfigurationError: If a sample can't be read.
    """
    outputs = model.outputs(samples, on_unknown="ignore", keys=keys)
    values = model.named(outputs)
    intervals = None if model.interval is None else model.intervals(outputs)
    if model.task is Task.REGRESSION:
        return Predictions(values, None, (), generation, intervals, model, keys)
    labels, probabilities = model.labels, outputs
    if changed := model.changed_classes:
        kept = [place for place, label in enumerate(labels) if label not in changed]
        labels, probabilities = tuple(labels[place] for place in kept), outputs[:, kept]
        intervals = None if intervals is None else intervals[:, kept]
    return Predictions(values, probabilities, labels, generation, intervals, model, keys)


def predict_nothing(count: int) -> Predictions:
    """The answer to so many samples before anything is learned: no value, of no model.

    >>> predict_nothing(1).rows()
    [Prediction(value=None, probabilities=None, generation=0, interval=None)]
    """
    return Predictions(np.full(count, np.nan), None, (), 0)


def explain_by_occlusion(
    samples: Sequence[Sample], predictions: Predictions
) -> list[dict[str, float]]:
    """Explain predictions by occlusion, see `find_effects`, with the model that made them.

    Args:
        samples: The samples.
        predictions: Their predictions.

    Returns:
        The loss by column, for each sample.
    """
    model, generation, keys = predictions.model, predictions.generation, predictions.keys
    assert model is not None
    explanations = []
    for number, sample in enumerate(samples):
        (row,) = model.read_blocks([sample], "ignore")
        before = _read_output(predictions, number, predictions, number)

        def read_outputs(block: Block, number: int = number) -> list[float]:
            changed = predict_samples(model, generation, block, keys)
            rows = range(len(block))
            return [_read_output(changed, place, predictions, number) for place in rows]

        explanations.append(find_effects(row, list(sample), read_outputs, before))
    return explanations


def _read_output(
    outputs: Predictions, row: int, predictions: Predictions, predicted_row: int
) -> float:
    """Output in a row for what was predicted in another one."""
    if outputs.probabilities is None:
        return float(outputs.values[row])
    label = predictions.values[predicted_row]
    # A model with more labels may have been published in the meantime.
    if label is None or label not in outputs.labels:
        return nan
    return float(outputs.probabilities[row, outputs.labels.index(label)])


COVERAGE = 0.9
_MIN_RESIDUALS = 30


def compute_interval(residuals: Residuals) -> tuple[float, float] | None:
    """Offsets from a prediction to the ends of its interval; None with too few residuals.

    Residuals are predictions minus truths.

    >>> compute_interval(Residuals(edges=[-1.0, 0.0, 1.0, 2.0], counts=[0, 100, 0]))
    (-0.95, -0.05)
    """
    total = sum(residuals.counts)
    if total < _MIN_RESIDUALS:
        return None
    fractions = np.array([0, *accumulate(residuals.counts)]) / total
    ends = (1 - COVERAGE) / 2, (1 + COVERAGE) / 2
    low, high = np.interp(ends, fractions, residuals.edges).tolist()
    return round(-high, 12), round(-low, 12)


@final
class MicroBatcher:
    """Joins concurrent calls of ``predict`` into one."""

    def __init__(self, predict: Callable[[Sequence[Sample]], Predictions]) -> None:
        self._predict = predict
        self._gathering: _MicroBatch | None = None

    async def predict(self, samples: Sequence[Sample]) -> Predictions:
        """Predict samples, together with those of other calls.

        Raises:
            ConfigurationError: If one of these samples can't be read.
        """
        batch = self._gathering
        if batch is None:
            batch = self._gathering = _MicroBatch()
            start = batch.add(samples)
            try:
                with CancelScope(shield=True):
                    await checkpoint()
            finally:  # others depend on this call, even if asyncio itself cancels it
                self._gathering = None
                batch.run(self._predict)
        else:
            start = batch.add(samples)
            await batch.done.wait()
        if batch.predictions is None:
            # Perhaps because of another caller's sample: predict these alone.
            return self._predict(samples)
        return batch.predictions.part(start, start + len(samples))


@final
class _MicroBatch:
    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self.predictions: Predictions | None = None
        self.done = anyio.Event()

    def add(self, samples: Sequence[Sample]) -> int:
        start = len(self._samples)
        self._samples += samples
        return start

    def run(self, predict: Callable[[Sequence[Sample]], Predictions]) -> None:
        try:
            self.predictions = predict(self._samples)
        except ConfigurationError:
            self.predictions = None
        finally:
            self.done.set()
