"""Candidates that learn the logarithm of a target answer in the target's own units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from streamnet.errors import ConfigurationError
from streamnet.learning.learner import Learner
from streamnet.modelfiles.model import Model
from streamnet.samples import Block, Task
from streamnet.selection.search import default_population
from streamnet.settings.candidate import CandidateSettings
from tests.learning.streams import candidate, differences, feed, learner_of, state_of, stream

NUMBERS = Task.REGRESSION
MIXED = [
    candidate(optimizer="adagrad", learning_rate=0.1),
    candidate(optimizer="adagrad", learning_rate=0.1, target_transform="log", rehearsal=2),
    candidate(hidden=(), optimizer="sgd", learning_rate=0.05, target_transform="log"),
]


def powers(n: int = 1500) -> Block:
    """Targets whose logarithm is a line, as prices are."""
    block = stream(NUMBERS, n, gaps=False)
    return structs.replace(block, target=np.exp(1.0 + 1.5 * block.numbers[:, 0]))


def test_predictions_are_those_of_a_learner_of_logarithms_transformed_back() -> None:
    """Against a learner to whom the logarithms are given as the target."""
    block = powers()
    target = np.asarray(block.target, np.float64)
    own = learner_of(NUMBERS, MIXED[2:], dtype="float64", serve="champion")
    given = learner_of(
        NUMBERS, [replace(MIXED[2], target_transform="none")], dtype="float64", serve="champion"
    )
    said = np.concatenate([part.answers for part in feed(own, block)])
    logs = np.concatenate(
        [part.answers for part in feed(given, structs.replace(block, target=np.log1p(target)))]
    )
    for i in (50, 500, 1499):
        bound = target[:i].mean() + 10.0 * target[:i].std()
        assert said[i] == pytest.approx(min(np.expm1(logs[i]), bound), rel=1e-6)
    assert own.serving.measures()["mae"] == pytest.approx(np.abs(said - target).mean(), rel=1e-6)


def test_logarithms_improve_relative_errors() -> None:
    errors = []
    for settings in MIXED[0], replace(MIXED[0], target_transform="log"):
        learner = learner_of(NUMBERS, [settings])
        for _ in feed(learner, powers()):
            pass
        errors.append(learner.serving.measures()["mae"])
    assert errors[1] < 0.8 * errors[0]


def test_cuts_and_a_restart_change_no_bit() -> None:
    block = stream(NUMBERS)
    whole, pieces = learner_of(NUMBERS, MIXED), learner_of(NUMBERS, MIXED)
    for _ in feed(whole, block):
        pass
    for _ in feed(pieces, block, (1, 7, 30)):
        pass
    assert differences(state_of(whole), state_of(pieces)) == []
    restored = learner_of(NUMBERS, MIXED)
    restored.restore_state(whole.export_state())
    for learner in (whole, restored):
        for _ in feed(learner, block):
            pass
    assert differences(state_of(whole), state_of(restored)) == []


@pytest.mark.parametrize("serve", ["ensemble", "champion"])
@pytest.mark.parametrize("settings", [MIXED, MIXED[2:]])
def test_a_model_predicts_in_the_units_of_the_target(
    serve: str, settings: list[CandidateSettings]
) -> None:
    block = powers()
    learner = learner_of(NUMBERS, settings, serve=serve)
    for _ in feed(learner, block):
        pass
    model = learner.model()
    loaded = Model.from_document(model.document())
    numbers = loaded.predict(block)
    assert np.array_equal(numbers, model.predict(block))
    np.testing.assert_allclose(numbers, learner.predict(block, without_lags=True), rtol=1e-5)
    assert np.median(np.abs(numbers / np.asarray(block.target, np.float64) - 1.0)) < 0.3


def test_unscaled_targets_are_not_transformed() -> None:
    with pytest.raises(ConfigurationError, match="target_transform is 'log', but must be 'none'"):
        learner_of(NUMBERS, MIXED, encoder={"target_scaling": "none"})


def test_the_default_population_does_not_transform_unscaled_targets() -> None:
    usual, raw = default_population(), default_population(encoder={"target_scaling": "none"})
    assert {settings.target_transform for settings in usual} == {"none", "log"}
    assert raw == [replace(settings, target_transform="none") for settings in usual]
    learner = Learner(task=NUMBERS, encoder={"target_scaling": "none"})
    assert [member.settings for member in learner.serving.members] == raw


@pytest.mark.parametrize("serve", ["ensemble", "champion"])
def test_unscaled_targets_may_be_large(serve: str) -> None:
    block = stream(NUMBERS, 3000, gaps=False)
    target = 125.0 + 10.0 * block.numbers[:, 0]
    linear = candidate(hidden=(), optimizer="adam", learning_rate=0.3)
    learner = learner_of(NUMBERS, [linear], serve=serve, encoder={"target_scaling": "none"})
    said = np.concatenate([p.answers for p in feed(learner, structs.replace(block, target=target))])
    assert np.abs(said - target)[-500:].mean() < 0.3 * target.std()
    loaded = Model.from_document(learner.model().document())
    assert np.abs(loaded.predict(block) - target)[-500:].mean() < 0.3 * target.std()
