"""Network: one candidate's network on its own, to answer with."""

from __future__ import annotations

from typing import Any
from typing import final

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

from streamnet.networks.candidate import CandidateSettings
from streamnet.networks.kernels import Memory
from streamnet.networks.kernels import learn
from streamnet.networks.members import Weights
from streamnet.networks.population import Population
from streamnet.networks.topology import padded
from streamnet.samples import Inputs
from streamnet.samples import Task

__all__ = ("Network", "answers_of")

_BLOCK = 1024


@final
class Network:
    """Weights that don't change any more; any number of threads may ask it at once.

    It answers encoded samples, as a part of a model; `NeuralNetwork` is one to make by hand.

    Args:
        settings: Of the candidate that it was.
        task: Classification or regression.
        weights: As `Population.extract` gave them.
        dtype: float32 or float64.
        lags: Entries of a sample that tell earlier targets.
    """

    def __init__(
        self,
        settings: CandidateSettings,
        *,
        task: Task,
        weights: Weights,
        dtype: DTypeLike = np.float32,
        lags: int = 0,
    ) -> None:
        self.settings = settings
        self.task = task
        self.dtype = np.dtype(dtype)
        self.weights = {name: np.asarray(matrix, self.dtype) for name, matrix in weights.items()}
        self.dense = len(weights["first"]) - 1
        self.outputs = len(weights["output"]) if settings.hidden else weights["first"].shape[1]
        self._population = Population([settings], task=task, dtype=self.dtype)
        self._population.reserve(
            dense=self.dense, rows=len(weights["sparse"]), outputs=self.outputs, lags=lags
        )
        self._population.insert(0, self.weights)

    def answer(self, inputs: Inputs) -> NDArray[np.floating]:
        """Outputs for each sample, shape=(n, outputs): shares of the labels, or a standard number.

        An answer that is not finite is all NaN.
        """
        n = len(inputs.count)
        outputs = np.full((n, self.outputs), np.nan, self.dtype)
        start = 0
        while start < n:
            stop = min(n, start + _BLOCK)
            answers, alive = answers_of(self._population, _part(inputs, start, stop), self.outputs)
            good = int(alive.sum())
            outputs[start : start + good] = answers[:good, : self.outputs]
            # Nothing is answered after a sample that exploded: go on behind it.
            start = stop if good == stop - start else start + good + 1
        return outputs


def answers_of(
    population: Population, inputs: Inputs, known: int
) -> tuple[NDArray[np.floating], NDArray[np.uint8]]:
    """What a population's first candidate says of at least one sample.

    Nothing that threads share is written. There is no answer after one that is not finite.

    Args:
        population: Whose first candidate is asked.
        inputs: Of the samples.
        known: Outputs that may be named.

    Returns:
        Outputs, shape=(n, capacity), and which samples were answered, shape=(n,).
    """
    n = len(inputs.count)
    slots = 1 << (n - 1).bit_length()
    dtype = population.dtype
    memory = Memory(
        _filled(inputs.dense, (slots, padded(inputs.dense.shape[1])), dtype),
        _filled(inputs.row, (slots, inputs.row.shape[1]), np.int32),
        _filled(inputs.value, (slots, inputs.value.shape[1]), dtype),
        _filled(inputs.count, (slots,), np.int32),
        np.full(slots, -1, np.int32),
        np.full((slots, population.goals), np.nan, dtype),
    )
    answers = np.empty((1, n, population.capacity.outputs), dtype)
    alive = np.empty((1, n), np.uint8)
    learn(
        np.zeros(1, np.int64),
        population.plans,
        population.factors,
        np.zeros(1, np.int64),
        np.ones(1, np.uint8),
        population.weights,
        population.state,
        population.scratch(),
        memory,
        np.full(n, known, np.int32),
        0,
        population.capacity.dense,
        0,
        answers,
        alive,
    )
    return answers[0], alive[0]


def _part(inputs: Inputs, start: int, stop: int) -> Inputs:
    dense, row, value, count, rows, lags = inputs
    part = slice(start, stop)
    return Inputs(dense[part], row[part], value[part], count[part], rows, lags)


def _filled(array: NDArray[Any], shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    out = np.zeros(shape, dtype)
    out[tuple(slice(0, size) for size in array.shape)] = array
    return out
