"""Vectors of sixteen lanes against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamnet.jit import kernel
from streamnet.networks import simd

TYPES = [np.float32, np.float64]


@kernel
def exponentials(source, target):
    for i in range(0, source.size, simd.LANES):
        simd.store(target, i, simd.exponential(simd.load(source, i)))


@kernel
def tangents(source, target):
    for i in range(0, source.size, simd.LANES):
        simd.store(target, i, simd.hyperbolic_tangent(simd.load(source, i)))


@kernel
def logistics(source, target):
    for i in range(0, source.size, simd.LANES):
        simd.store(target, i, simd.logistic(simd.load(source, i)))


@kernel
def arithmetic(a, b, c, out):
    x, y, z = simd.load(a, 0), simd.load(b, 0), simd.load(c, 0)
    simd.store(out, 0, simd.add(x, y))
    simd.store(out, 16, simd.subtract(x, y))
    simd.store(out, 32, simd.multiply(x, y))
    simd.store(out, 48, simd.divide(x, y))
    simd.store(out, 64, simd.multiply_add(x, y, z))
    simd.store(out, 80, simd.positive_part(x))
    simd.store(out, 96, simd.gate(y, x))
    simd.store(out, 112, simd.square_root(simd.multiply(x, x)))
    simd.store(out, 128, simd.broadcast(a, 3))
    simd.store(out, 144, simd.splat(simd.pick(b, 5)))
    simd.store(out, 160, simd.keep(x, 7))
    simd.put(out, 176, simd.total(x))
    simd.put(out, 177, simd.lane(y))


@pytest.mark.parametrize("dtype", TYPES)
def test_the_exponential_is_as_exact_as_its_argument(dtype: Any) -> None:
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
def test_the_hyperbolic_tangent_is_exact_to_the_stated_error(dtype: Any, error: float) -> None:
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


def test_the_logistic_in_float64_is_exact_even_where_it_is_next_to_nothing() -> None:
    x = np.linspace(-700, 40, 16000)
    y = np.empty_like(x)
    logistics(x, y)
    exact = 1 / (1 + np.exp(-x.astype(np.longdouble)))
    assert (np.abs(y / exact - 1) <= (4 + np.abs(x)) * np.finfo(np.float64).eps).all()


def test_the_logistic_in_float32_is_exact_to_the_stated_error() -> None:
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
def test_every_operation_does_to_each_lane_what_numpy_does(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 16)).astype(dtype)
    out = np.zeros(192, dtype)
    arithmetic(a, b, c, out)
    kept = np.where(np.arange(16) < 7, a, 0)
    rows = [a + b, a - b, a * b, a / b, a * b + c, np.maximum(a, 0), np.where(a > 0, b, 0)]
    rows += [np.abs(a), np.full(16, a[3]), np.full(16, b[5]), kept]
    np.testing.assert_allclose(
        out[:176].reshape(11, 16), rows, rtol=1e-5 if dtype is np.float32 else 1e-13
    )
    np.testing.assert_allclose(out[176], a.sum(), rtol=1e-5)
    assert out[177] == b[0]


def test_the_positive_part_of_nan_is_nan() -> None:
    a = np.full(16, np.nan, np.float32)
    out = np.zeros(192, np.float32)
    arithmetic(a, a, a, out)
    assert np.isnan(out[80:96]).all()
