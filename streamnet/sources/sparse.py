"""Sparse matrices as samples of numbered inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex, final, overload

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import DataError
from streamnet.samples import Block, Sample, SparseRows

MAX_CELLS = 1 << 20  # in the padded rows of a block
_NOTHING: Sample = {}


def is_sparse_matrix(samples: Any) -> bool:
    """Whether samples are a sparse matrix or array of scipy."""
    return hasattr(samples, "tocsr") and len(getattr(samples, "shape", ())) == 2


@final
class SparseSamples(Sequence[Sample]):
    """The rows of a matrix, each without named features; `attach` adds their numbered inputs.

    Zeros and missing values are absent, as in libSVM files.

    >>> samples = SparseSamples(np.array([[0.0, 2.5], [0.0, 0.0]]))
    >>> rows = samples.take(np.array([1, 0]))
    >>> rows.count.tolist(), rows.index.tolist(), rows.value.tolist()
    ([0, 1], [[0], [1]], [[0.0], [2.5]])
    """

    def __init__(self, matrix: Any) -> None:
        if is_sparse_matrix(matrix):
            matrix = matrix.tocsr()
            if not matrix.has_canonical_format:  # columns in any order, or several times
                matrix = matrix.copy()
                matrix.sum_duplicates()
            values, columns, starts = matrix.data, matrix.indices, matrix.indptr
        else:
            matrix = np.asarray(matrix)
            rows, columns = np.nonzero(matrix)
            values = matrix[rows, columns]
            starts = np.searchsorted(rows, np.arange(matrix.shape[0] + 1))
        self._values = _to_float64(values)
        self._columns = np.asarray(columns, np.int64)
        self._starts = np.asarray(starts, np.int64)
        self._check()

    def _check(self) -> None:
        infinite = np.flatnonzero(np.isinf(self._values))
        if infinite.size:
            entry = int(infinite[0])
            row = int(np.searchsorted(self._starts, entry, "right")) - 1
            raise DataError(
                f"sample {row}: column {int(self._columns[entry])} has {self._values[entry]}, "
                "which is not finite"
            )

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: SupportsIndex) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [_NOTHING] * len(range(*index.indices(len(self))))
        return _NOTHING

    def count_fitting(self, rows: NDArray[np.int64]) -> int:
        """How many of these rows fit into a block of bounded memory; at least one."""
        widths = np.maximum.accumulate(self._starts[rows + 1] - self._starts[rows])
        cells = widths * np.arange(1, len(rows) + 1)
        return max(1, int(np.searchsorted(cells, MAX_CELLS, "right")))

    def take(self, rows: NDArray[np.int64]) -> SparseRows:
        """The numbered inputs of some rows, in this order."""
        first = self._starts[rows]
        count = self._starts[rows + 1] - first
        places = np.arange(max(1, int(count.max(initial=1))))
        used = places < count[:, None]
        entries = (first[:, None] + places)[used]
        index = np.zeros(used.shape, np.int64)
        value = np.zeros(used.shape, np.float64)
        index[used] = self._columns[entries]
        value[used] = self._values[entries]
        return SparseRows(index, value, count.astype(np.int32))

    def attach(self, block: Block, rows: NDArray[np.int64]) -> Block:
        """A block of some rows with their numbered inputs."""
        return replace(block, sparse=self.take(rows))


def _to_float64(values: Any) -> NDArray[np.float64]:
    if np.asarray(values).dtype.kind not in "biuf":
        raise DataError(f"X has values of type {np.asarray(values).dtype}, but must have numbers")
    return np.asarray(values, np.float64)
