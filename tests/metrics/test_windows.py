from __future__ import annotations

import json

import numpy as np
import pytest

from streamnet.errors import ConfigurationError
from streamnet.metrics import Horizon
from streamnet.metrics.windows import growing_weights, validate_windows


@pytest.mark.parametrize("fading", [0.01, 0.02, 0.5, 0.9, 0.98, 0.999, 0.99999, 1.0])
def test_weights_grow_by_the_inverse_of_fading_up_to_a_limit(fading: float) -> None:
    weights = growing_weights(fading)
    assert weights[0] == 1.0
    assert 2 <= len(weights) <= 1025
    assert weights[-1] <= 1e12 * (1 + 1e-9)
    np.testing.assert_allclose(weights[1:] * fading, weights[:-1], rtol=1e-14)
    assert len(weights) == 1025 or weights[-1] / fading > 1e12


def test_no_window_takes_more_memory_than_a_machine_may_have() -> None:
    validate_windows(25, 1_342_177, 0.999)
    with pytest.raises(ConfigurationError, match="window is 1342178, but must be <= 1342177 of 25"):
        validate_windows(25, 1_342_178, 0.999)


def test_a_horizon_is_its_name() -> None:
    assert [str(horizon) for horizon in Horizon] == ["overall", "sliding", "fading"]
    assert json.dumps({Horizon.FADING: Horizon.SLIDING}) == '{"fading": "sliding"}'
    with pytest.raises(ValueError, match="'lately' is not a valid Horizon"):
        Horizon("lately")
