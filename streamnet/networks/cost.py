"""How long a candidate takes for a sample, by a model: measured times would make runs differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamnet.networks.candidate import CandidateSettings
from streamnet.networks.topology import Capacity
from streamnet.networks.topology import sections_of

__all__ = ("cost_of", "heaviest_first")

# Fitted to one core of an AMD EPYC: microseconds for a step, for each row of weights that it
# touches, and for a thousand of those weights.
_STEP = 0.03
_ROW = 0.0035
_FORWARD = 0.04
_UPDATE = {"sgd": 0.0, "momentum": 0.03, "rmsprop": 0.07, "adagrad": 0.07, "adam": 0.09}
_DEEP = 2.5  # weights between hidden layers are walked twice on the way back, not in their order
_ENTRIES = 16  # active rows that a sample is taken to have, of those given out


def cost_of(settings: CandidateSettings, capacity: Capacity) -> float:
    """Microseconds a sample, answering, learning and rehearsing.

    >>> small = CandidateSettings(hidden=(8,), optimiser="sgd")
    >>> wide = CandidateSettings(hidden=(128,), rehearsal=4)
    >>> room = Capacity(dense=8, rows=0, outputs=2)
    >>> 0.03 < cost_of(small, room) < 0.1 < cost_of(wide, room) < 3
    True
    """
    touched, weights = 0, 0.0
    for section in sections_of(settings, capacity):
        rows = section.rows
        if section.name == "sparse":
            rows = min(rows, _ENTRIES)
        elif section.name == "splines":
            rows = 2 * capacity.dense
        factor = _DEEP if section.name.startswith("upper") else 1.0
        touched += rows
        weights += factor * rows * section.width
    pace = (_FORWARD + _UPDATE[settings.optimiser]) / 1000.0
    step = _STEP + _ROW * touched + pace * weights
    return step * (1 + settings.rehearsal)


def heaviest_first(settings: Sequence[CandidateSettings], capacity: Capacity) -> NDArray[np.int64]:
    """The places of candidates in the order in which threads best take them up.

    >>> small, wide = CandidateSettings(hidden=(8,)), CandidateSettings(hidden=(128,))
    >>> heaviest_first([small, wide], Capacity(dense=8, rows=0, outputs=2))
    array([1, 0])
    """
    costs = [cost_of(given, capacity) for given in settings]
    return np.argsort(np.negative(costs), kind="stable")
