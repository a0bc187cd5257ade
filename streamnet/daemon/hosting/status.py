"""Status, leader board, history and rejected records of a running model, as plain values.

Keys are those of `streamnet.client.schemas`; undefined numbers are None.
"""

from __future__ import annotations

from collections import Counter
from math import isfinite
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.learning.contenders import BASELINES
from streamnet.learning.learner import Learner
from streamnet.metrics.formulas import nan_to_none
from streamnet.modelfiles.model import Model
from streamnet.reporting.progress import build_leader_board, build_served_scores
from streamnet.samples import DeadLetter, Task
from streamnet.sources.rejection import Reason

__all__ = (
    "build_history",
    "build_leader_board",
    "build_status",
    "describe_champion",
    "describe_dead_letter",
    "summarize_rejected",
)


def describe_champion(model: Model, generation: int) -> dict[str, Any]:
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


def list_candidates(learner: Learner) -> list[dict[str, Any]]:
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
            "scores": nan_to_none(learner.evaluator.candidates.measures(slots[row.candidate])),
        }
        for row in build_leader_board(learner, rows=len(slots)).rows
    ]


def build_history(learner: Learner) -> dict[str, Any]:
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
        "series": {name: _finite_or_none(scores[:, place]) for place, name in enumerate(names)}
        if len(samples)
        else {name: [] for name in names},
        "marks": sorted(marks, key=lambda mark: int(str(mark["number"]))),
    }


def _finite_or_none(values: NDArray[np.float64]) -> list[float | None]:
    return [value if isfinite(value) else None for value in values.tolist()]


def describe_dead_letter(letter: DeadLetter) -> dict[str, Any]:
    """A rejected record."""
    return {
        "source": letter.source,
        "line": letter.line,
        "reason": letter.reason,
        "detail": letter.detail,
        "raw": letter.raw,
    }


# Of a model that has never begun; of one that is being taken up again nobody knows yet.
_ZERO_COUNTS = dict.fromkeys(("samples", "learned", "switches", "drifts", "quarantined"), 0)


def summarize_rejected(life: ModelRun | None) -> dict[str, Any]:
    """The figures of `shapes.Rejected`; none of a model that is not alive."""
    if life is None:
        return {"total": 0, "by_reason": {}, "last": []}
    reasons = _count_rejected(life)
    last = [describe_dead_letter(letter) for letter in list(life.journal_output.letters)]
    return {"total": sum(reasons.values()), "by_reason": reasons, "last": last}


def _count_rejected(life: ModelRun) -> dict[str, int]:
    """How many records were rejected, by reason; those that were refused at once as well."""
    reasons: Counter[str] = Counter(life.pipeline.rejections.reasons)
    reasons[str(Reason.TARGET_MISSING)] += life.committer.intake.rejected
    return {reason: count for reason, count in sorted(reasons.items()) if count}


def _build_feed(life: ModelRun) -> dict[str, Any] | None:
    """The figures of `shapes.Feed`; None where no file is read."""
    feeder, intake = life.feeder, life.committer.intake
    if feeder is None:
        return None
    place = None if intake.fed is None else intake.fed.position
    return {
        "state": feeder.state,
        "failure": feeder.failure,
        "records": intake.fed_records,
        "file": None if place is None else place.source.encode(errors="replace").decode(),
        "line": None if place is None else place.line or None,
        "progress": feeder.progress,
    }


def build_status(life: ModelRun) -> dict[str, Any]:
    """The figures of `shapes.Status` that only a model has that is alive."""
    intake, pipeline, published = life.committer.intake, life.pipeline, life.publication.published
    checkpoint = life.watch.checkpoint
    outcomes = dict(intake.outcomes)
    if intake.pending.expired:
        outcomes["given_up"] = intake.pending.expired
    learner = pipeline.learner if pipeline.ready.is_set() else None
    figures: dict[str, Any] = {
        "accepted": intake.samples,
        "in_flight": life.queued,
        "feed": _build_feed(life),
        "rejected": _count_rejected(life),
        "pending": len(intake.pending),
        "outcomes": outcomes,
        "delivered": nan_to_none(intake.delivered.measures()) or None,
        "learned_per_second": life.watch.learning.value,
        "predicted_per_second": life.watch.answering.value,
        "checkpoint_age": None if checkpoint is None else monotonic() - checkpoint,
        "generation": None if published is None else published.generation,
        "champion": None if published is None else published.model.describe(),
    }
    if learner is None:
        return figures | (_ZERO_COUNTS if life.publication.restored.is_set() else {})
    scores = build_served_scores(learner)
    return figures | {
        "task": str(learner.task),
        "samples": learner.trainer.number,
        "learned": learner.trainer.number,
        "scored": scores.samples,
        "measure": scores.measure,
        "served": scores.served if isfinite(scores.served) else None,
        "baselines": nan_to_none(scores.baselines),
        "switches": learner.server.selector.switched,
        "drifts": learner.server.drift.noticed,
        "quarantined": learner.server.quarantines,
    }
