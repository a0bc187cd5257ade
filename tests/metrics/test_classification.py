from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.metrics import ClassificationEvaluator, Horizon
from streamnet.metrics.classification import score_classes
from tests.metrics.naive import FLOOR, NaiveEvaluator
from tests.metrics.streams import answered, cut, same_bits

SIZES = st.lists(st.integers(1, 70), min_size=1, max_size=6)


@pytest.mark.no_cover
@pytest.mark.parametrize(("window", "fading", "classes"), [(1, 1.0, 2), (9, 0.7, 3), (40, 0.95, 7)])
def test_every_measure_of_every_horizon_agrees_with_scikit_learn(
    window: int, fading: float, classes: int
) -> None:
    """At every step while windows fill and classes come, then now and then: they take a while."""
    stream = answered(classes, 120, 2, classes, hostile=True)
    evaluator = ClassificationEvaluator(2, window=window, fading=fading, floor=FLOOR)
    naive = NaiveEvaluator(2, window, fading)
    compared = 0
    for i in range(120):
        losses = evaluator.update(*stream.part(i, i + 1))
        expected = naive.update(stream.part(i, i + 1))
        assert losses[0] == pytest.approx(expected, rel=1e-12)
        for k in range(2):
            assert evaluator.scored(k) == len(naive.records[k])
            for horizon in Horizon if naive.records[k] and (i < 50 or i % 4 == k) else ():
                assert evaluator.measures(k, horizon) == pytest.approx(
                    naive.measures(k, horizon), rel=1e-9, abs=1e-9, nan_ok=True
                ), (i, k, horizon)
                compared += 1
    assert compared > 300


@settings(max_examples=30)
@given(SIZES, st.integers(2, 9))
def test_measures_are_the_same_without_whole_confusion_matrices(
    sizes: list[int], classes: int
) -> None:
    stream = answered(3, 200, 2, classes, hostile=True)
    whole = ClassificationEvaluator(2, window=30, fading=0.9)
    lean = ClassificationEvaluator(2, window=30, fading=0.9, whole=False)
    for start, stop in cut(200, sizes):
        part = stream.part(start, stop)
        assert same_bits(whole.update(*part), lean.update(*part))
        lean = ClassificationEvaluator.restore_state(lean.export_state())
    for horizon in Horizon:
        for name, values in whole.table(horizon).items():
            found = lean.table(horizon)[name]
            assert found == pytest.approx(values, rel=1e-9, abs=1e-9, nan_ok=True), name
    with pytest.raises(ValueError, match="not kept whole"):
        lean.confusion(0)
    assert same_bits(lean.confusion(0, Horizon.SLIDING), whole.confusion(0, Horizon.SLIDING))


def test_confusion_matrices_agree_with_scikit_learn_and_show_no_answer_last() -> None:
    stream = answered(5, 200, 2, 6, hostile=True)
    evaluator = ClassificationEvaluator(2, window=30, fading=0.8)
    naive = NaiveEvaluator(2, 30, 0.8)
    for i in range(200):
        evaluator.update(*stream.part(i, i + 1))
        naive.update(stream.part(i, i + 1))
        classes = max(0, *stream.truth[: i + 1] + 1, *stream.known[: i + 1])
        for horizon in Horizon:
            records, w = naive.weighted(1, horizon)
            expected = np.zeros((classes, classes + 1))
            for record, weight in zip(records, w, strict=True):
                expected[record.truth, record.answer] += weight  # -1: the last column
            np.testing.assert_allclose(
                evaluator.confusion(1, horizon), expected, rtol=1e-12, atol=1e-12
            )


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), sizes=SIZES, fading=st.sampled_from([0.2, 0.6, 0.999, 1.0]))
def test_blocks_of_any_size_give_the_same_bits(seed: int, sizes: list[int], fading: float) -> None:
    stream = answered(seed, 300, 3, 9, hostile=True)
    whole = ClassificationEvaluator(3, window=50, fading=fading)
    losses = whole.update(*stream)
    parts = ClassificationEvaluator(3, window=50, fading=fading)
    pieces = [parts.update(*stream.part(*block)) for block in cut(300, sizes)]
    assert same_bits(np.concatenate(pieces), losses)
    assert same_bits(parts.export_state(), whole.export_state())
    for horizon in Horizon:
        assert same_bits(parts.table(horizon), whole.table(horizon))
        assert same_bits(parts.confusion(0, horizon), whole.confusion(0, horizon))


def test_blocks_of_any_size_give_the_same_bits_over_several_fading_periods() -> None:
    stream = answered(0, 5000, 2, 20, hostile=True)
    states = []
    for size in (5000, 1024, 1023, 7, 1):
        evaluator = ClassificationEvaluator(2)
        for block in cut(5000, [size]):
            evaluator.update(*stream.part(*block))
        states.append(evaluator.export_state())
    assert all(same_bits(state, states[0]) for state in states)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), at=st.integers(0, 300))
def test_a_restored_evaluator_continues_to_the_bit(seed: int, at: int) -> None:
    stream = answered(seed, 300, 2, 6, hostile=True)
    whole = ClassificationEvaluator(2, window=20, fading=0.9, floor=1e-3)
    first = whole.update(*stream.part(0, at))
    state = whole.export_state()
    copy = ClassificationEvaluator.restore_state(state)
    frozen = {name: np.copy(value) for name, value in state.items()}
    assert same_bits(copy.export_state(), state)
    assert same_bits(copy.update(*stream.part(at, 300)), whole.update(*stream.part(at, 300)))
    assert same_bits(copy.export_state(), whole.export_state())
    assert all(np.array_equal(frozen[name], state[name]) for name in state)
    assert first.shape == (at, 2)


def test_a_sliding_measure_is_the_overall_measure_of_the_last_samples() -> None:
    stream = answered(3, 500, 1, 4, hostile=False)
    evaluator = ClassificationEvaluator(1, window=64)
    evaluator.update(*stream)
    lately = ClassificationEvaluator(1)
    lately.update(*stream.part(500 - 64, 500))
    expected = lately.measures(0)
    sliding = evaluator.measures(0, Horizon.SLIDING)
    del expected["kappa_temporal"], sliding["kappa_temporal"]  # one knows the label before
    assert sliding == pytest.approx(expected, rel=1e-12)


def test_without_fading_the_fading_horizon_is_the_overall_one() -> None:
    evaluator = ClassificationEvaluator(2, fading=1.0)
    evaluator.update(*answered(4, 3000, 2, 5, hostile=True))
    for k in range(2):
        assert evaluator.measures(k, "fading") == evaluator.measures(k, "overall")


def test_a_table_holds_the_measures_of_all_tracks() -> None:
    evaluator = ClassificationEvaluator(3, window=20)
    evaluator.update(*answered(6, 100, 3, 5, hostile=True))
    for horizon in Horizon:
        table = evaluator.table(horizon)
        for k in range(3):
            row = {name: float(values[k]) for name, values in table.items()}
            assert row == pytest.approx(evaluator.measures(k, horizon), rel=1e-14)


def test_a_reset_track_inherits_no_score_and_the_others_notice_nothing() -> None:
    stream = answered(7, 400, 2, 4, hostile=True)
    untouched = ClassificationEvaluator(2, window=50, fading=0.9)
    untouched.update(*stream)
    evaluator = ClassificationEvaluator(2, window=50, fading=0.9)
    evaluator.update(*stream.part(0, 370))
    evaluator.reset(1)
    assert evaluator.scored(1) == 0
    for horizon in Horizon:
        assert all(np.isnan(value) for value in evaluator.measures(1, horizon).values())
        assert not evaluator.confusion(1, horizon).any()
    evaluator.update(*stream.part(370, 400))
    naive = NaiveEvaluator(2, 50, 0.9)
    for i in range(400):
        stream.alive[1, i] *= i >= 370
        naive.update(stream.part(i, i + 1))
    for horizon in Horizon:
        assert evaluator.measures(0, horizon) == untouched.measures(0, horizon)
        assert evaluator.measures(1, horizon) == pytest.approx(
            naive.measures(1, horizon), rel=1e-9, abs=1e-9
        )


def test_a_quarantined_track_is_not_scored_and_its_loss_is_infinite() -> None:
    evaluator = ClassificationEvaluator(2)
    answers = np.full((2, 3, 2), 0.5, np.float32)
    alive = np.array([[1, 1, 1], [1, 0, 0]])
    losses = evaluator.update(answers, [0, 1, 0], [2, 2, 2], alive)
    assert np.isinf(losses).tolist() == [[False, False], [False, True], [False, True]]
    assert [evaluator.scored(k) for k in range(2)] == [3, 1]
    assert evaluator.measures(1)["accuracy"] == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_is_not_scored(bad: float) -> None:
    evaluator = ClassificationEvaluator(2)
    answers = np.array([[[0.5, bad]], [[0.5, 0.5]]], np.float32)
    losses = evaluator.update(answers, [0], [2])
    assert losses[0, 0] == np.inf
    assert np.isfinite(losses[0, 1])
    assert [evaluator.scored(k) for k in range(2)] == [0, 1]
    # Beyond the known classes there may be anything.
    assert np.isfinite(evaluator.update(answers, [0], [1])).all()


def test_an_unscored_sample_has_a_loss_but_changes_no_metric_and_no_change_repeats_it() -> None:
    evaluator = ClassificationEvaluator(1)
    answer = np.array([[[0.25, 0.75]]], np.float32)
    evaluator.update(answer, [0], [2])
    before = evaluator.export_state()
    losses = evaluator.update(answer, [1], [2], scored=[False])
    after = evaluator.export_state()
    assert losses[0, 0] == pytest.approx(-np.log(0.75))
    assert before.pop("clock")[1] == 0
    assert after.pop("clock")[1] == 1
    assert same_bits(before, after)


def test_a_new_class_has_probability_zero_and_counts_as_wrong() -> None:
    evaluator = ClassificationEvaluator(1, floor=1e-3)
    losses = evaluator.update(np.array([[[0.9, 0.1, 0.0]]], np.float32), [2], [2])
    assert losses[0, 0] == pytest.approx(-np.log(1e-3))
    assert evaluator.measures(0)["accuracy"] == 0.0
    assert evaluator.measures(0)["brier"] == pytest.approx(0.9**2 + 0.1**2 + 1.0)
    assert evaluator.confusion(0).tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_without_known_classes_there_is_no_answer_which_is_wrong() -> None:
    evaluator = ClassificationEvaluator(1)
    evaluator.update(np.zeros((1, 1, 2), np.float32), [0], [0])
    assert evaluator.confusion(0).tolist() == [[0.0, 1.0]]
    assert evaluator.measures(0) == {
        "accuracy": 0.0,
        "balanced_accuracy": 0.0,
        "macro_f1": 0.0,
        "kappa": 0.0,
        "kappa_temporal": 0.0,
        "mcc": 0.0,
        "log_loss": pytest.approx(-np.log(FLOOR)),
        "brier": 1.0,
    }


def test_ties_go_to_the_lowest_class() -> None:
    evaluator = ClassificationEvaluator(1)
    evaluator.update(np.array([[[0.2, 0.4, 0.4]]], np.float32), [0], [3])
    assert evaluator.confusion(0)[0].tolist() == [0, 1, 0, 0]


def test_a_perfect_track_has_exactly_one_and_a_hopeless_one_exactly_zero() -> None:
    evaluator = ClassificationEvaluator(2, window=100, fading=0.97)
    truth = np.random.default_rng(1).integers(0, 3, 3000)
    right = np.eye(3, dtype=np.float32)[truth]
    evaluator.update(np.stack((right, np.roll(right, 1, axis=1))), truth, np.full(3000, 3))
    for horizon in Horizon:
        perfect = evaluator.measures(0, horizon)
        names = ("accuracy", "balanced_accuracy", "macro_f1", "kappa_temporal")
        assert {perfect[name] for name in names} == {1.0}
        assert [perfect["kappa"], perfect["mcc"]] == pytest.approx([1.0, 1.0], rel=1e-12)
        assert [perfect["log_loss"], perfect["brier"]] == [0.0, 0.0]
        assert evaluator.measures(1, horizon)["accuracy"] == 0.0


def test_a_label_that_never_changes_gives_defined_values_for_very_long() -> None:
    evaluator = ClassificationEvaluator(2, window=10, fading=0.5)
    answers = np.zeros((2, 5000, 2), np.float32)
    answers[0, :, 0] = 1.0
    answers[1, ::2, 0] = 1.0
    answers[1, 1::2, 1] = 1.0
    evaluator.update(answers, np.zeros(5000, int), np.full(5000, 2))
    for horizon in (Horizon.SLIDING, Horizon.FADING):
        perfect, other = (evaluator.measures(k, horizon) for k in range(2))
        assert perfect["kappa"] == perfect["mcc"] == perfect["kappa_temporal"] == 0.0
        assert other["kappa"] == other["mcc"] == 0.0
        assert np.isnan(other["kappa_temporal"])


def test_a_track_that_was_quarantined_for_ever_so_long_has_forgotten_its_fading_score() -> None:
    evaluator = ClassificationEvaluator(1, fading=0.9995)
    evaluator.update(np.full((1, 1, 2), 0.5), [0], [2])
    n = 100_000
    nothing = np.zeros((1, n, 2), np.float32), np.zeros(n, np.int32), np.full(n, 2, np.int32)
    for _ in range(16):  # 0.9995 ** 1,600,000 is 0 in double precision
        evaluator.update(*nothing, np.zeros((1, n), np.uint8))
    assert all(np.isnan(value) for value in evaluator.measures(0, "fading").values())
    assert evaluator.measures(0)["accuracy"] == 1.0
    assert evaluator.export_state()["confusion"][1].max() == 0.0


def test_without_samples_all_metrics_are_nan() -> None:
    evaluator = ClassificationEvaluator(1)
    assert evaluator.update(np.zeros((1, 0, 2)), [], []).shape == (0, 1)
    for horizon in Horizon:
        assert all(np.isnan(value) for value in evaluator.measures(0, horizon).values())
        assert evaluator.confusion(0, horizon).shape == (0, 1)


def test_other_layouts_and_types_give_the_same_and_compile_nothing_more() -> None:
    stream = answered(9, 50, 2, 3, hostile=True)
    evaluator = ClassificationEvaluator(2)
    losses = evaluator.update(*stream)
    compiled = len(score_classes.signatures)  # type: ignore[attr-defined]
    other = ClassificationEvaluator(2)
    answers = np.asfortranarray(stream.answers.astype(float))
    truth = stream.truth.copy()
    truth.flags.writeable = False
    again = other.update(
        answers, truth, stream.known.tolist(), stream.alive != 0, stream.scored.astype(bool)
    )
    assert same_bits(again, losses)
    assert same_bits(other.export_state(), evaluator.export_state())
    assert len(score_classes.signatures) == compiled == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("tracks", 0, "tracks is 0, but must be >= 1"),
        ("window", 0, "window is 0, but must be >= 1"),
        ("fading", 0.0, "fading is 0.0, but must be >= 0.01 and <= 1"),
        ("fading", 1.1, "fading is 1.1, but must be >= 0.01 and <= 1"),
        ("fading", np.nan, "fading is nan, but must be >= 0.01 and <= 1"),
        ("floor", 0.0, "floor is 0.0, but must be > 0 and < 1"),
        ("floor", 1.0, "floor is 1.0, but must be > 0 and < 1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(setting: str, value: float, message: str) -> None:
    arguments = {"tracks": 2, setting: value}
    with pytest.raises(ConfigurationError) as caught:
        ClassificationEvaluator(**arguments)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "shapes",
    [
        {"answers": (3, 4, 2)},
        {"answers": (2, 5, 2)},
        {"answers": (2, 8)},
        {"truth": (3,)},
        {"known": (3,)},
        {"alive": (3, 4)},
        {"scored": (3,)},
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    fitting = {"answers": (2, 4, 2), "truth": (4,), "known": (4,), "alive": (2, 4), "scored": (4,)}
    arguments: Any = {name: np.zeros(shape) for name, shape in {**fitting, **shapes}.items()}
    with pytest.raises(ValueError, match=r"fit|broadcast"):
        ClassificationEvaluator(2).update(**arguments)


@pytest.mark.parametrize("track", [2, -3])
def test_there_is_no_track_beyond_the_last(track: int) -> None:
    evaluator = ClassificationEvaluator(2)
    for method in (evaluator.measures, evaluator.confusion, evaluator.scored, evaluator.reset):
        with pytest.raises(IndexError):
            method(track)


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("places", (0, 1), 5),
        ("places", (0, 1), -1),
        ("clock", 0, -1),
        ("clock", 0, 99_999),
        ("clock", 1, 7),
        ("clock", 2, 7),
        ("clock", 2, -1),
        ("cells", (0, 0, 0), 7),
        ("cells", (0, 0, 1), -2),
    ],
)
def test_a_state_that_would_lead_a_kernel_astray_is_refused(
    name: str, index: tuple[int, ...], value: int
) -> None:
    evaluator = ClassificationEvaluator(1, window=5)
    evaluator.update(np.full((1, 4, 2), 0.5), [0, 1, 0, 1], [2, 2, 2, 2])
    state = evaluator.export_state()
    state[name][index] = value
    with pytest.raises(ModelFileError, match="evaluator: "):
        ClassificationEvaluator.restore_state(state)


@pytest.mark.parametrize("name", ["confusion", "sums", "cells", "costs", "places", "clock"])
def test_a_state_of_other_shapes_is_refused(name: str) -> None:
    state = ClassificationEvaluator(2).export_state()
    state[name] = np.zeros((1, 1))
    with pytest.raises(ModelFileError, match=f"evaluator: .*{name}|classes"):
        ClassificationEvaluator.restore_state(state)
