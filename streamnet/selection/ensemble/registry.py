"""Ensembles by task."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import Task
from streamnet.selection.ensemble.base import COUNT, PRIORS, TOTAL
from streamnet.selection.ensemble.labels import LabelEnsemble
from streamnet.selection.ensemble.numbers import NumberEnsemble

Ensemble = LabelEnsemble | NumberEnsemble
_HOPELESS = 1e3  # the loss of an output that is not to be served


def select_members(lagged: list[bool]) -> NDArray[np.uint8]:
    """Select members for predictions without targets: candidates without lags, or all if none is.

    >>> select_members([False, True, False]).tolist()
    [1, 0, 1, 0, 1]
    """
    members = np.ones(len(lagged) + PRIORS, np.uint8)
    if not all(lagged):
        members[: len(lagged)] = ~np.array(lagged, np.bool_)
    members[len(lagged)] = 0
    return members


def build_averaging_state(task: Task, candidates: int) -> dict[str, Any]:
    """Build the state of an ensemble in which all candidates have equal weights.

    Numbers are averaged; of probabilities the geometric mean is taken.

    >>> ensemble = restore_ensemble(Task.REGRESSION, build_averaging_state(Task.REGRESSION, 2))
    >>> alive = np.ones((2, 1), np.uint8)
    >>> ensemble.answer(np.array([[1.0], [2.0]]), alive, (0.0, 1.0)).tolist()
    [1.5]
    """
    members = np.ones(candidates + PRIORS, np.uint8)
    members[candidates:] = 0
    kind = LabelEnsemble if task is Task.CLASSIFICATION else NumberEnsemble
    ensemble = kind(candidates, members=members)
    # Serves the first mixer, whose initial weights are equal.
    ensemble.combined[COUNT] = 1.0
    ensemble.combined[TOTAL, 1:] = _HOPELESS
    return ensemble.export_state()


def restore_ensemble(task: Task, state: dict[str, Any]) -> Ensemble:
    """Restore an ensemble of either task; a state that does not fit is a `ModelFileError`."""
    kind = LabelEnsemble if task is Task.CLASSIFICATION else NumberEnsemble
    return kind.restore_state(state)
