"""Time of `partial_fit` of a sparse matrix, beside that of scikit-learn's SGDClassifier.

    python -m tests.benchmarks.sparse [--rows N] [--columns N] [--entries N] [--repeats N]

Both learn the same CSR matrix with random entries and labels of a random linear model, in turn,
after a warm-up; processor time is measured, so that other programs matter less. streamnet's
default population has 23 candidates, each of which would be as fast as SGDClassifier at a ratio of
23. The first samples take longer, since they are followed by more rehearsals: the ratio falls
with the number of rows.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import SGDClassifier

from streamnet import OnlineClassifier

WARM_UP = 64  # rows
CLASSES = (0, 1)


def make_data(rows: int, columns: int, entries: int) -> tuple[Any, NDArray[np.int64]]:
    """A CSR matrix with ``entries`` of each row that are not zero, and labels."""
    random = np.random.default_rng(0)
    draws = [random.choice(columns, entries, replace=False, shuffle=False) for _ in range(rows)]
    start = np.arange(0, rows * entries + 1, entries)
    parts = random.random(rows * entries), np.sort(draws).ravel(), start
    matrix = sparse.csr_matrix(parts, (rows, columns))
    scores = matrix @ random.normal(size=columns)
    return matrix, (scores > np.median(scores)).astype(np.int64)


def time_learning(model: Any, matrix: Any, labels: NDArray[np.int64]) -> float:
    """Seconds of processor time for all rows after the warm-up."""
    model.partial_fit(matrix[:WARM_UP], labels[:WARM_UP], classes=CLASSES)
    matrix, labels = matrix[WARM_UP:], labels[WARM_UP:]
    started = process_time()
    model.partial_fit(matrix, labels)
    return process_time() - started


def main() -> None:
    """Print both times and their ratio for each repetition, and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--columns", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    matrix, labels = make_data(given.rows, given.columns, given.entries)
    ratios = []
    for _ in range(given.repeats):
        ours = time_learning(OnlineClassifier(), matrix, labels)
        theirs = time_learning(SGDClassifier(loss="log_loss"), matrix, labels)
        ratios.append(ours / theirs)
        print(f"streamnet {ours:.2f} s, SGDClassifier {theirs:.3f} s, ratio {ratios[-1]:.1f}")
    print(f"median ratio {median(ratios):.1f}")


if __name__ == "__main__":
    main()
