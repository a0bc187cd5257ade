from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamnet.drift import ADWIN, DDM, HDDMA, HDDMW, Direction, DriftDetector, PageHinkley
from streamnet.errors import ConfigurationError


@pytest.mark.parametrize(
    ("detector", "settings", "message"),
    [
        (ADWIN, {"confidence": 1.0}, "ADWIN: confidence is 1.0, but must be > 0 and < 1"),
        (ADWIN, {"confidence": float("nan")}, "ADWIN: confidence is nan, but must be > 0 and < 1"),
        (ADWIN, {"confidence": "0.1"}, "ADWIN: confidence is '0.1', but must be a number"),
        (ADWIN, {"span": True}, "ADWIN: span is True, but must be a number"),
        (ADWIN, {"clock": 0}, "ADWIN: clock is 0, but must be a whole number from 1 to 2147483648"),
        (ADWIN, {"clock": 2.5}, "ADWIN: clock is 2.5, but must be a whole number"),
        (ADWIN, {"clock": True}, "ADWIN: clock is True, but must be a whole number"),
        (ADWIN, {"max_buckets": 101}, "max_buckets is 101, but must be a whole number from 1 to"),
        (ADWIN, {"shortest": 0}, "ADWIN: shortest is 0, but must be a whole number from 1"),
        (ADWIN, {"span": -1}, "ADWIN: span is -1, but must be >= 0 and <= 1e+140"),
        (DDM, {"warning_level": 1.0}, "DDM: warning_level is 1.0, but must be > 1 and < 1e+06"),
        (DDM, {"drift_level": 1.5}, "drift_level is 1.5, but must be >= warning_level, which is 2"),
        (DDM, {"warm_up": -1}, "DDM: warm_up is -1, but must be a whole number from 0"),
        (HDDMA, {"drift_confidence": 0}, "HDDMA: drift_confidence is 0, but must be > 0 and < 1"),
        (
            HDDMA,
            {"drift_confidence": 0.1},
            "warning_confidence is 0.005, but must be >= drift_confidence, which is 0.1",
        ),
        (HDDMA, {"low": 1.0}, "HDDMA: high is 1.0, but must be > low, 1.0"),
        (HDDMA, {"high": 10**400}, "but must be >= -1e+140 and <= 1e+140"),
        (HDDMW, {"weight": 0.0}, "HDDMW: weight is 0.0, but must be > 0 and < 1"),
        (HDDMW, {"low": float("-inf")}, "HDDMW: low is -inf, but must be >= -1e+140"),
        (HDDMW, {"direction": "left"}, "direction is 'left', but must be one of 'up', 'down',"),
        (PageHinkley, {"direction": []}, "PageHinkley: direction is [], but must be one of"),
        (PageHinkley, {"threshold": 0}, "PageHinkley: threshold is 0, but must be > 0"),
        (PageHinkley, {"delta": -0.1}, "PageHinkley: delta is -0.1, but must be >= 0"),
        (PageHinkley, {"fading": 1.01}, "PageHinkley: fading is 1.01, but must be >= 0 and <= 1"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line(
    detector: type[DriftDetector], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        detector(**settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_settings_too() -> None:
    settings: dict[str, Any] = {"confidence": np.float64(0.1), "clock": np.int32(2)}
    state = ADWIN(**settings).export_state()
    assert (type(state["confidence"]), type(state["clock"])) == (float, int)


def test_a_direction_may_be_given_as_such() -> None:
    assert HDDMA(direction=Direction.BOTH).export_state()["direction"] == "both"
