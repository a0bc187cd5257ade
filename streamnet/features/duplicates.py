"""Duplicate inputs: near-perfectly correlated or constant inputs, detected online and zeroed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.statistics import MAX_COUNT
from streamnet.jit import exact, flush_subnormal

MAX_COMPARED = 64  # only the first dense inputs are compared
DECISION_INTERVAL = 1024  # samples
MIN_CORRELATION = 0.999  # of either sign, above which the later input is a duplicate
MIN_SAMPLES = 32  # samples before correlations are trusted
MAX_DIFFERENCE = 1e100  # larger differences are clipped, so that no product overflows


@exact
def _decide(count: int, products: NDArray[np.float64], dropped: NDArray[np.int64]) -> None:
    """Drop inputs that are constant, or correlate with an earlier one that is kept."""
    if count < MIN_SAMPLES:
        return
    for j in range(dropped.size):
        dropped[j] = not products[j, j] > 0.0
        for i in range(j):
            if dropped[i] == 0 and dropped[j] == 0:
                most = np.sqrt(products[i, i]) * np.sqrt(products[j, j])
                dropped[j] = abs(products[i, j]) > MIN_CORRELATION * most


@exact
def _drop(
    dense: NDArray[np.floating],
    count: int,
    means: NDArray[np.float64],
    products: NDArray[np.float64],
    dropped: NDArray[np.int64],
    learn: bool,
) -> int:
    """Zero dropped inputs, learning each sample first; return the number of learned samples."""
    compared = dropped.size
    delta = np.empty(compared)
    for n in range(dense.shape[0]):
        if learn:
            count += 1
            weight = min(count, MAX_COUNT)  # earlier samples fade, as in moments
            for j in range(compared):
                delta[j] = min(max(dense[n, j] - means[j], -MAX_DIFFERENCE), MAX_DIFFERENCE)
                means[j] += delta[j] / weight
            share = (weight - 1.0) / weight
            kept = share if count > MAX_COUNT else 1.0
            for i in range(compared):
                for j in range(i, compared):
                    products[i, j] = flush_subnormal(
                        kept * products[i, j] + share * delta[i] * delta[j]
                    )
            if count % DECISION_INTERVAL == 0:
                _decide(count, products, dropped)
        for j in range(compared):
            if dropped[j] == 1:
                dense[n, j] = 0.0
    return count


@final
class DuplicateFilter:
    """Zeroes dense inputs that duplicate others, by correlations over the last million samples.

    After every 1,024 samples, and at the end of a batch, an input is dropped if it is constant, or
    if its correlation with an earlier input that is kept exceeds 0.999. It returns when that no
    longer holds. Only the first 64 dense inputs are compared, at a cost of some 2,000 products a
    sample. Missing values count as 0.

    >>> duplicates = DuplicateFilter()
    >>> celsius = np.arange(-50.0, 50.0)
    >>> dense = np.stack((celsius, 1.8 * celsius + 32.0), axis=1)
    >>> duplicates.drop(dense, learn=True)
    >>> duplicates.settle()
    >>> duplicates.drop(dense, learn=False)
    >>> dense[:2].tolist()
    [[-50.0, 0.0], [-49.0, 0.0]]
    """

    def __init__(self) -> None:
        self._count = 0
        self._means = np.empty(0)
        self._products = np.empty((0, 0))  # of differences from the means; upper triangle
        self._dropped = np.empty(0, np.int64)  # by dense input: 1 if it is zeroed

    @property
    def dropped(self) -> list[int]:
        """Indices of the dropped dense inputs."""
        found: list[int] = np.flatnonzero(self._dropped).tolist()
        return found

    def drop(self, dense: NDArray[np.floating], *, learn: bool) -> None:
        """Zero the dropped inputs of a block in place."""
        grown = min(dense.shape[1], MAX_COMPARED) - len(self._dropped)
        if learn and grown > 0:
            self._means = np.pad(self._means, (0, grown))
            self._products = np.pad(self._products, (0, grown))
            self._dropped = np.pad(self._dropped, (0, grown))
        states = self._count, self._means, self._products, self._dropped
        self._count = _drop(dense, *states, learn)

    def settle(self) -> None:
        """Decide by the samples so far, if there are at least 32."""
        _decide(self._count, self._products, self._dropped)

    def export_state(self) -> dict[str, Any]:
        """Export what was learned, as arrays."""
        return {
            "compared": np.array([self._count]),
            "compared_means": self._means.copy(),
            "compared_products": self._products.copy(),
            "dropped": self._dropped.copy(),
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore an exported state."""
        (self._count,) = np.array(state["compared"], np.int64).tolist()
        self._means = np.array(state["compared_means"], np.float64)
        self._products = np.array(state["compared_products"], np.float64)
        self._dropped = np.array(state["dropped"], np.int64)
        inputs = len(self._dropped)
        if (
            inputs > MAX_COMPARED
            or self._products.shape != (inputs, inputs)
            or len(self._means) != inputs
        ):
            raise ModelFileError("the encoder's comparisons do not fit its inputs")
