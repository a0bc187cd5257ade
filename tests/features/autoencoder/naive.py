"""A slow, obvious auto-encoder of one sample after the other, to compare the real one with."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.features.autoencoder import AutoEncoderSettings
from streamnet.randomness import derive_key

__all__ = ("NaiveAutoEncoder",)

ACTIVATED: dict[str, Any] = {
    "tanh": np.tanh,
    "relu": lambda h: np.maximum(h, 0.0),
    "identity": lambda h: h,
}
SLOPES: dict[str, Any] = {
    "tanh": lambda h: 1.0 - h * h,
    "relu": lambda h: (h > 0.0).astype(float),
    "identity": np.ones_like,
}


def drawn(key: int, *parts: int) -> int:
    """The number that stands for a key followed by parts, as documented for `randomness.mix`."""
    for part in parts:
        mask = (1 << 64) - 1
        z = key ^ ((part + 0x9E3779B97F4A7C15) & mask)
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        z = (z * 0xD6E8FEB86659FD93 + 0x9E3779B97F4A7C15) & mask
        key = z ^ (z >> 32)
    return key


class NaiveAutoEncoder:
    """One matrix a layer with the bias as its first row; every gradient is written down in full."""

    def __init__(self, settings: AutoEncoderSettings, start: dict[str, NDArray[Any]]) -> None:
        """Begin with the weights of the real one, as its state names them."""
        self.settings = settings
        self.key = derive_key(settings.seed, 0, 1)
        self.number = self.known = 0
        units = settings.layers
        self.first, self.sparse = start["first"], start["sparse"]
        self.output = np.column_stack((start["output_bias"], start["output"]))
        self.presence = np.column_stack((start["presence_bias"], start["presence"]))
        self.between, at = [], 0
        for below, above in pairwise(units):
            width = -(-above // 16) * 16
            matrix = start["inner"][at : at + (1 + below) * width].reshape(1 + below, width)
            self.between.append(matrix[:, :above].copy())
            at += (1 + below) * width
        self.squares = [np.zeros_like(w) for w in self.weights()]
        self.past: list[float] = []

    def weights(self) -> list[NDArray[Any]]:
        return [self.first, self.sparse, *self.between, self.output, self.presence]

    def layers(self, x: NDArray[Any], v: NDArray[Any], rows: list[int]) -> list[NDArray[Any]]:
        act = ACTIVATED[self.settings.activation]
        values = [act(self.first[0] + x @ self.first[1:] + v @ self.sparse[rows])]
        for matrix in self.between:
            values.append(act(matrix[0] + values[-1] @ matrix[1:]))
        return values

    def step(self, x: NDArray[Any], rows: list[int], v: NDArray[Any]) -> tuple[Any, float, float]:
        """Code, error and score of a sample, which is then learned."""
        values = self.layers(x, v, rows)
        above = np.concatenate(([1.0], values[-1]))
        surprise = [math.log1p(math.exp(-z)) for z in self.presence[rows] @ above]
        squared = 0.5 * (self.output @ above - x) ** 2
        error = (sum(squared) + sum(surprise)) / (len(x) + len(rows))
        score = self.score(error)
        self.learn(x, rows, v)
        self.number += 1
        return values[len(self.settings.hidden)], error, score

    def score(self, error: float) -> float:
        """The new logarithm against all before it, each with its faded weight."""
        x = math.log(max(error, 1e-6))
        score = 0.0
        if self.past:
            age = np.arange(len(self.past))[::-1]
            weight = self.settings.fading**age
            mean = np.average(self.past, weights=weight)
            spread = math.sqrt(np.average((self.past - mean) ** 2, weights=weight))
            score = (x - mean) / spread if spread > 1e-9 else 0.0
        self.past.append(x)
        return score

    def learn(self, x: NDArray[Any], rows: list[int], v: NDArray[Any]) -> None:
        key, noise = drawn(self.key, self.number), self.settings.noise
        hidden = [(drawn(key, j) >> 11) < noise * 2**53 for j in range(len(x))]
        gone = [(drawn(key, (1 << 32) + q) >> 11) < noise * 2**53 for q in range(len(rows))]
        seen, active = np.where(hidden, 0.0, x), np.where(gone, 0.0, v)
        values = self.layers(seen, active, rows)
        above = np.concatenate(([1.0], values[-1]))
        self.known = max([self.known, *(row + 1 for row in rows)])
        delta = np.zeros(len(above))
        for o in range(len(x)):
            g = float(np.clip(self.output[o] @ above - x[o], -10.0, 10.0))
            delta += g * self.output[o]
            self.move(-2, o, g * above)
        count = self.settings.negatives
        for q, row in enumerate(rows):
            others = [drawn(key, (2 << 32) + q * count + n) for n in range(1, count + 1)]
            others = [number % self.known for number in others]
            for r in [row, *(other for other in others if other not in rows)]:
                g = 1.0 / (1.0 + math.exp(-(self.presence[r] @ above))) - (r == row)
                delta += g * self.presence[r]
                self.move(-1, r, g * above)
        self.descend(delta[1:], values, seen, active, rows)

    def descend(self, delta: Any, values: list[Any], x: Any, v: Any, rows: list[int]) -> None:
        slope = SLOPES[self.settings.activation]
        for layer in range(len(values) - 1, -1, -1):
            delta = np.clip(delta, -10.0, 10.0) * slope(values[layer])
            if layer:
                matrix = self.between[layer - 1]
                below = np.concatenate(([1.0], values[layer - 1]))
                passed = matrix[1:] @ delta
                for i, value in enumerate(below):
                    self.move(2 + layer - 1, i, value * delta)
                delta = passed
            else:
                for i, value in enumerate(np.concatenate(([1.0], x))):
                    self.move(0, i, value * delta)
                for value, row in zip(v, rows, strict=True):
                    self.move(1, row, value * delta)

    def move(self, matrix: int, row: int, gradient: Any) -> None:
        squares = self.squares[matrix][row]
        if self.settings.optimizer == "adagrad":
            squares += gradient**2
        else:
            squares[:] = 0.99 * squares + 0.01 * gradient**2
        rate = self.settings.learning_rate
        self.weights()[matrix][row] -= rate * gradient / (np.sqrt(squares) + 1e-8)
