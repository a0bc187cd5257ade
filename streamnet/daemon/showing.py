"""What there is to be seen of a learner while it learns, as plain values for JSON.

The names are those of `streamnet.daemon.shapes`. Numbers that are not defined are None.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.evaluation.measures import for_json
from streamnet.learning.alternatives import BASELINES
from streamnet.learning.learner import Learner
from streamnet.modelfiles.model import Model
from streamnet.pipeline.board import board_of
from streamnet.samples import DeadLetter
from streamnet.samples import Task

__all__ = (
    "champion_of",
    "history_of",
    "leaders_of",
    "letter_of",
)


def champion_of(model: Model, generation: int) -> dict[str, Any]:
    """A published model in words."""
    return {
        "generation": generation,
        "settings": model.describe(),
        "networks": len(model.networks),
        "task": str(model.task),
        "target": model.about.get("target"),
        "labels": list(model.labels),
        "fields": [{"name": name, "kind": str(kind)} for name, kind in model.fields],
        "since": model.about.get("samples"),
    }


def leaders_of(learner: Learner) -> list[dict[str, Any]]:
    """All candidates, the best first."""
    slots = {member.serial: slot for slot, member in enumerate(learner.server.members)}
    return [
        {
            "candidate": row.candidate,
            "settings": row.settings,
            "loss": row.loss if isfinite(row.loss) else None,
            "state": "quarantined" if row.quarantined else "competing",
            "champion": row.champion,
            "born": learner.server.members[slots[row.candidate]].born,
            "scores": for_json(learner.evaluator.candidates.measures(slots[row.candidate])),
        }
        for row in board_of(learner, rows=len(slots)).rows
    ]


def history_of(learner: Learner) -> dict[str, Any]:
    """The score of what was served and of the baselines over time, with what happened when."""
    server = learner.server
    # One value more may come between the two calls.
    sums = server.curve.values()
    samples = server.curve.samples()[: len(sums)]
    sums = sums[: len(samples)]
    accuracy = learner.task is Task.CLASSIFICATION
    names = ("served", *server.alternatives.names[BASELINES[0] :])
    means = np.diff(sums, axis=0, prepend=0.0) / np.diff(samples, prepend=0)[:, None]
    scores = 1.0 - means if accuracy else means
    marks = [
        {"number": change.number, "kind": "champion", "text": change.after.settings.describe()}
        for change in list(server.changes)
    ]
    for event in list(server.drift.events):
        text = f"loss {event.before:.3g} before sample {event.since}, {event.after:.3g} since"
        marks.append({"number": event.number, "kind": "drift", "text": text})
    return {
        "measure": "accuracy" if accuracy else "mae",
        "samples": samples.tolist(),
        "series": {name: _plain(scores[:, place]) for place, name in enumerate(names)}
        if len(samples)
        else {name: [] for name in names},
        "marks": sorted(marks, key=lambda mark: int(str(mark["number"]))),
    }


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [value if isfinite(value) else None for value in values.tolist()]


def letter_of(letter: DeadLetter) -> dict[str, Any]:
    """A rejected record."""
    return {
        "source": letter.source,
        "line": letter.line,
        "reason": letter.reason,
        "detail": letter.detail,
        "raw": letter.raw,
    }
