"""The last targets as inputs: against plain Python, never a sample's own, and restored."""

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
from streamnet.features.columns.target import TargetLags, TargetScaler
from streamnet.features.layout import RowTable
from streamnet.samples import Block, Kind, Task
from tests.features.blocks import active, block_of, cut, flat
from tests.learning.streams import differences

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


def test_keys_of_lags_are_no_other_keys() -> None:
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
def test_the_target_of_a_sample_is_none_of_its_inputs_but_of_the_next(
    task: Task, target: Any, other: Any
) -> None:
    targets = [target, other, target, target, other, target, target]
    changed = [*targets[:4], target, *targets[5:]]
    one, two = (encoder_of(task).encode(stream(t, task)).inputs for t in (targets, changed))
    values = [active(inputs) for inputs in (one, two)]
    assert values[0][:5] == values[1][:5]
    assert values[0][5] != values[1][5]


@pytest.mark.parametrize("task", list(Task))
def test_who_is_only_asked_about_sees_the_last_targets_that_were_told(task: Task) -> None:
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


def test_a_label_that_nobody_has_seen_as_a_lag_counts_as_missing_until_it_is_learned() -> None:
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


def test_a_sample_that_is_refused_is_no_last_target() -> None:
    encoder = encoder_of(Task.CLASSIFICATION, max_classes=2)
    encoded = encoder.encode(stream(["a", "b", "c", "a"]))
    assert [letter.reason for letter in encoded.block.rejected] == ["too-many-classes"]
    assert encoder.export_state()["last"].tolist() == [0.0, 1.0, 0.0]


def test_without_lags_there_are_none() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION)
    inputs = encoder.encode(stream(["a", "b"])).inputs
    assert (encoder.lags, inputs.lags, inputs.count.tolist()) == (0, 0, [1, 1])


@given(NAMES, NAMES)
def test_a_restored_encoder_goes_on_with_the_same_lags(
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
def test_a_restored_encoder_goes_on_with_the_same_numbers(
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


def test_without_even_a_row_for_missing_targets_a_lag_says_nothing() -> None:
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
