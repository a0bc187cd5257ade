"""What a run knows of the status of its model."""

from __future__ import annotations

from time import monotonic
from typing import Any

from msgspec.structs import asdict

from streamnet.client.schemas import Outcome, Output, Shadow, ShadowScore
from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.reporting.builder import build_status
from streamnet.reporting.report import MAIN_METRICS, ComparedScores, ShadowReport

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
        "shadows": [summarize_shadow(one) for one in intake.shadows.reports()],
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


def summarize_shadow(report: ShadowReport) -> Shadow:
    """Build the line of a shadow in `Status`."""
    return Shadow(
        name=report.shadow,
        predictions=report.predictions,
        waiting=report.waiting,
        scored=report.scored,
        unscored=report.unscored,
        late=report.late,
        expired=report.expired,
        overall=_summarize_scores(report.overall),
        sliding=_summarize_scores(report.sliding),
        fading=_summarize_scores(report.fading),
    )


def _summarize_scores(scores: ComparedScores) -> ShadowScore:
    metric = next((name for name in MAIN_METRICS.values() if name in scores.served), "")
    return ShadowScore(scores.samples, scores.shadow.get(metric), scores.served.get(metric))
