"""What fades comes to zero in the end: a subnormal number would stay, and slow a kernel down."""

from __future__ import annotations

import numpy as np

from streamnet.drift import HDDMW
from streamnet.features.autoencoder import AutoEncoderNetwork, AutoEncoderSettings
from streamnet.jit import flush_subnormal
from streamnet.metrics import RegressionEvaluator
from streamnet.samples import Inputs
from streamnet.selection import Selector
from streamnet.selection.ensemble.numbers import NumberEnsemble

SAMPLES = 3000
LEAST = np.finfo(np.float64).tiny
NEARLY = 4.0 * LEAST  # where a sum of losses is that fades since 700,000 samples


def subnormals(numbers: np.ndarray) -> int:
    return int(((numbers != 0) & (np.abs(numbers) < np.finfo(numbers.dtype).tiny)).sum())


def test_only_subnormal_numbers_become_zero() -> None:
    for x in (0.0, LEAST, -LEAST, 1.0, -np.inf):
        assert flush_subnormal(x) == x
    assert flush_subnormal(LEAST / 2) == flush_subnormal(-LEAST / 2) == 0.0
    assert np.isnan(flush_subnormal(np.nan))


def test_rounding_alone_would_keep_what_fades() -> None:
    total = NEARLY
    for _ in range(10 * SAMPLES):
        total *= 0.999
    assert 0.0 < total < LEAST


def test_losses_and_evidence_of_a_selector() -> None:
    selector = Selector(2)
    selector.choose(0, np.array([[0.5, 0.25]] * 10))
    selector._totals[0] = selector._evidence[1:] = NEARLY
    selector.choose(10, np.zeros((SAMPLES, 2)))
    assert not selector._totals[0].any()
    assert not selector._evidence[1:, 1 - selector.champion].any()


def test_losses_of_an_ensemble_of_numbers() -> None:
    ensemble = NumberEnsemble(2)
    ensemble.losses[0] = ensemble.combined[0] = NEARLY
    zeros, units = np.zeros(SAMPLES), (np.zeros(SAMPLES), np.ones(SAMPLES))
    ensemble.serve(np.zeros((2, SAMPLES)), np.ones((2, SAMPLES), np.uint8), zeros, *units)
    assert not ensemble.losses[0].any()
    assert not ensemble.combined[0].any()


def test_means_of_scored_numbers() -> None:
    evaluator = RegressionEvaluator(2)
    evaluator.update([[1.0, 2.0], [3.0, 5.0]], [2.0, 4.0])
    means = evaluator._means[1, :, 1:]
    means[means > 0.0] = NEARLY
    evaluator.update(np.zeros((2, SAMPLES)), np.zeros(SAMPLES))
    assert subnormals(means) == 0
    evaluator.update(np.full((2, 1), 3.0), [2.0])
    assert evaluator.measures(0, "fading")["mape"] == 0.5


def test_averages_of_a_detector() -> None:
    detector = HDDMW()
    detector.update(np.append(np.ones(1), np.zeros(10 * SAMPLES)))
    assert detector.mean == 0.0


def test_squares_of_gradients_in_an_auto_encoder() -> None:
    settings = AutoEncoderSettings(code=2, optimizer="rmsprop", activation="relu")
    network = AutoEncoderNetwork(settings)
    n = 5 * SAMPLES
    empty = np.zeros((n, 1), np.int32)
    x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    x[10:, 1:] = 0.0
    network.learn(Inputs(x, empty, empty.astype(np.float32), np.zeros(n, np.int32), 0))
    squares = network.export_state()["squares"]
    assert squares["first"][1].any()
    assert not squares["first"][2:].any()
    assert sum(map(subnormals, squares.values())) == 0
