"""What an engine can learn, and what it refuses to take for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamnet.errors import ConfigurationError
from tests.engine.sets import moons, quick


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (None, "data is of type NoneType, but must be a Set, blocks, or names of files"),
        (np.eye(3), "data is of type ndarray, but must be a Set"),
        ([{"x": 1.0}], "data has {'x': 1.0}, but must have blocks or names of files"),
        ([1, 2], "data has 1, but must have blocks"),
        ([moons().block(), "a.csv"], "data has 'a.csv' beside blocks, but must be all blocks or"),
    ],
)
def test_data_of_another_kind_are_refused(data: Any, what: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        quick().fit(data)
    assert str(caught.value).startswith(what)
