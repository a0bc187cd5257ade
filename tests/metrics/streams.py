"""Random streams of answers and truths, ways to cut them, and comparison of states to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ("Answered", "Guessed", "answered", "cut", "guessed", "same_bits")


class Answered(NamedTuple):
    """Arguments of ClassificationEvaluator.update."""

    answers: NDArray[np.float32]
    truth: NDArray[np.int32]
    known: NDArray[np.int32]
    alive: NDArray[np.uint8]
    scored: NDArray[np.uint8]

    def part(self, start: int, stop: int) -> Answered:
        i = slice(start, stop)
        return Answered(
            self.answers[:, i], self.truth[i], self.known[i], self.alive[:, i], self.scored[i]
        )


class Guessed(NamedTuple):
    """Arguments of RegressionEvaluator.update."""

    answers: NDArray[np.float64]
    truth: NDArray[np.float64]
    alive: NDArray[np.uint8]
    scored: NDArray[np.uint8]

    def part(self, start: int, stop: int) -> Guessed:
        i = slice(start, stop)
        return Guessed(self.answers[:, i], self.truth[i], self.alive[:, i], self.scored[i])


def answered(seed: int, samples: int, tracks: int, classes: int, *, hostile: bool) -> Answered:
    """A stream whose classes appear one by one; hostile: with all that may be wrong with one."""
    random = np.random.default_rng(seed)
    limit = 1 + np.arange(samples) * classes // samples
    drawn = random.integers(0, limit)
    # Labels in order of first appearance, and now and then the last one again.
    truth = np.empty(samples, np.int32)
    known = np.empty(samples, np.int32)
    numbers: dict[int, int] = {}
    for i in range(samples):
        label = int(drawn[i - 1] if i and random.random() < 0.3 else drawn[i])
        known[i] = len(numbers)
        truth[i] = numbers.setdefault(label, len(numbers))
    answers = random.random((tracks, samples, classes)).astype(np.float32)
    bonus = np.eye(classes, dtype=np.float32)[truth] * random.random((tracks, samples, 1))
    answers += bonus.astype(np.float32)
    answers[np.broadcast_to(np.arange(classes) >= known[:, None], answers.shape)] = 0.0
    answers /= np.maximum(answers.sum(-1, keepdims=True), 1e-30)
    alive = np.ones((tracks, samples), np.uint8)
    scored = np.ones(samples, np.uint8)
    if hostile:
        answers[0, random.random(samples) < 0.1, 0] = np.nan
        answers[-1, random.random(samples) < 0.1] = 0.5  # ties
        truth[random.random(samples) < 0.1] = -1
        alive[:, :] = random.random((tracks, samples)) < 0.8
        scored[:] = random.random(samples) < 0.9
    return Answered(answers, truth, known, alive, scored)


def guessed(seed: int, samples: int, tracks: int, *, hostile: bool) -> Guessed:
    """A stream of numbers; hostile: with all that may be wrong with one."""
    random = np.random.default_rng(seed)
    truth = 100.0 + np.cumsum(random.normal(size=samples))
    answers = truth + random.normal(size=(tracks, samples))
    alive = np.ones((tracks, samples), np.uint8)
    scored = np.ones(samples, np.uint8)
    if hostile:
        truth[random.random(samples) < 0.2] = 0.0
        truth[random.random(samples) < 0.1] = np.nan
        answers[0, random.random(samples) < 0.1] = np.inf
        alive[:, :] = random.random((tracks, samples)) < 0.8
        scored[:] = random.random(samples) < 0.9
    return Guessed(answers, truth, alive, scored)


def cut(samples: int, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Blocks of these sizes in turn, over and over, up to the number of samples."""
    blocks: list[tuple[int, int]] = []
    start = 0
    while start < samples:
        stop = min(start + sizes[len(blocks) % len(sizes)], samples)
        blocks.append((start, stop))
        start = stop
    return blocks


def same_bits(one: Any, other: Any) -> bool:
    """Whether two states are equal to the bit, types included."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_bits(one[k], other[k]) for k in one)
    if isinstance(one, np.ndarray):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return bool(alike and one.tobytes() == other.tobytes())
    return type(one) is type(other) and bool(one == other)
