"""Predictions of a hosted model: micro-batching, explanations and prediction intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from math import nan
from typing import Any, NamedTuple, final

import anyio
import numpy as np
from anyio import CancelScope
from anyio.lowlevel import checkpoint
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.samples import Sample

__all__ = (
    "COVERAGE",
    "Answer",
    "MicroBatcher",
    "Outcome",
    "Predictions",
    "Receipt",
    "compute_interval",
    "explanations",
)


class Outcome(StrEnum):
    """What became of a label that came for a remembered prediction."""

    JOINED = "joined"  # scored, and the sample is learned
    UNKNOWN = "unknown"  # no such prediction was made, or it was forgotten long ago
    EXPIRED = "expired"  # the prediction was given up, as it was too old or there were too many
    DUPLICATE = "duplicate"  # the same label came before: nothing is learned twice
    CONTRADICTORY = "contradictory"  # another label came before, and that one counts


class Receipt(NamedTuple):
    """What became of samples that were sent."""

    accepted: int  # samples to be learned; of lines, nobody has looked yet whether they can be
    rejected: int  # samples that are in the journal, too, but can't be learned without a target
    duplicate: bool  # whether the key was seen before: then the numbers are those of that time
    first: int | None  # number of the first sample in the journal, from 0
    last: int | None  # number of the last one


class Answer(NamedTuple):
    """One prediction."""

    value: str | float | None  # the label or the number; None where there is no finite answer
    shares: dict[str, float] | None  # of each label with one above 0; None where numbers are told
    generation: int  # of the model that answered


class Predictions(NamedTuple):
    """Predictions of one model for some samples.

    >>> shares = np.array([[0.25, 0.75], [np.nan, np.nan]])
    >>> values = np.array(["b", None], object)
    >>> for answer in Predictions(values, shares, ("a", "b"), 7).answers():
    ...     print(answer)
    Answer(value='b', shares={'a': 0.25, 'b': 0.75}, generation=7)
    Answer(value=None, shares={}, generation=7)
    """

    values: NDArray[Any]  # labels (object of str or None) or numbers (float64), shape=(n,)
    shares: NDArray[np.float64] | None  # shape=(n, labels); None for numbers
    labels: tuple[str, ...]  # empty for numbers
    generation: int

    def answers(self) -> list[Answer]:
        """Each prediction by itself."""
        values = self.values.tolist()
        if self.shares is None:
            finite = np.isfinite(self.values).tolist()
            return [
                Answer(value if good else None, None, self.generation)
                for value, good in zip(values, finite, strict=True)
            ]
        return [
            Answer(value, {} if value is None else self._named(row), self.generation)
            for value, row in zip(values, self.shares.tolist(), strict=True)
        ]

    def _named(self, row: list[float]) -> dict[str, float]:
        return {label: share for label, share in zip(self.labels, row, strict=True) if share > 0}


def explanations(
    predict: Callable[[Sequence[Sample]], Predictions],
    samples: Sequence[Sample],
    said: Predictions,
) -> list[dict[str, float]]:
    """For each sample and each of its columns, what the answer loses where the column is missing.

    That is the share of the answered label, or the number: above 0, the column speaks for the
    label, or makes the number larger. What the model is given for a missing value is the mean of a
    number, and no category at all. Columns are covered one by one, so what two of them say alike
    counts for neither.

    Args:
        predict: What answers samples.
        samples: What was answered.
        said: The answers.

    >>> import numpy as np
    >>> def predict(samples):
    ...     values = np.array([3.0 * (sample.get("x") or 0) for sample in samples])
    ...     return Predictions(values, None, (), 1)
    >>> samples = [{"x": 2, "y": 5}]
    >>> explanations(predict, samples, predict(samples))
    [{'x': 6.0, 'y': 0.0}]
    """
    covered = [{**sample, name: None} for sample in samples for name in sample]
    if not covered:
        return [{} for _ in samples]
    changed = predict(covered)
    found = []
    place = 0
    for number, sample in enumerate(samples):
        before = _read_output(said, number, said, number)
        effects = {}
        for name in sample:
            effects[name] = before - _read_output(changed, place, said, number)
            place += 1
        found.append(effects)
    return found


def _read_output(answers: Predictions, row: int, said: Predictions, answered: int) -> float:
    """What ``answers`` has in a row for the answer that ``said`` has given."""
    if answers.shares is None:
        return float(answers.values[row])
    label = said.values[answered]
    # Another model may have been published meanwhile, which knows more labels.
    if label is None or label not in answers.labels:
        return nan
    return float(answers.shares[row, answers.labels.index(label)])


COVERAGE = 0.9  # of the truths that an interval holds
_MIN_RESIDUALS = 30  # residuals, below which nothing is said


def compute_interval(residuals: Mapping[str, Sequence[float]]) -> tuple[float, float] | None:
    """What is added to an answer to get the ends of its interval; None if too little is known.

    Args:
        residuals: Their histogram by the names of `shapes.Residuals`: answer minus truth.

    >>> compute_interval({"edges": [-1.0, 0.0, 1.0, 2.0], "counts": [0, 100, 0]})
    (-0.95, -0.05)
    """
    total = sum(residuals["counts"])
    if total < _MIN_RESIDUALS:
        return None
    shares = np.array([0, *accumulate(residuals["counts"])]) / total
    ends = (1 - COVERAGE) / 2, (1 + COVERAGE) / 2
    low, high = np.interp(ends, shares, residuals["edges"]).tolist()
    return round(-high, 12), round(-low, 12)


@final
class MicroBatcher:
    """Joins calls of one model.

    Args:
        predict: Answers samples; it raises ConfigurationError if one of them can't be read.
    """

    def __init__(self, predict: Callable[[Sequence[Sample]], Predictions]) -> None:
        self._predict = predict
        self._gathering: _MicroBatch | None = None

    async def predict(self, samples: Sequence[Sample]) -> Predictions:
        """The answers for these samples, by whichever call.

        Raises:
            ConfigurationError: If one of these samples can't be read.
        """
        call = self._gathering
        if call is None:
            call = self._gathering = _MicroBatch()
            start = call.add(samples)
            try:
                with CancelScope(shield=True):
                    await checkpoint()
            finally:  # others count on this call, also if asyncio itself cancels it
                self._gathering = None
                call.make(self._predict)
        else:
            start = call.add(samples)
            await call.made.wait()
        if call.said is None:
            # Perhaps because of a sample of somebody else: each of us asks by itself.
            return self._predict(samples)
        said, end = call.said, start + len(samples)
        shares = None if said.shares is None else said.shares[start:end]
        return said._replace(values=said.values[start:end], shares=shares)


@final
class _MicroBatch:
    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self.said: Predictions | None = None
        self.made = anyio.Event()

    def add(self, samples: Sequence[Sample]) -> int:
        start = len(self._samples)
        self._samples += samples
        return start

    def make(self, predict: Callable[[Sequence[Sample]], Predictions]) -> None:
        try:
            self.said = predict(self._samples)
        except ConfigurationError:
            self.said = None
        finally:
            self.made.set()
