"""NeuralNetwork: a single network to build by hand, train and inspect."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from threading import Lock
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from streamnet.errors import ConfigurationError, DataError, NoCandidateError
from streamnet.networks.activations import OUTPUT_RANGES
from streamnet.networks.parameters import Weights
from streamnet.networks.plan import FACTORS
from streamnet.networks.population import Population
from streamnet.samples import Inputs, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.validation import check_integer, check_number

# Settings that only a stream of samples gives a meaning to.
_FIXED_SETTINGS = {
    "rehearsal": 0,
    "early_rehearsal": 0,
    "knots": 0,
    "class_weight": 0,
    "target_transform": "none",
    "lags": False,
}


@final
class NeuralNetwork:
    """A fully connected network with numeric inputs and outputs, which may have labels.

    Any number of threads may calculate at the same time, but not while another one learns.

    Args:
        inputs: Number of inputs.
        settings: Hidden layers, activations, biases, loss and optimizer; by default
            `CandidateSettings.gopher`.
        labels: Names of the outputs, in order.
        outputs: Number of outputs, if they have no labels.
        seed: Key of the initial weights.
        dtype: float32 or float64, of weights and arithmetic.

    Raises:
        ConfigurationError: If an argument breaks its rule.

    >>> settings = CandidateSettings.gopher(hidden=(4,))
    >>> network = NeuralNetwork(3, settings, labels=("same", "different"), seed=1)
    >>> for _ in range(5000):
    ...     for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
    ...         _ = network.learn([a, b, 1], [a == b, a != b], rate=1.0)
    >>> network.winner_label([0, 1, 1]), network.winner_label([1, 1, 1])
    ('different', 'same')
    """

    def __init__(
        self,
        inputs: int,
        settings: CandidateSettings | None = None,
        *,
        labels: Sequence[str] = (),
        outputs: int | None = None,
        seed: int = 0,
        dtype: DTypeLike = "float64",
    ) -> None:
        self.settings: CandidateSettings = (
            CandidateSettings.gopher() if settings is None else settings
        )
        self.labels: tuple[str, ...] = tuple(labels)
        self.inputs = inputs
        self.outputs: int = len(self.labels) or 1 if outputs is None else outputs
        self.task = Task.CLASSIFICATION if self.labels else Task.REGRESSION
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._check()
        self._learning = Lock()
        self._population = self._started(seed)

    def _check(self) -> None:
        if not isinstance(self.settings, CandidateSettings):
            raise ConfigurationError(
                f"settings is {self.settings!r}, but must be a CandidateSettings"
            )
        for name, value in (("inputs", self.inputs), ("outputs", self.outputs)):
            if check_integer(name, value) < 1:
                raise ConfigurationError(f"{name} is {value}, but must be >= 1")
        if self.labels and self.outputs != len(self.labels):
            raise ConfigurationError(
                f"outputs is {self.outputs}, but there are {len(self.labels)} labels"
            )
        if len(set(self.labels)) != len(self.labels):
            raise ConfigurationError(f"labels is {self.labels}, but must have no name twice")
        for name, allowed in _FIXED_SETTINGS.items():
            if (value := getattr(self.settings, name)) != allowed:
                raise ConfigurationError(
                    f"{name} is {value!r}, but must be {allowed!r} in a network made by hand"
                )

    def _started(self, seed: int) -> Population:
        population = Population(
            [self.settings], task=self.task, seed=seed, dtype=self.dtype, goals=self.outputs
        )
        population.reserve(dense=self.inputs, rows=0, outputs=self.outputs)
        return population

    def randomize(self, seed: int) -> None:
        """Reset to initial weights, a pure function of ``seed``."""
        self._population = self._started(seed)

    def copy(self) -> NeuralNetwork:
        """An independent copy, which predicts and learns exactly like this network."""
        return _restore(*self._exported())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, self._exported()

    def _exported(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments of the constructor, and the learned state."""
        names = ("inputs", "settings", "labels", "outputs", "dtype")
        return {name: getattr(self, name) for name in names}, self._population.export_state(0)

    # -------------------------------------------------------------- calculate

    def calculate(self, x: ArrayLike) -> NDArray[np.floating]:
        """Calculate the outputs for one or several samples.

        Args:
            x: One sample, shape=(inputs,), or several, shape=(n, inputs).

        Returns:
            Outputs, shape=(outputs,) or (n, outputs), of the network's dtype.

        Raises:
            DataError: If the shape is wrong, or a number is not finite.
            NoCandidateError: If an output is not finite.
        """
        samples = self._numbers("x", x, self.inputs)
        if not samples.size:
            return np.empty((0, self.outputs), self.dtype)
        answers = self._population.predict(_dense_inputs(samples), self.outputs)
        said, alive = answers.outputs[0, :, : self.outputs], answers.alive[0]
        if not alive.all():
            raise NoCandidateError(
                f"sample {int(alive.argmin())}: the network has no finite output for it"
            )
        return said[0] if np.ndim(x) == 1 else said

    def calculate_labels(self, x: ArrayLike) -> dict[str, float]:
        """Calculate the output of each label for one sample.

        Raises:
            ConfigurationError: If the network has no labels.
            DataError: If the shape is not (inputs,), or a number is not finite.
            NoCandidateError: If an output is not finite.
        """
        if not self.labels:
            raise ConfigurationError("labels is empty, but must name the outputs")
        if np.ndim(x) != 1:
            raise DataError(f"x has {np.ndim(x)} dimensions, but must have 1")
        return dict(zip(self.labels, self.calculate(x).tolist(), strict=True))

    def winner_label(self, x: ArrayLike) -> str:
        """The label with the largest output for one sample, the first one in a tie.

        Raises:
            ConfigurationError: If the network has no labels.
            DataError: If the shape is not (inputs,), or a number is not finite.
            NoCandidateError: If an output is not finite.
        """
        said = self.calculate_labels(x)
        return max(said, key=said.__getitem__)

    # ------------------------------------------------------------------ learn

    def learn(
        self, x: ArrayLike, ideal: ArrayLike, rate: float | None = None
    ) -> NDArray[np.floating]:
        """Learn one sample, or several in order, with one optimizer step each.

        After an exception the network is unchanged.

        Args:
            x: Inputs, shape=(inputs,) or (n, inputs).
            ideal: Target outputs, shape=(outputs,) or (n, outputs).
            rate: Learning rate to use instead of the one in the settings.

        Returns:
            Outputs before each sample was learned, shape=(outputs,) or (n, outputs).

        Raises:
            ConfigurationError: If the rate is not above 0.
            DataError: If a shape is wrong, a number is not finite, or a target is outside the range
                of the output activation.
            NoCandidateError: If an output or a weight would become infinite or NaN.
        """
        samples = self._numbers("x", x, self.inputs)
        goals = self._numbers("ideal", ideal, self.outputs)
        if len(samples) != len(goals) or np.ndim(x) != np.ndim(ideal):
            raise DataError(
                f"x has shape {np.shape(x)}, but ideal has {np.shape(ideal)}: "
                "there must be an ideal for each sample"
            )
        self._check_reach(goals)
        if rate is not None and not (isfinite(check_number("rate", rate)) and rate > 0):
            raise ConfigurationError(f"rate is {rate}, but must be > 0")
        if not len(samples):
            return np.empty((0, self.outputs), self.dtype)
        with self._learning:
            said = self._learned(samples, goals, rate)
        return said[0] if np.ndim(x) == 1 else said

    def _check_reach(self, goals: NDArray[np.floating]) -> None:
        output = self.settings.output_for(self.task)
        least, greatest = OUTPUT_RANGES[output]
        beyond = np.argwhere((goals < least) | (goals > greatest))
        if len(beyond):
            row, column = beyond[0].tolist()
            raise DataError(
                f"ideal: sample {row}, number {column} is {goals[row, column]}, but {output} "
                f"outputs reach from {least:g} to {greatest:g} only"
            )

    def _learned(
        self, samples: NDArray[np.floating], goals: NDArray[Any], rate: float | None
    ) -> NDArray[np.floating]:
        population, n = self._population, len(samples)
        weights, state = population.weights.copy(), population.state.copy()
        taken = population.taken.copy()
        before = population.layout.factors[0, FACTORS.learning_rate]
        population.layout.factors[0, FACTORS.learning_rate] = before if rate is None else rate
        answers = population.prepare(
            0, _dense_inputs(samples), np.zeros(n, np.int32), goals.ravel(), 1
        )
        population.run(0, np.full(n, self.outputs, np.int32), answers)
        population.layout.factors[0, FACTORS.learning_rate] = before
        population.check()
        if not population.healthy[0]:
            population.weights[:], population.state[:] = weights, state
            population.taken[:], population.healthy[:] = taken, 1
            raise NoCandidateError("the network would explode, so it learned nothing")
        said: NDArray[np.floating] = answers.outputs[0]
        return said

    def _numbers(self, name: str, given: ArrayLike, width: int) -> NDArray[np.floating]:
        """One or several rows of ``width`` numbers, shape=(n, width)."""
        try:
            numbers = np.asarray(given, self.dtype)
        except (OverflowError, TypeError, ValueError) as error:
            raise DataError(f"{name} must be numbers, in rows of one length: {error}") from error
        if numbers.ndim not in (1, 2):
            raise DataError(f"{name} has {numbers.ndim} dimensions, but must have 1 or 2")
        rows = np.ascontiguousarray(np.atleast_2d(numbers))
        if rows.shape[1] != width and (rows.size or numbers.ndim == 1):
            raise DataError(f"{name} has {rows.shape[1]} numbers, but must have {width}")
        if not np.isfinite(rows).all():
            row, column = np.argwhere(~np.isfinite(rows))[0].tolist()
            place = f"sample {row}, number {column}" if numbers.ndim == 2 else f"number {column}"
            raise DataError(f"{name}: {place} is {rows[row, column]}, but must be finite")
        return rows

    # --------------------------------------------------------------- weights

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Number of units and inputs of each layer, the output layer last."""
        sizes = (self.inputs, *self.settings.hidden, self.outputs)
        return [(units, below) for below, units in pairwise(sizes)]

    @property
    def weights(self) -> list[NDArray[np.floating]]:
        """A copy of the weights: a matrix of shape=(units, inputs) for each layer.

        Setting them keeps the state of the optimizer.

        Raises:
            ConfigurationError: If a shape is wrong, or a weight is not finite.
        """
        parts = self._population.extract(0)
        matrices = [parts[name][1:].T for name in self._names()]
        if self.settings.hidden:
            matrices.append(parts["output"])
        return [matrix.copy() for matrix in matrices]

    @weights.setter
    def weights(self, matrices: Sequence[ArrayLike]) -> None:
        parts = self._population.extract(0)
        arrays = _check_arrays("weights", matrices, list(self.shapes), self.dtype)
        for name, matrix in zip(self._names(), arrays, strict=False):
            parts[name][1:] = matrix.T
        if self.settings.hidden:
            parts["output"] = arrays[-1]
        self._population.insert(0, parts)

    @property
    def biases(self) -> list[NDArray[np.floating]]:
        """A copy of the biases: a vector of shape=(units,) for each layer, zeros without bias.

        Raises:
            ConfigurationError: If a shape is wrong, a bias is not finite, or there are no biases.
        """
        parts = self._population.extract(0)
        names = [*self._names(), "output_bias"] if self.settings.hidden else self._names()
        return [parts[name][0].copy() for name in names]

    @biases.setter
    def biases(self, vectors: Sequence[ArrayLike]) -> None:
        if not self.settings.bias:
            raise ConfigurationError("bias is False, so the network has no biases to be set")
        parts = self._population.extract(0)
        shapes = [(units,) for units, _ in self.shapes]
        arrays = _check_arrays("biases", vectors, shapes, self.dtype)
        for name, vector in zip(self._names(), arrays, strict=False):
            parts[name][0] = vector
        if self.settings.hidden:
            parts["output_bias"][0] = arrays[-1]
        self._population.insert(0, parts)

    def parts(self) -> Weights:
        """A copy of weights and biases by section, as stored in a model."""
        return self._population.extract(0)

    def insert(self, parts: Weights) -> None:
        """Replace weights and biases by those of `parts` of a network of the same shape."""
        self._population.insert(0, parts)

    def _names(self) -> list[str]:
        """Sections with a row for each input: all but the output layer, unless it is the first."""
        return ["first", *(f"upper{layer}" for layer in range(1, len(self.settings.hidden)))]


def _restore(given: dict[str, Any], learned: dict[str, Any]) -> NeuralNetwork:
    network = NeuralNetwork(**given)
    network._population.restore_state(0, learned)
    return network


def _dense_inputs(samples: NDArray[np.floating]) -> Inputs:
    """Samples as kernels read them: dense numbers, and no active rows."""
    n = len(samples)
    nothing = np.zeros((n, 1), np.int32), np.zeros((n, 1), samples.dtype), np.zeros(n, np.int32)
    return Inputs(samples, *nothing, 0)


def _check_arrays(
    name: str, given: Sequence[ArrayLike], shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]
) -> list[NDArray[Any]]:
    """Convert to finite arrays of exactly these shapes."""
    if len(given) != len(shapes):
        raise ConfigurationError(f"{name} has {len(given)} layers, but must have {len(shapes)}")
    arrays = []
    for layer, (value, shape) in enumerate(zip(given, shapes, strict=True)):
        try:
            array = np.array(value, dtype)
        except (OverflowError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{name} of layer {layer} must be numbers: {error}") from error
        if array.shape != shape:
            raise ConfigurationError(
                f"{name} of layer {layer} has shape {array.shape}, but must have {shape}"
            )
        if not np.isfinite(array).all():
            raise ConfigurationError(f"{name} of layer {layer} must be finite")
        arrays.append(array)
    return arrays
