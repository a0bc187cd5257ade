"""The report of an engine: what it did, and how good the outcome is."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from streamnet.engine.contest import Contest
from streamnet.engine.parts import Parts
from streamnet.evaluation import Evaluation
from streamnet.evaluation import RegressionEvaluation
from streamnet.modelfiles.model import Model
from streamnet.samples import Block
from streamnet.samples import Task

__all__ = ("AnyEvaluation", "evaluation_of", "report_of")

AnyEvaluation = Evaluation | RegressionEvaluation


def evaluation_of(model: Model, block: Block, threshold: float) -> AnyEvaluation:
    """How good a model is on samples that have targets."""
    assert block.target is not None
    if model.task is Task.REGRESSION:
        answers = model.predict(block)
        return RegressionEvaluation.of(block.target, answers, threshold=threshold or None)
    shares = model.predict_proba(block)
    answers = model.predict(block).tolist()
    return Evaluation.of(block.target.tolist(), answers, probabilities=shares, labels=model.labels)


def report_of(
    contest: Contest,
    parts: Parts,
    evaluation: AnyEvaluation,
    rejected: int,
    times: tuple[float, float],
) -> dict[str, Any]:
    """What an engine did, as JSON can hold it.

    Args:
        contest: What was run.
        parts: The samples.
        evaluation: Of the outcome.
        rejected: Records that could not be read.
        times: Seconds before the first sample could be learned, and since.
    """
    settings, winners = contest.settings, contest.winners
    return {
        "streamnet": version("streamnet"),
        "task": str(contest.task),
        "target": parts.training.schema.target,
        "protocol": settings.protocol,
        "criterion": contest.criterion.name,
        "samples": parts.sizes(),
        "rejected": rejected,
        "candidates": len(contest.contestants),
        "epochs": winners.epoch,
        "passes": winners.epoch * len(contest.contestants),
        "seconds": times[1],
        "startup_seconds": times[0],
        "stopped": contest.stopped,
        "refitted": contest.refitting,
        "members": [_member(contest, slot) for slot in contest.members],
        "history": [
            {**improvement._asdict(), "settings": _words(contest, improvement.candidate)}
            for improvement in winners.history
        ],
        "reported": "validation" if parts.test is None else "test",
        "evaluation": evaluation.as_dict(),
        "settings": settings.as_dict(),
        "seed": settings.seed,
    }


def _member(contest: Contest, slot: int) -> dict[str, Any]:
    """One of the networks that answer, the best first."""
    contestant, winners = contest.contestants[slot], contest.winners
    return {
        "candidate": slot,
        "try": contestant.attempt + 1,
        "learning_rate": contestant.settings.learning_rate,
        "epoch": int(winners.epochs[slot]),
        "value": float(winners.values[slot]),
        "settings": contestant.settings.as_dict(),
    }


def _words(contest: Contest, slot: int) -> str:
    return contest.contestants[slot].describe()
