from __future__ import annotations

from typing import Any

import pytest

from streamnet.errors import ConfigurationError
from streamnet.settings.horizon import MAX_HORIZON, Horizon
from streamnet.settings.learning import LearningSettings
from streamnet.settings.run import parse


@pytest.mark.parametrize(
    ("given", "toml", "expected"),
    [
        (24, "24", 24),
        ("24", "'24'", 24),
        ("24 h", "'24 h'", "24h"),
        ([24], "[24]", 24),
        ([1, "7d"], "[1, '7d']", (1, "7d")),
        ("1, 7d", "'1, 7d'", (1, "7d")),
    ],
)
def test_horizons_mean_the_same_in_a_run_file_and_in_python(
    given: Any, toml: str, expected: Any
) -> None:
    assert LearningSettings(horizon=given).horizon == expected
    assert parse(f"evaluation.horizon = {toml}").evaluation.horizon == expected


@pytest.mark.parametrize(
    "given", [0, -1, MAX_HORIZON + 1, "0h", "x", "1,,2", [], [1, "1"], 1.5, True]
)
def test_a_horizon_that_is_none_is_refused_with_its_rule(given: Any) -> None:
    rule = r"^horizon(\[0\])? (is|has) .*(must be a number of samples|must be another|whole number)"
    with pytest.raises(ConfigurationError, match=rule):
        LearningSettings(horizon=given)


def test_the_largest_horizon_is_allowed() -> None:
    assert Horizon.parse(MAX_HORIZON) == (MAX_HORIZON, None)
