"""Blocks that are held out: answered like any other, and not learned."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from streamnet.features.encoder import Encoder
from streamnet.learning.trainer import Trainer
from streamnet.samples import Task
from tests.learning.streams import candidate, differences, feed, learner_of, state_of, stream


@pytest.mark.parametrize("task", list(Task))
def test_a_held_out_block_changes_no_weight_and_is_answered_as_a_learned_one(task: Task) -> None:
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


def test_a_class_that_a_held_out_sample_brings_has_room_however_blocks_are_cut() -> None:
    block = structs.replace(stream(Task.CLASSIFICATION, 60, classes=7, gaps=False), learned=False)
    states = []
    for sizes in ((60,), (1,)):
        learner = learner_of(Task.CLASSIFICATION, [candidate(), candidate(hidden=())])
        for served in feed(learner, block, sizes):
            label = served.predicted.encoded.label
            assert label.max() < served.predicted.answers.outputs.shape[2]
        states.append(state_of(learner))
    assert differences(states[0], states[1]) == []


def test_weights_travel_with_the_block_that_ends_a_round_if_they_are_kept() -> None:
    block = stream(Task.REGRESSION, 60, gaps=False)
    encoder = Encoder(task=Task.REGRESSION)
    trainer = Trainer([candidate()], task=Task.REGRESSION, keeps_weights=True)
    assert trainer.learn(encoder.encode(block.part(0, 30)), None).weights is None
    scored = trainer.learn(encoder.encode(block.part(30, 60)), encoder.snapshot())
    assert scored.weights is not None
    assert (scored.weights == trainer.population.weights).all()
    assert scored.weights is not trainer.population.weights
