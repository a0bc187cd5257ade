"""Status, champion and rejected records of a running model, as schemas of the API."""

from __future__ import annotations

from time import monotonic
from typing import Any

from msgspec.structs import asdict

from streamnet.client.schemas import Champion, Feed, FieldLine, Rejected, RejectedLine
from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.metrics.formulas import nan_to_none
from streamnet.modelfiles.model import Model
from streamnet.reporting.builder import build_status
from streamnet.samples import DeadLetter

LEARNED_COUNTS = frozenset({"learned", "switches", "drifts", "quarantined"})
"""Fields of `Status` that are unknown until a run's state is restored."""
RUN_COUNTS = LEARNED_COUNTS | {"accepted", "in_flight", "pending"}
"""Fields of `Status` that are unknown without a run."""


def build_counts(run: ModelRun) -> dict[str, Any]:
    """Build the fields of `Status` that a run knows."""
    intake, pipeline, published = run.committer.intake, run.pipeline, run.publisher.published
    checkpoint = run.monitor.checkpoint
    outcomes = dict(intake.outcomes)
    if intake.pending.expired:
        outcomes["given_up"] = intake.pending.expired
    counts: dict[str, Any] = {
        "accepted": intake.samples,
        "in_flight": run.queued,
        "feed": _build_feed(run),
        "rejected": _count_rejected(run),
        "pending": len(intake.pending),
        "outcomes": outcomes,
        "delivered": nan_to_none(intake.delayed_score.measures()) or None,
        "learned_per_second": run.monitor.learning.value,
        "predicted_per_second": run.monitor.predicting.value,
        "checkpoint_age": None if checkpoint is None else monotonic() - checkpoint,
        "generation": None if published is None else published.generation,
        "champion": None if published is None else published.model.describe(),
    }
    if pipeline.ready.is_set() and pipeline.learner is not None:
        learning = build_status(pipeline.learner)
        counts |= asdict(learning) | {"samples": learning.learned}
    return counts


def describe_champion(model: Model, generation: int) -> Champion:
    """Describe a published model."""
    return Champion(
        generation=generation,
        settings=model.describe(),
        networks=len(model.networks),
        task=model.task,
        target=model.about.get("target"),
        labels=list(model.labels),
        fields=[FieldLine(name, str(kind)) for name, kind in model.fields],
        since=model.about.get("samples"),
    )


def summarize_rejected(run: ModelRun | None) -> Rejected:
    """Summarize the rejected records; none without a run."""
    if run is None:
        return Rejected(0, {}, [])
    reasons = _count_rejected(run)
    letters = [_describe_dead_letter(letter) for letter in list(run.journal_output.dead_letters)]
    return Rejected(sum(reasons.values()), reasons, letters)


def _describe_dead_letter(letter: DeadLetter) -> RejectedLine:
    return RejectedLine(letter.source, letter.line, letter.reason, letter.detail, letter.raw)


def _count_rejected(run: ModelRun) -> dict[str, int]:
    reasons = dict(run.pipeline.rejections.reasons)
    return {str(reason): count for reason, count in sorted(reasons.items()) if count}


def _build_feed(run: ModelRun) -> Feed | None:
    feeder, intake = run.feeder, run.committer.intake
    if feeder is None:
        return None
    position = None if intake.file_head is None else intake.file_head.position
    return Feed(
        state=feeder.state,
        failure=feeder.failure,
        records=intake.file_records,
        file=None if position is None else position.source.encode(errors="replace").decode(),
        line=None if position is None else position.line or None,
        progress=feeder.progress,
    )
