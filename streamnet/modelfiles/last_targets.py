"""Last targets as users give them to a model that needs them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import DataError
from streamnet.features.columns.category import escape_surrogates, match_spelling
from streamnet.features.encoder import Encoder
from streamnet.samples import Task
from streamnet.sources.base import Reason
from streamnet.sources.columns import parse_number, parse_word
from streamnet.sources.frames import DEFAULT_PARSE_OPTIONS, to_target_list


def read_last_targets(encoder: Encoder, given: Any, n: int) -> NDArray[np.float64]:
    """Read the last targets before each of n samples, shape=(n, `Encoder.targets_seen`).

    Args:
        encoder: Knows the labels, and how many targets it encodes.
        given: Labels or numbers in order, the latest last: those before all samples, or such a
            sequence for each sample. None and NaN stand for unknown ones.
        n: Number of samples.

    Returns:
        Class numbers or numbers, the latest first; NaN for unknown ones and new labels.

    Raises:
        DataError: If they are neither of these, or not as many as the samples.
    """
    if isinstance(given, np.ndarray):
        given = given.tolist()
    rows = to_target_list(given, "last_targets")
    if rows and all(isinstance(row, list | tuple | np.ndarray) for row in rows):
        if len(rows) != n:
            raise DataError(f"last_targets has {len(rows)} rows, but there are {n} samples")
    else:
        rows = [rows]
    numbers = encoder.label_numbers
    size = encoder.targets_seen
    last = np.full((len(rows), size), np.nan)
    for row, targets in enumerate(rows):
        latest = list(targets)[::-1][:size]
        last[row, : len(latest)] = [_read_target(t, encoder.task, numbers) for t in latest]
    return last if len(last) == n else np.repeat(last, n, axis=0)


def _read_target(target: Any, task: Task, numbers: Mapping[str | None, int]) -> float:
    """A class number or number; NaN if it is unknown."""
    if task is Task.REGRESSION:
        number = parse_number(target, DEFAULT_PARSE_OPTIONS)
        if isinstance(number, Reason):
            raise DataError(f"last_targets has {target!r}, but must have finite numbers")
        return number
    word = parse_word(target, DEFAULT_PARSE_OPTIONS)
    if isinstance(word, Reason):
        raise DataError(f"last_targets has {target!r}, but must have labels")
    if word is None:
        return math.nan
    return float(numbers.get(match_spelling(escape_surrogates(word), numbers), math.nan))
