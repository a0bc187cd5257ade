"""Keyed random numbers: the same for the same key, and good enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError
from streamnet.randomness import derive_key, fill_uniform, mix_key, permutation
from streamnet.validation import check_seed, to_signed_seed
from tests.networks import naive

whole = st.integers(0, 2**64 - 1)


@given(key=whole, part=whole)
def test_the_compiled_mix_equals_the_python_one(key: int, part: int) -> None:
    assert int(mix_key(np.uint64(key), np.uint64(part))) == naive.mix(key, part)


@given(parts=st.lists(whole, min_size=1, max_size=4))
def test_a_key_mixes_its_parts_in_order(parts: list[int]) -> None:
    expected = 0
    for part in parts:
        expected = naive.mix(expected, part)
    assert derive_key(*parts) == expected


def test_numbers_depend_on_their_place_alone() -> None:
    whole_run = np.empty(1000)
    fill_uniform(whole_run, derive_key(1, 2), 0)
    tail = np.empty(400)
    fill_uniform(tail, derive_key(1, 2), 600)
    assert np.array_equal(whole_run[600:], tail)
    assert (whole_run >= -1).all()
    assert (whole_run < 1).all()


def test_numbers_look_uniform_and_keys_independent() -> None:
    draws = np.empty((50, 4000))
    for i, row in enumerate(draws):
        fill_uniform(row, derive_key(7, i), 0)
    assert abs(draws.mean()) < 0.01
    assert abs(draws.var() - 1 / 3) < 0.01
    assert np.abs(np.corrcoef(draws) - np.eye(50)).max() < 0.08


def test_a_permutation_is_one_and_depends_on_its_key() -> None:
    assert sorted(permutation(5, 100).tolist()) == list(range(100))
    assert permutation(5, 100).tolist() == permutation(5, 100).tolist()
    assert permutation(5, 100).tolist() != permutation(6, 100).tolist()


@given(seed=whole)
def test_a_seed_is_a_whole_number_of_64_bits_of_any_type(seed: int) -> None:
    assert check_seed(seed) == check_seed(np.uint64(seed)) == seed
    assert type(check_seed(np.uint64(seed))) is int
    assert -(2**63) <= to_signed_seed(seed) < 2**63
    assert derive_key(to_signed_seed(seed), 3) == derive_key(seed, 3)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, 1.0, "a", None, np.float64(3), np.int64(-1)])
def test_an_invalid_seed_is_rejected_with_value_and_rule(seed: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_seed(seed)
    rule = "must be a whole number from 0 to 2**64 - 1"
    assert str(caught.value) == f"seed is {seed!r}, but {rule}"
