"""What could be served, side by side: scores, models that are emitted, and how good all is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from sklearn.metrics import recall_score

from streamnet.errors import ConfigurationError
from streamnet.learning.contenders import CHAMPION, ENSEMBLE, MODEL
from streamnet.learning.learner import Learner, build_model
from streamnet.learning.serving import BY_ENSEMBLE, Served
from streamnet.modelfiles.model import Model
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import Block, Task
from streamnet.settings.candidate import CandidateSettings
from tests.learning.streams import ROUND, candidate, differences, feed, learner_of, state_of, stream

WILD = candidate(optimizer="sgd", learning_rate=1e6, activation="relu")
MIXED = (candidate(), candidate(lags=True), candidate(hidden=(), optimizer="adagrad"), WILD)
TASKS = pytest.mark.parametrize("task", list(Task))


def error_of(block: Block, served: list[Served], labels: list[str]) -> float:
    """Accuracy or mean absolute error of what was served, by hand."""
    answers = np.concatenate([part.answers for part in served if len(part.answers)])
    assert block.target is not None
    if block.schema.task is Task.REGRESSION:
        known = np.isfinite(block.target)
        return float(np.abs(answers - block.target)[known].mean())
    right, count = 0, 0
    seen: set[str] = set()
    for shares, truth in zip(answers, block.target.tolist(), strict=True):
        if truth is not None:
            right += bool(seen) and labels[int(shares.argmax())] == truth
            count += 1
            seen.add(truth)
    return right / count


@TASKS
@pytest.mark.parametrize("candidates", [MIXED, [candidate()], [WILD]])
def test_each_contender_is_scored_as_if_it_were_served(task: Task, candidates: Any) -> None:
    measure = "accuracy" if task is Task.CLASSIFICATION else "mae"
    block = stream(task, 500)
    learners = [
        learner_of(task, candidates, serve=name, drift="none") for name in ("ensemble", "champion")
    ]
    for track, learner in zip((ENSEMBLE, CHAMPION), learners, strict=True):
        served = list(feed(learner, block, (50,)))
        contenders = learner.serving.contenders
        # Tables of answers may be wider from block to block.
        if task is Task.CLASSIFICATION:
            width = max(part.answers.shape[1] for part in served)
            served = [
                part._replace(
                    answers=np.pad(part.answers, ((0, 0), (0, width - part.answers.shape[1])))
                )
                for part in served
            ]
        expected = error_of(block, served, learner.encoder.labels)
        assert contenders.scores.measures(track)[measure] == pytest.approx(expected, rel=1e-12)
        histograms = learner.serving.histograms
        ranking = {} if histograms is None else histograms.measures()
        assert learner.serving.measures() == {**contenders.scores.measures(track), **ranking}
    one, other = (learner.serving.contenders.export_state() for learner in learners)
    # A champion that is served may need the last targets, as no other one may.
    scores = [learner.serving.contenders.scores for learner in learners]
    for track in (ENSEMBLE, MODEL, *learners[0].serving.contenders.baselines):
        found = [repr(metrics.measures(track)) for metrics in scores]
        assert found[0] == found[1], "whatever is served, all else is scored alike"
    apart = {path.split("/")[1] for path in differences(one, other)}
    assert apart <= ({"scores"} if any(c.lags for c in candidates) else set())


@TASKS
def test_the_serials_name_the_ensemble_where_it_is_served(task: Task) -> None:
    learner = learner_of(task)
    served = list(feed(learner, stream(task, 300)))
    assert set(np.concatenate([part.serials for part in served]).tolist()) == {BY_ENSEMBLE}
    assert learner.serving.serves_ensemble
    contenders = learner.serving.contenders
    assert contenders.names[:3] == ("ensemble", "champion", "model")
    assert (ENSEMBLE, CHAMPION, MODEL, *learner.serving.contenders.baselines) == (0, 1, 2, 3, 4)


def test_an_unknown_contender_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"serve is 'best', but must be 'ensemble' or 'champion'$"
    ):
        learner_of(Task.REGRESSION, serve="best")


@TASKS
@pytest.mark.parametrize("seed", [3, 4])
def test_the_served_predictions_are_hardly_worse_than_the_best_candidate_in_hindsight(
    task: Task, seed: int
) -> None:
    measure = "accuracy" if task is Task.CLASSIFICATION else "r2"
    learner = learner_of(task)
    list(feed(learner, stream(task, 6000, seed=seed)))
    best = max(learner.evaluator.candidates.measures(slot)[measure] for slot in range(5))
    for track in (ENSEMBLE, MODEL):
        assert learner.serving.contenders.scores.measures(track)[measure] > best - 0.004


@TASKS
def test_if_all_explode_the_ensemble_still_predicts_from_targets_alone(task: Task) -> None:
    block = stream(task, 6 * ROUND)
    learner = learner_of(task, [WILD, WILD])
    served = list(feed(learner, block, (13,)))
    for part in served:
        answers, known = part.answers, part.predicted.encoded.known
        assert np.isfinite(answers).all()
        if task is Task.CLASSIFICATION:
            assert answers.sum(axis=1) == pytest.approx((known > 0) * 1.0, abs=1e-6)
    measures = [
        learner.serving.contenders.scores.measures(track)
        for track in (ENSEMBLE, *learner.serving.contenders.baselines)
    ]
    if task is Task.CLASSIFICATION:
        ours, *others = [found["accuracy"] for found in measures]
        assert ours > max(others) - 0.06
    else:
        ours, *others = [found["mae"] for found in measures]
        assert ours < 1.06 * min(others)


@TASKS
def test_predicting_with_the_learner_changes_nothing(task: Task) -> None:
    block = stream(task, 400)
    learner, left_alone = learner_of(task, MIXED), learner_of(task, MIXED)
    cutters = [BlockSplitter(block_size=1000, round_size=ROUND) for _ in range(2)]
    for start in range(0, 400, 80):
        part = block.part(start, start + 80)
        list(feed(learner, part, cutter=cutters[0]))
        list(feed(left_alone, part, cutter=cutters[1]))
        for alone in (True, False):
            learner.predict(block, without_lags=alone)
    assert differences(state_of(learner), state_of(left_alone)) == []


# --------------------------------------------------------------- models that come


def compositions(served: list[Served]) -> dict[int, Any]:
    """What was decided to be emitted, by the sample at which it will be."""
    return {
        (part.decision.round + 2) * ROUND: part.decision.emit
        for part in served
        if part.decision is not None and part.decision.emit is not None
    }


@TASKS
def test_an_emitted_model_has_the_chosen_networks_although_others_take_their_slots(
    task: Task,
) -> None:
    # Each round somebody makes room for a newcomer, which must not be heard in another's place.
    learner = learner_of(task, evolution={"every": 1, "grace": 0}, drift="none", seed=13)
    meant: dict[int, list[int]] = {}
    came = 0
    for part in feed(learner, stream(task, 30 * ROUND), (ROUND,)):
        if part.decision is not None and part.decision.emit is not None:
            slots = part.decision.emit.slots
            serials = [learner.serving.members[slot].serial for slot in slots]
            meant[(part.decision.round + 2) * ROUND] = serials
            leaving = {replacement.slot for replacement in part.decision.replacements}
            assert not leaving.intersection(slots)
        if part.emitted is not None:
            came += 1
            assert learners_of(learner, part) == meant[part.emitted.number]
    assert came
    assert len(learner.serving.retired) > 20


def learners_of(learner: Learner, part: Served) -> list[int]:
    """Serials of those whose networks came as the block began."""
    assert part.emitted is not None
    members = {repr(m.settings): m.serial for m in learner.trainer.population.members}
    assert len(members) == 5, "settings tell them apart"
    return [members[repr(settings)] for settings, _ in part.emitted.networks()]


@TASKS
def test_a_network_that_has_exploded_since_is_left_out_of_the_emitted_model(task: Task) -> None:
    block = stream(task, 4 * ROUND, gaps=False)
    learner = learner_of(task)
    cutter = BlockSplitter(block_size=1000, round_size=ROUND)
    asked = compositions(list(feed(learner, block.part(0, ROUND), cutter=cutter)))
    composition = asked[2 * ROUND]
    assert len(composition.slots) == 5
    lost = composition.slots[2]
    learner.trainer.population.healthy[lost] = 0
    served = list(feed(learner, block.part(ROUND, 4 * ROUND), cutter=cutter))
    (snapshot, *_) = [part.emitted for part in served if part.emitted is not None]
    assert snapshot.number == 2 * ROUND
    settings = [
        learner.serving.members[slot].settings for slot in composition.slots if slot != lost
    ]
    assert [given for given, _ in snapshot.networks()] == settings
    for _, weights in snapshot.networks():
        assert all(np.isfinite(matrix).all() for matrix in weights.values())
    assert np.isfinite(np.asarray(build_model(snapshot, {}).outputs(block))).all()


def test_without_its_champion_no_model_is_emitted() -> None:
    block = stream(Task.REGRESSION, 4 * ROUND, gaps=False)
    learner = learner_of(Task.REGRESSION)
    cutter = BlockSplitter(block_size=1000, round_size=ROUND)
    asked = compositions(list(feed(learner, block.part(0, ROUND), cutter=cutter)))
    champion = asked[2 * ROUND].champion
    learner.trainer.population.healthy[champion] = 0
    served = list(feed(learner, block.part(ROUND, 4 * ROUND), cutter=cutter))
    numbers = [part.emitted.number for part in served if part.emitted is not None]
    assert 2 * ROUND not in numbers
    assert numbers, "the next champion's comes"


@TASKS
def test_a_replaced_slot_starts_without_weight_in_both_ensembles(task: Task) -> None:
    learner = learner_of(task, [candidate(), candidate(hidden=()), WILD], drift="none")
    contenders = learner.serving.contenders
    judged: list[float] = []
    for part in feed(learner, stream(task, 6 * ROUND), (ROUND,)):
        for ensemble in (contenders.ensemble, contenders.model):
            assert ensemble.members[2] == 1
            assert ensemble.losses[1, 2] == contenders.ensemble.losses[1, 2]
        judged.append(float(contenders.ensemble.losses[1, 2]))
        if part.predicted.joined:
            break
    assert part.predicted.joined[0][0] == 2
    assert judged[-1] <= ROUND < judged[-2], "only of the samples since"


def test_a_new_candidate_with_lags_is_not_part_of_the_model() -> None:
    learner = learner_of(Task.CLASSIFICATION, MIXED)
    contenders = learner.serving.contenders
    member = learner.serving.members[0]
    assert contenders.model.members.tolist() == [1, 0, 1, 1, 0, 1]
    assert contenders.ensemble.members.all()
    newcomer = member._replace(settings=CandidateSettings(lags=True))
    contenders.reset_slot(0, newcomer)
    assert contenders.model.members.tolist() == [0, 0, 1, 1, 0, 1]
    assert contenders.ensemble.members.all()
    assert not contenders.is_portable(newcomer)
    contenders.reset_slot(1, member)
    assert contenders.model.members.tolist() == [0, 1, 1, 1, 0, 1]


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
def test_without_fading_the_losses_equal_the_metrics_of_each_candidate(
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


@pytest.mark.parametrize("delay", [0, 30])
def test_a_balanced_criterion_moves_decisions_and_leaves_probabilities_alone(delay: int) -> None:
    block = rare()
    plain, balanced = (
        learner_of(LABELS, criterion=name, label_delay=delay, drift="none")  # which sees decisions
        for name in (None, "balanced_accuracy")
    )
    served = [list(feed(learner, block)) for learner in (plain, balanced)]
    probabilities = [np.concatenate([part.answers for part in parts]) for parts in served]
    assert probabilities[0].tobytes() == probabilities[1].tobytes()
    before, after = (np.concatenate([part.predicted_classes for part in parts]) for parts in served)
    for learner in (plain, balanced):
        learner.learn_pending()
    for name in ("log_loss", "brier"):
        assert balanced.serving.measures()[name] == plain.serving.measures()[name]
    names = balanced.encoder.labels
    truth = np.array([names.index(name) for name in np.array(block.target).tolist()])
    scores = [recall_score(truth, said, average="macro") for said in (before, after)]
    assert scores[0] < 0.65 < 0.7 < scores[1]
    found = balanced.serving.measures()
    assert found["balanced_accuracy"] == pytest.approx(scores[1], abs=0.01)
    assert found["accuracy"] == pytest.approx((after == truth).mean(), abs=0.015)
    assert 1 - balanced.serving.errors[0] / len(block) == pytest.approx(found["accuracy"])


def test_a_model_learned_by_a_balanced_criterion_decides_as_what_is_served() -> None:
    block = rare()
    balanced = learner_of(LABELS, criterion="balanced_accuracy")
    for _ in feed(balanced, block):
        pass
    names = balanced.encoder.labels
    model = balanced.model()
    alone = balanced.predict(block.part(0, 500), without_lags=True)
    np.testing.assert_allclose(model.outputs(block.part(0, 500)), alone, atol=1e-5)
    loaded = Model.from_document(model.document())
    outputs = model.outputs(block)
    assert np.array_equal(loaded.outputs(block), outputs)
    counts = np.array([np.sum(block.target == name) for name in names])
    expected = np.array(names)[(outputs / (counts + 1)).argmax(axis=1)]
    assert loaded.predict(block).tolist() == model.predict(block).tolist() == expected.tolist()
    assert (expected == "rare").sum() > 3 * (outputs[:, names.index("rare")] > 0.5).sum()


def test_candidates_with_class_weights_predict_rare_classes_by_themselves() -> None:
    recalls = []
    for weight in (0.0, 0.5, 1.0):
        alone = [candidate(hidden=(), optimizer="sgd", learning_rate=0.05, class_weight=weight)]
        learner = learner_of(LABELS, alone, serve="champion")
        for _ in feed(learner, rare()):
            pass
        recalls.append(learner.serving.measures()["balanced_accuracy"])
    assert recalls[0] + 0.05 < recalls[1] < recalls[2] - 0.05


def test_a_criterion_of_the_other_task_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the champion of a regression must be chosen by"):
        learner_of(NUMBERS, criterion="accuracy")
