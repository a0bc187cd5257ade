"""Which ensemble goes with which task."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import Task
from streamnet.selection.label_ensemble import LabelEnsemble
from streamnet.selection.mixing import PRIORS
from streamnet.selection.number_ensemble import NumberEnsemble

__all__ = ("Ensemble", "members_of", "restored_ensemble")

Ensemble = LabelEnsemble | NumberEnsemble


def members_of(lagged: list[bool]) -> NDArray[np.uint8]:
    """Who is heard where nobody tells targets: no candidate that needs them, unless all do.

    >>> members_of([False, True, False]).tolist()
    [1, 0, 1, 0, 1]
    """
    members = np.ones(len(lagged) + PRIORS, np.uint8)
    if not all(lagged):
        members[: len(lagged)] = ~np.array(lagged, np.bool_)
    members[len(lagged)] = 0
    return members


def restored_ensemble(task: Task, state: dict[str, Any]) -> Ensemble:
    """The ensemble whose state this is.

    Raises:
        ModelFileError: If the parts of the state do not fit together.
    """
    kind = LabelEnsemble if task is Task.CLASSIFICATION else NumberEnsemble
    return kind.restore_state(state)
