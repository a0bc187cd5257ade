"""A plain reference: a dict of models of single keys, in Python and numpy, without packed rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.keyed.layout import NETWORK
from streamnet.networks.population import Population
from streamnet.samples import Inputs, Task

FORGETTING = (0.9995, 0.97)
PRIOR = 0.25  # variance of a coefficient, in units of the noise


class Fleet:
    """What all keys share: losses of the parts by age, and the size of residuals."""

    def __init__(self) -> None:
        self.losses: dict[int, NDArray[np.float64]] = {}
        self.squares = self.count = 0.0
        self.trust: dict[int, NDArray[np.float64]] = {}

    def means(self, age: int) -> NDArray[np.float64]:
        sums = self.losses.get(age, np.zeros(7))
        means: NDArray[np.float64] = (sums[:6] + np.array([0.0] + [4.0] * 5)) / (sums[6] + 4.0)
        return means

    def learn(self, age: int, losses: NDArray[np.float64], weight: float) -> None:
        sums = self.losses.get(age, np.zeros(7))
        new = np.append(np.minimum(losses, 10.0), 1.0)
        self.losses[age] = 0.9999 * sums + weight * new

    def learn_trust(self, age: int, product: float, power: float) -> None:
        self.trust[age] = 0.9999 * self.trust.get(age, np.zeros(2)) + (product, power)


class Squares:
    """Recursive least squares with full matrices."""

    def __init__(self, features: int, outputs: int, forgetting: float) -> None:
        self.forgetting = forgetting
        self.weights = np.zeros((features, outputs))
        self.covariance = np.eye(features) * PRIOR

    def learn(self, x: NDArray[np.float64], errors: NDArray[np.float64], weight: float) -> None:
        gain = self.covariance @ x
        power = self.forgetting / weight + gain @ x
        self.weights += np.outer(gain / power, errors)
        self.covariance = (self.covariance - np.outer(gain, gain) / power) / self.forgetting
        share = np.sqrt(np.minimum(100.0 * PRIOR / self.covariance.diagonal(), 1.0))
        self.covariance *= np.outer(share, share)

    def convert(self, ratio: float, *, settling: bool) -> None:
        """Go over to a larger unit of the targets, and of the five features that have it."""
        shares = np.ones(len(self.weights))
        shares[1:6] = ratio
        self.weights *= (shares / ratio)[:, None]
        self.covariance *= np.outer(shares, shares)
        if settling:
            for f in range(1, 6):
                self.covariance[f, f] = max(self.covariance[f, f], PRIOR)


class Moments:
    """Mean and deviation of inputs, with four samples of mean 0 and deviation 1 before."""

    def __init__(self) -> None:
        self.values: list[NDArray[np.float64]] = []

    def scale(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        n = len(self.values)
        if not n:
            return np.clip(z, -5.0, 5.0)
        values = np.array(self.values)
        mean = values.mean(axis=0) * n / (n + 4.0)
        squares = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        scaled: NDArray[np.float64] = (z - mean) / np.sqrt((squares + 4.0) / (n + 4.0))
        return scaled.clip(-5.0, 5.0)


class Network:
    """The network of a key, as a population of its own that learns sample by sample."""

    def __init__(self, task: Task) -> None:
        settings = NETWORK.for_task(task)
        self.population = Population([settings], task=task, seed=0)
        self.number = 0

    def step(
        self, x: NDArray[np.float64], outputs: int, active: int, label: int, goal: float
    ) -> NDArray[np.float64]:
        dense = x[None].astype(np.float32)
        none = np.zeros((1, 1), np.int32), np.zeros((1, 1), np.float32), np.zeros(1, np.int32)
        inputs = Inputs(dense, *none, 0)
        answers = self.population.prepare(
            self.number, inputs, np.array([label], np.int32), np.array([goal]), outputs
        )
        self.population.run(self.number, np.array([active], np.int32), answers)
        self.number += 1
        said: NDArray[np.float64] = answers.outputs[0, 0].astype(np.float64)
        return said


class Key:
    """The model of one key."""

    def __init__(self, task: Task, inputs: int, outputs: int) -> None:
        features = (6 if task is Task.REGRESSION else 1) + inputs
        self.count = 0
        self.squares = [Squares(features, outputs, f) for f in FORGETTING]
        self.moments = Moments()
        self.network = Network(task)
        self.losses = np.zeros(6)
        self.residual_squares = self.faded = self.level = 0.0
        self.targets = [0.0, 0.0]
        self.mean = self.unit = 0.0
        self.residuals = [0.0, 0.0]
        self.frequencies = np.zeros(outputs)
        self.last = -1
        self.same = self.changes = 0.0
        self.trust = np.zeros(2)
        self.total_loss = self.total_shared_loss = 0.0

    def shares(self, fleet: Fleet) -> NDArray[np.float64]:
        losses = self.losses + 8.0 * fleet.means(self.count.bit_length())
        powers = np.exp(losses.min() - losses)
        total: NDArray[np.float64] = powers / powers.sum()
        return total

    def find_trust(self, fleet: Fleet) -> float:
        age = self.count.bit_length()
        known = fleet.losses.get(age, np.zeros(7))[6] + 4.0
        product, power = self.trust + 24.0 * fleet.trust.get(age, np.zeros(2)) / known
        return float(np.clip(product / power, 0.0, 1.0)) if power > 0.0 else 0.0

    def learn_trust(self, fleet: Fleet, count: int, product: float, power: float) -> None:
        self.trust = 0.98 * self.trust + (product, power)
        fleet.learn_trust(count.bit_length(), product, power)

    def fade(self, losses: NDArray[np.float64]) -> None:
        self.losses = 0.98 * self.losses + np.minimum(losses, 10.0)


def order_moments(count: int, delay: int) -> Iterator[tuple[int, bool]]:
    """Which sample is predicted or, where the second value is true, learned, in order.

    The label of a sample is known right before the one that comes ``delay`` later is predicted.
    """
    for i in range(count):
        if i >= delay:
            yield i - delay, True
        yield i, False
    for i in range(max(count - delay, 0), count):
        yield i, True


def serve_numbers(
    keys: list[str],
    shared: NDArray[Any],
    dense: NDArray[Any],
    truth: NDArray[Any],
    *,
    delay: int = 1,
) -> tuple[NDArray[np.float64], dict[str, Key]]:
    """Predict and learn numbers; drifts are not part of it."""
    models: dict[str, Key] = {}
    fleet, served = Fleet(), np.empty(len(keys))
    kept: dict[int, dict[str, Any]] = {}  # what was predicted of samples that wait
    for i, learns in order_moments(len(keys), delay):
        base, z, y = float(shared[i]), dense[i].astype(np.float64), float(truth[i])
        model = models.setdefault(keys[i], Key(Task.REGRESSION, len(z), 1))
        unit = find_unit(model, fleet)
        own = model.unit or unit
        if not learns:
            lags = [t - base if model.count > k else 0.0 for k, t in enumerate(model.targets)]
            mean = model.mean - base if model.count else 0.0
            start = np.clip(np.array([own, *model.residuals, *lags, mean]) / own, -30.0, 30.0)
            x = np.concatenate((start, model.moments.scale(z)))
            solved = [(x @ one.weights)[0] * own for one in model.squares]
            network = model.network.step(x[1:].clip(-8.0, 8.0), 1, 1, -1, math.nan)[0]
            said = np.array(
                [0.0, lags[0] / unit, model.level / unit, *(s / unit for s in solved), network]
            ).clip(-8.0, 8.0)
            mixed = float(model.shares(fleet) @ said)
            served[i] = base + unit * model.find_trust(fleet) * mixed
            kept[i] = {"x": x, "own": own, "unit": unit, "said": said, "mixed": mixed}
            kept[i]["count"] = model.count
            continue
        then = kept.pop(i)
        if not math.isfinite(y):
            continue
        x, count, said, mixed = (then[name] for name in ("x", "count", "said", "mixed"))
        x[1:6] = np.clip(x[1:6] * (then["own"] / own), -30.0, 30.0)
        residual = y - base
        goal = float(np.clip(residual / unit, -8.0, 8.0))
        model.network.step(x[1:].clip(-8.0, 8.0), 1, 1, 0, goal)
        for one in model.squares:
            guess = (x @ one.weights)[0] * own
            error = np.clip(residual - guess, -3.0 * unit, 3.0 * unit) / own
            one.learn(x, np.array([error]), 1.0)
        known = residual / then["unit"]  # as it was predicted
        model.learn_trust(fleet, count, mixed * float(np.clip(known, -3.0, 3.0)), mixed**2)
        losses = np.abs(said - known)
        fleet.learn(count.bit_length(), losses, 1.0)
        model.fade(losses)
        model.total_loss += abs(served[i] - y)
        model.total_shared_loss += abs(residual)
        model.moments.values.append(z)
        model.level += (residual - model.level) / min(model.count + 2, 10)
        model.residual_squares = 0.98 * model.residual_squares + residual**2
        model.faded = 0.98 * model.faded + 1.0
        fleet.squares = 0.9999 * fleet.squares + residual**2
        fleet.count = 0.9999 * fleet.count + 1.0
        model.mean += (y - model.mean) / min(model.count + 1, 100)
        model.targets = [y, model.targets[0]]
        model.residuals = [residual, model.residuals[0]]
        model.count += 1
        model.unit = own
        if model.count & (model.count - 1) == 0:
            model.unit = find_unit(model, fleet)
            for one in model.squares:
                one.convert(model.unit / own, settling=model.count <= 16)
    return served, models


def find_unit(model: Key, fleet: Fleet) -> float:
    """How far a key's targets usually are from the shared prediction."""
    common = fleet.squares / fleet.count if fleet.count else 1.0
    prior = 4.0 * 0.5**model.count if model.count < 20 else 0.0
    return math.sqrt((model.residual_squares + prior * common) / (model.faded + prior))


def serve_labels(
    keys: list[str],
    shared: NDArray[Any],
    dense: NDArray[Any],
    truth: NDArray[Any],
    *,
    delay: int = 1,
    labels: int = 3,
) -> tuple[NDArray[np.float64], dict[str, Key]]:
    """Predict and learn labels, all of which are known from the start."""
    models: dict[str, Key] = {}
    fleet, served = Fleet(), np.empty(shared.shape)
    kept: dict[int, dict[str, Any]] = {}
    for i, learns in order_moments(len(keys), delay):
        given, label = shared[i].astype(np.float64), int(truth[i])
        z = dense[i].astype(np.float64)
        model = models.setdefault(keys[i], Key(Task.CLASSIFICATION, len(z), labels))
        p = given / given.sum()
        odds = np.log(p.clip(1e-4, 1 - 1e-4) / (1.0 - p.clip(1e-4, 1 - 1e-4))).clip(-5.0, 5.0)
        if not learns:
            x = np.concatenate(([1.0], model.moments.scale(z)))
            frequent = (model.frequencies + 1.0 / labels) / (model.frequencies.sum() + 1.0)
            last = frequent
            if model.last >= 0:
                stays = (model.same + 1.0) / (model.changes + 2.0)
                last = (1.0 - stays) * frequent / (1.0 - frequent[model.last])
                last[model.last] = stays
            raw = [p + x @ one.weights for one in model.squares]
            solved = [np.maximum(r, 1e-3) / np.maximum(r, 1e-3).sum() for r in raw]
            inputs = np.concatenate((x[1:], odds))
            network = model.network.step(inputs, labels, labels, -1, math.nan)[:labels]
            said = np.array([p, frequent, last, *solved, network / network.sum()])
            correction = model.shares(fleet) @ said - p
            served[i] = given.sum() * (p + model.find_trust(fleet) * correction)
            kept[i] = {"x": x, "said": said, "correction": correction, "count": model.count}
            continue
        then = kept.pop(i)
        if label < 0:
            continue
        x, said, correction = (then[name] for name in ("x", "said", "correction"))
        count, truth_of = then["count"], np.eye(labels)[label]
        product = float(correction @ (truth_of - p))
        model.learn_trust(fleet, count, product, float(correction @ correction))
        losses = -np.log(said[:, label].clip(1e-4))
        fleet.learn(count.bit_length(), losses, 1.0)
        model.fade(losses)
        for one in model.squares:
            one.learn(x, np.clip(truth_of - (p + x @ one.weights), -1.5, 1.5), 1.0)
        model.network.step(np.concatenate((x[1:], odds)), labels, labels, label, math.nan)
        model.total_loss -= math.log(max(served[i, label], 1e-4))
        model.total_shared_loss -= math.log(max(float(given[label]), 1e-4))
        model.moments.values.append(z)
        model.frequencies = 0.995 * model.frequencies + truth_of
        if model.last >= 0:
            model.same = 0.98 * model.same + (model.last == label)
            model.changes = 0.98 * model.changes + 1.0
        model.last = label
        model.count += 1
    return served, models
