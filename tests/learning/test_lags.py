"""Candidates that look at the last targets: what they learn, and that they see nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.learning.contenders import ENSEMBLE, MODEL
from streamnet.learning.learner import LAGS
from streamnet.samples import Block, Schema, Task
from streamnet.settings.candidate import CandidateSettings
from tests.learning.streams import candidate, feed, learner_of, stream

BLIND = (candidate(optimizer="adagrad", learning_rate=0.1), candidate(rehearsal=2, memory=50))
SEEING = (
    candidate(optimizer="adagrad", learning_rate=0.1, lags=True),
    candidate(hidden=(), optimizer="sgd", learning_rate=0.1, rehearsal=2, memory=50, lags=True),
)


def with_target(task: Task, target: NDArray[Any]) -> Block:
    """Samples that tell nothing about these targets."""
    return replace(stream(task, len(target), gaps=False), target=target)


def named(labels: NDArray[np.integer]) -> NDArray[np.object_]:
    return np.array([f"c{label}" for label in labels.tolist()], object)


def accuracies(block: Block, candidates: tuple[CandidateSettings, ...]) -> list[float]:
    """Of the ensemble, the model, and each candidate."""
    learner = learner_of(Task.CLASSIFICATION, candidates)
    list(feed(learner, block, (50,)))
    tracks = [learner.serving.contenders.scores.measures(track) for track in (ENSEMBLE, MODEL)]
    scores = [learner.evaluator.candidates.measures(slot) for slot in range(len(candidates))]
    return [measures["accuracy"] for measures in (*tracks, *scores)]


@pytest.mark.parametrize("candidates", [SEEING, (*BLIND, *SEEING)])
def test_a_random_bit_is_predicted_by_chance_although_the_last_ones_are_inputs(
    candidates: tuple[CandidateSettings, ...],
) -> None:
    n = 8000
    bits = np.random.default_rng(9).integers(0, 2, n)
    found = accuracies(with_target(Task.CLASSIFICATION, named(bits)), candidates)
    slack = 4 * (0.25 / n) ** 0.5
    assert all(abs(accuracy - 0.5) < slack for accuracy in found), found


def test_a_random_number_is_predicted_no_better_than_by_the_mean() -> None:
    numbers = np.random.default_rng(9).normal(size=4000)
    learner = learner_of(Task.REGRESSION, SEEING)
    list(feed(learner, with_target(Task.REGRESSION, numbers)))
    for track in (ENSEMBLE, MODEL):
        assert learner.serving.contenders.scores.measures(track)["r2"] < 0.005
    assert all(learner.evaluator.candidates.measures(slot)["r2"] < 0.005 for slot in range(2))


def test_a_pattern_in_the_last_labels_is_learned_by_candidates_with_lags() -> None:
    # Each label is the sum of the two before it, with some noise: one label alone tells nothing.
    rng = np.random.default_rng(4)
    labels = [0, 1]
    for _ in range(5000):
        labels.append((labels[-1] + labels[-2] + (rng.random() < 0.1)) % 3)
    block = with_target(Task.CLASSIFICATION, named(np.array(labels)))
    ensemble, model, *scores = accuracies(block, (*BLIND, SEEING[0]))
    assert scores[2] > 0.65
    assert max(scores[:2]) < 0.5
    assert ensemble > scores[2] - 0.01
    assert model < 0.5, "nobody tells it the last labels"


def test_a_pattern_in_the_last_numbers_is_learned_by_candidates_with_lags() -> None:
    phase = np.arange(4000) * 2.1
    target = 100.0 + 5.0 * np.sin(phase)  # the next one follows from two, but not from one
    learner = learner_of(Task.REGRESSION, (*BLIND, SEEING[0]))
    list(feed(learner, with_target(Task.REGRESSION, target)))
    found = [learner.serving.contenders.scores.measures(track)["r2"] for track in (ENSEMBLE, MODEL)]
    assert found[0] > 0.7
    assert found[1] < 0.1


@pytest.mark.parametrize("task", list(Task))
def test_last_targets_are_inputs_only_if_a_candidate_has_lags(task: Task) -> None:
    for candidates, lags in ((BLIND, 0), ((*BLIND, SEEING[0]), LAGS[task])):
        assert learner_of(task, candidates).encoder.lags == lags


def without_rows(task: Task, n: int = 400) -> Block:
    """Samples of numbers only, none of which is missing."""
    block = stream(task, n, gaps=False)
    schema = Schema(block.schema.fields[:2], block.schema.target, task)
    return replace(block, schema=schema, words=())


@pytest.mark.parametrize("task", list(Task))
def test_beside_lags_a_candidate_without_them_keeps_its_bits_if_rows_are_numbered_alike(
    task: Task,
) -> None:
    # Numbers that are no categories have no rows, so that those of lags change no other's.
    block, encoder = without_rows(task), {"category_limit": 0}
    few, more = (learner_of(task, c, encoder=encoder) for c in (BLIND, (*BLIND, *SEEING)))
    parts = zip(feed(few, block), feed(more, block), strict=True)
    for part, other in parts:
        one, two = part.predicted.answers, other.predicted.answers
        assert np.array_equal(one.outputs, two.outputs[:2])
        assert np.array_equal(one.alive, two.alive[:2])
    for slot in range(2):
        scores = [learner.evaluator.candidates.measures(slot) for learner in (few, more)]
        assert repr(scores[0]) == repr(scores[1])


def test_beside_lags_rows_have_other_numbers_which_affect_only_initial_weights() -> None:
    # A row's start weights follow from its number, and those of a linear candidate are zeros.
    block = stream(Task.CLASSIFICATION, 3000)
    blind = (*BLIND, candidate(hidden=(), rehearsal=1, memory=30))
    few, more = (learner_of(Task.CLASSIFICATION, c) for c in (blind, (*blind, *SEEING)))
    parts = zip(feed(few, block), feed(more, block), strict=True)
    pairs = [
        (part.predicted.answers.outputs, other.predicted.answers.outputs) for part, other in parts
    ]
    same = [[np.array_equal(one[slot], two[slot]) for one, two in pairs] for slot in range(3)]
    assert all(same[2])
    assert not any(same[slot][-1] for slot in range(2))


@pytest.mark.parametrize("serve", ["ensemble", "champion"])
def test_candidates_with_lags_are_neither_champion_nor_part_of_a_model(serve: str) -> None:
    labels = np.arange(1500) % 3
    block = with_target(Task.CLASSIFICATION, named(labels))
    learner = learner_of(Task.CLASSIFICATION, (*SEEING, *BLIND), serve=serve)
    served = list(feed(learner, block))
    emitted = [part.emitted for part in served if part.emitted is not None]
    assert emitted
    assert learner.serving.champion is not None
    assert not learner.serving.champion.settings.lags
    model = learner.model()
    assert not any(network.settings.lags for network in model.networks)
    assert not any(settings.lags for snapshot in emitted for settings, _ in snapshot.networks())
    assert len(model.networks) == (2 if serve == "ensemble" else 1)
    assert learner.serving.changes[-1].after.serial in (2, 3)


def test_if_all_candidates_have_lags_they_are_the_model() -> None:
    block = with_target(Task.CLASSIFICATION, named(np.arange(1500) % 3))
    learner = learner_of(Task.CLASSIFICATION, SEEING)
    list(feed(learner, block))
    model = learner.model()
    assert [network.settings.lags for network in model.networks] == [True, True]
    assert np.isfinite(model.predict_proba(block)).all()
    assert model.predict_proba(block) == pytest.approx(
        learner.predict(block, without_lags=True), rel=1e-12
    )
