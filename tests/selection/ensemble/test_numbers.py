"""Numbers combined: against plain Python, extremes, and how good they are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.features.columns.target import TargetScaler
from streamnet.samples import Task
from streamnet.selection.ensemble.numbers import NumberEnsemble
from tests.selection.ensemble.answers import Said, said, serve
from tests.selection.ensemble.naive import NaiveNumbers

N = 300


def expected(
    naive: NaiveNumbers, said: Said, weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """What the plain version serves, shape=(n,)."""
    center, spread = (units.tolist() for units in said.units)
    return np.array(
        [
            naive.serve(
                said.answers[:, i].tolist(),
                said.alive[:, i].tolist(),
                float(said.truth[i]),
                center[i],
                spread[i],
                1.0 if weight is None else float(weight[i]),
            )
            for i in range(len(said))
        ]
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fading", [0.999, 0.95, 1.0])
def test_every_answer_is_that_of_the_plain_version(seed: int, fading: float) -> None:
    stream = said(Task.REGRESSION, N, 1 + seed, seed=seed)
    ensemble = NumberEnsemble(1 + seed, fading=fading)
    naive = NaiveNumbers(1 + seed, fading=fading)
    assert serve(ensemble, stream) == pytest.approx(expected(naive, stream), rel=1e-12, abs=1e-12)
    weights = np.array([mixer.weights for mixer in naive.mixers])
    assert ensemble.weights == pytest.approx(weights, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_samples_are_learned_like_in_the_plain_version(seed: int) -> None:
    stream = said(Task.REGRESSION, N, 3, seed=seed)
    weight = np.random.default_rng(seed).choice([0.25, 1.0, 2.0, 50.0], N)
    ensemble, naive = NumberEnsemble(3), NaiveNumbers(3, fading=0.999)
    samples = stream.answers, stream.alive, stream.truth, *stream.units
    served = ensemble.serve(*samples, weight=weight)
    assert served == pytest.approx(expected(naive, stream, weight), rel=1e-9, abs=1e-9)
    weights = np.array([mixer.weights for mixer in naive.mixers])
    assert ensemble.weights == pytest.approx(weights, rel=1e-7, abs=1e-9)
    same = NumberEnsemble(3).serve(*samples, weight=np.ones(N))
    assert same.tobytes() == serve(NumberEnsemble(3), stream).tobytes()


def test_losses_of_first_samples_count_in_the_present_unit_of_the_targets() -> None:
    """The first targets hardly differ: an expert that erred then by a whole unit is no worse."""
    n = 400
    truth = np.where(np.arange(n) < 20, 1e-3, 100.0) * np.random.default_rng(0).normal(size=n)
    spread = np.where(np.arange(n) < 30, 1e-3, 100.0)
    noise = np.random.default_rng(1).normal(size=(2, n))
    answers = truth + noise * np.stack([np.where(np.arange(n) < 20, 0.004, 5.0), np.full(n, 20.0)])
    ensemble = NumberEnsemble(2)
    ensemble.serve(answers, np.ones((2, n), np.uint8), truth, np.zeros(n), spread)
    total, count = ensemble.losses
    errors = np.abs(answers - truth)
    faded = 0.999 ** np.arange(n)[::-1]
    mean = (errors[0] * faded).sum() / faded.sum()  # without the clipping of extreme predictions
    assert total[0] / count[0] == pytest.approx(mean / 100.0, rel=0.05)
    assert total[0] / count[0] < total[1] / count[1]


def test_a_candidate_that_is_no_member_has_no_influence() -> None:
    stream = said(Task.REGRESSION, N, 3, seed=5)
    members = [1, 0, 1, 0, 1]
    ensemble = NumberEnsemble(3, members=np.array(members, np.uint8))
    naive = NaiveNumbers(3, fading=0.999, members=members)
    served = serve(ensemble, stream)
    assert served == pytest.approx(expected(naive, stream), rel=1e-12)
    others = stream.answers.copy()
    others[1] = 0.25
    twin = NumberEnsemble(3, members=np.array(members, np.uint8))
    assert serve(twin, replace(stream, answers=others)).tobytes() == served.tobytes()
    assert not ensemble.weights[:, [1, 3]].any()


FINITE = st.floats(allow_nan=False, allow_infinity=False)
EXTREME = st.sampled_from([0.0, 1e300, -1e300, 1.8e308, -1.7e308, 5e-324, 1e100, -1.0]) | FINITE


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(EXTREME, EXTREME, st.booleans(), EXTREME | st.just(math.nan)),
        min_size=1,
        max_size=30,
    )
)
def test_numbers_are_finite_for_any_predictions_and_targets(
    samples: list[tuple[float, float, bool, float]],
) -> None:
    answers = np.array([sample[:2] for sample in samples]).T.copy()
    alive = np.ones(answers.shape, np.uint8)
    alive[1] = [lives for _, _, lives, _ in samples]
    answers[alive == 0] = np.inf
    truth = np.array([target for *_, target in samples])
    scaled = TargetScaler(clip=8.0).update(truth)
    assert (scaled.spread > 0.0).all()
    ensemble = NumberEnsemble(2)
    served = ensemble.serve(answers, alive, truth, scaled.center, scaled.spread)
    assert np.isfinite(served).all()
    assert all(np.isfinite(getattr(ensemble, name)).all() for name in ensemble._arrays)
    NumberEnsemble.restore_state(ensemble.export_state())


def test_without_available_candidates_the_mean_and_the_last_target_are_served() -> None:
    stream = said(Task.REGRESSION, N, 2, seed=1, gaps=False)
    silent = replace(stream, alive=np.zeros_like(stream.alive), answers=stream.answers * np.nan)
    served = serve(NumberEnsemble(2), silent)
    center, spread = stream.units
    assert np.isfinite(served).all()
    last = np.concatenate(([0.0], stream.truth[:-1]))
    error = np.abs(served - stream.truth)[50:].mean()
    assert error < 1.02 * min(np.abs(other - stream.truth)[50:].mean() for other in (center, last))
    assert (np.abs(served - center) <= 10.0 * spread).all()


# ------------------------------------------------------------------ how good it is


def candidates_of(kind: str, truth: NDArray[np.float64]) -> NDArray[np.float64]:
    rng = np.random.default_rng(6)
    n = len(truth)
    turn = np.arange(n) // 4000 % 2

    def noise(size: float | NDArray[np.float64]) -> NDArray[np.float64]:
        noise: NDArray[np.float64] = size * rng.normal(size=n)
        return noise

    return np.stack(
        {
            "one is good": lambda: [truth + noise(s) for s in (30.0, 0.5, 9.0, 100.0, 3.0)],
            "they take turns": lambda: [
                truth + noise(np.where(turn == k, 0.3, 3.0)) for k in range(2)
            ],
            "all are alike": lambda: [truth + noise(1.0) for _ in range(4)],
            "all talk nonsense": lambda: [noise(5.0) for _ in range(3)],
            "one is off": lambda: [truth + 2.0 + noise(0.1), truth + noise(1.0)],
            "one is seldom mad": lambda: [
                truth + noise(0.1) + np.where(rng.random(n) < 0.01, 1e30, 0.0),
                truth + noise(1.0),
            ],
        }[kind]()
    )


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("one is good", 1.0),
        ("they take turns", 0.3),
        ("all are alike", 0.55),
        ("all talk nonsense", 0.7),
        ("one is off", 0.9),
        ("one is seldom mad", 0.6),
    ],
)
def test_it_errs_less_than_the_best_candidate_in_hindsight(kind: str, share: float) -> None:
    n = 20_000
    truth = 3.0 * np.random.default_rng(5).normal(size=n)
    answers = candidates_of(kind, truth)
    units = np.zeros(n), np.full(n, 3.0)
    alive = np.ones(answers.shape, np.uint8)
    served = NumberEnsemble(len(answers)).serve(answers, alive, truth, *units)
    errors, error = np.abs(answers - truth), np.abs(served - truth)
    assert error.mean() < share * errors.mean(axis=1).min()
    if kind != "one is seldom mad":  # what is made small is the absolute error, not its square
        assert (error**2).mean() < (errors**2).mean(axis=1).min() * 1.003
