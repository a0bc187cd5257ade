"""Logarithms of shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.jit import exact_kernel
from streamnet.networks.simd.vectors import LANES
from streamnet.selection.ensemble.mixers import FLOOR, compute_log_probabilities

TYPES = ("float32", "float64")


@exact_kernel
def take(answers: NDArray[np.floating], start: int, stop: int, room: NDArray[np.floating]) -> None:
    compute_log_probabilities(answers, start, stop, room)


def logarithms_of(
    answers: NDArray[np.floating], start: int = 0, stop: int | None = None
) -> NDArray[np.floating]:
    candidates, n, labels = answers.shape
    stop = n if stop is None else stop
    size = (stop - start) * labels * candidates
    room = np.empty(size + LANES, answers.dtype)
    take(answers, start, stop, room)
    return room[:size]


@pytest.mark.parametrize("dtype", TYPES)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(0, 70), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_they_are_those_of_numpy_but_for_the_last_places_and_the_order(
    dtype: str, shape: tuple[int, int, int], seed: int
) -> None:
    shares = np.random.default_rng(seed).random(shape).astype(dtype) ** 9
    floor = np.dtype(dtype).type(FLOOR)
    expected = np.log(np.maximum(shares, floor).astype(np.longdouble)).transpose(1, 2, 0).ravel()
    found = logarithms_of(shares)
    assert (found.dtype, found.shape) == (shares.dtype, expected.shape)
    assert (np.abs(found - expected) <= 4 * np.finfo(dtype).eps * np.abs(expected)).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_samples_have_the_same_ones_in_whichever_block_they_come(dtype: str) -> None:
    shares = np.random.default_rng(3).random((5, 100, 3)).astype(dtype)
    whole = logarithms_of(shares).reshape(100, -1)
    for start, stop in ((0, 1), (1, 40), (40, 73), (73, 100)):
        part = logarithms_of(np.ascontiguousarray(shares[:, start:stop]))
        assert np.array_equal(part, whole[start:stop].ravel())
        assert np.array_equal(logarithms_of(shares, start, stop), part)
