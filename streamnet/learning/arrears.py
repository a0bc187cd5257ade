"""Arrears: samples that were answered and learned, and are judged later, many at a time."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.learning.answered import Answered
from streamnet.learning.answered import joined

__all__ = ("CELLS", "MANY", "MOST", "Arrears")

MANY = 64  # samples that come together need no others: joined, they would take their memory twice
MOST = 256  # samples: to judge one more among so many takes no time to speak of
CELLS = 1 << 20  # of answers: with many labels fewer samples are kept, for their memory


@final
class Arrears:
    """What is yet to be judged, in order.

    >>> bool(Arrears())
    False
    """

    def __init__(self) -> None:
        self._answered: list[Answered] = []
        self._said: list[NDArray[np.float64]] = []
        self._samples = self._cells = 0

    def __bool__(self) -> bool:
        return bool(self._answered)

    def fits(self, answered: Answered) -> bool:
        """Whether samples can be judged together with these: room for labels may have grown."""
        before = self._answered
        return not before or before[0].answers.shape[2:] == answered.answers.shape[2:]

    def add(self, answered: Answered, said: NDArray[np.float64]) -> bool:
        """Put off samples that come next after these and fit, and what `Alternatives.say` told.

        Returns whether it is time to judge them.
        """
        self._answered.append(answered)
        self._said.append(said)
        self._samples += len(answered.truth)
        self._cells += answered.answers.size
        return self._samples >= MOST or self._cells >= CELLS

    def clear(self) -> None:
        """Forget all."""
        self._answered, self._said = [], []
        self._samples = self._cells = 0

    def taken(self) -> tuple[Answered, NDArray[np.float64]]:
        """All of them as one, of which there must be some; then none are left."""
        answered, said = self._answered, self._said
        self.clear()
        if len(answered) == 1:  # as it is where somebody looks after each sample
            return answered[0], said[0]
        return joined(answered), np.concatenate(said, axis=1)
