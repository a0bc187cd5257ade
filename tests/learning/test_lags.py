"""Candidates that look at the last targets: what they learn, and that they see nothing else."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import DataError
from streamnet.learning.contenders import ENSEMBLE, MODEL
from streamnet.learning.learner import LAGS
from streamnet.modelfiles.model import Model
from streamnet.samples import Block, Schema, Task
from streamnet.settings.candidate import CandidateSettings
from tests.learning.streams import candidate, differences, feed, learner_of, state_of, stream

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


def test_beside_the_ensemble_no_candidate_with_lags_is_champion_or_part_of_a_model() -> None:
    block = with_target(Task.CLASSIFICATION, named(np.arange(1500) % 3))
    learner = learner_of(Task.CLASSIFICATION, (*SEEING, *BLIND))
    served = list(feed(learner, block))
    emitted = [part.emitted for part in served if part.emitted is not None]
    assert emitted
    assert learner.serving.champion is not None
    assert not learner.serving.champion.settings.lags
    model = learner.model()
    assert [network.settings.lags for network in model.networks] == [False, False]
    assert not any(settings.lags for snapshot in emitted for settings, _ in snapshot.networks())
    assert learner.serving.changes[-1].after.serial in (2, 3)
    assert model.needs_last_targets == 0
    assert model.predict(block, last_targets=["x"]).tolist() == model.predict(block).tolist()


@pytest.mark.parametrize("task", list(Task))
def test_the_champion_may_need_the_last_targets_and_its_model_says_so(task: Task) -> None:
    block = with_target(task, ordered(task))
    learner = learner_of(task, (*BLIND, *SEEING), serve="champion")
    served = list(feed(learner, block))
    assert learner.serving.champion is not None
    assert learner.serving.champion.settings.lags
    scores = learner.evaluator.candidates
    name = "accuracy" if task is Task.CLASSIFICATION else "r2"
    best = max(scores.measures(slot)[name] for slot in range(4))
    assert learner.serving.measures()[name] > best - 0.05
    emitted = [part.emitted for part in served if part.emitted is not None]
    assert [settings.lags for settings, _ in emitted[-1].networks()] == [True, False]
    model = learner.model()
    assert [network.settings.lags for network in model.networks] == [True, False]
    assert model.needs_last_targets == LAGS[task]


@pytest.mark.parametrize("task", list(Task))
def test_with_the_last_targets_a_model_predicts_what_the_champion_predicts_next(task) -> None:
    target = ordered(task)
    block = with_target(task, target)
    learner = learner_of(task, (*BLIND, *SEEING), serve="champion")
    list(feed(learner, block))
    rows, history = block.part(0, 40), target.tolist()
    model = Model.from_document(learner.model().document())
    known = model.outputs(rows, last_targets=history)
    following = learner.predict(rows)
    assert known.reshape(following.shape) == pytest.approx(following, rel=1e-9)
    without = learner.predict(rows, without_lags=True)
    assert model.outputs(rows).reshape(without.shape) == pytest.approx(without, rel=1e-9)
    assert not np.allclose(known, model.outputs(rows))
    # Rows with a history of their own are predicted like each of them alone.
    histories = [history[: 100 + i] for i in range(40)]
    each = [model.outputs(rows.part(i, i + 1), last_targets=histories[i])[0] for i in range(40)]
    assert model.outputs(rows, last_targets=histories) == pytest.approx(np.array(each))


def test_a_model_that_is_told_the_last_labels_follows_their_order() -> None:
    target = ordered(Task.CLASSIFICATION)
    learner = learner_of(Task.CLASSIFICATION, (*BLIND, *SEEING), serve="champion")
    list(feed(learner, with_target(Task.CLASSIFICATION, target)))
    model, history = learner.model(), target.tolist()
    sample = {"a": 0.0, "b": 0.0, "w": "w1"}
    n = 300
    told = [model.predict(sample, last_targets=history[:i])[0] for i in range(1000, 1000 + n)]
    blind = [model.predict(sample)[0] for _ in range(n)]
    truth = history[1000 : 1000 + n]
    assert np.mean(np.array(told) == truth) > 0.85
    assert np.mean(np.array(blind) == truth) < 0.5
    unknown = model.predict_proba(sample, last_targets=[None, float("nan"), "never seen"])
    assert np.isfinite(unknown).all()
    assert model.predict(sample, last_targets=[]).shape == (1,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([["c0"], ["c1"]], "last_targets has 2 rows, but there are 3 samples"),
        ("c0", "last_targets is 'c0', but must be several"),
        ([{"y": 1}], "last_targets has {'y': 1}, but must have labels"),
    ],
)
def test_last_targets_of_another_form_are_refused(given: Any, message: str) -> None:
    learner = learner_of(Task.CLASSIFICATION, (*BLIND, *SEEING), serve="champion")
    list(feed(learner, with_target(Task.CLASSIFICATION, ordered(Task.CLASSIFICATION))))
    with pytest.raises(DataError, match=re.escape(message)):
        learner.model().predict([{"a": 0.0}] * 3, last_targets=given)


@pytest.mark.parametrize("task", list(Task))
def test_a_champion_with_lags_survives_cuts_and_resuming_to_the_bit(task: Task) -> None:
    block = with_target(task, ordered(task))
    given: dict[str, Any] = {"serve": "champion", "evolution": {"every": 2}}
    whole, begun, resumed = (learner_of(task, (*BLIND, *SEEING), **given) for _ in range(3))
    list(feed(whole, block))
    list(feed(begun, block.part(0, 1024), (100, 7)))
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(1024, len(block)), (33,)))
    assert not differences(state_of(resumed), state_of(whole))
    documents = [learner.model().document() for learner in (whole, resumed)]
    assert documents[0]["checksum"] == documents[1]["checksum"]


def ordered(task: Task) -> NDArray[Any]:
    """Targets of which each follows from the two before it, but not from the inputs."""
    if task is Task.REGRESSION:
        numbers: NDArray[np.float64] = 100.0 + 5.0 * np.sin(np.arange(4000) * 2.1)
        return numbers
    rng, labels = np.random.default_rng(4), [0, 1]
    for _ in range(5000):
        labels.append((labels[-1] + labels[-2] + (rng.random() < 0.1)) % 3)
    return named(np.array(labels))


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
