"""Encoded: a block together with what networks learn from it."""

from __future__ import annotations

from typing import final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from streamnet.features.target import RAW
from streamnet.features.target import TargetUnits
from streamnet.samples import Block
from streamnet.samples import Inputs

__all__ = ("NO_SCORES", "Encoded")

NO_SCORES = np.empty(0, np.float64)


@final
class Encoded(Struct, frozen=True, eq=False, gc=False):
    """A block, its inputs and its targets; arrays of the other task have length 0."""

    block: Block  # without the samples that were refused
    inputs: Inputs
    label: NDArray[np.int32]  # shape=(n,), class by order of first appearance, -1 = no target
    known: NDArray[np.int32]  # shape=(n,), number of classes known before the sample
    goal: NDArray[np.float64]  # shape=(n,), target in standard units or raw, NaN = no target
    centre: NDArray[np.float64]  # shape=(n,), mean of the targets before the sample
    spread: NDArray[np.float64]  # shape=(n,), their standard deviation, see target
    log_goal: NDArray[np.float64]  # this and the next two: the same of the target's logarithm, for
    log_centre: NDArray[np.float64]  # networks that learn it
    log_spread: NDArray[np.float64]
    outlier: NDArray[np.float64] = NO_SCORES  # shape=(n,), how unusual; empty without auto-encoder
    raw: bool = False  # whether networks learn numbers as they are

    @property
    def units(self) -> TargetUnits:
        """In which each sample is answered, where targets are numbers."""
        if self.raw:
            return RAW
        return TargetUnits(self.centre, self.spread, self.log_centre, self.log_spread)
