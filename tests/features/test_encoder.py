"""The encoder agrees with a slow and obvious one, in any blocks, and after any restart."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from streamnet.errors import ConfigurationError, ModelFileError, SchemaError
from streamnet.features import Encoder
from streamnet.features.columns import text
from streamnet.samples import Block, DeadLetter, Kind, Schema, Task
from streamnet.settings.encoder import EncoderSettings
from streamnet.settings.fields import list_settings
from tests.features.blocks import Columns, active, block_of, cut, flat, sparse_of
from tests.features.encoder_variants import made, state_of, ways
from tests.features.naive import NaiveEncoder

AGE, HEIGHT = ("age", Kind.NUMBER), ("height", Kind.NUMBER)
JOB, SEEN, NOTE = ("job", Kind.CATEGORY), ("seen", Kind.TIME), ("note", Kind.TEXT)
VALUES: dict[tuple[str, Kind], st.SearchStrategy[Any]] = {
    JOB: st.sampled_from(["cook", "smith", "pilot", None]),
    AGE: st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0, math.nan]),
    SEEN: st.just(math.nan) | st.integers(0, 2000).map(lambda hours: 3600.0 * hours),
    HEIGHT: st.floats(-100, 100).map(lambda x: round(x, 2)) | st.just(math.nan),
}
TEXTS = st.none() | st.text("ab 1", max_size=8)
LABELS = st.sampled_from(["a", "b", "c", None])
SPARSE = st.dictionaries(st.integers(0, 9), st.floats(0.5, 9.0), max_size=4)
SAMPLES = st.lists(st.fixed_dictionaries(VALUES), max_size=25)


def columns_of(samples: list[dict[tuple[str, Kind], Any]]) -> dict[tuple[str, Kind], list[Any]]:
    return {key: [sample[key] for sample in samples] for key in VALUES}


@st.composite
def streams(draw: st.DrawFn) -> Block:
    """A block of all kinds of columns and numbered inputs."""
    samples = draw(SAMPLES)
    columns = columns_of(samples)
    columns[NOTE] = [draw(TEXTS) for _ in samples]
    sparse = sparse_of([draw(SPARSE) for _ in samples])
    target = [draw(LABELS) for _ in samples]
    return block_of(columns, target, sparse=sparse)


@given(SAMPLES, st.data())
def test_inputs_match_a_naive_encoder(
    samples: list[dict[tuple[str, Kind], Any]], data: st.DataObject
) -> None:
    numbered = [data.draw(SPARSE) for _ in samples]
    block = block_of(columns_of(samples), sparse=sparse_of(numbered))
    inputs = Encoder(task=Task.CLASSIFICATION, category_limit=4).encode(block).inputs
    naive = NaiveEncoder(category_limit=4)
    for i, (sample, numbers) in enumerate(zip(samples, numbered, strict=True)):
        dense, entries = naive.encode({key: sample[key] for key in VALUES}, numbers)
        assert inputs.dense[i].tolist() == pytest.approx(dense, abs=1e-4)
        got = active(inputs)[i]
        assert [row for row, _ in got] == [row for row, _ in entries]
        assert [v for _, v in got] == pytest.approx([v for _, v in entries], rel=1e-5)
    assert inputs.rows == len(naive.rows)


@pytest.fixture
def quick_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "AUTO_TEXTS", 5)


@ways
@pytest.mark.usefixtures("quick_decisions")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams(), st.lists(st.integers(0, 9), max_size=8))
def test_the_cuts_of_the_stream_do_not_show(
    way: dict[str, Any], block: Block, sizes: list[int]
) -> None:
    whole = made({"max_categories": 2, **way}, max_rows=20)
    parts = made({"max_categories": 2, **way}, max_rows=20)
    expected = flat([whole.encode(block)])
    assert flat([parts.encode(part) for part in cut(block, sizes)]) == expected
    assert state_of(parts) == state_of(whole)


@given(st.lists(st.floats(), max_size=20), st.lists(st.integers(0, 5), max_size=8))
def test_the_cuts_of_a_regression_stream_do_not_show(target: list[float], sizes: list[int]) -> None:
    block = block_of({AGE: target[::-1]}, target, task=Task.REGRESSION)
    whole, parts = Encoder(task=Task.REGRESSION), Encoder(task=Task.REGRESSION)
    expected = flat([whole.encode(block)])
    assert flat([parts.encode(part) for part in cut(block, sizes)]) == expected
    assert state_of(parts) == state_of(whole)


@ways
@pytest.mark.usefixtures("quick_decisions")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams(), st.integers(0, 25))
def test_an_encoder_restored_half_way_continues_to_the_same_bits(
    way: dict[str, Any], block: Block, at: int
) -> None:
    encoder = made(way, max_rows=20, clip=3.0)
    first, second = cut(block, [at])
    encoder.encode(first)
    restored = Encoder.restore_state(encoder.export_state())
    assert state_of(restored) == state_of(encoder)
    assert flat([restored.encode(second)]) == flat([encoder.encode(second)])
    assert state_of(restored) == state_of(encoder)


@ways
@pytest.mark.usefixtures("quick_decisions")
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams(), st.integers(0, 25))
def test_a_snapshot_stays_as_it_was(way: dict[str, Any], block: Block, at: int) -> None:
    encoder = made(way)
    first, second = cut(block, [at])
    encoder.encode(first)
    snapshot, before = encoder.snapshot(), state_of(encoder)
    encoder.encode(second)
    assert state_of(Encoder.restore_state(snapshot.materialize())) == before


@ways
@pytest.mark.usefixtures("quick_decisions")
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams(), st.integers(0, 25))
def test_a_prediction_changes_nothing(way: dict[str, Any], block: Block, at: int) -> None:
    encoder = made(way)
    first, second = cut(block, [at])
    encoder.encode(first)
    before = state_of(encoder)
    inputs = encoder.transform(second)
    assert state_of(encoder) == before
    assert all(row < inputs.rows for sample in active(inputs) for row, _ in sample)
    assert encoder.transform(second).dense.tobytes() == inputs.dense.tobytes()


@ways
def test_a_prediction_for_the_last_sample_learned_has_the_inputs_it_had(
    way: dict[str, Any],
) -> None:
    values: Columns = {AGE: [3.0, 1.0, 4.0], JOB: ["a", "b", "a"], SEEN: [9.0, 8.0, 90000.0]}
    values = {**values, NOTE: ["to be", "or not", "to be"]}
    block = block_of(values, sparse=sparse_of([{7: 2.0}, {}, {7: 4.0, 9: 1.0}]))
    encoder = made(way)
    learned = encoder.encode(block).inputs
    again = encoder.transform(block.part(2, 3))
    assert again.dense[0].tobytes() == learned.dense[2].tobytes()
    assert active(again)[0] == active(learned)[2]


def test_new_values_have_no_row_in_a_prediction() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION)
    encoder.encode(block_of({AGE: [1.0, 2.0, 3.0], JOB: ["a", "b", "a"]}))
    inputs = encoder.transform(block_of({AGE: [4.0, 3.0], JOB: ["c", None]}))
    assert [len(sample) for sample in active(inputs)] == [0, 1]


@ways
def test_the_state_is_json_except_for_its_arrays(way: dict[str, Any]) -> None:
    if "scalings" in way:
        way = {**way, "scalings": {"age": "rank"}}
    encoder = made(way)
    encoder.encode(block_of({JOB: ["a\ud800", None], NOTE: ["x \ud800", None]}, ["\ud800", "b"]))
    state = encoder.export_state()
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in state.items() if name not in arrays}
    assert all(array.dtype in (np.float64, np.int64) for array in arrays.values())
    decoded = msgspec.json.decode(msgspec.json.encode(rest))
    assert state_of(Encoder.restore_state(arrays | decoded)) == state_of(encoder)


def test_new_fields_come_after_the_old_ones() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION)
    before = encoder.encode(block_of({HEIGHT: [0.5, 1.5], JOB: ["a", "b"]})).inputs
    grown: Columns = {HEIGHT: [3.5, 0.5], JOB: ["a", "c"], ("weight", Kind.NUMBER): [7.0, math.nan]}
    after = encoder.encode(block_of(grown)).inputs
    assert (before.dense.shape, after.dense.shape) == ((2, 1), (2, 2))
    assert after.dense[0, 0] > 0
    assert active(after) == [[(0, 1.0)], [(2, 1.0), (3, 1.0)]]


def test_fields_that_a_block_lacks_are_missing_and_their_order_does_not_count() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION)
    full: Columns = {HEIGHT: [0.5, 1.5], AGE: [0.25, 2.5], JOB: ["a", None], NOTE: ["hi", None]}
    encoder.encode(block_of({**full, SEEN: [1.0, math.nan]}))
    lacking = encoder.transform(block_of({AGE: [2.5]}))
    spelled_out: Columns = {
        NOTE: [None],
        HEIGHT: [math.nan],
        JOB: [None],
        AGE: [2.5],
        SEEN: [math.nan],
    }
    assert lacking.dense[0].tolist() == [0.0, 1.0, *[0.0] * 9]
    given_as_missing = encoder.transform(block_of(spelled_out))
    assert given_as_missing.dense.tobytes() == lacking.dense.tobytes()
    assert active(given_as_missing) == active(lacking)
    assert len(active(lacking)[0]) == 3


def test_a_prediction_ignores_fields_it_has_not_learned() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION)
    encoder.encode(block_of({HEIGHT: [0.5, 1.5]}))
    block = block_of({JOB: ["a"], HEIGHT: [1.5]})
    assert encoder.transform(block).dense.tolist() == [[1.0]]
    # The same schema still brings the field when it is learned.
    assert len(active(encoder.encode(block).inputs)[0]) == 1


def test_a_field_that_changes_its_kind_is_an_error() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION)
    encoder.encode(block_of({AGE: [1.0]}, ["a"]))
    before = state_of(encoder)
    for learn in (encoder.encode, encoder.transform):
        with pytest.raises(SchemaError, match="'age' is of kind category, but was number"):
            learn(block_of({JOB: ["cook"], ("age", Kind.CATEGORY): ["old"]}, ["b"]))
    assert state_of(encoder) == before


def test_labels_that_are_not_declared_are_refused_and_not_learned() -> None:
    block = block_of({AGE: [1.5, 99.0, 2.5, 98.0]}, ["down", "SIDEWAYS", "upp", "up"])
    encoder = Encoder(task=Task.CLASSIFICATION, classes=["up", "down"])
    assert encoder.labels == ["up", "down"]
    encoded = encoder.encode(block)
    assert (encoded.label.tolist(), encoded.known.tolist()) == ([1, 0], [2, 2])
    letters = encoded.block.rejected
    assert [(letter.reason, letter.raw) for letter in letters] == [
        ("unknown-class", "SIDEWAYS"),
        ("unknown-class", "upp"),
    ]
    declared = "is none of the declared classes 'up', 'down'"
    assert letters[0].detail == f"label 'SIDEWAYS' {declared}"
    assert letters[1].detail == f"label 'upp' {declared}. Did you mean 'up'?"
    plain = Encoder(task=Task.CLASSIFICATION, classes=["up", "down"])
    plain.encode(block_of({AGE: [1.5, 98.0]}, ["down", "up"]))
    assert state_of(encoder) == state_of(plain)
    restored = Encoder.restore_state(encoder.export_state())
    assert restored.encode(block).block.rejected == letters


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"classes": ["a"]}, "must list at least two labels"),
        ({"classes": ["a", "b", "a"]}, "classes has 'a' twice"),
        ({"classes": ["a", "b", "c"], "max_classes": 2}, "classes has 3 labels, but must have"),
    ],
)
def test_declared_classes_that_make_no_sense_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Encoder(task=Task.CLASSIFICATION, **given)
    with pytest.raises(ConfigurationError, match="classes is given, but the task is regression"):
        Encoder(task=Task.REGRESSION, classes=["a", "b"])


def test_samples_beyond_the_class_limit_are_refused_and_not_learned() -> None:
    letter = DeadLetter("a.csv", 15, 2, "number", "bad", "x")
    block = block_of({AGE: [1.5, 99.0, 2.5, 98.0]}, ["a", "b", "c", "d"])
    block = structs.replace(block, rejected=(letter,))
    encoder = Encoder(task=Task.CLASSIFICATION, max_classes=2)
    other = Encoder(task=Task.CLASSIFICATION, max_classes=2)
    encoded = encoder.encode(block)
    assert (encoded.label.tolist(), encoded.known.tolist()) == ([0, 1], [0, 1])
    assert encoded.block.numbers.tolist() == [[1.5], [99.0]]
    assert encoded.block.end == block.end
    assert [(r.reason, r.offset, r.line) for r in encoded.block.rejected] == [
        ("number", 15, 2),
        ("too-many-classes", 20, 3),
        ("too-many-classes", 30, 4),
    ]
    assert "'c'" in encoded.block.rejected[1].detail
    other.encode(block.part(0, 2))
    assert state_of(encoder) == state_of(other)


@given(st.lists(st.floats(), min_size=1, max_size=40))
def test_every_input_is_finite(values: list[float]) -> None:
    sparse = sparse_of([{0: value} for value in values])
    block = block_of({AGE: values, SEEN: values}, sparse=sparse)
    inputs = Encoder(task=Task.CLASSIFICATION).encode(block).inputs
    assert np.isfinite(inputs.dense).all()
    assert np.isfinite(inputs.value).all()


def test_samples_without_targets_are_encoded() -> None:
    block = block_of({AGE: [1.5, 2.5]})
    encoded = Encoder(task=Task.CLASSIFICATION).encode(block)
    assert (encoded.label.tolist(), encoded.known.tolist()) == ([-1, -1], [0, 0])
    scaled = Encoder(task=Task.REGRESSION).encode(block)
    assert np.isnan(scaled.goal).all()
    assert (scaled.center.tolist(), scaled.spread.tolist()) == ([0.0, 0.0], [1.0, 1.0])


@pytest.mark.parametrize("task", Task)
def test_an_empty_block_is_encoded_to_nothing(task: Task) -> None:
    columns: Columns = {JOB: ["a"], AGE: [1.0], SEEN: [1.0], HEIGHT: [1.0], NOTE: ["a"]}
    target = ["a"] if task is Task.CLASSIFICATION else [1.0]
    block = block_of(columns, target, task=task, sparse=sparse_of([{1: 1.0}]))
    encoder = Encoder(task=task)
    encoder.encode(block)
    before = encoder.export_state()["counters"].tolist()
    inputs = encoder.encode(block.part(0, 0)).inputs
    assert (inputs.dense.shape, inputs.count.shape) == ((0, 9 + 2), (0,))
    assert encoder.export_state()["counters"].tolist() == before


def test_a_block_without_any_field_has_no_inputs() -> None:
    block = block_of({}, None, schema=Schema(()))
    assert Encoder(task=Task.CLASSIFICATION).encode(block).inputs.dense.shape == (0, 0)


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ({"clip": 0.0}, "clip is 0.0, but must be >= 1"),
        ({"clip": math.nan}, "clip is nan, but must be"),
        ({"max_rows": 0}, "max_rows is 0, but must be >= 1"),
        ({"text_buckets": 1}, "text_buckets is 1, but must be >= 2"),
        ({"max_words": 2.5}, "max_words is 2.5, but must be a whole number"),
        ({"text_digits": -1}, "text_digits is -1, but must be >= 0"),
        ({"max_classes": 1}, "max_classes is 1, but must be >= 2"),
        ({"scaling": "ranks"}, "scaling is 'ranks', but must be 'standard', 'minmax'"),
        ({"scalings": {"x": 3}}, "scalings.x is 3, but must be 'standard'"),
        ({"scalings": "rank"}, "scalings is 'rank', but must be a dict"),
        ({"text": "word"}, "text is 'word', but must be 'words', 'tokens'"),
        ({"texts": {"x": "word"}}, "texts.x is 'word', but must be 'words'"),
        ({"duplicates": "no"}, "duplicates is 'no', but must be 'keep' or 'drop'"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(setting: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule):
        Encoder(task=Task.CLASSIFICATION, **setting)


def full_encoder() -> Encoder:
    """An encoder whose state has all parts."""
    encoder = made({"scaling": "rank", "text": "tokens", "duplicates": "drop"})
    encoder.encode(block_of({JOB: ["a"], AGE: [1.0], SEEN: [1.0], NOTE: ["x"]}, ["b"]))
    return encoder


@settings(max_examples=80)
@given(st.sampled_from(sorted(full_encoder().export_state())), st.data())
def test_a_damaged_state_is_refused(name: str, data: st.DataObject) -> None:
    state = full_encoder().export_state()
    if name != "inherited" and data.draw(st.booleans()):  # earlier releases had none
        del state[name]
    else:
        state[name] = {"clip": "eight"} if name == "settings" else [["x", "y"]] * 5
    with pytest.raises(ModelFileError, match=r"encoder|categories|label|target"):
        Encoder.restore_state(state)


def test_clocks_of_other_fields_are_refused() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION)
    encoder.encode(block_of({SEEN: [1.0]}))
    state = encoder.export_state() | {"clocks": np.zeros(2, np.int64)}
    with pytest.raises(ModelFileError, match="clocks"):
        Encoder.restore_state(state)


def test_the_scale_of_predictions_is_that_of_the_targets_so_far() -> None:
    encoder = Encoder(task=Task.REGRESSION)
    assert encoder.scale == (0.0, 1.0)
    encoder.encode(block_of({AGE: [1.0, 2.0]}, [10.0, 14.0], task=Task.REGRESSION))
    assert encoder.scale == (12.0, 2.0)


def test_statistics_report_how_much_of_each_limit_is_in_use() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION, max_rows=3, max_words=2)
    encoder.encode(block_of({JOB: ["a", "b", "a"], NOTE: ["x y", "x", "z"]}, ["u", "v", "u"]))
    statistics = encoder.statistics()
    assert (statistics.dense, statistics.rows, statistics.max_rows) == (2, 3, 3)
    assert (statistics.shared, statistics.truncated) == (2, 1)
    assert (statistics.classes, statistics.categories) == (2, {"job": 2})
    assert (statistics.texts, statistics.dropped) == ({"note": "words"}, [])
    assert encoder.labels == ["u", "v"]


def test_a_state_names_only_numbers_and_settings_that_are_not_the_default() -> None:
    state = Encoder(task=Task.CLASSIFICATION).export_state()
    declared = list_settings(EncoderSettings).values()
    numbers = [d.name for d in declared if isinstance(d.default, int | float)]
    assert sorted(state["settings"]) == sorted([*numbers, "lags", "task"])
    assert {"extremes", "texts", "dropped", "text_vocabularies"} & state.keys() == set()


@ways
def test_a_fitted_data_set_is_encoded_by_the_statistics_of_all_samples(way: dict[str, Any]) -> None:
    columns: Columns = {
        HEIGHT: [1.5, 2.5, 9.25, 4.0, math.nan, 7.5],
        JOB: ["a", "b", "a", None, "c", "a"],
        NOTE: ["to be", "or not", None, "to be", "that is", "the question"],
    }
    block = block_of(columns, ["u", "v", None, "u", "u", "v"])
    encoder = made(way).fit(cut(block, [2, 1]))
    before = state_of(encoder)
    applied = encoder.apply(block)
    assert applied.label.tolist() == [0, 1, -1, 0, 0, 1]
    assert applied.known.tolist() == [2] * 6
    # Any order and any cut gives each sample the same inputs.
    order = np.array([5, 3, 1, 0, 2, 4])
    shuffled = encoder.apply(block.take(order))
    assert shuffled.inputs.dense.tolist() == applied.inputs.dense[order].tolist()
    expected = active(applied.inputs)
    assert active(shuffled.inputs) == [expected[i] for i in order]
    assert state_of(encoder) == before


def test_labels_and_goals_of_a_fitted_encoder_are_looked_up() -> None:
    block = block_of({AGE: [1.0, 2.0]}, ["a\ud800", "b"])
    encoder = Encoder(task=Task.CLASSIFICATION).fit([block])
    asked = block_of({AGE: [1.0, 2.0, 3.0]}, ["b", "new", "a\ud800"])
    assert encoder.apply(asked).label.tolist() == [1, -1, 0]
    assert encoder.apply(block_of({AGE: [1.0]})).label.tolist() == [-1]
    block = block_of({AGE: [1.0, 2.0]}, [10.0, 14.0], task=Task.REGRESSION)
    encoder = Encoder(task=Task.REGRESSION, clip=4.0).fit([block])
    target = [12.0, 16.0, 1e300, math.nan, -math.inf]
    asked = block_of({AGE: [1.0] * 5}, target, task=Task.REGRESSION)
    applied = encoder.apply(asked)
    assert applied.goal[:3].tolist() == [0.0, 2.0, 4.0]
    assert np.isnan(applied.goal[3:]).all()
    assert (applied.center.tolist(), applied.spread.tolist()) == ([12.0] * 5, [2.0] * 5)
    assert np.isnan(encoder.apply(block_of({AGE: [1.0]}, task=Task.REGRESSION)).goal).all()
