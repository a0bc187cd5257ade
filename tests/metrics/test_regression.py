from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.metrics import Horizon, RegressionEvaluator
from streamnet.metrics.regression import score_numbers
from tests.metrics.streams import Guessed, cut, guessed, same_bits

SIZES = st.lists(st.integers(1, 70), min_size=1, max_size=6)
HUGE = 1.7e308


def naive_measures(
    stream: Guessed, track: int, horizon: str, window: int, fading: float
) -> dict[str, float]:
    """All measures of a track over the whole of ``stream``, by scikit-learn."""
    counted = (stream.scored > 0) & np.isfinite(stream.truth)
    age = counted[::-1].cumsum()[::-1] - 1.0
    mine = counted & (stream.alive[track] > 0) & np.isfinite(stream.answers[track])
    truth, answer, age = (a[mine] for a in (stream.truth, stream.answers[track], age))
    if horizon == "sliding":
        truth, answer, age = truth[-window:], answer[-window:], age[-window:]
    w = (fading if horizon == "fading" else 1.0) ** age
    other = truth != 0
    return {
        "mae": metrics.mean_absolute_error(truth, answer, sample_weight=w),
        "rmse": metrics.root_mean_squared_error(truth, answer, sample_weight=w),
        "r2": metrics.r2_score(truth, answer, sample_weight=w) if len(truth) > 1 else np.nan,
        "mape": metrics.mean_absolute_percentage_error(
            truth[other], answer[other], sample_weight=w[other]
        )
        if other.any()
        else np.nan,
    }


@pytest.mark.no_cover
@pytest.mark.parametrize(("window", "fading"), [(1, 1.0), (9, 0.7), (40, 0.95)])
def test_every_measure_of_every_horizon_agrees_with_scikit_learn(
    window: int, fading: float
) -> None:
    """At every step while windows fill, then now and then: they take a while."""
    stream = guessed(window, 150, 2, hostile=True)
    evaluator = RegressionEvaluator(2, window=window, fading=fading)
    compared = 0
    for i in range(150):
        losses = evaluator.update(*stream.part(i, i + 1))
        there = (stream.alive[:, i] > 0) & np.isfinite(stream.answers[:, i] + stream.truth[i])
        expected = np.where(there, np.abs(stream.answers[:, i] - stream.truth[i]), np.inf)
        np.testing.assert_allclose(losses[0], expected, rtol=1e-15)
        for k in range(2):
            for horizon in Horizon if evaluator.scored(k) and (i < 50 or i % 4 == k) else ():
                naive = naive_measures(stream.part(0, i + 1), k, horizon, window, fading)
                assert evaluator.measures(k, horizon) == pytest.approx(
                    naive, rel=1e-9, abs=1e-9, nan_ok=True
                ), (i, k, horizon)
                compared += 1
    assert compared > 300


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), sizes=SIZES, fading=st.sampled_from([0.2, 0.6, 0.999, 1.0]))
def test_blocks_of_any_size_give_the_same_bits(seed: int, sizes: list[int], fading: float) -> None:
    stream = guessed(seed, 300, 3, hostile=True)
    whole = RegressionEvaluator(3, window=50, fading=fading)
    losses = whole.update(*stream)
    parts = RegressionEvaluator(3, window=50, fading=fading)
    pieces = [parts.update(*stream.part(*block)) for block in cut(300, sizes)]
    assert same_bits(np.concatenate(pieces), losses)
    assert same_bits(parts.export_state(), whole.export_state())
    for horizon in Horizon:
        assert same_bits(parts.table(horizon), whole.table(horizon))


@pytest.mark.parametrize("tracks", [1, 2, 16])
def test_blocks_of_any_size_give_the_same_bits_for_any_number_of_tracks(tracks: int) -> None:
    stream = guessed(0, 3000, tracks, hostile=True)
    states = []
    for size in (3000, 1024, 7, 1):
        evaluator = RegressionEvaluator(tracks)
        for block in cut(3000, [size]):
            evaluator.update(*stream.part(*block))
        states.append(evaluator.export_state())
    assert all(same_bits(state, states[0]) for state in states)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), at=st.integers(0, 300))
def test_a_restored_evaluator_continues_to_the_bit(seed: int, at: int) -> None:
    stream = guessed(seed, 300, 2, hostile=True)
    whole = RegressionEvaluator(2, window=20, fading=0.9)
    whole.update(*stream.part(0, at))
    state = whole.export_state()
    copy = RegressionEvaluator.restore_state(state)
    frozen = {name: np.copy(value) for name, value in state.items()}
    assert same_bits(copy.export_state(), state)
    assert same_bits(copy.update(*stream.part(at, 300)), whole.update(*stream.part(at, 300)))
    assert same_bits(copy.export_state(), whole.export_state())
    assert all(np.array_equal(frozen[name], state[name], equal_nan=True) for name in state)


def test_a_reset_track_inherits_no_score_and_the_others_notice_nothing() -> None:
    stream = guessed(7, 400, 2, hostile=True)
    untouched = RegressionEvaluator(2, window=50, fading=0.9)
    untouched.update(*stream)
    evaluator = RegressionEvaluator(2, window=50, fading=0.9)
    evaluator.update(*stream.part(0, 370))
    evaluator.reset(1)
    assert evaluator.scored(1) == 0
    for horizon in Horizon:
        assert all(np.isnan(value) for value in evaluator.measures(1, horizon).values())
    evaluator.update(*stream.part(370, 400))
    for horizon in Horizon:
        assert evaluator.measures(0, horizon) == untouched.measures(0, horizon)
        naive = naive_measures(stream.part(370, 400), 1, horizon, 50, 0.9)
        assert evaluator.measures(1, horizon) == pytest.approx(naive, rel=1e-9)


def test_a_table_holds_the_measures_of_all_tracks() -> None:
    evaluator = RegressionEvaluator(3, window=20)
    evaluator.update(*guessed(6, 100, 3, hostile=True))
    for horizon in Horizon:
        table = evaluator.table(horizon)
        for k in range(3):
            row = {name: float(values[k]) for name, values in table.items()}
            assert row == pytest.approx(evaluator.measures(k, horizon), rel=1e-14)


@given(seed=st.integers(0, 99), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5))
@settings(max_examples=20)
def test_the_recent_pairs_are_those_of_the_last_scored_samples(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    evaluator = RegressionEvaluator(2, window=30)
    kept: list[tuple[float, float]] = []
    for size in sizes:
        truth, answers = random.normal(size=size), random.normal(size=(2, size))
        truth[random.random(size) < 0.1] = np.nan
        answers[1, random.random(size) < 0.1] = np.inf
        evaluator.update(answers, truth)
        pairs = zip(truth.tolist(), answers[1].tolist(), strict=True)
        kept += [pair for pair in pairs if np.isfinite(pair).all()]
    assert sorted(map(tuple, evaluator.recent(1).tolist())) == sorted(kept[-30:])


def test_an_unscored_sample_has_a_loss_but_changes_nothing() -> None:
    evaluator = RegressionEvaluator(1)
    evaluator.update([[1.0]], [2.0])
    before = evaluator.export_state()
    assert evaluator.update([[1.0]], [4.0], scored=[0]).tolist() == [[3.0]]
    assert same_bits(evaluator.export_state(), before)


def extremes(where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Three tracks of which one, or the truth, has huge numbers of both signs in its middle."""
    random = np.random.default_rng(0)
    truth = random.normal(size=300)
    answers = truth + random.normal(size=(3, 300))
    target = truth if where == "truth" else answers[1]
    target[100:140:2] = HUGE
    target[101:140:2] = -HUGE
    target[140:150] = 1e300
    target[150:160] = 5e-324
    return answers, truth


def test_a_track_with_huge_answers_leaves_the_others_alone() -> None:
    answers, truth = extremes("answers")
    evaluator = RegressionEvaluator(3, window=250)
    losses = evaluator.update(answers, truth)
    alone = RegressionEvaluator(2, window=250)
    alone.update(answers[[0, 2]], truth)
    assert np.isfinite(losses).all()
    for horizon in Horizon:
        assert np.isfinite(list(evaluator.measures(1, horizon).values())).all()
        assert evaluator.measures(1, horizon)["mae"] > 1e300
        for k, same in ((0, 0), (2, 1)):
            assert evaluator.measures(k, horizon) == alone.measures(same, horizon)


def test_huge_truths_give_finite_measures_to_all_tracks() -> None:
    answers, truth = extremes("truth")
    evaluator = RegressionEvaluator(3, window=250)
    assert np.isfinite(evaluator.update(answers, truth)).all()
    for horizon in Horizon:
        for k in range(3):
            values = evaluator.measures(k, horizon)
            assert np.isnan(values.pop("r2"))
            assert np.isfinite(list(values.values())).all()
            assert values["mape"] > 1e300


def test_opposite_numbers_of_the_largest_size_have_a_finite_error() -> None:
    evaluator = RegressionEvaluator(1)
    losses = evaluator.update([[HUGE, -HUGE]], [-HUGE, HUGE])
    assert losses.tolist() == [[1e308], [1e308]]
    for horizon in Horizon:
        values = evaluator.measures(0, horizon)
        assert np.isnan(values.pop("r2"))
        assert np.isfinite(list(values.values())).all()


def test_a_small_scale_is_measured_as_exactly_as_a_large_one() -> None:
    stream = guessed(1, 500, 1, hostile=False)
    large = RegressionEvaluator(1)
    small = RegressionEvaluator(1)
    large.update(*stream)
    small.update(stream.answers * 2.0**-400, stream.truth * 2.0**-400)
    for horizon in Horizon:
        expected = large.measures(0, horizon)
        values = small.measures(0, horizon)
        assert values["r2"] == expected["r2"]
        assert values["mape"] == expected["mape"]
        assert values["rmse"] == expected["rmse"] * 2.0**-400


def test_a_truth_that_never_changes_has_the_r2_of_scikit_learn_without_its_rounding() -> None:
    exact = np.full(700, 0.5)
    assert metrics.r2_score(exact, exact) == 1.0
    assert metrics.r2_score(exact, exact + 1) == 0.0
    for level in (0.5, 0.1):  # the mean of many 0.1 is not 0.1
        evaluator = RegressionEvaluator(2, window=100)
        truth = np.full(700, level)
        evaluator.update(np.stack((truth, truth + 1)), truth)
        for horizon in Horizon:
            assert evaluator.table(horizon)["r2"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e300, -1e300])
def test_truths_whose_squares_float64_can_not_hold_have_no_r2(scale: float) -> None:
    truth = scale * np.random.default_rng(0).uniform(-1.0, 2.0, 300)
    mean = np.full(300, truth.mean())
    whole, parts = RegressionEvaluator(2, window=100), RegressionEvaluator(2, window=100)
    whole.update([mean, np.zeros(300)], truth)
    for i in range(300):
        parts.update([[mean[i]], [0.0]], [truth[i]])
    for evaluator in (whole, parts, RegressionEvaluator.restore_state(whole.export_state())):
        for horizon in Horizon:
            assert np.isnan(evaluator.table(horizon)["r2"]).all()
            assert (evaluator.table(horizon)["mae"] > 0).all()


def test_a_truth_that_grows_to_where_squares_can_be_told_has_an_r2_from_there_on() -> None:
    truth = np.concatenate((np.array([1e-200, 2e-200]), np.arange(500.0)))
    evaluator = RegressionEvaluator(1, window=100)
    evaluator.update([truth[:2]], truth[:2])
    assert np.isnan(evaluator.measures(0)["r2"])
    evaluator.update([truth[2:] + 1.0], truth[2:])
    for horizon in Horizon:
        assert 0.9 < evaluator.measures(0, horizon)["r2"] < 1.0
    alone = RegressionEvaluator(1, window=100)
    alone.update([truth[2:] + 1.0], truth[2:])
    expected = alone.measures(0, "sliding")
    assert evaluator.measures(0, "sliding") == pytest.approx(expected, rel=1e-12)


def test_zero_truths_are_left_out_of_mape() -> None:
    evaluator = RegressionEvaluator(1)
    evaluator.update([[1.0]], [0.0])
    for horizon in Horizon:
        assert np.isnan(evaluator.measures(0, horizon)["mape"])
    evaluator.update([[3.0]], [2.0])
    for horizon in Horizon:
        assert evaluator.measures(0, horizon)["mape"] == 0.5


def test_a_track_that_was_quarantined_for_ever_so_long_keeps_a_finite_fading_score() -> None:
    evaluator = RegressionEvaluator(1, fading=0.5)
    alive = np.zeros((1, 3000), np.uint8)
    alive[0, :3] = 1
    evaluator.update(np.zeros((1, 3000)), np.arange(3000.0), alive)
    assert evaluator.measures(0, "fading")["mae"] == pytest.approx((0.5 + 2) / (0.25 + 0.5 + 1))
    evaluator.update([[7.0]], [9.0])
    assert evaluator.measures(0, "fading")["mae"] == 2.0


def test_without_samples_all_metrics_are_nan() -> None:
    evaluator = RegressionEvaluator(1)
    assert evaluator.update(np.zeros((1, 0)), []).shape == (0, 1)
    for horizon in Horizon:
        assert all(np.isnan(value) for value in evaluator.measures(0, horizon).values())


def test_other_layouts_and_types_give_the_same_and_compile_nothing_more() -> None:
    stream = guessed(9, 50, 2, hostile=True)
    evaluator = RegressionEvaluator(2)
    losses = evaluator.update(*stream)
    compiled = len(score_numbers.signatures)  # type: ignore[attr-defined]
    other = RegressionEvaluator(2)
    truth = stream.truth.copy()
    truth.flags.writeable = False
    again = other.update(
        np.asfortranarray(stream.answers), truth, stream.alive != 0, stream.scored.tolist()
    )
    assert same_bits(again, losses)
    assert same_bits(other.export_state(), evaluator.export_state())
    assert len(score_numbers.signatures) == compiled == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("tracks", 0, "tracks is 0, but must be >= 1"),
        ("window", -1, "window is -1, but must be >= 1"),
        ("fading", 2.0, "fading is 2.0, but must be >= 0.01 and <= 1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(setting: str, value: float, message: str) -> None:
    arguments = {"tracks": 2, setting: value}
    with pytest.raises(ConfigurationError) as caught:
        RegressionEvaluator(**arguments)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize("shapes", [((3, 4), (4,)), ((2, 4), (5,)), ((2, 4, 1), (4,))])
def test_shapes_that_do_not_fit_are_refused(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    with pytest.raises(ValueError, match="do not fit 2 tracks"):
        RegressionEvaluator(2).update(*(np.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("track", [2, -3])
def test_there_is_no_track_beyond_the_last(track: int) -> None:
    evaluator = RegressionEvaluator(2)
    for method in (evaluator.measures, evaluator.scored, evaluator.reset):
        with pytest.raises(IndexError):
            method(track)


@pytest.mark.parametrize(("index", "value"), [((0, 1), 5), ((0, 1), -1), ((0, 0), -1)])
def test_a_state_that_would_lead_the_kernel_astray_is_refused(
    index: tuple[int, int], value: int
) -> None:
    state = RegressionEvaluator(1, window=5).export_state()
    state["places"][index] = value
    with pytest.raises(ModelFileError, match="evaluator: places"):
        RegressionEvaluator.restore_state(state)


@pytest.mark.parametrize("name", ["means", "pairs", "places"])
def test_a_state_of_other_shapes_is_refused(name: str) -> None:
    state = RegressionEvaluator(2).export_state()
    state[name] = np.zeros((1, 1))
    with pytest.raises(ModelFileError, match=f"evaluator: {name} has shape"):
        RegressionEvaluator.restore_state(state)
