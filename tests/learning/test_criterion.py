"""A champion is chosen by the criterion that was asked for."""

from __future__ import annotations

import pytest

from streamnet.errors import ConfigurationError
from streamnet.samples import Task
from tests.learning.streams import differences
from tests.learning.streams import feed
from tests.learning.streams import learner_of
from tests.learning.streams import state_of
from tests.learning.streams import stream

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
    losses = learner.server.selector.losses()
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


def test_a_criterion_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the champion of a regression must be chosen by"):
        learner_of(NUMBERS, criterion="accuracy")
