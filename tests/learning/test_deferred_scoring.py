"""What is judged later is judged alike: nobody can tell when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from streamnet.experts import ScoringBatch
from streamnet.learning import Learner
from streamnet.learning.contenders import SERVABLE
from streamnet.learning.evaluator import LARGE_BLOCK, MAX_CELLS, MAX_SAMPLES, DeferredScoring
from streamnet.metrics.classification import NONE_PREDICTED
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import Block, Task
from streamnet.selection.ensemble.base import TrackPredictions
from streamnet.selection.ensemble.labels import run_pool
from tests.learning.streams import candidate, differences, feed, learner_of, state_of, stream

ROUND = 300  # so that what is put off is judged in the midst of a round, too
WILD = candidate(learning_rate=1e6)  # explodes, so that others come
CANDIDATES = [candidate(), candidate(rehearsal=1, lags=True), candidate(hidden=()), WILD]
LOOKS: list[Callable[[Learner], object]] = [
    lambda learner: learner.serving.measures(),
    lambda learner: learner.serving.champion,
    lambda learner: learner.evaluator.candidates.measures(0),
    lambda learner: learner.model(),
    lambda learner: learner.export_state(),
    lambda learner: learner.best_slot(),
]
pieces = st.tuples(
    st.integers(1, 40), st.booleans(), st.sampled_from([None, None, None, *range(len(LOOKS))])
)


def take(learner: Learner, block: Block, sizes: Sequence[tuple[int, bool, int | None]]) -> None:
    """Let a learner take pieces of a block, some judged at once, and look at it in between."""
    cutter = BlockSplitter(block_size=10_000, round_size=ROUND)
    start, turn = 0, 0
    while start < len(block):
        size, at_once, look = sizes[turn % len(sizes)]
        stop = min(len(block), start + size)
        for arrival in cutter.cut(block.part(start, stop)):
            learn = learner.learn if at_once else learner.learn_deferred
            learn(arrival.block, ends_round=arrival.ends_round)
        if look is not None:
            LOOKS[look](learner)
        start, turn = stop, turn + 1


def whole(task: Task, block: Block, **settings: Any) -> Learner:
    """A learner that took a block in few pieces, each judged at once."""
    learner = learner_of(task, CANDIDATES, **settings)
    list(feed(learner, block, cutter=BlockSplitter(block_size=10_000, round_size=ROUND)))
    return learner


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("serve", SERVABLE)
@limits(max_examples=12)
@given(sizes=st.lists(pieces, min_size=1, max_size=12))
def test_reading_scores_at_any_time_changes_no_bit_of_deferred_scoring(
    task: Task, serve: str, sizes: list[tuple[int, bool, int | None]]
) -> None:
    block = stream(task, 4 * ROUND + 90)  # labels come one by one, and make room
    learner = learner_of(task, CANDIDATES, serve=serve)
    take(learner, block, sizes)
    expected = whole(task, block, serve=serve)
    assert differences(state_of(learner), state_of(expected)) == []
    assert learner.model().document()["checksum"] == expected.model().document()["checksum"]
    assert expected.serving.retired, "somebody left"


@pytest.mark.parametrize(
    ("task", "criterion"),
    [
        (Task.CLASSIFICATION, "balanced_accuracy"),
        (Task.CLASSIFICATION, "gopher.balanced_accuracy"),
        (Task.REGRESSION, "mse"),
    ],
)
def test_a_stateful_criterion_keeps_its_counts(task: Task, criterion: str) -> None:
    block, settings = stream(task, 2 * ROUND), {"criterion": criterion}
    learner = learner_of(task, CANDIDATES, **settings)
    take(learner, block, [(1, False, None)])
    assert differences(state_of(learner), state_of(whole(task, block, **settings))) == []


@pytest.mark.parametrize("task", list(Task))
def test_the_next_prediction_does_not_wait_for_deferred_scoring(task: Task) -> None:
    block = stream(task, 200, gaps=False)
    later, now = (learner_of(task, CANDIDATES) for _ in range(2))
    for i in range(199):
        part, following = block.part(i, i + 1), block.part(i + 1, i + 2)
        later.learn_deferred(part)
        now.learn(part)
        assert later.predict(following).tobytes() == now.predict(following).tobytes()
        if i % 40 == 39:
            model, other = (
                learner.predict(following, without_lags=True) for learner in (later, now)
            )
            assert model.tobytes() == other.tobytes()


def test_scoring_is_deferred_until_there_are_many_samples() -> None:
    learner, judged = learner_of(Task.CLASSIFICATION), []
    block = stream(Task.CLASSIFICATION, 3 * MAX_SAMPLES, gaps=False)
    for i in range(len(block)):
        learner.learn_deferred(block.part(i, i + 1))
        judged.append(learner._serving.scored)
    assert judged[:3] == [1, 1, 1], "the first of a round is judged at once"
    assert len(set(judged)) < 8
    assert max(np.arange(1, len(block) + 1) - judged) < MAX_SAMPLES
    assert learner.serving.scored == len(block)


def test_with_many_labels_fewer_samples_are_deferred() -> None:
    arrears = DeferredScoring()
    samples, labels = 10, MAX_CELLS // (4 * 10 * 5)
    said = TrackPredictions(np.zeros((1, samples, labels)), NONE_PREDICTED)
    none = np.empty(0)
    shares, alive = np.zeros((4, samples, labels), np.float32), np.ones((4, samples), np.uint8)
    truth = np.zeros(samples, np.int32)
    answered = ScoringBatch(0, shares, alive, truth, truth, none, none)
    waited = [arrears.add(answered, said) for _ in range(6)]
    assert waited == [False] * 5 + [True]
    assert arrears.pop_all()[0].answers.shape[1] == 6 * samples
    assert not arrears.add(answered, said), "they are counted anew"


def test_a_large_block_is_scored_at_once_with_the_deferred_ones() -> None:
    learner, block = learner_of(Task.CLASSIFICATION), stream(Task.CLASSIFICATION, 200, gaps=False)
    for start, stop, judged in ((0, 1, 1), (1, 4, 1), (4, 4 + LARGE_BLOCK, 4 + LARGE_BLOCK)):
        learner.learn_deferred(block.part(start, stop))
        assert learner._serving.scored == judged


def test_a_restored_state_replaces_deferred_samples() -> None:
    block = stream(Task.CLASSIFICATION, 120)
    before, after = (learner_of(Task.CLASSIFICATION) for _ in range(2))
    for learner, stop in ((before, 60), (after, 90)):
        for i in range(stop):
            learner.learn_deferred(block.part(i, i + 1))
    after.restore_state(before.export_state())
    assert differences(state_of(after), state_of(before)) == []


def test_deferred_scoring_compiles_no_kernel() -> None:
    learner = learner_of(Task.CLASSIFICATION)
    block = stream(Task.CLASSIFICATION, 140, gaps=False)
    learner.learn(block.part(0, 10))
    compiled = len(run_pool.signatures)  # type: ignore[attr-defined]
    for i in range(10, 140):
        learner.learn_deferred(block.part(i, i + 1))
    assert learner.serving.scored == 140
    assert len(run_pool.signatures) == compiled  # type: ignore[attr-defined]
