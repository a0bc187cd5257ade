"""The learner: bits that don't depend on cuts or restarts, and scores that are honest."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from streamnet.errors import NoCandidateError, StateError
from streamnet.features.encoder import Encoder
from streamnet.learning import Learner
from streamnet.learning.contenders import SERVABLE
from streamnet.learning.serving import BY_ENSEMBLE, CURVE_EVERY, Served
from streamnet.learning.trainer import Trainer
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import Block, Task
from streamnet.selection.champion import ModelComposition
from streamnet.settings.candidate import OPTIMIZERS
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

FEW_CLASSES = {"max_classes": 4}  # so that the encoder refuses samples of the fifth


def answers(served: list[Served]) -> list[tuple[Any, ...]]:
    """What was served, sample by sample, with who answered."""
    found = []
    for part in served:
        first = part.predicted.first
        pairs = zip(part.serials.tolist(), part.answers, strict=True)
        found += [
            (first + i, serial, np.trim_zeros(np.atleast_1d(answer), "b").tobytes())
            for i, (serial, answer) in enumerate(pairs)
        ]
    return found


def events(served: list[Served]) -> list[tuple[Any, ...]]:
    """Decisions, newcomers and emitted models, each with the number of the sample."""
    found: list[tuple[Any, ...]] = []
    for part in served:
        first = part.predicted.first
        found += [("joined", first, slot, m.serial, m.born) for slot, m in part.predicted.joined]
        if part.emitted is not None:
            member, networks, ensemble, encoder, number, _ = part.emitted
            found.append(("emitted", number, member, networks, ensemble, encoder.materialize()))
        if part.decision is not None:
            found.append(("decided", first + len(part.predicted.encoded.block), part.decision))
    return found


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("serve", SERVABLE)
@pytest.mark.parametrize("sizes", [(1,), (7, 3, 64, 129)])
def test_bits_do_not_depend_on_how_the_stream_is_cut(
    task: Task, serve: str, sizes: tuple[int, ...]
) -> None:
    block = stream(task)
    search = {"every": 100, "grace": 1}  # candidates rest, but none is replaced
    whole, pieces = (
        learner_of(task, encoder=FEW_CLASSES, serve=serve, evolution=search) for _ in range(2)
    )
    expected = list(feed(whole, block))
    decided = [one.decision for one in expected if one.decision is not None]
    assert any(one.resting for one in decided) is (serve == "ensemble")
    found = list(feed(pieces, block, sizes))
    assert differences(state_of(whole), state_of(pieces)) == []
    assert answers(found) == answers(expected)
    assert differences(events(found), events(expected)) == []
    refused = sum(len(s.predicted.encoded.block.rejected) for s in expected) - len(block.rejected)
    assert (refused > 0) is (task is Task.CLASSIFICATION)


def many_classes(seed: int) -> Block:
    """Samples of forty classes, most of which come up in the first rounds."""
    block = stream(Task.CLASSIFICATION, 200, gaps=False)
    labels = np.random.default_rng(seed).integers(0, 40, 200)
    return replace(block, target=np.array([f"c{label}" for label in labels], object))


@limits(max_examples=15)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=8), st.integers(0, 1000))
def test_bits_do_not_depend_on_cuts_when_many_classes_appear_at_once(
    sizes: list[int], seed: int
) -> None:
    candidates = [candidate(optimizer=name) for name in OPTIMIZERS]
    whole, pieces = (learner_of(Task.CLASSIFICATION, candidates) for _ in range(2))
    expected = list(feed(whole, many_classes(seed)))
    assert answers(list(feed(pieces, many_classes(seed), sizes))) == answers(expected)
    assert differences(state_of(whole), state_of(pieces)) == []


def test_bits_of_a_linear_model_do_not_depend_on_when_capacity_for_its_classes_was_reserved() -> (
    None
):
    whole, pieces = (learner_of(Task.CLASSIFICATION, [candidate(hidden=())]) for _ in range(2))
    expected = answers(list(feed(whole, many_classes(0))))
    assert answers(list(feed(pieces, many_classes(0), (2,)))) == expected


def test_the_state_of_an_encoder_with_other_settings_is_refused() -> None:
    def learner(text_digits: int) -> Learner:
        return Learner(task=Task.CLASSIFICATION, encoder={"text_digits": text_digits})

    state = learner(0).export_state()
    with pytest.raises(StateError, match=r"encoder\.text_digits is 4, but was 0"):
        learner(4).restore_state(state)
    learner(0).restore_state(state)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("stop", [2 * ROUND, 4 * ROUND, 4 * ROUND + 17])
def test_resuming_from_a_state_gives_the_bits_of_an_uninterrupted_run(
    task: Task, stop: int
) -> None:
    # The explosion makes a replacement, which is pending at some of the stops.
    candidates = [candidate(), candidate(rehearsal=1), candidate(learning_rate=1e6)]
    block = stream(task)
    whole, before, after = (learner_of(task, candidates) for _ in range(3))
    expected = list(feed(whole, block, (50,)))
    head = list(feed(before, block.part(0, stop)))
    after.restore_state(before.export_state())
    cutter = BlockSplitter(block_size=100, round_size=ROUND)
    cutter.number = stop
    tail = list(feed(after, block.part(stop, len(block)), (33,), cutter=cutter))
    assert answers(head + tail) == answers(expected)
    assert differences(events(head + tail), events(expected)) == []
    assert differences(state_of(after), state_of(whole)) == []
    assert after.model().document()["checksum"] == whole.model().document()["checksum"]


def test_a_state_holds_only_arrays_and_json_values() -> None:
    candidates = [candidate(), candidate(learning_rate=1e6)]
    learner = learner_of(Task.CLASSIFICATION, candidates)
    list(feed(learner, stream(Task.CLASSIFICATION)))

    def plain(value: Any) -> Any:
        assert isinstance(value, np.ndarray)
        assert value.dtype != object
        return value.tolist()

    text = json.dumps(learner.export_state() | {"n": np.zeros(1)}, default=plain)
    state = json.loads(text)
    assert state["serving"]["retired"]


@pytest.mark.parametrize("task", list(Task))
def test_the_future_never_changes_what_was_served(task: Task) -> None:
    block = stream(task)
    at = 3 * ROUND + 20
    order = np.arange(len(block))
    order[at:] = order[at:][::-1]
    altered = replace(block.take(order), marks=block.marks)
    assert altered.target is not None
    altered.target[at:] = "c0" if task is Task.CLASSIFICATION else 1e6
    altered.numbers[at + 1 :] *= -3.0
    known, other = (list(feed(learner_of(task), b)) for b in (block, altered))
    assert answers(known)[:at] == answers(other)[:at]
    assert answers(known)[at + 2 :] != answers(other)[at + 2 :]


@pytest.mark.parametrize("task", list(Task))
def test_the_target_of_a_sample_does_not_change_its_own_prediction(task: Task) -> None:
    block = stream(task, gaps=False)
    at = 5 * ROUND + 3
    assert block.target is not None
    other = replace(block, target=block.target.copy())
    assert other.target is not None
    other.target[at] = "c1" if task is Task.CLASSIFICATION else -1e5
    other.target[at] = "c0" if block.target[at] == "c1" else other.target[at]
    known, changed = (answers(list(feed(learner_of(task), b))) for b in (block, other))
    assert known[: at + 1] == changed[: at + 1]
    assert known[at + 1 :] != changed[at + 1 :]


def test_random_labels_are_predicted_no_better_than_by_chance() -> None:
    n = 6000
    block = stream(Task.CLASSIFICATION, n, gaps=False)
    labels = np.random.default_rng(8).integers(0, 4, n)
    block = replace(block, target=np.array([f"c{label}" for label in labels], object))
    learner = learner_of(Task.CLASSIFICATION)
    list(feed(learner, block))
    accuracy = learner.serving.measures()["accuracy"]
    assert abs(accuracy - 0.25) < 4 * (0.25 * 0.75 / n) ** 0.5


def test_random_numbers_are_predicted_no_better_than_by_their_mean() -> None:
    n = 3000
    block = stream(Task.REGRESSION, n, gaps=False)
    block = replace(block, target=np.random.default_rng(8).normal(size=n))
    learner = learner_of(Task.REGRESSION)
    list(feed(learner, block))
    assert learner.serving.measures()["r2"] < 0.01


@pytest.mark.parametrize("task", list(Task))
def test_a_learnable_stream_is_learned(task: Task) -> None:
    learner = learner_of(task)
    block = stream(task, 6000)
    list(feed(learner, block))
    served = learner.serving.measures()
    if task is Task.CLASSIFICATION:
        contenders = learner.serving.contenders
        tracks = contenders.baselines
        baselines = [contenders.scores.measures(track)["accuracy"] for track in tracks]
        assert served["accuracy"] > max(baselines) + 0.2
    else:
        assert served["r2"] > 0.8


@pytest.mark.parametrize("task", list(Task))
def test_samples_without_a_target_are_predicted_but_neither_learned_nor_scored(task: Task) -> None:
    block = stream(task, 3 * ROUND, gaps=False)
    assert block.target is not None
    bare = replace(block, target=block.target.copy())
    assert bare.target is not None
    bare.target[100:130] = None if task is Task.CLASSIFICATION else np.nan
    learner = learner_of(task)
    served = answers(list(feed(learner, bare)))
    assert [number for number, *_ in served] == list(range(3 * ROUND))
    assert {serial for _, serial, _ in served} == {BY_ENSEMBLE}
    assert (learner.serving.scored, learner.serving.unlabeled) == (3 * ROUND - 30, 30)
    assert np.isfinite(learner.serving.errors).all()
    changed = replace(bare, numbers=bare.numbers.copy())
    changed.numbers[100:130] += 1e-3
    twin = learner_of(task)
    list(feed(twin, changed))
    assert learner.trainer.population.taken.tolist() == twin.trainer.population.taken.tolist()
    assert learner.trainer.population.taken[0] == 3 * ROUND - 30


def test_a_block_without_any_target_is_predicted() -> None:
    block = replace(stream(Task.REGRESSION, ROUND), target=None)
    learner = learner_of(Task.REGRESSION)
    assert len(answers(list(feed(learner, block)))) == ROUND
    assert (learner.serving.scored, learner.serving.unlabeled) == (0, ROUND)


def test_samples_of_a_later_epoch_are_learned_but_neither_served_nor_scored() -> None:
    block = stream(Task.CLASSIFICATION, 2 * ROUND)
    learner = learner_of(Task.CLASSIFICATION)
    cutter = BlockSplitter(block_size=100, round_size=ROUND)
    list(feed(learner, block, cutter=cutter))
    before = learner.serving.measures(), learner.serving.scored
    unlabeled = learner.serving.unlabeled
    taken = learner.trainer.population.taken.copy()
    assert answers(list(feed(learner, unscored(block), cutter=cutter))) == []
    assert (learner.serving.measures(), learner.serving.scored) == before
    assert learner.serving.unlabeled == 2 * unlabeled > 0
    assert (learner.trainer.population.taken > taken).all()


def test_a_new_champion_is_emitted_with_its_weights_two_rounds_after_its_choice() -> None:
    block = stream(Task.REGRESSION, 12 * ROUND)
    learner = learner_of(Task.REGRESSION)
    asked: dict[int, ModelComposition] = {}
    emitted: dict[int, Any] = {}
    for served in feed(learner, block, (40,)):
        if served.decision is not None and served.decision.emit is not None:
            asked[(served.decision.round + 2) * ROUND] = served.decision.emit
        if served.emitted is not None:
            emitted[served.emitted.number] = served.emitted
    assert len(emitted) >= 2
    assert {number: snapshot.member.serial for number, snapshot in emitted.items()} == {
        number: composition.champion for number, composition in asked.items() if number < 12 * ROUND
    }
    for number, snapshot in emitted.items():
        twin = learner_of(Task.REGRESSION)
        list(feed(twin, block.part(0, number)))
        expected = twin.trainer.snapshot(asked[number], twin.encoder.snapshot())
        assert len(snapshot.networks()) == len(expected.networks()) == len(learner.serving.members)
        for (settings, weights), (others, ones) in zip(
            snapshot.networks(), expected.networks(), strict=True
        ):
            assert settings == others
            assert differences(weights, ones) == []
        assert snapshot.networks()[0][0] == snapshot.member.settings
        assert differences(snapshot.encoder.materialize(), twin.encoder.export_state()) == []


@pytest.mark.parametrize("task", list(Task))
def test_the_curve_holds_the_summed_errors_of_served_predictions_and_baselines(task: Task) -> None:
    block = stream(task, 400)
    learner = learner_of(task)
    served = np.concatenate(
        [
            part.answers if task is Task.REGRESSION else part.answers.argmax(axis=1)
            for part in feed(learner, block, (23,))
        ]
    )
    sums = [0.0, 0.0, 0.0]
    points: dict[int, list[float]] = {}
    counts: dict[Any, int] = {}
    last: Any = None
    total, scored = 0.0, 0
    labels = learner.encoder.labels
    assert block.target is not None
    for i, truth in enumerate(block.target.tolist()):
        if truth is None or truth != truth:
            continue
        if task is Task.REGRESSION:
            answers = [served[i], total / max(scored, 1), last or 0.0]
            errors = [abs(answer - truth) for answer in answers]
        else:
            most = min(counts, key=lambda name: (-counts[name], labels.index(name)), default=None)
            answers = [labels[served[i]] if counts else None, most, last]
            errors = [float(answer != truth) for answer in answers]
        sums = [a + b for a, b in zip(sums, errors, strict=True)]
        counts[truth] = counts.get(truth, 0) + 1
        total, scored, last = total + (truth if task is Task.REGRESSION else 0.0), scored + 1, truth
        if scored % CURVE_EVERY == 0:
            points[scored] = sums
    curve = learner.serving.curve
    assert curve.samples().tolist() == list(points)
    assert curve.values() == pytest.approx(np.array(list(points.values())))
    assert learner.serving.errors == pytest.approx(np.array(sums))
    assert learner.serving.scored == scored


def test_returned_sums_do_not_change_while_more_is_learned() -> None:
    block = stream(Task.REGRESSION, 200)
    learner = learner_of(Task.REGRESSION)
    list(feed(learner, block.part(0, 100), (50,)))
    looked_at = learner.serving.errors
    before = looked_at.tolist()
    list(feed(learner, block.part(100, 200), (50,)))
    assert looked_at.tolist() == before
    assert (learner.serving.errors > looked_at).all()


def test_one_class_alone_can_be_learned() -> None:
    block = stream(Task.CLASSIFICATION, 200, gaps=False)
    block = replace(block, target=np.full(200, "only", object))
    learner = learner_of(Task.CLASSIFICATION)
    list(feed(learner, block))
    assert learner.serving.measures()["accuracy"] == 199 / 200  # it had to be met first
    assert learner.model().predict({"a": 1.0, "b": 0.0, "w": "w1"}).tolist() == ["only"]


def test_before_the_first_sample_there_is_no_model() -> None:
    learner = learner_of(Task.CLASSIFICATION)
    with pytest.raises(NoCandidateError, match="no sample was learned"):
        learner.model()
    with pytest.raises(NoCandidateError):
        learner.best_slot()


def test_rejected_records_in_front_of_the_first_sample_change_nothing() -> None:
    block = stream(Task.REGRESSION, 100)
    nothing = replace(block.take(np.empty(0, np.intp)), rejected=block.rejected)
    plain, other = (learner_of(Task.REGRESSION) for _ in range(2))
    list(feed(plain, block))
    other.learn(nothing)
    list(feed(other, block))
    assert differences(state_of(plain), state_of(other)) == []


def test_the_model_is_the_network_that_would_be_served_next() -> None:
    block: Block = stream(Task.CLASSIFICATION, 300, gaps=False)
    learner: Learner = learner_of(Task.CLASSIFICATION, serve="champion")
    list(feed(learner, block.part(0, 299)))
    last = block.part(299, 300)
    model = learner.model()
    champion = learner.serving.champion
    assert champion is not None
    assert model.about["candidate"] == champion.serial
    assert [network.settings for network in model.networks] == [champion.settings]
    served = learner.learn(last)
    assert served.serials.tolist() == [champion.serial]
    # Moments include the sample itself where it is learned, so the inputs differ a little.
    said = served.answers[0, : len(model.labels)]
    assert model.predict_proba(last)[0] == pytest.approx(said, abs=0.05)


@pytest.mark.parametrize("task", list(Task))
def test_a_held_out_block_changes_no_weight_and_is_predicted_like_a_learned_one(task: Task) -> None:
    block = stream(task, 200, classes=2, gaps=False)
    encoder = Encoder(task=task)
    first, second = encoder.encode(block.part(0, 150)), encoder.encode(block.part(150, 200))

    def trainer() -> Trainer:
        made = Trainer([candidate(optimizer="sgd"), candidate(optimizer="adam")], task=task)
        made.learn(first, None)
        return made

    learning, holding = trainer(), trainer()
    before = holding.population.weights.copy()
    held = structs.replace(second, block=structs.replace(second.block, learned=False))
    said = holding.learn(held, None).answers
    assert (holding.population.weights == before).all()
    assert (holding.population.taken == 150).all()
    # Only the first sample of a learned block is answered by the same networks.
    expected = learning.learn(second, None).answers
    assert np.array_equal(said.outputs[:, 0], expected.outputs[:, 0])
    assert (learning.population.weights != before).any()


def test_a_class_in_a_held_out_sample_has_an_output_however_blocks_are_cut() -> None:
    block = structs.replace(stream(Task.CLASSIFICATION, 60, classes=7, gaps=False), learned=False)
    states = []
    for sizes in ((60,), (1,)):
        learner = learner_of(Task.CLASSIFICATION, [candidate(), candidate(hidden=())])
        for served in feed(learner, block, sizes):
            label = served.predicted.encoded.label
            assert label.max() < served.predicted.answers.outputs.shape[2]
        states.append(state_of(learner))
    assert differences(states[0], states[1]) == []


def test_weights_are_passed_with_the_block_that_ends_a_round_if_they_are_kept() -> None:
    block = stream(Task.REGRESSION, 60, gaps=False)
    encoder = Encoder(task=Task.REGRESSION)
    trainer = Trainer([candidate()], task=Task.REGRESSION, keeps_weights=True)
    assert trainer.learn(encoder.encode(block.part(0, 30)), None).weights is None
    scored = trainer.learn(encoder.encode(block.part(30, 60)), encoder.snapshot())
    assert scored.weights is not None
    assert (scored.weights == trainer.population.weights).all()
    assert scored.weights is not trainer.population.weights
