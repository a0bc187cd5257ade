"""Candidates that explode: noted at that sample, replaced two rounds later, alone in their fate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamnet.errors import NoCandidateError
from streamnet.features.encoder import Encoder
from streamnet.learning import Learner
from streamnet.learning.serving import Served
from streamnet.learning.trainer import Trainer
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import ClassChange, Task
from streamnet.selection.search import replace_exploded
from tests.learning.streams import (
    ROUND,
    candidate,
    differences,
    feed,
    learner_of,
    state_of,
    stream,
    unscored,
)

SANE = (
    candidate(optimizer="sgd", learning_rate=0.05),
    candidate(rehearsal=2, memory=60),
    candidate(hidden=(), optimizer="adagrad"),
)
WILD = candidate(optimizer="sgd", learning_rate=1e6, activation="relu")


def first_silence(served: list[Served], slot: int) -> int:
    """Number of the first sample that a slot's candidate did not answer."""
    for part in served:
        silent = np.flatnonzero(part.predicted.answers.alive[slot] == 0)
        if len(silent):
            return part.predicted.first + int(silent[0])
    raise AssertionError("it answered all")


def joined(served: list[Served]) -> list[tuple[int, int, int]]:
    """Sample, slot and serial of each newcomer."""
    return [
        (part.predicted.first, slot, member.serial)
        for part in served
        for slot, member in part.predicted.joined
    ]


def weights_of(learner: Learner, slot: int) -> list[NDArray[Any]]:
    return list(learner.trainer.population.extract(slot).values())


@pytest.mark.parametrize("last", [0, 20])
def test_a_non_finite_weight_is_found_at_the_end_of_a_round_without_samples(last: int) -> None:
    encoder = Encoder(task=Task.REGRESSION)
    block = stream(Task.REGRESSION, 80, gaps=False)
    trainer = Trainer(SANE, task=Task.REGRESSION)
    trainer.learn(encoder.encode(block.part(0, 60)), None)
    poisoned = trainer.population.extract(1)
    poisoned["sparse"][-1, 0] = np.nan  # of a value that did not come
    trainer.population.insert(1, poisoned)
    trainer.learn(encoder.encode(block.part(60, 60 + last)), encoder.snapshot())
    assert trainer.population.healthy.tolist() == [1, 0, 1]


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("sizes", [(1000,), (5,)])
def test_an_explosion_is_noted_at_its_sample_and_replaced_two_rounds_later_once(
    task: Task, sizes: tuple[int, ...]
) -> None:
    learner = learner_of(task, [*SANE, WILD])
    served = list(feed(learner, stream(task, 6 * ROUND), sizes))
    number = first_silence(served, 3)
    ((left, member),) = [
        (departed.number, departed.member)
        for departed in learner.serving.retired
        if departed.member.serial == 3
    ]
    assert (left, member.settings) == (number, WILD)
    start = (number // ROUND + 2) * ROUND
    assert joined(served)[0] == (start, 3, 4)
    others = [newcomer for newcomer in joined(served) if newcomer[2] > 4]
    assert all(born >= start + 2 * ROUND for born, _, _ in others), "replaced before it began"
    settings = learner.serving.members[3].settings
    assert settings.learning_rate < WILD.learning_rate
    assert settings.clip == 1.0


@pytest.mark.parametrize("task", list(Task))
def test_the_other_candidates_keep_every_bit(task: Task) -> None:
    block = stream(task, 6 * ROUND)
    with_it, without = learner_of(task, [*SANE, WILD]), learner_of(task, SANE)
    served, expected = list(feed(with_it, block)), list(feed(without, block))
    assert first_silence(served, 3) < 3 * ROUND
    for slot in range(len(SANE)):
        pairs = zip(weights_of(with_it, slot), weights_of(without, slot), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
        for part, other in zip(served, expected, strict=True):
            outputs, others = part.predicted.answers.outputs, other.predicted.answers.outputs
            assert np.array_equal(outputs[slot], others[slot])
    for slot in range(len(SANE)):
        scores, as_before = (
            learner.evaluator.candidates.measures(slot) for learner in (with_it, without)
        )
        assert repr(scores) == repr(as_before)


def test_the_exploded_candidate_is_never_served_from_that_sample_on() -> None:
    learner = learner_of(Task.REGRESSION, [WILD, *SANE], serve="champion")
    served = list(feed(learner, stream(Task.REGRESSION, 6 * ROUND)))
    number = first_silence(served, 0)
    serials = np.concatenate([part.serials for part in served])
    assert 0 not in serials[number:].tolist()
    assert learner.serving.selector.champion > 0
    assert np.isfinite(learner.serving.measures()["mae"])


def test_if_all_explode_the_first_baseline_is_served_and_the_run_continues() -> None:
    learner = learner_of(Task.REGRESSION, [WILD, WILD], serve="champion")
    block = stream(Task.REGRESSION, 6 * ROUND)
    served = list(feed(learner, block, (13,)))
    serials = np.concatenate([part.serials for part in served])
    answers = np.concatenate([part.answers for part in served])
    assert block.target is not None
    assert (serials == -1).sum() > ROUND
    truth = np.nan_to_num(block.target)
    known = np.isfinite(block.target)
    before = np.concatenate(([0], np.cumsum(known)[:-1]))
    mean = np.concatenate(([0.0], np.cumsum(truth * known)[:-1])) / np.maximum(before, 1)
    assert answers[serials == -1] == pytest.approx(mean[serials == -1])
    assert learner.serving.quarantines >= 4  # both, and both of those that replaced them
    assert learner.trainer.number == 6 * ROUND
    assert all(m.settings.learning_rate < 1e6 for m in learner.serving.members)


def test_the_state_does_not_depend_on_how_blocks_are_cut_if_several_explode() -> None:
    later = [
        candidate(optimizer="sgd", learning_rate=5.0, activation="relu", score_limit=limit)
        for limit in (9.0, 3.0)
    ]
    states = []
    for sizes in ((1000,), (1,)):
        learner = learner_of(Task.REGRESSION, [*later, *SANE])
        served = list(feed(learner, stream(Task.REGRESSION, ROUND), sizes))
        assert first_silence(served, 0) > first_silence(served, 1)
        states.append(state_of(learner))
    assert differences(states[0], states[1]) == []


def test_before_the_first_label_the_baseline_predicts_none() -> None:
    learner = learner_of(Task.CLASSIFICATION, [WILD], serve="champion")
    served = list(feed(learner, stream(Task.CLASSIFICATION, 2 * ROUND)))
    assert sum(len(part.answers) for part in served if (part.serials == -1).any()) > 0
    by_baseline = [part.answers[part.serials == -1] for part in served]
    for shares in by_baseline:
        assert ((shares == 0) | (shares == 1)).all()
        assert (shares.sum(axis=1) == 1).all()


def test_a_champion_that_explodes_together_with_all_others_is_not_emitted() -> None:
    learner = learner_of(Task.REGRESSION, [WILD, WILD])
    served = list(feed(learner, stream(Task.REGRESSION, 12 * ROUND)))
    for part in served:
        if part.emitted is not None:
            for _, weights in part.emitted.networks():
                assert all(np.isfinite(matrix).all() for matrix in weights.values())
            assert part.emitted.member.born < part.emitted.number, "a network that learned nothing"


def test_an_explosion_at_the_very_last_sample_leaves_a_sound_model() -> None:
    learner = learner_of(Task.REGRESSION, [WILD, *SANE])
    block = stream(Task.REGRESSION, 40, gaps=False)
    list(feed(learner, block.part(0, 2), (1,)))
    broken = [
        slot
        for slot in range(4)
        if not all(np.isfinite(w).all() for w in weights_of(learner, slot))
    ]
    population = learner.trainer.population
    second, _ = population.layout.places(1)
    population.weights[second.start] = np.nan
    broken.append(1)
    before = learner.trainer.population.healthy.copy()
    model = learner.model()
    assert model.about["candidate"] not in broken
    settings = [network.settings for network in model.networks]
    assert sorted(map(repr, settings)) == sorted(
        repr(member.settings)
        for slot, member in enumerate(learner.serving.members)
        if slot not in broken and before[slot]
    )
    assert np.array_equal(learner.trainer.population.healthy, before), "asking changed the state"


def test_a_broken_weight_is_found_at_the_end_of_the_round_even_if_no_prediction_shows_it() -> None:
    learner = learner_of(Task.REGRESSION, SANE)
    block = stream(Task.REGRESSION, 6 * ROUND, gaps=False)
    list(feed(learner, block.part(0, ROUND - 1)))
    weights = learner.trainer.population.extract(1)
    weights["sparse"][-1] = np.nan  # of a value that the next sample doesn't have
    learner.trainer.population.insert(1, weights)
    cutter = BlockSplitter(block_size=1000, round_size=ROUND)
    cutter.number = ROUND - 1
    served = list(feed(learner, block.part(ROUND - 1, 6 * ROUND), cutter=cutter))
    assert first_silence(served, 1) == ROUND
    assert learner.serving.retired[0].number == ROUND
    assert joined(served) == [(3 * ROUND, 1, 3)]


def test_a_candidate_that_explodes_in_a_later_epoch_is_replaced_too() -> None:
    learner = learner_of(Task.REGRESSION, [*SANE])
    cutter = BlockSplitter(block_size=1000, round_size=ROUND)
    block = stream(Task.REGRESSION, 4 * ROUND)
    list(feed(learner, block, cutter=cutter))
    champion = learner.serving.selector.champion
    learner.trainer.population.healthy[champion] = 0
    served = list(feed(learner, unscored(block), cutter=cutter))
    assert [slot for _, slot, _ in joined(served)] == [champion]
    assert learner.serving.selector.champion not in (-1, champion)


def test_without_a_finite_network_there_is_no_model() -> None:
    learner = learner_of(Task.REGRESSION, [candidate()])
    list(feed(learner, stream(Task.REGRESSION, 10)))
    learner.trainer.population.weights[:] = np.nan
    with pytest.raises(NoCandidateError, match="finite network"):
        learner.model()


def test_a_replacement_learns_more_slowly_but_never_stops() -> None:
    settings = WILD
    for _ in range(100):
        ((slot, settings, parent),) = replace_exploded({5: settings})
        assert (slot, parent) == (5, None)
    assert settings.learning_rate == 1e-9


@pytest.mark.parametrize("delay", [0, 40])
def test_an_exploded_candidate_leaves_nothing_that_depends_on_what_memory_held(
    monkeypatch: pytest.MonkeyPatch, delay: int
) -> None:
    block, allocate = stream(Task.CLASSIFICATION, 3 * ROUND), np.empty

    def learn(leftovers: float) -> dict[str, Any]:
        def allocate_used(shape: Any, dtype: Any = np.float64, **options: Any) -> NDArray[Any]:
            array = allocate(shape, dtype, **options)
            if array.dtype.kind == "f":
                array.flat[0::2], array.flat[1::2] = leftovers, -leftovers
            return array

        monkeypatch.setattr(np, "empty", allocate_used)
        learner = learner_of(Task.CLASSIFICATION, [*SANE, WILD], label_delay=delay)
        list(feed(learner, block.part(0, 2 * ROUND)))
        learner.change_classes(ClassChange("c1", "c0"))
        list(feed(learner, block.part(2 * ROUND, len(block))))
        assert not learner.trainer.population.healthy[3]
        return state_of(learner)

    assert differences(learn(0.25), learn(np.inf)) == []
