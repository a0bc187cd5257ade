"""Vectors of sixteen lanes, of eight and of four, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamnet.jit import kernel
from streamnet.networks.simd import vectors as simd

TYPES = [np.float32, np.float64]


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
    simd.store(out, 112, simd.sqrt(simd.multiply(x, x)))
    simd.store(out, 128, simd.broadcast(a, 3))
    simd.store(out, 144, simd.splat(simd.load_one(b, 5)))
    simd.store(out, 160, simd.keep_first(x, 7))
    simd.prefetch(a, 3)  # which nobody notices
    simd.store(out, 192, simd.maximum(x, y))
    simd.store_one(out, 176, simd.reduce_add(x))
    simd.store_one(out, 177, simd.first_lane(y))


@kernel
def roots(numbers, out):
    for j in range(0, numbers.size, 16):
        simd.store(out, j, simd.reciprocal_sqrt(simd.load(numbers, j)))


@kernel
def roots_of_eight(numbers, out):
    for j in range(0, numbers.size, 8):
        simd.store(out, j, simd.reciprocal_sqrt(simd.load_eight(numbers, j)))


@pytest.mark.parametrize(
    ("function", "dtype", "error"),
    [
        (roots, np.float32, 2.0**-14),
        (roots, np.float64, 1e-15),
        (roots_of_eight, np.float32, 1e-6),
        (roots_of_eight, np.float64, 1e-15),
    ],
)
def test_the_reciprocal_root_is_within_the_stated_error(
    function: Any, dtype: Any, error: float
) -> None:
    numbers = np.logspace(-37, 38, 1 << 14).astype(dtype)
    out = np.zeros_like(numbers)
    function(numbers, out)
    np.testing.assert_allclose(out * np.sqrt(numbers.astype(float)), 1.0, rtol=0, atol=error)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_operation_agrees_with_numpy_in_each_lane(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 16)).astype(dtype)
    out = np.zeros(208, dtype)
    arithmetic(a, b, c, out)
    kept = np.where(np.arange(16) < 7, a, 0)
    rows = [a + b, a - b, a * b, a / b, a * b + c, np.maximum(a, 0), np.where(a > 0, b, 0)]
    rows += [np.abs(a), np.full(16, a[3]), np.full(16, b[5]), kept]
    np.testing.assert_allclose(
        out[:176].reshape(11, 16), rows, rtol=1e-5 if dtype is np.float32 else 1e-13
    )
    np.testing.assert_allclose(out[176], a.sum(), rtol=1e-5)
    assert out[177] == b[0]
    assert np.array_equal(out[192:], np.maximum(a, b))


def test_the_positive_part_of_nan_is_nan() -> None:
    a = np.full(16, np.nan, np.float32)
    out = np.zeros(208, np.float32)
    arithmetic(a, a, a, out)
    assert np.isnan(out[80:96]).all()


@kernel
def parts(a, out):
    zero = a.dtype.type(0)
    one, two, four = simd.splat(zero), simd.splat_two_wide(zero), simd.splat_four_wide(zero)
    simd.store(out, 0, simd.truncate(simd.load_like(a, 3, one)))
    simd.store_split(out, 16, simd.minimum(simd.load_like(a, 3, two), two))
    simd.store(out, 48, simd.keep_first(simd.maximum(simd.load_like(a, 3, four), four), 20))
    simd.store_split(out, 112, simd.broadcast_like(a, 5, four))
    simd.store_split(out, 176, simd.load_four(a, 9))


@pytest.mark.parametrize("dtype", TYPES)
def test_vectors_of_any_width_agree_with_numpy_and_touch_nothing_else(dtype: Any) -> None:
    a = (5 * np.random.default_rng(2).normal(size=80)).astype(dtype)
    out = np.full(192, 7, dtype)
    parts(a, out)
    assert np.array_equal(out[:16], np.trunc(a[3:19]))
    assert np.array_equal(out[16:48], np.minimum(a[3:35], 0))
    assert np.array_equal(out[48:68], np.maximum(a[3:23], 0))
    assert not out[68:112].any()
    assert (out[112:176] == a[5]).all()
    assert np.array_equal(out[176:180], a[9:13])
    assert (out[180:] == 7).all()


@kernel
def four(a, b, out):
    x, y = simd.load_four(a, 1), simd.load_four(b, 2)
    simd.store(out, 0, simd.multiply_add(x, y, x))
    simd.store(out, 4, simd.divide(y, simd.sqrt(simd.multiply(x, x))))
    simd.store(out, 8, simd.positive_part(x))


@pytest.mark.parametrize("dtype", TYPES)
def test_four_lanes_agree_with_numpy_and_touch_nothing_else(dtype: Any) -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 6)).astype(dtype)
    out = np.full(16, 7, dtype)
    four(a, b, out)
    x = a[1:5]
    y = b[2:6]
    rows = [x * y + x, y / np.abs(x), np.maximum(x, 0), np.full(4, 7)]
    np.testing.assert_allclose(out.reshape(4, 4), rows, rtol=1e-5 if dtype is np.float32 else 1e-13)


@kernel
def eight(a, b, out):
    x = simd.load_eight(a, 1)
    simd.store(out, 0, simd.multiply(x, simd.splat_eight(simd.load_one(b, 2))))
    simd.store_split(out, 8, simd.reduce_add_fours(x))


@pytest.mark.parametrize("dtype", TYPES)
def test_eight_lanes_agree_with_numpy_and_touch_nothing_else(dtype: Any) -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 10)).astype(dtype)
    out = np.full(20, 7, dtype)
    eight(a, b, out)
    x = a[1:9]
    rows = [x * b[2], np.repeat(x.reshape(2, 4).sum(axis=1), 4)]
    np.testing.assert_allclose(
        out[:16].reshape(2, 8), rows, rtol=1e-5 if dtype is np.float32 else 1e-13
    )
    assert (out[16:] == 7).all()
