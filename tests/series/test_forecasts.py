"""Forecasts of series, against a naive one with a dictionary for each column, and cut otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.experts import ScoringBatch
from streamnet.samples import Inputs
from streamnet.series.forecasts import FIRST_SLOTS, SeriesForecasts
from streamnet.series.kernels import FADING, MAX_LOG_CHANGE, MIN_SCORES, NUMBERS_TRIED, RATE
from tests.experts import number_batch
from tests.learning.streams import differences

N = 200


def inputs_of(numbers: NDArray[Any], words: NDArray[Any]) -> Inputs:
    """Inputs of numbers, and of an active row for each sample and category, -1 for none."""
    count = (words >= 0).sum(axis=1).astype(np.int32)
    row = np.zeros(words.shape, np.int32)
    fields = np.zeros(int(words.max(initial=0)) + 1, np.int32)
    for i, own in enumerate(words):
        row[i, : count[i]] = own[own >= 0]
    for column in range(words.shape[1]):
        fields[words[words[:, column] >= 0, column]] = column
    value, dense = np.ones(row.shape, np.float32), np.zeros((len(row), 0), np.float32)
    rows = int(words.max(initial=-1)) + 1
    return Inputs(
        dense, row, value, count, rows, fields=fields, unscaled=numbers.astype(np.float64)
    )


def part(batch: ScoringBatch, start: int, stop: int) -> ScoringBatch:
    """Some of the samples."""
    assert batch.inputs is not None
    names = "dense", "row", "value", "count", "unscaled"
    own = {name: getattr(batch.inputs, name)[start:stop] for name in names}
    inputs = replace(batch.inputs, **own)
    return replace(number_batch(inputs, batch.truth[start:stop]), spread=batch.spread[start:stop])


def panel(n: int = N, seed: int = 0) -> ScoringBatch:
    """Stores and products in any order, whose sales drift; noise in other columns."""
    rng = np.random.default_rng(seed)
    store, product = rng.integers(0, 5, n), rng.integers(0, 3, n)
    level = 10.0 * rng.random((5, 3)) + 1.0
    target = level[store, product] * (1.0 + 0.01 * np.arange(n)) + 0.1 * rng.normal(size=n)
    target[rng.random(n) < 0.1] = np.nan
    numbers = np.stack((rng.normal(size=n), rng.integers(-3, 9, n), store * 7), axis=1)
    numbers[rng.random(n) < 0.1, 1] = np.nan
    words = np.stack((store, 5 + product), axis=1)
    words[rng.random(n) < 0.1, 1] = -1
    return replace(number_batch(inputs_of(numbers, words), target), spread=np.full(n, 3.0))


def list_values(batch: ScoringBatch, i: int) -> Iterator[tuple[Any, Any]]:
    """Columns of a sample with their values: whole numbers, categories, and pairs of those."""
    inputs = batch.inputs
    assert inputs is not None
    for j, x in enumerate(inputs.unscaled[i]):
        if np.isfinite(inputs.unscaled[: i + 1, j]).any() and not math.isnan(x):
            seen = inputs.unscaled[: i + 1, j]
            if (np.nan_to_num(seen) == np.floor(np.nan_to_num(seen))).all():
                yield ("number", j), x
    rows = {int(inputs.fields[r]): int(r) for r in inputs.row[i, : inputs.count[i]]}
    for field, row in rows.items():
        yield ("category", field), row
    for pair in combinations(sorted(rows), 2):
        yield ("pair", pair), tuple(rows[f] for f in pair)


def naive(batch: ScoringBatch) -> NDArray[np.float64]:
    """Both forecasts of each sample, NaN for none."""
    last: dict[Any, float] = {}
    change: dict[Any, list[float]] = {}
    losses: dict[Any, list[list[float]]] = {}
    found = np.full((2, len(batch.truth)), np.nan)

    def forecasts(column: Any, value: Any) -> tuple[float, float]:
        step, ratio = change.get(column, [0.0, 0.0])
        return last[column, value] + step, last[column, value] * math.exp(ratio)

    for i, y in enumerate(batch.truth):
        values = list(list_values(batch, i))
        known = [(c, v) for c, v in values if (c, v) in last]
        for k in range(2):
            scored = [(losses[c][k], c, v) for c, v in known if c in losses]
            scored = [one for one in scored if one[0][1] >= MIN_SCORES]
            if scored:
                _, column, value = min(scored, key=lambda one: one[0][0] / one[0][1])
                found[k, i] = forecasts(column, value)[k]
        if not np.isfinite(y):
            continue
        for column, value in values:
            if (column, value) in last:
                before = last[column, value]
                own = losses.setdefault(column, [[0.0, 0.0], [0.0, 0.0]])
                for k, forecast in enumerate(forecasts(column, value)):
                    own[k][:] = FADING * own[k][0] + abs(forecast - y), FADING * own[k][1] + 1.0
                steps = change.setdefault(column, [0.0, 0.0])
                error = y - before - steps[0]
                steps[0] += RATE * min(max(error, -batch.spread[i]), batch.spread[i])
                if y > 0.0 and before > 0.0:
                    ratio = min(max(math.log(y / before), -MAX_LOG_CHANGE), MAX_LOG_CHANGE)
                    steps[1] += RATE * (ratio - steps[1])
            last[column, value] = float(y)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_best_column_answers_as_a_naive_one_does(seed: int) -> None:
    batch = panel(seed=seed)
    expected = naive(batch)
    answers, alive = SeriesForecasts(100).predict_then_learn(batch)
    assert alive is not None
    assert_array_equal(alive == 1, np.isfinite(expected))
    assert_allclose(answers[alive == 1], expected[alive == 1], rtol=1e-9)
    scored = (alive == 1) & np.isfinite(batch.truth)
    assert np.abs(answers - batch.truth)[scored].mean() < 0.5 * np.nanstd(batch.truth)


@given(cuts=st.lists(st.integers(1, N - 1), max_size=4), at=st.integers(0, 4))
@settings(max_examples=10, deadline=None)
def test_neither_cuts_nor_a_restored_state_change_a_bit(cuts: list[int], at: int) -> None:
    batch = panel()
    whole, cut = SeriesForecasts(4), SeriesForecasts(4)
    expected = whole.predict_then_learn(batch)
    found = []
    for number, (start, stop) in enumerate(pairwise([0, *sorted(set(cuts)), N])):
        if number == at:
            state, cut = cut.export_state(), SeriesForecasts(4)
            cut.restore_state(state)
        found.append(cut.predict_then_learn(part(batch, start, stop)))
    for field, joined in zip(expected, zip(*found, strict=True), strict=True):
        assert_array_equal(field, np.concatenate(joined, axis=1))
    asked = replace(part(batch, 0, 20), truth=np.empty(0))
    assert_array_equal(whole.predict(asked).answers, cut.predict(asked).answers)
    assert differences(whole.export_state(), cut.export_state()) == []


def test_a_state_is_the_same_whether_or_not_the_table_has_grown_since() -> None:
    """One that is resumed has room for more."""
    values = np.arange(NUMBERS_TRIED + 2 * FIRST_SLOTS)
    batch = number_batch(inputs_of(values[:, np.newaxis], values[:, np.newaxis] % 50), values / 9.0)
    whole, resumed = SeriesForecasts(10**6), SeriesForecasts(10**6)
    for start in range(0, len(values), 500):
        whole.predict_then_learn(part(batch, start, start + 500))
        resumed.predict_then_learn(part(batch, start, start + 500))
        state, resumed = resumed.export_state(), SeriesForecasts(10**6)
        resumed.restore_state(state)
        assert differences(whole.export_state(), resumed.export_state()) == []


def test_a_column_of_too_many_values_or_of_none_that_comes_again_is_no_series() -> None:
    n = 2 * NUMBERS_TRIED
    rng = np.random.default_rng(0)
    numbers = np.stack((np.arange(n), rng.integers(0, 40, n), rng.integers(0, 9, n)), axis=1)
    batch = number_batch(inputs_of(numbers, np.full((n, 0), -1)), rng.normal(size=n))
    series = SeriesForecasts(20)
    series.predict_then_learn(batch)
    state = series.export_state()
    assert state["columns"]["left"][:3].tolist() == [1, 1, 0]
    assert state["columns"]["values"][:3].tolist() == [20, 20, 9]
    tried = SeriesForecasts(10**6)
    tried.predict_then_learn(batch)
    assert tried.export_state()["columns"]["values"][:3].tolist() == [NUMBERS_TRIED, 40, 9]


def test_the_table_grows_with_the_values() -> None:
    n = 4 * FIRST_SLOTS
    values = np.tile(np.arange(n // 2), 2)
    batch = number_batch(inputs_of(np.zeros((n, 0)), values[:, np.newaxis]), values.astype(float))
    answers, alive = SeriesForecasts(n).predict_then_learn(batch)
    assert alive is not None
    assert (alive[:, n // 2 + 40 :] == 1).all()
    assert_allclose(answers[0, -9:], values[-9:], atol=1e-6)


def test_a_text_is_no_series() -> None:
    words = np.random.default_rng(0).integers(0, 6, (N, 2))
    inputs = replace(inputs_of(np.zeros((N, 0)), words), fields=np.zeros(6, np.int32))
    _, alive = SeriesForecasts(9).predict_then_learn(number_batch(inputs, np.ones(N)))
    assert alive is not None
    assert not (alive == 1).any()


def test_a_frozen_copy_answers_as_before_whatever_is_learned() -> None:
    series, batch = SeriesForecasts(100), panel()
    series.predict_then_learn(part(batch, 0, 100))
    asked = replace(part(batch, 100, 120), truth=np.empty(0))
    frozen, before = series.freeze(), series.predict(asked).answers
    series.predict_then_learn(part(batch, 100, N))
    assert_array_equal(frozen.predict(asked).answers, before)
    assert (series.predict(asked).answers != before).any()


def test_states_that_do_not_fit_are_refused() -> None:
    series = SeriesForecasts(9)
    series.predict_then_learn(panel(50))
    state = series.export_state()
    for name, part_of_state in (
        ("columns", state["columns"] | {"loss": np.zeros(3)}),
        ("entries", state["entries"] | {"last": np.zeros(1)}),
    ):
        with pytest.raises(StateError, match="series"):
            SeriesForecasts(9).restore_state(state | {name: part_of_state})
