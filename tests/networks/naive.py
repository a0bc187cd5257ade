"""Slow, obvious plain-Python versions of what the kernels do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from streamnet.networks.parameters import Weights
from streamnet.samples import Task
from streamnet.settings.candidate import CandidateSettings

__all__ = ("Network", "mix")

MASK = (1 << 64) - 1


def mix(key: int, part: int) -> int:
    """SplitMix64's finalizer over key and part."""
    z = key ^ ((part + 0x9E3779B97F4A7C15) & MASK)
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    z ^= z >> 31
    z = (z * 0xD6E8FEB86659FD93 + 0x9E3779B97F4A7C15) & MASK
    return z ^ (z >> 32)


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "identity": lambda x: x,
    "logistic": lambda x: 1.0 / (1.0 + math.exp(-x)),
    "relu": lambda x: max(0.0, x),
    "tanh": math.tanh,
}
SLOPES: dict[str, Callable[[float], float]] = {  # from an activation's value
    "identity": lambda y: 1.0,
    "logistic": lambda y: y * (1.0 - y),
    "relu": lambda y: 1.0 if y > 0 else 0.0,
    "tanh": lambda y: 1.0 - y * y,
}
# The derivative by an output, from output minus target and Huber's delta.
LOSSES: dict[str, Callable[[float, float], float]] = {
    "cross_entropy": lambda error, delta: error,
    "squared": lambda error, delta: error,
    "absolute": lambda error, delta: math.copysign(1.0, error) if error else 0.0,
    "huber": lambda error, delta: max(-delta, min(delta, error)),
}
# The learning rate after so many steps.
SCHEDULES: dict[str, Callable[[CandidateSettings, int], float]] = {
    "constant": lambda s, steps: s.learning_rate,
    "step": lambda s, steps: s.learning_rate * s.decay ** (steps // s.decay_steps),
    "inverse": lambda s, steps: s.learning_rate / (1.0 + s.decay * steps),
    "linear": lambda s, steps: max(s.learning_rate - s.decay * (steps // s.decay_steps), 0.0),
}


def sgd(settings: CandidateSettings, state: list[float], g: float, steps: int) -> float:
    return g


def momentum(settings: CandidateSettings, state: list[float], g: float, steps: int) -> float:
    state[0] = settings.momentum * state[0] + g
    return state[0]


def rmsprop(settings: CandidateSettings, state: list[float], g: float, steps: int) -> float:
    beta = settings.second_momentum
    state[0] = beta * state[0] + (1.0 - beta) * g * g
    return g / math.sqrt(state[0] + settings.epsilon**2)


def adagrad(settings: CandidateSettings, state: list[float], g: float, steps: int) -> float:
    state[0] += g * g
    return g / math.sqrt(state[0] + settings.epsilon**2)


def adam(settings: CandidateSettings, state: list[float], g: float, steps: int) -> float:
    beta, beta2 = settings.momentum, settings.second_momentum
    state[0] = beta * state[0] + (1.0 - beta) * g
    state[1] = beta2 * state[1] + (1.0 - beta2) * g * g
    # epsilon comes in before the correction of the second average, as the paper allows
    root = math.sqrt(state[1] + settings.epsilon**2)
    first = state[0] / (1.0 - beta ** (steps + 1))
    return first * math.sqrt(1.0 - beta2 ** (steps + 1)) / root


# What the learning rate is multiplied with, for one weight.
OPTIMIZERS = {
    "sgd": sgd,
    "momentum": momentum,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "adam": adam,
}


class Network:
    """One candidate, as lists of rows; row 0 of a layer is its biases."""

    def __init__(self, settings: CandidateSettings, task: Task, weights: Weights) -> None:
        self.settings = settings
        self.task = task
        self.layers = [weights["first"].tolist()]
        self.layers += [
            weights[f"upper{layer}"].tolist() for layer in range(1, len(settings.hidden))
        ]
        self.sparse = weights["sparse"].tolist()
        self.splines = weights["splines"].tolist() if settings.knots else []
        if settings.hidden:
            # rows of "output" are outputs: turn them, so that every layer is inputs x outputs
            columns = weights["output"].tolist()
            turned = [list(row) for row in zip(*columns, strict=True)]
            self.layers.append([weights["output_bias"].tolist()[0], *turned])
        self.names = [*settings.activations, settings.output_for(task)]
        self.steps = 0
        self.states: dict[Any, list[float]] = {}

    def hats(self, dense: list[float], splined: Sequence[int]) -> list[tuple[int, float]]:
        """The knots that each of these inputs lies between, and how near it is to each."""
        last = self.settings.knots - 1
        active = []
        for i in splined if self.settings.knots else ():
            z = min(max(dense[i], -3.0), 3.0)
            knots = [-3.0 + 6.0 * knot / last for knot in range(last + 1)]
            below = max(knot for knot in range(last) if knots[knot] <= z)
            for knot in (below, below + 1):
                share = 1.0 - abs(z - knots[knot]) / (6.0 / last)
                active.append((i * (last + 1) + knot, share))
        return active

    def forward(
        self,
        dense: list[float],
        rows: list[tuple[int, float]],
        active: int,
        splined: Sequence[int] = (),
    ) -> list[list[float]]:
        values = [dense]
        for depth, layer in enumerate(self.layers):
            last = depth == len(self.layers) - 1
            count = active if last else len(layer[0])
            out = []
            for j in range(count):
                total = layer[0][j]
                total += sum(x * layer[i + 1][j] for i, x in enumerate(values[-1]))
                if depth == 0:
                    total += sum(x * self.sparse[row][j] for row, x in rows)
                    hats = self.hats(dense, splined)
                    total += sum(x * self.splines[row][j] for row, x in hats)
                out.append(total)
            if last and self.names[-1] == "softmax":
                top = max(out)
                powers = [math.exp(x - top) for x in out]
                out = [p / sum(powers) for p in powers]
            else:
                out = [ACTIVATIONS[self.names[depth]](x) for x in out]
            values.append(out)
        return values

    def answer(self, output: list[float], known: int) -> list[float]:
        if self.task is Task.REGRESSION:
            return output
        total = sum(max(p, 0.0) for p in output[:known])
        return [max(p, 0.0) / total for p in output[:known]]

    def learn(
        self,
        dense: list[float],
        rows: list[tuple[int, float]],
        active: int,
        label: int,
        goal: float,
        splined: Sequence[int] = (),
        rarity: float = 1.0,
        importance: float = 1.0,
    ) -> None:
        settings = self.settings
        values = self.forward(dense, rows, active, splined)
        weight = min(rarity**settings.class_weight, 16.0) * importance
        delta = [weight * d for d in self._output_delta(values[-1], label, goal)]
        deltas = [delta]
        for depth in range(len(self.layers) - 1, 0, -1):
            below = []
            for i, value in enumerate(values[depth]):
                total = sum(d * self.layers[depth][i + 1][j] for j, d in enumerate(deltas[0]))
                below.append(total * SLOPES[self.names[depth - 1]](value))
            deltas.insert(0, below)
        gradients: dict[Any, float] = {}
        for depth, delta in enumerate(deltas):
            for j, d in enumerate(delta):
                if settings.bias:
                    gradients[depth, 0, j] = d
                for i, x in enumerate(values[depth]):
                    gradients[depth, i + 1, j] = d * x
                if depth == 0:
                    for row, x in rows:
                        gradients["sparse", row, j] = gradients.get(("sparse", row, j), 0.0) + d * x
                    for row, x in self.hats(dense, splined):
                        gradients["splines", row, j] = d * x
        norm = math.sqrt(sum(g * g for g in gradients.values()))
        if settings.clip and norm > settings.clip:
            gradients = {key: g * settings.clip / norm for key, g in gradients.items()}
        rate = SCHEDULES[settings.schedule](settings, self.steps)
        for key, g in gradients.items():
            self._step(key, g, rate)
        self.steps += 1

    def errors(self, output: list[float], label: int, goal: float) -> list[float]:
        """By how much each output is too large."""
        numbers = self.task is Task.REGRESSION
        return [y - (goal if numbers else float(o == label)) for o, y in enumerate(output)]

    def _output_delta(self, output: list[float], label: int, goal: float) -> list[float]:
        loss = self.settings.loss_for(self.task)
        delta = []
        for y, error in zip(output, self.errors(output, label, goal), strict=True):
            derivative = LOSSES[loss](error, self.settings.huber_delta)
            if loss != "cross_entropy":  # by whose derivative the slope is divided
                derivative *= SLOPES[self.names[-1]](y)
            delta.append(derivative)
        return delta

    def _step(self, key: Any, g: float, rate: float) -> None:
        settings = self.settings
        layer, row, unit = key
        tables = {"sparse": self.sparse, "splines": self.splines}
        matrix = tables[layer] if layer in tables else self.layers[layer]
        w = matrix[row][unit]
        if layer in tables or row > 0:
            w *= 1.0 - rate * settings.weight_decay
        state = self.states.setdefault(key, [0.0, 0.0])
        move = OPTIMIZERS[settings.optimizer](settings, state, g, self.steps)
        matrix[row][unit] = w - rate * move
