"""Functions of vectors against numpy's in extended precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamnet.jit import kernel
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.functions import exponential, hyperbolic_tangent, logarithm, logistic

TYPES = [np.float32, np.float64]


@kernel
def exponentials(source, target):
    for i in range(0, source.size, simd.LANES):
        simd.store(target, i, exponential(simd.load(source, i)))


@kernel
def tangents(source, target):
    for i in range(0, source.size, simd.LANES):
        simd.store(target, i, hyperbolic_tangent(simd.load(source, i)))


@kernel
def logistics(source, target):
    for i in range(0, source.size, simd.LANES):
        simd.store(target, i, logistic(simd.load(source, i)))


@kernel
def logarithms(source, target):
    for i in range(0, source.size, simd.LANES):
        simd.store(target, i, logarithm(simd.load(source, i)))


@pytest.mark.parametrize("dtype", TYPES)
def test_the_exponential_is_as_accurate_as_its_argument(dtype: Any) -> None:
    x = np.linspace(-80, 80, 16000).astype(dtype)
    y = np.empty_like(x)
    exponentials(x, y)
    error = np.abs(y / np.exp(x.astype(np.longdouble)) - 1)
    assert (error <= (2 + np.abs(x)) * np.finfo(dtype).eps).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_the_exponential_clamps_large_arguments_and_keeps_nan(dtype: Any) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0] + 10 * [1.0], dtype)
    y = np.empty_like(x)
    exponentials(x, y)
    assert np.isnan(y[0])
    assert np.isfinite(y[1:]).all()
    assert y[1] == y[3] > 1e37
    assert 0 < y[2] == y[4] < 1e-36
    assert y[5] == 1.0


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 4e-7), (np.float64, 1e-15)])
def test_the_hyperbolic_tangent_is_within_the_stated_error(dtype: Any, error: float) -> None:
    x = np.concatenate((np.linspace(-20, 20, 16000), np.geomspace(1e-30, 1, 16))).astype(dtype)
    y = np.empty_like(x)
    tangents(x, y)
    exact = np.tanh(x.astype(np.longdouble))
    assert np.abs(y - exact).max() <= error
    assert (np.abs(y) <= 1).all()
    if dtype is np.float32:
        assert np.array_equal(y[:16000], -y[15999::-1]), "it is odd"
        small = np.abs(x) < 1e-3
        assert np.abs(y[small] / exact[small] - 1).max() < 4e-7


@pytest.mark.parametrize("dtype", TYPES)
def test_the_hyperbolic_tangent_keeps_nan_and_zero(dtype: Any) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0] + 10 * [1.0], dtype)
    y = np.empty_like(x)
    tangents(x, y)
    assert np.isnan(y[0])
    assert y[1:6].tolist() == pytest.approx([1.0, -1.0, 1.0, -1.0, 0.0], abs=4e-7)
    assert y[5] == 0.0


def test_the_logistic_in_float64_is_accurate_even_near_zero() -> None:
    x = np.linspace(-700, 40, 16000)
    y = np.empty_like(x)
    logistics(x, y)
    exact = 1 / (1 + np.exp(-x.astype(np.longdouble)))
    assert (np.abs(y / exact - 1) <= (4 + np.abs(x)) * np.finfo(np.float64).eps).all()


def test_the_logistic_in_float32_is_within_the_stated_error() -> None:
    x = np.linspace(-40, 40, 16000).astype(np.float32)
    y = np.empty_like(x)
    logistics(x, y)
    assert np.abs(y - 1 / (1 + np.exp(-x.astype(np.longdouble)))).max() <= 3e-7


@pytest.mark.parametrize("dtype", TYPES)
def test_the_logistic_saturates_and_keeps_nan(dtype: Any) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0] + 10 * [1.0], dtype)
    y = np.empty_like(x)
    logistics(x, y)
    assert np.isnan(y[0])
    assert y[1:6].tolist() == pytest.approx([1.0, 0.0, 1.0, 0.0, 0.5], abs=3e-7)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_logarithm_is_within_the_stated_error(dtype: Any) -> None:
    tiny, huge = np.finfo(dtype).tiny, np.finfo(dtype).max
    spread = np.geomspace(tiny, huge, 16000, dtype=np.longdouble)
    near = 1 + np.linspace(-0.5, 1.0, 16000)
    x = np.concatenate((spread, near)).astype(dtype)
    x = np.clip(x, tiny, huge)
    y = np.empty_like(x)
    logarithms(x, y)
    exact = np.log(x.astype(np.longdouble))
    assert (np.abs(y - exact) <= 4 * np.finfo(dtype).eps * np.abs(exact)).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_the_logarithm_of_one_is_zero(dtype: Any) -> None:
    y = np.empty(16, dtype)
    logarithms(np.ones(16, dtype), y)
    assert not y.any()
