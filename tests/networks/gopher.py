"""gopher-neural's recurrence in slow, obvious plain Python, and the stream that it was measured on.

``tests/networks/golden/gopher-8-16-1.json`` holds what gopher-neural itself made of that stream:
its model before and after 1,000 steps at a learning rate of 0.05.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ("MASK", "Gopher", "golden", "start_weights", "stream")

MASK = (1 << 64) - 1
Matrix = list[list[float]]


def golden() -> dict[str, Any]:
    """The numbers that gopher-neural wrote."""
    path = Path(__file__).parent / "golden" / "gopher-8-16-1.json"
    return dict(json.loads(path.read_text()))


def _uniform(seed: int) -> Iterator[float]:
    """SplitMix64 as numbers in [0, 1)."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield ((z ^ (z >> 31)) >> 11) / 2.0**53


def stream(inputs: int, outputs: int, samples: int) -> tuple[Matrix, Matrix]:
    """Samples and targets: a random linear teacher's logistic, or one-hot of its largest output."""
    draw = _uniform(42)
    teacher = [[2.0 * next(draw) - 1.0 for _ in range(inputs)] for _ in range(outputs)]
    X, Y = [], []
    for _ in range(samples):
        x = [2.0 * next(draw) - 1.0 for _ in range(inputs)]
        said = [sum(w * v for w, v in zip(row, x, strict=True)) for row in teacher]
        X.append(x)
        if outputs == 1:
            Y.append([1.0 / (1.0 + math.exp(-2.0 * said[0]))])
        else:
            best = said.index(max(said))
            Y.append([float(o == best) for o in range(outputs)])
    return X, Y


def start_weights(*sizes: int) -> list[Matrix]:
    """Weights [layer][neuron][input], uniform in [-1, 1)."""
    draw = _uniform(7)
    return [
        [[2.0 * (next(draw) - 0.5) for _ in range(below)] for _ in range(units)]
        for below, units in pairwise(sizes)
    ]


class Gopher:
    """A network of logistic units without biases, one sample a step."""

    def __init__(self, weights: list[Matrix]) -> None:
        self.weights = [[list(row) for row in matrix] for matrix in weights]

    def values(self, x: list[float]) -> Matrix:
        values = [list(x)]
        for matrix in self.weights:
            sums = [sum(w * v for w, v in zip(row, values[-1], strict=True)) for row in matrix]
            values.append([1.0 / (1.0 + math.exp(-s)) for s in sums])
        return values

    def calculate(self, x: list[float]) -> list[float]:
        return self.values(x)[-1]

    def learn(self, x: list[float], ideal: list[float], rate: float) -> list[float]:
        """One step; what came out before it."""
        values = self.values(x)
        pairs = zip(values[-1], ideal, strict=True)
        deltas = [[o * (1.0 - o) * (i - o) for o, i in pairs]]
        for matrix, below in zip(self.weights[:0:-1], values[-2:0:-1], strict=True):
            sums = [
                sum(row[j] * d for row, d in zip(matrix, deltas[0], strict=True))
                for j in range(len(below))
            ]
            deltas.insert(0, [v * (1.0 - v) * s for v, s in zip(below, sums, strict=True)])
        for matrix, delta, below in zip(self.weights, deltas, values, strict=False):
            for row, d in zip(matrix, delta, strict=True):
                row[:] = [w + rate * d * v for w, v in zip(row, below, strict=True)]
        return values[-1]
