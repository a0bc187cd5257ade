"""What a run knows of the status of its model."""

from __future__ import annotations

from time import monotonic
from typing import Any

from msgspec.structs import asdict

from streamnet.client.schemas import Outcome, Output
from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.reporting.builder import build_status

LEARNED_COUNTS = frozenset(
    {
        "learned",
        "scored",
        "requested",
        "unlabeled",
        "keys",
        "rejected",
        "switches",
        "drifts",
        "quarantined",
        "unsaved",
    }
)
"""Fields of `Status` that are unknown until a run's state is restored."""
RUN_COUNTS = LEARNED_COUNTS | {
    "accepted",
    "in_flight",
    "outcomes",
    "pending",
    "early",
    "checkpoint_failures",
}
"""Fields of `Status` that are unknown without a run."""


def build_counts(run: ModelRun) -> dict[str, Any]:
    """Build the fields of `Status` that a run knows."""
    intake, published = run.committer.intake, run.publisher.published
    checkpoint, statistics = run.monitor.checkpoint, run.statistics()
    outcomes = dict(intake.outcomes)
    if intake.pending.expired:
        outcomes["given_up"] = intake.pending.expired
    if intake.pending.unknown:
        outcomes[Outcome.UNKNOWN] = intake.pending.unknown
    counts: dict[str, Any] = {
        "accepted": intake.samples,
        "in_flight": run.queued,
        "feeds": run.feeds.describe(),
        "outputs": [Output(one.name, one.waiting, one.error or None) for one in run.outputs],
        "rejected": count_rejected(run),
        "pending": len(intake.pending),
        "early": intake.pending.early,
        "label_delay": intake.pending.delay,
        "outcomes": outcomes,
        "learned_per_second": run.monitor.learning.value,
        "predicted_per_second": run.monitor.predicting.value,
        "checkpoint_age": None if checkpoint is None else monotonic() - checkpoint,
        "checkpoint_failures": statistics.failures,
        "generation": None if published is None else published.generation,
        "version": None if published is None else published.version,
        "model_age": None if published is None else monotonic() - published.since,
        "champion": None if published is None else published.description,
    }
    if run.learner is not None:
        learning = build_status(run.learner)
        learned = run.learner.trainer.learned
        unsaved = max(0, run.learner.trainer.number - statistics.samples)
        counts |= asdict(learning) | {"learned": learned, "samples": learned, "unsaved": unsaved}
        if run.learner.keyed is not None:
            counts["keys"] = len(run.learner.keyed.history.rows)
    return counts


def count_rejected(run: ModelRun) -> dict[str, int]:
    """Count the rejected records by reason."""
    reasons = dict(run.pipeline.rejections.reasons)
    return {str(reason): count for reason, count in sorted(reasons.items()) if count}
