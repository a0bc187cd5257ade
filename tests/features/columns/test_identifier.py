"""Ids are numbers as well as categories."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.features import Encoder
from streamnet.modelfiles.model import Model
from streamnet.online import OnlineClassifier
from streamnet.samples import Kind, Task
from streamnet.settings.candidate import CandidateSettings
from tests.features.blocks import active, block_of, cut

IDS = st.one_of(
    st.sampled_from([-5.0, 0.0, 7.0, 1e6, 2.0**31, 2.0**40, -(2.0**31)]), st.just(math.nan)
)


def encoder() -> Encoder:
    return Encoder(task=Task.CLASSIFICATION)


@given(st.lists(IDS, min_size=1, max_size=40))
def test_an_id_is_the_number_it_is_and_the_category_it_would_be(ids: list[float]) -> None:
    label = ["u"] * len(ids)
    both = encoder().encode(block_of({("x", Kind.ID): ids}, label)).inputs
    words = [None if math.isnan(number) else str(number) for number in ids]
    category = encoder().encode(block_of({("x", Kind.CATEGORY): words}, label)).inputs
    number = Encoder(task=Task.CLASSIFICATION, category_limit=0).encode(
        block_of({("x", Kind.NUMBER): ids}, label)
    )
    assert both.dense.tolist() == number.inputs.dense.tolist()
    assert active(both) == active(category)


def test_a_fraction_among_ids_is_only_a_number() -> None:
    inputs = encoder().encode(block_of({("x", Kind.ID): [7.0, 7.5, 7.0]}, ["u"] * 3)).inputs
    assert inputs.count.tolist() == [1, 0, 1]
    assert inputs.row[0, 0] == inputs.row[2, 0]


@pytest.mark.parametrize("size", [1, 7])
def test_ids_do_not_depend_on_cuts(size: int) -> None:
    ids = np.random.default_rng(1).choice([11.0, 90_000.0, 3e9, math.nan, 4.5], 50)
    block = block_of({("x", Kind.ID): ids, ("z", Kind.NUMBER): np.arange(50.0)}, ["u"] * 50)
    whole, parts = encoder(), encoder()
    expected = whole.encode(block).inputs
    found = [parts.encode(part).inputs for part in cut(block, [size] * (50 // size))]
    assert np.concatenate([part.dense for part in found]).tolist() == expected.dense.tolist()
    assert [row for part in found for row in active(part)] == active(expected)


def test_a_restored_encoder_knows_the_ids() -> None:
    block = block_of({("x", Kind.ID): [11.0, 90_000.0, 3e9]}, ["u"] * 3)
    first = encoder()
    first.encode(block)
    again = Encoder.restore_state(first.export_state())
    rows = [[(0, 1.0)], [(1, 1.0)], [(2, 1.0)]]
    assert active(again.transform(block)) == active(first.transform(block)) == rows
    found = [round(sample["x"]) for sample in again.inverse(again.transform(block))]
    assert found[:2] == [11, 90_000]


def test_a_model_tells_ids_apart_whose_order_means_nothing(tmp_path: Any) -> None:
    rng = np.random.default_rng(3)
    ids = rng.choice(10**9, 40, replace=False).tolist()
    liked = rng.random(40) < 0.5
    classifier = OnlineClassifier([CandidateSettings(hidden=(8,))], kinds={"user": Kind.ID}, seed=1)
    for i in rng.integers(0, 40, 3000).tolist():
        classifier.learn_one({"user": ids[i]}, bool(liked[i]))
    path = tmp_path / "model.json"
    classifier.model().save(path)
    answers = Model.load(path).predict([{"user": one} for one in ids])
    assert answers.tolist() == liked.tolist()
