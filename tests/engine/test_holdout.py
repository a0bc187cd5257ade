"""Tallies against scikit-learn and plain loops, with candidates that broke and labels unseen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
)

from streamnet.engine.data import FittedEncoder
from streamnet.engine.holdout import (
    BestEpochs,
    FixedEpochs,
    HoldoutEvaluator,
    HoldoutScored,
    Improvement,
)
from streamnet.features.encoder import Encoder
from streamnet.learning.trainer import Predicted
from streamnet.networks.population import NetworkOutputs
from streamnet.samples import Task
from streamnet.selection.criteria import Tally, find_criterion
from tests.engine.sets import moons, slope


def scored_of(fitted: FittedEncoder, block, outputs, alive, *, ends_round: bool) -> Predicted:
    encoded = fitted.encode(replace(block, learned=False))
    return Predicted(encoded, 0, NetworkOutputs(outputs, alive), ends_round)


def test_tallies_of_labels_match_scikit_learn() -> None:
    random = np.random.default_rng(1)
    block = moons(30).block()
    fitted = FittedEncoder(Encoder(task=Task.CLASSIFICATION), block)
    evaluator = HoldoutEvaluator(Task.CLASSIFICATION, len(fitted.labels), threshold=0.0)
    shares = random.dirichlet([1.0, 1.0], (3, 30))
    alive = np.ones((3, 30), np.uint8)
    first = scored_of(fitted, block.part(0, 11), shares[:, :11], alive[:, :11], ends_round=False)
    assert evaluator.evaluate(first).tally is None
    rest = scored_of(fitted, block.part(11, 30), shares[:, 11:], alive[:, 11:], ends_round=True)
    tally = evaluator.evaluate(rest).tally
    assert tally is not None
    truth = fitted.encode(block).label
    for k in range(3):
        answer = shares[k].argmax(axis=1)
        assert (tally.confusion[k, :, :2] == confusion_matrix(truth, answer)).all()
        assert tally.correct[k] / 30 == pytest.approx(accuracy_score(truth, answer))
        assert tally.log_loss[k] / 30 == pytest.approx(log_loss(truth, shares[k]), rel=1e-3)
        ideal = np.eye(2)[truth]
        assert tally.distance[k] == pytest.approx(((shares[k] - ideal) ** 2).sum() / 2)


def test_tallies_of_numbers_match_scikit_learn_in_units_of_the_target() -> None:
    random = np.random.default_rng(1)
    block = slope(20).block()
    fitted = FittedEncoder(Encoder(task=Task.REGRESSION), block)
    evaluator = HoldoutEvaluator(Task.REGRESSION, 0, threshold=1.0)
    outputs = random.normal(0, 1, (2, 20, 1))
    scored = scored_of(fitted, block, outputs, np.ones((2, 20), np.uint8), ends_round=True)
    tally = evaluator.evaluate(scored).tally
    assert tally is not None
    truth = block.target
    assert truth is not None
    for k in range(2):
        answer = truth.mean() + truth.std() * outputs[k, :, 0]
        assert tally.squared[k] / 20 == pytest.approx(mean_squared_error(truth, answer))
        assert tally.absolute[k] / 20 == pytest.approx(mean_absolute_error(truth, answer))
        assert tally.distance[k] == tally.squared[k] / 2
        assert tally.correct[k] == (np.abs(answer - truth) < 1.0).sum()


def test_a_candidate_without_a_prediction_misses_by_an_infinite_distance() -> None:
    block = moons(4).block()
    fitted = FittedEncoder(Encoder(task=Task.CLASSIFICATION), block)
    evaluator = HoldoutEvaluator(Task.CLASSIFICATION, 2, threshold=0.0)
    shares = np.full((2, 4, 2), np.nan)
    shares[0] = 0.5
    alive = np.array([[1, 1, 1, 1], [1, 0, 0, 0]], np.uint8)
    shares[1, 0] = 0.5
    tally = evaluator.evaluate(scored_of(fitted, block, shares, alive, ends_round=True)).tally
    assert tally is not None
    assert np.isfinite(tally.distance).tolist() == [True, False]
    assert tally.confusion[1, :, 2].sum() == 3


def test_a_class_absent_from_training_counts_as_an_error() -> None:
    block = moons(4).block()
    training = block.take(np.array([0, 2]))
    fitted = FittedEncoder(Encoder(task=Task.CLASSIFICATION), training, block)
    evaluator = HoldoutEvaluator(Task.CLASSIFICATION, len(fitted.labels), threshold=0.0)
    shares = np.ones((1, 4, 1))
    scored = scored_of(fitted, block, shares, np.ones((1, 4), np.uint8), ends_round=True)
    tally = evaluator.evaluate(scored).tally
    assert tally is not None
    assert tally.confusion[0].tolist() == [[2, 0, 0], [2, 0, 0]]
    assert tally.correct.tolist() == [2]


def test_a_class_that_only_the_last_held_out_block_has_is_counted_with_the_others() -> None:
    block = moons(4).block()
    training, rest = block.take(np.array([0, 2])), block.take(np.array([0, 2, 1, 3]))
    fitted = FittedEncoder(Encoder(task=Task.CLASSIFICATION), training, rest)
    evaluator = HoldoutEvaluator(Task.CLASSIFICATION, len(fitted.labels), threshold=0.0)
    shares, alive = np.ones((1, 2, 1)), np.ones((1, 2), np.uint8)
    # The first block is graded before the last one is encoded, as it may be with many of them.
    first = scored_of(fitted, rest.part(0, 2), shares, alive, ends_round=False)
    assert evaluator.evaluate(first).tally is None
    last = scored_of(fitted, rest.part(2, 4), shares, alive, ends_round=True)
    tally = evaluator.evaluate(last).tally
    assert tally is not None
    assert tally.confusion[0].tolist() == [[2, 0, 0], [2, 0, 0]]


NAN, INF = float("nan"), float("inf")


def population(count: int) -> Any:
    """Stands for one whose candidates have one weight each."""
    layout = SimpleNamespace(places=lambda slot: (slice(slot, slot + 1), None))
    return SimpleNamespace(members=[None] * count, layout=layout, weights=np.zeros(count))


def epoch(weights: float, distances: list[float], correct: list[int] | None = None) -> Any:
    """What an epoch ends with: every weight is ``weights``."""
    count = len(distances)
    zeros = np.zeros(count)
    tally = Tally(
        np.zeros((count, 0, 1)),
        np.full(count, 10.0),
        np.array(correct or zeros, np.float64),
        np.array(distances),
        *[zeros] * 3,
    )
    return HoldoutScored(SimpleNamespace(ends_round=True, weights=np.full(count, weights)), tally)  # type: ignore[arg-type]


def test_each_candidate_keeps_the_weights_of_its_best_epoch() -> None:
    told: list[Improvement] = []
    pool = population(3)
    winners = BestEpochs(pool, find_criterion("distance"), told.append)
    for number, distances in enumerate([[5.0, 4.0, 9.0], [3.0, 6.0, 2.0], [3.0, 1.0, 2.0]], 1):
        winners.serve(epoch(number, distances))
    winners.restore_weights()
    assert pool.weights.tolist() == [2, 3, 2]
    assert winners.ranking() == [1, 2, 0]
    assert told == [Improvement(1, 1, 0.4), Improvement(2, 2, 0.2), Improvement(3, 1, 0.1)]
    assert winners.history == told


def test_the_earlier_of_equal_epochs_is_kept() -> None:
    winners = BestEpochs(population(3), find_criterion("distance"))
    winners.serve(epoch(1, [9.0, 5.0, 5.0]))
    winners.serve(epoch(2, [5.0, 5.0, 5.0]))
    assert winners.ranking() == [1, 2, 0]
    assert len(winners.history) == 1


@pytest.mark.parametrize("broken", [NAN, INF])
def test_a_candidate_that_is_not_finite_never_wins(broken: float) -> None:
    pool = population(2)
    winners = BestEpochs(pool, find_criterion("distance"))
    winners.serve(epoch(1, [broken, broken]))
    assert (winners.ranking(), winners.history) == ([], [])
    winners.serve(epoch(2, [broken, 7.0]))
    winners.serve(epoch(3, [broken, broken]))
    winners.restore_weights()
    assert (winners.ranking(), pool.weights[1]) == ([1], 2)


def test_a_broken_candidate_does_not_win_by_a_criterion_that_only_counts() -> None:
    winners = BestEpochs(population(2), find_criterion("simple"))
    winners.serve(epoch(1, [INF, 5.0], correct=[9, 3]))
    assert winners.ranking() == [1]


def test_weights_are_saved_at_each_candidates_fixed_epoch() -> None:
    pool = population(3)
    finishers = FixedEpochs(pool, [2, 1, 3])
    for number in (1, 2, 3):
        finishers.serve(epoch(number, [0.0] * 3))
    finishers.restore_weights()
    assert pool.weights.tolist() == [2, 1, 3]


def test_unfinished_candidates_keep_their_last_weights() -> None:
    pool = population(2)
    finishers = FixedEpochs(pool, [1, 9])
    for number in (1, 2, 3):
        finishers.serve(epoch(number, [0.0] * 2))
    finishers.restore_weights()
    assert pool.weights.tolist() == [1, 3]
