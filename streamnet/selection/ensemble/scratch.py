"""Working memory of the kernel that combines class probabilities."""

from __future__ import annotations

from threading import local
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamnet.networks.simd.vectors import EIGHT, FOUR, LANES
from streamnet.selection.ensemble import mixers
from streamnet.selection.ensemble.base import PRIORS
from streamnet.selection.ensemble.mixers import CHUNK_SIZE, PAIR


class Scratch(NamedTuple):
    """Working memory for up to C labels, padded to whole vectors."""

    # Of `CHUNK_SIZE` samples, see `compute_log_probabilities`.
    log_probabilities: NDArray[np.floating]
    priors: NDArray[np.float64]  # see `compute_prior_log_probabilities`
    inputs: NDArray[np.float64]  # shape=(C, experts), log-probabilities; 0 if unavailable
    rows: NDArray[np.float64]  # shape=(ROWS, at least EIGHT times the labels, and the experts)
    flags: NDArray[np.uint8]  # shape=(PAIR * experts,)


_KEPT = local()


def get_scratch(candidates: int, labels: int, dtype: DTypeLike) -> Scratch:
    """Get working memory of this thread, for these candidates and at least so many labels."""
    kept: Scratch | None = getattr(_KEPT, "scratch", None)
    experts = candidates + PRIORS
    if (
        kept is None
        or kept.inputs.shape[1] != experts
        or len(kept.inputs) < labels
        or kept.log_probabilities.dtype != dtype
    ):
        # The padding of vectors is never used.
        kept = _KEPT.scratch = Scratch(
            np.empty(CHUNK_SIZE * labels * candidates + LANES, dtype),
            np.empty(CHUNK_SIZE * labels * PRIORS + FOUR),
            np.empty((labels, experts)),
            np.empty((mixers.ROWS, EIGHT * max(labels, experts, 2 * PAIR))),
            np.ones(PAIR * experts, np.uint8),
        )
    return kept
