"""A champion is chosen by the criterion that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from sklearn.metrics import recall_score

from streamnet.errors import ConfigurationError
from streamnet.modelfiles.model import Model
from streamnet.samples import Block, Task
from tests.learning.streams import candidate, differences, feed, learner_of, state_of, stream

LABELS = Task.CLASSIFICATION
NUMBERS = Task.REGRESSION


@pytest.mark.parametrize(
    ("task", "criterion", "measure"),
    [
        (LABELS, None, lambda m: m["log_loss"]),
        (LABELS, "accuracy", lambda m: 1 - m["accuracy"]),
        (LABELS, "distance", lambda m: m["brier"] / 2),
        (NUMBERS, None, lambda m: m["mae"]),
        (NUMBERS, "mse", lambda m: m["rmse"] ** 2),
    ],
)
def test_without_fading_the_losses_are_the_measures_of_each_candidate(
    task: Task, criterion: str | None, measure: object
) -> None:
    learner = learner_of(task, criterion=criterion, fading=1.0)
    for _ in feed(learner, stream(task), (37, 64)):
        pass
    losses = learner.serving.selector.losses()
    scores = [learner.evaluator.candidates.measures(k) for k in range(len(losses))]
    assert callable(measure)
    assert losses.tolist() == pytest.approx([measure(one) for one in scores], rel=1e-5)


@pytest.mark.parametrize("criterion", ["accuracy", "balanced_accuracy", "distance"])
def test_cuts_and_a_restart_change_no_bit(criterion: str) -> None:
    block = stream(LABELS)
    whole = learner_of(LABELS, criterion=criterion)
    pieces = learner_of(LABELS, criterion=criterion)
    for _ in feed(whole, block):
        pass
    for _ in feed(pieces, block, (1, 7, 30)):
        pass
    assert differences(state_of(whole), state_of(pieces)) == []
    restored = learner_of(LABELS, criterion=criterion)
    restored.restore_state(whole.export_state())
    assert differences(state_of(whole), state_of(restored)) == []


def rare(n: int = 3000) -> Block:
    """One sample in 25 is of a class that can be told from the other in part."""
    rng = np.random.default_rng(1)
    found = rng.random(n) < 0.04
    numbers = rng.normal(size=(n, 2)) + 1.2 * found[:, None]
    target = np.where(found, "rare", "usual").astype(object)
    marks = np.zeros((n + 1, 3), np.int64)
    return replace(stream(LABELS, n), numbers=numbers, target=target, marks=marks)


def test_a_balanced_criterion_lets_the_ensemble_and_the_model_name_rare_classes() -> None:
    block = rare()
    plain, balanced = (learner_of(LABELS, criterion=name) for name in (None, "balanced_accuracy"))
    served = [list(feed(learner, block)) for learner in (plain, balanced)]
    before, after = (
        np.concatenate([part.answers for part in parts]).argmax(axis=1) for parts in served
    )
    names = balanced.encoder.labels
    truth = np.array([names.index(name) for name in np.array(block.target).tolist()])
    scores = [recall_score(truth, said, average="macro") for said in (before, after)]
    assert scores[0] < 0.65 < 0.75 < scores[1]
    assert balanced.serving.measures()["balanced_accuracy"] == pytest.approx(scores[1], abs=0.01)
    # What is learned and what is taken home answer alike.
    model = balanced.model()
    alone = balanced.predict(block.part(0, 500), without_lags=True)
    np.testing.assert_allclose(model.outputs(block.part(0, 500)), alone, atol=1e-5)
    loaded = Model.from_document(model.document())
    assert np.array_equal(loaded.outputs(block), model.outputs(block))


def test_candidates_that_weigh_classes_name_rare_ones_by_themselves() -> None:
    recalls = []
    for weight in (0.0, 0.5, 1.0):
        alone = [candidate(hidden=(), optimizer="sgd", learning_rate=0.05, class_weight=weight)]
        learner = learner_of(LABELS, alone, serve="champion")
        for _ in feed(learner, rare()):
            pass
        recalls.append(learner.serving.measures()["balanced_accuracy"])
    assert recalls[0] + 0.05 < recalls[1] < recalls[2] - 0.05


def test_a_criterion_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the champion of a regression must be chosen by"):
        learner_of(NUMBERS, criterion="accuracy")
