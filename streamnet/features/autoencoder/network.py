"""The denoising auto-encoder, and the transformer that adds its code to the inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any, NamedTuple, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features.autoencoder.kernels import (
    KNOWN,
    MATRIX,
    VALUES,
    WIDTH,
    Network,
    Plan,
    Weights,
    run,
)
from streamnet.networks.activations import ACTIVATION_CODES, ACTIVATIONS
from streamnet.networks.topology import padded
from streamnet.randomness import derive_key, fill_uniform
from streamnet.samples import Inputs
from streamnet.settings.encoder import AutoEncoderSettings

START, DRAWS = 0, 1  # parts of keys: of initial weights, and of draws while learning
INITIAL_LOGIT = -4.0  # logit of a row that was never active
SQUARES_DECAY = 0.99  # of RMSprop
ACTIVATE: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "tanh": np.tanh,
    "relu": lambda h: np.maximum(h, 0),
    "identity": lambda h: h,
}
MAX_DENSE = 1e6  # bound of dense inputs, so that initial errors are finite


class Codes(NamedTuple):
    """Codes of samples, each computed before the sample was learned."""

    code: NDArray[np.floating]  # shape=(n, units)
    error: NDArray[np.float64]  # shape=(n,), mean over a sample's inputs
    score: NDArray[np.float64]  # shape=(n,), standard deviations above the errors before it


class Reconstruction(NamedTuple):
    """Inputs reconstructed from codes."""

    dense: NDArray[np.floating]  # shape=(n, dense), in standard units
    active: NDArray[np.floating]  # shape=(n, rows), logit that each row is active


@final
class AutoEncoderNetwork:
    """Compresses inputs into a code by learning to reconstruct the inputs from it.

    The loss is half the squared error of dense inputs, and the logistic loss of each row's being
    active, whatever its value. Entries with earlier targets are ignored. Results do not depend on
    how samples are cut into blocks.

    A sample whose error is not finite resets the network to other initial weights.

    >>> network = AutoEncoderNetwork(AutoEncoderSettings(code=2))
    >>> dense = np.linspace(-1, 1, 2000, dtype=np.float32)[:, None] * np.ones(5, np.float32)
    >>> none = np.zeros((2000, 1), np.int32), np.zeros((2000, 1), np.float32)
    >>> inputs = Inputs(dense, *none, np.zeros(2000, np.int32), 0)
    >>> coded = network.learn(inputs)
    >>> coded.code.shape, bool(coded.error[1900:].mean() < coded.error[:100].mean() / 10)
    ((2000, 2), True)
    """

    def __init__(self, settings: AutoEncoderSettings) -> None:
        self.settings = settings
        self.dense: int = 0
        self.number: int = 0  # of the next sample
        self.restarts: int = 0
        self.fan_in: int = 0  # inputs of the first sample
        self._dtype = np.dtype(settings.dtype)
        self._layers, self._inner = _build_layers(settings.layers)
        self._counters = np.zeros(1, np.int64)
        self._moments = np.zeros(3, np.float64)
        self._plan = self._build_plan()
        self._weights = self._fresh(0, 0)
        self._squares = _zeros_like(self._weights)

    @property
    def rows(self) -> int:
        """Number of rows up to the last one that was active in a learned sample."""
        return int(self._counters[KNOWN])

    def learn(self, inputs: Inputs) -> Codes:
        """Encode and score the next samples, each of which is learned afterwards."""
        n = len(inputs.count)
        coded = self._empty(n)
        if not n:
            return coded
        if not self.fan_in:
            self.fan_in = max(8, inputs.dense.shape[1] + int(inputs.count[0]) - inputs.lags)
        self.reserve(inputs.dense.shape[1], inputs.rows)
        inputs = _clip_dense(inputs)
        done = self._run(inputs, coded, 0, learn=True)
        while done < n:
            self._restart()
            done = self._run(inputs, coded, done, learn=True)
        self.number += n
        return coded

    def transform(self, inputs: Inputs) -> Codes:
        """Encode and score samples without learning, in any number of threads at a time.

        A sample whose error is not finite has code 0 and an infinite error.
        """
        n = len(inputs.count)
        coded = self._empty(n)
        inputs = _clip_dense(inputs)
        done = self._run(inputs, coded, 0, learn=False)
        while done < n:
            coded.code[done], coded.error[done], coded.score[done] = 0.0, np.inf, np.inf
            done = self._run(inputs, coded, done + 1, learn=False)
        return coded

    def decode(self, code: NDArray[np.floating]) -> Reconstruction:
        """Reconstruct inputs from codes, shape=(n, units)."""
        values: NDArray[np.floating] = np.asarray(code, np.float64)
        for layer in range(len(self.settings.hidden) + 1, len(self._layers)):
            units = self.settings.layers[layer]
            matrix = self._between(self._weights.inner, layer)[:, :units]
            values = ACTIVATE[self.settings.activation](matrix[0] + values @ matrix[1:])
        units = self.settings.layers[-1]
        weights = self._weights
        dense = values @ weights.output[:, :units].T + weights.output_bias
        active = values @ weights.presence[: self.rows, :units].T
        return Reconstruction(dense, active + weights.presence_bias[: self.rows])

    def reserve(self, dense: int, rows: int) -> None:
        """Make room for inputs; initial weights do not depend on when."""
        room = len(self._weights.sparse)
        if dense == self.dense and rows <= room:
            return
        rows = room if rows <= room else 1 << (max(rows, 16) - 1).bit_length()
        weights = self._fresh(dense, rows, self._weights)
        squares = _zeros_like(weights)
        _copy(self._squares, squares)
        self.dense, self._weights, self._squares = dense, weights, squares

    # ------------------------------------------------------------------ state

    def export_state(self) -> dict[str, Any]:
        """Everything needed to continue exactly."""
        return {
            "number": self.number,
            "restarts": self.restarts,
            "fan_in": self.fan_in,
            "moments": self._moments.copy(),
            "weights": self._in_use(self._weights),
            "squares": self._in_use(self._squares),
        }

    def restore_state(self, state: Mapping[str, Any], *, dense: int, rows: int) -> None:
        """Continue from the state of a network, whose encoder has so many dense inputs and rows.

        Raises:
            ModelFileError: If the state contradicts itself or the encoder.
        """
        self.number, self.restarts = int(state["number"]), int(state["restarts"])
        self.fan_in = int(state["fan_in"])
        self._plan = self._build_plan()
        inputs, known = (len(state["weights"][name]) for name in ("output", "presence"))
        if inputs > dense or known > rows:
            raise ModelFileError("the auto-encoder has more inputs than its encoder")
        self._counters[KNOWN] = known
        self.reserve(dense, rows)
        moments = np.array(state["moments"], np.float64)
        if moments.shape != (3,) or not np.isfinite(moments).all() or (moments < 0)[::2].any():
            raise ModelFileError("the auto-encoder's moments are not three numbers")
        self._moments = moments
        self._take_over(self._weights, state["weights"], inputs)
        self._take_over(self._squares, state["squares"], inputs)

    def _in_use(self, weights: Weights) -> dict[str, NDArray[Any]]:
        """Copies without padding and without rows that were never active."""
        first, last, known = self.settings.layers[0], self.settings.layers[-1], self.rows
        used = Weights(
            first=weights.first[:, :first],
            sparse=weights.sparse[:known, :first],
            inner=weights.inner,
            output=weights.output[:, :last],
            output_bias=weights.output_bias,
            presence=weights.presence[:known, :last],
            presence_bias=weights.presence_bias[:known],
        )
        return {name: array.copy() for name, array in used._asdict().items()}

    def _take_over(self, weights: Weights, given: Mapping[str, Any], inputs: int) -> None:
        """Copy weights of a state with ``inputs`` dense inputs into ``weights``."""
        needed = {name: array.shape for name, array in self._in_use(weights).items()}
        lengths = {"first": 1 + inputs, "output": inputs, "output_bias": inputs}
        for name, array in weights._asdict().items():
            new = np.asarray(given[name], self._dtype)
            shape = (lengths.get(name, needed[name][0]), *needed[name][1:])
            if new.shape != shape or not np.isfinite(new).all():
                raise ModelFileError(f"the auto-encoder's {name} does not fit its inputs")
            array[tuple(slice(size) for size in shape)] = new

    # ----------------------------------------------------------------- parts

    def _empty(self, n: int) -> Codes:
        code = np.zeros((n, self.settings.code), self._dtype)
        return Codes(code, np.zeros(n), np.zeros(n))

    def _run(self, inputs: Inputs, coded: Codes, start: int, *, learn: bool) -> int:
        layer = self._layers[-1]
        size = 2 * int(layer[WIDTH] + layer[VALUES]) + inputs.dense.shape[1] + inputs.row.shape[1]
        scratch, learned = np.zeros(size, self._dtype), (self._weights, self._squares)
        net = Network(self._plan, *learned, self._counters, self._moments, scratch)
        samples = inputs.dense, inputs.row, inputs.value, inputs.count
        return int(run(net, *samples, start, inputs.lags, self.number, learn, *coded))

    def _restart(self) -> None:
        self.restarts += 1
        self._plan = self._build_plan()
        self._weights = self._fresh(self.dense, len(self._weights.sparse))
        self._squares = _zeros_like(self._weights)
        self._moments[:] = 0.0

    def _build_plan(self) -> Plan:
        settings = self.settings
        adagrad = settings.optimizer == "adagrad"
        return Plan(
            layers=self._layers,
            middle=len(settings.hidden),
            activation=ACTIVATION_CODES[settings.activation],
            noise=float(settings.noise),
            rate=float(settings.learning_rate),
            kept=1.0 if adagrad else SQUARES_DECAY,
            gained=1.0 if adagrad else 1.0 - SQUARES_DECAY,
            negatives=settings.negatives,
            fading=float(settings.fading),
            key=np.uint64(derive_key(settings.seed, self.restarts, DRAWS)),
        )

    def _between(self, inner: NDArray[np.floating], layer: int) -> NDArray[np.floating]:
        """The matrix between two layers: biases, then a row for each unit below."""
        below, width = self.settings.layers[layer - 1], int(self._layers[layer, WIDTH])
        start = int(self._layers[layer, MATRIX])
        return inner[start : start + (1 + below) * width].reshape(1 + below, width)

    def _fresh(self, dense: int, rows: int, old: Weights | None = None) -> Weights:
        """Initial weights (LeCun et al. 1998, He et al. 2015), four times smaller towards outputs.

        Those of fewer inputs, ``old``, are kept.
        """
        layers = self.settings.layers
        widths = [padded(units) for units in (layers[0], layers[-1])]
        fresh = Weights(
            first=np.zeros((1 + dense, widths[0]), self._dtype),
            sparse=np.zeros((rows, widths[0]), self._dtype),
            inner=np.zeros(self._inner, self._dtype),
            output=np.zeros((dense, widths[1]), self._dtype),
            output_bias=np.zeros(dense, self._dtype),
            presence=np.zeros((rows, widths[1]), self._dtype),
            presence_bias=np.full(rows, INITIAL_LOGIT, self._dtype),
        )
        gain = ACTIVATIONS[self.settings.activation].gain
        ahead, back = sqrt(3.0 * gain / max(self.fan_in, 1)), sqrt(3.0 / layers[-1]) / 4.0
        inputs, known = (0, 0) if old is None else (len(old.output), len(old.sparse))
        self._draw(fresh.first[1:], 0, layers[0], ahead, inputs)
        self._draw(fresh.sparse, 1, layers[0], ahead, known)
        self._draw(fresh.output, 2, layers[-1], back, inputs)
        self._draw(fresh.presence, 3, layers[-1], back, known)
        if old is not None:
            _copy(old, fresh)
            return fresh
        for layer in range(1, len(layers)):
            limit = sqrt(3.0 * gain / layers[layer - 1])
            self._draw(self._between(fresh.inner, layer)[1:], 3 + layer, layers[layer], limit)
        return fresh

    def _draw(
        self, matrix: NDArray[np.floating], section: int, units: int, limit: float, first: int = 0
    ) -> None:
        draws = np.empty(units)
        for row in range(first, len(matrix)):
            key = derive_key(self.settings.seed, self.restarts, START, section, row)
            fill_uniform(draws, key, 0)
            matrix[row, :units] = limit * draws


def _build_layers(units: tuple[int, ...]) -> tuple[NDArray[np.int64], int]:
    """The layers of a plan, and the number of weights between them."""
    layers = np.zeros((len(units), 4), np.int64)
    values = inner = 0
    for layer, count in enumerate(units):
        width = padded(count)
        layers[layer] = count, width, values, inner
        values += width
        if layer:
            inner += (1 + units[layer - 1]) * width
    return layers, inner


def _clip_dense(inputs: Inputs) -> Inputs:
    dense = inputs.dense.clip(-MAX_DENSE, MAX_DENSE).astype(np.float32, copy=False)
    return replace(inputs, dense=dense)


def _zeros_like(weights: Weights) -> Weights:
    return Weights(*(np.zeros_like(array) for array in weights))


def _copy(old: Weights, new: Weights) -> None:
    """Copy weights into those of more inputs."""
    for before, now in zip(old, new, strict=True):
        now[: len(before)] = before


@final
class AutoEncoderTransformer:
    """An auto-encoder whose code becomes dense inputs, clipped like the others.

    The code comes before all other dense inputs, whose number may grow. Entries with earlier
    targets are kept even where the code replaces all other inputs.

    >>> coding = AutoEncoderTransformer(AutoEncoderSettings(code=2), clip=8.0)
    >>> none = np.zeros((3, 1), np.int32), np.zeros((3, 1), np.float32), np.zeros(3, np.int32), 0
    >>> inputs, outlier = coding.learn(Inputs(np.ones((3, 5), np.float32), *none))
    >>> inputs.dense.shape, outlier.shape
    ((3, 7), (3,))
    """

    def __init__(self, settings: AutoEncoderSettings, *, clip: float) -> None:
        self.settings = settings
        self.network: AutoEncoderNetwork = AutoEncoderNetwork(self.settings)
        self._clip = clip
        self._adds = self.settings.inputs == "add"

    def dense(self, dense: int) -> int:
        """Number of the candidates' dense inputs, given ``dense`` without the code."""
        return self.settings.code + (dense if self._adds else 0)

    def learn(self, inputs: Inputs) -> tuple[Inputs, NDArray[np.float64]]:
        """Inputs with the code, and outlier scores; each sample is learned afterwards."""
        coded = self.network.learn(inputs)
        return self._with(inputs, coded), coded.score

    def transform(self, inputs: Inputs) -> Inputs:
        """Inputs with the code, without learning."""
        return self._with(inputs, self.network.transform(inputs))

    def without_code(self, inputs: Inputs) -> Inputs:
        """Inputs without the code.

        Raises:
            ConfigurationError: If the code has replaced them.
        """
        if not self._adds:
            raise ConfigurationError(
                "inputs is 'replace', but must be 'add' to know what was coded"
            )
        code = self.settings.code
        splined = _shift_splined(inputs.splined, -code)
        return replace(inputs, dense=inputs.dense[:, code:], splined=splined)

    def _with(self, inputs: Inputs, coded: Codes) -> Inputs:
        code = coded.code.clip(-self._clip, self._clip).astype(np.float32)
        if self._adds:
            splined = _shift_splined(inputs.splined, code.shape[1])
            return replace(inputs, dense=np.hstack((code, inputs.dense)), splined=splined)
        return replace(_keep_lags(inputs), dense=code, splined=inputs.splined[:, :0].copy())


def _shift_splined(splined: NDArray[np.int32], by: int) -> NDArray[np.int32]:
    """Shift the numbers of dense inputs by ``by``."""
    return np.where(splined >= 0, splined + np.int32(by), splined)


def _keep_lags(inputs: Inputs) -> Inputs:
    """Inputs with no entries except those with earlier targets."""
    n, lags = len(inputs.count), inputs.lags
    row, value = np.zeros((n, 1), np.int32), np.zeros((n, 1), np.float32)
    if lags:
        # These are the last entries of each sample.
        places = inputs.count[:, None] - lags + np.arange(lags)
        row = np.take_along_axis(inputs.row, places, axis=1)
        value = np.take_along_axis(inputs.value, places, axis=1)
    return replace(inputs, row=row, value=value, count=np.full(n, lags, np.int32))
