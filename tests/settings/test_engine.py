"""What an engine is told: refused by name before hours of work, and kept as JSON can hold it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from streamnet.errors import ConfigurationError
from streamnet.settings.engine import EngineSettings


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("tries", "3", "a whole number"),
        ("tries", None, "a whole number"),
        ("tries", True, "a whole number"),
        ("epochs", 1.5, "a whole number"),
        ("iterations", 2.5, "a whole number"),
        ("ensemble", "a", "a whole number"),
        ("training_split", "a", "a number"),
        ("learning_rate", "a", "a number"),
        ("decay", None, "a number"),
        ("half_life", None, "a number"),
        ("regression_threshold", "z", "a number"),
        ("ordered", "yes", "True or False"),
        ("refit", "no", "True or False"),
        ("dtype", "float16", "'float32' or 'float64'"),
        ("dtype", None, "'float32' or 'float64'"),
        ("network", None, "a dict"),
        ("encoder", [1], "a dict"),
    ],
)
def test_a_setting_of_another_type_is_refused(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EngineSettings(**{name: value})
    assert str(caught.value) == f"{name} is {value!r}, but must be {rule}"


def test_numpy_numbers_are_kept_as_python_numbers() -> None:
    settings = EngineSettings(
        tries=np.int64(2),  # type: ignore[arg-type]
        half_life=np.float32(3.0),  # type: ignore[arg-type]
        ordered=np.True_,  # type: ignore[arg-type]
        dtype=np.float64,  # type: ignore[arg-type]
    )
    same = EngineSettings(tries=2, half_life=3.0, ordered=True, dtype="float64")
    assert settings == same
    assert json.dumps(settings.as_dict()) == json.dumps(same.as_dict())
