"""Numbers of any library come out as Python's own; what is none is refused by its name."""

from __future__ import annotations

import json
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from streamnet.errors import ConfigurationError
from streamnet.settings.candidate import CandidateSettings
from streamnet.validation import (
    as_flags,
    as_kernel_array,
    check_bool,
    check_integer,
    check_number,
    to_builtins,
)

WHOLE = [3, np.int8(3), np.uint64(3), np.int64(3)]
REAL = [0.5, np.float16(0.5), np.float32(0.5), np.float64(0.5), Fraction(1, 2)]
NONE: list[Any] = [None, "3", True, np.True_, 3j, [3], np.array([3])]


@pytest.mark.parametrize("given", WHOLE)
def test_a_whole_number_is_an_int(given: Any) -> None:
    for check in (check_integer, check_number):
        found = check("units", given)
        assert (type(found), found) == (int, 3)


@pytest.mark.parametrize("given", REAL)
def test_any_other_number_is_a_float(given: Any) -> None:
    assert (type(check_number("rate", given)), check_number("rate", given)) == (float, 0.5)
    with pytest.raises(ConfigurationError, match=r"rate is .*, but must be a whole number"):
        check_integer("rate", given)


@pytest.mark.parametrize("given", NONE)
def test_a_value_that_is_not_a_number_is_rejected_by_name(given: Any) -> None:
    for check in (check_integer, check_number):
        with pytest.raises(ConfigurationError, match=r"^rate is .*, but must be a "):
            check("rate", given)


def test_a_flag_is_true_or_false() -> None:
    assert (check_bool("bias", np.True_), check_bool("bias", False)) == (True, False)
    for given in (1, "yes", None):
        with pytest.raises(ConfigurationError, match=r"^bias is .*, but must be True or False"):
            check_bool("bias", given)


def test_numpy_types_in_settings_are_converted_at_any_depth() -> None:
    given = {"a": np.float32(0.5), "b": {"c": {"d": np.int64(3), "e": np.bool_(False)}}, "f": "g"}
    given |= {"dtype": np.float64, "other": np.dtype("f4")}
    found = to_builtins(given)
    assert json.loads(json.dumps(found)) == found
    assert found["b"]["c"] == {"d": 3, "e": False}
    assert (found["dtype"], found["other"]) == ("float64", "float32")


@pytest.mark.parametrize(
    "given",
    [
        {"hidden": (np.int64(4),)},
        {"learning_rate": np.float32(0.01)},
        {"rehearsal": np.int8(2), "batch_size": np.uint16(3), "knots": np.int64(4)},
        {"bias": np.False_, "lags": np.True_},
        {"rehearsal_tolerance": np.float64(0.25)},
    ],
)
def test_candidates_with_numpy_numbers_can_be_saved(given: dict[str, Any]) -> None:
    settings = CandidateSettings(**given)
    plain = json.loads(json.dumps(settings.as_dict()))
    assert CandidateSettings.from_dict(plain) == settings


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


def test_values_out_of_range_become_infinite_without_a_warning() -> None:
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
