"""Settings of the detectors, and the registry."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from streamnet.drift import ADWIN, DDM, DETECTORS, HDDMA, HDDMW, DriftDetector, PageHinkley
from streamnet.drift.base import CHANGE_SIGN, Histogram, insert, integer
from streamnet.errors import ConfigurationError
from streamnet.learning.evaluator import DriftWatch
from streamnet.settings.learning import DriftMethod


def test_run_files_command_line_and_api_accept_exactly_the_registered_detectors() -> None:
    assert set(get_args(DriftMethod)) == {*DETECTORS, "none"}


@pytest.mark.parametrize("detector", DETECTORS.values())
def test_every_setting_is_documented(detector: type[DriftDetector]) -> None:
    documentation = "".join(str(base.__doc__) for base in detector.__mro__)
    for setting in fields(detector):
        assert f"        {setting.name}: " in documentation
    assert "20" in documentation or "19" in documentation  # the paper and its year


def test_a_new_detector_is_one_class() -> None:
    def detect_change(
        values: NDArray[np.float64],
        settings: tuple[int],
        running: NDArray[np.float64],
        histogram: Histogram,
    ) -> int:
        for i, x in enumerate(values.tolist()):
            running[0] += 1.0
            insert(histogram, x)
            if running[0] > settings[0] and x > 0.9:
                running[CHANGE_SIGN] = 1.0
                return i + 1
        return len(values)

    try:

        @dataclass(eq=False, kw_only=True)
        class Threshold(DriftDetector, method="toy", kernel=detect_change):
            """A value above 0.9 after some others is a change."""

            grace_period: int = integer(3, least=2)

        watch = DriftWatch("toy")
        watch.add(0, np.array([0.1, 0.1, 0.1, 0.1, 1.0, 0.1]))
        assert watch.check()
        assert watch.events[0].number == 4
        assert Threshold(grace_period=2).export_state()["grace_period"] == 2
    finally:
        del DETECTORS["toy"]


@pytest.mark.parametrize(
    ("detector", "settings", "message"),
    [
        (ADWIN, {"delta": 1.0}, "ADWIN: delta is 1.0, but must be > 0 and < 1"),
        (ADWIN, {"delta": float("nan")}, "ADWIN: delta is nan, but must be > 0 and < 1"),
        (ADWIN, {"delta": "0.1"}, "ADWIN: delta is '0.1', but must be a number"),
        (ADWIN, {"span": True}, "ADWIN: span is True, but must be a number"),
        (ADWIN, {"clock": 0}, "ADWIN: clock is 0, but must be a whole number from 1 to 2147483648"),
        (ADWIN, {"clock": 2.5}, "ADWIN: clock is 2.5, but must be a whole number"),
        (ADWIN, {"clock": True}, "ADWIN: clock is True, but must be a whole number"),
        (ADWIN, {"max_buckets": 101}, "max_buckets is 101, but must be a whole number from 1 to"),
        (
            ADWIN,
            {"min_window_length": 0},
            "ADWIN: min_window_length is 0, but must be a whole number from 1",
        ),
        (ADWIN, {"span": -1}, "ADWIN: span is -1, but must be >= 0 and <= 1e+140"),
        (
            DDM,
            {"warning_threshold": 1.0},
            "DDM: warning_threshold is 1.0, but must be > 1 and < 1e+06",
        ),
        (
            DDM,
            {"drift_threshold": 1.5},
            "drift_threshold is 1.5, but must be >= warning_threshold, which is 2",
        ),
        (DDM, {"grace_period": -1}, "DDM: grace_period is -1, but must be a whole number from 0"),
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
        (PageHinkley, {"alpha": 1.01}, "PageHinkley: alpha is 1.01, but must be >= 0 and <= 1"),
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
    settings: dict[str, Any] = {"delta": np.float64(0.1), "clock": np.int32(2)}
    state = ADWIN(**settings).export_state()
    assert (type(state["delta"]), type(state["clock"])) == (float, int)
