"""Classes that are merged or retired: what is learned, scored and predicted from there on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streamnet.errors import ConfigurationError
from streamnet.features.columns.label import CLASS_CHANGE, RETIRED_CLASS
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.metrics import ClassificationEvaluator
from streamnet.modelfiles import Model
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import Block, ClassChange, Position, Task
from streamnet.sources.base import make_empty_block
from tests.learning.streams import ROUND, candidate, differences, feed, learner_of, state_of, stream
from tests.learning.test_joined_labels import late

LABELS = Task.CLASSIFICATION
MERGE, RETIRE = ClassChange("c3", "c1"), ClassChange("c2")
AT, N = 7 * ROUND + 20, 600
WAYS: list[dict[str, Any]] = [
    {},
    {"label_delay": 40},
    {"late_labels": True},
    {"serve": "champion", "criterion": "balanced_accuracy"},
]


def block_of(settings: dict[str, Any]) -> Block:
    block = stream(LABELS, N)
    if "late_labels" in settings:
        numbers = np.arange(N)
        return late(block, np.where(numbers % 3 > 0, np.minimum(numbers + 1 + numbers % 60, N), 0))
    return block


def changed(
    learner: Learner, block: Block, change: ClassChange, sizes: Sequence[int] = (1000,)
) -> list[Served]:
    """Feed a block with a change of the classes before sample `AT`."""
    cutter = BlockSplitter(block_size=10_000, round_size=ROUND)
    served = list(feed(learner, block.part(0, AT), sizes, cutter=cutter))
    learner.change_classes(change)
    return served + list(feed(learner, block.part(AT, N), sizes, cutter=cutter))


def confusion_of(learner: Learner) -> Any:
    scores = learner.serving.contenders.scores
    assert isinstance(scores, ClassificationEvaluator)
    return scores.confusion(learner.serving.served_track)


def number_of(learner: Learner, label: str) -> int:
    return learner.encoder.labels.index(label)


@pytest.mark.parametrize("change", [MERGE, RETIRE])
@pytest.mark.parametrize("way", WAYS)
@given(sizes=st.lists(st.integers(1, 90), min_size=1, max_size=5))
@settings(deadline=None, max_examples=4)
def test_the_result_does_not_depend_on_how_blocks_are_cut(
    way: dict[str, Any], change: ClassChange, sizes: list[int]
) -> None:
    learners = [learner_of(LABELS, **way, evolution={"every": 2}, interval=0.9) for _ in range(2)]
    first = changed(learners[0], block_of(way), change)
    second = changed(learners[1], block_of(way), change, sizes)
    assert differences(state_of(learners[0]), state_of(learners[1])) == []
    wide = max(one.answers.shape[1] for one in [*first, *second])
    answers = [
        np.concatenate([np.pad(s.answers, ((0, 0), (0, wide - s.answers.shape[1]))) for s in part])
        for part in (first, second)
    ]
    assert np.array_equal(answers[0], answers[1])


@pytest.mark.parametrize("change", [MERGE, RETIRE])
@pytest.mark.parametrize("way", WAYS)
def test_a_restored_learner_goes_on_with_the_same_bits(
    way: dict[str, Any], change: ClassChange
) -> None:
    make = {**way, "evolution": {"every": 2}, "interval": 0.9}
    whole, begun, resumed = (learner_of(LABELS, **make) for _ in range(3))
    block = block_of(way)
    changed(whole, block, change)
    cutter = BlockSplitter(block_size=10_000, round_size=ROUND)
    list(feed(begun, block.part(0, AT), cutter=cutter))
    begun.change_classes(change)
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(AT, N), (7, 50), cutter=cutter))
    assert differences(state_of(whole), state_of(resumed)) == []
    assert resumed.serving.class_changes == [(AT, change)]


@pytest.mark.parametrize("way", WAYS[:2])
def test_a_merged_label_is_learned_and_scored_as_if_it_were_the_other_one(
    way: dict[str, Any],
) -> None:
    block = stream(LABELS, N)
    assert block.target is not None
    renamed = block.target.copy()
    start = AT - way.get("label_delay", 0)
    renamed[start:][renamed[start:] == "c3"] = "c1"
    states = []
    for target in (block.target, renamed):
        learner = learner_of(LABELS, **way, evolution={"every": 2})
        changed(learner, replace(block, target=target), MERGE)
        learner.learn_pending()
        state = state_of(learner)
        del state["pending"]
        states.append(state)
    assert differences(states[0], states[1]) == []


@pytest.mark.parametrize("change", [MERGE, RETIRE])
@pytest.mark.parametrize("way", WAYS)
def test_the_class_gets_no_probability_any_more(way: dict[str, Any], change: ClassChange) -> None:
    learner = learner_of(LABELS, **way, interval=0.9)
    block = block_of(way)
    served = changed(learner, block, change)
    gone = number_of(learner, change.label)
    later = [one for one in served if one.predicted.first >= AT and len(one.answers)]
    assert later
    for one in later:
        assert (one.answers[:, gone] == 0.0).all()
        assert one.answers.sum(axis=1) == pytest.approx(np.ones(len(one.answers)), abs=1e-5)
        assert gone not in one.predicted_classes
        assert one.intervals is not None
        assert not one.intervals[:, gone].any()
    now = learner.predict(block.part(0, 50))
    assert (now[:, gone] == 0.0).all()
    assert now.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-5)
    assert gone not in learner.decide(now)
    assert not learner.predict_intervals(now)[:, gone].any()


def test_the_probability_of_a_merged_class_is_added_to_the_other_one() -> None:
    """Of a single network it is so exactly, of an ensemble before and after its networks."""
    learner = learner_of(LABELS, [candidate()], serve="champion", evolution={"every": 0})
    block = stream(LABELS, N)
    list(feed(learner, block))
    before = learner.predict(block.part(0, 40))
    learner.change_classes(MERGE)
    after = learner.predict(block.part(0, 40))
    c1, c3 = number_of(learner, "c1"), number_of(learner, "c3")
    assert np.array_equal(after[:, c1], before[:, c1] + before[:, c3])
    learner.change_classes(RETIRE)
    rest = learner.predict(block.part(0, 40))
    c2 = number_of(learner, "c2")
    wanted = np.delete(after, [c2, c3], axis=1) / (1.0 - after[:, [c2]])
    assert np.delete(rest, [c2, c3], axis=1) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("change", [MERGE, RETIRE])
def test_what_was_scored_stays_as_it_was(change: ClassChange) -> None:
    learner = learner_of(LABELS, evolution={"every": 0})
    block = stream(LABELS, N)
    list(feed(learner, block))
    before, matrix = learner.serving.measures(), confusion_of(learner)
    candidates = learner.evaluator.candidates.table("overall")
    learner.change_classes(change)
    assert learner.serving.measures() == before
    assert np.array_equal(confusion_of(learner), matrix)
    assert repr(learner.evaluator.candidates.table("overall")) == repr(candidates)
    list(feed(learner, block))
    gone = number_of(learner, change.label)
    after = confusion_of(learner)
    assert np.array_equal(after[gone], matrix[gone])
    assert np.array_equal(after[:, gone], matrix[:, gone])
    assert block.target is not None
    if change.into is not None:
        into = number_of(learner, change.into)
        both = np.isin(block.target.astype(str), [change.label, change.into])
        assert after[into].sum() - matrix[into].sum() == np.count_nonzero(both)


def test_samples_of_a_retired_class_are_rejected_with_the_reason() -> None:
    learner = learner_of(LABELS, evolution={"every": 0})
    block = stream(LABELS, N)
    assert block.target is not None
    served = changed(learner, block, RETIRE)
    letters = [
        letter
        for one in served
        for letter in one.predicted.encoded.block.rejected
        if letter.reason == RETIRED_CLASS
    ]
    assert len(letters) == np.count_nonzero(block.target[AT:] == "c2") > 10
    assert {letter.raw for letter in letters} == {"c2"}
    assert learner.trainer.number == N - len(letters)


def test_late_labels_of_a_retired_class_are_rejected_and_merged_ones_count_as_read() -> None:
    """A prediction that was given before a merge is scored as it is read after it."""
    learner = learner_of(LABELS, late_labels=True, evolution={"every": 0})
    block = stream(LABELS, 200, gaps=False)
    list(feed(learner, block.part(0, 180)))
    target = np.array(["c3", "c1", "c2", "c1"], object)
    waiting = replace(block.part(180, 184), target=target)
    answers = [
        ("c3", {"c3": 0.6, "c1": 0.2, "c0": 0.2}),
        ("c3", {"c3": 0.5, "c1": 0.2, "c0": 0.3}),
        ("c2", {"c2": 1.0}),
        ("c0", {"c2": 0.7, "c1": 0.1, "c0": 0.2}),
    ]
    first = late(waiting, np.full(4, 4), answers)
    assert first.arrivals is not None
    arrivals = first.arrivals
    learner.learn(replace(first, arrivals=arrivals.select(0, 0, 0)))
    before = confusion_of(learner)
    learner.change_classes(MERGE)
    learner.change_classes(RETIRE)
    served = learner.learn(
        replace(
            make_empty_block(block.schema, first.end),
            arrivals=arrivals._replace(before=np.zeros(4, np.int64)),
        )
    )
    (letter,) = served.predicted.encoded.block.rejected
    assert (letter.reason, letter.raw) == (RETIRED_CLASS, "c2")
    given_answers = served.predicted.encoded.given
    assert given_answers is not None
    c0, c1, c2, c3 = (number_of(learner, name) for name in ("c0", "c1", "c2", "c3"))
    assert given_answers.answers[:, c1].tolist() == pytest.approx([0.8, 0.7, 0.0, 0.1])
    assert given_answers.answers[:, [c2, c3]].tolist() == [[0.0, 0.0]] * 4
    scored = confusion_of(learner) - before
    assert (scored.sum(), scored[c1, c1], scored[c1, c0]) == (3.0, 2.0, 1.0)


def test_a_model_has_the_changes_in_memory_and_in_its_file(tmp_path: Path) -> None:
    learner = learner_of(LABELS, interval=0.9)
    block = stream(LABELS, N)
    changed(learner, block, MERGE)
    learner.change_classes(RETIRE)
    model = learner.model()
    assert model.changed_classes == {"c3": "c1", "c2": None}
    assert {*model.labels} == {"c0", "c1", "c2", "c3", "c4"}
    rows = [{"a": x, "b": -x, "w": "u"} for x in np.linspace(-3, 3, 50).tolist()]
    probabilities = model.predict_proba(rows)
    gone = [model.labels.index(label) for label in ("c2", "c3")]
    assert (probabilities[:, gone] == 0.0).all()
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-6)
    assert not {"c2", "c3"} & {*model.predict(rows)}.union(*model.predict_set(rows))
    for name in ("m.json", "m.safetensors"):
        model.save(tmp_path / name)
        loaded = Model.load(tmp_path / name)
        assert np.array_equal(loaded.predict_proba(rows), probabilities)
        assert loaded.changed_classes == model.changed_classes
    again = Learner(task=LABELS, start=model)
    served = again.learn(block.part(400, 460))
    assert (served.answers[:, gone] == 0.0).all()
    assert "c2" in {letter.raw for letter in served.predicted.encoded.block.rejected}
    with pytest.raises(ConfigurationError, match="some of its classes were merged or retired"):
        model.export(tmp_path / "m.net", format="gopher")


def test_a_change_that_has_become_impossible_is_a_rejected_record() -> None:
    learner = learner_of(LABELS, evolution={"every": 0})
    list(feed(learner, stream(LABELS, N)))
    learner.change_classes(MERGE)
    schema = stream(LABELS, 1).schema
    empty = make_empty_block(schema, Position("journal", 50, 7))
    state = state_of(learner)
    served = learner.learn(replace(empty, change=ClassChange("c1", "c3")))
    (letter,) = served.predicted.encoded.block.rejected
    assert (letter.source, letter.offset, letter.reason) == ("journal", 50, CLASS_CHANGE)
    assert letter.detail == "into is 'c3', but must be another class"
    assert differences(state, state_of(learner)) == []
    with pytest.raises(ConfigurationError, match="there are no classes: the task is regression"):
        learner_of(Task.REGRESSION).change_classes(MERGE)


def test_rehearsal_forgets_a_retired_class_and_takes_a_merged_one_for_the_other() -> None:
    learner = learner_of(LABELS, evolution={"every": 0})
    list(feed(learner, stream(LABELS, N)))
    before = learner.export_state()["trainer"]["population"]["memory"]["label"]
    c1, c2, c3 = (number_of(learner, name) for name in ("c1", "c2", "c3"))
    learner.change_classes(MERGE)
    learner.change_classes(RETIRE)
    after = learner.export_state()["trainer"]["population"]["memory"]["label"]
    wanted = np.where(before == c3, c1, np.where(before == c2, -1, before))
    assert np.array_equal(after, wanted)
    assert not np.array_equal(after, before)
