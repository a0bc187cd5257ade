from __future__ import annotations

import math
from typing import Any

import numpy as np

from streamnet.features import Encoder
from streamnet.samples import Kind, Task
from tests.features.blocks import Columns, active, block_of, cut
from tests.features.encoder_variants import made, state_of, ways

AGE, HEIGHT = ("age", Kind.NUMBER), ("height", Kind.NUMBER)
JOB, NOTE = ("job", Kind.CATEGORY), ("note", Kind.TEXT)


@ways
def test_a_data_set_that_was_fitted_is_encoded_by_the_statistics_of_all_of_it(
    way: dict[str, Any],
) -> None:
    columns: Columns = {
        HEIGHT: [1.5, 2.5, 9.25, 4.0, math.nan, 7.5],
        JOB: ["a", "b", "a", None, "c", "a"],
        NOTE: ["to be", "or not", None, "to be", "that is", "the question"],
    }
    block = block_of(columns, ["u", "v", None, "u", "u", "v"])
    encoder = made(way).fit(cut(block, [2, 1]))
    before = state_of(encoder)
    applied = encoder.apply(block)
    assert applied.label.tolist() == [0, 1, -1, 0, 0, 1]
    assert applied.known.tolist() == [2] * 6
    # Any order and any cut gives each sample the same inputs.
    order = np.array([5, 3, 1, 0, 2, 4])
    shuffled = encoder.apply(block.take(order))
    assert shuffled.inputs.dense.tolist() == applied.inputs.dense[order].tolist()
    expected = active(applied.inputs)
    assert active(shuffled.inputs) == [expected[i] for i in order]
    assert state_of(encoder) == before


def test_labels_and_goals_of_a_fitted_encoder_are_looked_up() -> None:
    block = block_of({AGE: [1.0, 2.0]}, ["a\ud800", "b"])
    encoder = Encoder(task=Task.CLASSIFICATION).fit([block])
    asked = block_of({AGE: [1.0, 2.0, 3.0]}, ["b", "new", "a\ud800"])
    assert encoder.apply(asked).label.tolist() == [1, -1, 0]
    assert encoder.apply(block_of({AGE: [1.0]})).label.tolist() == [-1]
    block = block_of({AGE: [1.0, 2.0]}, [10.0, 14.0], task=Task.REGRESSION)
    encoder = Encoder(task=Task.REGRESSION, clip=4.0).fit([block])
    target = [12.0, 16.0, 1e300, math.nan, -math.inf]
    asked = block_of({AGE: [1.0] * 5}, target, task=Task.REGRESSION)
    applied = encoder.apply(asked)
    assert applied.goal[:3].tolist() == [0.0, 2.0, 4.0]
    assert np.isnan(applied.goal[3:]).all()
    assert (applied.center.tolist(), applied.spread.tolist()) == ([12.0] * 5, [2.0] * 5)
    assert np.isnan(encoder.apply(block_of({AGE: [1.0]}, task=Task.REGRESSION)).goal).all()
