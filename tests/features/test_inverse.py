from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamnet.features import Encoder
from streamnet.features.inputs import InputEncoder
from streamnet.samples import Kind, Task
from streamnet.settings.encoder import EncoderSettings
from tests.features.blocks import Columns, block_of, sparse_of

AGE, JOB, SEEN = ("age", Kind.NUMBER), ("job", Kind.CATEGORY), ("seen", Kind.TIME)
SAMPLES = st.lists(
    st.tuples(
        st.none() | st.floats(-100, 100),
        st.sampled_from(["cook", "smith", "pilot", None]),
        st.none() | st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=30,
)


@given(SAMPLES)
def test_samples_are_decoded_from_their_inputs(samples: list[tuple[Any, Any, Any]]) -> None:
    ages, jobs, seen = zip(*samples, strict=True)
    columns = {AGE: _numbers(ages), JOB: list(jobs), SEEN: _numbers(seen)}
    block = block_of(columns)
    encoder = Encoder(task=Task.CLASSIFICATION).fit([block])
    for sample, (age, job, time) in zip(
        encoder.inverse(encoder.transform(block)), samples, strict=True
    ):
        assert sample["job"] == job
        for name, value in (("age", age), ("seen", time)):
            if value is None:
                assert sample[name] is None
            else:
                assert sample[name] == pytest.approx(value, abs=1e-3 if name == "age" else 1.0)


def _numbers(values: tuple[Any, ...]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]


def test_numbers_with_few_values_are_decoded_exactly() -> None:
    block = block_of({AGE: [0.1, 0.2, 0.7] * 3})
    encoder = Encoder(task=Task.CLASSIFICATION).fit([block])
    got = encoder.inverse(encoder.transform(block))
    assert [sample["age"] for sample in got] == [0.1, 0.2, 0.7] * 3


def test_clipped_numbers_are_decoded_to_the_bound() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION, clip=2.0, category_limit=0)
    encoder.fit([block_of({AGE: [-1.0, 1.0]})])
    inputs = encoder.transform(block_of({AGE: [1e9]}))
    assert encoder.inverse(inputs) == [{"age": 2.0}]


def test_rows_are_decoded_to_field_and_value() -> None:
    inputs = InputEncoder(EncoderSettings(max_categories=2))
    columns: Columns = {JOB: ["a", None, "b", "c"], SEEN: [math.nan, 9.0, 9.0, 9.0]}
    inputs.inputs(block_of(columns, sparse=sparse_of([{7: 1.0}] * 4)), learn=True)
    meanings = inputs.decode_rows()
    assert len(meanings) == len(inputs.rows)
    told = [meaning for meaning in meanings if meaning is not None]
    expected = [("seen", None), *(("job", job) for job in ("a", None, "b"))]
    assert told == expected  # neither parts of a date, nor hashed categories, nor numbered inputs


def test_lags_are_no_part_of_a_sample() -> None:
    block = block_of({JOB: ["a", "b", "a"]}, ["u", "v", "u"])
    encoder = Encoder(task=Task.CLASSIFICATION, lags=2)
    inputs = encoder.encode(block).inputs
    assert encoder.inverse(inputs) == [{"job": "a"}, {"job": "b"}, {"job": "a"}]
    none = replace(
        inputs,
        row=inputs.row[:0],
        value=inputs.value[:0],
        count=np.empty(0, np.int32),
        dense=inputs.dense[:0],
    )
    assert encoder.inverse(none) == []
