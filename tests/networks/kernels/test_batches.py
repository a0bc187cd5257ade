"""Batches: a step by the mean gradient, as numpy reckons it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.networks.population import Population
from streamnet.samples import Inputs, Task
from streamnet.settings.candidate import CandidateSettings

Array = NDArray[np.float64]
RATE = 0.1


def inputs_of(dense: Array, rows: int = 6) -> Inputs:
    """Dense inputs, and of every third sample an active row."""
    n = len(dense)
    row = (np.arange(n) % rows).astype(np.int32)[:, None]
    count = (np.arange(n) % 3 == 0).astype(np.int32)
    splined = np.tile(np.array([0, 2, -1], np.int32), (n, 1))
    return Inputs(dense, row, np.full((n, 1), 0.5), count, rows, splined=splined)


def part_of(inputs: Inputs, part: slice) -> Inputs:
    names = ("dense", "row", "value", "count", "splined")
    return replace(inputs, **{name: getattr(inputs, name)[part] for name in names})


def learned(
    settings: CandidateSettings, dense: Array, goal: Array, cuts: list[int] | None = None
) -> dict[str, Array]:
    population = Population([settings], task=Task.REGRESSION, seed=3, dtype="float64")
    first = 0
    for stop in [*(cuts or []), len(goal)]:
        part = slice(first, stop)
        inputs = part_of(inputs_of(dense), part)
        label = np.zeros(stop - first, np.int32)
        answers = population.prepare(first, inputs, label, goal[part], 1)
        population.run(first, label + 1, answers)
        first = stop
    return population.extract(0, rows=6, outputs=1)


def data(n: int = 60) -> tuple[Array, Array]:
    rng = np.random.default_rng(4)
    dense = rng.normal(size=(n, 3))
    return dense, np.sin(dense[:, 0]) + dense[:, 1]


def hats_of(x: Array, splined: NDArray[np.int32], knots: int) -> Array:
    """The hat functions of all knots at the inputs that are splined, 0 for the others."""
    hats = np.zeros((len(x), knots))
    grid = np.linspace(-3.0, 3.0, knots)
    for i in splined[splined >= 0]:
        hats[i] = [np.interp(x[i], grid, hat) for hat in np.eye(knots)]
    return hats.ravel()


def by_numpy(
    batch: int, decay: float, dense: Array, goal: Array, knots: int = 0
) -> dict[str, Array]:
    """Half the squared error of a tanh layer, by plain descent on means over batches."""
    start = settings_of(batch, weight_decay=decay, knots=knots)
    weights = {name: part.copy() for name, part in learned(start, dense[:0], goal[:0]).items()}
    every = inputs_of(dense)
    for begin in range(0, len(goal) - batch + 1, batch):
        gradient = {name: np.zeros_like(part) for name, part in weights.items()}
        for i in range(begin, begin + batch):
            x = np.concatenate(([1.0], dense[i]))
            entry = weights["sparse"][every.row[i, 0]] * 0.5 if every.count[i] else 0.0
            hats = hats_of(dense[i], every.splined[i], knots) if knots else np.zeros(0)
            curve = hats @ weights["splines"] if knots else 0.0
            h = np.tanh(x @ weights["first"] + entry + curve)
            error = float(h @ weights["output"][0] + weights["output_bias"][0, 0] - goal[i])
            delta = error * weights["output"][0] * (1 - h * h)
            gradient["output"][0] += error * h
            gradient["output_bias"][0, 0] += error
            gradient["first"] += np.outer(x, delta)
            if every.count[i]:
                gradient["sparse"][every.row[i, 0]] += 0.5 * delta
            if knots:
                gradient["splines"] += np.outer(hats, delta)
        for name, part in weights.items():
            moved = np.abs(gradient[name]).sum(axis=1, keepdims=True) > 0
            rarely = name in ("sparse", "splines")
            shrunk = np.where(moved | (not rarely), 1 - RATE * decay, 1.0) * part
            if name == "first":
                shrunk[0] = part[0]  # biases don't decay
            if name == "output_bias":
                shrunk = part
            part[...] = shrunk - RATE * gradient[name] / batch
    return weights


def settings_of(
    batch: int, optimizer: Any = "sgd", weight_decay: float = 0.0, knots: int = 0
) -> CandidateSettings:
    return CandidateSettings(
        hidden=(5,),
        loss="squared",
        optimizer=optimizer,
        learning_rate=RATE,
        batch_size=batch,
        weight_decay=weight_decay,
        knots=knots,
    )


@pytest.mark.parametrize("knots", [0, 4])
@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("batch", [2, 7, 60])
def test_a_batch_updates_weights_by_its_mean_gradient(batch, decay, knots) -> None:
    dense, goal = data()
    found = learned(settings_of(batch, weight_decay=decay, knots=knots), dense, goal)
    expected = by_numpy(batch, decay, dense, goal, knots)
    for name, part in expected.items():
        np.testing.assert_allclose(found[name], part, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adagrad", "adam"])
def test_a_batch_of_equal_samples_is_one_step_of_every_optimizer(optimizer: Any) -> None:
    dense, goal = data(2)
    dense, goal = np.repeat(dense[:1], 12, axis=0), np.repeat(goal[:1], 12)
    four = settings_of(4, optimizer)
    alone = settings_of(1, optimizer)
    # Without active rows, which `inputs_of` gives to some samples only.
    both = []
    for settings, n in ((four, 12), (alone, 3)):
        population = Population([settings], task=Task.REGRESSION, seed=3, dtype="float64")
        label = np.zeros(n, np.int32)
        row, count = np.zeros((n, 1), np.int32), np.zeros(n, np.int32)
        inputs = Inputs(dense[:n], row, row.astype(np.float32), count, 0)
        answers = population.prepare(0, inputs, label, goal[:n], 1)
        population.run(0, label + 1, answers)
        both.append(population.extract(0, outputs=1))
    for name, part in both[1].items():
        np.testing.assert_allclose(both[0][name], part, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_bits_do_not_depend_on_how_blocks_are_cut(optimizer: Any) -> None:
    dense, goal = data()
    whole = learned(settings_of(7, optimizer), dense, goal)
    parts = learned(settings_of(7, optimizer), dense, goal, cuts=[1, 6, 7, 20, 33])
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_an_incomplete_batch_updates_nothing() -> None:
    dense, goal = data()
    some = learned(settings_of(8), dense[:56], goal[:56])
    more = learned(settings_of(8), dense[:59], goal[:59])
    assert all(np.array_equal(some[name], more[name]) for name in some)
