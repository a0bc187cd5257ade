"""FrozenPopulation: trained networks that only predict, from any number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import DTypeLike, NDArray

from streamnet.networks.parameters import Weights
from streamnet.networks.population import NetworkOutputs, Population
from streamnet.samples import Inputs, Task
from streamnet.settings.candidate import CandidateSettings

_BLOCK_SIZE = 1024


class Network(NamedTuple):
    """Settings and weights of a candidate, as a model stores them."""

    settings: CandidateSettings
    weights: Weights  # as returned by `Population.extract`

    @property
    def inputs(self) -> int:
        """Number of dense inputs."""
        return len(self.weights["first"]) - 1

    @property
    def outputs(self) -> int:
        """Number of labels; 1 for a number."""
        last = self.weights["output" if self.settings.hidden else "first"]
        return int(last.shape[0 if self.settings.hidden else 1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the weights."""
        return self.weights["first"].dtype


@final
class FrozenPopulation:
    """Networks over the same inputs, which predict in any number of threads at a time.

    Args:
        networks: At least one network.
        task: Classification or regression.
        dtype: float32 or float64.
        lags: Number of a sample's entries that hold earlier targets.

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
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.networks: tuple[Network, ...] = tuple(
            Network(
                settings, {name: np.asarray(part, self.dtype) for name, part in weights.items()}
            )
            for settings, weights in networks
        )
        self._population = Population(
            [network.settings for network in networks], task=task, dtype=self.dtype
        )
        first = self.networks[0]
        self.outputs: int = first.outputs
        self._population.reserve(
            dense=first.inputs, rows=len(first.weights["sparse"]), outputs=self.outputs, lags=lags
        )
        for slot, network in enumerate(self.networks):
            self._population.insert(slot, network.weights)

    def predict(self, inputs: Inputs, slots: NDArray[np.int64] | None = None) -> NetworkOutputs:
        """Outputs of each network, or of those in some slots, for each sample.

        See `predict_each`.
        """
        return predict_each(self._population, inputs, self.outputs, slots)


def predict_each(
    population: Population, inputs: Inputs, known: int, slots: NDArray[np.int64] | None = None
) -> NetworkOutputs:
    """Predict samples of which none has to do with another, in any number of threads at a time.

    Args:
        population: The networks, which do not learn meanwhile.
        inputs: Inputs of n samples.
        known: Number of outputs.
        slots: The networks to run; None: all.

    Returns:
        Outputs of shape=(networks, n, known), probabilities or standardized numbers; where
        ``alive``, shape=(networks, n), is 0, a network has no finite output.
    """
    n = len(inputs.count)
    chosen = np.arange(len(population.members)) if slots is None else slots
    if n == 1:
        found = population.predict(inputs, known, slots)
        return replace(found, outputs=found.outputs[:, :, :known])
    outputs = population.new_outputs(n)
    for start in range(0, n, _BLOCK_SIZE):
        _predict_block(
            population, inputs, start, min(n, start + _BLOCK_SIZE), known, chosen, outputs
        )
    rows = slice(None) if slots is None else slots
    logarithmic = outputs.logarithmic[rows] if len(outputs.logarithmic) else outputs.logarithmic
    return NetworkOutputs(outputs.outputs[rows, :, :known], outputs.alive[rows], logarithmic)


def _predict_block(
    population: Population,
    inputs: Inputs,
    start: int,
    stop: int,
    known: int,
    slots: NDArray[np.int64],
    out: NetworkOutputs,
) -> None:
    block = population.predict(_slice_inputs(inputs, start, stop), known, slots)
    out.outputs[slots, start:stop] = block.outputs
    out.alive[slots, start:stop] = block.alive
    for slot, predicted in zip(slots.tolist(), block.alive.sum(axis=1).tolist(), strict=True):
        # A network predicts nothing after a sample that exploded: continue behind it.
        behind = start + predicted + 1
        if behind < stop:
            one = np.array([slot])
            _predict_block(population, inputs, behind, stop, known, one, out)


def _slice_inputs(inputs: Inputs, start: int, stop: int) -> Inputs:
    columns = ("dense", "row", "value", "count", "splined")
    return replace(inputs, **{name: getattr(inputs, name)[start:stop] for name in columns})
