from __future__ import annotations

import warnings

import numpy as np
import pytest

from streamnet.validation import as_flags, as_kernel_array


def test_an_array_that_fits_is_not_copied() -> None:
    array = np.zeros((2, 3), np.float32)
    assert as_kernel_array(array, np.float32) is array


def test_anything_else_becomes_contiguous_writable_and_of_the_type() -> None:
    frozen = np.zeros(4)
    frozen.flags.writeable = False
    for values in (frozen, [1, 0, 1, 0], np.arange(8)[::2], np.zeros((3, 4)).T):
        array = as_kernel_array(values, np.float64)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, values)


def test_what_the_type_cannot_hold_becomes_infinite_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_kernel_array([1e300, -1e39, 1.0], np.float32).tolist() == [np.inf, -np.inf, 1.0]


def test_flags_take_the_shape_of_their_default() -> None:
    default = np.ones((2, 3), np.uint8)
    assert as_flags(None, default) is default
    given = as_flags([True, False, True], default)
    assert given.flags.c_contiguous
    assert given.tolist() == [[1, 0, 1], [1, 0, 1]]
    assert as_flags(False, default).tolist() == [[0, 0, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="broadcast"):
        as_flags(np.ones((3, 3)), default)
