"""Weights of a model file: they must be those of the network that its settings describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.encoder import Encoder
from streamnet.networks.candidate import CandidateSettings
from streamnet.networks.topology import Capacity
from streamnet.networks.topology import sections_of
from streamnet.samples import Task

__all__ = ("check_weights",)


def check_weights(
    weights: Mapping[str, NDArray[Any]], settings: CandidateSettings, dtype: str, encoder: Encoder
) -> None:
    """Refuse weights that a network of these settings, behind this encoder, can't have.

    Raises:
        ModelFileError: Naming the part, and what it must be.
    """
    if dtype not in ("float32", "float64"):
        raise ModelFileError(f"dtype is {dtype!r}, but must be float32 or float64")
    known = encoder.statistics()
    outputs = 1 if encoder.task is Task.REGRESSION else max(known.classes, 1)
    capacity = Capacity(known.dense, known.rows, outputs)
    sections = sections_of(settings, capacity)
    shapes = {section.name: (section.rows, section.units) for section in sections}
    if weights.keys() != shapes.keys():
        raise ModelFileError(f"the network has the parts {', '.join(sorted(weights))}")
    for name, shape in shapes.items():
        matrix = weights[name]
        if matrix.shape != shape:
            raise ModelFileError(f"{name} has shape {matrix.shape}, but its network needs {shape}")
        if matrix.dtype != np.dtype(dtype):
            raise ModelFileError(f"{name} has the type {matrix.dtype}, but must have {dtype}")
        if not np.isfinite(matrix).all():
            raise ModelFileError(f"{name} has a weight that is not finite")
