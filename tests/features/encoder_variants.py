"""Every way to encode, and encoders made so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamnet.features import Encoder
from streamnet.samples import Task

__all__ = ("made", "state_of", "ways")

# Each way to encode, beside the default one; decisions of columns fall within a few samples.
WAYS: list[dict[str, Any]] = [
    {},
    {"scaling": "minmax"},
    {"scaling": "robust"},
    {"scaling": "rank", "scalings": {"age": "minmax"}},
    {"scaling": "none"},
    {"target_scaling": "none"},
    {"text": "tokens"},
    {"text": "ngrams"},
    {"text": "dictionary"},
    {"text": "auto", "max_categories": 3},
    {"duplicates": "drop"},
    {"scalings": {"height": "rank"}, "texts": {"note": "tokens"}, "duplicates": "drop"},
]
ways = pytest.mark.parametrize("way", WAYS, ids=str)


def made(way: dict[str, Any], **more: Any) -> Encoder:
    return Encoder(task=Task.CLASSIFICATION, **{"category_limit": 4, **more, **way})


def state_of(encoder: Encoder) -> dict[str, Any]:
    """The encoder's state with arrays as bytes, to be compared."""
    return {
        name: (value.tobytes(), value.shape) if isinstance(value, np.ndarray) else value
        for name, value in encoder.export_state().items()
    }
