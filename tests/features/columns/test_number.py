"""Scaling of numbers, and the quantile summaries that it reads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features import Encoder
from streamnet.features.columns.number import (
    MAX_CELLS,
    SAME,
    SPAN,
    SUMMARY_COLUMNS,
    VALUE,
    WEIGHT,
    count_below,
    insert,
    value_at_rank,
)
from streamnet.features.statistics import MAX_COUNT
from streamnet.samples import Kind, Task
from streamnet.settings.encoder import Scaling
from tests.features.blocks import block_of, sparse_of
from tests.features.naive import scaled

HEIGHT, BREADTH = ("height", Kind.NUMBER), ("breadth", Kind.NUMBER)
ANY_NUMBER = st.floats(allow_nan=True, allow_infinity=True)


def encoder_of(scaling: Any, **more: Any) -> Encoder:
    return Encoder(task=Task.CLASSIFICATION, scaling=scaling, category_limit=0, **more)


def inputs_of(encoder: Encoder, values: list[float] | NDArray[Any]) -> NDArray[np.floating]:
    return encoder.encode(block_of({HEIGHT: values})).inputs.dense[:, 0]


def numbers(n: int = 3000) -> NDArray[np.float64]:
    rng = np.random.default_rng(2)
    return np.round(np.exp(rng.normal(size=n)) * 10.0, 2)


@settings(max_examples=50)
@pytest.mark.parametrize("scaling", Scaling)
@given(st.lists(st.integers(-50, 50).map(lambda n: n / 4), min_size=1, max_size=60))
def test_a_number_is_scaled_by_all_values_up_to_itself(
    scaling: Scaling, values: list[float]
) -> None:
    got = inputs_of(encoder_of(scaling), values)
    expected = [scaled(scaling, values[: i + 1]) for i in range(len(values))]
    assert got.tolist() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("scaling", "peer", "close"),
    [
        ("standard", StandardScaler(), 1e-5),
        ("minmax", MinMaxScaler(feature_range=(-1, 1)), 1e-6),
        ("robust", RobustScaler(unit_variance=True), 0.05),
        ("rank", QuantileTransformer(n_quantiles=3000), 0.02),
    ],
)
def test_a_data_set_is_scaled_as_by_scikit_learn(scaling: Any, peer: Any, close: float) -> None:
    column = numbers()
    block = block_of({HEIGHT: column})
    encoder = encoder_of(scaling, clip=1e6).fit([block.part(0, 1000), block.part(1000, 3000)])
    expected = peer.fit_transform(column[:, None])[:, 0]
    if scaling == "rank":
        expected = 2 * expected - 1
    assert np.abs(encoder.transform(block).dense[:, 0] - expected).max() <= close


def test_few_distinct_numbers_are_scaled_by_their_exact_quartiles_and_ranks() -> None:
    column = np.random.default_rng(3).integers(0, 100, 2000).astype(float)
    block = block_of({HEIGHT: column, BREADTH: column * 2.0})
    encoder = encoder_of("robust", scalings={"breadth": "rank"}).fit([block])
    got = encoder.transform(block).dense
    expected = RobustScaler(unit_variance=True).fit_transform(column[:, None])[:, 0]
    assert got[:, 0].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    below = np.array([(column < x).mean() + (column == x).mean() / 2 for x in column])
    assert got[:, 1].tolist() == pytest.approx((2 * below - 1).tolist(), abs=1e-6)


@pytest.mark.parametrize("scaling", Scaling)
@given(st.lists(ANY_NUMBER, min_size=1, max_size=30))
def test_every_value_makes_a_finite_input(scaling: Scaling, values: list[float]) -> None:
    encoder = encoder_of("standard", scalings={"height": scaling})
    encoded = inputs_of(encoder, values)
    asked = encoder.transform(block_of({HEIGHT: [*values, 1e308, -1e308]})).dense
    bound = 8.0 if scaling != Scaling.NONE else float(np.finfo(np.float32).max)
    for dense in (encoded, asked):
        assert (np.abs(dense) <= bound).all()


@pytest.mark.parametrize("scaling", Scaling)
@pytest.mark.parametrize("absent", [math.nan, math.inf, -math.inf])
def test_not_a_number_counts_as_missing_and_changes_no_statistics(
    scaling: Scaling, absent: float
) -> None:
    block = block_of({HEIGHT: [1.5, absent, 2.5, absent, 4.5]})
    inputs = encoder_of(scaling).encode(block).inputs
    without = inputs_of(encoder_of(scaling), [1.5, 2.5, 4.5])
    assert inputs.dense[[0, 2, 4], 0].tolist() == without.tolist()
    assert inputs.dense[[1, 3], 0].tolist() == [0.0, 0.0]
    assert inputs.count.tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("scaling", sorted(set(Scaling) - {Scaling.NONE}))
@given(st.floats(-1e90, 1e90), st.integers(1, 20))
def test_a_constant_column_is_zero(scaling: Any, value: float, n: int) -> None:
    assert inputs_of(encoder_of(scaling), [value] * n).tolist() == [0.0] * n


def test_unscaled_numbers_keep_all_their_digits_and_are_not_clipped() -> None:
    largest = float(np.finfo(np.float32).max)
    values = [0.1, -1e300, 123456789.123456789, 5e-324]
    got = inputs_of(encoder_of("none"), values)
    assert got.dtype == np.float64
    assert got.tolist() == [0.1, -largest, 123456789.123456789, 5e-324]
    single = inputs_of(encoder_of("standard", scalings={"height": "none"}), values)
    assert single.dtype == np.float32
    assert single.tolist() == [np.float32(0.1), -largest, 123456792.0, 0.0]


def test_unscaled_numbered_inputs_are_not_divided() -> None:
    block = block_of({}, sparse=sparse_of([{1: 4.0, 5: 0.5}, {1: 100.0}, {1: 1e300}]))
    value = encoder_of("none").encode(block).inputs.value
    assert value.tolist() == [[4.0, 0.5], [100.0, 0.0], [float(np.finfo(np.float32).max), 0.0]]
    assert encoder_of("minmax").encode(block).inputs.value[0].tolist() == [1.0, 1.0]


def test_an_outlier_hardly_changes_quartiles_and_ranks() -> None:
    values = [*range(100), 1e9]
    for scaling in ("robust", "rank"):
        encoder = encoder_of(scaling)
        inputs_of(encoder, [float(value) for value in range(100)])
        before = encoder.transform(block_of({HEIGHT: [25.0, 75.0]})).dense
        encoder.encode(block_of({HEIGHT: [1e9]}))
        after = encoder.transform(block_of({HEIGHT: [25.0, 75.0]})).dense
        assert np.abs(after - before).max() < 0.05
    spoiled = inputs_of(encoder_of("standard"), [float(value) for value in values])
    assert spoiled[-1] == 8.0


def test_equal_quartiles_are_replaced_by_the_root_mean_square() -> None:
    values = [0.0] * 9 + [3.0]
    got = inputs_of(encoder_of("robust"), values)
    assert got[-1] == pytest.approx(3.0 / math.sqrt(0.9), rel=1e-6)


@pytest.mark.parametrize("scaling", Scaling)
def test_numbers_are_decoded_in_their_units(scaling: Scaling) -> None:
    column = numbers(500)
    block = block_of({HEIGHT: column, ("seen", Kind.TIME): column * 1e6})
    encoder = encoder_of(scaling, clip=1e6).fit([block])
    samples = encoder.inverse(encoder.transform(block))
    heights = np.array([sample["height"] for sample in samples])
    if scaling is Scaling.RANK:  # between the numbers that a summary holds it is that of several
        heights, column = (np.searchsorted(np.sort(column), x) / 500.0 for x in (heights, column))
        assert np.abs(heights - column).max() <= 0.015
    else:
        assert heights.tolist() == pytest.approx(column.tolist(), rel=1e-5)
    seen = np.array([sample["seen"] for sample in samples])
    assert seen.tolist() == pytest.approx(block.numbers[:, 1].tolist(), rel=1e-4)


@pytest.mark.parametrize("scaling", Scaling)
def test_without_learned_numbers_decoding_gives_nan(scaling: Scaling) -> None:
    encoder = encoder_of(scaling)
    encoder.encode(block_of({HEIGHT: [math.nan]}))
    dense = encoder.transform(block_of({HEIGHT: [1.0]}))
    assert math.isnan(encoder.inverse(dense)[0]["height"])


@pytest.mark.parametrize("kind", [Kind.CATEGORY, Kind.TIME, Kind.TEXT])
def test_only_number_columns_have_a_scaling(kind: Kind) -> None:
    values = [1.0] if kind is Kind.TIME else ["a"]
    encoder = encoder_of("standard", scalings={"seen": "rank"})
    rule = f"scalings names 'seen', but it is of kind {kind}"
    with pytest.raises(ConfigurationError, match=rule):
        encoder.encode(block_of({("seen", kind): values}))


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("extremes", np.zeros((2, 2)), "scales do not fit"),
        ("summary_cells", np.array([1, 2]), "scales do not fit"),
        ("summary_cells", np.array([-1]), "do not fit their cells"),
        ("summary_cells", np.array([129]), "do not fit their cells"),
        ("summaries", np.zeros((1, 4)), "do not fit their cells"),
        ("summaries", np.full((3, 4), np.nan), "do not fit their cells"),
        ("summaries", np.ones((3, 4)), "not in ascending order"),
    ],
)
def test_scales_that_do_not_fit_are_refused(name: str, value: NDArray[Any], complaint: str) -> None:
    encoder = encoder_of("minmax", scalings={"breadth": "rank"})
    encoder.encode(block_of({HEIGHT: [1.0, 2.0, 3.0], BREADTH: [1.0, 2.0, 3.0]}))
    with pytest.raises(ModelFileError, match=complaint):
        Encoder.restore_state(encoder.export_state() | {name: value})


NUMBERS = st.floats(-1e100, 1e100) | st.integers(0, 9).map(float)


def summary_of(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    summary, used = np.zeros((MAX_CELLS, SUMMARY_COLUMNS)), 0
    for x in values.tolist():
        used = insert(summary, used, x)
    return summary, used


def middle_ranks(values: NDArray[np.float64], of: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many values lie below each number, half of those that equal it counted."""
    ordered = np.sort(values)
    sides = np.searchsorted(ordered, of, "left"), np.searchsorted(ordered, of, "right")
    return (sides[0] + sides[1]) / 2


def quantile(summary: NDArray[np.float64], used: int, n: int, q: float) -> float:
    return value_at_rank(summary, used, q * (n - 1) + 0.5)


@given(st.lists(NUMBERS, min_size=1, max_size=MAX_CELLS))
def test_few_numbers_are_counted_exactly(values: list[float]) -> None:
    column = np.array(values)
    summary, used = summary_of(column)
    assert used == len(set(values))
    for x in [*values, 0.5, -1e200, 1e200]:
        assert count_below(summary, used, x) == middle_ranks(column, np.array([x]))[0]


@given(st.lists(NUMBERS, min_size=1, max_size=MAX_CELLS), st.floats(0, 1))
def test_quantiles_of_few_numbers_match_numpy(values: list[float], q: float) -> None:
    column = np.array(values)
    summary, used = summary_of(column)
    expected = np.quantile(column, q)
    width = column.max() - column.min()
    assert quantile(summary, used, len(values), q) == pytest.approx(expected, abs=1e-12 * width)


def streams() -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(4)
    rising = np.arange(20_000.0)
    normal = rng.normal(size=20_000)
    return {
        "normal": normal,
        "heavy tails": np.exp(3.0 * normal),
        "drifting": normal + np.repeat([0.0, 5.0, -3.0, 20.0], 5000),
        "rising": rising,
        "falling": -rising,
        "rising and falling": np.abs(rising - 10_000),
        "saw teeth": rising % 1000 + rng.random(20_000),
        "mostly zero": np.where(rng.random(20_000) < 0.8, 0.0, normal),
    }


@pytest.mark.parametrize("name", streams())
def test_many_numbers_are_counted_within_the_widest_cell(name: str) -> None:
    column = streams()[name]
    summary, used = summary_of(column)
    assert used == MAX_CELLS
    n = len(column)
    widest = (summary[:, WEIGHT] - summary[:, SAME] + summary[:, SPAN]).max()
    assert widest <= 0.05 * n
    asked = np.sort(column)[::37]
    counted = np.array([count_below(summary, used, x) for x in asked.tolist()])
    off = np.abs(counted - middle_ranks(column, asked))
    assert off.max() <= min(widest, 0.015 * n)
    assert (np.diff(counted) >= 0).all()


@pytest.mark.parametrize("name", streams())
def test_quantiles_of_many_numbers_are_close_in_rank(name: str) -> None:
    column = streams()[name]
    summary, used = summary_of(column)
    for q in (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0):
        found = quantile(summary, used, len(column), q)
        assert (column < found).mean() - 0.015 <= q <= (column <= found).mean() + 0.015
    assert quantile(summary, used, len(column), 0.0) == column.min()
    assert quantile(summary, used, len(column), 1.0) == column.max()


@given(st.lists(st.integers(-300, 300).map(float), max_size=600))
def test_cells_are_in_order_and_stand_for_all_numbers(values: list[float]) -> None:
    summary, used = summary_of(np.array(values))
    cells = summary[:used]
    assert used <= MAX_CELLS
    assert (np.diff(cells[:, VALUE]) > 0).all()
    assert cells[:, WEIGHT].sum() == len(values)
    assert (cells[:, SAME] <= cells[:, WEIGHT]).all()
    assert (cells[:, SPAN] >= 0).all()


def test_a_frequent_number_keeps_its_cell() -> None:
    rng = np.random.default_rng(0)
    column = np.where(np.arange(5000) % 3 == 0, 7.0, rng.normal(size=5000) * 100)
    summary, used = summary_of(column)
    assert count_below(summary, used, 7.0) == pytest.approx(
        middle_ranks(column, np.array([7.0]))[0], abs=0.015 * 5000
    )
    assert quantile(summary, used, 5000, 0.5) == 7.0


def test_no_numbers_have_no_quantiles() -> None:
    summary = np.zeros((MAX_CELLS, SUMMARY_COLUMNS))
    assert np.isnan(value_at_rank(summary, 0, 0.5))
    assert count_below(summary, 0, 1.0) == 0.0


def test_old_summaries_fade_as_after_a_million_numbers() -> None:
    rng = np.random.default_rng(7)
    summary, used = summary_of(rng.normal(size=1000))
    summary[:, [WEIGHT, SPAN, SAME]] *= 1e7
    for x in (rng.normal(size=10_000) + 20.0).tolist():
        used = insert(summary, used, x)
    count = summary[:used, WEIGHT].sum()
    assert 0.5 * MAX_COUNT <= count <= MAX_COUNT
    assert count_below(summary, used, 10.0) == pytest.approx(count - 10_000, rel=0.01)
    assert abs(value_at_rank(summary, used, 0.5 * count)) < 0.2
