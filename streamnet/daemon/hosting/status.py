"""Status, leader board, history and rejected records of a running model, as plain values.

Keys are those of `streamnet.client.schemas`; undefined numbers are None.
"""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import Any

import msgspec

from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.learning.learner import Learner
from streamnet.metrics.formulas import nan_to_none
from streamnet.modelfiles.model import Model
from streamnet.reporting import builder as reporting
from streamnet.reporting.builder import build_candidates
from streamnet.reporting.builder import build_status as build_learning_status
from streamnet.samples import DeadLetter
from streamnet.sources.rejection import Reason

__all__ = (
    "build_history",
    "build_status",
    "describe_champion",
    "describe_dead_letter",
    "list_candidates",
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
    rows: list[dict[str, Any]] = msgspec.to_builtins(build_candidates(learner))
    for row in rows:
        del row["left"]
    return rows


def build_history(learner: Learner) -> dict[str, Any]:
    """The main metric over time, of what was served and of the baselines."""
    history: dict[str, Any] = msgspec.to_builtins(reporting.build_history(learner))
    return history


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
    current = build_learning_status(learner)
    return {**figures, **msgspec.to_builtins(current), "samples": current.learned}
