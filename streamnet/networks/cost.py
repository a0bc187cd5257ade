"""How long a candidate takes for a sample, by a model: measured times would make runs differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamnet.networks.candidate import CandidateSettings
from streamnet.networks.topology import Capacity
from streamnet.networks.topology import sections_of

__all__ = ("cost_of", "heaviest_first")

# Fitted to measurements with two candidates abreast: microseconds for a step, and for a thousand of
# the weights that it touches. Where those between hidden layers lie matters little.
_STEP = 0.046
_FORWARD = 0.049
_UPDATE = {"sgd": 0.0, "momentum": 0.036, "rmsprop": 0.088, "adagrad": 0.087, "adam": 0.100}
_ENTRIES = 16  # active rows that a sample is taken to have, of those given out


def cost_of(settings: CandidateSettings, capacity: Capacity) -> float:
    """Microseconds a sample, answering, learning and rehearsing, once early rehearsal is over.

    As if every rehearsed sample were learned again, whatever is known well enough.

    >>> small = CandidateSettings(hidden=(8,), optimiser="sgd")
    >>> wide = CandidateSettings(hidden=(128,), rehearsal=4)
    >>> room = Capacity(dense=8, rows=0, outputs=2)
    >>> 0.03 < cost_of(small, room) < 0.1 < cost_of(wide, room) < 3
    True
    """
    touched = 0
    for section in sections_of(settings, capacity):
        rows = section.rows
        if section.name == "sparse":
            rows = min(rows, _ENTRIES)
        elif section.name == "splines":
            rows = 2 * capacity.dense
        touched += rows * section.width
    pace = (_FORWARD + _UPDATE[settings.optimiser]) / 1000.0
    return (_STEP + pace * touched) * (1 + settings.rehearsal)


def heaviest_first(costs: Sequence[float]) -> NDArray[np.int64]:
    """The places of candidates of such costs in the order in which threads best take them up.

    >>> heaviest_first([0.1, 0.3, 0.2])
    array([1, 2, 0])
    """
    return np.argsort(np.negative(costs), kind="stable")
