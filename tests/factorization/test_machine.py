"""The factorization machine, against a reference that takes one product after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.experts import REST, ScoringBatch
from streamnet.factorization import kernels
from streamnet.factorization.machine import FactorizationMachine
from streamnet.samples import Inputs
from tests.experts import label_batch, number_batch

LABELS = 3
KNOWN = np.full(5000, LABELS, np.int32)


def inputs_of(
    dense: NDArray[Any], rows: NDArray[Any] | None = None, columns: int = 2, lags: int = 0
) -> Inputs:
    """Inputs of dense numbers and, for each sample, the numbers of some rows of columns."""
    n = len(dense)
    row = np.zeros((n, 1), np.int32) if rows is None else rows.astype(np.int32)
    count = np.full(n, 0 if rows is None else row.shape[1], np.int32)
    value = np.ones(row.shape, np.float32)
    used = int(row.max()) + 1
    fields = (np.arange(64) * columns // used).astype(np.int32)
    return Inputs(dense.astype(np.float32), row, value, count, used, lags, fields=fields)


def part(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Some of the samples, with the rows that they and earlier ones have."""
    names = "dense", "row", "value", "count"
    rows = int(inputs.row[:stop].max()) + 1
    return replace(inputs, rows=rows, **{n: getattr(inputs, n)[start:stop] for n in names})


def mixed(n: int, seed: int = 1) -> tuple[Inputs, NDArray[np.int32]]:
    """Samples of two numbers and two categories whose label depends on the pair of categories."""
    rng = np.random.default_rng(seed)
    rows = np.stack((rng.integers(0, 6, n), rng.integers(6, 12, n)), axis=1)
    dense = rng.normal(size=(n, 2))
    dense[rng.random(n) < 0.05, 0] = np.nan
    label = (rows[:, 0] + rows[:, 1]) % 2 + (dense[:, 1] > 1.0)
    label = np.where(rng.random(n) < 0.1, -1, label)
    return inputs_of(dense, rows), label.astype(np.int32)


def run(
    machine: FactorizationMachine, inputs: Inputs, label: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Predict and learn samples, all labels of which are known from the start."""
    return learn(machine, label_batch(inputs, LABELS, label))


def learn(machine: FactorizationMachine, batch: ScoringBatch) -> NDArray[np.float32]:
    """Predict and learn a batch."""
    answers: NDArray[np.float32] = machine.predict_then_learn(batch).answers[0]
    return answers


def ask(machine: FactorizationMachine, inputs: Inputs, labels: int = LABELS) -> NDArray[np.float32]:
    """Predict samples of which each might be the next one."""
    answers: NDArray[np.float32] = machine.predict(label_batch(inputs, labels)).answers[0]
    return answers


class NaiveMachine:
    """Sums over all pairs of tokens, by name, in float64."""

    def __init__(self, machine: FactorizationMachine) -> None:
        state = machine.export_state()
        self.w, self.v, self.a, self.b, self.u = (
            state[name].astype(np.float64)
            for name in ("weight", "vector", "output", "bias", "gate")
        )
        self.squares = [np.zeros_like(one) for one in (self.w, self.v, self.a, self.b, self.u)]

    def tokens(self, inputs: Inputs, i: int) -> list[tuple[int, float, int]]:
        """Number, share and gate of each active token."""
        dense = np.nan_to_num(inputs.dense[i].astype(float))
        found = []
        for j, x in enumerate(dense):
            place = 2.0 * math.asinh(2.0 * min(max(x, -8.0), 8.0)) + 7
            lower = math.floor(place)
            found.append((15 * j + lower, lower + 1 - place, j))
            found.append((15 * j + lower + 1, place - lower, j))
        rows = inputs.row[i, : inputs.count[i]].tolist()
        first = 15 * len(dense)
        found += [(first + row, 1.0, 512 + int(inputs.fields[row])) for row in rows]
        return found

    def learn(self, inputs: Inputs, i: int, label: int) -> NDArray[Any]:
        """Predict a sample and learn it."""
        tokens = self.tokens(inputs, i)
        scale = 1.0 / math.sqrt(inputs.dense.shape[1] + inputs.count[i])
        pairs = [(x, y) for place, x in enumerate(tokens) for y in tokens[:place]]
        product = np.zeros(self.v.shape[1])
        for (x, s, g), (y, t, h) in pairs:
            product += self.v[x] * self.v[y] * s * self.u[g] * t * self.u[h]
        score = self.b + sum(self.w[x] * s * scale for x, s, _ in tokens) + self.a @ product
        answer: NDArray[Any] = np.exp(score - score.max()) / np.exp(score - score.max()).sum()
        if label < 0:
            return answer
        slope = answer - np.eye(LABELS)[label]
        pull = slope @ self.a
        gradients = [np.zeros_like(one) for one in (self.w, self.v, self.a, self.b, self.u)]
        gradients[3] += slope
        gradients[2] += np.outer(slope, product)
        for x, s, _ in tokens:
            gradients[0][x] += slope * s * scale
        for (x, s, g), (y, t, h) in pairs:
            shares = s * self.u[g] * t * self.u[h]
            gradients[1][x] += pull * shares * self.v[y]
            gradients[1][y] += pull * shares * self.v[x]
        for x, s, g in tokens:  # times the gate, for a step of its logarithm
            if s:
                gradients[4][g] += (gradients[1][x] * self.v[x]).sum()
        for square, gradient in zip(self.squares, gradients, strict=True):
            square += gradient**2
        small = (1e-8, 1e-4, 1e-4, 1e-8, 1e-8)
        steps = [g / np.sqrt(q + e) for g, q, e in zip(gradients, self.squares, small, strict=True)]
        self.w -= 0.2 * steps[0]
        self.v -= 0.05 * steps[1]
        self.a -= 0.05 * steps[2]
        self.b -= 0.2 * steps[3]
        self.u = np.clip(self.u * np.exp(-0.2 * steps[4]), 1e-3, 3.0)
        return answer


def test_predictions_are_those_of_all_pairs_one_by_one() -> None:
    inputs, label = mixed(300)
    machine = FactorizationMachine(4)
    run(machine, inputs, np.full_like(label, -1))  # makes room, and learns nothing
    naive = NaiveMachine(machine)
    expected = [naive.learn(inputs, i, c) for i, c in enumerate(label.tolist())]
    assert_allclose(run(machine, inputs, label), expected, atol=2e-3)
    assert_allclose(machine.export_state()["gate"], naive.u, rtol=2e-2)


@pytest.mark.parametrize("sizes", [(1,), (7, 300, 2)])
def test_the_result_does_not_depend_on_how_blocks_are_cut(sizes: tuple[int, ...]) -> None:
    inputs, label = mixed(900)
    whole, cut = FactorizationMachine(8), FactorizationMachine(8)
    expected, start = run(whole, inputs, label), 0
    found: list[NDArray[np.float32]] = []
    while start < 900:
        stop = min(900, start + sizes[len(found) % len(sizes)])
        found.append(run(cut, part(inputs, start, stop), label[start:stop]))
        start = stop
    assert_array_equal(np.concatenate(found), expected)
    for name, array in whole.export_state().items():
        assert_array_equal(cut.export_state()[name], array)


def test_a_restored_machine_goes_on_with_the_same_bits() -> None:
    inputs, label = mixed(900)
    whole, begun, resumed = (FactorizationMachine(5) for _ in range(3))
    expected = run(whole, inputs, label)
    run(begun, part(inputs, 0, 400), label[:400])
    resumed.restore_state(begun.export_state())
    assert_array_equal(run(resumed, part(inputs, 400, 900), label[400:]), expected[400:])
    with pytest.raises(StateError, match="vector of the factorization machine"):
        FactorizationMachine(4).restore_state(whole.export_state())


def test_columns_rows_and_labels_that_appear_later_start_from_nothing() -> None:
    rng = np.random.default_rng(4)
    dense = np.where(np.arange(800)[:, None] < 400, 0.0, rng.normal(size=(800, 2)))
    rows = rng.integers(0, 5, (800, 1)) + 5 * (np.arange(800)[:, None] >= 400)
    label = (np.arange(800) % (2 + (np.arange(800) >= 400))).astype(np.int32)
    grown, whole = FactorizationMachine(4), FactorizationMachine(4)
    early = inputs_of(dense, rows)
    known = np.where(np.arange(800) < 401, 2, 3).astype(np.int32)
    expected = learn(whole, label_batch(early, 3, label, known))
    found = [learn(grown, label_batch(part(early, 0, 400), 2, label[:400], known[:400]))]
    late = label_batch(part(early, 400, 800), 3, label[400:], known[400:])
    found.append(learn(grown, late)[:, :3])
    assert_array_equal(found[0], expected[:400, :2])
    assert_array_equal(found[1], expected[400:])


def test_pairs_of_categories_are_learned_and_last_targets_are_not() -> None:
    inputs, label = mixed(4000)
    hits = run(FactorizationMachine(8), inputs, label).argmax(axis=1) == label
    assert hits[label >= 0][-1000:].mean() > 0.95
    blind = run(FactorizationMachine(8), replace(inputs, lags=2), label).argmax(axis=1) == label
    assert blind[label >= 0][-1000:].mean() < 0.7


def test_columns_that_say_nothing_are_closed() -> None:
    rng = np.random.default_rng(2)
    rows = np.stack([rng.integers(10 * k, 10 * k + 10, 5000) for k in range(3)], axis=1)
    label = ((rows[:, 0] + rows[:, 1]) % 2).astype(np.int32)
    machine = FactorizationMachine(8)
    run(machine, inputs_of(np.empty((5000, 0)), rows, columns=3), label)
    gate = machine.export_state()["gate"][kernels.GATES // 2 :][:3]
    assert gate[2] < 0.5 * gate[:2].min()


def test_numbers_are_predicted_in_standard_units() -> None:
    inputs, _ = mixed(5000)
    goal = inputs.row.sum(axis=1) % 3 - 1.0 + np.nan_to_num(inputs.dense[:, 1])
    goal[::50] = np.nan
    answers = learn(FactorizationMachine(8), number_batch(inputs, goal))
    assert np.nanmean(np.abs(answers - goal)[-500:]) < 0.25 * np.nanmean(np.abs(goal))


def test_extreme_inputs_leave_everything_finite() -> None:
    inputs, label = mixed(2000)
    wild = np.array([1e38, -1e38, np.nan, np.inf], np.float32)
    dense = np.random.default_rng(3).choice(wild, (2000, 2)).astype(np.float32)
    value = np.full_like(inputs.value, 1e30)
    extreme = replace(inputs, dense=dense, value=value)
    machine = FactorizationMachine(8)
    weight = np.full(2000, 1e300)
    answers = learn(machine, label_batch(extreme, LABELS, label, weight=weight))
    assert np.isfinite(answers).all()
    goal = np.where(label > 0, 1e300, -1e300)
    numbers = number_batch(extreme, goal, weight)
    assert np.isfinite(learn(FactorizationMachine(8), numbers)).all()


def test_predicting_changes_nothing_and_says_what_learning_would() -> None:
    inputs, label = mixed(600)
    machine = FactorizationMachine(8)
    empty = ask(machine, part(inputs, 0, 1))
    assert not empty.any()
    run(machine, part(inputs, 0, 599), label[:599])
    before = machine.export_state()
    said = ask(machine, part(inputs, 599, 600))
    for name, array in machine.export_state().items():
        assert_array_equal(array, before[name])
    assert_array_equal(run(machine, part(inputs, 599, 600), label[599:600]), said)


def test_samples_count_by_their_weight() -> None:
    inputs, _ = mixed(400)
    label = (np.arange(400) % 2).astype(np.int32)
    weight = np.where(label == 1, 4.0, 1.0)
    machine = FactorizationMachine(4)
    learn(machine, label_batch(inputs, 2, label, weight=weight))
    assert ask(machine, inputs, 2)[:, 1].mean() == pytest.approx(0.8, abs=0.08)


def test_it_rests_while_its_loss_is_far_above_that_of_others() -> None:
    inputs, label = mixed(100)
    machine = FactorizationMachine(4)
    run(machine, inputs, label)
    before, rests = machine.export_state(), []
    for loss in (1.4, 1.6, *[math.nan] * REST):
        machine.end_round(np.array([loss]), 1.0)
        rests.append(bool(machine.rest))
        if machine.rest:
            assert not run(machine, inputs, label).any()
            assert not ask(machine, inputs).any()
    assert rests == [False, *[True] * REST, False]
    assert_array_equal(machine.export_state()["weight"], before["weight"])
