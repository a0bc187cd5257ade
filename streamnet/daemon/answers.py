"""What a hosted model answers: predictions, and what became of samples and labels."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ("Answer", "Outcome", "Predictions", "Receipt")


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
