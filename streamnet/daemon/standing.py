"""Where a living model stands, in figures."""

from __future__ import annotations

from collections import Counter
from math import isfinite
from time import monotonic
from typing import Any

from streamnet.daemon.life import Life
from streamnet.daemon.showing import letter_of
from streamnet.evaluation.measures import for_json
from streamnet.pipeline.board import scores_of
from streamnet.sources.reasons import Reason

__all__ = ("letters_of", "status_of")

# Of a model that has never begun; of one that is being taken up again nobody knows yet.
_NOTHING = dict.fromkeys(("samples", "learned", "switches", "drifts", "quarantined"), 0)


def letters_of(life: Life | None) -> dict[str, Any]:
    """The figures of `shapes.Rejected`; none of a model that is not alive."""
    if life is None:
        return {"total": 0, "by_reason": {}, "last": []}
    reasons = _rejected_of(life)
    last = [letter_of(letter) for letter in list(life.keeper.letters)]
    return {"total": sum(reasons.values()), "by_reason": reasons, "last": last}


def _rejected_of(life: Life) -> dict[str, int]:
    """How many records were rejected, by reason; those that were refused at once as well."""
    reasons: Counter[str] = Counter(life.pipeline.rejections.reasons)
    reasons[str(Reason.TARGET_MISSING)] += life.committer.intake.rejected
    return {reason: count for reason, count in sorted(reasons.items()) if count}


def _feed_of(life: Life) -> dict[str, Any] | None:
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


def status_of(life: Life) -> dict[str, Any]:
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
        "feed": _feed_of(life),
        "rejected": _rejected_of(life),
        "pending": len(intake.pending),
        "outcomes": outcomes,
        "delivered": for_json(intake.delivered.measures()) or None,
        "learned_per_second": life.watch.learning.value,
        "predicted_per_second": life.watch.answering.value,
        "checkpoint_age": None if checkpoint is None else monotonic() - checkpoint,
        "generation": None if published is None else published.generation,
        "champion": None if published is None else published.model.describe(),
    }
    if learner is None:
        return figures | (_NOTHING if life.publication.taken_up.is_set() else {})
    scores = scores_of(learner)
    return figures | {
        "task": str(learner.task),
        "samples": learner.trainer.number,
        "learned": learner.trainer.number,
        "scored": scores.samples,
        "measure": scores.measure,
        "served": scores.served if isfinite(scores.served) else None,
        "baselines": for_json(scores.baselines),
        "switches": learner.server.selector.switched,
        "drifts": learner.server.drift.noticed,
        "quarantined": learner.server.quarantines,
    }
