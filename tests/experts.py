"""Batches for experts that are tested by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.experts import ScoringBatch
from streamnet.samples import Inputs

__all__ = ("label_batch", "number_batch")

NONE = np.empty(0)


def label_batch(
    inputs: Inputs,
    labels: int,
    truth: NDArray[np.int32] | None = None,
    known: NDArray[np.int32] | None = None,
    weight: NDArray[np.float64] | None = None,
) -> ScoringBatch:
    """Samples with labels, all of which are known from the start, or a question without truth."""
    n = len(inputs.count)
    known = np.full(n, labels, np.int32) if known is None else known
    truth = np.empty(0, np.int32) if truth is None else truth
    return _batch(inputs, (labels,), truth, known, NONE, NONE, weight)


def number_batch(
    inputs: Inputs, truth: NDArray[np.float64] = NONE, weight: NDArray[np.float64] | None = None
) -> ScoringBatch:
    """Samples with numbers in standard units, or a question without truth."""
    n = len(inputs.count)
    units = np.zeros(n), np.ones(n)
    return _batch(inputs, (), truth, np.empty(0, np.int32), *units, weight)


def _batch(inputs: Inputs, outputs: Sequence[int], *others: Any) -> ScoringBatch:
    n = len(inputs.count)
    answers, alive = np.zeros((0, n, *outputs), np.float32), np.empty((0, n), np.uint8)
    truth, known, center, spread, weight = others
    return ScoringBatch(
        0, answers, alive, truth, known, center, spread, weight=weight, inputs=inputs
    )
