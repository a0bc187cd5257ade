"""Warm-up: compile the kernels, or load them from disk, before the first sample comes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from streamnet.evaluation import ADWIN
from streamnet.features.settings import is_raw
from streamnet.learning.learner import Learner
from streamnet.networks.candidate import CandidateSettings
from streamnet.samples import Block
from streamnet.samples import Field
from streamnet.samples import Kind
from streamnet.samples import Schema
from streamnet.samples import Task

__all__ = ("warm_up",)


def warm_up(
    task: Task,
    dtype: str = "float32",
    encoder: dict[str, Any] | None = None,
    *,
    kinds: Collection[Kind] = (),
) -> bool:
    """Take a few made-up samples through every stage: seconds at first, then a fraction of one.

    Args:
        task: Classification or regression.
        dtype: Of the networks.
        encoder: Settings of the encoder.
        kinds: Of the columns, besides numbers and categories.

    Returns:
        True: kernels are ready.
    """
    transform = "none" if is_raw(encoder) else "log"
    candidates = [
        # A layer that fills whole vectors, and one that does not: these are kernels of their own.
        CandidateSettings(hidden=(16,), lags=True),
        CandidateSettings(hidden=(4,), target_transform=transform),
    ]
    learner = Learner(task=task, candidates=candidates, dtype=dtype, encoder=encoder)
    fields = [
        Field(str(kind), kind) for kind in dict.fromkeys((Kind.NUMBER, Kind.CATEGORY, *kinds))
    ]
    schema = Schema(tuple(fields), "y", task)
    target = np.array([0.0, 1.0]) if task is Task.REGRESSION else np.array(["a", "b"], object)
    block = Block(
        schema,
        "warm-up",
        np.array([[0.0] * len(schema.numbers), [1.0] * len(schema.numbers)]),
        tuple(np.array(["u", "v"], object) for _ in schema.words),
        target,
        np.zeros((3, 3), np.int64),
    )
    learner.learn(block, ends_round=True)
    learner.model()
    ADWIN().update(np.repeat([0.0, 1.0], 100))  # until it forgets
    return True
