"""FrozenPopulation: trained networks that only predict, from any number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import DTypeLike, NDArray

from streamnet.networks.kernels.contexts import new_work_counter
from streamnet.networks.kernels.prequential import SampleRing, learn
from streamnet.networks.parameters import NetworkOutputs, Weights
from streamnet.networks.population import Population
from streamnet.networks.topology import padded
from streamnet.samples import Inputs, Task, constant_column
from streamnet.settings.candidate import CandidateSettings

__all__ = ("FrozenPopulation", "Network", "predict_frozen")

_BLOCK_SIZE = 1024


class Network(NamedTuple):
    """A candidate's network as a model keeps it; `NeuralNetwork` is one to make by hand."""

    settings: CandidateSettings
    weights: Weights  # as `Population.extract` gave them

    @property
    def inputs(self) -> int:
        """Dense inputs."""
        return len(self.weights["first"]) - 1

    @property
    def outputs(self) -> int:
        """Labels, or 1 for numbers."""
        last = self.weights["output" if self.settings.hidden else "first"]
        return int(last.shape[0 if self.settings.hidden else 1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the weights."""
        return self.weights["first"].dtype


@final
class FrozenPopulation:
    """Networks over the same inputs; any number of threads may ask them at once.

    Args:
        networks: One or more.
        task: Classification or regression.
        dtype: float32 or float64.
        lags: Entries of a sample that tell earlier targets.

    Raises:
        ConfigurationError: If there is no network.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        *,
        task: Task,
        dtype: DTypeLike = np.float32,
        lags: int = 0,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.networks = tuple(
            Network(
                settings, {name: np.asarray(part, self.dtype) for name, part in weights.items()}
            )
            for settings, weights in networks
        )
        self._population = Population(
            [network.settings for network in networks], task=task, dtype=self.dtype
        )
        first = self.networks[0]
        self.outputs = first.outputs
        self._population.reserve(
            dense=first.inputs,
            rows=len(first.weights["sparse"]),
            outputs=self.outputs,
            lags=lags,
        )
        for slot, network in enumerate(self.networks):
            self._population.insert(slot, network.weights)
        self._everyone = np.arange(len(self.networks))

    def answer(self, inputs: Inputs) -> NetworkOutputs:
        """What each network says about each sample, nothing where that is not finite.

        Outputs, shape=(networks, n, outputs), are shares of the labels or a standard number; where
        `alive`, shape=(networks, n), is 0 they mean nothing.
        """
        n, networks = len(inputs.count), len(self.networks)
        room = self._population.capacity.outputs
        answers = NetworkOutputs(
            np.empty((networks, n, room), self.dtype),
            np.empty((networks, n), np.uint8),
            self._population.logarithmic,
        )
        for start in range(0, n, _BLOCK_SIZE):
            self._block(inputs, start, min(n, start + _BLOCK_SIZE), self._everyone, answers)
        return replace(answers, outputs=answers.outputs[:, :, : self.outputs])

    def _block(
        self,
        inputs: Inputs,
        start: int,
        stop: int,
        members: NDArray[np.int64],
        answers: NetworkOutputs,
    ) -> None:
        n = stop - start
        said = predict_frozen(
            self._population, _slice_inputs(inputs, start, stop), self.outputs, members
        )
        answers.outputs[members, start:stop] = said.outputs[members]
        answers.alive[members, start:stop] = said.alive[members]
        answered = said.alive.sum(axis=1)
        for member in members.tolist():
            # Nothing is answered after a sample that exploded: go on behind it.
            behind = start + int(answered[member]) + 1
            if answered[member] < n and behind < stop:
                self._block(inputs, behind, stop, self._everyone[member : member + 1], answers)


def predict_frozen(
    population: Population, inputs: Inputs, known: int, members: NDArray[np.int64]
) -> NetworkOutputs:
    """What some of a population's candidates say of at least one sample.

    Nothing that threads share is written. There is no answer after one that is not finite.

    Args:
        population: Whose candidates are asked.
        inputs: Of the samples.
        known: Outputs that may be named.
        members: Slots of the candidates; those of others mean nothing in what is returned.
    """
    n, networks = len(inputs.count), len(population.members)
    slots = 1 << (n - 1).bit_length()
    dtype = population.dtype
    memory = SampleRing(
        _padded_copy(inputs.dense, (slots, padded(inputs.dense.shape[1])), dtype),
        _padded_copy(inputs.row, (slots, inputs.row.shape[1]), np.int32),
        _padded_copy(inputs.value, (slots, inputs.value.shape[1]), dtype),
        _padded_copy(inputs.count, (slots,), np.int32),
        np.full(slots, -1, np.int32),
        np.full((slots, population.goals), np.nan, dtype),
        _padded_copy(inputs.splined, (slots, inputs.splined.shape[1]), np.int32),
        np.full(slots, np.nan, dtype),
        np.ones(slots, dtype),
    )
    answers = NetworkOutputs(
        np.empty((networks, n, population.capacity.outputs), dtype),
        np.zeros((networks, n), np.uint8),
        population.logarithmic,
    )
    learn(
        members,
        new_work_counter(),
        population.layout.plans,
        population.layout.factors,
        population.taken,
        np.ones(networks, np.uint8),
        population.weights,
        population.state,
        constant_column(n, known, np.int32),
        0,
        False,
        population.capacity.dense,
        0,
        answers.outputs,
        answers.alive,
        *population.contexts(memory),
        *memory,
    )
    return answers


def _slice_inputs(inputs: Inputs, start: int, stop: int) -> Inputs:
    part = slice(start, stop)
    return replace(
        inputs,
        dense=inputs.dense[part],
        row=inputs.row[part],
        value=inputs.value[part],
        count=inputs.count[part],
        splined=inputs.splined[part],
    )


def _padded_copy(array: NDArray[Any], shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    if array.shape == shape and array.dtype == dtype:
        return array
    out = np.zeros(shape, dtype)
    out[tuple(slice(0, size) for size in array.shape)] = array
    return out
