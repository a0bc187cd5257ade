"""Targets: scaled numbers, numbered labels and lagged targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features import Encoder
from streamnet.features.base import FIELD_BITS, LAG_BASE, SPARSE_BASE, LagEntries
from streamnet.features.columns.label import LabelEncoder
from streamnet.features.columns.target import TargetLags, TargetScaler, TargetUnits
from streamnet.features.layout import RowTable
from streamnet.samples import Block, Kind, Task
from tests.features.blocks import active, block_of, cut, flat
from tests.features.naive import standard
from tests.learning.streams import differences


def guessed(deviation: float, mean: float) -> float:
    """A standard deviation, or what stands for it where targets do not differ."""
    return deviation if deviation > 1e-9 else min(abs(mean), 1.0) or 1.0


@given(st.lists(st.integers(-1000, 1000).map(lambda i: i / 8), min_size=1, max_size=40))
def test_goals_include_their_sample_and_units_of_predictions_do_not(values: list[float]) -> None:
    goal, center, spread, *_ = TargetScaler(clip=8.0).update(np.array(values))
    for i in range(len(values)):
        before = values[:i]
        mean = float(np.mean(before)) if before else 0.0
        deviation = float(np.std(before)) if before else 0.0
        assert center[i] == pytest.approx(mean, abs=1e-9)
        assert spread[i] == pytest.approx(guessed(deviation, mean))
        assert goal[i] == pytest.approx(standard(values[: i + 1]), abs=1e-6)


@given(st.lists(st.floats(), max_size=30))
def test_any_target_gives_finite_units_and_only_a_missing_one_has_no_goal(
    values: list[float],
) -> None:
    goal, center, spread, *_ = TargetScaler(clip=8.0).update(np.array(values, np.float64))
    assert np.isfinite(center).all()
    assert (np.isfinite(spread) & (spread > 0)).all()
    for target, got in zip(values, goal.tolist(), strict=True):
        assert math.isfinite(got) == math.isfinite(target)
        assert not abs(got) > 8.0


@given(st.lists(st.integers(-(10**6), 10**6).map(lambda i: i / 8), min_size=1, max_size=40))
def test_logarithms_have_goals_and_units_of_their_own(values: list[float]) -> None:
    target = np.array(values)
    scaled = TargetScaler(clip=8.0).update(target)
    logs = np.sign(target) * np.log1p(np.abs(target))
    for i in range(len(values)):
        mean = float(logs[:i].mean()) if i else 0.0
        deviation = float(logs[:i].std()) if i else 0.0
        assert scaled.log_center[i] == pytest.approx(mean, abs=1e-9)
        assert scaled.log_spread[i] == pytest.approx(guessed(deviation, mean))
        expected = standard(logs[: i + 1].tolist())
        assert scaled.log_goal[i] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("target", "unit"), [(5e-7, 5e-7), (-0.25, 0.25), (3.0, 1.0), (0.0, 1.0)])
def test_a_single_target_is_the_guess_at_the_spread(target: float, unit: float) -> None:
    scaler = TargetScaler(clip=8.0)
    scaled = scaler.update(np.array([target, target, 2.0 * target]))
    assert scaled.spread.tolist() == [1.0, unit, unit]
    assert TargetScaler(clip=8.0).scale == (0.0, 1.0)


def test_predicted_logarithms_are_inverted_within_ten_deviations() -> None:
    rng = np.random.default_rng(0)
    outputs = 3.0 * rng.normal(size=(4, 50))
    outputs[3, :3] = 1e6, -1e6, np.nan
    center, spread = rng.normal(5.0, 2.0, 50), rng.uniform(0.5, 2.0, 50)
    log_center, log_spread = rng.normal(1.0, 0.3, 50), rng.uniform(0.2, 0.5, 50)
    units = TargetUnits(center, spread, log_center, log_spread)
    found = units.numbers(outputs, np.array([False, True, False, True]))
    assert np.array_equal(found[[0, 2]], (center + spread * outputs)[[0, 2]])
    logs = np.clip(log_center + log_spread * outputs[[1, 3]], -300.0, 300.0)
    powers = np.sign(logs) * (np.exp(np.abs(logs)) - 1.0)
    expected = np.clip(powers, center - 10.0 * spread, center + 10.0 * spread)
    np.testing.assert_allclose(found[[1, 3]], expected, rtol=1e-9)
    assert np.array_equal(
        units.numbers(outputs, np.zeros(0, np.bool_)), center + spread * outputs, equal_nan=True
    )


def test_the_result_does_not_depend_on_how_the_stream_is_cut() -> None:
    target = np.array([3.25, math.nan, 1e300, -7.125, 0.1, 0.2, -1e-300, 12.0])
    whole = TargetScaler(clip=8.0).update(target)
    single = TargetScaler(clip=8.0)
    parts = [single.update(target[i : i + 1]) for i in range(len(target))]
    for all_at_once, one_by_one in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.concatenate(one_by_one).tobytes() == all_at_once.tobytes()


@given(st.lists(st.floats(), max_size=10))
def test_the_scale_is_that_of_the_next_prediction(values: list[float]) -> None:
    scaler = TargetScaler(clip=8.0)
    scaler.update(np.array(values, np.float64))
    expected = scaler.scale
    _, center, spread, *_ = scaler.update(np.array([3.0]))
    assert (center[0], spread[0]) == expected


def test_damaged_moments_are_refused() -> None:
    with pytest.raises(ModelFileError, match="moments"):
        TargetScaler(clip=8.0).restore_state(np.zeros(4))


def test_a_raw_target_is_its_own_goal_and_predictions_have_no_units() -> None:
    scaler = TargetScaler(clip=8.0, raw=True)
    target = np.array([16.7, -3e9, np.nan, np.inf, 0.1, 1e300])
    scaled = scaler.update(target)
    np.testing.assert_array_equal(scaled.goal, [16.7, -3e9, np.nan, np.nan, 0.1, 1e100])
    assert scaler.units == (0.0, 1.0, 0.0, 1.0)
    standard = TargetScaler(clip=8.0)
    usual = standard.update(target)
    for name in ("center", "spread"):  # which ensembles need all the same
        np.testing.assert_array_equal(getattr(scaled, name), getattr(usual, name))
    assert scaler.scale == standard.scale


@given(st.lists(st.none() | st.sampled_from("abcdefg"), max_size=40), st.integers(2, 9))
def test_classes_are_numbered_by_first_appearance_and_known_only_afterwards(
    target: list[str | None], most: int
) -> None:
    labels = LabelEncoder(max_classes=most)
    numbered = labels.number(np.array([*target, None], object)[:-1])
    label, known, refused = numbered.label, numbered.known, numbered.refused
    names: list[str] = []
    for i, name in enumerate(target):
        assert known[i] == len(names)
        if name is not None and name not in names and len(names) < most:
            names.append(name)
        assert label[i] == (names.index(name) if name in names else -1)
        assert (i in refused) == (name is not None and name not in names)
    assert labels.names == names


def test_labels_are_the_same_however_the_stream_is_cut() -> None:
    target = np.array(list("abracadabra"), object)
    whole = LabelEncoder(max_classes=4).number(target)
    single = LabelEncoder(max_classes=4)
    parts = [single.number(target[i : i + 1]) for i in range(len(target))]
    assert [p.label[0] for p in parts] == whole.label.tolist()
    assert [p.known[0] for p in parts] == whole.known.tolist()
    assert [i for i, p in enumerate(parts) if p.refused] == list(whole.refused) == [6]


@given(
    st.lists(st.none() | st.sampled_from(["a", "b", "c", "d", "\ud83d", "\\ud83d"]), max_size=20),
    st.lists(st.sampled_from(["a", "b", "\ud83d"]), max_size=4),
    st.integers(2, 6),
)
def test_labels_fit_up_to_the_first_that_would_be_refused(
    target: list[str | None], before: list[str], most: int
) -> None:
    labels = LabelEncoder(max_classes=most)
    labels.number(np.array([*before, None], object))
    block = np.array([*target, None], object)[:-1]
    names = labels.names.copy()
    refused = labels.refused(block)
    assert labels.names == names
    assert refused[:1] == list(labels.number(block).refused[:1])


def test_restored_labels_have_the_same_numbers() -> None:
    labels = LabelEncoder(max_classes=3)
    labels.restore_state(["spam", "ham"])
    numbered = labels.number(np.array(["ham", "eggs", "spam"], object))
    assert (numbered.label.tolist(), numbered.known.tolist()) == ([1, 2, 0], [2, 2, 3])


def test_labels_of_an_earlier_stream_are_learned_in_each_spelling_however_it_is_cut() -> None:
    target = np.array(["true", "7", "yes", "FALSE", "False", "0", "Yes", "true", "0.0"], object)
    expected = [0, 1, 2, 3, 4, 5, 6, 0, -1]
    for at in range(len(target)):
        labels = LabelEncoder(max_classes=7)
        labels.restore_state(["True", "7.0", "yes"])
        assert labels.refused(np.array(["true", *"abcd"], object)) == [4]
        labels.inherit()
        assert labels.refused(np.array(["true", *"abcd"], object)) == []
        parts = [labels.number(part).label for part in (target[:at], target[at:])]
        assert np.concatenate(parts).tolist() == expected
        assert (labels.names[3:], labels.inherited) == (["FALSE", "False", "0", "Yes"], 3)
        restored = LabelEncoder(max_classes=7)
        restored.restore_state(labels.names, labels.inherited)
        assert restored.number(target).label.tolist() == expected


@pytest.mark.parametrize("names", [["a", "a"], ["a", "b", "c"]])
def test_inconsistent_labels_are_refused(names: list[str]) -> None:
    with pytest.raises(ModelFileError, match="class"):
        LabelEncoder(max_classes=2).restore_state(names)


LAGS = 3
NAMES = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30)
NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=30)
CUTS = st.lists(st.integers(0, 8), max_size=5)


def encoder_of(task: Task, lags: int = LAGS, **settings: Any) -> Encoder:
    return Encoder(task=task, lags=lags, **settings)


def stream(targets: Sequence[Any], task: Task = Task.CLASSIFICATION) -> Block:
    """Samples with a category that says nothing, and these targets."""
    words = [("u", "v", None)[i % 3] for i in range(len(targets))]
    return block_of({("w", Kind.CATEGORY): words}, targets, task=task)


def numbers(targets: Sequence[float]) -> Block:
    return stream(targets, Task.REGRESSION)


def before(targets: Sequence[Any], i: int) -> list[Any]:
    """The last targets before sample i, the latest first, None where there are not so many."""
    told = [target for target in targets[:i] if target is not None and target == target]
    return [*told[::-1], *[None] * LAGS][:LAGS]


def key_of(lag: int, code: int) -> int:
    return LAG_BASE + (lag << FIELD_BITS) + code


@given(NAMES)
def test_each_lag_of_a_label_has_a_key_of_its_own(names: list[str | None]) -> None:
    order = list(dict.fromkeys(name for name in names if name is not None))
    label = np.array([-1 if name is None else order.index(name) for name in names], np.int32)
    lagged = TargetLags(lags=LAGS, clip=8.0).classes(label)
    for i in range(len(names)):
        codes = [0 if name is None else 1 + order.index(name) for name in before(names, i)]
        assert lagged.keys[i].tolist() == [key_of(lag, code) for lag, code in enumerate(codes)]
    assert (lagged.values == 1.0).all()
    assert lagged.missing.tolist() == [key_of(lag, 0) for lag in range(LAGS)]


@given(NUMBERS)
def test_each_lag_of_a_number_is_in_the_units_known_before_the_sample(targets: list[float]) -> None:
    target = np.array(targets, np.float64)
    _, center, spread, *_ = TargetScaler(clip=8.0).update(target)
    lagged = TargetLags(lags=LAGS, clip=2.0).numbers(target, center, spread)
    for i in range(len(targets)):
        for lag, number in enumerate(before(targets, i)):
            assert lagged.keys[i, lag] == key_of(lag, number is not None)
            expected = 1.0
            if number is not None:
                expected = min(max((number - center[i]) / spread[i], -2.0), 2.0)
            assert lagged.values[i, lag] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_keys_of_lags_differ_from_all_other_keys() -> None:
    # Of a field the number is far below 2^22, of a numbered input the code is below 2^40.
    assert max(SPARSE_BASE + (1 << FIELD_BITS), (1 << FIELD_BITS + 22) - 1) < LAG_BASE
    assert key_of(16, (1 << FIELD_BITS) - 1) < 1 << 63


@given(NAMES, CUTS)
def test_lags_come_after_all_other_rows_and_do_not_depend_on_cuts(
    names: list[str | None], cuts: list[int]
) -> None:
    block = stream(names)
    whole, pieces = encoder_of(Task.CLASSIFICATION), encoder_of(Task.CLASSIFICATION)
    expected = whole.encode(block)
    found = [pieces.encode(part) for part in cut(block, cuts)]
    assert flat(found) == flat([expected])
    assert differences(pieces.export_state(), whole.export_state()) == []
    assert expected.inputs.lags == LAGS
    rows: dict[Any, int] = {}
    for i, entries in enumerate(active(expected.inputs)):
        keys: list[tuple[Any, Any]] = [("w", ("u", "v", None)[i % 3])]
        keys += [(lag, name) for lag, name in enumerate(before(names, i))]
        assert entries == [(rows.setdefault(key, len(rows)), 1.0) for key in keys]


@pytest.mark.parametrize(
    ("task", "target", "other"), [(Task.CLASSIFICATION, "a", "b"), (Task.REGRESSION, 1.0, -50.0)]
)
def test_a_target_is_an_input_of_the_next_sample_only(task: Task, target: Any, other: Any) -> None:
    targets = [target, other, target, target, other, target, target]
    changed = [*targets[:4], target, *targets[5:]]
    one, two = (encoder_of(task).encode(stream(t, task)).inputs for t in (targets, changed))
    values = [active(inputs) for inputs in (one, two)]
    assert values[0][:5] == values[1][:5]
    assert values[0][5] != values[1][5]


@pytest.mark.parametrize("task", list(Task))
def test_a_prediction_uses_the_last_learned_targets(task: Task) -> None:
    targets: list[Any] = ["a", "b", None, "a", None]
    if task is Task.REGRESSION:
        targets = [3.0, 1.0, math.nan, 8.0, math.nan]
    encoder = encoder_of(task)
    encoder.encode(stream([*targets, *targets], task))
    state = encoder.export_state()
    asked = active(encoder.transform(stream(targets[:3], task)))
    assert asked[0][1:] == asked[1][1:] == asked[2][1:], "each might be the next"
    assert differences(encoder.export_state(), state) == []
    # The next sample of the stream has the same, as far as rows were given out.
    told = active(encoder.encode(stream(targets[:1], task)).inputs)
    assert asked[0] == told[0]


def test_a_label_new_as_a_lag_counts_as_missing_until_it_is_learned() -> None:
    encoder = encoder_of(Task.CLASSIFICATION, lags=1)
    encoder.encode(stream(["a", "a", "b"]))
    unseen, missing = active(encoder.transform(stream([None])))[0], 1
    assert unseen[1:] == [(missing, 1.0)]
    learned = active(encoder.encode(stream([None])).inputs)[0]
    assert learned[1][0] == encoder.statistics().rows - 1
    assert active(encoder.transform(stream([None])))[0] == learned


def test_before_any_target_all_lags_are_missing() -> None:
    encoder = encoder_of(Task.CLASSIFICATION)
    assert active(encoder.transform(stream([None])))[0] == [(0, 0.0)] * LAGS, "no row as yet"
    first = active(encoder.encode(stream([None, None])).inputs)
    assert first[0][1:] == first[1][1:]
    assert [value for _, value in first[0][1:]] == [1.0] * LAGS


def test_a_refused_sample_is_not_a_last_target() -> None:
    encoder = encoder_of(Task.CLASSIFICATION, max_classes=2)
    encoded = encoder.encode(stream(["a", "b", "c", "a"]))
    assert [letter.reason for letter in encoded.block.rejected] == ["too-many-classes"]
    assert encoder.export_state()["last"].tolist() == [0.0, 1.0, 0.0]


def test_without_lags_there_are_none() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION)
    inputs = encoder.encode(stream(["a", "b"])).inputs
    assert (encoder.lags, inputs.lags, inputs.count.tolist()) == (0, 0, [1, 1])


@given(NAMES, NAMES)
def test_a_restored_encoder_continues_with_the_same_lags(
    names: list[str | None], others: list[str | None]
) -> None:
    encoder = encoder_of(Task.CLASSIFICATION)
    encoder.encode(stream(names))
    snapshot = encoder.snapshot()
    other = Encoder.restore_state(encoder.export_state())
    expected = flat([encoder.encode(stream(others))])
    assert flat([other.encode(stream(others))]) == expected
    taken = Encoder.restore_state(snapshot.materialize())
    assert flat([taken.encode(stream(others))]) == expected, "a snapshot keeps its moment"


@given(NUMBERS, NUMBERS)
def test_a_restored_encoder_continues_with_the_same_numeric_lags(
    targets: list[float], others: list[float]
) -> None:
    encoder = encoder_of(Task.REGRESSION)
    encoder.encode(numbers(targets))
    other = Encoder.restore_state(encoder.export_state())
    expected = flat([encoder.encode(numbers(others))])
    assert flat([other.encode(numbers(others))]) == expected


@pytest.mark.parametrize("last", [[1.0], [math.inf, 0.0, 0.0], [[1.0, 2.0, 3.0]], "abc", None])
def test_damaged_last_targets_are_refused(last: Any) -> None:
    state = encoder_of(Task.CLASSIFICATION).export_state()
    with pytest.raises(ModelFileError):
        Encoder.restore_state(state | {"last": last})
    del state["last"]
    with pytest.raises(ModelFileError):
        Encoder.restore_state(state)


@pytest.mark.parametrize("lags", [-1, 17, 1.5])
def test_a_number_of_lags_out_of_its_range_is_refused(lags: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"lags is {lags}, but must be"):
        encoder_of(Task.CLASSIFICATION, lags=lags)


# ------------------------------------------------------------------ the row table


def lagged_of(codes: list[list[int]]) -> LagEntries:
    keys = np.array(codes, np.int64) + LAG_BASE + (np.arange(2) << FIELD_BITS)
    missing = LAG_BASE + (np.arange(2, dtype=np.int64) << FIELD_BITS)
    return LagEntries(keys, np.full(keys.shape, 0.5), missing)


def test_where_the_table_is_full_a_lag_has_the_row_of_a_missing_target() -> None:
    table = RowTable(max_rows=4)
    none = np.full((3, 1), -1, np.int64)
    row, value, count = table.activate(none, lagged=lagged_of([[0, 0], [1, 0], [1, 1]]))
    assert row.tolist() == [[0, 1], [2, 1], [2, 3]]
    assert count.tolist() == [2, 2, 2]
    row, value, _ = table.activate(none, lagged=lagged_of([[1, 1], [2, 1], [2, 2]]))
    assert row.tolist() == [[2, 3], [0, 3], [0, 1]]
    assert (value == 0.5).all()


def test_without_a_row_for_missing_targets_a_lag_is_zero() -> None:
    table = RowTable(max_rows=1)
    keys = np.array([[7]])
    table.activate(keys)
    row, value, count = table.activate(keys, lagged=lagged_of([[1, 0]]))
    assert (row.tolist(), value.tolist(), count.tolist()) == ([[0, 0, 0]], [[1.0, 0.0, 0.0]], [3])


def test_there_is_always_room_for_lags() -> None:
    table = RowTable(max_rows=5000)
    keys = np.arange(1500)[None]
    row, _, count = table.activate(keys, lagged=lagged_of([[1, 1]]))
    assert count.tolist() == [1024 + 2]
    assert row[0, -2:].tolist() == [1024, 1025]
